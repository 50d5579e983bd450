"""TIFF through tifffile: any depth, grey or colour, palettes, alpha, several pages, and the metadata of the first.

Imported where used: tifffile is not light.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage, imwrite

from . import exif
from .formats import Meta, Stored

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints reach the user as our errors
PLAIN = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)


def read(path: Path) -> Stored:
    """Every page of `path`; thumbnails are passed over.  ValueError if pages differ in size or kind."""
    with TiffFile(path) as tif:
        _check_whole(tif)
        pages = [page for page in (each.aspage() for each in tif.pages) if not page.is_reduced]
        if len({(page.shape, page.dtype, page.photometric) for page in pages}) != 1:
            raise ValueError("its pages differ in size or kind; expected pages alike")
        samples = np.stack([_samples(page) for page in pages])  # (B, H, W, S)
        first = pages[0]
        if samples.shape[-1] > 4 or len(first.extrasamples) > 1:
            raise ValueError(f"{samples.shape[-1]} samples per pixel; expected grey or RGB, with alpha or without")
        meta = Meta(
            icc=first.iccprofile,
            exif=exif.from_tiff(path),
            resolution=_resolution(first),
            palette=first.photometric == PHOTOMETRIC.PALETTE,
            description=first.description,
            compressed=first.compression != COMPRESSION.NONE,
            extra=int(first.extrasamples[0]) if first.extrasamples else 2,
        )
        bits = 8 if meta.palette else first.bitspersample  # 12 bits arrive in uint16, and 4095 is white
        peak = 1.0 if samples.dtype.kind == "f" else float(2**bits - 1)
        return Stored(samples, peak, "TIFF", first.tags.valueof(exif.ORIENTATION, 1), meta)


def _check_whole(tif: TiffFile) -> None:
    """Raise ValueError if the chain of pages breaks off or samples lie beyond the end: tifffile drops such pages."""
    file = tif.filehandle
    file.seek(tif.pages.next_page_offset or 0)
    broken = any(file.read(tif.tiff.offsetsize))  # the last page's offset of a next one is zero
    ends = (o + n for page in tif.pages for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
    if broken or max(ends, default=0) > file.size:
        raise ValueError("the file is truncated")


def _samples(page: TiffPage) -> np.ndarray:
    """One page as (H, W, S): planes interleaved, palette looked up, white-is-zero turned round."""
    decoded = page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG  # arrives as RGB
    if page.photometric not in PLAIN and not decoded:
        raise ValueError(f"{PHOTOMETRIC(page.photometric).name} colours; convert the picture to grey or RGB first")
    planes = page.asarray(squeeze=False)  # (plane, depth, H, W, S)
    if planes.shape[1] != 1:
        raise ValueError(f"a volume {planes.shape[1]} deep; expected flat pages")
    samples = np.concatenate(list(planes[:, 0]), axis=-1)
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        return np.moveaxis(page.colormap[:, samples[..., 0]] >> 8, 0, -1).astype(np.uint8)  # 16-bit entries
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        return ~samples if samples.dtype == bool else 2**page.bitspersample - 1 - samples
    return samples


def _resolution(page: TiffPage) -> tuple[float, float, int] | None:
    (xn, xd), (yn, yd) = (page.tags.valueof(tag, (0, 0)) for tag in (282, 283))
    return (xn / xd, yn / yd, int(page.resolutionunit)) if xn * xd * yn * yd else None


def write(file: BinaryIO, samples: np.ndarray, meta: Meta) -> None:
    """(B, H, W, S) as one page each; a compressed picture is compressed again, without loss."""
    count = samples.shape[-1]
    imwrite(
        file,
        samples if count > 1 else samples.squeeze(-1),
        byteorder=exif.byte_order(meta.exif) if meta.exif else "<",
        photometric="rgb" if count > 2 else "minisblack",
        planarconfig="contig" if count > 1 else None,
        extrasamples=[meta.extra] if count in (2, 4) else None,
        compression="zlib" if meta.compressed else None,
        predictor=meta.compressed and samples.dtype.kind == "u",
        resolution=meta.resolution[:2] if meta.resolution else None,
        resolutionunit=meta.resolution[2] if meta.resolution else None,
        iccprofile=meta.icc,
        description=meta.description.encode() or None,
        metadata=None,
        software=False,
    )
    if meta.exif:
        exif.into_tiff(file, meta.exif)
