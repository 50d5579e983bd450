"""Arrays of any axes as pages of pictures, and back.

Axes are letters in the order of the array: H rows, W columns, C the 1 or 3 samples of a pixel, P anything else, whose
planes become pages: time, depth, channels of a microscope, bands.
"""

from __future__ import annotations

import math

import numpy as np


def guess(shape: tuple[int, ...]) -> str:
    """The axes of a bare array; ValueError for fewer than two.

    Three axes: C of 1 or 3 last, or else first; beyond that the shorter end is P.  More: C last or before H, W.
    """
    n = len(shape)
    if n < 2:
        raise ValueError(f"shape {shape}; expected (H, W), (H, W, C), (T, H, W) or (T, C, H, W)")
    if n == 3:
        return _three(shape)
    if n == 4 and shape[1] in (1, 3):
        return "PCHW"
    return "P" * (n - 3) + "HWC" if n > 3 and shape[-1] in (1, 3) else "P" * (n - 2) + "HW"


def _three(shape: tuple[int, ...]) -> str:
    if shape[-1] in (1, 3):
        return "HWC"
    if shape[0] in (1, 3):
        return "CHW"
    return "HWP" if shape[-1] < min(shape[:2]) else "PHW"


def to_pages(array: np.ndarray, axes: str) -> np.ndarray:
    """(B, H, W, C), the pages in the order of the array's own axes."""
    planes = array.transpose(_order(axes))
    planes = planes if "C" in axes else planes[..., None]
    return planes.reshape(math.prod(planes.shape[:-3]), *planes.shape[-3:])


def lengths(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """Of the axes that are P."""
    return tuple(n for n, axis in zip(shape, axes, strict=True) if axis == "P")


def fits(samples: np.ndarray, axes: str, pages: tuple[int, ...]) -> bool:
    """Whether (B, H, W, C) can be laid out so."""
    return bool(axes) and len(samples) == math.prod(pages) and ("C" in axes or samples.shape[-1] == 1)


def from_pages(samples: np.ndarray, axes: str, pages: tuple[int, ...]) -> np.ndarray:
    """The inverse of `to_pages`; pages: the lengths of the axes that are P."""
    planes = samples.reshape(*pages, *samples.shape[1:])
    planes = planes if "C" in axes else planes[..., 0]
    return planes.transpose(np.argsort(_order(axes)))


def _order(axes: str) -> list[int]:
    return sorted(range(len(axes)), key=lambda i: "PHWC".index(axes[i]))
