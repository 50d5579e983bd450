"""Regularisation by denoising."""

from __future__ import annotations

from copy import copy

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice
from ..registry import PRIORS
from .base import UNET, Denoiser, Member, Prior, label, runs_in


class RED(Prior):
    """Regularisation by denoising: grad(x) = (x − D(x, sigma))/sigma².   Romano, Elad & Milanfar 2017.

    Their weight is lam/sigma² here; by Tweedie's formula lam = 1 is then the smoothed density's own weight.
    prox: `inner` steps of the fixed point x <- (v + t D(x))/(1 + t), t = tau/sigma², from v, or in a solve from the
    last answer (their section 4.2): a multiplier in v would be noise of any size to a D that expects sigma.
    It does not have a value: the field is not a gradient unless D's Jacobian is symmetric (Reehorst & Schniter 2019).
    lipschitz: 1/sigma², right where D is firmly nonexpansive.
    """

    lam = 0.2
    kind, denoises = "red", True

    def __init__(self, denoiser: Denoiser, sigma: float, inner: int = 1) -> None:
        self.denoiser, self.sigma, self.inner = denoiser, positive(sigma, "sigma of RED"), inner
        self.start: Tensor | None = None  # answer that the next solve goes on from
        self.last: Tensor | None = None  # answer in this solve
        self.active: Tensor | None = None  # (B,), the pictures whose answer still changes in it; None: all

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return runs_in(self.denoiser, device)

    def begin(self, x0: Tensor) -> RED:
        begun = copy(self)
        begun.start, begun.last, begun.active = None, x0 if self.start is None else self.start, None
        return begun

    def rest(self, active: Tensor) -> None:
        self.active = active

    def learned(self) -> dict[str, Tensor]:
        return {} if self.last is None else {"answer": self.last}

    def elsewhere(self, learned: dict[str, Tensor]) -> dict[str, Tensor]:
        return {}  # an answer is of one picture alone

    def starting(self, learned: dict[str, Tensor]) -> RED:
        other = copy(self)
        other.start = learned.get("answer")
        return other

    @property
    def name(self) -> str:
        return f"RED({label(self.denoiser)}, {self.sigma:.3g})"

    def grad(self, x: Tensor) -> Tensor:
        return (x - self.denoiser(x, self.sigma)) / self.sigma**2

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        t, x = tau / self.sigma**2, v if self.last is None else self.last
        for _ in range(self.inner):
            x = (v + t * self.denoiser(x, self.sigma)) / (1 + t)
        if self.last is not None:
            self.last = x if self.active is None else torch.where(self.active.view(-1, 1, 1, 1), x, self.last)
        return x

    def lipschitz(self) -> float:
        return 1 / self.sigma**2

    def smoothing(self) -> float:
        return self.sigma


@PRIORS.register(
    "red",
    cite=("romano2017",),
    examples=("red", "red:denoiser=nlm,sigma=0.05", "red:denoiser=(trd:size=7,stages=5),sigma=0.05"),
)
def red(denoiser: Member = UNET, sigma: float = 0.03) -> Prior:
    """Regularisation by denoising at a fixed strength."""
    return RED(denoiser, sigma)
