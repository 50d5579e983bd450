"""A denoiser of fixed strength as a projection."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice
from ..registry import PRIORS
from .base import UNET, Denoiser, Member, Prior, label, runs_in


class Projector(Prior):
    """A denoiser of fixed strength as a projection onto pictures: prox(v, tau) = D(v, sigma), whatever tau.

    Chang et al. 2017.
    """

    lam = 1.0
    kind, denoises = "projector", True

    def __init__(self, denoiser: Denoiser, sigma: float) -> None:
        self.denoiser, self.sigma = denoiser, positive(sigma, "sigma of a projector")

    @property
    def name(self) -> str:
        return f"Projector({label(self.denoiser)}, {self.sigma:.3g})"

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return runs_in(self.denoiser, device)

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return self.denoiser(v, self.sigma)


@PRIORS.register("projector", cite=("chang2017",), examples=("projector", "projector:denoiser=nlm,sigma=0.05"))
def projector(denoiser: Member = UNET, sigma: float = 0.05) -> Prior:
    """The denoiser at a fixed strength as a projection."""
    return Projector(denoiser, sigma)
