"""What is not known of an operator, found in the measurement: a number of its kernel, or the whole kernel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..core.result import Result
from ..operators import kernels
from ..operators.base import Operator
from ..operators.borders import ValidBlur
from ..operators.unknown import Span, Unknown, UnknownMotion
from ..progress import doing
from . import blind
from .evidence import DITHER, NATS, SIDE, Evidence, Model, crop, edges
from .field import motions_of
from .guard import KEPT
from .job import Job, Parts, as_pixels
from .settle import Say

CROPS = 6  # of a picture whose spectra are looked at together
USUAL = 0.03  # weight of the law that most pictures follow: of 16 Gaussian blurs 4 were within 10 % at 0.001, 13 here
STEP, COARSE, TURN = 1.1, 1.25, 6.0  # of sizes where one number is sought, where more are, and of angles, in degrees
FINE = 1.06  # of sizes around the best, from a third of it to three times: half a length shares zeros with it
STARTS = 3  # of the best, looked at further
NARROWER = ((1.03, 3.0), (1.03, 1.5), (1.015, 0.7))  # steps of size and angle around the best
SIDES = (21, 29, 41)  # of kernels of no known form: too large a side errs less than one that is too small
NARROW = (0.5, 1.0)  # std in pixels of a kernel with a form, and without one: sharp pictures have up to 0.9 of it
# Nats over no blur at all, for each frequency at which the picture stands above its noise (`heard`), and the spread of
# the fit: a kernel is believed from GAIN on where the model of a blurred picture fits well, from SURE on where it fits
# half well.  Measured on 31 shaken training pictures of two origins, of noise 0.3 to 2.2 of 255.  Kernels that gained
# 1.7 to 12 dB had (nats, spread) of (0.074, 1.13), (0.080, 1.08), (0.094, 1.03), (0.094, 1.28) and 0.13 to 0.23 with up
# to 1.37; two that gained 1.4 and 2.7 had (0.10, 1.60) and (0.11, 1.53).  Those that lost had at most 0, (0.049, 1.17),
# (0.077, 1.31), (0.096, 1.39) where the shake was longer than all that are tried, and (0.23, 3.12).  Of 20 pictures
# without a blur, six of them textures and pages, none had more than 0.004 but brick, (0.055, 1.95), and text,
# (0.020, 3.81).  For each of all frequencies right kernels had 0.014 to 0.10: a smooth picture shows a blur at few.
GAIN, SURE = 0.065, 0.12
# Or so many for each of all frequencies: of the same pictures all that had as much, and a spread below MISFIT, gained;
# those that lost had at most 0.039.
MUCH = 0.045
FITS, MISFIT = 1.3, 2.0
PART = 400  # side of the crop that such a kernel is estimated from
CLIPPED = (0.001, 0.03, 0.2)  # share of its pixels, as little as can be
TIMES = 4  # so many times its kernel it must be
# `spread_of_edges` of a restored picture over that of the measured one from which it is kept: 0.72 to 0.97 for 8 shakes
# that gained 0.2 to 14 dB, 1.015 for a sharp picture of a periodic texture, which a wrong kernel cost 28 dB
SHARPER = 0.99


class Finding(Protocol):
    """What was found of an operator.

    maps: it, by its name.  error: what it may be wrong by, as a std of noise.  free: of no known form.  point: whether
    the picture shows no blur.  sure: whether the evidence tells it from others.  said: for a person.
    """

    @property
    def maps(self) -> dict[str, Tensor]: ...
    @property
    def error(self) -> float: ...
    @property
    def free(self) -> bool: ...
    @property
    def point(self) -> bool: ...
    @property
    def sure(self) -> bool: ...
    @property
    def said(self) -> str: ...
    def to_json(self) -> dict[str, Any]: ...


class Kernel(NamedTuple):
    """A kernel that was found, (kh, kw), with the numbers that it is made of, as a `Finding`."""

    kernel: Tensor
    values: dict[str, float]
    point: bool
    sure: bool
    said: str

    @property
    def maps(self) -> dict[str, Tensor]:
        return {"kernel": self.kernel}

    @property
    def error(self) -> float:
        return 0.0

    @property
    def free(self) -> bool:
        return not self.values

    def to_json(self) -> dict[str, Any]:
        return {**self.values, "size": list(self.kernel.shape), "sure": self.sure, "said": self.said}


class NothingFound(ValueError):
    """A picture from which no kernel can be estimated."""


def doubt(finding: Finding | None, guard: bool, y: Tensor, x: Tensor) -> str:
    """Why the measured picture y is kept, and not the restored one x, (B, C, H, W); empty where it is not."""
    if finding is None:
        return ""
    (what,) = finding.maps
    if finding.point:
        return f"Nothing to estimate: the {what} found is a point, so the picture is unchanged."
    if not guard:
        return ""
    if not finding.sure:
        return f"The {what} that was found is not sure, {KEPT}."
    if finding.free and spread_of_edges(x) > SHARPER * spread_of_edges(y):
        return f"The edges of the restored picture are not sharper than those of the measured one, {KEPT}."
    return ""


def spread_of_edges(x: Tensor) -> float:
    """‖Dx‖₁/(√n ‖Dx‖₂) of the means of 2 × 2 pixels, D the differences along rows and columns: small for sharp edges.

    Krishnan, Tay & Fergus 2011 (normalised sparsity), who minimise it.
    """
    means = avg_pool2d(x.detach().float(), 2)
    d = torch.cat([means.diff(dim=-1).flatten(), means.diff(dim=-2).flatten()])
    return float(d.abs().mean() / d.square().mean().sqrt().clamp_min(1e-12))


def found(job: Job, parts: Parts, say: Say) -> tuple[Parts, Finding | None]:
    """The parts with what was unknown of the operator found; None where all was known.

    Pages of one file share a kernel: the page in the middle tells it.  Raises NothingFound.
    """
    unknown = parts.operator.unknown()
    if unknown is None:
        return parts, None
    y = parts.y[len(parts.y) // 2]
    if isinstance(unknown, UnknownMotion):
        motions = motions_of(y)
        say(f"motion: {motions.said}")
        return parts._replace(operator=unknown.of(motions.field).to(y.device)), motions
    kernel = numbers(unknown, y, job.hidden) if unknown.spans else candidates(y, unknown.largest)[0]
    say(f"kernel: {kernel.said}")
    operator = unknown.of(kernel.kernel) if not kernel.values else unknown.at(kernel.values)
    return parts._replace(operator=operator.to(y.device)), kernel


def numbers(unknown: Unknown, y: Tensor, hidden: float) -> Kernel:
    """The numbers of a kernel's shape by which the spectra of y (C, H, W) are explained best."""
    witness = Witness(y, hidden)
    names, spans = list(unknown.spans), list(unknown.spans.values())

    def made(values: tuple[float, ...]) -> Operator:
        return unknown.at(_typed(names, spans, values))

    rough = _Search(spans, lambda values: witness.cost(made(values), first=True))
    rough.look(itertools.product(*(_grid(span, alone=len(spans) == 1) for span in spans)))
    for start in rough.best(STARTS):
        rough.look(_lines(start, spans))
    fine = _Search(spans, lambda values: witness.cost(made(values)))
    fine.look(rough.best(STARTS))
    for ratio, turn in NARROWER:
        ways = ([v - turn, v, v + turn] if span.period else [v / ratio, v, v * ratio]
                for v, span in zip(fine.best()[0], spans, strict=True))  # fmt: skip
        fine.look(itertools.product(*ways))
    costs = fine.costs | {v: witness.cost(made(v)) for v in rough.best(20) if v not in fine.costs}
    values = min(costs, key=costs.__getitem__)
    if not math.isfinite(costs[values]):
        raise NothingFound("Cannot find the kernel: the picture is too small for it. Give its size.")
    nats = NATS * witness.spread
    planes = kernels.of(made(values))
    assert planes is not None
    kernel = planes[0]
    named = ", ".join(f"{name}={value:.3g}" for name, value in zip(names, values, strict=True))
    if witness.point - costs[values] < nats or narrow(kernel, NARROW[0]):
        return Kernel(kernel, _typed(names, spans, values), True, True,
                      "nothing to estimate: the picture shows no blur of this kind")  # fmt: skip
    alike = [v for v, cost in costs.items() if cost - costs[values] < nats]
    ranges = [f"{min(v):.3g} to {max(v):.3g}" for v in zip(*alike, strict=True)]
    near = all(_near(v, values, spans) for v in alike)
    said = f"{named} (found in the picture; {' and '.join(ranges)} explain it about as well)"
    return Kernel(kernel, _typed(names, spans, values), False, near, said)


class _Search:
    """The costs of the numbers that were tried."""

    def __init__(self, spans: list[Span], cost: Callable[[tuple[float, ...]], float]) -> None:
        self.spans, self.cost = spans, cost
        self.costs: dict[tuple[float, ...], float] = {}

    def look(self, tried: Iterable[tuple[float, ...]]) -> None:
        for values in tried:
            values = tuple(_within(v, span) for v, span in zip(values, self.spans, strict=True))
            if values not in self.costs:
                self.costs[values] = self.cost(values)
                doing("trying kernels", len(self.costs))

    def best(self, many: int = 1) -> list[tuple[float, ...]]:
        return sorted(self.costs, key=self.costs.__getitem__)[:many]


class Witness:
    """The spectra of several crops of y (C, H, W), which one kernel has to explain.

    point: the cost where nothing blurs.  spread: of the fit there, which scales what costs can tell.
    Raises NothingFound where no crop tells anything.
    """

    def __init__(self, y: Tensor, hidden: float) -> None:
        found = (Evidence(part, hidden, DITHER) for part in _crops(y))
        self.evidence = [e for e in found if e.usable]
        if not self.evidence:
            raise NothingFound(
                "Cannot find the kernel: the picture is too small, flat or clipped. Give the kernel or its size."
            )
        self.near: list[Model | None] = [None] * len(self.evidence)
        self.spread = 1.0
        self.point = self.cost(ValidBlur(torch.ones(1, 1, dtype=torch.float64)))

    def cost(self, operator: Operator, *, first: bool = False) -> float:
        """Σ over the crops, or of the first alone, of the best model's cost; ∞ where the kernel is too large."""
        total, spreads = 0.0, []
        for i, evidence in enumerate(self.evidence[: 1 if first else None]):
            fit = evidence.explain(operator, near=self.near[i], usual=USUAL)
            if fit is None:
                return math.inf
            self.near[i] = fit
            total += fit.cost
            spreads.append(fit.spread)
        self.spread = max(1.0, sum(spreads) / len(spreads))
        return total


def estimate_kernel(y: Any, *, largest: int | None = None, range: str | tuple[float, float] | None = None) -> Result:
    """The kernel that blurred a picture, of no known form: `pnp.estimate_kernel(y).maps["kernel"]`.

        y = k ∗ x + noise,   k >= 0, Σ k = 1, both k and x unknown

    y: a tensor (H, W), (C, H, W) or (B, C, H, W), or a NumPy array (H, W), (H, W, C); of a batch the middle one.
    largest: side of the kernel in pixels, at most; default: the last of SIDES.  range: as in `restore`.
    Returns the result of the last kernel step, min ‖x ∗ k − Dy‖²/2 + (spread/2)‖k‖² over k >= 0, with D differences
    along rows and columns and x the edges of the picture; `maps` holds the kernel (kh, kw), float64, of sum 1, which
    `pnp.operators.ValidBlur` takes.  `reason` says whether it is believed.
    Raises NothingFound (a ValueError) where the picture is too small, flat or clipped.  Methods: `pnp.jobs.blind`.
    """
    with torch.inference_mode(False):
        x = as_pixels(y, range).x
        kernel, result = candidates(x[len(x) // 2], largest)
    return replace(result, reason=(kernel.said,), maps={"kernel": kernel.kernel})


def candidates(y: Tensor, largest: int | None = None) -> tuple[Kernel, Result]:
    """The best of the kernels that `blind.estimates` finds, and the result of its last kernel step."""
    part = _part(y.detach().cpu())
    limit = min(largest or SIDES[-1], min(part.shape[-2:]) // TIMES)
    sides = sorted({*(side for side in SIDES if side < limit), limit - 1 + limit % 2})
    if limit < 3:
        raise NothingFound("Cannot estimate a kernel: the picture is too small. Give the kernel.")
    try:
        runs = blind.estimates(part, sides)
    except blind.NoEdges as error:
        raise NothingFound(f"Cannot estimate a kernel: {error} Give the kernel.") from None
    best = runs[0]
    kernel = kernels.trimmed(best.kernel.double())
    kernel = kernel / kernel.sum()
    evidence = Evidence(part, dither=DITHER, clipped=1.0)
    point = evidence.explain(ValidBlur(torch.ones(1, 1, dtype=torch.float64))) if evidence.usable else None
    gain = 0.0 if point is None or best.fit is None else (point.cost - best.fit.cost) / max(1.0, best.fit.spread)
    if evidence.usable and (gain < NATS or narrow(kernel, NARROW[1])):
        return Kernel(kernel, {}, True, True, "nothing to estimate: the kernel found is a point"), best.result
    said = f"{kernel.shape[0]}×{kernel.shape[1]} pixels, estimated from the picture"
    if point is None or best.fit is None or gain < GAIN * heard(point):
        why = "; the picture's spectrum tells too little"
    elif best.fit.spread > (FITS if gain < min(SURE * heard(point), MUCH * len(evidence.seen)) else MISFIT):
        why = "; the picture's spectrum is not that of such a blur"
    else:
        why = ""
    return Kernel(kernel, {}, False, not why, said + why), best.result


def heard(model: Model) -> float:
    """At how many frequencies a picture stands above its noise: Σ S/(S + s²) of its model without a blur."""
    return float((model.spectrum / (model.spectrum + model.sigma**2)).sum())


def likeness(a: Tensor, b: Tensor) -> float:
    """max over shifts of ⟨a, b⟩/(‖a‖‖b‖), for kernels >= 0: 1 for the same form, wherever it lies."""
    size = (a.shape[0] + b.shape[0], a.shape[1] + b.shape[1])
    return float(_crossed(a, b, size).max() / (a.norm() * b.norm()))


def _crossed(a: Tensor, b: Tensor, size: tuple[int, int]) -> Tensor:
    """⟨a, b moved by (i, j)⟩ for all shifts, periodic in this size."""
    return torch.fft.irfft2(torch.fft.rfft2(a, s=size) * torch.fft.rfft2(b.to(a), s=size).conj(), s=size)


def narrow(kernel: Tensor, std: float) -> bool:
    """Whether a kernel blurs by no more than pictures are soft: its std is at most so many pixels each way."""
    return all(variance <= std**2 for _, variance in blind.moments(kernel))


def _part(y: Tensor) -> Tensor:
    """The textured part (1, h, w) of y, in grey, with as little of it clipped as can be."""
    for clipped in CLIPPED:
        if (part := crop(y, PART, clipped)) is not None:
            return part.mean(0, keepdim=True).float()
    raise NothingFound("Cannot estimate a kernel: the picture is too small, flat or clipped. Give the kernel.")


def _crops(y: Tensor) -> list[Tensor]:
    """Up to CROPS crops that do not overlap by much, those with the strongest edges."""
    side = min(SIDE, *y.shape[-2:])
    starts = ([round(i * (n - side) / max(1, many - 1)) for i in range(many)]
              for n in y.shape[-2:] for many in [max(1, round(n / side))])  # fmt: skip
    parts = [y[:, top : top + side, left : left + side] for top, left in itertools.product(*starts)]
    found = [part for part in parts if crop(part, side) is not None]
    return sorted(found, key=edges, reverse=True)[:CROPS]


def _lines(values: tuple[float, ...], spans: list[Span]) -> Iterator[tuple[float, ...]]:
    """Around these numbers, one after the other changed: sizes from a third to three times, angles by half a turn."""
    for i, span in enumerate(spans):
        steps = range(-19, 20)
        for j in steps:
            yield _with(values, i, values[i] + j * TURN / 6 if span.period else values[i] * FINE**j)


def _grid(span: Span, *, alone: bool) -> list[float]:
    if span.period:
        return [span.low + TURN * i for i in range(math.ceil(span.period / TURN))]
    ratio = STEP if alone else COARSE
    return [span.low * ratio**i for i in range(1 + int(math.log(span.high / span.low, ratio)))]


def _within(value: float, span: Span) -> float:
    if span.period:
        return round(span.low + (value - span.low) % span.period, 3)
    value = min(max(value, span.low), span.high)
    return float(round(value)) if span.whole else float(f"{value:.4g}")


def _with(values: tuple[float, ...], i: int, value: float) -> tuple[float, ...]:
    return (*values[:i], value, *values[i + 1 :])


def _near(a: tuple[float, ...], b: tuple[float, ...], spans: list[Span]) -> bool:
    """Whether two answers are one, for a person: within 20 % and 10 degrees."""
    return all(
        abs((v - w + span.period / 2) % span.period - span.period / 2) < 10 if span.period else 0.8 < v / w < 1.25
        for v, w, span in zip(a, b, spans, strict=True)
    )


def _typed(names: list[str], spans: list[Span], values: tuple[float, ...]) -> dict[str, float]:
    return {n: int(v) if span.whole else v for n, span, v in zip(names, spans, values, strict=True)}
