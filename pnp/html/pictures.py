"""Pictures inside a page: encoded into their own address, and reduced until they fit."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import interpolate

LOSSLESS = 100_000  # samples: PNG takes 0.3 µs for each, JPEG a hundredth of that
QUALITY = 95  # of JPEG, every pixel with its colour
LARGEST = 2400  # pixels a side
SHRINK = 0.9  # of the side that the bytes ask for: smaller pictures hold more in each pixel


class Shown(NamedTuple):
    """A picture as a page shows it.  scale: its side in parts of the picture's own; exact: no pixel differs."""

    name: str
    uri: str
    width: int
    height: int
    scale: float = 1.0
    exact: bool = True


def shown(
    name: str, x: Tensor, budget: int = 1_000_000, largest: int = LARGEST, exact: int = LOSSLESS
) -> Shown:
    """A picture (C, H, W), C of 1 or 3, [0, 1] from black to white: in at most `budget` bytes, as near as they allow.

    Those of at most `exact` samples are PNG where it fits; others are JPEG, reduced where it must be.
    """
    whole = max(x.shape[-2:])
    if x.numel() <= exact and whole <= largest:
        data = png(x)
        if len(data) <= budget:
            return Shown(name, uri(data, "png"), x.shape[-1], x.shape[-2])
    side = min(whole, largest)
    while True:
        smaller = reduced(x, side)
        data = jpeg(smaller)
        if len(data) <= budget or side <= 16:
            scale = max(smaller.shape[-2:]) / whole
            return Shown(name, uri(data, "jpeg"), smaller.shape[-1], smaller.shape[-2], scale, exact=False)
        side = max(16, int(side * SHRINK * (budget / len(data)) ** 0.5))


def reduced(x: Tensor, side: int) -> Tensor:
    """A picture (C, H, W) whose longer side has at most so many pixels; each is a mean of those it stands for."""
    h, w = x.shape[-2:]
    if max(h, w) <= side:
        return x
    size = (max(1, round(h * side / max(h, w))), max(1, round(w * side / max(h, w))))
    return interpolate(x[None].detach().cpu().float().clamp(0, 1), size, mode="area")[0]


def png(x: Tensor) -> bytes:
    return _encoded(x, format="PNG", compress_level=1)


def jpeg(x: Tensor, quality: int = QUALITY) -> bytes:
    return _encoded(x, format="JPEG", quality=quality, subsampling=0)


def uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def _encoded(x: Tensor, **how: object) -> bytes:
    from PIL import Image

    samples = (x.detach().cpu().nan_to_num(0.0).clamp(0, 1) * 255).round().byte()
    pixels = samples[0].numpy() if len(samples) == 1 else samples.permute(1, 2, 0).numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, **how)  # type: ignore[arg-type]
    return file.getvalue()
