"""Noise of a simulated measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import checks
from ..registry import NOISES

Noise = Callable[[Tensor, torch.Generator], Tensor]  # (y, generator) -> noisy y, neither clipped nor rounded


@NOISES.register("gaussian", examples=("gaussian:sigma=0.05",))
@dataclass(frozen=True)
class Gaussian:
    """y + sigma n, n ~ N(0, I): white noise of standard deviation sigma, in image units.

    The draw is made on the CPU in float64 and cast, so it is the same on every device and in every dtype.
    """

    sigma: float

    def __post_init__(self) -> None:
        checks.positive(self.sigma, "sigma")

    def __call__(self, y: Tensor, generator: torch.Generator) -> Tensor:
        checks.image(y, "y")
        return y + self.sigma * torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)


@NOISES.register("poisson", examples=("poisson:gain=0.01",))
@dataclass(frozen=True)
class Poisson:
    """gain * Poisson(y / gain): photon counts scaled back, of mean y and variance gain * y.

    gain: the brightness of one photon, in image units.  Raises ValueError for a y below 0.
    """

    gain: float

    def __post_init__(self) -> None:
        checks.positive(self.gain, "gain")

    def __call__(self, y: Tensor, generator: torch.Generator) -> Tensor:
        rate = checks.image(y, "y").detach().to("cpu", torch.float64) / self.gain
        if float(rate.min()) < -1e-5 * float(rate.abs().max()):  # a blur by FFT leaves -1e-8 where it should leave 0
            raise ValueError(f"y goes down to {float(y.min()):.3g}; Poisson noise counts photons, so it needs y >= 0.")
        return (self.gain * torch.poisson(rate.clamp_min(0), generator=generator)).to(y)


@NOISES.register("saltpepper", examples=("saltpepper:fraction=0.1",))
@dataclass(frozen=True)
class SaltPepper:
    """Each sample of each channel becomes 0 or 1, with probability fraction / 2 each, or stays y."""

    fraction: float

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; expected a share of the samples, from 0 to 1.")

    def __call__(self, y: Tensor, generator: torch.Generator) -> Tensor:
        checks.image(y, "y")
        u = torch.rand(y.shape, generator=generator, dtype=torch.float64).to(y.device)
        salted = torch.where(u >= 1 - self.fraction / 2, torch.ones_like(y), y)
        return torch.where(u < self.fraction / 2, torch.zeros_like(y), salted)
