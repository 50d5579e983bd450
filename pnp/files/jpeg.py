"""What JPEG's quantisation has done to a picture, from the tables in its file."""

from __future__ import annotations

import numpy as np
from PIL import Image, JpegImagePlugin

Tables = tuple[tuple[tuple[float, ...], ...], int, int]

RGB_PER_COMPONENT = (1.0, 1.086, 0.825)  # mean over R, G, B of the squared weight of Y, Cb, Cr (BT.601)


def quantisation_error(im: Image.Image) -> float:
    """The standard deviation of what JPEG's quantisation has changed in `im`, over its pixels, in levels.

    c_k = DCT coefficient k of the 8 x 8 blocks of a component, q_k = its step:
        error²  = mean over k of  min(q_k²/12, mean c_k²)

    q²/12 is the error of a uniform one; a coefficient that is always 0 is taken to have lost no more than it had.
    Summed over the components as R, G and B see them.  A picture that is not a JPEG: 0.
    """
    if not isinstance(im, JpegImagePlugin.JpegImageFile) or len(im.layer) not in (1, 3):
        return 0.0
    planes = np.atleast_3d(np.asarray(im.convert("L" if len(im.layer) == 1 else "YCbCr"), dtype=np.float64))
    across, down = (max(layer[i] for layer in im.layer) for i in (1, 2))
    power = 0.0
    for n, (_, h, v, table) in enumerate(im.layer):
        step = np.array(im.quantization[table], dtype=np.float64).reshape(8, 8)
        c = _coefficients(_means(planes[..., n], down // v, across // h) - 128)
        if not len(c):
            continue
        power += RGB_PER_COMPONENT[n] * float(np.minimum(step**2 / 12, (c**2).mean(0)).mean())
    return power**0.5


def tables(im: Image.Image) -> Tables | None:
    """The steps of Y, or of Y, Cb and Cr, 64 each, row by row, in levels; how many pixels a sample of chroma stands
    for, across and down.  None for what is not such a JPEG: four inks, RGB without Y, chroma finer than Y or mixed.
    """
    if not isinstance(im, JpegImagePlugin.JpegImageFile) or len(im.layer) not in (1, 3):
        return None
    sizes = [layer[1:3] for layer in im.layer]
    across, down = sizes[0] if len(sizes) == 3 else (1, 1)
    if im.info.get("adobe_transform", 1) == 0 or set(sizes[1:]) - {(1, 1)} or not {across, down} <= {1, 2}:
        return None
    return tuple(tuple(float(step) for step in im.quantization[layer[3]]) for layer in im.layer), across, down


def _means(plane: np.ndarray, down: int, across: int) -> np.ndarray:
    """The means of down x across pixels: a component as it is stored."""
    h, w = plane.shape[0] // down, plane.shape[1] // across
    return plane[: h * down, : w * across].reshape(h, down, w, across).mean((1, 3))


def _coefficients(plane: np.ndarray) -> np.ndarray:
    """The orthonormal DCT of the whole 8 x 8 blocks, (N, 8, 8)."""
    n = np.arange(8)
    rows = np.cos(np.pi * (2 * n + 1) * n[:, None] / 16) / 2
    rows[0] /= 2**0.5
    h, w = plane.shape[0] // 8, plane.shape[1] // 8
    blocks = plane[: 8 * h, : 8 * w].reshape(h, 8, w, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    return rows @ blocks @ rows.T
