"""The noise level of a measured picture."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import checks, linalg
from .jpeg import YCC

FLOOR = 1e-4  # a tenth of the rounding noise of 8-bit pictures: what a picture without noise gets
WINDOWS = 30_000  # as many windows are looked at: more cost time and gain nothing
WINDOWS_WITH_HOLES = 12_000  # each of them takes a least-squares fit
ENOUGH = 50_000  # coefficients to choose from: windows that offer so many need not be made smaller
FEWEST = 500  # coefficients that fix sigma to about 3 %
SHARES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of the windows, the flattest
CUT = 1e-3  # of the pixels: as many have the darkest or the brightest value where noise was clipped there
FAR = 1e3  # image units, far beyond any picture
FLAT = 0.05  # of the windows of about one brightness, by which noise that grows with it is read
LINE, MOST_PEDESTAL = 0.9, 0.1  # fit of a line that is believed (small clean pictures have 0.8); image units
SURE_LINE = 0.975  # of all windows: photons had 0.98 to 1 in 8 training pictures, texture and white noise up to 0.93
MOST_COUNTS, DARK = 2500, 0.1  # photons: of the brightest pixel; of a group of windows that tells nothing
# of variance/(gain · mean) over the groups: lowest quartile and median within this factor of 1, none below the other
AGREES, AT_LEAST = 1.3, 0.45
AWAY, MANY = 3.0, 0.1  # stds, and share of the windows
DARK_SHARE, PEDESTAL = 0.25, 0.2  # of the pixels, which a pedestal is no brighter than; of what a line does not explain
PEDESTALS = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0)  # that are tried, in shares of the brightest that can be
LEAST_SHARE = 0.6  # of the variance that clipping leaves: where it seems to be less, the means of windows mislead
# a coarse level counts from so many times the finer one, if that of the flattest tenth of windows is less than so many
# times that of the flattest, and that at full size, too: more is texture, or blocks of which JPEG has left nothing
COUNTS, COUNTS_IN_JPEG, COUNTS_IN_BLURRED = (1.3, 1.2, math.inf), (1.3, 1.2, 1.3), (1.2, 2.0, math.inf)
# 56 blurred or halved training JPEGs, with noise of 0, 2 or 4 of 255, lost 0.2 dB to their best sigma on average so,
# at most 0.9; 0.5 and up to 2.2 where all of it was added to what was seen, 0.3 and up to 2.9 with SEEN = 1 (unet)
AMPLIFIED, SEEN = 1.25, 0.5
LEAST_SIDES = (128, 192)  # smaller pictures have too few windows at half, and at a quarter of their size
SPARE = 8  # a window with holes has so many known pixels more than its fit has coefficients
# (side of a window, degree of what is fitted), the best first; where they are equal no pixel of the window is missing
KINDS = ((8, 8), *((8, d) for d in range(7, 1, -1)), (6, 6), (4, 4), (3, 3), (2, 2), (16, 3), (16, 2))


def estimate_sigma(y: Tensor, known: Tensor | None = None) -> Tensor:
    """The sigma of y = picture + sigma n, n white and Gaussian, for each image: (B,), at least `FLOOR`.

    c = orthonormal DCT of each p x p window of each channel.  Low: 0 < i + j < p.  High: i + j >= ⌊(3 p − 1)/2⌋.
        flat    = the 0.2 to 20 % of the windows with the least Σ_low c_ij²
        sigma²  = median over (i, j) in high of  mean over flat of c_ij²
    The coefficients of white noise are independent, so a choice by the low ones leaves the high ones unbiased; texture
    is avoided by the choice and, as blur is, by the high frequencies.  p = 8, or less where too few windows of 8 x 8
    will do.
    In a window with holes the c of i + j < d are fitted to the known pixels by least squares, with the largest d that
    leaves many windows with 8 pixels to spare, and
        sigma²  = median over flat of  ‖what the fit leaves‖²/(median of χ² of as many degrees of freedom).
    Windows that touch the darkest or the brightest value are left out, since clipping there has cut the noise.  What
    is left of it lies between the two: a truncated normal distribution, whose sigma is found from its variance.

    y: (B, C, H, W), a picture, sharp or blurred; known: mask of the measured pixels, broadcast to y, None for all.
    Raises ValueError when y is not a picture (a row of numbers), or too few of its pixels lie close together.
    Ponomarenko et al. 2007 in the form of Colom & Buades 2013 (IPOL), with our own choice of constants.
    `benchmarks/noise_level.py` compares it with other estimators.
    """
    return torch.tensor([_level(_spectra(*pair)) for pair in _pairs(y, known)]).to(y)


class PoissonGaussian(NamedTuple):
    """Noise of variance gain · (picture − black) + offset²: photon counts and read-out.

    gain, offset, black: (B,), in image units.  mean: of the measured pixels.  fit: how well the line explains the
    variances of the groups of windows, 1 for all of their spread, 0 for none.  counted: whether the values are whole
    photons, so that the gain is the step between them.  black: a pedestal of the camera, where the line shows one.
    """

    gain: Tensor
    offset: Tensor
    mean: Tensor
    fit: Tensor
    counted: Tensor
    black: Tensor

    def variance(self, x: Tensor) -> Tensor:
        """Of the noise where the picture is x, (B,)."""
        return self.gain * (x - self.black).clamp_min(0) + self.offset**2

    def sigma(self) -> Tensor:
        """The standard deviation of white noise with the same mean variance over the picture, (B,)."""
        return self.variance(self.mean).sqrt().clamp_min(FLOOR)

    def dominates(self, sigma: Tensor) -> Tensor:
        """Whether it explains the picture better than white noise of std sigma, (B,): mostly photons, and visibly."""
        mostly = (self.variance(self.mean) > 3 * self.offset**2) & (self.fit > LINE) & (self.sigma() > 1.1 * sigma)
        return mostly | self.counted


def estimate_noise(y: Tensor, known: Tensor | None = None) -> tuple[Tensor, PoissonGaussian]:
    """sigma as by `estimate_sigma`, and gain and offset of noise that grows with brightness, by the same windows.

    var = gain · mean + offset²: the windows are sorted by their mean into eight groups of equal size; in each the
    flattest 5 % give a variance as there; the line through the groups, weighted by 1/variance and with neither
    coefficient below 0, is the answer.  Where a line explains far more that reaches 0 above black, it is that one:
    var = gain · (mean − black), as where a camera adds a pedestal.  Where the flattest windows tell no line, all may:
    those of few photons.  Arguments and errors as in `estimate_sigma`.
    Where all values are whole multiples of one step, and the variance of the groups is about step · mean, by which it
    differs less from group to group than by itself, they are counts of photons: the gain is the step.  Dark pixels
    count there, since a count of 0 is no clipping.
    After Foi et al. 2008 (Practical Poissonian-Gaussian noise modeling and fitting), who fit the same line.
    """
    pairs = _pairs(y, known)
    found = [_spectra(*pair) for pair in pairs]
    means = [float(pixels[mask].mean()) for pixels, mask in pairs]
    counted = [_counted(*pair) for pair in pairs]
    darkest = [_quantile(pixels[mask], DARK_SHARE) if bool(mask.any()) else 0.0 for pixels, mask in pairs]
    lines = [
        (step, 0.0, 1.0) if step else _surer(_line(spectra, dark), pair, dark)
        for step, spectra, pair, dark in zip(counted, found, pairs, darkest, strict=True)
    ]
    gain, variance, fit = torch.tensor(lines, dtype=torch.float64).T.to(y)
    whole = torch.tensor([step > 0 for step in counted], device=y.device)
    black = torch.where(variance < 0, -variance / gain.clamp_min(1e-30), 0.0)
    offset, mean = variance.clamp_min(0).sqrt(), torch.tensor(means).to(y).clamp_min(0)
    photons = PoissonGaussian(gain, offset, mean, fit, whole, black)
    return torch.tensor([_level(spectra) for spectra in found]).to(y), photons


def of_file(
    y: Tensor, known: Tensor | None = None, floor: float = 0.0, hidden: float = 0.0, *, pixelwise: bool = False
) -> tuple[Tensor, PoissonGaussian, str]:
    """sigma to restore a picture from a file with, (B,); `estimate_noise`'s photons; where sigma is from, in words.

        sigma   = `seen_in_file`'s level                          of a file without loss
        sigma²  = level² + t² (hidden² − `SEEN` s_1²)₊            of a JPEG;  t = 1 if pixelwise, else `AMPLIFIED`

    s_1: `estimate_sigma`.  hidden: std of what JPEG has rounded away (`Picture.hidden`), which shows only where noise
    or texture was strong enough to be stored; then it is part of s_1.  pixelwise: as of the operator; others amplify
    some of the noise, and lose more by a sigma that is too small than by one that is too large.
    Errors as in `estimate_sigma`.
    """
    level, fine, photons, source = seen_in_file(y, known, floor, hidden, pixelwise=pixelwise)
    if hidden > 0:
        unseen = (hidden**2 - SEEN * fine.square()).clamp_min(0)
        level = (level.square() + (1.0 if pixelwise else AMPLIFIED**2) * unseen).sqrt()
        source += ", with what JPEG has rounded away"
    return level, photons, source


def seen_in_file(
    y: Tensor, known: Tensor | None, floor: float, hidden: float, *, pixelwise: bool
) -> tuple[Tensor, Tensor, PoissonGaussian, str]:
    """The level that shows in a picture from a file, (B,); that at full size; photons; where it is from, in words.

        level  = max(that of photons where they dominate, else `over_sizes`, floor)

    floor: std of the rounding to integers, which is white and part of what is read (`Picture.rounding`).  Without both
    floor and hidden the picture is not from a file of integers, its noise is taken as white, and level is
    `estimate_sigma`'s.  So it is where pixels are missing.
    """
    fine, photons = estimate_noise(y, known)
    white = known is not None or not (floor or hidden)
    level, size = (
        (fine, torch.ones_like(fine)) if white else over_sizes(y, fine, pixelwise=pixelwise, jpeg=hidden > 0)
    )
    many = photons.dominates(level)
    level = torch.where(many, photons.sigma(), level).clamp_min(floor)
    source = "estimated from the measurement"
    if (seen := int(torch.where(many, 1, size).max())) > 1:
        source += f", strongest at {'half' if seen == 2 else 'a quarter of its'} size"
    if bool(many.any()):
        gains = ", ".join(f"{gain:.3g}" for gain in photons.gain.tolist()[:8])
        source += f"; it grows with brightness as photon noise does, gain {gains}; its mean is taken"
    return level, fine, photons, source


def over_sizes(y: Tensor, sigma: Tensor, *, pixelwise: bool, jpeg: bool = False) -> tuple[Tensor, Tensor]:
    """sigma of noise that need not be white, (B,), and the reduction at which it is strongest, (B,): 1, 2 or 4.

        s_k     = k · (sigma of the means of k x k pixels);   s_1 = sigma
        sigma   = √((s_1² + s_2² + s_4²)/3) of a JPEG, and of a picture in colour if pixelwise, else max s_k

    Of white noise all s_k are equal.  Noise that was smoothed, by demosaicking, by resizing or in the camera, has lost
    the high frequencies by which s_1 is read, and s_2 and s_4 are larger.  s_k counts where it is well above the level
    before, and as strong in a tenth of the windows as in the flattest (`COUNTS`); else the level before stays.  s_4
    does not count without s_2, nor where s_4/s_2 > s_2/s_1: the spectrum of smoothed noise flattens towards low
    frequencies, texture's does not.  Where noise is amplified, the noise that all channels share counts (`_strongest`).
    In colour some of it is what demosaicking has left of texture: a textured picture lost 1.3 dB by the largest, where
    smoothed noise of grey training pictures, rms 0.02 and 0.05, loses 0.4 to 1.8 dB less by it.
    y: (B, C, H, W), without missing pixels; sigma: (B,), as by `estimate_sigma`.
    """
    if min(y.shape[-2:]) < LEAST_SIDES[0]:
        return sigma, torch.ones_like(sigma)
    look = _sizes if pixelwise else _strongest
    counts = COUNTS if not jpeg else COUNTS_IN_JPEG if pixelwise else COUNTS_IN_BLURRED
    found = [look(x, float(s), *counts) for x, s in zip(y.detach().to("cpu", torch.float64), sigma, strict=True)]
    levels = torch.tensor(found, dtype=torch.float64).to(sigma)  # (B, 3)
    size = 1 + (levels[:, 1] > levels[:, 0]) + 2 * (levels[:, 2] > levels[:, 1])
    averaged = jpeg or (pixelwise and y.shape[1] > 1)
    level = levels.square().mean(1).sqrt() if averaged else levels.amax(1)
    return torch.where(size > 1, level, levels[:, 0]), size


def _strongest(y: Tensor, sigma: float, margin: float, flat: float, fine: float) -> tuple[float, float, float]:
    """`_sizes` of the channels, or of brightness where its noise is far stronger, scaled as if they were independent.

    JPEG takes the noise of colours away and leaves that of brightness, which all channels share.
    """
    channels = _sizes(y, sigma, margin, flat, fine)
    if len(y) != 3:
        return channels
    weights = torch.tensor(YCC[0], dtype=y.dtype).view(3, 1, 1)
    bright = (weights * y).sum(0, keepdim=True) / weights.norm()
    levels = _sizes(bright, _coarse(bright, 1)[0], margin, flat, fine)
    return levels if math.hypot(*levels) > margin * math.hypot(*channels) else channels


def _sizes(y: Tensor, sigma: float, margin: float, flat: float, fine: float) -> tuple[float, float, float]:
    """s_1, s_2, s_4 of one picture (C, H, W); what does not count is the one before."""
    half, even = _coarse(y, 2)
    if half <= margin * sigma or even >= flat or (math.isfinite(fine) and _coarse(y, 1)[1] >= fine):
        return sigma, sigma, sigma
    if min(y.shape[-2:]) < LEAST_SIDES[1]:
        return sigma, half, half
    quarter, evener = _coarse(y, 4)
    counts = margin < quarter / half <= half / sigma and evener < flat
    return sigma, half, quarter if counts else half


def _coarse(y: Tensor, k: int) -> tuple[float, float]:
    """s_k of one picture, and s_k in the flattest tenth of the windows over that in the flattest."""
    means = F.avg_pool2d(y, k)
    spectra = _spectra(means, torch.ones_like(means, dtype=torch.bool))
    level = k * _level(spectra)
    return level, math.inf if spectra is None else k * spectra.variance((0.1,)) ** 0.5 / level


def textured(y: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """s_2/sigma, and s_2 in the flattest tenth of the windows over that in the flattest, of (B, C, H, W), (B,).

    Both are near 1 for white noise of std sigma, and large for texture.  Small pictures: 1.
    """
    if min(y.shape[-2:]) < LEAST_SIDES[0]:
        return torch.ones_like(sigma), torch.ones_like(sigma)
    level, even = torch.tensor([_coarse(x, 2) for x in y.detach().to("cpu", torch.float64)]).T
    return level.to(sigma) / sigma, even.to(sigma)


def grain(x: Tensor) -> Tensor:
    """The noise of the flattest tenth of the windows of pictures (B, C, H, W) at half size, (B,).

    A denoiser at the right sigma leaves less than 0.5/255 where a picture is flat; noise that was amplified and not
    taken for noise is 8 to 60/255, and shows little at full size.  Pictures of fewer than 32 pixels a side: 0.
    """
    if min(x.shape[-2:]) < 32:
        return x.new_zeros(len(x))
    level, uneven = torch.tensor([_coarse(each, 2) for each in x.detach().to("cpu", torch.float64)]).T
    return (level * uneven.nan_to_num(0, 0, 0)).to(x)


def _pairs(y: Tensor, known: Tensor | None) -> list[tuple[Tensor, Tensor]]:
    """Of each picture the pixels, in float64 on the CPU, and which of them are known."""
    if y.ndim != 4 or min(y.shape[-2:]) < 2:
        raise ValueError(f"y has shape {tuple(y.shape)}: not a picture, so its noise cannot be estimated.  Pass sigma.")
    pixels = checks.image(y, "y").detach().to("cpu", torch.float64)
    mask = torch.ones_like(pixels, dtype=torch.bool) if known is None else (known.cpu() != 0).expand_as(pixels)
    return list(zip(pixels, mask, strict=True))


class _Spectra(NamedTuple):
    """Of N windows: mean, energy of the low coefficients, and squares of the high ones, (N, how many).

    spare: degrees of freedom of each row of `high`; of windows with holes it is one column, the variance of each.
    ends: their pixels lie between these two values.
    """

    mean: Tensor
    energy: Tensor
    high: Tensor
    spare: int
    ends: tuple[float, float]

    def of(self, which: Tensor) -> _Spectra:
        """Of these windows alone."""
        return _Spectra(self.mean[which], self.energy[which], self.high[which], self.spare, self.ends)

    def count(self, share: float) -> int:
        """How many windows are this share, or as many as fix sigma."""
        return max(int(len(self.high) * share), min(len(self.high), FEWEST // self.spare))

    def variance(self, shares: tuple[float, ...]) -> float:
        """The noise variance that the flattest windows show: of the first share of them, or of one of the next.

        A larger share is steadier, but has more texture: it is taken while it shows no more than the one before but for
        chance: 4 √(2/n) of it with n coefficients, since windows overlap.  Lepski 1991 (choice among such estimates).
        """
        flattest = self.energy.argsort()
        best, chance = float("inf"), 0.0
        for share in shares:
            count = self.count(share)
            high = self.high[flattest[:count]]
            seen = float((high.mean(0) if high.shape[1] == self.spare else high[:, 0]).quantile(0.5))
            value = _untruncated(seen, self.mean[flattest[:count]], *self.ends)
            if value > best * (1 + 4 * chance):
                break
            best, chance = value, (2 / (count * self.spare)) ** 0.5
        return best


def _spectra(y: Tensor, known: Tensor, counts: bool = False) -> _Spectra | None:
    """The DCT of the windows of one picture (C, H, W); None where no window is free of clipping.

    counts: of photons, so that the darkest value is not clipped.
    """
    shown = y[known]
    clipped = known & (((y == shown.min()) & (not counts)) | (y == shown.max())) if len(shown) else known
    found = _corners(known, clipped)
    if found is None:
        if _corners(known, torch.zeros_like(known)) is None:
            raise ValueError("too few pixels of y lie close together, so its noise cannot be estimated.  Pass sigma.")
        return None
    p, degree, (c, i, j) = found
    if p < 6:
        warnings.warn(f"sigma is a rough estimate, from windows of {p} x {p} known pixels; give sigma.", stacklevel=4)
    order = torch.arange(p)
    degrees = (order[:, None] + order).flatten()  # i + j
    basis = linalg.dct_basis(p)
    pixels = y.unfold(1, p, 1).unfold(2, p, 1)[c, i, j].flatten(1)
    if degree == p:
        coefficients = pixels @ basis.T  # (N, p²)
        low, high = coefficients[:, degrees < p], coefficients[:, degrees >= (3 * p - 1) // 2].square()
    else:
        low, high = _fitted(pixels, known.unfold(1, p, 1).unfold(2, p, 1)[c, i, j].flatten(1), basis[degrees < degree])
    spare = SPARE if degree < p else high.shape[1]
    dark, bright = _ends(shown)
    return _Spectra(low[:, 0] / p, low[:, 1:].square().sum(1), high, spare, (-FAR if counts else dark, bright))


def _ends(shown: Tensor) -> tuple[float, float]:
    """The values at which pixels were clipped; far away where hardly a pixel has the darkest or the brightest value."""
    low, high = float(shown.min()), float(shown.max())
    cut = [int((shown == end).sum()) > max(1, CUT * len(shown)) for end in (low, high)]
    return low if cut[0] else low - FAR, high if cut[1] else high + FAR


def _untruncated(variance: float, mean: Tensor, low: float, high: float) -> float:
    """sigma² of normal noise that has this variance where it lies in (low, high), mean over windows of these means.

        variance / sigma² = 1 + (a φ(a) − b φ(b))/Z − ((φ(a) − φ(b))/Z)²,   Z = Φ(b) − Φ(a)

    a, b = (low − mean)/sigma, (high − mean)/sigma, by fixed point.  Photographs of 8 bits are read within 2 % on
    average at a sigma of 0.2, mostly too high, since means of small windows scatter; from 0.3 on LEAST_SHARE ends it.
    """
    normal = torch.distributions.Normal(0.0, 1.0)
    sigma, mean = max(variance, FLOOR**2) ** 0.5, mean.clamp(low, high)  # a fit to what is known may lie beyond
    for _ in range(30):
        a, b = (low - mean) / sigma, (high - mean) / sigma
        left, right, inside = normal.log_prob(a).exp(), normal.log_prob(b).exp(), normal.cdf(b) - normal.cdf(a)
        share = 1 + (a * left - b * right) / inside - ((left - right) / inside).square()
        sigma = max(variance / max(float(share.mean()), LEAST_SHARE), FLOOR**2) ** 0.5
    return max(sigma**2, FLOOR**2)


def _fitted(pixels: Tensor, known: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Of windows (N, p²) with holes: the coefficients (N, k) that fit best, the variance of what they leave (N, 1)."""
    weight = known.to(pixels)
    products = (basis[:, None] * basis).flatten(0, 1)  # (k², p²)
    normal = (weight @ products.T).unflatten(1, (len(basis), -1)) + 1e-9 * torch.eye(len(basis)).to(basis)
    factor = torch.linalg.cholesky(normal)
    low = torch.cholesky_solve(((pixels * weight) @ basis.T)[..., None], factor)[..., 0]
    left = ((pixels - low @ basis) * weight).square().sum(1, keepdim=True)
    rank = (factor.diagonal(dim1=1, dim2=2).square() > 1e-6).sum(1, keepdim=True)  # less where gaps are regular
    freedom = weight.sum(1, keepdim=True) - rank
    return low, left / (freedom * (1 - 2 / (9 * freedom)) ** 3)  # Wilson & Hilferty 1931: the median of χ²


def _level(spectra: _Spectra | None) -> float:
    """sigma of one picture.  Windows within AWAY sigma of where pixels were clipped do not count where others are many.

    Those that kept all their pixels there are the ones whose noise was small by chance.
    """
    if spectra is None:
        return FLOOR
    sigma = spectra.variance(SHARES) ** 0.5
    low, high = spectra.ends
    away = (spectra.mean - low > AWAY * sigma) & (high - spectra.mean > AWAY * sigma)
    if int(away.sum()) >= MANY * len(away) and not bool(away.all()):
        sigma = spectra.of(away).variance(SHARES) ** 0.5
    return max(sigma, FLOOR)


def _groups(spectra: _Spectra) -> list[tuple[_Spectra, _Spectra]]:
    """Eight groups of windows, from dark to bright, and the flattest of each."""
    parts = [spectra.of(g) for g in spectra.mean.argsort().tensor_split(8) if len(g) >= 8]
    return [(part, part.of(part.energy.argsort()[: part.count(FLAT)])) for part in parts]


def _line(spectra: _Spectra | None, dark: float) -> tuple[float, float, float]:
    """(gain, offset², fit) of one picture; offset² is −gain · black where there is a pedestal."""
    if spectra is None:
        return 0.0, FLOOR**2, 0.0
    groups = _groups(spectra)
    mean = torch.tensor([float(flat.mean.mean()) for _, flat in groups], dtype=torch.float64)
    variance = torch.tensor([max(flat.variance((1.0,)), FLOOR**2) for _, flat in groups], dtype=torch.float64)
    return _positive_line(mean, variance, dark)


def _surer(line: tuple[float, float, float], pair: tuple[Tensor, Tensor], dark: float) -> tuple[float, float, float]:
    """The line, or where it is not believed that of all windows, if the variances lie on it.

    Of few photons the flattest windows are those that met none, and a pixel without any is no clipped one.
    """
    spectra = None if line[2] > LINE else _spectra(*pair, counts=True)
    if spectra is None:
        return line
    groups = [whole for whole, _ in _groups(spectra)]
    mean = torch.tensor([float(part.mean.mean()) for part in groups], dtype=torch.float64)
    variance = torch.tensor([max(part.variance((1.0,)), FLOOR**2) for part in groups], dtype=torch.float64)
    other = _positive_line(mean, variance, dark)
    return other if other[2] > SURE_LINE else line


def _counted(y: Tensor, known: Tensor) -> float:
    """The step between the values of one picture, if these are counts of photons by their variances; else 0."""
    shown = y[known]
    white = float(shown.max()) if len(shown) else 0.0
    step = _step(shown / white) if white > 0 else 0.0  # of white 1: a dim file has its counts far below `FLOOR`
    spectra = _spectra(y / white, known, counts=True) if step else None
    if spectra is None:
        return 0.0
    flat = [flat for _, flat in _groups(spectra) if float(flat.mean.mean()) > DARK * step]
    if len(flat) < 4:
        return 0.0
    variance = torch.tensor([part.variance((1.0,)) for part in flat])
    ratios = variance / torch.tensor([step * float(part.mean.mean()) for part in flat])
    usual = ratios.quantile(torch.tensor([0.25, 0.5])).log().abs()  # texture adds to some, and nothing takes away
    agrees = float(usual.max()) < math.log(AGREES) and float(ratios.min()) > AT_LEAST
    return step * white if agrees and _scatter(ratios) <= _scatter(variance) else 0.0


def _quantile(values: Tensor, share: float) -> float:
    """Of at most a million of the values: torch takes no more than 16 million."""
    return float(values[:: max(1, len(values) // 2**20)].quantile(share))


def _scatter(values: Tensor) -> float:
    """The median distance of their logarithms from the median one."""
    logs = values.log()
    return float((logs - logs.median()).abs().median())


def _step(values: Tensor) -> float:
    """The g of which all values are whole multiples, none of more than `MOST_COUNTS`; 0 where there is none."""
    found = values[:: max(1, len(values) // 2**20)].unique()
    if len(found) < 3 or float(found[0]) < 0:
        return 0.0
    step = float(found.diff().min())
    if step * MOST_COUNTS < float(found[-1]):
        return 0.0
    whole = (found / step).round()
    step = float((found * whole).sum() / whole.square().sum())  # float32 has rounded each of them
    return step if float((found / step - whole).abs().max()) < 0.02 else 0.0


def _positive_line(x: Tensor, y: Tensor, dark: float) -> tuple[float, float, float]:
    """a, b >= 0 that minimise Σ (a x/y + b/y − 1)², and 1 − Σ log²((a x + b)/y) / Σ log²(y/ȳ), ȳ the geometric mean.

    b may be below 0, and the line reach 0 at some x up to dark, where that explains PEDESTAL of the rest.
    """
    from scipy.optimize import nnls

    if len(x) < 4:
        return 0.0, float(y.median()) if len(y) else FLOOR**2, 0.0
    spread = (y.log() - y.log().mean()).square().sum().clamp_min(1e-12)

    def fit(dark: float) -> tuple[float, float, float]:
        """The line a (x − dark) + b with a, b >= 0, as a x + b."""
        columns = torch.stack([(x - dark).clamp_min(0) / y, 1 / y], 1)
        (a, b), _ = nnls(columns.numpy(), torch.ones_like(y).numpy())
        left = ((a * (x - dark).clamp_min(0) + b) / y).clamp_min(1e-9).log().square().sum()
        return float(a), float(b - a * dark), float(1 - left / spread)

    plain = fit(0.0)
    most = min(dark, float(x.min()), MOST_PEDESTAL)
    raised = max((fit(share * most) for share in PEDESTALS), key=lambda line: line[2])
    return raised if raised[2] > plain[2] + (1 - plain[2]) * PEDESTAL and raised[1] < 0 else plain


def _corners(known: Tensor, clipped: Tensor) -> tuple[int, int, tuple[Tensor, ...]] | None:
    """The (p, degree) of `KINDS` whose windows offer most, up to `ENOUGH`, and their corners (c, i, j).

    A whole window offers its coefficients of i + j >= p, one with holes the pixels that its fit has to spare.
    """
    stride = int((known.numel() / 2**18) ** 0.5) // 2 * 2 + 1  # odd: not in step with the 8 x 8 blocks of JPEG
    whole = bool(known.all())
    best: tuple[int, int, int, Tensor] | None = None
    for p, degree in KINDS:
        full = degree == p
        if p > min(known.shape[1:]) or (whole and not full):
            continue
        windows = _sums(known, p, stride) >= (p * p if full else degree * (degree + 1) // 2 + SPARE)
        windows &= _sums(clipped, p, stride) == 0
        offers = min(int(windows.sum()) * (p * (p - 1) // 2 if full else SPARE), ENOUGH)
        if offers > (0 if best is None else best[0]):
            best = offers, p, degree, windows
        if offers == ENOUGH:
            break
    if best is None:
        return None
    _, p, degree, windows = best
    corners = windows.nonzero() * torch.tensor([1, stride, stride])
    drawn = torch.randperm(len(corners), generator=torch.Generator().manual_seed(0))
    return p, degree, corners[drawn[: WINDOWS if degree == p else WINDOWS_WITH_HOLES]].unbind(1)


def _sums(marked: Tensor, p: int, stride: int) -> Tensor:
    """How many pixels of each p x p window of (C, H, W) are marked."""
    return F.avg_pool2d(marked.float(), p, stride, divisor_override=1).round()
