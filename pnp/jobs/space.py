"""The values in which a picture is solved: those of its file, or others by a map of each value."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..files.curves import Curve
from ..noises.anscombe import Stabiliser
from .record import Light


class Space(NamedTuple):
    """The values in which a solve runs.

    curve: None where all images stay in the values of the file.  other: which images do not, (B, 1, 1, 1).
    hidden: what JPEG has rounded away, there.  chosen: for the record.  unbiased: whether `encoded` is for pictures
    without noise, and not the inverse of `decoded`.
    """

    curve: Curve | Stabiliser | None
    other: Tensor
    hidden: float
    chosen: Light
    unbiased: bool = False

    def encoded(self, x: Tensor) -> Tensor:
        """Values of the file."""
        return x if self.curve is None else torch.where(self.other, self.curve.encode(x), x)

    def decoded(self, x: Tensor) -> Tensor:
        """Values in which the solve runs."""
        return x if self.curve is None else torch.where(self.other, self.curve.decode(x), x)
