"""No prior at all."""

from __future__ import annotations

import torch
from torch import Tensor

from ..registry import PRIORS
from .base import Prior


@PRIORS.register("none", cite=("richardson1972", "lucy1974"))
class NoPrior(Prior):
    """g(x) = 0: of all pictures the likeliest, by Richardson-Lucy, stopped where the residual is the noise.

    prox(v, tau) = v, ∇g(x) = 0.  The minimiser of f alone fits the noise: end before it (`--stop discrepancy`).
    """

    kind = "none"
    closed_convex = True
    lam = 1.0

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return v.clone()

    def grad(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def value(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))

    def lipschitz(self) -> float:
        """Any number above 0 is one; solvers divide by it, and the least one holds no step back."""
        return 1e-9
