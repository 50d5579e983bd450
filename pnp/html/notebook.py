"""What `Result` and `Restoration` show of themselves in a notebook: pictures and choices."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from torch import Tensor

from .pictures import png, reduced, uri

LARGEST = 320  # pixels a side
MOST = 4  # pictures of a batch


def panels(pictures: Mapping[str, Tensor], lines: Mapping[str, str]) -> str:
    """Rows of pictures (B, C, H, W), [0, 1] from black to white, with their titles, above a table of lines."""
    cells = "".join(
        f"<figure style='margin:0'>{image(x[i], title)}<figcaption>{escape(title)}</figcaption></figure>"
        for i in range(min(MOST, *(len(x) for x in pictures.values())))
        for title, x in pictures.items()
    )
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in lines.items()
        if text
    )
    return f"<div style='display:flex;flex-wrap:wrap;gap:8px'>{cells}</div><table>{rows}</table>"


def image(x: Tensor, title: str) -> str:
    """A picture (C, H, W), C of 1 or 3, as an <img> that holds its own bytes; '' for another number of channels."""
    if x.shape[0] not in (1, 3):
        return ""
    return f"<img alt='{escape(title)}' src='{uri(png(reduced(x, LARGEST)), 'png')}'>"
