"""Pictures and choices as HTML, for notebooks: what `Result` and `Restoration` show of themselves."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from io import BytesIO

from torch import Tensor

LARGEST = 320  # pixels a side: more are left out, every second, every third, ...
MOST = 4  # pictures of a batch


def panels(pictures: Mapping[str, Tensor], lines: Mapping[str, str]) -> str:
    """Rows of pictures (B, C, H, W), [0, 1] from black to white, with their titles, above a table of lines."""
    cells = "".join(
        f"<td style='text-align:center'>{escape(title)}<br>{image(x[i])}</td>"
        for i in range(min(MOST, *(len(x) for x in pictures.values())))
        for title, x in pictures.items()
    )
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
        for name, text in lines.items()
        if text
    )
    return f"<table><tr>{cells}</tr></table><table>{rows}</table>"


def image(x: Tensor) -> str:
    """A picture (C, H, W), C of 1 or 3, as an <img> that holds its own bytes; '' for another number of channels."""
    from PIL import Image

    if x.shape[0] not in (1, 3):
        return ""
    step = -(-max(x.shape[-2:]) // LARGEST)
    samples = (x.detach().cpu()[:, ::step, ::step].clamp(0, 1) * 255).round().byte()
    pixels = samples[0].numpy() if len(samples) == 1 else samples.permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return f"<img src='data:image/png;base64,{b64encode(file.getvalue()).decode()}'>"
