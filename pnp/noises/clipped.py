"""Noise of a measurement that was clipped to [0, 1]: what a pixel at an end says, and how much noise is left."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.special import erfcx, log_ndtr, ndtr

from .. import checks
from ..registry import NOISES
from .base import Noise, around, batched
from .gaussian import Gaussian

FEW, MOST = 1e-3, 0.6  # shares of pixels at an end: of fewer nobody knows, and of a black picture's noise half is at 0


@NOISES.register("clipped", cite=("tobin1958",), examples=("clipped:sigma=0.1",))
@dataclass(frozen=True)
class ClippedGaussian(Noise):
    """y = clip(u + sigma n, 0, 1), n ~ N(0, I): a pixel at 0 says that u + sigma n was 0 or less, and no more.

    With z how far u is inside of a pixel's end, in sigma, −log p(y | u) is convex in u:

        (u − y)²/(2 sigma²) at a pixel within, −log Φ(−z) at an end.   Tobin 1958

    prox: at an end the root of z − z₀ + (tau/sigma²) h(z) = 0, h(z) = φ(z)/Φ(−z), by Newton's method to rounding: the
    left side is convex and rises, so each step from z₀ (the step for v) falls towards the root.
    Which pixels are at an end because of the noise, and how much of its variance is left, `begin` finds in y (`find`).
    sigma: a number or (B, 1, 1, 1).  saturated: True where y, (B, C, H, W), is told to have been cut at its own value,
    so that u + sigma n was at least y there, whatever its neighbours are and whatever white is.
    """

    bounded: ClassVar[bool] = True
    sigma: float | Tensor
    saturated: Tensor | None = field(default=None, repr=False, compare=False)
    ends: Ends | None = field(default=None, repr=False, compare=False)  # of one measurement

    def __post_init__(self) -> None:
        checks.positive_tensor(self.sigma, "sigma")

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        checks.per_image(self.sigma, "sigma", len(y))
        sigma = self.sigma.to(y) if isinstance(self.sigma, Tensor) else self.sigma
        return replace(self, sigma=sigma, ends=find(y, sigma, known, self.saturated))

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        return Gaussian(self.sigma).draw(u, generator).clamp(0, 1)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        values = ((u - y) ** 2 / (2 * self.sigma**2)).contiguous()
        if self.ends is not None:
            values.view(-1)[self.ends.at] = -log_ndtr(-self.ends.inside(u))
        return values.flatten(1).sum(1)

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        return self.misfit(u, y) / self.sigma**2

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        u = Gaussian(self.sigma).prox(v, y, tau).contiguous()
        if (ends := self.ends) is not None:
            ratio = torch.as_tensor(tau / self.sigma**2, dtype=v.dtype, device=v.device).expand_as(v).flatten()[ends.at]
            inner = ends.sigma * _root(ends.inside(v), ratio)
            u.view(-1)[ends.at] = ends.limit + torch.where(ends.above, -inner, inner)
        return u

    def curvature(self, y: Tensor) -> float | Tensor:
        """1/sigma²: h grows by less than 1 for each unit of z."""
        return 1 / self.sigma**2

    def plain(self, y: Tensor) -> Tensor | None:
        if self.ends is None:
            return torch.ones(len(y), dtype=torch.bool, device=y.device)
        return None if bool(self.ends.clipped.all()) else ~self.ends.clipped

    def scaled(self, factor: float | Tensor) -> Noise:
        return replace(self, sigma=self.sigma * factor, ends=None)

    def described(self) -> str:
        share = 0.0 if self.ends is None else self.ends.fraction
        where = "clipped to black or white" if self.saturated is None else "clipped or saturated"
        return f"white Gaussian, {where} in {share:.1%} of the samples"

    def level(self, y: Tensor) -> float | Tensor:
        return self.sigma

    def misfit(self, u: Tensor, y: Tensor) -> Tensor:
        """u − y within, ± sigma h(z) at an end, which at the truth is of mean 0; sigma² times the slope."""
        if self.ends is None:
            return u - y
        short, value = (u - y).contiguous(), self.ends.sigma * _hazard(self.ends.inside(u))
        short.view(-1)[self.ends.at] = torch.where(self.ends.above, -value, value)
        return short

    def completed(self, u: Tensor, y: Tensor) -> Tensor:
        """y within, u ∓ sigma h(z) at an end: the mean of u + sigma n where that is beyond it."""
        return y if self.ends is None else u - self.misfit(u, y)

    def expected(self, y: Tensor) -> float | Tensor:
        """sigma, less where pixels were clipped."""
        return batched(self.sigma) * (1.0 if self.ends is None else self.ends.share.sqrt())


@dataclass(frozen=True)
class Ends:
    """The clipped pixels of a measurement.

    at: their numbers in the flat measurement; above: whether each was cut from above; limit: where, 0 or 1 or what y
    has; sigma: of each.  share: what is left of the
    variance of the misfit, (B,).
    """

    at: Tensor
    above: Tensor
    limit: Tensor
    sigma: Tensor
    share: Tensor
    clipped: Tensor  # which images, (B,)
    fraction: float  # of all samples

    def inside(self, u: Tensor) -> Tensor:
        """z of these pixels."""
        inner = u.reshape(-1)[self.at] - self.limit
        return torch.where(self.above, -inner, inner) / self.sigma


def find(
    y: Tensor, sigma: float | Tensor, known: Tensor | None = None, saturated: Tensor | None = None
) -> Ends | None:
    """Where a y (B, C, H, W) was clipped to [0, 1]; None where it was not.

    Clipped is an image within [0, 1] with some, but not most, of its pixels at an end.  Pixels whose neighbours are all
    at that end are taken at their word: black without noise looks like that, and a blown-out sky.
    sigma: a number or (B, 1, 1, 1); known: 1 where y was measured; saturated: True where y was cut at its own value.
    What these leave of the misfit is not expected to be anything.
    """
    seen = torch.ones_like(y) if known is None else known.to(y).expand_as(y)
    below, above = ((y == end) & (seen > 0) for end in (0, 1))
    ends = (below | above).flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)
    clipped = (y.amin((1, 2, 3)) >= 0) & (y.amax((1, 2, 3)) <= 1) & (ends > FEW) & (ends < MOST)
    told = torch.zeros_like(y, dtype=torch.bool) if saturated is None else saturated & (seen > 0)
    if not bool(clipped.any() or told.any()):
        return None
    means = around(y, seen)
    which, mixed = clipped.view(-1, 1, 1, 1), (means > 0) & (means < 1)
    below, above = below & mixed & which & ~told, above & mixed & which | told
    levels = torch.as_tensor(sigma, dtype=torch.float64).flatten().expand(len(y)).tolist()
    shares = torch.ones(len(y), dtype=y.dtype, device=y.device)
    for i in clipped.nonzero().flatten().tolist():
        grid, left = _table(max(levels[i], 1e-6))
        found = np.interp(means[i].double().cpu().numpy(), grid, left) * mixed[i].cpu().numpy()
        shares[i] = float(found[seen[i].cpu().numpy() > 0].mean())
    if saturated is not None:
        shares = shares * (1 - (told.flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)).to(shares))
    at = (below | above).flatten().nonzero().squeeze(1)
    level = torch.as_tensor(sigma).to(shares).expand_as(below).flatten()[at]
    over = above.flatten()[at]
    limit = torch.where(told.flatten()[at], y.flatten()[at], over.to(y))
    clipped = clipped | told.flatten(1).any(1)
    return Ends(at, over, limit, level, shares, clipped, len(at) / y.numel())


def _root(z: Tensor, ratio: Tensor) -> Tensor:
    """The root of F(t) = t − z + ratio h(t), h' = h (h − t), from t = z, where F > 0: every step goes down to it."""
    t = z.clone()
    for _ in range(60):
        h = _hazard(t)
        step = (t - z + ratio * h) / (1 + ratio * h * (h - t).clamp_min(0))
        t = t - step
        if not len(t) or float((step.abs() / (1 + t.abs())).max()) < 4 * torch.finfo(t.dtype).eps:
            break
    return t


def _hazard(z: Tensor) -> Tensor:
    """φ(z)/Φ(−z)."""
    return math.sqrt(2 / math.pi) / erfcx(z / math.sqrt(2))


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
