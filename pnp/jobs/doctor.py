"""What a picture file is, and the command to try: nothing is restored."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.pictures import Picture
from ..noises import find_stripes
from ..noises.level import of_file
from ..operators.mask_files import COLOURS
from .suspected import Suspicion, suspected

NOISY = 0.02  # of the picture's range: less is hardly seen
PAINTED = (0.001, 0.2)  # share of the pixels that have one pure colour
SMALL = 300  # pixels a side
CLIPPED = 0.01  # share of the pixels at an end: worth a word
POOR = 75  # quality of a JPEG whose blocks are seen
SIDE = 512  # a part of this side is looked at for a blur
# the first row of the luminance table that the JPEG standard recommends, for quality 50
STANDARD = (16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0)


class Diagnosis(NamedTuple):
    """What was found, in words, and the options of `pnp solve` to try, '' where none are needed."""

    lines: dict[str, str]
    path: str
    options: str

    @property
    def command(self) -> str:
        """The command to try, as any shell takes it; '' where none is needed."""
        file = self.path if re.fullmatch(r"[\w./-]+", self.path) else f'"{self.path}"'
        return f"pnp solve {file} {self.options}" if self.options else ""

    def to_json(self) -> dict[str, object]:
        return {**self.lines, "command": self.command}


def examine(picture: Picture, path: str) -> Diagnosis:
    """Size, range, missing and clipped pixels, noise, JPEG, stripes and blur of a picture that was read with `auto`."""
    x = picture.pixels
    middle = x[len(x) // 2][None]
    known = ~middle.isnan()
    seen = torch.where(known, middle, middle[known].mean() if bool(known.any()) else 0.0)
    pages = f"{len(x)} pages, " if len(x) > 1 else ""
    kind = "colour" if x.shape[1] == 3 else "grey"
    lines = {"file": f"{picture.format}, {pages}{x.shape[-2]}×{x.shape[-1]} pixels (H × W), {kind}, {picture.dtype}"}
    lines["range"] = f"{picture.ends} is black to white"
    if not bool(known.all()):
        lines["missing"] = f"{int((~known).any(1).sum())} pixels are NaN"
    if clipped := _clipped(seen, known):
        lines["clipped"] = clipped
    best = None if picture.quantised is None else quality(picture.quantised[0][0])
    if best is not None:
        lines["jpeg"] = f"quality about {best}"
    sigma, said = _noise(picture, seen, known)
    lines["noise"] = said
    if (stripes := find_stripes(seen, known)) is not None:
        lines["stripes"] = ", ".join(f"{name} offsets of std {std:.2g}" for name, std in stripes.std().items())
    if ink := painted(seen[0]):
        lines["paint"] = f"part of the picture is pure {ink}"
    blur = None if ink else _blur(picture, seen)
    lines["blur"] = "none that shows" if blur is None else blur.said
    poor = best is not None and best < POOR
    return Diagnosis(lines, path, _options(x, sigma, ink, "" if blur is None else blur.operator, poor))


def quality(steps: tuple[float, ...]) -> int:
    """JPEG's quality setting of 1 to 100 whose first steps are nearest to these, by the tables of most encoders."""

    def row(q: int) -> list[float]:
        scale = 5000 / q if q < 50 else 200 - 2 * q
        return [min(255, max(1, math.floor((step * scale + 50) / 100))) for step in STANDARD]

    return min(range(1, 101), key=lambda q: sum(abs(a - b) for a, b in zip(row(q), steps[:8], strict=True)))


def painted(x: Tensor) -> str | None:
    """The name of a pure colour that some of the pixels of (3, H, W) have exactly, as paint has; None for no such."""
    if len(x) != 3:
        return None
    for name in ("red", "green", "blue", "magenta", "cyan", "yellow"):
        key = torch.tensor(COLOURS[name]).view(3, 1, 1)
        share = float(((x - key).abs().amax(0) < 0.5 / 255).float().mean())
        if PAINTED[0] < share < PAINTED[1]:
            return name
    return None


def _clipped(x: Tensor, known: Tensor) -> str:
    shares = {"black": float((x[known] <= 0).float().mean()), "white": float((x[known] >= 1).float().mean())}
    return ", ".join(f"{share:.1%} of the samples are {end}" for end, share in shares.items() if share > CLIPPED)


def _noise(picture: Picture, x: Tensor, known: Tensor) -> tuple[float, str]:
    try:
        mask = None if bool(known.all()) else known.float()
        sigma, _, source = of_file(x, mask, picture.rounding, picture.hidden, pixelwise=True)
    except ValueError as error:
        return 0.0, str(error)
    level = float(sigma.max())
    return level, f"sigma {level:.3g}, {255 * level:.2g}/255 ({source})"


def _blur(picture: Picture, x: Tensor) -> Suspicion | None:
    """What the middle of the picture shows of a blur."""
    top, left = (max(0, (n - SIDE) // 2) for n in x.shape[-2:])
    return suspected(x[0, :, top : top + SIDE, left : left + SIDE], picture.hidden)


def _options(x: Tensor, sigma: float, ink: str | None, blur: str, poor: bool) -> str:
    if ink:
        return f"--op identity --mask {ink}"
    if blur:
        return f'--op "{blur}"' if "?" in blur else f"--op {blur}"  # some shells take a bare ? for files of any letter
    if sigma > NOISY or poor:
        return "--op identity"
    return "--op downsample:factor=2" if min(x.shape[-2:]) < SMALL else ""
