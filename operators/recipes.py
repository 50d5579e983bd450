"""Blur and downsampling as spec strings: which kernel, which borders."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor

from ..checks import positive
from ..registry import OPERATORS, SpecError, unknown
from . import kernels
from .base import Operator
from .blur import Blur, Border, PaddedBlur, ValidBlur

KERNELS = ("gaussian", "motion", "shake", "disk", "box", "bicubic")


@OPERATORS.register(
    "blur",
    cite=("zhao2016", "almeida2013"),
    examples=("blur", "blur:kernel=motion,length=7,angle=30", "blur:kernel=shake,length=7", "blur:kernel=disk,radius=2",
              "blur:kernel=box,size=3", "blur:border=valid", "blur:kernel=box,size=4,border=valid",
              "blur:border=replicate", "blur:border=reflect", "blur:border=zero", "blur:border=mean"),
)
def blur(
    kernel: str = "gaussian",
    std: float = 1.6,
    size: int | None = None,
    length: float = 15.0,
    angle: float = 30.0,
    radius: float = 3.0,
    index: int | str | None = None,
    border: Border = "circular",
    seed: int = 0,
) -> Operator:
    """Blur: gaussian (std, size), motion (length, angle), shake (length), disk (radius), box (size), or a file (index).

    shake is a path that bends as a hand-held camera's does, drawn with the seed.
    index: which kernel of a file that holds several, a number, in NPZ a name.
    border: circular; valid (y is the valid part: unknown borders); replicate, reflect, zero, mean.
    """
    return _bordered(make_kernel(kernel, std, size, length, angle, radius, index, seed), border, 1, 0, None)


@OPERATORS.register(
    "downsample",
    cite=("zhao2016",),
    examples=("downsample", "downsample:factor=3", "downsample:factor=2,kernel=gaussian",
              "downsample:factor=3,kernel=gaussian,align=corner", "downsample:factor=4,kernel=box",
              "downsample:factor=2,border=valid", "downsample:factor=3,border=replicate"),
)
def downsample(
    factor: int = 2,
    kernel: str = "bicubic",
    std: float | None = None,
    size: int | None = None,
    index: int | str | None = None,
    align: Literal["center", "corner"] | None = None,
    border: Border = "circular",
    *,
    shape: tuple[int, int, int] | None = None,
) -> Operator:
    """Low-pass filter, then every factor-th pixel: bicubic, gaussian (std, default 0.4 factor), box, or a kernel file.

    align: center puts each sample in the middle of its factor × factor cell, as picture software does; corner puts it
    on the cell's first pixel, as in USRNet's protocol.  Default: center, but corner for a kernel file.
    """
    if factor not in (2, 3, 4, 8):
        raise SpecError(f"factor={factor}; expected 2, 3, 4 or 8.")
    named = kernel in KERNELS
    k = kernels.cubic(factor) if kernel == "bicubic" else _low_pass(factor, kernel, std, size, index)
    centred = align == "center" or (align is None and named)
    even = k.shape[-1] % 2 == 0
    shift = (factor - 1) // 2 if centred else 0
    if centred and named and even != (factor % 2 == 0):
        raise SpecError(f"size={k.shape[-1]} cannot be centred on cells of {factor}; make both odd or both even.")
    fixed = None if shape is None or border == "valid" or not (shape[1] % factor or shape[2] % factor) else shape[1:]
    return _bordered(k, border, factor, shift, fixed)


def make_kernel(
    kernel: str,
    std: float = 1.6,
    size: int | None = None,
    length: float = 15.0,
    angle: float = 30.0,
    radius: float = 3.0,
    index: int | str | None = None,
    seed: int = 0,
) -> Tensor:
    """A kernel by name or from a file."""
    if kernel == "gaussian":
        return kernels.gaussian(std, size)
    if kernel == "motion":
        return kernels.motion(length, angle)
    if kernel == "shake":
        return kernels.shake(length, seed)
    if kernel == "disk":
        return kernels.disk(radius)
    if kernel == "box":
        return kernels.box(9 if size is None else size)
    if Path(kernel).suffix:
        return kernels.from_file(kernel, index)
    raise SpecError(unknown("kernel", kernel, [*KERNELS[:-1], "a file (.png, .npy, .npz, .mat)"]))


def _low_pass(factor: int, kernel: str, std: float | None, size: int | None, index: int | str | None) -> Tensor:
    std = 0.4 * factor if std is None else positive(std, "std")
    if kernel == "box":
        size = factor if size is None else size
    elif kernel == "gaussian" and size is None:
        size = 2 * round(4 * std) + factor % 2
    return make_kernel(kernel, std=std, size=size, index=index)


def _bordered(kernel: Tensor, border: Border, factor: int, shift: int, size: tuple[int, int] | None) -> Operator:
    if border == "circular":
        return Blur(kernel, factor, shift, size)
    if border == "valid":
        return ValidBlur(kernel, factor, shift)
    return PaddedBlur(kernel, border, factor, shift, size)
