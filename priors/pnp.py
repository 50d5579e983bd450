"""Plug-and-play: a denoiser instead of the prox."""

from __future__ import annotations

import torch
from torch import Tensor

from ..precision import Choice
from ..registry import PRIORS
from .base import UNET, Denoiser, Member, Prior, label, runs_in


class PnP(Prior):
    """A denoiser instead of the prox: prox(v, tau) = D(v, √tau).   Venkatakrishnan et al. 2013.

    This is the one place where a variance becomes a standard deviation.  The default weight is DPIR's (Zhang et al.
    2021): rho_k = lam sigma²/sigma_k² with lam = 0.23.
    """

    lam = 0.23
    kind, denoises = "denoiser", True

    def __init__(self, denoiser: Denoiser, turns: bool = False) -> None:
        self.denoiser, self.turns = denoiser, turns
        self.step: Denoiser = denoiser  # what one solve calls

    @property
    def name(self) -> str:
        return f"PnP({label(self.denoiser)})"

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return runs_in(self.denoiser, device)

    def begin(self, x0: Tensor) -> Prior:
        if not self.turns:
            return self
        begun = PnP(self.denoiser, turns=True)
        begun.step = Turning(self.denoiser)
        return begun

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return self.step(v, tau**0.5)


class Turning:
    """A denoiser whose k-th call sees the picture rotated and flipped: T_k⁻¹ D(T_k x, sigma), T_k one of eight.

    What a network does differently for one orientation than for another averages out over the iterations, at no cost.
    Made anew for each solve.   Zhang et al. 2021 (DPIR), section 4.2.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.k = denoiser, 0

    @property
    def __name__(self) -> str:
        return label(self.denoiser)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        quarters, mirrored = self.k % 4, self.k % 8 >= 4
        self.k += 1
        seen = x.rot90(quarters, (-2, -1))
        seen = self.denoiser(seen.flip(-1) if mirrored else seen, sigma)
        return (seen.flip(-1) if mirrored else seen).rot90(-quarters, (-2, -1))


@PRIORS.register("pnp", cite=("venkatakrishnan2013",), examples=("pnp:denoiser=nlm", "pnp:denoiser=unet,turns=true"))
def pnp(denoiser: Member = UNET, turns: bool = False) -> Prior:
    """Plug-and-play: the denoiser as the prox; turns: with another orientation of the picture at each call."""
    return PnP(denoiser, turns)
