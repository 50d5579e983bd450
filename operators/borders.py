"""A blur at the borders of a picture: what the camera saw beyond them is unknown, or continued by a rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor
from torch.nn.functional import pad

from ..registry import OPERATORS, SpecError
from . import kernels
from .base import Operator
from .blur import Blur, check_kernel_size
from .rivals import rival_kernels, turned_kernel
from .unknown import Span, Unknown, UnknownBlur

Border = Literal["circular", "valid", "replicate", "reflect", "zero", "mean"]


class ValidBlur(Operator):
    """The valid part of a blur: y is what the camera saw of a larger picture; nothing is assumed beyond y's border.

    y = crop(Blur(k, s) x) without any sample that a periodic border could reach.  The image is larger than y by the
    kernel's margins; `visible` cuts it to y's field of view.  The data step runs conjugate gradients, preconditioned
    with the exact periodic solve and started from x0, to the relative residual `tolerance`.
    Almeida & Figueiredo 2013 (unknown borders).
    """

    called, tolerance = "kernel", 1e-5

    def __init__(self, kernel: Tensor, factor: int = 1, shift: int = 0) -> None:
        super().__init__()
        self.blur = Blur(kernel, factor, shift)
        self.task = self.blur.task
        self.margins = tuple(_margin(k, factor, shift) for k in self.blur.kernel.shape[-2:])

    def forward(self, x: Tensor) -> Tensor:
        s = self.blur.factor
        if any(n % s for n in x.shape[-2:]):
            raise ValueError(f"x is {x.shape[-2]}×{x.shape[-1]}; crop it to a multiple of the factor, {s}.")
        y = self.blur(x)
        (top, bottom), (left, right) = self.margins
        if y.shape[-2] <= top + bottom or y.shape[-1] <= left + right:
            raise ValueError(f"x is {x.shape[-2]}×{x.shape[-1]}, too small for the kernel: no pixel is valid.")
        return y[..., top : y.shape[-2] - bottom, left : y.shape[-1] - right]

    def adjoint(self, y: Tensor) -> Tensor:
        (top, bottom), (left, right) = self.margins
        return self.blur.adjoint(pad(y, (left, right, top, bottom)))

    def preconditioner(self, b: Tensor, rho: float | Tensor) -> Callable[[Tensor], Tensor]:
        return self.blur.preconditioner(b, rho)

    def norm(self, x: Tensor | None = None) -> float:
        return super().norm(x) if x is None else self.blur.norm(x)  # cropping cannot enlarge: a safe bound

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        c, h, w = super().image_shape(y_shape)
        check_kernel_size(self.blur.kernel, (h * self.blur.factor, w * self.blur.factor))
        (top, bottom), (left, right) = self.margins
        return self.blur.image_shape((c, h + top + bottom, w + left + right))

    def initial(self, y: Tensor) -> Tensor:
        """y with its border pixels repeated over the unknown margins."""
        (top, bottom), (left, right) = self.margins
        return self.blur.initial(pad(y, (left, right, top, bottom), mode="replicate"))

    def transfer(self, size: tuple[int, int]) -> Tensor | None:
        return self.blur.transfer(size)

    def rivals(self) -> dict[str, Operator]:
        found = rival_kernels(self.blur.kernel).items()
        return {f"a kernel {name}": ValidBlur(k, self.blur.factor, self.blur.shift) for name, k in found}

    def turned(self) -> Operator | None:
        other = turned_kernel(self.blur.kernel) if self.blur.factor == 1 else None
        return None if other is None else ValidBlur(other, 1, -self.blur.shift)

    def visible(self, x: Tensor) -> Tensor:
        s = self.blur.factor
        (top, bottom), (left, right) = self.margins
        return x[..., s * top : x.shape[-2] - s * bottom, s * left : x.shape[-1] - s * right]


class PaddedBlur(Operator):
    """A blur of a picture that is first continued beyond its borders by a rule; y has x's size (divided by s).

    mode: replicate, reflect, zero, or mean (the mean of the picture).  Good for simulation and comparison; on a
    measured picture each rule is a guess.  Data step: conjugate gradients with the periodic solve as preconditioner.
    size: as for Blur, (H, W) of a picture that s does not divide; the rule continues it to the next multiple.
    """

    called, tolerance = "kernel", 1e-5

    def __init__(
        self,
        kernel: Tensor,
        mode: Literal["replicate", "reflect", "zero", "mean"] = "replicate",
        factor: int = 1,
        shift: int = 0,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.valid, self.mode = ValidBlur(kernel, factor, shift), mode
        self.valid.blur.size = size
        self.task = self.valid.task

    def forward(self, x: Tensor) -> Tensor:
        s, (h, w) = self.valid.blur.factor, x.shape[-2:]
        (top, bottom), (left, right) = self.valid.margins
        return self.valid(_pad(x, (s * left, s * right + -w % s, s * top, s * bottom + -h % s), self.mode))

    def preconditioner(self, b: Tensor, rho: float | Tensor) -> Callable[[Tensor], Tensor]:
        return self.valid.blur.preconditioner(b, rho)

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        return self.valid.blur.image_shape(y_shape)

    def initial(self, y: Tensor) -> Tensor:
        return self.valid.blur.initial(y)

    def transfer(self, size: tuple[int, int]) -> Tensor | None:
        return self.valid.transfer(size)

    def rivals(self) -> dict[str, Operator]:
        b, found = self.valid.blur, rival_kernels(self.valid.blur.kernel).items()
        return {f"a kernel {name}": PaddedBlur(k, self.mode, b.factor, b.shift, b.size) for name, k in found}

    def turned(self) -> Operator | None:
        b = self.valid.blur
        other = turned_kernel(b.kernel) if b.factor == 1 else None
        return None if other is None else PaddedBlur(other, self.mode, 1, -b.shift, b.size)


def _margin(k: int, s: int, shift: int) -> tuple[int, int]:
    """(before, after): low-resolution samples lost on each side because their kernel would leave the picture."""
    origin = k // 2 + shift
    before, after = k - 1 - origin, origin  # pixels that sample n needs below and above s n
    return max(0, math.ceil(before / s)), max(0, math.ceil((after - (s - 1)) / s))


def _pad(x: Tensor, margins: tuple[int, int, int, int], mode: str) -> Tensor:
    if mode == "zero":
        return pad(x, margins)
    if mode == "mean":
        mean = x.mean((-2, -1), keepdim=True)
        return pad(x - mean, margins) + mean
    return pad(x, margins, mode=mode)


@OPERATORS.register(
    "blur",
    cite=("zhao2016", "almeida2013"),
    examples=("blur", "blur:kernel=motion,length=7,angle=30", "blur:kernel=shake,length=7", "blur:kernel=disk,radius=2",
              "blur:kernel=box,size=3", "blur:border=valid", "blur:kernel=box,size=4,border=valid",
              "blur:border=replicate", "blur:border=reflect", "blur:border=zero", "blur:border=mean"),
)
@kernels.takes_kernels
def blur(
    kernel: str | None = None,
    border: Border = "circular",
    seed: int = 0,
    *,
    shape: tuple[int, int, int] | None = None,
    measured: bool = False,
    **options: Any,
) -> Operator:
    """Convolution with a kernel, by name or from a file.

    border: circular; valid (y is the valid part: unknown borders); replicate, reflect, zero, mean.
    seed: of a kernel that is drawn, shake.
    A simulation without a kernel takes gaussian; for a measured picture the kernel has to be told, with its size.
    A size or angle given as ? is found in the measured picture, and kernel=estimate finds the whole kernel, of at most
    `size` pixels a side.
    """
    if (spans := kernels.asked(kernel, options)) is not None:
        return _unknown(kernel or kernels.DEFAULT, border, spans, options, measured)
    if measured:
        kernels.check_told(kernel, options)
    return bordered(kernels.make(kernel or kernels.DEFAULT, options, seed=seed, shape=shape), border)


def _unknown(
    kernel: str, border: Border, spans: dict[str, Span], options: dict[str, Any], measured: bool
) -> Operator:
    if not measured:
        raise SpecError("A kernel is estimated from a measured picture. Leave --simulate out, or give the kernel.")
    known = {key: value for key, value in options.items() if key not in spans}
    return UnknownBlur(Unknown(
        spans,
        lambda values: bordered(kernels.make(kernel, {**known, **values}), border),
        lambda k: bordered(k, border),
        options.get("size") if not spans else None,
    ))  # fmt: skip


def bordered(
    kernel: Tensor, border: Border, factor: int = 1, shift: int = 0, size: tuple[int, int] | None = None
) -> Operator:
    """Blur with this rule at the borders, then decimation by `factor`."""
    if border == "circular":
        return Blur(kernel, factor, shift, size)
    if border == "valid":
        return ValidBlur(kernel, factor, shift)
    return PaddedBlur(kernel, border, factor, shift, size)
