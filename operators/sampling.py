"""Downsampling as a spec string: which filter, and where the samples lie."""

from __future__ import annotations

from typing import Any, Literal

from ..registry import OPERATORS, SpecError
from . import kernels
from .base import Operator
from .borders import Border, bordered


@OPERATORS.register(
    "downsample",
    cite=("zhao2016",),
    examples=("downsample", "downsample:factor=3", "downsample:factor=2,kernel=gaussian",
              "downsample:factor=3,kernel=gaussian,align=corner", "downsample:factor=4,kernel=box",
              "downsample:factor=2,border=valid", "downsample:factor=3,border=replicate"),
)
@kernels.takes_kernels
def downsample(
    factor: int = 2,
    kernel: str = "bicubic",
    align: Literal["center", "corner"] | None = None,
    border: Border = "circular",
    *,
    shape: tuple[int, int, int] | None = None,
    measured: bool = False,
    **options: Any,
) -> Operator:
    """Low-pass filter, then every factor-th pixel.

    align: center puts each sample in the middle of its factor × factor cell, as picture software does; corner puts it
    on the cell's first pixel, as in USRNet's protocol.  Default: center, but corner for a kernel file.
    shape: of the image; where the picture is measured it is not known, and taken to be a multiple of the factor.
    """
    if factor not in (2, 3, 4, 8):
        raise SpecError(f"factor={factor}; expected 2, 3, 4 or 8.")
    if kernels.asked(kernel, options) is not None:
        raise SpecError("downsample cannot find its kernel in a picture. Give it, or leave it out for bicubic.")
    k = kernels.make(kernel, options, factor=factor, shape=shape)
    named = kernel in kernels.KERNELS
    centred = align == "center" or (align is None and named)
    even = k.shape[-1] % 2 == 0
    shift = (factor - 1) // 2 if centred else 0
    if centred and named and even != (factor % 2 == 0):
        raise SpecError(f"size={k.shape[-1]} cannot be centred on cells of {factor}; make both odd or both even.")
    whole = shape is None or measured or border == "valid" or not (shape[1] % factor or shape[2] % factor)
    fixed = None if shape is None or whole else shape[1:]
    return bordered(k, border, factor, shift, fixed)
