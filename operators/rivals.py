"""Kernels that may have been meant in the place of one that was told: larger, smaller, turned."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

FACTORS = (0.5, 0.63, 0.79, 0.89, 1.12, 1.26, 1.58, 2.0, 2.5)
TURNS = (-45, -15, 15, 45, 90)  # degrees
ALIKE = 0.2  # of ‖k‖: kernels nearer than this are one
OVERSAMPLING = 5  # points a pixel and axis


def rival_kernels(kernel: Tensor) -> dict[str, Tensor]:
    """Kernels like this one (C, kh, kw), by what sets each apart: its size, its angle.

    Turned by 180° (`turned_kernel`) it has the same |K|, so a power spectrum does not tell it.
    """
    others = {f"{t:g} times as large": transformed(kernel, stretch=t) for t in FACTORS}
    others |= {f"turned by {angle}°": transformed(kernel, degrees=angle) for angle in TURNS}
    return {name: other for name, other in others.items() if not _alike(kernel, other)}


def turned_kernel(kernel: Tensor) -> Tensor | None:
    """The kernel (C, kh, kw) turned by 180° about the tap kh//2, kw//2; None where that is nearly itself."""
    even = [1 - n % 2 for n in kernel.shape[-2:]]
    other = pad(kernel, (0, even[1], 0, even[0])).flip(-2, -1)
    return None if _alike(kernel, other) else other


def transformed(kernel: Tensor, stretch: float = 1.0, degrees: float = 0.0) -> Tensor:
    """The kernel (C, kh, kw) stretched about its middle and turned counter-clockwise, its sum kept, of odd sides.

        k'(u) = k(R⁻¹ u/stretch)/stretch²,   R a rotation by `degrees`

    Bilinear between the pixels of k; each new pixel is the mean of 5 x 5 points.
    """
    size = kernel.shape[-2:]
    side = 2 * math.ceil(max(size) / 2 * stretch + 1) + 1
    t = ((torch.arange(side * OVERSAMPLING, dtype=torch.float64) + 0.5) / OVERSAMPLING - side / 2).to(kernel.device)
    down, right = torch.meshgrid(t, t, indexing="ij")
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows, columns = (c * down + s * right) / stretch, (c * right - s * down) / stretch
    grid = torch.stack([columns * 2 / size[1], rows * 2 / size[0]], -1)[None]  # in units of half a kernel
    found = grid_sample(kernel.double()[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    k = avg_pool2d(found, OVERSAMPLING)[0]
    return k * (kernel.double().sum((-2, -1), keepdim=True) / k.sum((-2, -1), keepdim=True))


def _alike(kernel: Tensor, other: Tensor) -> bool:
    """Whether two kernels differ by less than ALIKE of the first, their middles laid over each other."""
    (h, w), (oh, ow) = kernel.shape[-2:], other.shape[-2:]
    height, width = max(h, oh), max(w, ow)
    a, b = (
        pad(k, ((width - k.shape[-1]) // 2, -(-(width - k.shape[-1]) // 2),
                (height - k.shape[-2]) // 2, -(-(height - k.shape[-2]) // 2)))
        for k in (kernel.double(), other.double())
    )  # fmt: skip
    return bool((a - b).norm() < ALIKE * a.norm())
