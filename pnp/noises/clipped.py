"""Noise of a measurement that was clipped to [0, 1]: what a pixel at an end says, and how much noise is left."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.special import erfcx, log_ndtr, ndtr

FEW, MOST = 1e-3, 0.6  # shares of pixels at an end: of fewer nobody knows, and of a black picture's noise half is at 0


@dataclass(frozen=True)
class Clipping:
    """y = clip(u + sigma n, 0, 1), n ~ N(0, I): a pixel at 0 says that u + sigma n was 0 or less, and no more.

    below, above: which pixels of y say so, (B, C, H, W) bool; share: what is left of the variance of the misfit, (B,).
    With z how far u is inside of a pixel's end, in sigma, −log p(y | u) is convex in u:

        (u − y)²/(2 sigma²) at a pixel within, −log Φ(−z) at an end.   Tobin 1958
    """

    below: Tensor
    above: Tensor
    sigma: float | Tensor
    share: Tensor

    def misfit(self, u: Tensor, y: Tensor) -> Tensor:
        """sigma² times the derivative of −log p(y | u): u − y within, ± sigma φ(z)/Φ(−z) at an end; of mean 0."""
        at, above, sigma = self._ends
        short, value = (u - y).contiguous(), sigma * _hazard(self._inside(u))
        short.view(-1)[at] = torch.where(above, -value, value)
        return short

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        """−log p(y | u) but for a constant, (B,)."""
        values = ((u - y) ** 2 / (2 * self.sigma**2)).contiguous()
        values.view(-1)[self._ends[0]] = -log_ndtr(-self._inside(u))
        return values.flatten(1).sum(1)

    def _inside(self, u: Tensor) -> Tensor:
        """z of the pixels at an end."""
        at, above, sigma = self._ends
        inner = u.reshape(-1)[at]
        return torch.where(above, 1 - inner, inner) / sigma

    @cached_property
    def _ends(self) -> tuple[Tensor, Tensor, Tensor]:
        """The pixels at an end, as numbers in a flat image; of each, whether it is at 1, and sigma."""
        at = (self.below | self.above).flatten().nonzero().squeeze(1)
        sigma = torch.as_tensor(self.sigma).to(self.share).expand_as(self.below).flatten()[at]
        return at, self.above.flatten()[at], sigma


def find(y: Tensor, sigma: float | Tensor, known: Tensor | None = None) -> Clipping | None:
    """Where a y (B, C, H, W) was clipped to [0, 1]; None where it was not.

    Clipped is an image within [0, 1] with some, but not most, of its pixels at an end.  Pixels whose neighbours are all
    at that end are taken at their word: black without noise looks like that, and a blown-out sky.
    sigma: a number or (B, 1, 1, 1); known: 1 where y was measured.
    """
    seen = torch.ones_like(y) if known is None else known.to(y).expand_as(y)
    below, above = ((y == end) & (seen > 0) for end in (0, 1))
    ends = (below | above).flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)
    clipped = (y.amin((1, 2, 3)) >= 0) & (y.amax((1, 2, 3)) <= 1) & (ends > FEW) & (ends < MOST)
    if not bool(clipped.any()):
        return None
    means = _around(y * seen) / _around(seen).clamp_min(1e-6)
    which, mixed = clipped.view(-1, 1, 1, 1), (means > 0) & (means < 1)
    below, above = below & mixed & which, above & mixed & which
    levels = torch.as_tensor(sigma, dtype=torch.float64).flatten().expand(len(y)).tolist()
    shares = torch.ones(len(y), dtype=y.dtype, device=y.device)
    for i in clipped.nonzero().flatten().tolist():
        at, left = _table(max(levels[i], 1e-6))
        found = np.interp(means[i].double().cpu().numpy(), at, left) * mixed[i].cpu().numpy()
        shares[i] = float(found[seen[i].cpu().numpy() > 0].mean())
    return Clipping(below, above, sigma, shares)


def _hazard(z: Tensor) -> Tensor:
    """φ(z)/Φ(−z)."""
    return math.sqrt(2 / math.pi) / erfcx(z / math.sqrt(2))


def _around(x: Tensor) -> Tensor:
    """The mean of 3×3 pixels, at a border of those that there are."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _table(sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """(E y, E misfit²/sigma²) at u from 0 to 1."""
    u = torch.linspace(0, 1, 1025, dtype=torch.float64)
    low, high = -u / sigma, (1 - u) / sigma
    below, above = ndtr(low), ndtr(-high)
    between = 1 - below - above
    p, q = (torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi) for z in (low, high))
    mean = u * between + sigma * (p - q) + above
    spread = between + low * p - high * q + p * _hazard(-low) + q * _hazard(high)
    return mean.numpy(), spread.numpy()
