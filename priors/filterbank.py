"""Periodic wavelet transforms in torch, batched and differentiable; the filters are PyWavelets'."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad


@cache
def filters(name: str) -> Tensor:
    """(2, L): low-pass and high-pass analysis filters of an orthonormal wavelet, float64."""
    import pywt

    wavelet = pywt.Wavelet(name)
    return torch.tensor([wavelet.dec_lo, wavelet.dec_hi], dtype=torch.float64)


class WaveletTransform:
    """Orthonormal 2-D transform with periodic borders, on sizes that 2^levels divides.   Mallat 1989.

    Bands are stacked: details[l] is (B, 3, C, H/2^(l+1), W/2^(l+1)), finest first.  Up to a cyclic shift of the
    coefficients it is PyWavelets' mode "periodization".
    """

    def __init__(self, pair: Tensor, levels: int) -> None:
        self.pair, self.levels = pair, levels

    def extend(self, x: Tensor) -> Tensor:
        """x continued to the next multiple of 2^levels: mirrored, or repeated where x is too small for a mirror."""
        h, w = x.shape[-2:]
        down, right = (-n % 2**self.levels for n in (h, w))
        if not (down or right):
            return x
        return pad(x, (0, right, 0, down), mode="reflect" if down < h and right < w else "replicate")

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        bank, details = self._bank(x), []
        for _ in range(self.levels):
            b, c, h, w = x.shape
            bands = conv2d(_wrap_before(x, bank.shape[-1] - 2).reshape(b * c, 1, *_grown(h, w, bank)), bank, stride=2)
            bands = bands.view(b, c, 4, h // 2, w // 2).transpose(1, 2)  # (B, 4, C, H/2, W/2)
            x = bands[:, 0]
            details.append(bands[:, 1:])
        return x, details

    def inverse(self, approximation: Tensor, details: list[Tensor]) -> Tensor:
        bank = self._bank(approximation)
        x = approximation
        for detail in reversed(details):
            b, _, c, h, w = detail.shape
            bands = torch.cat([x[:, None], detail], 1).transpose(1, 2).reshape(b * c, 4, h, w)
            wide = conv_transpose2d(bands, bank, stride=2).view(b, c, *_grown(2 * h, 2 * w, bank))
            x = _wrap_adjoint(wide, 2 * h, 2 * w)
        return x

    def _bank(self, like: Tensor) -> Tensor:
        """(4, 1, L, L) filters LL, LH, HL, HH, flipped: conv2d correlates."""
        f = self.pair.flip(1)
        return torch.einsum("ai,bj->abij", f, f).reshape(4, 1, f.shape[1], f.shape[1]).to(like)


class UndecimatedTransform:
    """The à trous transform: all shifts of the orthonormal one, scaled by 2^−l at level l, so that WᵀW + low-pass = I.

    Coefficients: (B, 3 levels, C, H, W), any size, periodic borders.  It fits `dual.Analysis` with h the sum of
    |coefficients|.   Coifman & Donoho 1995; Starck et al. 2007.
    """

    norm_squared = 1.0

    def __init__(self, pair: Tensor, levels: int) -> None:
        self.pair, self.levels = pair / 2**0.5, levels
        self.bands = 3 * levels

    def map(self, x: Tensor) -> Tensor:
        parts = []
        for level in range(self.levels):
            low, high = self._along(x, level, -2)
            ll, lh = self._along(low, level, -1)
            hl, hh = self._along(high, level, -1)
            parts += [lh, hl, hh]
            x = ll
        return torch.stack(parts, 1)

    def adjoint(self, p: Tensor) -> Tensor:
        x = torch.zeros_like(p[:, 0])
        for level in reversed(range(self.levels)):
            lh, hl, hh = p[:, 3 * level : 3 * level + 3].unbind(1)
            low = self._back(x, lh, level, -1)
            high = self._back(hl, hh, level, -1)
            x = self._back(low, high, level, -2)
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
        """Low- and high-pass along one axis, taps 2^level apart."""
        shifts = [x.roll(-(i << level), axis) for i in range(self.pair.shape[1])]
        return _combine(shifts, self.pair[0]), _combine(shifts, self.pair[1])

    def _back(self, low: Tensor, high: Tensor, level: int, axis: int) -> Tensor:
        taps = zip(self.pair[0].tolist(), self.pair[1].tolist(), strict=True)
        parts = [(a * low + b * high).roll(i << level, axis) for i, (a, b) in enumerate(taps)]
        return _combine(parts, torch.ones(len(parts)))


def _combine(parts: list[Tensor], weights: Tensor) -> Tensor:
    out = parts[0] * float(weights[0])
    for part, weight in zip(parts[1:], weights[1:].tolist(), strict=True):
        out.add_(part, alpha=weight)
    return out


def _grown(h: int, w: int, bank: Tensor) -> tuple[int, int]:
    extra = bank.shape[-1] - 2
    return h + extra, w + extra


def _wrap_before(x: Tensor, extra: int) -> Tensor:
    """`extra` rows and columns of the far side put before the first ones (several times round for tiny pictures)."""
    h, w = x.shape[-2:]
    rows = torch.arange(-extra, h, device=x.device) % h
    columns = torch.arange(-extra, w, device=x.device) % w
    return x[..., rows, :][..., columns]


def _wrap_adjoint(z: Tensor, h: int, w: int) -> Tensor:
    """The adjoint of `_wrap_before`: what was put before is added where it came from."""
    rows = torch.arange(h - z.shape[-2], h, device=z.device) % h
    columns = torch.arange(w - z.shape[-1], w, device=z.device) % w
    z = torch.zeros(*z.shape[:-2], h, z.shape[-1], dtype=z.dtype, device=z.device).index_add_(-2, rows, z)
    return torch.zeros(*z.shape[:-1], w, dtype=z.dtype, device=z.device).index_add_(-1, columns, z)
