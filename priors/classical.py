"""Denoisers that nobody trained: the prox of a prior, and non-local means."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import positive
from ..registry import DENOISERS, PRIORS
from .base import Denoiser, Prior
from .pnp import PnP
from .sparse import InvariantWaveletL1
from .tv import TV


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
