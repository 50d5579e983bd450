"""Noise of a simulated measurement, and the noise level of a real one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import checks
from .registry import NOISES

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


FLOOR = 1e-4  # a tenth of the rounding noise of 8-bit pictures: what a picture without noise gets
WINDOWS = 30_000  # as many windows are looked at: more cost time and gain nothing
ENOUGH = 100_000  # coefficients from which the flattest 2 % fix sigma to 2 %


def estimate_sigma(y: Tensor, known: Tensor | None = None) -> Tensor:
    """The sigma of y = picture + sigma n, n white and Gaussian, for each image: (B,), at least `FLOOR`.

    c = orthonormal DCT of each p x p window of each channel.  Low: 0 < i + j < p.  High: i + j >= p.
        flat    = the 2 % of the windows with the least Σ_low c_ij²
        sigma²  = median over (i, j) in high of  mean over flat of c_ij²
    The coefficients of white noise are independent, so a choice by the low ones leaves the high ones unbiased; texture
    is avoided by the choice, blur by the high frequencies.  p = 8, or less where too few windows of 8 x 8 are known.
    Windows that touch the darkest or the brightest value are left out, since clipping there has cut the noise.

    y: (B, C, H, W), a picture, sharp or blurred; known: mask of the measured pixels, broadcast to y, None for all.
    Raises ValueError when y is no picture (a row of numbers), or no 2 x 2 window of it is known.
    Ponomarenko et al. 2007 in the form of Colom & Buades 2013 (IPOL), with our own choice of constants.
    `benchmarks/noise_level.py` compares it with other estimators.
    """
    pixels, mask = _checked(y, known)
    return torch.tensor([_sigma_of_one(*pair) for pair in zip(pixels, mask, strict=True)]).to(y)


class PoissonGaussian(NamedTuple):
    """Noise of variance gain · picture + offset²: photon counts and read-out.

    gain, offset: (B,), in image units.  mean: of the measured pixels.  fit: how well the line explains the variances
    of the groups of windows, 1 for all of their spread, 0 for none.
    """

    gain: Tensor
    offset: Tensor
    mean: Tensor
    fit: Tensor

    def sigma(self) -> Tensor:
        """The standard deviation of white noise with the same mean variance over the picture, (B,)."""
        return (self.gain * self.mean + self.offset**2).sqrt().clamp_min(FLOOR)

    def dominates(self, sigma: Tensor) -> Tensor:
        """Whether it explains the picture better than white noise of std sigma, (B,): mostly photons, and visibly."""
        return (self.gain * self.mean > 2 * self.offset**2) & (self.fit > 0.8) & (self.sigma() > 1.1 * sigma)


def estimate_poisson_gaussian(y: Tensor, known: Tensor | None = None) -> PoissonGaussian:
    """Gain and offset of noise whose variance grows with brightness: var = gain · mean + offset².

    The windows of `estimate_sigma` are sorted by their mean into eight groups of equal size; in each the flattest 5 %
    give a variance as there; the line through the groups, weighted by 1/variance and with neither coefficient below
    0, is the answer.  Arguments and errors as in `estimate_sigma`.
    After Foi et al. 2008 (Practical Poissonian-Gaussian noise modeling and fitting), who fit the same line.
    """
    pixels, mask = _checked(y, known)
    rows = [(*_line_of_one(*pair), float(pair[0][pair[1]].mean())) for pair in zip(pixels, mask, strict=True)]
    gain, variance, fit, mean = torch.tensor(rows, dtype=torch.float64).T.to(y)
    return PoissonGaussian(gain, variance.sqrt(), mean.clamp_min(0), fit)


def _checked(y: Tensor, known: Tensor | None) -> tuple[Tensor, Tensor]:
    """y in float64 on the CPU, and which of its pixels are known."""
    if y.ndim != 4 or min(y.shape[-2:]) < 2:
        raise ValueError(f"y has shape {tuple(y.shape)}: not a picture, so its noise cannot be estimated.  Give sigma.")
    pixels = checks.image(y, "y").detach().to("cpu", torch.float64)
    return pixels, torch.ones_like(pixels, dtype=torch.bool) if known is None else (known.cpu() != 0).expand_as(pixels)


class _Spectra(NamedTuple):
    """Of N windows: mean, energy of the low coefficients, and squares of the high ones (N, p (p - 1) / 2)."""

    mean: Tensor
    energy: Tensor
    high: Tensor

    def variance(self, share: float) -> float:
        """The noise variance that the flattest `share` of the windows shows."""
        count = max(int(len(self.high) * share), min(len(self.high), 500 // self.high.shape[1]))
        flat = self.energy.topk(count, largest=False).indices
        return float(self.high[flat].mean(0).quantile(0.5))


def _spectra(y: Tensor, known: Tensor) -> _Spectra | None:
    """The DCT of the windows of one picture (C, H, W); None where no window is free of clipping."""
    if not bool(_windows(known, 2, 1).any()):
        raise ValueError("no 2 x 2 window of y is known, so its noise cannot be estimated.  Give sigma.")
    shown = y[known]
    p, corners = _corners(known & (y != shown.min()) & (y != shown.max()))
    if len(corners) == 0:
        return None
    if p < 6:
        warnings.warn(f"sigma is a rough estimate, from windows of {p} x {p} known pixels; give sigma.", stacklevel=4)
    order = torch.arange(p)
    degree = (order[:, None] + order).flatten()  # i + j
    c, i, j = corners.T
    basis = torch.kron(_dct(p), _dct(p))
    coefficients = y.unfold(1, p, 1).unfold(2, p, 1)[c, i, j].flatten(1) @ basis.T  # (N, p²)
    energy = coefficients[:, (degree > 0) & (degree < p)].square().sum(1)
    return _Spectra(coefficients[:, 0] / p, energy, coefficients[:, degree >= p].square())


def _sigma_of_one(y: Tensor, known: Tensor) -> float:
    """sigma of one picture (C, H, W)."""
    spectra = _spectra(y, known)
    return FLOOR if spectra is None else max(spectra.variance(0.02) ** 0.5, FLOOR)


def _line_of_one(y: Tensor, known: Tensor) -> tuple[float, float, float]:
    """(gain, offset², fit) of one picture (C, H, W)."""
    spectra = _spectra(y, known)
    if spectra is None:
        return 0.0, FLOOR**2, 0.0
    groups = spectra.mean.argsort().tensor_split(8)
    parts = [_Spectra(*(t[g] for t in spectra)) for g in groups if len(g) >= 8]
    mean = torch.tensor([float(part.mean.mean()) for part in parts], dtype=torch.float64)
    variance = torch.tensor([max(part.variance(0.05), FLOOR**2) for part in parts], dtype=torch.float64)
    return _positive_line(mean, variance)


def _positive_line(x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """a, b >= 0 that minimise Σ (a x/y + b/y − 1)², and 1 − Σ log²((a x + b)/y) / Σ log²(y/ȳ), ȳ the geometric mean."""
    from scipy.optimize import nnls

    if len(x) < 4:
        return 0.0, float(y.median()) if len(y) else FLOOR**2, 0.0
    columns = torch.stack([x.clamp_min(0) / y, 1 / y], 1)
    (a, b), _ = nnls(columns.numpy(), torch.ones_like(y).numpy())
    left = ((a * x + b) / y).clamp_min(1e-9).log().square().sum()
    spread = (y.log() - y.log().mean()).square().sum()
    return float(a), float(b), float(1 - left / spread.clamp_min(1e-12))


def _corners(good: Tensor) -> tuple[int, Tensor]:
    """The window size p that offers most high coefficients, up to `ENOUGH`, and its corners (c, i, j)."""
    stride = int((good.numel() / 2**18) ** 0.5) // 2 * 2 + 1  # odd: not in step with the 8 x 8 blocks of JPEG
    offers = {p: _windows(good, p, stride) for p in (8, 6, 4, 3, 2) if p <= min(good.shape[1:])}
    p = max(offers, key=lambda p: min(int(offers[p].sum()) * p * (p - 1) // 2, ENOUGH))
    corners = offers[p].nonzero() * torch.tensor([1, stride, stride])
    return p, corners[torch.randperm(len(corners), generator=torch.Generator().manual_seed(0))[:WINDOWS]]


def _windows(good: Tensor, p: int, stride: int) -> Tensor:
    """Which p x p windows of (C, H, W) hold good pixels only."""
    columns = F.max_pool2d((~good).float(), (p, 1), (stride, 1))
    return F.max_pool2d(columns, (1, p), (1, stride)) == 0


def _dct(p: int) -> Tensor:
    """The orthonormal DCT-II of p samples, (p, p), one frequency per row."""
    n = torch.arange(p, dtype=torch.float64)
    rows = torch.cos(torch.pi * (2 * n + 1) * n[:, None] / (2 * p)) * (2 / p) ** 0.5
    rows[0] /= 2**0.5
    return rows
