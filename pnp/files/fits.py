"""FITS by astropy: the first picture of a file, with its header.  Imported where used: astropy is an extra.

A cube is a stack of pages, or one colour picture where it is 3 planes deep.  Rows stand in the order of the file.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits

from . import layout, size
from .formats import Meta, Stored, full_scale

STRUCTURE = ("XTENSION", "EXTNAME", "EXTVER", "BSCALE", "BZERO", "BLANK", "CHECKSUM", "DATASUM", "GCOUNT", "PCOUNT")


def read(path: Path) -> Stored:
    """The first HDU that holds a picture.  Raises ValueError where none does."""
    available = path.stat().st_size
    with warnings.catch_warnings():  # what matters is checked here
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as units:
            units.verify("silentfix")
            found = [unit for unit in units if unit.is_image and len(unit.shape or ()) >= 2]
            if not found:
                raise ValueError("it holds no picture")
            unit = found[0]
            packed = isinstance(unit, fits.CompImageHDU)
            size.check(unit.shape, abs(unit.header["BITPIX"]) // 8, available, compressed=packed)
            array = np.asarray(unit.data)
            header = unit.header.tostring(sep="\n").encode()
    if len(found) > 1:
        name = unit.name or "the first"
        warnings.warn(f"{path} holds {len(found)} pictures. {name} is read; the others are not copied.", stacklevel=2)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    axes = layout.guess(array.shape)
    meta = Meta(layout=axes, pages=layout.lengths(array.shape, axes), header=header)
    return Stored(layout.to_pages(array, axes), full_scale(array.dtype), "FITS", 1, meta)


def write(file: BinaryIO, array: np.ndarray, meta: Meta) -> None:
    """An array in the layout that it came in, as the only HDU."""
    header: Any = fits.Header.fromstring(meta.header.decode(), sep="\n") if meta.header else fits.Header()
    for name in STRUCTURE:
        header.remove(name, ignore_missing=True, remove_all=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = io.BytesIO()  # astropy asks a file for its mode
        fits.PrimaryHDU(array, header=header).writeto(made, output_verify="silentfix")
    file.write(made.getbuffer())
