"""How large a picture a file may claim to hold: a flipped bit in a header must not cost gigabytes."""

from __future__ import annotations

import math

LOSSLESS_AT_BEST = 2000  # bytes of samples from one byte of a file: deflate reaches 1032, LZW 1365
ALWAYS = 1 << 26  # bytes that any file may ask for


def check(shape: tuple[int, ...], itemsize: int, available: int, *, compressed: bool = True) -> None:
    """ValueError if a file of `available` bytes cannot hold samples of this shape."""
    if min(shape, default=0) < 1:
        raise ValueError(f"it is empty, of shape {shape}")
    asked = math.prod(shape) * itemsize
    if asked > (max(LOSSLESS_AT_BEST * available, ALWAYS) if compressed else available):
        raise ValueError(f"the file is damaged or truncated: {available} bytes cannot hold shape {shape}")
