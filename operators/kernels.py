"""Blur kernels: arrays (kh, kw) or (C, kh, kw) of sum 1, made by formula or read from a file.

A kernel is one function in KERNELS.  Its parameters are options of every operator that takes a kernel, except those
after the star: the operator knows them (`factor`, the decimation that follows the kernel, `seed`, and `shape`).
`told` names those whose default serves simulations alone: for a measured picture it would be a guess.  They can be
given as `?`, which finds them in a measured picture.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..checks import positive
from ..registry import Registry, SpecError, unknown
from .kernel_files import FILES, from_file
from .unknown import Span

KERNELS: Registry[Tensor] = Registry("kernel")
DEFAULT = "gaussian"
ESTIMATE = "estimate"  # in the place of a kernel: no form is known
ASKED = "?"  # in the place of a number
Asked = Literal["?"]


def told(**spans: Span) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Say which parameters of a kernel have to be given for a measured picture, and where `?` looks for them."""

    def mark(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        function.told = spans  # type: ignore[attr-defined]
        return function

    return mark


@KERNELS.register("gaussian", examples=("gaussian", "gaussian:std=2,size=9"))
@told(std=Span(0.4, 8.0))
def gaussian(std: float | None = None, size: int | None = None, *, factor: int | None = None) -> Tensor:
    """exp(−|i − c|²/(2 std²)), normalised, c the middle of size × size pixels.

    By default std = 1.6, and size has 4 std on each side.  Before a decimation std = 0.4 factor, and size is odd where
    the factor is.
    """
    std = positive((1.6 if factor is None else 0.4 * factor) if std is None else std, "std")
    if size is None:
        size = 2 * int(np.ceil(4 * std)) + 1 if factor is None else 2 * round(4 * std) + factor % 2
    size = int(positive(size, "size"))
    g = torch.exp(-((torch.arange(size, dtype=torch.float64) - (size - 1) / 2) ** 2) / (2 * std**2))
    return _normalised(torch.outer(g, g))


@KERNELS.register("motion", examples=("motion", "motion:length=7,angle=45"))
@told(length=Span(3.0, 50.0), angle=Span(0.0, 180.0, period=180.0))
def motion(length: float = 15.0, angle: float = 30.0) -> Tensor:
    """A straight motion: a line of `length` pixels at `angle` degrees (counter-clockwise from the x axis).

    The line is sampled finely and shared among the four neighbours of each sample (bilinear weights).
    """
    oversampling = 32  # samples a pixel
    if not np.isfinite(angle):
        raise ValueError(f"angle is {angle}; expected degrees.")
    n = max(1, int(np.ceil(positive(length, "length") * oversampling)))
    t = (np.arange(n) + 0.5) / n * length - length / 2
    return _path(-t * np.sin(np.deg2rad(angle)), t * np.cos(np.deg2rad(angle)))


@KERNELS.register("shake", examples=("shake", "shake:length=7"))
def shake(length: float = 15.0, *, seed: int = 0) -> Tensor:
    """A hand-held exposure: a curved path, drawn with the seed, whose longer side spans `length` pixels.

    Row and column are independent Gaussian processes over the exposure, t in [0, 1], of covariance
    exp(−(t − t')²/(2 · 0.25²)): the camera stays longer where it turns, as in measured kernels (Levin et al. 2009).
    """
    knots = np.linspace(0, 1, 33)
    covariance = np.exp(-0.5 * ((knots[:, None] - knots) / 0.25) ** 2)
    root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(knots)))
    t = (np.arange(4000) + 0.5) / 4000
    path = np.stack([np.interp(t, knots, z) for z in (root @ np.random.default_rng(seed).standard_normal((33, 2))).T])
    low, high = path.min(1, keepdims=True), path.max(1, keepdims=True)
    rows, columns = (path - (low + high) / 2) * (positive(length, "length") / (high - low).max())
    return _path(rows, columns)


@KERNELS.register("disk", examples=("disk", "disk:radius=2"))
@told(radius=Span(0.6, 16.0))
def disk(radius: float = 3.0) -> Tensor:
    """An out-of-focus disk: the share of each pixel that lies within `radius` of the centre."""
    oversampling = 16  # samples a pixel and axis
    half = max(0, int(np.ceil(positive(radius, "radius") + 0.5)) - 1)
    n = (2 * half + 1) * oversampling
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / oversampling - (half + 0.5)
    inside = (t[:, None] ** 2 + t[None, :] ** 2 <= radius**2).double()
    side = 2 * half + 1
    return _normalised(inside.reshape(side, oversampling, side, oversampling).mean((1, 3)))


@KERNELS.register("box", examples=("box", "box:size=4"))
@told(size=Span(2, 25, whole=True))
def box(size: int | None = None, *, factor: int | None = None) -> Tensor:
    """The mean over size × size pixels: by default 9, before a decimation as many as its factor."""
    size = (9 if factor is None else factor) if size is None else size
    return torch.full((size, size), 1.0 / int(positive(size, "size")) ** 2, dtype=torch.float64)


@KERNELS.register("bicubic")
def cubic(*, factor: int | None = None) -> Tensor:
    """Keys' cubic (a = −1/2) stretched by `factor`: what shrinks a picture by `factor` without aliasing.

    Even factors give even sizes: the kernel is centred between pixels, as the low-resolution pixel is.  Keys 1981.
    Raises ValueError without a factor.
    """
    if factor is None:
        raise ValueError("bicubic is not a kernel of a blur: it filters before a decimation. Use downsample.")
    size = 4 * factor - factor % 2  # odd for odd factors, even for even ones; the taps beyond would be zero
    t = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs() / factor
    w = torch.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, torch.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0.0))
    return _normalised(torch.outer(w, w))


def make(kernel: str, options: dict[str, Any], **known: Any) -> Tensor:
    """The kernel of this name, or in this file, with these options.

    known: what the operator knows; it goes to the parameter of that name, if the kernel has one.
    Raises SpecError for an unknown kernel, and for an option that this kernel does not take.
    """
    function = _function(kernel)
    own = _options(function)
    for key in options:
        if key not in own:
            others = [name for name, entry in KERNELS.items() if key in _options(entry.make)]
            hint = f"  {key} is an option of kernel={_or(others)}." if others else ""
            raise SpecError(f"kernel={kernel} takes {_or(own) if own else 'no options'}, not {key}.{hint}")
    parameters = inspect.signature(function).parameters
    return function(**options, **{key: value for key, value in known.items() if key in parameters})


def check_told(kernel: str | None, options: dict[str, Any]) -> None:
    """SpecError for the kernel of a measured picture that is not known: not given, drawn, or of a default size."""
    ways = (
        "Pass a picture of a point (blur:kernel=psf.png), an array (blur:kernel=psf.npy), or a shape with its size "
        "(blur:std=2; blur:kernel=disk,radius=3; blur:kernel=motion,length=15,angle=30). blur:kernel=disk,radius=? "
        "finds the radius in the picture, and blur:kernel=estimate the whole kernel."
    )
    if kernel is None and not options:
        raise SpecError(f"the kernel that blurred this picture is not known. {ways}")
    function = _function(kernel or DEFAULT)
    if "seed" in inspect.signature(function).parameters:
        raise SpecError(f"kernel={kernel} is drawn at random, so it serves --simulate alone. {ways}")
    if missing := [key for key in getattr(function, "told", ()) if key not in options]:
        raise SpecError(f"kernel={kernel or DEFAULT} needs its {' and '.join(missing)} for a measured picture. {ways}")


def of(operator: nn.Module) -> Tensor | None:
    """The kernel (1 or C, kh, kw) of an operator; None where it has none."""
    return next((buffer for name, buffer in operator.named_buffers() if name.endswith("kernel")), None)


def asked(kernel: str | None, options: dict[str, Any]) -> dict[str, Span] | None:
    """Where the numbers given as `?` are looked for; empty for kernel=estimate; None where the kernel is known.

    Raises SpecError for a number that cannot be found.
    """
    wanted = [key for key, value in options.items() if value == ASKED]
    if kernel == ESTIMATE:
        if wanted or set(options) - {"size"}:
            raise SpecError("kernel=estimate takes one option, size: the largest side of the kernel in pixels.")
        return {}
    spans = getattr(_function(kernel or DEFAULT), "told", {}) if wanted else {}
    if lost := [key for key in wanted if key not in spans]:
        known = f"It finds {_or(spans)}." if spans else "It finds numbers of gaussian, disk, motion and box."
        raise SpecError(f"cannot find the {_or(lost)} of kernel={kernel or DEFAULT} in a picture. {known}")
    return {key: spans[key] for key in wanted} or None


def takes_kernels(operator: Callable[..., Any]) -> Callable[..., Any]:
    """Give operator(kernel, ..., **options) a signature with the options of every kernel, and a docstring with them.

    A default in this signature is shown and not passed on, because each kernel has its own.
    """
    functions = {**{name: entry.make for name, entry in KERNELS.items()}, "a file": from_file}
    signature = inspect.signature(operator)
    own = {key: p for key, p in signature.parameters.items() if p.kind != p.VAR_KEYWORD}
    added: dict[str, inspect.Parameter] = {}
    for function in functions.values():
        hints = typing.get_type_hints(function)
        asked = getattr(function, "told", {})
        for key, parameter in _options(function).items():
            if key not in own:
                added.setdefault(key, parameter.replace(kind=parameter.KEYWORD_ONLY))
                hint = hints[key] | Asked if key in asked else hints[key]
                operator.__annotations__[key] = operator.__annotations__.get(key, hint) | hint
    operator.__signature__ = signature.replace(parameters=[*own.values(), *added.values()])  # type: ignore[attr-defined]
    shown = (f"{name} ({', '.join(_options(f))})" if _options(f) else name for name, f in functions.items())
    operator.__doc__ = f"{inspect.getdoc(operator)}\nkernel: {_or(shown)}."
    return operator


def _function(kernel: str) -> Callable[..., Tensor]:
    if Path(kernel).suffix:
        return partial(from_file, kernel)
    if kernel not in KERNELS:
        raise SpecError(unknown("kernel", kernel, [*KERNELS, FILES]))
    return KERNELS[kernel].make


def _options(function: Callable[..., Tensor]) -> dict[str, inspect.Parameter]:
    """What a person can say of a kernel."""
    return {key: p for key, p in inspect.signature(function).parameters.items() if p.kind == p.POSITIONAL_OR_KEYWORD}


def _or(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _path(rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """The kernel of a point that was at these places, relative to the middle, equally long at each."""
    half = int(np.ceil(max(np.abs(rows).max(), np.abs(columns).max()) + 1e-9))
    kernel = np.zeros((2 * half + 3, 2 * half + 3))
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for dr in (0, 1):
        for dc in (0, 1):
            weight = np.abs(1 - dr - (rows - r0)) * np.abs(1 - dc - (columns - c0))
            np.add.at(kernel, (r0 + dr + half + 1, c0 + dc + half + 1), weight)
    return _normalised(trimmed(torch.from_numpy(kernel)))


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()


def trimmed(kernel: Tensor) -> Tensor:
    """Without the outer rings of zeros, the centre kept where it is."""
    while min(kernel.shape) > 1 and float(kernel.sum() - kernel[1:-1, 1:-1].sum()) < 1e-12 * float(kernel.sum()):
        kernel = kernel[1:-1, 1:-1]
    return kernel
