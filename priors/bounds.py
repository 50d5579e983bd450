"""What is known of the values of a picture, whatever it shows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Prior


class AtLeast(Prior):
    """g(x) = 0 where x >= floor everywhere, else ∞;   prox(v, tau) = max(v, floor), the projection.

    floor: in image units.  Raises ValueError if it is not finite.
    """

    closed_convex = True

    def __init__(self, floor: float) -> None:
        if not math.isfinite(floor):
            raise ValueError(f"floor is {floor}; expected a finite value.")
        self.floor = floor

    @property
    def name(self) -> str:
        return f"x >= {self.floor:.3g}"

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return v.clamp_min(self.floor)

    def value(self, x: Tensor) -> Tensor:
        """0 up to rounding, else ∞: (B,)."""
        inside = (x >= self.floor - 1e-6 * max(1.0, abs(self.floor))).flatten(1).all(1)
        return torch.where(inside, 0.0, math.inf).to(x)
