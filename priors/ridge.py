"""The weakly convex ridge regulariser as a prior: an explicit function with a gradient and known constants."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from ..checks import positive
from ..registry import DENOISERS, PRIORS
from .base import Denoiser, Prior
from .nets import Network
from .nets.wcrr import WCRR, Ridge
from .network import NetworkDenoiser, read_for
from .store import load

SHIPPED = "wcrr"
STRENGTH = 10 / 255  # where neither a person nor a rule says one


class Ridges(Prior):
    """g(x) = R_s(x)/s², R_s(x) = Σᵢ ⟨1, ψᵢ(Wᵢ x)⟩: a sum of learned ridges for noise of std s.

        ∇g(x) = Wᵀ φ(Wx)/s²,   −rho I <= ∇²g <= L I,   rho = −min φ' ‖W‖²/s² <= 1/s²,   L = max |φ'| ‖W‖²/s²

    net: the filters and the splines; rho and L are computed from them in float64.  x: (B, C, H, W), each channel by
    itself.  strength: s, a number or (B, 1, 1, 1), in image units; None: what a rule says (`tuned`), else STRENGTH.
    With A = I, noise of std sigma and lam sigma² <= s² the problem is convex; its minimiser for lam = 1 and s = sigma
    is the denoiser `wcrr`.  Raises ValueError for s <= 0.
    Goujon, Neumayer & Unser 2024, sections 3 and 5.
    """

    lam = 1.0
    kind = "ridges"

    def __init__(self, net: Network, strength: float | Tensor | None = None) -> None:
        if not isinstance(net, WCRR):
            raise TypeError(f"net is a {type(net).__name__}; expected a WCRR.")
        if not isinstance(strength, Tensor) and strength is not None:
            positive(strength, "sigma of wcrr")
        self.net, self.strength = net, strength
        s = torch.as_tensor(STRENGTH if strength is None else strength, dtype=torch.float64).flatten().cpu()
        with torch.no_grad():
            self.ridge = deepcopy(net).cpu().double().at(s)
        slopes, size = self.ridge.profile.slopes(), self.ridge.norm_squared() / float(s.min()) ** 2
        self.steepest, self.concave = float(slopes.abs().max()) * size, max(0.0, -float(slopes.min())) * size
        self.s = s.view(-1, 1, 1, 1)

    @property
    def name(self) -> str:
        return "WCRR(" + ", ".join(f"{s:.3g}" for s in self.s.flatten().tolist()[:4]) + ")"

    def tuned(self, strength: float | Tensor) -> Ridges:
        return Ridges(self.net, strength) if self.strength is None else self

    def value(self, x: Tensor) -> Tensor:
        ridge, apart = self._apart(x)
        return ridge.value(apart).view(x.shape[:2]).sum(1) / self.s.flatten().to(x) ** 2

    def grad(self, x: Tensor) -> Tensor:
        ridge, apart = self._apart(x)
        with torch.no_grad():
            return ridge.grad(apart).view_as(x) / self.s.to(x) ** 2

    def lipschitz(self) -> float:
        return self.steepest

    def weakness(self) -> float:
        return self.concave

    def _apart(self, x: Tensor) -> tuple[Ridge, Tensor]:
        """R_s in x's format, and the channels as pictures."""
        ridge = self.ridge.to(x)
        alpha = ridge.alpha.expand(len(x), -1, -1, -1).repeat_interleave(x.shape[1], 0)
        return replace(ridge, alpha=alpha), x.flatten(0, 1)[:, None]


@lru_cache
def shipped() -> Network:
    """The shipped regulariser, read once."""
    return load(SHIPPED)


def _net(weights: str | None) -> Network:
    return shipped() if weights is None else read_for(weights, "wcrr")


@DENOISERS.register("wcrr", cite=("goujon2024",))
def wcrr(weights: str | None = None) -> Denoiser:
    """Weakly convex ridge regulariser, the minimiser of a convex problem; up to 50/255; weights: a file of your own."""
    return NetworkDenoiser(_net(weights), "float32")


@PRIORS.register("wcrr", cite=("goujon2024",), examples=("wcrr", "wcrr:sigma=0.05"))
def wcrr_prior(sigma: float | None = None, weights: str | None = None) -> Prior:
    """A learned weakly convex function (ridge regulariser) of 14 thousand numbers, with convergence theorems.

    sigma: its strength, the noise that it was learned for; by default by the rules.  weights: a file of your own.
    """
    return Ridges(_net(weights), sigma)
