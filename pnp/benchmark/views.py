"""Views: which part of a restored picture is compared with which part of the truth, and how the two are laid together.

A view is an object of a suite, named by a spec: `cut:pixels=30`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..registry import Registry


class Beyond(NamedTuple):
    """How many pixels of the clean picture lie beyond each side of what the measurement shows."""

    top: int
    bottom: int
    left: int
    right: int


class View(ABC):
    """What the scores of a suite look at."""

    @abstractmethod
    def __call__(self, x: Tensor, truth: Tensor, beyond: Beyond) -> tuple[Tensor, Tensor]:
        """(x, truth) as they are compared, of one shape.

        x, truth: (1, C, H, W) over the field that the measurement shows; beyond: what the clean picture has around it.
        Raises ValueError for a picture that is too small.
        """


VIEWS: Registry[View] = Registry(
    "view", homes=("pnp.benchmark.views",), contract="pnp.benchmark.views:View"
)  # fmt: skip


@VIEWS.register("whole")
@dataclass(frozen=True)
class Whole(View):
    """All that the measurement shows."""

    def __call__(self, x: Tensor, truth: Tensor, beyond: Beyond) -> tuple[Tensor, Tensor]:
        return x, truth


@VIEWS.register("cut", examples=("cut:pixels=30",))
@dataclass(frozen=True)
class Cut(View):
    """Without the outer `pixels` of the whole clean picture, as far as the measurement shows them at all.

    Where the measurement shows less than that anyway nothing more is cut: a kernel of 27 pixels takes 13 at each side
    of a valid convolution, and pixels=30 takes 17 more.   As in the code of Nan et al. 2020 (VEM-NBD).
    """

    pixels: int = 30

    def __call__(self, x: Tensor, truth: Tensor, beyond: Beyond) -> tuple[Tensor, Tensor]:
        top, bottom, left, right = (max(0, self.pixels - n) for n in beyond)
        h, w = x.shape[-2:]
        if top + bottom >= h or left + right >= w:
            raise ValueError(f"The picture shows {h}×{w} pixels, and nothing is left without the outer {self.pixels}.")
        return tuple(z[..., top : h - bottom, left : w - right] for z in (x, truth))  # type: ignore[return-value]


@VIEWS.register("aligned", examples=("aligned:cut=15,reach=5,step=0.25",))
@dataclass(frozen=True)
class Aligned(View):
    """x moved to where it differs least from the truth, both without the outer `cut` pixels of the field of view.

        min over (a, b) of Σ (x(i + a, j + b) − truth(i, j))²,   a, b from −reach to reach in steps of `step`,

    x between its pixels by bilinear interpolation and clipped to [0, 1].  A camera on a tripod moves between the sharp
    picture and the blurred one, and a kernel may be measured off its centre.   `comp_upto_shift` of Levin et al. 2009.
    """

    cut: int = 15
    reach: int = 5
    step: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1 or not 0 <= self.reach <= self.cut:
            raise ValueError(
                f"cut={self.cut}, reach={self.reach}, step={self.step}; expected a step in (0, 1] and a reach from 0 "
                "to the cut."
            )

    def __call__(self, x: Tensor, truth: Tensor, beyond: Beyond) -> tuple[Tensor, Tensor]:
        h, w = (n - 2 * self.cut for n in x.shape[-2:])
        if min(h, w) < 1:
            raise ValueError(f"The picture is {x.shape[-2]}×{x.shape[-1]}, and nothing is left without {self.cut} "
                             "pixels at each side.")  # fmt: skip
        target = truth[..., self.cut : self.cut + h, self.cut : self.cut + w].double()
        count = round(self.reach / self.step)
        shifts = [n * self.step for n in range(-count, count + 1)]
        clipped = x.clamp(0, 1).double()
        best, least = target, float("inf")
        for a in shifts:
            rows = _between(clipped, -2, self.cut + a, h)
            for b in shifts:
                moved = _between(rows, -1, self.cut + b, w)
                difference = float((moved - target).square().sum())
                if difference < least:
                    best, least = moved, difference
        return best.to(x), target.to(x)


def _between(x: Tensor, axis: int, start: float, length: int) -> Tensor:
    """x at start, start + 1, ..., linear between its samples along one axis."""
    at = int(start // 1)
    share = start - at
    lower = x.narrow(axis, at, length)
    return lower if share == 0 else torch.lerp(lower, x.narrow(axis, at + 1, length), share)
