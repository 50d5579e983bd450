"""The pictures that a denoiser is judged by: several origins, so that a gain on one does not hide a loss on another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..files.pictures import crop_centre
from .pages import Printer
from .patches import as_jpeg, reduced
from .synthetic import Scenes

SIDE = 192  # of a picture that judges
SMALLEST = 96  # a photograph is reduced less than fourfold where it would have fewer pixels a side
MOST = 24  # photographs
CLOSE, RENDERED = 8, 8  # saturated close-ups, pictures of each rendered kind
SATURATED = 0.25  # mean of max − min over the channels, which a saturated close-up has at least
QUALITY = 90


def origins(photographs: list[Tensor], printer: Printer | None) -> dict[str, list[Tensor]]:
    """Pictures of each origin, uint8 (C, h, w), h and w up to SIDE; an origin that has none is left out.

    photographs: held back from the training, uint8 (C, H, W).
    reduced: fourfold by Lanczos, with no lossy step after.  jpeg: the same out of a JPEG file (quality 90, 4:2:0).
    saturated: the most colourful squares of the photographs at half their size.  drawings, text: rendered.
    """
    few = photographs[:: -(-len(photographs) // MOST)]
    small = [crop_centre(_reduced(p), SIDE) for p in few]
    scenes = Scenes(few, printer, SIDE, stream=1)
    rendered = {
        kind: [scenes.of(kind, np.random.default_rng([1, i])) for i in range(RENDERED)]
        for kind in ("drawings", "text")
        if kind != "text" or printer is not None
    }
    found = {"reduced": small, "jpeg": [as_jpeg(p, QUALITY) for p in small], "saturated": close_ups(few), **rendered}
    return {name: pictures for name, pictures in found.items() if pictures}


def close_ups(photographs: list[Tensor]) -> list[Tensor]:
    """The most colourful square of each photograph, of the most colourful ones; none of grey photographs."""
    squares = [_most_saturated(p) for p in photographs if len(p) == 3 and min(p.shape[1:]) >= 2 * SMALLEST]
    squares = sorted((s for s in squares if s[0] >= SATURATED), key=lambda s: s[0], reverse=True)
    return [square for _, square in squares[:CLOSE]]


def _most_saturated(photograph: Tensor) -> tuple[float, Tensor]:
    """(mean of max − min over the channels, the square) at half the size, where the first is largest."""
    x = avg_pool2d(photograph.float()[None], 2)[0].round().to(torch.uint8)
    side = min(SIDE, *x.shape[1:])
    colour = (x.amax(0) - x.amin(0)).float()[None, None] / 255
    means = avg_pool2d(colour, side, stride=8)[0, 0]
    at = int(means.argmax())
    top, left = 8 * (at // means.shape[1]), 8 * (at % means.shape[1])
    return float(means.max()), x[:, top : top + side, left : left + side]


def _reduced(photograph: Tensor) -> Tensor:
    short = min(photograph.shape[1:])
    factor = next((f for f in (4, 2) if short >= f * SMALLEST), 1)
    return reduced(photograph, short / factor) if factor > 1 else photograph
