"""Impulses: some samples say nothing, the others are right."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from .. import checks
from ..linalg import per_image
from ..registry import NOISES
from .base import Noise


@NOISES.register("saltpepper", cite=("nikolova2004",), examples=("saltpepper:fraction=0.1",))
@dataclass(frozen=True)
class SaltPepper(Noise):
    """Each sample of each channel becomes 0 or 1, with probability fraction/2 each, or stays u.

        value(u, y) = ‖u − y‖₁/scale,   scale = fraction/2, the mean of |u − y|
        prox(v, y, tau) = y + soft(v − y, tau/scale)

    The absolute value takes the place of the logarithm of the likelihood, which has no convex form: what is far from y
    costs no more by each step than what is near it, so an impulse is left alone.   Nikolova 2004.
    """

    bounded: ClassVar[bool] = True
    fraction: float
    seen: Tensor | None = field(default=None, repr=False, compare=False)  # samples of one y that were not hit

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; expected a share of the samples, from 0 to 1.")

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        measured = torch.ones_like(y) if known is None else known.to(y).expand_as(y)
        return replace(self, seen=measured * (y > 0) * (y < 1))

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        checks.image(u, "u")
        drawn = torch.rand(u.shape, generator=generator, dtype=torch.float64).to(u.device)
        salted = torch.where(drawn >= 1 - self.fraction / 2, torch.ones_like(u), u)
        return torch.where(drawn < self.fraction / 2, torch.zeros_like(u), salted)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).abs().flatten(1).sum(1) / self.scale

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).sign() / self.scale

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        size = torch.as_tensor(per_image(tau, v), dtype=v.dtype, device=v.device) / self.scale
        apart = v - y
        return y + apart - apart.clamp(-size, size)

    def described(self) -> str:
        return f"salt and pepper on {self.fraction:.1%} of the samples"

    def level(self, y: Tensor) -> Tensor:
        """√(fraction/2 · mean(u² + (1 − u)²)), u the samples that were not hit."""
        seen = torch.ones_like(y) if self.seen is None else self.seen
        spread = ((y.square() + (1 - y).square()) * seen).flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)
        return (self.scale * spread).clamp_min(1e-8).sqrt().view(-1, 1, 1, 1)

    @property
    def scale(self) -> float:
        return max(self.fraction, 1e-3) / 2
