"""Which values of a file are black and white: one affine map brings them to 0 and 1, and back on writing.

    x = (v − black)/(white − black),   v a sample as stored, x in image units

Nothing is clipped on the way in: values beyond black and white lie outside 0 to 1.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

FULL_SCALES = (255, 4095, 65535)  # of 8, 12 and 16 bits
PAGES = 64  # of a stack that are looked at: a movie of thousands would take minutes
EXTREME = 1e-4  # share of the pixels that may lie beyond the robust extremes
BRIGHT = 1e-3  # share of the pixels that set the white of a file without structure
NEAR = 0.25  # of the robust span: as far beyond it the very extremes are taken
MARGIN = 0.1  # of the robust span, where they are not
ZERO = 0.1  # of white: a black that is nearer to 0 is 0, as the zero of counts must be
FLAT = 6.0  # stds of the noise: a smaller span shows nothing but noise
FAR = 2.0  # mean |value| of floats that cannot be meant for 0 to 1
DIM = 0.1  # white of floats that cannot either


class Range(NamedTuple):
    """The values that are black and white, in units of the file."""

    black: float
    white: float

    def __str__(self) -> str:
        return f"{self.black:.9g}..{self.white:.9g}"

    def inside(self, values: np.ndarray, dtype: type = np.float32) -> np.ndarray:
        """(v − black)/(white − black), page by page (axis 0); computed in float64."""
        out: np.ndarray = np.empty(values.shape, dtype)
        with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is counted
            for to, page in zip(out, values, strict=True):
                to[...] = page if self == UNIT else (page - np.float64(self.black)) / (self.white - self.black)
        return out

    def outside(self, x: np.ndarray, dtype: str | np.dtype[Any]) -> np.ndarray:
        """The values that stand for x, page by page; integers are rounded, and clipped to what their type holds."""
        dtype = np.dtype(dtype)
        out = np.empty(x.shape, dtype)
        for to, page in zip(out, x, strict=True):
            values = page if self == UNIT else page.astype(np.float64) * (self.white - self.black) + self.black
            to[...] = whole(values, dtype) if dtype.kind in "iu" else values
        return out


UNIT = Range(0.0, 1.0)
Wanted = Range | Literal["auto", "full"]


def whole(values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Rounded to an integer type, and clipped to its ends."""
    least, most = float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    if most > np.iinfo(dtype).max:  # 2^64 − 1 is not a float64
        most = math.nextafter(most, 0)
    return np.rint(np.clip(values.astype(np.float64), least, most)).astype(dtype)


def asked(value: Any) -> Wanted:
    """`auto` (also None), `full`, LOW..HIGH or a pair of numbers.  Raises ValueError for anything else."""
    if value is None or (isinstance(value, str) and value in ("auto", "full")):
        return "full" if value == "full" else "auto"
    try:
        low, high = map(float, value.split("..") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"range is {value!r}; expected auto, full or LOW..HIGH, e.g. 100..500.")
    return Range(low, high)


def full(dtype: str | np.dtype[Any]) -> Range:
    """0 to the largest integer of a type; floats as they are."""
    dtype = np.dtype(dtype)
    return Range(0.0, float(np.iinfo(dtype).max)) if dtype.kind in "iu" else UNIT


def settled(wanted: Wanted, samples: np.ndarray, all_of_it: Range) -> Range:
    """The range that was asked for.  samples: (B, H, W, C), as stored; all_of_it: the type's."""
    if wanted == "full":
        return all_of_it
    return find(samples, all_of_it) if wanted == "auto" else wanted


def of_truth(own: Range, like: Range, *, same_type: bool) -> Range:
    """The range of a truth beside its picture: the picture's where it is in the same units, else its own.

    It is where it has the same type, or where its own white is within a factor of two of the picture's.
    """
    return like if same_type or 0.5 <= own.white / like.white <= 2 else own


def find(samples: np.ndarray, all_of_it: Range) -> Range:
    """Black and white of a file, one range for all of its pages (B, H, W, C).

        m   = each plane after a median over three columns, then three rows: lone hot and dead pixels are gone
        low, high = the quantiles `EXTREME` and 1 − `EXTREME` of m

    8 bits keep 0 to 255, and so does any type whose values fill that range, 12 bits, 16 bits or the type's own: high is
    in its upper half, low below half of high.  Floats whose mean is near 1 or below keep their values, but for
    whole numbers, which are counts or integers that were converted.  Else black is the least value, or what is a little
    below low where the least lies far beyond it; white likewise.  A black near 0 is 0.  Where high − low is no more
    than noise (a flat field, or stars of one pixel) nothing is stretched: 0 is one end, and the brightest thousandth
    of the pixels the other.
    """
    if samples.dtype.kind in "bu" and samples.dtype.itemsize == 1:
        return all_of_it
    seen = _extent(samples)
    if seen is None:
        return all_of_it
    integers = samples.dtype.kind in "iu" or (seen.high > FAR and _whole(samples))
    if not integers and seen.mean <= FAR and (seen.high >= DIM or seen.low == seen.high):
        return UNIT
    scales = (*FULL_SCALES, all_of_it.white) if integers else (255.0,)
    for white in scales:
        if seen.least >= 0 and seen.most <= white <= 2 * seen.high and 2 * seen.low <= seen.high:
            return Range(0.0, float(white))
    span = seen.high - seen.low
    if span <= FLAT * seen.noise:
        low, high = min(seen.low, 0.0), max(seen.bright, 0.0)
        return Range(float(low), float(high)) if low < high else all_of_it
    black = seen.least if seen.low - seen.least <= NEAR * span else seen.low - MARGIN * span
    white = seen.most if seen.most - seen.high <= NEAR * span else seen.high + MARGIN * span
    if abs(seen.low) <= ZERO * seen.high:
        black = 0.0
    if integers:
        return Range(float(math.floor(black)), float(math.ceil(white)))
    return Range(float(f"{black:.6g}"), float(f"{white:.6g}"))


class _Extent(NamedTuple):
    """Robust and very extremes, mean |value|, and the std of white noise; of what is finite."""

    low: Any
    high: Any
    bright: Any  # a thousandth of the pixels is above
    least: Any
    most: Any
    mean: Any
    noise: Any


def _extent(samples: np.ndarray) -> _Extent | None:
    """By up to `PAGES` pages, evenly spaced; None where nothing is finite."""
    if not samples.size:
        return None
    step = -(-len(samples) // PAGES)
    planes = [found for page in samples[::step] for plane in np.moveaxis(page, -1, 0) if (found := _plane(plane))]
    if not planes:
        return None
    each = _Extent(*np.array(planes, dtype=np.float64).T)
    return _Extent(
        each.low.min(), each.high.max(), each.bright.max(), each.least.min(), each.most.max(), each.mean.mean(),
        np.median(each.noise),
    )  # fmt: skip


def _plane(plane: np.ndarray) -> tuple[float, ...] | None:
    if plane.dtype.kind == "f":
        finite = np.isfinite(plane)
        if not finite.any():
            return None
        if not finite.all():
            plane = np.where(finite, plane, np.median(plane[finite]))
    calm = _median(_median(plane, 1), 0)
    k = int(EXTREME * calm.size)
    ordered = np.partition(calm.ravel(), (k, calm.size - 1 - k))
    left = np.abs(plane[::3, ::3].astype(np.float64) - calm[::3, ::3])
    mean = float(np.abs(calm.astype(np.float64)).mean())
    noise = 1.4826 * float(np.median(left))
    bright = max(ordered[-1 - k], np.quantile(plane, 1 - BRIGHT, method="lower"))
    return ordered[k], ordered[-1 - k], bright, plane.min(), plane.max(), mean, noise


def _median(plane: np.ndarray, axis: int) -> np.ndarray:
    """Of each sample and its two neighbours along an axis; the ends stay."""
    if plane.shape[axis] < 3:
        return plane
    a = np.moveaxis(plane, axis, 0)
    low, high = np.minimum(a[:-2], a[2:]), np.maximum(a[:-2], a[2:])
    inner = np.maximum(low, np.minimum(high, a[1:-1]))
    return np.moveaxis(np.concatenate([inner[:1], inner, inner[-1:]]), 0, axis)  # a lone pixel at the rim goes, too


def _whole(samples: np.ndarray) -> bool:
    """Whether all that is finite is a whole number."""
    with np.errstate(invalid="ignore"):
        return all(bool(((page == np.rint(page)) | ~np.isfinite(page)).all()) for page in samples)
