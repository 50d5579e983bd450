"""Tikhonov priors: quadratic, so everything about them is in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from ..registry import PRIORS
from .base import Prior
from .tv import Gradient


@PRIORS.register("tikhonov", cite=("tikhonov1963",))
class Tikhonov(Prior):
    """g(x) = ½‖x‖²; prox(v, tau) = v/(1 + tau), ∇g(x) = x.   Tikhonov 1963."""

    closed_convex = True

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return v / (1 + tau)

    def grad(self, x: Tensor) -> Tensor:
        return x

    def value(self, x: Tensor) -> Tensor:
        return x.flatten(1).square().sum(1) / 2

    def lipschitz(self) -> float:
        return 1.0


@PRIORS.register("smooth", cite=("tikhonov1963",))
class Smooth(Prior):
    """g(x) = ½‖Dx‖², D the forward differences with periodic borders; ∇g(x) = DᵀD x.

    prox(v, tau) = (I + tau DᵀD)⁻¹ v, exact in the real Fourier basis, where DᵀD has the eigenvalues
    4 sin²(pi i/H) + 4 sin²(pi j/W) <= 8.
    """

    closed_convex = True

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(v) / (1 + tau * self._eigenvalues(v)), s=v.shape[-2:])

    def grad(self, x: Tensor) -> Tensor:
        rows = 2 * x - x.roll(1, -2) - x.roll(-1, -2)
        return rows + 2 * x - x.roll(1, -1) - x.roll(-1, -1)

    def value(self, x: Tensor) -> Tensor:
        return (x * self.grad(x)).flatten(1).sum(1) / 2

    def lipschitz(self) -> float:
        return Gradient.norm_squared

    @staticmethod
    def _eigenvalues(v: Tensor) -> Tensor:
        h, w = v.shape[-2:]
        rows = torch.arange(h, dtype=torch.float64)[:, None] / h
        columns = torch.arange(w // 2 + 1, dtype=torch.float64)[None] / w
        return (4 * (torch.pi * rows).sin() ** 2 + 4 * (torch.pi * columns).sin() ** 2).to(v)
