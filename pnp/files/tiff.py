"""TIFF through tifffile: any depth, any number of channels, palettes, alpha, pages, and what stands beside the pixels.

A pixel of more samples than a colour has, or of two that are not grey and alpha, is taken apart: each sample makes a
grey page, and is put back in its place on writing.  Pages of a hyperstack stay in their order, so that the axes which
ImageJ's and OME's descriptions name stay true.  Imported where used: tifffile is not light.
"""

from __future__ import annotations

import logging
import re
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage, imwrite

from . import colours, exif, layout, size
from .formats import Meta, Stored, full_scale

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints reach the user as our errors
PLAIN = (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE)
IMAGEJ = (50838, 50839)  # Info, labels, display ranges, tables of colours, regions
KEPT = (*IMAGEJ, 51123, 33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113)  # Micro-Manager, GeoTIFF, GDAL


def read(path: Path) -> Stored:
    """Every page of `path`; thumbnails are passed over.  ValueError if pages differ in size or kind."""
    with TiffFile(path) as tif:
        _check_whole(tif)
        pages = [page for page in (each.aspage() for each in tif.pages) if not page.is_reduced]
        if len({(page.shape, page.dtype, page.photometric) for page in pages}) != 1:
            raise ValueError("its pages differ in size or kind; expected pages alike")
        first = pages[0]
        if first.dtype is None:
            raise ValueError(f"samples of {first.bitspersample} bits; expected those of a number")
        _check_size(pages, tif.filehandle.size)
        samples = _all_in_one(tif) if len(pages) == 1 else None
        if samples is None:
            samples = np.stack([_samples(page) for page in pages])  # (B, H, W, S)
        icc = first.iccprofile
        if first.photometric == PHOTOMETRIC.SEPARATED:
            samples, icc = _without_ink(samples, icc, path)
        bands, extras = _bands(first, samples.shape[-1]), tuple(map(int, first.extrasamples))
        axes = "PHWC" if bands is None else "PHWP"
        count = layout.lengths(samples.shape, axes)
        if bands is not None:
            warnings.warn(f"{path}: {count[1]} samples a pixel. Each is restored as a grey page.", stacklevel=2)
            samples = layout.to_pages(samples, axes)
        meta = Meta(
            icc=icc,
            exif=exif.from_tiff(path),
            resolution=_resolution(first),
            palette=first.photometric == PHOTOMETRIC.PALETTE,
            layout=axes,
            pages=count,
            description=_description(tif, first),
            tags=tuple((tag.code, int(tag.dtype), tag.count, _raw(tif, tag)) for tag in first.tags if tag.code in KEPT),
            big_endian=tif.byteorder == ">",
            bands=bands,
            compressed=first.compression != COMPRESSION.NONE,
            extra=extras[0] if extras else 2,
        )
        samples, peak = _whole_bits(samples, 8 if meta.palette else first.bitspersample)
        return Stored(samples, peak, "TIFF", first.tags.valueof(exif.ORIENTATION, 1), meta)


def _check_whole(tif: TiffFile) -> None:
    """Raise ValueError if the chain of pages breaks off or samples lie beyond the end: tifffile drops such pages."""
    file = tif.filehandle
    file.seek(tif.pages.next_page_offset or 0)
    broken = any(file.read(tif.tiff.offsetsize))  # the last page's offset of a next one is zero
    ends = (o + n for page in tif.pages for o, n in zip(page.dataoffsets, page.databytecounts, strict=False))
    if broken or max(ends, default=0) > file.size:
        raise ValueError("the file is truncated")


def _check_size(pages: list[TiffPage], available: int) -> None:
    """Raise ValueError for pages that the file cannot hold; tifffile would make room for them first."""
    first = pages[0]
    itemsize = np.dtype(first.dtype).itemsize
    size.check((len(pages), *first.shaped), itemsize, available)
    for page in pages:
        size.check(page.chunks, itemsize, available)


def _all_in_one(tif: TiffFile) -> np.ndarray | None:
    """The pages of an ImageJ file above 4 GB, which stand behind each other without directories; None of another."""
    page = tif.pages.first
    if not tif.is_imagej:
        return None
    series = tif.series[0]
    if series.size <= page.size:
        return None
    size.check(series.shape, series.dtype.itemsize, tif.filehandle.size, compressed=False)
    return series.asarray().reshape(-1, page.imagelength, page.imagewidth, page.samplesperpixel)


def _samples(page: TiffPage) -> np.ndarray:
    """One page as (H, W, S): planes interleaved, palette looked up, white-is-zero turned round."""
    decoded = page.photometric == PHOTOMETRIC.YCBCR and page.compression == COMPRESSION.JPEG  # arrives as RGB
    if page.photometric not in (*PLAIN, PHOTOMETRIC.SEPARATED) and not decoded:
        raise ValueError(f"{PHOTOMETRIC(page.photometric).name} colours; convert the picture to grey or RGB first")
    planes = page.asarray(squeeze=False)  # (plane, depth, H, W, S)
    if planes.shape[1] != 1:
        raise ValueError(f"a volume {planes.shape[1]} deep; expected flat pages")
    samples = np.concatenate(list(planes[:, 0]), axis=-1)
    if page.photometric == PHOTOMETRIC.PALETTE and page.colormap is not None:
        return np.moveaxis(page.colormap[:, samples[..., 0]] >> 8, 0, -1).astype(np.uint8)  # 16-bit entries
    if page.photometric == PHOTOMETRIC.MINISWHITE and samples.dtype.kind in "bu":
        return ~samples if samples.dtype == bool else np.array(2**page.bitspersample - 1, samples.dtype) - samples
    return samples


def _without_ink(samples: np.ndarray, icc: bytes | None, path: Path) -> tuple[np.ndarray, bytes | None]:
    """Pages of CMYK as RGB, and their profile."""
    if samples.shape[-1] != 4 or samples.dtype.kind != "u" or samples.itemsize > 2:
        raise ValueError(f"SEPARATED colours of {samples.shape[-1]} {samples.dtype} inks; convert it to RGB first")
    made: list[Image.Image] = []
    there = None
    for page in samples:
        rgb, there = colours.from_cmyk(colours.ink(page), icc, path)
        made.append(rgb)
    return np.stack([np.asarray(rgb) for rgb in made]), there


def _bands(page: TiffPage, count: int) -> tuple[str, bool, tuple[int, ...]] | None:
    """How samples that are not those of one colour stand in the file; None for grey or RGB, with alpha or without."""
    coloured = page.photometric in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR, PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED)
    extras = tuple(map(int, page.extrasamples))
    alpha = count == 4 if coloured else count == 2 and extras in ((1,), (2,))
    if count == (3 if coloured else 1) or alpha:
        return None
    kind = "rgb" if page.photometric == PHOTOMETRIC.RGB else "minisblack"
    return kind, page.planarconfig == 2, extras or (0,) * (count - (3 if coloured else 1))


def _whole_bits(samples: np.ndarray, bits: int) -> tuple[np.ndarray, float]:
    """Samples and their full scale: below 8 bits they are spread over 8, above they keep their values."""
    if samples.dtype.kind == "b":
        return 255 * samples.astype(np.uint8), 255.0
    if samples.dtype.kind == "u" and bits < 8 * samples.itemsize:
        top = 2**bits - 1
        return (samples, float(top)) if bits > 8 else ((samples * (255 / top)).round().astype(np.uint8), 255.0)
    return samples, full_scale(samples.dtype)


def _description(tif: TiffFile, page: TiffPage) -> bytes:
    """As it is; but OME's names of the file that it stood in are left out, or a reader would open that one instead."""
    tag = page.tags.get(270)
    text = b"" if tag is None else _raw(tif, tag).rstrip(b"\0")
    return re.sub(rb"<UUID\b[^>]*?(/>|>.*?</UUID>)", b"", text, flags=re.DOTALL) if b"<OME" in text else text


def _raw(tif: TiffFile, tag: Any) -> bytes:
    """The value of a tag as it stands in the file."""
    if not 0 <= tag.valuebytecount <= tif.filehandle.size - tag.valueoffset:
        raise ValueError("the file is truncated")
    tif.filehandle.seek(tag.valueoffset)
    return bytes(tif.filehandle.read(tag.valuebytecount))


def _resolution(page: TiffPage) -> tuple[float, float, int] | None:
    (xn, xd), (yn, yd) = (page.tags.valueof(tag, (0, 0)) for tag in (282, 283))
    return (xn / xd, yn / yd, int(page.resolutionunit)) if xn * xd * yn * yd else None


def write(file: BinaryIO, samples: np.ndarray, meta: Meta) -> None:
    """(B, H, W, S) as one page each; a compressed picture is compressed again, without loss."""
    count = samples.shape[-1]
    kind, planar = "rgb" if count > 2 else "minisblack", False
    extras: tuple[int, ...] = (meta.extra,) if count in (2, 4) else ()
    if meta.bands is not None and layout.fits(samples, meta.layout, meta.pages):
        kind, planar, extras = meta.bands
        samples = layout.from_pages(samples, meta.layout, meta.pages)
        samples = np.ascontiguousarray(np.moveaxis(samples, -1, 1)) if planar else samples
        count = meta.pages[-1]
    imwrite(
        file,
        samples if count > 1 else samples.squeeze(-1),
        byteorder=exif.byte_order(meta.exif) if meta.exif else ">" if meta.big_endian else "<",
        photometric=kind,
        planarconfig=None if count == 1 else "separate" if planar else "contig",
        extrasamples=extras or None,
        compression="zlib" if meta.compressed else None,
        predictor=meta.compressed and samples.dtype.kind == "u",
        resolution=meta.resolution[:2] if meta.resolution else None,
        resolutionunit=meta.resolution[2] if meta.resolution else None,
        iccprofile=meta.icc,
        description=meta.description or None,
        extratags=[(*tag, True) for tag in meta.tags],
        metadata=None,
        software=False,
    )
    if meta.exif:
        exif.into_tiff(file, meta.exif)
