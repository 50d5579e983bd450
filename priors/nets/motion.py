"""A network that tells the straight motion that blurred each part of a picture."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_unshuffle

from .base import Network
from .common import pad_to_multiple
from .unet import ResBlock

LENGTHS = (5.0, 9.0, 13.0, 17.0, 21.0, 25.0)  # pixels
ANGLES = 12  # from 0 to 180 degrees, 180 left out
STEP = 180.0 / ANGLES
MOTIONS = 1 + len(LENGTHS) * ANGLES  # the first is none


def motions(turn: float = 0.0) -> Tensor:
    """(73, 2): row and column of each motion in pixels, as told of a picture that was rotated by `turn` degrees.

    A motion of length l at angle a (counter-clockwise from the x axis) is (−l sin a, l cos a), and its opposite is the
    same.
    """
    a = torch.deg2rad(torch.arange(ANGLES) * STEP - turn)
    l = torch.tensor(LENGTHS)[:, None]
    ways = torch.stack([-l * a.sin(), l * a.cos()], -1).reshape(-1, 2)
    return torch.cat([torch.zeros(1, 2), ways])


class Motion(Network):
    """log p(motion | y) around each cell of 8 × 8 pixels, up to a constant: (B, 73, ceil(H/8), ceil(W/8)).

    y: (B, 1, H, W), brightness in image units.  sigma changes nothing.  The motions are `motions()`: none, and 6
    lengths of 5 to 25 pixels at 12 angles, as Sun, Cao, Xu & Ponce 2015 have them, who look at one patch at a time.
    """

    objective = "motion"
    cell = 8

    def __init__(self, channels: int = 1, widths: tuple[int, int, int] = (48, 96, 160), blocks: int = 2) -> None:
        super().__init__()
        if channels != 1:
            raise ValueError("motion reads the brightness of a picture alone: leave --channels out.")
        self.channels, self.widths, self.blocks = channels, tuple(widths), blocks
        w0, w1, w2 = widths
        self.body = nn.Sequential(
            nn.Conv2d(4 * channels, w0, 3, padding=1), ResBlock(w0),
            nn.Conv2d(w0, w1, 2, stride=2), *(ResBlock(w1) for _ in range(blocks)),
            nn.Conv2d(w1, w2, 2, stride=2), nn.ReLU(), *(ResBlock(w2) for _ in range(blocks + 1)),
        )  # fmt: skip
        self.tail = nn.Conv2d(w2, MOTIONS, 1)

    def forward(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        x = pad_to_multiple(x, self.cell)
        x = x - avg_pool2d(x, 33, 1, 16, count_include_pad=False)
        return self.tail(self.body(pixel_unshuffle(10 * x, 2)))

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "widths": list(self.widths), "blocks": self.blocks}

    def receptive_radius(self) -> int:
        return 16 + 2 * 3 + 4 * (2 * self.blocks) + 8 * 2 * (self.blocks + 1) + self.cell


def soft_label(length: float, angle: float) -> Tensor:
    """(73,) of sum 1: the motion as a mean of the four known ones around it, by how near they are."""
    label = torch.zeros(MOTIONS)
    sizes = (0.0, *LENGTHS)
    at = min(max(length, 0.0), sizes[-1] - 1e-6)
    low = max(i for i, size in enumerate(sizes) if size <= at)
    part = (at - sizes[low]) / (sizes[low + 1] - sizes[low])
    turn = (angle % 180.0) / STEP
    first, between = int(turn) % ANGLES, turn - math.floor(turn)
    for row, weight in ((low, 1 - part), (low + 1, part)):
        for way, share in ((first, 1 - between), ((first + 1) % ANGLES, between)):
            label[0 if row == 0 else 1 + (row - 1) * ANGLES + way] += weight * share
    return label
