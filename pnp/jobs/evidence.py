"""Does the kernel that was told explain the picture?  Its power spectrum answers, without any solve.

A picture's power spectrum is close to a power law; a blur cuts rings and notches of its own into it.  So the spectrum
of what was measured shows whether a kernel is of the right size and angle, and how large its error is.
"""

from __future__ import annotations

import math
from types import EllipsisType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..core.certificate import LOOSE, Convergence
from ..operators.base import Operator
from ..optimizer import LBFGS

SIDE = 256  # a crop of this side is looked at: the cost is bounded
LEAST_SIDE = 96
TIMES = 3  # so many times its kernel a picture must be
LOWEST = 4  # periods over the crop: below, the window and the brightness of single things count
CLIPPED = 0.03  # of the pixels at black or white: more, and a crop tells nothing
FEWEST = 500  # frequencies that tell something: JPEG may have left fewer
SOFTNESS = 0.4  # pixels²: pictures differ in sharpness by that much, so a Gaussian's variance is known no better
CLEAR = 4.0  # times the noise: where JPEG has left no more than that of the spectrum, it is not looked at
USUAL = ((-2.25, 0.3), (-0.15, 0.2))  # b, and q in pixels², of 14 training pictures: mean, spread
NATS = 40.0  # of log-likelihood by which a rival is better
# of the measured picture's risk: with less, 21 of 22 restorations by wrong kernels gained; with more, 42 of 75 lost
WORTH = 0.85
# a kernel's error raises sigma to this at most: Wiener's filter meets errors of low frequencies by blurring, a denoiser
# does not: 30 restorations by kernels with noise, or of blur that varied, did best at 0.3 to 2.2 of 255
RAISED = 1.5 / 255
DITHER = 1 / 255  # where a kernel is sought
UNSEEN = 0.02  # part of the kernel's error that is the picture's own departure from a power law
FFTS = (torch.fft.fftfreq, torch.fft.rfftfreq)  # of rows and columns of an rfft2
RUNGS = 1.15 ** np.arange(40)  # sigma that is tried, in units of the picture's


class Model(NamedTuple):
    """P ≈ M = (|K|² + e²) S + s²: the spectrum of a picture seen through a kernel with an error.

    transfer: K; spectrum: S; both at the N frequencies that are looked at.  error: e; sigma: s.
    cost: Σ log M + P/M (Whittle's −log-likelihood).  spread: mean of (P/M − 1)², 1 where the model is right.
    """

    transfer: Tensor
    spectrum: Tensor
    error: float
    sigma: float
    cost: float
    spread: float
    parameters: Tensor  # of the fit, for another fit to begin with


class Evidence:
    """The spectrum of one picture (C, H, W), in image units, for fits of kernels to it.

    hidden: std of what JPEG has rounded away.  dither: std of white noise that is added first: below it a picture
    without noise departs from any power law, and that does not count.  clipped: share of the pixels that may be.
    usable: whether enough of the spectrum shows.  It does not where the picture is small, clipped, or a JPEG of which
    little is left.

        P(w) = |FFT of (y − mean) times a Hann window|² / Σ window²,  mean over the channels

    Welch 1967.
    """

    def __init__(self, y: Tensor, hidden: float = 0.0, dither: float = 0.0, clipped: float = CLIPPED) -> None:
        y = y.detach().to("cpu", torch.float64)
        part = crop(y, clipped=clipped)
        self.usable = part is not None
        if part is None:
            return
        self.size = (part.shape[-2], part.shape[-1])
        part = part + dither * torch.randn(part.shape, generator=torch.Generator().manual_seed(0)).double()
        window = torch.outer(*(torch.hann_window(n, periodic=False, dtype=torch.float64) for n in self.size))
        mean = (part * window).sum((-2, -1), keepdim=True) / window.sum()
        power = torch.fft.rfft2((part - mean) * window).abs().square().mean(0) / window.square().sum()
        rows, columns = (2 * math.pi * f(n, dtype=torch.float64) for f, n in zip(FFTS, self.size, strict=True))
        radius = (rows[:, None].square() + columns.square()).sqrt()
        angle = torch.atan2(rows[:, None].expand_as(radius), columns.expand_as(radius))
        self.floor = 0.5 * hidden**2 + 1e-9
        self.looked = radius > 2 * math.pi * LOWEST / min(self.size)
        if hidden > 0:
            self.looked &= radius < _last(radius, power, hidden)
        self.usable = int(self.looked.sum()) >= FEWEST
        if not self.usable:
            return
        self.seen, self.radius, angle = power[self.looked], radius[self.looked], angle[self.looked]
        log, twice = self.radius.log(), (torch.cos(2 * angle), torch.sin(2 * angle))
        self.design = torch.stack(
            [torch.ones_like(log), log, *twice, *(t * log for t in twice), torch.cos(4 * angle)], 1
        )
        begin = torch.zeros(self.design.shape[1] + 3, dtype=torch.float64)  # of S, then q, log e², log s²
        begin[0], begin[1], begin[-2] = float(self.seen[self.radius < 0.55].mean().log()) - 2, -2.4, -8.0
        begin[-1] = float(power[radius > 2.6].mean().clamp_min(1e-12).log())
        self.begin = begin

    def explain(
        self, operator: Operator, *, error: bool = False, near: Model | None = None, usual: float = 0.0
    ) -> Model | None:
        """The model of this operator's kernel that fits best; e is 0 unless `error`.

        near: a fit of another kernel, to begin with.  None where A is not a convolution, or its kernel is large.

        log S = a + b log r + (c cos 2θ + d sin 2θ)(1, log r) + e cos 4θ + q r²,   |q| < SOFTNESS

        by L-BFGS on Whittle's likelihood.   Whittle 1953; S after Torralba & Oliva 2003 (power laws of scenes).
        usual: weight, for each frequency, of how far b and q are from those of most pictures (USUAL): with it a
        Gaussian blur is told from a soft picture.
        """
        transfer = operator.transfer(self.size) if self.usable else None
        if transfer is None or TIMES * _width(transfer) > min(self.size):
            return None
        transfer = transfer.mean(0).cpu()[self.looked]
        p = self._fitted(transfer.abs().square(), self.begin if near is None else near.parameters, error, usual)
        with torch.no_grad():
            spectrum, expected = self._model(transfer.abs().square(), p, error)
            total = float((expected.log() + self.seen / expected).sum() + len(self.seen) * usual * _unusual(p))
            spread = float((self.seen / expected - 1).square().mean())
            found = (math.exp(float(p[-2]) / 2) if error else 0.0, (math.exp(float(p[-1])) + self.floor) ** 0.5)
        return Model(transfer, spectrum, *found, total, spread, p)

    def _model(self, power: Tensor, p: Tensor, error: bool) -> tuple[Tensor, Tensor]:
        """S and M for |K|² = power and the parameters p."""
        spectrum = torch.exp(self.design @ p[:-3] + SOFTNESS * torch.tanh(p[-3]) * self.radius.square())
        gain = power + torch.exp(p[-2]) if error else power
        return spectrum, gain * spectrum + torch.exp(p[-1]) + self.floor

    def _fitted(self, power: Tensor, begin: Tensor, error: bool, usual: float) -> Tensor:
        """The parameters that fit best."""
        p = begin.clone().requires_grad_()

        def cost() -> Tensor:
            optimizer.zero_grad()
            expected = self._model(power, p, error)[1]
            value = (expected.log() + self.seen / expected).mean() + usual * _unusual(p)
            value.backward()
            return value

        optimizer = LBFGS(p, 25, remembered=8)
        with torch.enable_grad():
            optimizer.step(cost)
        return p.detach()


def _unusual(p: Tensor) -> Tensor:
    """How far the power law is from that of most pictures, in its spread."""
    softness = SOFTNESS * torch.tanh(p[-3])
    return sum(((v - m) / s).square() for v, (m, s) in zip((p[1], softness), USUAL, strict=True))  # type: ignore


class Judgement(NamedTuple):
    """What the spectrum says of the operator that was told.

    factor: by what sigma must be raised for the kernel's error.  rival: what sets apart the operator that explains the
    picture clearly better; None where there is none.  worth: whether a picture restored with the operator that was told
    is clearly nearer to the truth than the measured one, if the rival is right (WORTH).
    tested: whether anything could be told.
    """

    tested: bool = False
    factor: float = 1.0
    rival: str | None = None
    worth: bool = True


def judge(operator: Operator, y: Tensor, sigma: float, hidden: float = 0.0) -> Judgement:
    """What the spectrum of y (C, H, W) says of its operator, if the noise has the std sigma.

        risk(t) = Σ_w |K̄ K°/(|K|² + t²/S) − 1|² S + |K|² S²/(|K|² S + t²)² (sigma² + e² S)

    is the error of Wiener's filter for noise of std t and the kernel K, where the noise is of std sigma and the kernel
    is K°: K itself with an error e, or the rival.  The factor is that of the best t to the best for K° = K, e = 0, the
    larger one where both err; an error e raises sigma to RAISED at most.
    A measured picture itself has the error Σ |K° − 1|² S + sigma².
    Clearly better is a rival by NATS of log-likelihood, in units of the spread of the rival's fit.
    """
    rivals = operator.rivals()
    evidence = Evidence(y, hidden)
    own = evidence.explain(operator) if rivals else None
    if own is None:
        return Judgement()
    fits = {name: fit for name, rival in rivals.items() if (fit := evidence.explain(rival, near=own)) is not None}
    best = min(fits, key=lambda name: fits[name].cost, default=None)
    usual = _risks(own, own, sigma)
    wrong = evidence.explain(operator, error=True, near=own) or own
    factor = min(_factor(_risks(wrong, wrong, sigma), usual), RAISED / sigma)
    if best is None or own.cost - fits[best].cost <= NATS * max(1.0, fits[best].spread):
        return Judgement(True, max(1.0, factor))
    right = fits[best]
    risks = _risks(own, right, sigma)
    itself = ((right.transfer - 1).abs().square() * right.spectrum + sigma**2).sum()
    return Judgement(True, max(1.0, factor, _factor(risks, usual)), best, bool(risks.min() < WORTH * itself))


def verdicts(end: Convergence, judgements: list[Judgement], kept: list[str]) -> list[str]:
    """What is said of each picture: that it was kept, what its spectrum tells of the operator, or its residual."""
    word = end.problem.operator.called
    lines = []
    for judgement, reason, fit, residual in zip(judgements, kept, end.fit.tolist(), end.verdict, strict=True):
        found = [reason] if reason else []
        if judgement.rival is not None:
            found.append(f"The {word} is probably wrong: {judgement.rival} explains the picture better.")
        elif judgement.tested:
            if fit > LOOSE:
                found.append(f"The residual is {fit:.2g} times as large as the noise. Lower lam, or check sigma.")
            found.append(f"No {word} of another size or angle explains the picture better.")
        else:
            found.append(residual)
        lines.append(" ".join(found))
    return lines


def _risks(told: Model, right: Model, sigma: float) -> Tensor:
    """risk(t) of `judge` for t of RUNGS."""
    spectrum, power = right.spectrum, told.transfer.abs().square()
    error = max(0.0, right.error**2 - UNSEEN**2)
    agrees = (told.transfer.conj() * right.transfer).real
    crossed = power * right.transfer.abs().square()
    risks = []
    for t in (sigma * RUNGS).tolist():
        kept = power + t**2 / spectrum
        bias = crossed / kept.square() - 2 * agrees / kept + 1
        risks.append((bias * spectrum + power / kept.square() * (sigma**2 + error * spectrum)).sum())
    return torch.stack(risks)


def _factor(risks: Tensor, usual: Tensor) -> float:
    return float(RUNGS[int(risks.argmin())] / RUNGS[int(usual.argmin())])


def crop(y: Tensor, side: int = SIDE, clipped: float = CLIPPED) -> Tensor | None:
    """The part of y (C, H, W) at its `window`."""
    found = window(y, side, clipped)
    return None if found is None else y[found]


def window(
    y: Tensor, side: int = SIDE, clipped: float = CLIPPED, least: int = LEAST_SIDE
) -> tuple[EllipsisType, slice, slice] | None:
    """Where the crop (C, side, side), or less if y is smaller, has the strongest edges of those that are not clipped.

    clipped: the share of its pixels that may be.  None where there is none, or a side of y is below `least`.
    """
    h, w = (min(side, n) for n in y.shape[-2:])
    if min(h, w) < least:
        return None
    best, found = 0.0, None
    for top in _starts(y.shape[-2], h):
        for left in _starts(y.shape[-1], w):
            place = (..., slice(top, top + h), slice(left, left + w))
            part = y[place]
            ends = float(((part <= 0) | (part >= 1)).double().mean())
            if ends < clipped and (strength := edges(part)) > best:
                best, found = strength, place
    return found


def edges(part: Tensor) -> float:
    """Mean square of the differences along columns plus along rows of (C, H, W)."""
    return float(part.diff(dim=-1).square().mean() + part.diff(dim=-2).square().mean())


def _last(radius: Tensor, power: Tensor, hidden: float) -> float:
    """The largest frequency at which the picture, on average over the angles, stands clear of what JPEG changed."""
    rings = (radius * 10).long().flatten()
    mean = torch.bincount(rings, power.flatten()) / torch.bincount(rings).clamp_min(1)
    clear = mean > CLEAR * (float(power[radius > 2.8].mean()) + hidden**2)
    return (float(clear.nonzero().max()) + 1) / 10 if bool(clear.any()) else 0.0


def _starts(whole: int, part: int) -> list[int]:
    """Up to five places, evenly spread."""
    many = min(5, 1 + (whole - part) // (part // 2))
    return sorted({round(i * (whole - part) / max(1, many - 1)) for i in range(many)})


def _width(transfer: Tensor) -> float:
    """A length beyond which a kernel of this |K|² has nothing: of its autocorrelation, the square root of 12 variances.

    Of a box it is √2 times the side.
    """
    along = transfer.abs().square().mean(0)
    curvature = [float(1 - along[1, 0] / along[0, 0]), float(1 - along[0, 1] / along[0, 0])]
    sizes = (along.shape[0], 2 * (along.shape[1] - 1))
    variances = [2 * max(0.0, c) * (n / (2 * math.pi)) ** 2 for c, n in zip(curvature, sizes, strict=True)]
    return (12 * max(variances)) ** 0.5
