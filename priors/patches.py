"""Expected patch log-likelihood (EPLL): a mixture of Gaussians over all overlapping patches of a picture."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..precision import Choice
from ..registry import DENOISERS, PRIORS
from .base import Denoiser, Prior
from .nets import Network
from .network import Learned, NetworkDenoiser, read_for
from .pnp import PnP
from .store import load

BETAS = (1.0, 4.0, 8.0, 16.0, 32.0)  # in units of 1/sigma²
SHIPPED = "epll-8x8-200"
COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))  # brightness, and two differences


class Patches(Learned):
    """D(x, sigma): the mean of all overlapping patches, each restored by a mixture; of grey pictures, as it is.

    Of three channels the brightness and two differences of colour, an orthonormal change that keeps noise white, are
    restored each by itself: 0.6 dB more than red, green and blue.  Of other numbers each channel by itself.
    net: the mixture.  x: (B, C, H, W); sigma: a number, (B,) or (B, 1, 1, 1).
    """

    def __init__(self, net: Network) -> None:
        self.step = NetworkDenoiser(net, "float32")

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).reshape(-1, 1, 1, 1)
        if x.shape[1] != 3:
            return self.step(x, level)
        turn = torch.nn.functional.normalize(torch.tensor(COLOURS, dtype=torch.float64), dim=1).to(x)
        scale = torch.tensor([3.0, 1.0, 1.0], dtype=torch.float64).sqrt().to(x)[:, None, None]  # grey: R = G = B
        seen = torch.einsum("kc,bchw->bkhw", turn, x) / scale
        levels = (level / scale.to(level)).expand(len(x), 3, 1, 1)
        done = self.step(seen.flatten(0, 1)[:, None], levels.reshape(-1, 1, 1, 1)).view_as(x)
        return torch.einsum("kc,bkhw->bchw", turn, scale * done)

    def networks(self) -> list[Network]:
        return self.step.networks()

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return self.step.runs_in(device)


class EPLL(Learned):
    """D(y, sigma): half-quadratic splitting of ‖x − y‖²/(2 sigma²) − EPLL(x), from x = y, for β = (1, 4, ..)/sigma²:

        z <- the mean of the patches of x, each restored as if it had noise of std 1/√β
        x <- (y/sigma² + β z)/(1/sigma² + β)

    net: the mixture.  x: (B, C, H, W); sigma: a number, (B,) or (B, 1, 1, 1).   Zoran & Weiss 2011, section 3.
    """

    def __init__(self, net: Network) -> None:
        self.patches = Patches(net)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).reshape(-1, 1, 1, 1)
        y = x
        for beta in BETAS:
            x = (y + beta * self.patches(x, level / beta**0.5)) / (1 + beta)
        return x

    def networks(self) -> list[Network]:
        return self.patches.networks()

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return self.patches.runs_in(device)


class PatchPrior(PnP):
    """g = −EPLL/size² by one patch step: prox(v, tau) = the mean of the restored patches of v, for noise of std √tau.

    With HQS, weight 1 and tau_k = 1/β_k the solver is Zoran & Weiss's alternation for any operator; its data step takes
    the β of the patches that follow, theirs that of the patches before.  Each patch moves to the approximate maximum of
    its posterior (that of the likeliest component), and g is not convex: the theorem of HQS, constant tau and a closed
    convex prior, does not hold, and the strength has to fall.   Zoran & Weiss 2011, section 3.
    """

    lam = 1.0
    kind = "patches"

    def __init__(self, net: Network) -> None:
        super().__init__(Patches(net))

    @property
    def name(self) -> str:
        return "EPLL"


@lru_cache
def shipped() -> Network:
    """The shipped mixture, read once."""
    return load(SHIPPED)


def _mixture(weights: str | None) -> Network:
    return shipped() if weights is None else read_for(weights, "epll")


@DENOISERS.register("epll", cite=("zoran2011", "cappe2009"))
def epll(weights: str | None = None) -> Denoiser:
    """Expected patch log-likelihood: 200 Gaussians over patches of 8 × 8; weights: a file of your own."""
    return EPLL(_mixture(weights))


@PRIORS.register("epll", cite=("zoran2011", "cappe2009"))
def epll_prior(weights: str | None = None) -> Prior:
    """Patches from 200 Gaussians (EPLL), any operator and noise level; weights: a file of your own."""
    return PatchPrior(_mixture(weights))
