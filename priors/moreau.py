"""The Moreau envelope of a prior."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice
from ..registry import PRIORS, SpecError
from .base import Prior

SMOOTHED: Any = PRIORS.part("tv")


class Moreau(Prior):
    """The Moreau envelope g_mu(x) = min_z g(z) + ‖x − z‖²/(2 mu): smooth, with the minimisers of g.

    ∇g_mu(x) = (x − prox(x, mu)) / mu, 1/mu-Lipschitz for convex g;
    prox of g_mu: v + tau/(tau + mu) (prox_g(v, tau + mu) − v).   Bauschke & Combettes 2017, propositions 12.29, 24.8.
    """

    def __init__(self, prior: Prior, mu: float) -> None:
        self.prior, self.mu = prior, positive(mu, "mu")
        self.closed_convex = prior.closed_convex

    @property
    def name(self) -> str:
        return f"Moreau({self.prior.name})"

    def offers(self) -> set[str]:
        return {"prox", "grad", "split"} | (self.prior.offers() & {"value"})

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return v + tau / (tau + self.mu) * (self.prior.prox(v, tau + self.mu) - v)

    def grad(self, x: Tensor) -> Tensor:
        return (x - self.prior.prox(x, self.mu)) / self.mu

    def value(self, x: Tensor) -> Tensor:
        z = self.prior.prox(x, self.mu)
        return self.prior.value(z) + (x - z).flatten(1).square().sum(1) / (2 * self.mu)

    def lipschitz(self) -> float:
        return 1 / self.mu

    def begin(self, x0: Tensor) -> Moreau:
        return Moreau(self.prior.begin(x0), self.mu)

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return self.prior.runs_in(device)


@PRIORS.register("moreau", cite=("bauschke2017",), examples=("moreau:prior=tv,mu=0.01",))
def moreau(prior: Annotated[Prior, PRIORS] = SMOOTHED, mu: float = 0.01) -> Prior:
    """The Moreau envelope of another prior: a smooth version of it, for gradient descent.

    A sum has no prox, and so no envelope that can be computed: smooth its terms, moreau(tv)+moreau(haar).
    """
    if "prox" not in prior.offers():
        raise SpecError(
            f"moreau needs a prior with a prox; {prior.name} has none. Smooth terms instead: moreau(tv)+moreau(haar)."
        )
    return Moreau(prior, mu)
