"""A camera's colour filters: each pixel measures one colour."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .. import checks
from ..registry import OPERATORS, SpecError
from .base import Operator

Pattern = Literal["rggb", "bggr", "grbg", "gbrg"]


class Mosaic(Operator):
    """y = Σ_c m_c x_c, pixel by pixel: m is 1 for the one colour c that a pixel measures, so A Aᵀ = I.

    mask: (C, H, W) of 0 and 1, at most one 1 at each pixel; none where a pixel is missing.  x: (B, C, H, W);
    y: (B, 1, H, W), a grey picture.  Exact: (AᵀA + rho I)⁻¹ b = b/(m + rho).
    Raises ValueError for another mask.   Bayer 1976 (US patent 3 971 065).
    """

    task, pixelwise = "mask", True
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if mask.ndim != 3 or mask.numel() == 0 or not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError(f"mask has shape {tuple(mask.shape)}; expected (C, H, W) of 0 and 1.")
        if not bool((mask.sum(0) <= 1).all()) or not bool(mask.any()):
            raise ValueError("mask has pixels of several colours, or none. Set one channel of each pixel to 1.")
        self.register_buffer("mask", mask.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, "x", "takes", len(self.mask))
        return (x * self.mask.to(x.dtype)).sum(1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        self._check(y, "y", "makes", 1)
        return y * self.mask.to(y.dtype)

    def normal(self, x: Tensor) -> Tensor:
        return x * self.mask.to(x.dtype)

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """b / (m + rho)."""
        return b / (self.mask.to(b.dtype) + checks.positive_tensor(rho, "rho"))

    def norm(self, x: Tensor | None = None) -> float:
        return 1.0

    def known(self) -> Tensor | None:
        seen = self.mask.sum(0, keepdim=True)
        return None if bool(seen.all()) else seen

    def masked(self, known: Tensor) -> Mosaic:
        return Mosaic(self.mask * known.to(self.mask))

    def planes(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """Each colour as a picture of its own.  One pixel in four, or in two, is known."""
        return self.adjoint(y), self.mask

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        channels, height, width = self.mask.shape
        if y_shape is not None:
            self._check(torch.empty(1, *y_shape, device="meta"), "y", "makes", 1)
        return (channels, height, width)

    def measurement_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return (1, *image_shape[1:])

    def initial(self, y: Tensor) -> Tensor:
        """The known colours, and for the others an average of those nearby."""
        from .mask import fill

        return fill(self.adjoint(y), self.mask.to(y.dtype)[None])

    def _check(self, x: Tensor, name: str, does: str, channels: int) -> None:
        h, w = self.mask.shape[1:]
        if x.ndim != 4 or tuple(x.shape[1:]) != (channels, h, w):
            raise ValueError(f"{name} has shape {tuple(x.shape)}; {self.name} {does} (B, {channels}, {h}, {w}).")


@OPERATORS.register("mosaic", cite=("bayer1976",), examples=("mosaic", "mosaic:pattern=gbrg"))
def mosaic(pattern: Pattern = "rggb", *, shape: tuple[int, int, int] | None = None, measured: bool = False) -> Mosaic:
    """A camera's Bayer pattern: a grey picture of which each pixel saw red, green or blue.

    pattern: the colours of the top left four pixels, row by row.  A simulation on a grey picture
    measures all of it, since its colours are one.
    """
    if shape is None:
        raise SpecError("mosaic needs the shape of the picture.")
    channels, height, width = shape
    if measured and channels != 1:
        raise SpecError(f"mosaic takes the grey picture of a sensor; this one has {channels} channels.")
    if not measured and channels == 1:
        return Mosaic(torch.ones(1, height, width))
    mask = torch.zeros(3, height, width)
    for i, colour in enumerate(pattern):
        mask["rgb".index(colour), i // 2 :: 2, i % 2 :: 2] = 1
    return Mosaic(mask)
