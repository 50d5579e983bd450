"""What is known of the values of a picture, whatever it shows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import Prior


class AtLeast(Prior):
    """g(x) = 0 where x >= floor everywhere, else ∞;   prox(v, tau) = max(v, floor), the projection.

    floor: in image units, a number, or a tensor that broadcasts against x, −∞ where nothing is known.
    Raises ValueError if it has a NaN or +∞.
    """

    closed_convex = True

    def __init__(self, floor: float | Tensor) -> None:
        self.floor = torch.as_tensor(floor, dtype=torch.get_default_dtype()) if isinstance(floor, float) else floor
        if bool((self.floor.isnan() | (self.floor == math.inf)).any()):
            raise ValueError("floor is NaN or infinite; expected finite values, or −inf where nothing is known.")

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return torch.maximum(v, self.floor.to(v))

    def value(self, x: Tensor) -> Tensor:
        """0 up to rounding, else ∞: (B,)."""
        floor = self.floor.to(x)
        inside = (x >= floor - 1e-6 * floor.abs().clamp_min(1).nan_to_num(posinf=1.0)).flatten(1).all(1)
        return torch.where(inside, 0.0, math.inf).to(x)
