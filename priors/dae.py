"""The denoising auto-encoder as a prior: its mean shift, its auto-encoding error, and its gradient-step form."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice
from ..registry import PRIORS, unknown
from .base import UNET, Denoiser, Member, Prior, runs_in
from .network import exact

Form = Literal["mean-shift", "autoencoder", "gradient-step"]
KINDS: dict[str, str] = {"mean-shift": "dae", "autoencoder": "dae-autoencoder", "gradient-step": "dae-gradient-step"}
SIGMA = 11 / 255  # the published strength


class DAE(Prior):
    """A denoiser D of one strength s as a field that points away from pictures, in one of three published forms.

    mean-shift     ∇g(x) = (x − D(x + η, s))/s²: −∇ of the log-density smoothed by s   (Bigdeli et al. 2017, section 3)
    autoencoder    ∇g of g(x) = ‖x − D(x + η, s)‖²/(2 s²), by back-propagation   (Bigdeli & Zwicker 2017, section 3)
    gradient-step  the same g without η: x − s² ∇g(x) is Hurault et al.'s denoiser Id − ∇(½‖x − N(x)‖²) (2022)

    η ~ N(0, s² I) is drawn anew at each call, because D expects noise in what it sees; the draws of one solve come from
    `seed`, the same for each image of a batch.  Only the last form is a fixed function: it has a value, and a
    descent with backtracking never raises it.  x: (B, C, H, W).  Raises ValueError for s <= 0.
    """

    lam = 1.0

    def __init__(self, denoiser: Denoiser, sigma: float = SIGMA, form: Form = "mean-shift", seed: int = 0) -> None:
        if form not in KINDS:
            raise ValueError(unknown("form of dae", form, KINDS))
        self.denoiser, self.sigma, self.form = denoiser, positive(sigma, "sigma of a dae"), form
        self.seed, self.kind = seed, KINDS[form]
        self.generator: torch.Generator | None = None  # of one solve

    @property
    def name(self) -> str:
        return f"DAE({self.form}, {self.sigma:.3g})"

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return runs_in(self.denoiser, device)

    def begin(self, x0: Tensor) -> DAE:
        begun = DAE(self.denoiser, self.sigma, self.form, self.seed)
        begun.generator = torch.Generator().manual_seed(self.seed)
        return begun

    def offers(self) -> set[str]:
        return {"grad", "value"} if self.form == "gradient-step" else {"grad"}

    def grad(self, x: Tensor) -> Tensor:
        if self.form == "mean-shift":
            return (x - self.denoiser(self._noisy(x), self.sigma)) / self.sigma**2
        with torch.enable_grad():
            at = x.detach().requires_grad_(True)
            error = (at - self.denoiser(self._noisy(at), self.sigma)).square().sum() / (2 * self.sigma**2)
        return torch.autograd.grad(error, at)[0]

    def value(self, x: Tensor) -> Tensor:
        if self.form != "gradient-step":
            raise NotImplementedError(f"{self.name} draws noise at each call and has no value. Use form=gradient-step.")
        return (x - self.denoiser(x, self.sigma)).flatten(1).square().sum(1) / (2 * self.sigma**2)

    def lipschitz(self) -> float:
        """1/s²: right where D is firmly nonexpansive, and a fair first step elsewhere."""
        return 1 / self.sigma**2

    def smoothing(self) -> float:
        return self.sigma

    def _noisy(self, x: Tensor) -> Tensor:
        if self.form == "gradient-step":
            return x
        generator = self.generator or torch.Generator().manual_seed(self.seed)
        noise = torch.randn((1, *x.shape[1:]), generator=generator, dtype=torch.float64)
        return x + self.sigma * noise.to(x)


@PRIORS.register(
    "dae",
    cite=("bigdeli2017", "bigdeli2017autoencoding", "hurault2022"),
    examples=("dae", "dae:form=autoencoder", "dae:form=gradient-step"),
)
def dae(
    form: Form = "mean-shift",
    denoiser: Member = UNET,
    sigma: float = SIGMA,
    seed: int = 0,
) -> Prior:
    """A denoising auto-encoder: its mean-shift, its error (autoencoder, by back-propagation), or gradient-step."""
    # a value that never rises needs more digits than half precision has
    return DAE(exact(denoiser) if form == "gradient-step" else denoiser, sigma, form, seed)
