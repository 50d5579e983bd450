"""What is known of the values of a picture or a kernel, whatever it shows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..registry import PRIORS
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


@PRIORS.register("simplex", cite=("duchi2008",))
class Simplex(Prior):
    """g(x) = ½ spread ‖x‖² where every channel is >= 0 and sums to `total`, else ∞: what a kernel is.

    prox(v, tau) = (v/(1 + spread tau) − t)₊, t such that the sum is `total`: the projection, for spread = 0.
    total: > 0; None: any sum, t = 0.  spread: >= 0; more of it spreads a kernel, since of all kernels of a size the
    flat one has the least ‖k‖.  Raises ValueError.   Duchi et al. 2008, figure 1 (the projection, by sorting).
    """

    closed_convex = True

    def __init__(self, total: float | None = 1.0, spread: float = 0.0) -> None:
        if not 0 <= spread < math.inf or not (total is None or 0 < total < math.inf):
            raise ValueError(f"total is {total} and spread {spread}; expected a total above 0, and spread >= 0.")
        self.total, self.spread = total, spread

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        v = v / (1 + self.spread * tau)
        if self.total is None:
            return v.clamp_min(0)
        flat = v.flatten(2)
        largest = flat.sort(2, descending=True).values
        many = torch.arange(1, flat.shape[2] + 1, dtype=v.dtype, device=v.device)
        level = (largest.cumsum(2) - self.total) / many
        last = (largest > level).sum(2, keepdim=True) - 1  # the sorted values stay above their level up to here
        return (flat - level.gather(2, last)).clamp_min(0).view_as(v)

    def value(self, x: Tensor) -> Tensor:
        """½ spread ‖x‖² where x is a kernel up to rounding, else ∞: (B,)."""
        slack = (1e-5 if x.dtype == torch.float32 else 1e-10) * (self.total or 1.0)
        inside = (x >= -slack).flatten(1).all(1)
        if self.total is not None:
            inside &= ((x.flatten(2).sum(2) - self.total).abs() <= slack * x[0, 0].numel()).all(1)
        return torch.where(inside, self.spread * x.square().flatten(1).sum(1) / 2, math.inf)
