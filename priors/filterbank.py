"""Periodic wavelet transforms in torch, batched and differentiable; the filters are PyWavelets'."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .nets.common import pad_to_multiple


@cache
def filters(name: str) -> Tensor:
    """(2, L): low-pass and high-pass analysis filters of an orthonormal wavelet, float64."""
    import pywt

    wavelet = pywt.Wavelet(name)
    return torch.tensor([wavelet.dec_lo, wavelet.dec_hi], dtype=torch.float64)


class WaveletTransform:
    """Orthonormal 2-D transform with periodic borders, on sizes that 2^levels divides.   Mallat 1989.

    Bands are stacked: details[l] is (B, 3, C, H/2^(l+1), W/2^(l+1)), finest first.  It is PyWavelets' mode
    "periodization" up to a cyclic shift of the picture, and of the coefficients.
    """

    def __init__(self, pair: Tensor, levels: int) -> None:
        self.pair, self.levels = pair, levels

    def extend(self, x: Tensor) -> Tensor:
        """x continued to the next multiple of 2^levels: mirrored, or repeated where x is too small for a mirror."""
        return pad_to_multiple(x, 2**self.levels)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        details = []
        for _ in range(self.levels):
            rows = [_turn(half) for half in self._analyse(x)]
            ll, lh, hl, hh = (_turn(half) for part in rows for half in self._analyse(part))
            details.append(torch.stack([lh, hl, hh], 1))
            x = ll
        return x, details

    def inverse(self, approximation: Tensor, details: list[Tensor]) -> Tensor:
        x = approximation
        for detail in reversed(details):
            lh, hl, hh = (_turn(d) for d in detail.unbind(1))
            x = self._synthesise(_turn(self._synthesise(_turn(x), lh)), _turn(self._synthesise(hl, hh)))
        return x

    def _analyse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(low, high) along the rows: out[n] = Σ_i f[i] x[2n + i − (L − 2)]."""
        h, extra = x.shape[-2], self.pair.shape[1] - 2
        wide = x[..., torch.arange(-extra, h, device=x.device) % h, :]
        parts = [wide[..., i : i + h : 2, :] for i in range(extra + 2)]
        low, high = self.pair.flip(1)
        return _combine(parts, low), _combine(parts, high)

    def _synthesise(self, low: Tensor, high: Tensor) -> Tensor:
        """The adjoint of `_analyse`, which is its inverse."""
        h, extra = 2 * low.shape[-2], self.pair.shape[1] - 2
        wide = low.new_zeros(*low.shape[:-2], h + extra, low.shape[-1])
        for i, (a, b) in enumerate(self.pair.flip(1).T.tolist()):
            wide[..., i : i + h : 2, :].add_(low, alpha=a).add_(high, alpha=b)
        rows = torch.arange(-extra, h, device=low.device) % h
        return low.new_zeros(*low.shape[:-2], h, low.shape[-1]).index_add_(-2, rows, wide)


def _turn(x: Tensor) -> Tensor:
    """Rows and columns exchanged, in memory too: strides along columns are slow."""
    return x.transpose(-1, -2).contiguous()


class UndecimatedTransform:
    """The detail bands of all shifts of the orthonormal transform, so that ‖Wx‖₁ is the mean of its ‖·‖₁ over shifts.

    Level l = 1, 2, ... takes taps 2^(l−1) apart and carries the weight 4^−l of an orthonormal band.
    Coefficients: (B, 3 levels, C, H, W), any size, periodic borders; WᵀW <= I/4.  Fits `dual.Analysis`, h = ‖·‖₁.
    Coifman & Donoho 1995.
    """

    norm_squared = 0.25

    def __init__(self, pair: Tensor, levels: int) -> None:
        self.pair, self.levels = pair.flip(1) / 2, levels  # halved along each of two axes: a quarter a level
        self.bands = 3 * levels

    def map(self, x: Tensor) -> Tensor:
        parts = []
        for level in range(self.levels):
            low, high = self._along(x, level, -2)
            x, *details = (*self._along(low, level, -1), *self._along(high, level, -1))
            parts += details
        return torch.stack(parts, 1)

    def adjoint(self, p: Tensor) -> Tensor:
        x = torch.zeros_like(p[:, 0])
        for level in reversed(range(self.levels)):
            lh, hl, hh = p[:, 3 * level : 3 * level + 3].unbind(1)
            x = self._back(self._back(x, lh, level, -1), self._back(hl, hh, level, -1), level, -2)
        return x

    def add_map_(self, q: Tensor, x: Tensor, step: float) -> Tensor:
        return q.add_(self.map(x), alpha=step)

    def minus_adjoint(self, v: Tensor, q: Tensor, out: Tensor) -> Tensor:
        return torch.sub(v, self.adjoint(q), out=out)

    def project_(self, q: Tensor, radius: Tensor) -> Tensor:
        return torch.clamp(q, -radius, radius, out=q)

    def size(self, p: Tensor) -> Tensor:
        return p.abs().flatten(1).sum(1)

    def _along(self, x: Tensor, level: int, axis: int) -> tuple[Tensor, Tensor]:
        """Low- and high-pass along one axis: out[n] = Σ_i f[i] x[n + i 2^level]."""
        n, taps = x.shape[axis], self.pair.shape[1]
        wide = x.index_select(axis, torch.arange(n + ((taps - 1) << level), device=x.device) % n)
        parts = [wide.narrow(axis, i << level, n) for i in range(taps)]
        return _combine(parts, self.pair[0]), _combine(parts, self.pair[1])

    def _back(self, low: Tensor, high: Tensor, level: int, axis: int) -> Tensor:
        """The adjoint of `_along`."""
        n, taps = low.shape[axis], self.pair.shape[1]
        grown = list(low.shape)
        grown[axis] = n + ((taps - 1) << level)
        wide = low.new_zeros(grown)
        for i, (a, b) in enumerate(self.pair.T.tolist()):
            wide.narrow(axis, i << level, n).add_(low, alpha=a).add_(high, alpha=b)
        return torch.zeros_like(low).index_add_(axis, torch.arange(grown[axis], device=low.device) % n, wide)


def _combine(parts: list[Tensor], weights: Tensor) -> Tensor:
    out = parts[0] * float(weights[0])
    for part, weight in zip(parts[1:], weights[1:].tolist(), strict=True):
        out.add_(part, alpha=weight)
    return out
