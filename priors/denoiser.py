"""Denoisers as priors: plug-and-play, projector, and regularisation by denoising."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice
from ..registry import DENOISERS, PRIORS, SpecError
from .base import Denoiser, Moreau, Prior, runs_in
from .sparse import InvariantWaveletL1
from .tv import TV

Member = Annotated[Denoiser, DENOISERS]  # a parameter that a spec of a denoiser fills
UNET: Any = DENOISERS.part("unet")
SMOOTHED: Any = PRIORS.part("tv")


class PnP(Prior):
    """A denoiser in the place of the prox: prox(v, tau) = D(v, √tau).   Venkatakrishnan et al. 2013.

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
        return f"PnP({_label(self.denoiser)})"

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
    """A denoiser whose k-th call sees the picture turned and mirrored: T_k⁻¹ D(T_k x, sigma), T_k one of eight.

    What a network does differently for one orientation than for another averages out over the iterations, at no cost.
    Made anew for each solve.   Zhang et al. 2021 (DPIR), section 4.2.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser, self.k = denoiser, 0

    @property
    def __name__(self) -> str:
        return _label(self.denoiser)

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        quarters, mirrored = self.k % 4, self.k % 8 >= 4
        self.k += 1
        seen = x.rot90(quarters, (-2, -1))
        seen = self.denoiser(seen.flip(-1) if mirrored else seen, sigma)
        return (seen.flip(-1) if mirrored else seen).rot90(-quarters, (-2, -1))


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
        return f"Projector({_label(self.denoiser)}, {self.sigma:.3g})"

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return runs_in(self.denoiser, device)

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return self.denoiser(v, self.sigma)


class RED(Prior):
    """Regularisation by denoising: grad(x) = (x − D(x, sigma))/sigma².   Romano, Elad & Milanfar 2017.

    Their weight is lam/sigma² here; by Tweedie's formula lam = 1 is then the smoothed density's own weight.
    prox: `inner` steps of the fixed point x <- (v + t D(x))/(1 + t), t = tau/sigma², from v, or in a solve from the
    last answer (their section 4.2): a multiplier in v would be noise of any size to a D that expects sigma.
    There is no value: the field is no gradient unless D's Jacobian is symmetric (Reehorst & Schniter 2019).
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
        return f"RED({_label(self.denoiser)}, {self.sigma:.3g})"

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


class ProxDenoiser:
    """The prox of a prior as a denoiser: D(x, sigma) = prox(x, factor · sigma).

    The best weight of TV or of an L1 norm grows as sigma (not as sigma², which a fixed lam would mean), because their
    gradients have a fixed size while the noise's grows.  x: (B, C, H, W); sigma: a number or (B, 1, 1, 1).
    """

    def __init__(self, prior: Prior, factor: float) -> None:
        self.prior, self.factor = prior, positive(factor, "factor")

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.prior.prox(x, self.factor * sigma)


@DENOISERS.register("tv", cite=("rudin1992",))
def tv_denoiser(factor: float = 0.65) -> Denoiser:
    """Total variation; factor · sigma is its weight (tuned on photographs)."""
    return ProxDenoiser(TV(), factor)


@DENOISERS.register("wavelet", cite=("donoho1995", "coifman1995"))
def wavelet_denoiser(factor: float = 1.15) -> Denoiser:
    """Translation-invariant db4 wavelets, three levels; factor · sigma is the threshold (tuned on photographs)."""
    return ProxDenoiser(InvariantWaveletL1("db4", 3), factor)


@DENOISERS.register("nlm", cite=("buades2005",))
class NonLocalMeans:
    """Non-local means (scikit-image's fast form), picture by picture, channels together.   Buades et al. 2005.

    x: (B, C, H, W); sigma: a number or (B, 1, 1, 1).  patch and distance in pixels; h = strength · sigma (0.6 tuned on
    photographs).
    """

    def __init__(self, patch: int = 5, distance: int = 6, strength: float = 0.6) -> None:
        self.patch, self.distance = int(positive(patch, "patch")), int(positive(distance, "distance"))
        self.strength = positive(strength, "strength")

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        from skimage.restoration import denoise_nl_means

        levels = torch.as_tensor(sigma, dtype=torch.float64).flatten().expand(len(x)).tolist()
        out = []
        for picture, level in zip(x.detach().cpu().numpy(), levels, strict=True):
            grey = picture.shape[0] == 1  # scikit-image drops an axis of one channel
            restored = denoise_nl_means(
                picture[0] if grey else picture,
                self.patch,
                self.distance,
                h=self.strength * level,
                sigma=level,
                fast_mode=True,
                channel_axis=None if grey else 0,
            )
            out.append(torch.as_tensor(restored).reshape(picture.shape))
        return torch.stack(out).to(x)


@PRIORS.register("nlm", cite=("venkatakrishnan2013", "buades2005"))
def nlm(patch: int = 5, distance: int = 6, strength: float = 0.6) -> Prior:
    """Plug-and-play non-local means."""
    return PnP(NonLocalMeans(patch, distance, strength))


@PRIORS.register("pnp", cite=("venkatakrishnan2013",), examples=("pnp:denoiser=nlm", "pnp:denoiser=unet,turns=true"))
def pnp(denoiser: Member = UNET, turns: bool = False) -> Prior:
    """Plug-and-play: the denoiser as the prox; turns: with another orientation of the picture at each call."""
    return PnP(denoiser, turns)


@PRIORS.register("projector", cite=("chang2017",), examples=("projector", "projector:denoiser=nlm,sigma=0.05"))
def projector(denoiser: Member = UNET, sigma: float = 0.05) -> Prior:
    """The denoiser at a fixed strength as a projection."""
    return Projector(denoiser, sigma)


@PRIORS.register(
    "red",
    cite=("romano2017",),
    examples=("red", "red:denoiser=nlm,sigma=0.05", "red:denoiser=(trd:size=7,stages=5),sigma=0.05"),
)
def red(denoiser: Member = UNET, sigma: float = 0.03) -> Prior:
    """Regularisation by denoising at a fixed strength."""
    return RED(denoiser, sigma)


@PRIORS.register("moreau", cite=("bauschke2017",), examples=("moreau:prior=tv,mu=0.01",))
def moreau(prior: Annotated[Prior, PRIORS] = SMOOTHED, mu: float = 0.01) -> Prior:
    """The Moreau envelope of another prior: a smooth version of it, for gradient descent.

    A sum has no prox, and so no envelope that can be computed: smooth its terms, moreau(tv)+moreau(haar).
    """
    if "prox" not in prior.offers():
        raise SpecError(
            f"moreau needs a prior with a prox; {prior.name} has none. Smooth terms: moreau(tv)+moreau(haar)."
        )
    return Moreau(prior, mu)


def _label(denoiser: Denoiser) -> str:
    return getattr(denoiser, "__name__", type(denoiser).__name__)
