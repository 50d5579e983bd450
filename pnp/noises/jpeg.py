"""What JPEG's quantisation does to a picture, coefficient by coefficient."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..linalg import dct_basis
from ..registry import NOISES
from .base import Noise, batched

LEVELS = 255  # of an 8-bit JPEG
ROUNDING = 1 / 12  # variance of the rounding of decoded samples, in levels²
YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # BT.601, as JFIF has it
RATES = torch.from_numpy(np.geomspace(0.02, 20, 200))  # of Laplacians that are tried: q/(2 b)
# the tables of ITU-T T.81, annex K, row by row
LUMA = (16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
        51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121,
        120, 101, 72, 92, 95, 98, 112, 100, 103, 99)  # fmt: skip
CHROMA = (17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
          *(99,) * 38)  # fmt: skip


class Quantised(NamedTuple):
    """How a JPEG was quantised.  steps: of Y, and of Cb and Cr, 64 each, row by row, in levels of 255.

    across, down: how many pixels a sample of Cb and of Cr stands for.
    """

    steps: tuple[tuple[float, ...], ...]
    across: int = 1
    down: int = 1

    @classmethod
    def of_quality(cls, quality: int, chroma: int = 1) -> Quantised:
        """By the tables of the standard, scaled as libjpeg does; chroma: 1, or 2 for half resolution both ways."""
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        steps = [tuple(float(min(max((s * scale + 50) // 100, 1), 255)) for s in table) for table in (LUMA, CHROMA)]
        return cls((steps[0], steps[1], steps[1]), chroma, chroma)


@NOISES.register("jpeg", cite=("lam2000",), examples=("jpeg:quality=90,sigma=0.02", "jpeg:quality=95,sigma=0.01"))
@dataclass(frozen=True)
class Jpeg(Noise):
    """y = JPEG(u + sigma n): each DCT coefficient of Y, Cb and Cr has an error of its own variance.

        value(u, y) = ½ Σ_k (w_k·(u − y))²/ν_k    over the blocks of y, + ‖u − y‖²/(2 level²) beside them
        prox(v, y, tau): w_k·u = (ν_k w_k·v + tau w_k·y)/(ν_k + tau), and v where no w_k looks

    M takes the pixels of a block, 8 × 8, or as large as one block of Cb with its pixels, to the coefficients of Y, Cb
    and Cr; Λ has their variances; Λ^−½ M = U diag(ν^−½) W, a singular value decomposition: the rows w_k of W are
    orthonormal.  Of chroma at half resolution y has lost three quarters, and W looks at half of the numbers.

    Λ, for each frequency of each component, from a Laplacian of parameter b fitted to its quantised coefficients Q:
        (1 − g) D + g mean of Q²,   g = sigma²/max(sigma², 2 b²), the share of the noise
    D is the mean of the Laplacian's variance within a step, and within ± q/2 where Q is 0.  Where most of Q is not 0,
    the mean of Q² less D takes the place of 2 b².  Without noise that is D; of noise alone it is all that is left.
    y is as it was decoded: libjpeg's smooth interpolation of chroma is undone.  Where all of a frequency is 0, the
    misfit at the truth is often less than `expected`.

    quality, chroma (1: whole, 2: half resolution): for a simulation; tables: those of a file.  sigma: std of the white
    noise before the quantisation, image units.  Lam & Goodman 2000 for the Laplacian.
    """

    block: ClassVar[int] = 8
    rules: ClassVar[str] = "jpeg"
    quality: int = 75
    chroma: int = 2
    sigma: float = 0.0
    tables: Quantised | None = field(default=None, repr=False)
    factor: float | Tensor = field(default=1.0, repr=False)  # by what all variances' roots were scaled
    fitted: Fitted | None = field(default=None, repr=False, compare=False)  # to one measurement

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100 or self.chroma not in (1, 2):
            raise ValueError(f"quality is {self.quality}, chroma {self.chroma}; expected 1 to 100, and 1 or 2.")
        if not 0 <= self.sigma < float("inf"):
            raise ValueError(f"sigma is {self.sigma}; expected a number from 0.")

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        """Raises ValueError for channels that the tables have no steps for, and for missing pixels."""
        if known is not None and not bool((known > 0).all()):
            raise ValueError("jpeg noise needs whole blocks, and pixels are missing. Use gaussian noise.")
        return replace(self, fitted=fit(y, self._grid(y.shape[1]), self.sigma, self.factor))

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        """Quantised and decoded as a file is, without clipping, rounding to 8 bits, smooth chroma."""
        checks.image(u, "u")
        grid = self._grid(u.shape[1])
        noisy = u.detach().cpu().double()
        noisy = noisy + self.sigma * torch.randn(u.shape, generator=generator, dtype=torch.float64)
        parts = grid.blocks(noisy)
        c = (parts - 0.5) @ grid.matrix.T
        stored = (c / grid.steps).round() * grid.steps
        return grid.put(parts + (stored - c) @ grid.inverse.T, noisy).to(u)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        f = self._at(y)
        inside, rest = f.inside(u), f.rest(u - y)
        whitened = (inside - f.aim).square() / f.variances
        return whitened.flatten(1).sum(1) / 2 + rest.square().flatten(1).sum(1) / (2 * batched(f.level) ** 2)

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        f = self._at(y)
        return f.image((f.inside(u) - f.aim) / f.variances) + f.rest(u - y) / f.level**2

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        f = self._at(y)
        tau = torch.as_tensor(tau, dtype=v.dtype, device=v.device).view(-1, 1, 1, 1)
        moved = f.image((f.aim - f.inside(v)) * (tau.view(-1, 1, 1) / (f.variances + tau.view(-1, 1, 1))))
        return v + moved + f.rest(y - v) * (tau / (f.level**2 + tau))

    def curvature(self, y: Tensor) -> Tensor:
        """1/the least variance."""
        f = self._at(y)
        return 1 / torch.minimum(f.variances.flatten(1).amin(1).view(-1, 1, 1, 1), f.level**2)

    def level(self, y: Tensor) -> Tensor:
        """The root of the mean variance over the samples that are looked at, (B, 1, 1, 1)."""
        return self._at(y).level

    def misfit(self, u: Tensor, y: Tensor) -> Tensor:
        """Σ_k level ν_k^−½ (w_k·(u − y)) w_k."""
        f = self._at(y)
        return f.image((f.inside(u) - f.aim) * (f.level.view(-1, 1, 1) / f.variances.sqrt())) + f.rest(u - y)

    def expected(self, y: Tensor) -> Tensor:
        """level √(share of the samples that are looked at)."""
        f = self._at(y)
        return f.level.flatten() * (1 - f.unseen / y[0].numel()) ** 0.5

    def scaled(self, factor: float | Tensor) -> Noise:
        return replace(self, factor=self.factor * factor, fitted=None)

    def described(self) -> str:
        sizes = "" if self.tables is None or len(self.tables.steps) < 3 else (
            f", chroma of {self.tables.across} x {self.tables.down} pixels")  # fmt: skip
        return f"JPEG's quantisation{sizes}, white noise of std {self.sigma:.2g} before it"

    def _at(self, y: Tensor) -> Fitted:
        return self.fitted or fit(y, self._grid(y.shape[1]), self.sigma, self.factor)

    def _grid(self, channels: int) -> Grid:
        tables = self.tables or Quantised.of_quality(self.quality, self.chroma)
        if channels not in (1, 3) or len(tables.steps) < channels:
            raise ValueError(f"jpeg noise is for 1 or 3 channels with a table each; got {channels} and tables for "
                             f"{len(tables.steps)}.")  # fmt: skip
        return grid_of(tables, channels)


@dataclass(frozen=True, eq=False)
class Grid:
    """The blocks of a JPEG: M and its pseudo-inverse, float64.

    matrix: (m, n), the coefficients of the n numbers of a block, C · height · width; inverse: (n, m); steps: (m,),
    image units; kinds: (m,), the number of the frequency and component that a coefficient is of.
    """

    matrix: Tensor
    inverse: Tensor
    steps: Tensor
    kinds: Tensor
    channels: int
    height: int
    width: int

    def blocks(self, x: Tensor) -> Tensor:
        """(B, C, H, W) as (B, N, n): the whole blocks, from the upper left corner."""
        h, w = (x.shape[-2] // self.height, x.shape[-1] // self.width)
        parts = x[..., : h * self.height, : w * self.width].unflatten(3, (w, self.width)).unflatten(2, (h, self.height))
        return parts.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)

    def put(self, parts: Tensor, x: Tensor) -> Tensor:
        """x with its whole blocks replaced."""
        h, w = (x.shape[-2] // self.height, x.shape[-1] // self.width)
        planes = parts.view(len(x), h, w, self.channels, self.height, self.width).permute(0, 3, 1, 4, 2, 5)
        x = x.clone()
        x[..., : h * self.height, : w * self.width] = planes.reshape(len(x), self.channels, h * self.height, -1)
        return x


@lru_cache(maxsize=8)
def grid_of(tables: Quantised, channels: int) -> Grid:
    """The blocks of a file with these tables."""
    across, down = (tables.across, tables.down) if channels == 3 else (1, 1)
    height, width, dct = 8 * down, 8 * across, dct_basis(8)
    pixels = torch.eye(height * width, dtype=torch.float64).view(-1, height, width)
    whole = pixels.unflatten(2, (across, 8)).unflatten(1, (down, 8)).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
    bright = (whole @ dct.T).flatten(1).T  # (64 · blocks, pixels)
    if channels == 1:
        matrix, kinds = bright, torch.arange(64)
    else:
        means = pixels.unflatten(2, (8, across)).unflatten(1, (8, down)).mean((2, 4)).flatten(1)
        coarse = (means @ dct.T).T  # (64, pixels)
        weights = torch.tensor(YCC, dtype=torch.float64)
        parts = zip(weights, (bright, coarse, coarse), strict=True)
        matrix = torch.cat([torch.kron(w[None], part.contiguous()) for w, part in parts])
        kinds = torch.cat([torch.arange(64).repeat(across * down), torch.arange(64, 192)])
    steps = torch.tensor(tables.steps[:channels], dtype=torch.float64).flatten()[kinds] / LEVELS
    return Grid(matrix, torch.linalg.pinv(matrix), steps, kinds, channels, height, width)


@dataclass(frozen=True, eq=False)
class Fitted:
    """Variances that fit one measurement.  basis: W, (B, m, n); variances: ν, (B, 1, m), image units²; aim: W y,
    (B, N, m); level: (B, 1, 1, 1); unseen: how many numbers of each image W does not look at."""

    grid: Grid
    basis: Tensor
    variances: Tensor
    aim: Tensor
    level: Tensor
    unseen: int
    shape: torch.Size

    def inside(self, x: Tensor) -> Tensor:
        """W of each block, (B, N, m)."""
        return self.grid.blocks(x) @ self.basis.mT

    def image(self, c: Tensor) -> Tensor:
        """Wᵀ: the picture of coefficients (B, N, m), 0 beside the blocks."""
        return self.grid.put(c @ self.basis, c.new_zeros(self.shape))

    def rest(self, x: Tensor) -> Tensor:
        """x beside the whole blocks, 0 in them."""
        x = x.clone()
        x[..., : x.shape[-2] // self.grid.height * self.grid.height,
          : x.shape[-1] // self.grid.width * self.grid.width] = 0  # fmt: skip
        return x


def fit(y: Tensor, grid: Grid, sigma: float, factor: float | Tensor = 1.0) -> Fitted:
    """The variances of the coefficients of y (B, C, H, W), image by image, and what its file has stored."""
    double = y.detach().cpu().double()
    c = grid.blocks(_stored(double, grid)) @ grid.matrix.T  # (B, N, m)
    flat = grid.blocks(torch.full_like(double[:1], 0.5))[:, :1] @ grid.matrix.T  # JPEG counts from the middle
    own = sigma**2 * grid.matrix.square().sum(1)
    scale = torch.as_tensor(factor, dtype=torch.float64).flatten().expand(len(y)) ** 2
    count = round(int(grid.kinds.max()) + 1)
    found = []
    for i in range(len(y)):
        stored = ((c[i] - flat[0]) / grid.steps).round().abs()
        variances = (_variances(stored, grid, own, count) + ROUNDING / LEVELS**2) * scale[i]
        _, values, basis = torch.linalg.svd(grid.matrix / variances.sqrt()[:, None], full_matrices=False)
        found.append((basis, values**-2))
    basis, variances = (torch.stack(each) for each in zip(*found, strict=True))
    aim = (c @ grid.inverse.T) @ basis.mT
    blocks = aim.shape[1]
    unseen = blocks * (grid.matrix.shape[1] - grid.matrix.shape[0])
    level = variances.mean(1).sqrt().view(-1, 1, 1, 1)
    return Fitted(grid, basis.to(y), variances[:, None].to(y), aim.to(y), level.to(y), unseen, y.shape)


def survived(y: Tensor, tables: Quantised) -> Tensor:
    """How much of the noise of a picture (B, C, H, W) has survived its quantisation, (B,): a share from 0 to 1.

    Of the tenth of the blocks of Y with the least at 0 < i + j < 3: the share of coefficients of 3 <= i + j <= 6 that
    are not 0.  Clean photographs have 0 to 0.5 at quality 75, noise of 10/255 leaves 0.6 at quality 85.
    """
    grid = grid_of(tables, y.shape[1])
    double = y.detach().cpu().double()
    bright = grid.kinds < 64
    c = grid.blocks(_stored(double, grid) - 128 / LEVELS) @ grid.matrix[bright].T
    steps = grid.steps[bright]
    stored = (c / steps).round().reshape(len(y), -1, 64)  # each block of Y
    degree = torch.arange(64) // 8 + torch.arange(64) % 8
    low = (stored * steps[:64])[..., (degree > 0) & (degree < 3)].square().sum(-1)
    flat = low.argsort(1)[:, : max(1, low.shape[1] // 10)]
    middle = (stored != 0).double()[..., (degree >= 3) & (degree <= 6)].mean(-1)
    return middle.gather(1, flat).mean(1).to(y)


def density(y: Tensor, tables: Quantised) -> Tensor:
    """The std of JPEG's error at the frequencies that have most of it, of pictures (B, C, H, W), (B,).

        √(Σ_k e_k²/Σ_k e_k),   e_k = min(q_k²/12, mean of c_k²)

    Σ runs over the frequencies k of each component, weighted by what R, G and B see of it; c_k are its coefficients, in
    image units.  A deconvolution meets the error where the picture is, which is where e is large: at low quality that
    is far above the mean over all frequencies, most of which are empty.
    """
    grid = grid_of(tables, y.shape[1])
    double = y.detach().cpu().double()
    power = (grid.blocks(_stored(double, grid) - 128 / LEVELS) @ grid.matrix.T).square().mean(1)  # (B, m)
    error = torch.minimum(power, grid.steps**2 / 12)
    weight = grid.inverse.square().sum(0)
    return ((weight * error.square()).sum(1) / (weight * error).sum(1).clamp_min(1e-30)).sqrt().to(y)


def _variances(stored: Tensor, grid: Grid, own: Tensor, kinds: int) -> Tensor:
    """Λ (m,), from the multiples of their steps (N, m) that a file has stored; own: the white noise's (m,)."""
    size = len(grid.kinds)
    if not len(stored):
        return grid.steps**2 / 12 + own

    def of_kind(x: Tensor) -> Tensor:  # blocks of Y that share a table are fitted together
        return torch.zeros(kinds, dtype=x.dtype).index_add(0, grid.kinds, x)

    there = stored > 0
    zeros, more = of_kind((~there).double().sum(0)), of_kind(there.double().sum(0))
    tails = of_kind(((2 * stored - 1) * there).sum(0))
    rate = RATES[:, None]  # P(0) = 1 − e^−rate, P(±n) = e^−rate(2 n − 1) (1 − e^−2 rate)
    likely = zeros * (-torch.expm1(-rate)).log() - rate * tails + more * (-torch.expm1(-2 * rate)).log()
    number = len(stored) * of_kind(torch.ones(size, dtype=tails.dtype))
    rate = RATES[likely.argmax(0)][grid.kinds]
    share, power = (x[grid.kinds] for x in (zeros / number, of_kind(stored.square().sum(0)) / number))
    half, b, left = grid.steps / 2, grid.steps / (2 * rate), torch.exp(-rate)
    v0 = (2 * b**2 - (half**2 + 2 * half * b + 2 * b**2) * left) / (1 - left)
    t = torch.linspace(-1, 1, 201, dtype=torch.float64)[:, None]
    weight = torch.exp(-t * rate)
    v1 = half**2 * (weight * t**2).sum(0) / weight.sum(0)
    lost, seen = share * v0 + (1 - share) * v1, power * grid.steps**2
    # noise is Gaussian, so where most coefficients are there their own variance tells more than the Laplacian's
    part = own / torch.maximum(own, torch.where(share < 0.5, seen - lost, 2 * b**2)).clamp_min(1e-30)
    constant = grid.kinds % 64 == 0  # the mean of a block is no Laplacian's
    lost = torch.where(constant, grid.steps**2 / 12 + own, (1 - part) * lost + part * seen)
    return lost


def _stored(y: Tensor, grid: Grid) -> Tensor:
    """y (B, 3, H, W) with the chroma that its file has stored: libjpeg's interpolation undone.

    Between samples c it writes (3 c_i + c_i±1)/4, whose means over a sample are (c_i−1 + 6 c_i + c_i+1)/8: these are
    solved for c, with the same sample again beyond the ends.
    """
    down, across = grid.height // 8, grid.width // 8
    if down * across == 1:
        return y
    weights = torch.tensor(YCC, dtype=torch.float64)
    planes = torch.einsum("kc,bchw->bkhw", weights, y)[:, 1:]
    h, w = y.shape[-2] // down, y.shape[-1] // across
    if min(h, w) < 2:
        return y
    means = planes[..., : h * down, : w * across].unflatten(3, (w, across)).unflatten(2, (h, down)).mean((3, 5))
    stored = means
    if across == 2:
        stored = _sharpened(stored)
    if down == 2:
        stored = _sharpened(stored.mT).mT
    apart = (stored - means).repeat_interleave(down, 2).repeat_interleave(across, 3)
    back = torch.linalg.inv(weights)[:, 1:]
    y = y.clone()
    y[..., : h * down, : w * across] += torch.einsum("ck,bkhw->bchw", back, apart)
    return y


def _sharpened(means: Tensor) -> Tensor:
    """c of (c_i−1 + 6 c_i + c_i+1)/8 = means, along the last axis."""
    from scipy.linalg import solveh_banded

    n = means.shape[-1]
    bands = np.full((2, n), 1 / 8)
    bands[1] = 6 / 8
    bands[1, [0, -1]] = 7 / 8
    columns = means.reshape(-1, n).numpy().T
    return torch.from_numpy(np.ascontiguousarray(solveh_banded(bands, columns).T)).view(means.shape)
