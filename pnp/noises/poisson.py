"""Photon noise."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..linalg import per_image
from ..registry import NOISES
from .base import Noise, around, batched

ROOT = 3 / 8  # Anscombe's


@NOISES.register("poisson", cite=("anscombe1948",), examples=("poisson:gain=0.01", "poisson:gain=0.01,background=0.1"))
@dataclass(frozen=True)
class Poisson(Noise):
    """y = gain · N, N ~ Poisson((u + b)/gain): photon counts scaled to image units, of mean u + b.

        value(u, y) = Σ (w − y + y log(y/w))/gain,   w = u + b      (the Kullback-Leibler divergence; inf where w < 0)
        slope       = (1 − y/w)/gain
        prox(v, y, tau): w is the positive root of w² + (tau/gain − v − b) w − tau y/gain = 0

    gain: the brightness of one photon, in image units, a number or (B, 1, 1, 1); b: a background that is there without
    the picture.  With b > 0 and u >= 0 the slope has the Lipschitz constant max(y)/(gain b²); without it has none.
    Figueiredo & Bioucas-Dias 2010 (PIDAL), eq. 25 for the prox.
    """

    gain: float | Tensor
    background: float = 0.0
    everywhere: ClassVar[bool] = False
    known: Tensor | None = field(default=None, repr=False, compare=False)  # of one measurement

    def __post_init__(self) -> None:
        checks.positive_tensor(self.gain, "gain")
        if not 0 <= self.background < float("inf"):
            raise ValueError(f"background is {self.background}; expected a number from 0.")

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        low = float(y.min())
        if low < -1e-5 * max(1.0, float(y.abs().max())):
            raise ValueError(f"y goes down to {low:.3g}, but photon counts are never negative. "
                             "Subtract a smaller camera offset (--range), or use gaussian noise.")  # fmt: skip
        checks.per_image(self.gain, "gain", len(y))
        return replace(self, gain=self.gain.to(y) if isinstance(self.gain, Tensor) else self.gain, known=known)

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        """Raises ValueError for a u below 0."""
        gain = torch.as_tensor(self.gain, dtype=torch.float64, device="cpu")
        rate = (checks.image(u, "u").detach().to("cpu", torch.float64) + self.background) / gain
        if float(rate.min()) < -1e-5 * float(rate.abs().max()):  # a blur by FFT leaves -1e-8 where it should leave 0
            raise ValueError(f"u goes down to {float(u.min()):.3g}; Poisson noise counts photons, so it needs u >= 0.")
        return (gain * torch.poisson(rate.clamp_min(0), generator=generator)).to(u)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        w, y = u + self.background, y.clamp_min(0)
        terms = torch.xlogy(y, y.clamp_min(1e-30)) - torch.xlogy(y, w.clamp_min(0)) + w - y
        return torch.where(w < 0, torch.inf, terms).flatten(1).sum(1) / batched(self.gain)

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        down, up = self.pulls(u, y)
        return down - up

    def pulls(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """1/gain and y/(w gain)."""
        gain = per_image(self.gain, u)
        least = 1e-6 * gain  # a brightness far below one photon: the slope stays finite at 0
        return (0 * u + 1) / gain, y.clamp_min(0) / torch.maximum(u + self.background, 0 * u + least) / gain

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        t = per_image(tau, v) / self.gain
        half = (v + self.background - t) / 2
        root = (half.square() + t * y.clamp_min(0)).sqrt()
        # the same number twice: where half < 0 their sum would cancel
        w = torch.where(half > 0, half + root, t * y.clamp_min(0) / (root - half).clamp_min(1e-30))
        return w - self.background

    def curvature(self, y: Tensor) -> float | Tensor:
        if self.background == 0:
            return float("inf")
        return y.flatten(1).amax(1).view(-1, 1, 1, 1).clamp_min(1e-12) / (self.gain * self.background**2)

    def described(self) -> str:
        gains = ", ".join(f"{gain:g}" for gain in torch.as_tensor(self.gain).flatten().tolist())
        return f"Poisson, gain {gains}" + (f", background {self.background:g}" if self.background else "")

    def level(self, y: Tensor) -> Tensor:
        """√(gain · mean y)."""
        return (batched(self.gain) * self._mean(y.clamp_min(0))).clamp_min(1e-12).sqrt().view(-1, 1, 1, 1)

    def misfit(self, u: Tensor, y: Tensor) -> Tensor:
        """level times 2√((u + b)/gain + 3/8) − 2√(y/gain + 3/8): of equal variance, bright or dark.   Anscombe 1948."""
        roots = [2 * ((w / self.gain).clamp_min(0) + ROOT).sqrt() for w in (u + self.background, y)]
        return per_image(self.level(y), y) * (roots[0] - roots[1])

    def expected(self, y: Tensor) -> Tensor:
        """level times what the difference of the roots is on average, from a table over the rates; few counts: less."""
        rate = (around(y.clamp_min(0), self.known) / self.gain).clamp(1e-3, 1e3).log10()
        at, spread = _spread()
        found = torch.from_numpy(np.interp(rate.double().cpu().numpy(), at, spread)).to(y)
        return batched(self.level(y)) * self._mean(found).sqrt()

    def offers(self) -> set[str]:
        return super().offers() - (set() if self.background else {"curvature"})

    def _mean(self, x: Tensor) -> Tensor:
        """Of the measured samples of each image, (B,)."""
        if self.known is None:
            return x.flatten(1).mean(1)
        seen = self.known.to(x).expand_as(x)
        return (x * seen).flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)


@lru_cache
def _spread() -> tuple[np.ndarray, np.ndarray]:
    """(log10 of the rate, E (2√(rate + 3/8) − 2√(N + 3/8))²), N ~ Poisson(rate), for rates from 0.001 to 1000."""
    from scipy.stats import poisson

    at = np.linspace(-3, 3, 121)
    spread = []
    for rate in 10**at:
        counts = np.arange(int(rate + 12 * rate**0.5 + 20))
        apart = 2 * np.sqrt(rate + ROOT) - 2 * np.sqrt(counts + ROOT)
        spread.append(float((poisson.pmf(counts, rate) * apart**2).sum()))
    return at, np.array(spread)
