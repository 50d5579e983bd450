"""The transfer curve between a file's values and light: sRGB's, or the one of the file's colour profile."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

TOE = 0.05  # of a power law: below it is a line, else the slope of the encoding at black is infinite
NEAR = 0.004  # a measured curve that is no farther than this from a formula, 1/255, is that formula
TAGS = (b"gTRC", b"rTRC", b"kTRC")
MOST_TAGS = 100
NUMBERS = (1, 3, 4, 5, 7)  # of ICC's five forms of a curve


@dataclass(frozen=True)
class Curve:
    """u = decode(v) of a file's value v, 0 to 1, with u in proportion to light:

        u = (1 − a (1 − v))^g for v >= d, c v below;   decode(−v) = −decode(v);   beyond 1 by the same power

    Increasing and continuous, so that `encode` is its inverse everywhere; 0 and 1 stay what they are, bit for bit.
    ICC.1:2010, section 10.16, type 3.
    """

    g: float
    a: float
    c: float
    d: float
    name: str

    def decode(self, v: Tensor) -> Tensor:
        size = v.abs()
        return v.sign() * torch.where(size < self.d, self.c * size, self._power(size, self.g))

    def encode(self, u: Tensor) -> Tensor:
        size, knee = u.abs(), self.c * self.d
        inner = 1 + (size.clamp_min(knee) ** (1 / self.g) - 1) / self.a
        return u.sign() * torch.where(size < knee, size / self.c, inner)

    def slope(self, v: Tensor) -> Tensor:
        """d decode / d v."""
        size = v.abs()
        above = self.g * self.a * self._power(size, self.g - 1)
        return torch.where(size < self.d, torch.full_like(size, self.c), above)

    def _power(self, size: Tensor, g: float) -> Tensor:
        return (1 - self.a * (1 - size.clamp_min(self.d))) ** g  # clamped: what `where` leaves out has a gradient, too


def gamma(g: float) -> Curve:
    """u = v^g from TOE, the line through 0 below."""
    return Curve(g, 1.0, TOE ** (g - 1), TOE, f"gamma {g:.3g}")


SRGB = Curve(2.4, 1 / 1.055, 1 / 12.92, 0.04045, "sRGB")  # IEC 61966-2-1


def of_samples(dtype: str, whole_scale: bool, icc: bytes | None = None) -> Curve | None:
    """The curve of integers of 8 or 16 bits whose full scale is black to white; None for all others.

    icc: a colour profile; without one, or with one that cannot be read, the curve is sRGB's.  None, too, where the
    profile says that values are in proportion to light.
    """
    if dtype not in ("uint8", "uint16") or not whole_scale:
        return None
    found = (None if icc is None else of_profile(icc)) or SRGB
    return None if found.g == 1 else found


def of_profile(icc: bytes) -> Curve | None:
    """The curve in an ICC profile; None where there is none, or one that is near no formula here.

    Profiles of printers have tables in its place.   ICC.1:2010, sections 7.3, 10.5 and 10.16.
    """
    try:
        return _curve(_tag(icc))
    except (struct.error, ValueError, IndexError, OverflowError, ZeroDivisionError):
        return None


def _tag(icc: bytes) -> bytes:
    """The curve's tag, of green or of grey; b"" where there is none."""
    (count,) = struct.unpack_from(">I", icc, 128)
    found = {}
    for i in range(min(count, MOST_TAGS)):
        name, start, size = struct.unpack_from(">4sII", icc, 132 + 12 * i)
        found[name] = icc[start : start + size]
    return next((found[name] for name in TAGS if name in found), b"")


def _curve(tag: bytes) -> Curve | None:
    """Of a tag `para`: a formula of 1 to 7 numbers; or `curv`: a table, of one number its power, of none a line."""
    x = np.linspace(0, 1, 256)
    if tag[:4] == b"para":
        (form,) = struct.unpack_from(">H", tag, 8)
        numbers = [n / 65536 for n in struct.unpack_from(f">{NUMBERS[form]}i", tag, 12)]
        return _near(x, _formula(x, *numbers))
    if tag[:4] != b"curv":
        return None
    (count,) = struct.unpack_from(">I", tag, 8)
    table = struct.unpack_from(f">{count}H", tag, 12)
    if count < 2:
        return _near(x, x ** (table[0] / 256 if table else 1.0))
    return _near(x, np.interp(x, np.linspace(0, 1, count), np.array(table) / 65535))


def _formula(x: np.ndarray, *numbers: float) -> np.ndarray:
    """(a x + b)^g + e for x >= d, c x + f below, by the numbers of each of ICC's five forms."""
    match numbers:
        case (g,):
            return x**g
        case (g, a, b):
            return np.maximum(a * x + b, 0) ** g
        case (g, a, b, c):
            return np.maximum(a * x + b, 0) ** g + c
        case (g, a, b, c, d, *rest):
            e, f = rest or (0.0, 0.0)
            return np.where(x >= d, np.maximum(a * x + b, 0) ** g + e, c * x + f)
    raise ValueError(f"{len(numbers)} numbers")


def _near(x: np.ndarray, u: np.ndarray) -> Curve | None:
    """sRGB's curve or a power law, where u(x) is within NEAR of it."""
    if np.abs(SRGB.decode(torch.from_numpy(x)).numpy() - u).max() < NEAR:
        return SRGB
    middle = (x > 0.2) & (u > 0) & (x < 1)
    if not middle.any():
        return None
    power = float(np.median(np.log(u[middle]) / np.log(x[middle])))
    near = 1 <= power <= 4 and np.abs(x**power - u).max() < 4 * NEAR  # of television, of lightness: near enough
    return gamma(1.0 if abs(power - 1) < NEAR else power) if near else None
