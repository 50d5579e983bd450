"""White Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from .. import checks
from ..linalg import per_image
from ..registry import NOISES
from .base import Noise, batched


@NOISES.register("gaussian", examples=("gaussian:sigma=0.05",))
@dataclass(frozen=True)
class Gaussian(Noise):
    """y = u + sigma n, n ~ N(0, I):   value(u, y) = ‖u − y‖²/(2 sigma²).

    sigma: standard deviation in image units, a number or (B, 1, 1, 1) with one value an image.
    """

    sigma: float | Tensor
    quadratic: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.positive_tensor(self.sigma, "sigma")

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        checks.per_image(self.sigma, "sigma", len(y))
        return replace(self, sigma=self.sigma.to(y)) if isinstance(self.sigma, Tensor) else self

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        checks.image(u, "u")
        return u + self.sigma * torch.randn(u.shape, generator=generator, dtype=torch.float64).to(u)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).flatten(1).square().sum(1) / (2 * batched(self.sigma) ** 2)

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y) / per_image(self.sigma, u) ** 2

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        """(sigma² v + tau y)/(sigma² + tau)."""
        variance, tau = per_image(self.sigma, v) ** 2, per_image(tau, v)
        return (variance * v + tau * y) / (variance + tau)

    def curvature(self, y: Tensor) -> float | Tensor:
        """1/sigma²."""
        return 1 / self.sigma**2

    def pulls(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """u/sigma² and y/sigma²; what of y is below 0 draws down."""
        variance = per_image(self.sigma, u) ** 2
        return (u + (-y).clamp_min(0)) / variance, y.clamp_min(0) / variance

    def scaled(self, factor: float | Tensor) -> Noise:
        return replace(self, sigma=self.sigma * factor)

    def described(self) -> str:
        return "white Gaussian"

    def level(self, y: Tensor) -> float | Tensor:
        return self.sigma
