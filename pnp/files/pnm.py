"""Netpbm: PBM, PGM and PPM, text or binary, of up to 16 bits.   netpbm.sourceforge.net/doc/pnm.html"""

from __future__ import annotations

import re

import numpy as np

from . import size

HEADER = re.compile(rb"P([1-6])" + 3 * rb"(?:\s|#[^\n]*\n)+(\d{1,9})")  # width, height, largest value
BITS = re.compile(rb"P([14])" + 2 * rb"(?:\s|#[^\n]*\n)+(\d{1,9})")


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """(H, W, S) of uint8 or uint16, S = 1 or 3, and the value that is white.  Raises ValueError."""
    bits = BITS.match(data)
    found = bits or HEADER.match(data)
    if found is None:
        raise ValueError("it is not a PBM, PGM or PPM picture")
    kind, width, height = (int(n) for n in found.groups()[:3])
    white = 1 if bits else int(found[4])
    if not 1 <= white <= 65535:
        raise ValueError(f"its largest value is {white}; expected 1 to 65535")
    shape = (height, width, 3 if kind in (3, 6) else 1)
    size.check(shape, 1, 8 * len(data), compressed=False)  # a bit a sample at best
    body = data[found.end() :]
    if kind <= 3:
        text = re.sub(rb"#[^\n]*", b"", body)
        samples = np.array([*text.replace(b" ", b"")] if bits else text.split(), dtype=object)
        samples = np.array([int(v) for v in samples], dtype=np.int64)
        if bits:
            samples = samples[(samples == 48) | (samples == 49)] - 48
    elif bits:
        rows = _raw(body[1:], height * -(-width // 8), np.uint8).reshape(height, -1)
        samples = np.unpackbits(rows, axis=1)[:, :width].ravel()
    else:
        samples = _raw(body[1:], height * width * shape[2], np.dtype(">u2") if white > 255 else np.dtype("u1"))
    if len(samples) < height * width * shape[2]:
        raise ValueError("the file is truncated")
    samples = samples[: height * width * shape[2]].reshape(shape)
    if int(samples.max()) > white or int(samples.min()) < 0:
        raise ValueError(f"the file is damaged: it holds {int(samples.max())}, more than its largest value {white}")
    if bits:
        return 255 * (1 - samples.astype(np.uint8)), 255  # 1 is black
    return samples.astype(np.uint16 if white > 255 else np.uint8), white


def _raw(body: bytes, count: int, dtype: np.dtype | type) -> np.ndarray:
    if len(body) < count * np.dtype(dtype).itemsize:
        raise ValueError("the file is truncated")
    return np.frombuffer(body, dtype, count)


def encode(samples: np.ndarray, white: int) -> bytes:
    """(H, W) or (H, W, 3) as binary PGM or PPM."""
    height, width = samples.shape[:2]
    head = f"P{5 if samples.ndim == 2 else 6}\n{width} {height}\n{white}\n".encode()
    return head + samples.astype(">u2" if white > 255 else "u1").tobytes()
