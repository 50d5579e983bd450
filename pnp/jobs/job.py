"""What to do with a picture, and its parts as objects: specs are read once, here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, fields, replace
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..core.solver import Solver
from ..core.stopping import StopRule
from ..files import curves, ranges
from ..files.curves import Curve
from ..files.jpeg import Tables
from ..files.ranges import Range
from ..noises.base import Noise
from ..operators.base import Operator
from ..priors.base import Denoiser, Prior
from ..registry import NOISES, OPERATORS, PRIORS, SOLVERS, Spec, SpecError
from . import holes

if TYPE_CHECKING:
    from ..files.pictures import Picture

SIMULATED_SIGMA = 0.01
LINEAR = "linear"
LIGHTS = ("auto", LINEAR, "srgb")


@dataclass(frozen=True)
class Job:
    """What to do with a picture: its parts, each an object or a spec, and what is told of them.

    simulate: the picture is clean; degrade it first with `noise` (default: Gaussian of `sigma`, 0.01 if not given).
    noise: how it falls.  None: white and Gaussian, clipped where the picture shows it.  A kind without its level takes
    `sigma` (`gaussian`, `clipped`), or the gain that the picture shows (`poisson`).
    sigma: noise level; None: estimated.  lam: weight of the prior; None: the table's, the prior's own, or fitted by
    discrepancy.  solver: None is the table's, or the first that fits.  stop: stop rules, `wmv+discrepancy`; None is the
    table's, or a relative change of `tol`.
    floor, hidden: what the file's format has rounded away, stds in image units that an estimated sigma counts
    (`Picture.rounding`, `Picture.hidden`).  tables: how a JPEG was quantised (`Picture.tables`).
    range: the values of the file that are black and white, for the record.
    guard: keep the measured picture where the restored one would be worse, as far as that shows (`guard`).
    stripes: `auto`: offsets of columns or rows that are sure are subtracted first (`stripes`); `keep`: they stay.
    each_page: each picture of the batch has a noise and a lam of its own; False: the batch is the pages of one file,
    made by one instrument, whose noise (the median of what the pages show) and lam are settled once for all of them.
    light: `linear`: solve where values are in proportion to light; `srgb`: in the values of the file; `auto`: by what
    explains the picture better (`light`).  curve: the way from the file's values to light; None: they are no encoded
    light, and only `linear` makes it sRGB's.  camera: whether a camera made the file.
    size: (C, H, W) of the image, where y does not tell.  recursive: the pages are frames (`movie.restore_movie`).
    mask: which pixels of the measurement say nothing, a spec as `holes` has it, or a tensor of 0 and 1 (1 is known).
    rules: file of a table whose rows go before the shipped ones.  device: None is where the picture is.
    """

    operator: str | Spec | Operator
    prior: str | Spec | Prior | Denoiser
    solver: str | Spec | Solver | None = None
    noise: str | Spec | Noise | None = None
    sigma: float | None = None
    lam: float | None = None
    simulate: bool = False
    seed: int = 0
    iterations: int | None = None
    stop: str | Sequence[StopRule] | None = None
    tol: float = 1e-4
    seconds: float | None = None
    recursive: bool = False
    device: str | None = None
    size: tuple[int, int, int] | None = None
    rules: str | None = None
    floor: float = 0.0
    hidden: float = 0.0
    tables: Tables | None = None
    range: tuple[float, float] | None = None
    guard: bool = True
    stripes: str = "auto"
    each_page: bool = True
    light: str = "auto"
    curve: Curve | None = None
    camera: bool = False
    mask: str | Tensor | None = None

    def __post_init__(self) -> None:
        spec = "a spec, as in `pnp list`, or"
        checks.part(self.operator, "operator", (str, Spec, Operator), f"{spec} an Operator")
        checks.part(self.solver, "solver", (str, Spec, Solver, NoneType), f"{spec} a Solver")
        checks.part(self.noise, "noise", (str, Spec, Noise, NoneType), f"{spec} a Noise; a number is sigma")
        checks.part(self.prior, "prior", (str, Spec, Prior, Callable), f"{spec} a Prior or a denoiser")
        for name in ("sigma", "lam", "seconds", "tol", "iterations"):
            if (value := getattr(self, name)) is not None:
                checks.positive_tensor(value, name)
        if self.light not in LIGHTS:
            raise ValueError(f"light is {self.light!r}; expected {', '.join(LIGHTS)}.")
        if self.simulate and self.light == LINEAR:
            raise ValueError("A simulation blurs the values of the file. Leave --light linear out, or --simulate.")
        if self.stripes not in ("auto", "keep"):
            raise ValueError(f"stripes is {self.stripes!r}; expected auto or keep.")
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise ValueError(f"seed is {self.seed}; expected a whole number from 0 to 2^63 − 1.")

    def settings(self) -> dict[str, Any]:
        """The job as JSON knows it: specs as text, objects by their names."""
        return {field.name: _said(getattr(self, field.name)) for field in fields(self)}


def of_file(job: Job, picture: Picture) -> Job:
    """The job for a picture that was read from a file, with what the file tells of itself."""
    job = replace(job, range=picture.ends, curve=picture.curve, camera=picture.from_camera)
    if job.simulate:
        return job
    return replace(job, floor=picture.rounding, hidden=picture.hidden, tables=picture.tables)


class Asked(NamedTuple):
    """The solver that a job asks for, by what name, and which of its settings it sets."""

    solver: Solver
    name: str
    sets: frozenset[str]


class Parts(NamedTuple):
    """The objects of a job, and the measurement where they live.

    truth: the clean picture, where it is known.  asked: the solver; None where the job asks for none.
    saturated: True where y says only that there was at least so much light.  said: what was found missing.
    """

    operator: Operator
    y: Tensor
    prior: Prior
    truth: Tensor | None
    asked: Asked | None
    saturated: Tensor | None = None
    said: tuple[str, ...] = ()

    def sets(self, option: str) -> bool:
        """Whether the solver that was asked for sets this."""
        return self.asked is not None and option in self.asked.sets


def build(job: Job, pixels: Tensor, truth: Tensor | None = None) -> Parts:
    """The parts of a job for these pixels, a picture or a measurement.  Raises ValueError, SpecError for specs."""
    pixels = pixels if job.device is None else pixels.to(checks.device(job.device))
    _check_range(job.sigma, pixels)
    operator = _operator(job, pixels)
    if job.simulate:
        truth, seen = pixels, holes.Seen(operator, _drawn(job, operator, pixels), None, ())
    else:
        seen = holes.look(job.mask, operator, pixels)
    operator, y = seen.operator, seen.y
    shape = operator.image_shape(tuple(y.shape[1:]))
    prior: Any = job.prior
    if isinstance(prior, str | Spec):
        prior = PRIORS.build(prior, shape=shape, seed=job.seed)
    elif not isinstance(prior, Prior):
        from ..priors import PnP

        prior = PnP(prior)
    target = None if truth is None else _seen(operator, truth.to(y.device), shape)
    return Parts(operator, y, prior, target, _asked(job), seen.saturated, seen.said)


def simulated(job: Job, clean: Tensor) -> tuple[Operator, Tensor]:
    """The operator of a job, and what it measures of a clean picture, with noise."""
    operator = _operator(job, clean)
    return operator, _drawn(job, operator, clean)


def _operator(job: Job, pixels: Tensor) -> Operator:
    if job.simulate:
        checks.finite(pixels, "the picture")
    if isinstance(job.operator, Operator):
        there = {tensor.device for tensor in (*job.operator.parameters(), *job.operator.buffers())} <= {pixels.device}
        return job.operator if there else deepcopy(job.operator).to(pixels.device)  # `to` would move the caller's
    shape = tuple(pixels.shape[1:])
    if job.simulate:
        operator = OPERATORS.build(job.operator, shape=shape, seed=job.seed).to(pixels.device)
        return holes.simulated(job.mask, operator, pixels)
    if job.size is None and not _pictorial(job.operator):
        raise SpecError(
            f"What {job.operator} measures is not a picture but a row of numbers. Give it as .npy, with --size HxW of "
            "its image; or use --simulate to measure a clean picture first."
        )
    context = {"border": "valid", "seed": job.seed, "measured": True, "shape": job.size or shape}
    operator = OPERATORS.build(job.operator, **context).to(pixels.device)
    if job.size is not None and operator.pictorial:
        raise SpecError(f"--size is for compressive measurements. {operator.name} knows the size from the picture.")
    return operator


def _pictorial(spec: str | Spec) -> bool:
    """Whether a member measures pictures, by the class that its recipe says it makes."""
    entry = OPERATORS[OPERATORS.parse(spec).name]
    made = entry.make if isinstance(entry.make, type) else entry.hints.get("return")
    kinds = get_args(made) or (made,)
    return any(getattr(kind, "pictorial", True) for kind in kinds)


def _drawn(job: Job, operator: Operator, clean: Tensor) -> Tensor:
    """What a simulation measures of a clean picture."""
    noise: Any = job.noise
    if not isinstance(noise, Noise):
        noise = NOISES.build(noise or "gaussian", sigma=SIMULATED_SIGMA if job.sigma is None else job.sigma)
    return noise.draw(operator(clean), torch.Generator().manual_seed(job.seed))


def _asked(job: Job) -> Asked | None:
    if job.solver is None:
        return None
    if isinstance(job.solver, Solver):
        kind = type(job.solver)
        name = next((name for name, entry in SOLVERS.items() if entry.make is kind), kind.__name__)
        return Asked(job.solver, name, frozenset(field.name for field in fields(job.solver)))
    spec = SOLVERS.parse(job.solver)
    return Asked(SOLVERS.build(spec), spec.name, frozenset(SOLVERS[spec.name].values(spec, "solver")))


def _check_range(sigma: float | None, pixels: Tensor) -> None:
    if sigma is not None and sigma > 1 and float(pixels.min()) >= 0 and float(pixels.max()) <= 1:
        raise ValueError(
            f"sigma is {sigma:g}, more than the whole range of the picture, 0 to 1. A level of {sigma:g} in units of 8 "
            f"bits is {sigma:g}/255."
        )


def _seen(operator: Operator, truth: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The truth over the field of view, whether it shows just that or the whole image."""
    return operator.visible(truth) if tuple(truth.shape[1:]) == shape else truth


class Pixels(NamedTuple):
    """A picture as pixels (B, C, H, W) in image units.

    back: the way to the kind and the units it came in.  range: the values that are 0 and 1.  rounding: std of the
    rounding to integers, in image units; 0 for floats.  curve: from encoded values to light, of integers (`curves`).
    """

    x: Tensor
    back: Callable[[Tensor], Any]
    range: Range
    rounding: float
    curve: Curve | None


def as_pixels(picture: Any, range: Any = None) -> Pixels:
    """A picture as pixels, and the way back.

    picture: a tensor (H, W), (C, H, W) or (B, C, H, W), or a NumPy array (H, W) or (H, W, C) with C = 1 or 3, or
    (B, C, H, W); integers come back rounded, and clipped to what their type holds.  range: the values that are black
    and white: a pair of numbers, `full`, or `auto` and None: found as in a file (`pnp.files.ranges`).  float64 stays
    so; other floats go by way of float32.  Raises TypeError or ValueError for anything else.
    """
    if isinstance(picture, Tensor):
        lead = 4 - picture.ndim
        if not 0 <= lead <= 2:
            raise ValueError(f"picture has shape {tuple(picture.shape)}; expected (H, W), (C, H, W) or (B, C, H, W).")
        if picture.layout != torch.strided or picture.is_meta:
            raise TypeError(f"picture is a {picture.layout} tensor on {picture.device}; expected a dense one.")
        planes = picture.detach()[(None,) * lead]  # nothing here is differentiated with respect to a picture
        planes = planes.float() if picture.dtype == torch.bfloat16 else planes
        found = _pixels(planes.cpu().numpy(), range)

        def back(restored: Tensor) -> Tensor:
            coloured = restored.shape[1] > planes.shape[1]  # of a mosaic
            return torch.from_numpy(found.back(restored)[(0,) * (min(lead, 1) if coloured else lead)]).to(picture)

        return found._replace(x=found.x.to(picture.device), back=back)
    if not isinstance(picture, np.ndarray):
        raise TypeError(f"picture is a {type(picture).__name__}; expected a NumPy array or a torch tensor.")
    if picture.ndim == 3 and picture.shape[2] not in (1, 3):
        raise ValueError(f"picture has shape {picture.shape}; expected (H, W), (H, W, 1) or (H, W, 3).")
    if picture.ndim not in (2, 3, 4):
        raise ValueError(f"picture has shape {picture.shape}; expected (H, W), (H, W, C) or (B, C, H, W).")
    if picture.ndim == 4 and picture.shape[3] in (1, 3) and picture.shape[1] not in (1, 3):
        raise ValueError(
            f"picture has shape {picture.shape}, which looks like (B, H, W, C); expected (B, C, H, W). "
            "Pass np.moveaxis(picture, -1, 1), or the pictures one by one."
        )
    if picture.ndim == 4:
        return _pixels(picture, range)
    flat = picture.ndim == 2
    found = _pixels(picture[None, None] if flat else np.moveaxis(picture, 2, 0)[None], range)

    def back_to_numpy(restored: Tensor) -> np.ndarray:
        planes = found.back(restored)[0]
        return planes[0] if flat and len(planes) == 1 else np.moveaxis(planes, 0, 2)

    return found._replace(back=back_to_numpy)


def truth_pixels(truth: Any, picture: Any, like: Range) -> Tensor:
    """The clean picture as pixels, by the range of the measured one where it is in the same units."""
    names = [str(getattr(each, "dtype", "")).removeprefix("torch.") for each in (truth, picture)]
    own = as_pixels(truth)
    ends = ranges.of_truth(own.range, like, same_type=names[0] == names[1])
    return own.x if own.range == ends else as_pixels(truth, ends).x


def _pixels(planes: np.ndarray, range: Any) -> Pixels:
    """Of an array (B, C, H, W)."""
    kind = planes.dtype
    if kind.kind not in "iuf":
        raise TypeError(f"picture has {kind.name} values; expected integers or floats.")
    ends = ranges.settled(ranges.asked(range), np.moveaxis(planes, 1, -1), ranges.full(kind))
    x = torch.from_numpy(ends.inside(planes, np.float64 if kind == np.float64 else np.float32))
    rounding = 0.0 if kind.kind == "f" else 12**-0.5 / (ends.white - ends.black)

    def back(restored: Tensor) -> np.ndarray:
        return ends.outside(restored.detach().cpu().numpy(), kind)

    return Pixels(x, back, ends, rounding, curves.of_samples(kind.name, ends == ranges.full(kind)))


def _said(value: Any) -> Any:
    if isinstance(value, Spec):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [_said(v) for v in value]
    names = (getattr(value, "name", None), getattr(value, "__name__", None), type(value).__name__)
    return next(name for name in names if isinstance(name, str))
