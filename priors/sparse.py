"""Sparse priors: L1 of the pixels and of wavelet coefficients."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..registry import PRIORS
from . import dual
from .base import Prior
from .filterbank import UndecimatedTransform, WaveletTransform, filters


def soft_threshold(v: Tensor, tau: float | Tensor) -> Tensor:
    """sign(v) max(|v| − tau, 0), tau a number or one value an image: (B, 1, 1, 1), whatever the axes of v."""
    level = torch.as_tensor(tau, dtype=v.dtype, device=v.device)
    level = level.view(-1, *[1] * (v.ndim - 1))
    return v - v.clamp(-level, level)


@PRIORS.register("l1", cite=("donoho1995",))
class L1(Prior):
    """g(x) = ‖x‖₁; prox(v, tau) = sign(v) max(|v| − tau, 0)."""

    closed_convex = True

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return soft_threshold(v, tau)

    def value(self, x: Tensor) -> Tensor:
        return x.abs().flatten(1).sum(1)


@PRIORS.register("l0", cite=("xu2013",))
class L0(Prior):
    """g(x) = number of pixels where x is not 0 in some channel; prox(v, tau) = v where Σ_c v_c² > 2 tau, else 0.

    Of a picture's differences along rows and columns, two channels, it counts edges.   Xu, Zheng & Jia 2013, eq. 3.
    """

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        level = torch.as_tensor(tau, dtype=v.dtype, device=v.device)
        return v * (v.square().sum(1, keepdim=True) > 2 * level)

    def value(self, x: Tensor) -> Tensor:
        return (x != 0).any(1).flatten(1).sum(1).to(x)


class WaveletL1(Prior):
    """g(x) = Σ |Wx| over the detail coefficients, W orthonormal and periodic; approximations are free.

    prox(v, tau) = Wᵀ soft(W v, tau), exact where 2^levels divides the picture.  Another picture is extended
    symmetrically to the next multiple and cut again: the usual practice, no longer the prox of a convex function.
    Donoho & Johnstone 1994; Mallat 1989.
    """

    def __init__(self, wavelet: str = "haar", levels: int = 3) -> None:
        self.wavelet, self.levels = wavelet, _depth(levels)
        self.transform = WaveletTransform(filters(wavelet), self.levels)

    closed_convex = True

    def begin(self, x0: Tensor) -> Prior:
        begun = WaveletL1(self.wavelet, self.levels)
        begun.closed_convex = not any(n % 2**self.levels for n in x0.shape[-2:])
        return begun

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        h, w = v.shape[-2:]
        approximation, details = self.transform.forward(self.transform.extend(v))
        return self.transform.inverse(approximation, [soft_threshold(d, tau) for d in details])[..., :h, :w]

    def value(self, x: Tensor) -> Tensor:
        _, details = self.transform.forward(self.transform.extend(x))
        return torch.stack([d.abs().flatten(1).sum(1) for d in details]).sum(0)


class InvariantWaveletL1(dual.AnalysisPrior):
    """g(x) = the mean of the orthonormal form's Σ |Wx| over all shifts of the picture, by the undecimated transform.

    No shift is preferred, which removes the block patterns of the orthonormal form; any size.  prox: to a relative
    duality gap `tol`, as for TV; inside one solve a few steps from the call before.   Coifman & Donoho 1995.
    """

    pause, most = 5, 5

    def __init__(self, wavelet: str = "haar", levels: int = 3, tol: float = 1e-4, max_iter: int = 300) -> None:
        self.wavelet, self.levels = wavelet, _depth(levels)
        super().__init__(UndecimatedTransform(filters(wavelet), self.levels), soft_threshold, tol, max_iter)


@PRIORS.register(
    "wavelet",
    cite=("donoho1995", "mallat1989", "coifman1995"),
    examples=("wavelet:levels=2", "wavelet:name=db4,invariant=false,levels=2", "wavelet:name=sym8,invariant=false"),
)
def wavelet(name: Literal["haar", "db4", "sym8"] = "db4", levels: int = 3, invariant: bool = True) -> Prior:
    """L1 of wavelet details: haar, db4 or sym8; invariant (undecimated) or orthonormal."""
    return InvariantWaveletL1(name, levels) if invariant else WaveletL1(name, levels)


@PRIORS.register("haar", cite=("donoho1995", "coifman1995"), examples=("haar:levels=2", "haar:invariant=false"))
def haar(levels: int = 3, invariant: bool = True) -> Prior:
    """L1 of Haar details: `wavelet:name=haar`."""
    return wavelet("haar", levels, invariant)


def _depth(levels: int) -> int:
    if not 1 <= levels <= 10:
        raise ValueError(f"levels is {levels}; expected 1 to 10: each one halves the picture.")
    return int(levels)
