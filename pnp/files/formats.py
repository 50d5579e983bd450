"""File formats: samples and what stands beside them, to and from PNG, JPEG, BMP, WebP, TIFF and NPY.

Samples are numpy arrays (B, H, W, S) exactly as stored; S = 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.
Pillow cannot hold 16-bit colour, so PNG is written, and at 16 bits read, by libpng (imagecodecs).
A damaged file raises whatever its decoder raises; `pnp.files.pictures` turns that into one line.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import exif, jpeg

SUFFIXES = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".npy": "NPY",
}
EVERY_DEPTH = ("uint8", "uint16", "float16", "float32", "float64")
DEPTHS = {"PNG": ("uint8", "uint16"), "TIFF": EVERY_DEPTH, "NPY": EVERY_DEPTH}  # the other formats hold uint8 alone
HOLDS_ALPHA = ("PNG", "TIFF", "WEBP")
HOLDS_PAGES = ("TIFF", "NPY")
PNG_KEPT = (b"cICP", b"cHRM", b"gAMA", b"sRGB", b"tEXt", b"zTXt", b"iTXt")  # colour space and texts


@dataclass(frozen=True)
class Meta:
    """What a file says beside its samples; each is written back where the new format can hold it."""

    icc: bytes | None = None
    exif: bytes | None = None  # turned upright, as the pixels are
    resolution: tuple[float, float, int] | None = None  # x, y and the TIFF unit: 1 none, 2 inch, 3 centimetre
    palette: bool = False  # looked up on reading; what is written is grey or RGB
    layout: str = ""  # NPY: HW, HWC, CHW or BCHW
    description: str = ""  # TIFF
    compressed: bool = False  # TIFF
    extra: int = 2  # TIFF, the sample after the colours: 0 unspecified, 1 premultiplied alpha, 2 plain alpha
    chunks: tuple[tuple[bytes, bytes], ...] = ()  # PNG: those of PNG_KEPT, verbatim

    def dpi(self) -> tuple[float, float] | None:
        """Pixels per inch in x and y, if the file states a length."""
        x, y, unit = self.resolution or (0.0, 0.0, 1)
        inch = 2.54 if unit == 3 else 1.0
        return (x * inch, y * inch) if unit in (2, 3) and min(x, y) > 0 else None


class Stored(NamedTuple):
    """The content of one file; `peak` is the sample value that means 1."""

    samples: np.ndarray
    peak: float
    format: str
    orientation: int  # EXIF's number; 1 is upright
    meta: Meta
    error: float = 0.0  # std of what lossy compression has changed, in units of a sample


def decode(path: Path, format: str) -> Stored:
    """The samples of `path` as stored, and what stands beside them."""
    if format == "TIFF":
        from . import tiff

        return tiff.read(path)
    return _read_npy(path) if format == "NPY" else _read_pillow(path)


def encode(file: BinaryIO, samples: np.ndarray, format: str, meta: Meta) -> None:
    """Write (B, H, W, S) to a new file that is open for reading and writing."""
    if format == "TIFF":
        from . import tiff

        tiff.write(file, samples, meta)
    elif format == "NPY":
        np.save(file, _npy_pixels(samples, meta.layout), allow_pickle=False)
    elif format == "PNG":
        file.write(_png_bytes(_flat(samples), meta))
    else:
        _write_pillow(file, Image.fromarray(_flat(samples)), format, meta)


def _flat(samples: np.ndarray) -> np.ndarray:
    """The only picture of (1, H, W, S): (H, W) if S = 1, else (H, W, S)."""
    return np.ascontiguousarray(samples[0, :, :, 0] if samples.shape[-1] == 1 else samples[0])


# --- PNG, JPEG, BMP, WebP


def _read_pillow(path: Path) -> Stored:
    data = path.read_bytes()
    with _open(data) as im:
        format = "JPEG" if im.format == "MPO" else str(im.format)  # MPO: a JPEG with a preview behind it
        if format != "JPEG" and getattr(im, "n_frames", 1) > 1:
            raise ValueError("an animation; expected one picture")
        chunks = png_chunks(data) if format == "PNG" else [(b"", b"")]
        deep = chunks[0][1][8:9] == b"\x10"  # the bit depth follows width and height, four bytes each
        samples = _png16(data) if deep else np.asarray(_plain(im))
        error = jpeg.quantisation_error(im)
        block, orientation = exif.upright(dict(chunks).get(b"eXIf") or im.info.get("exif", b""))
        meta = Meta(
            icc=im.info.get("icc_profile"),
            exif=block,
            resolution=(*im.info["dpi"], 2) if "dpi" in im.info else None,
            palette=im.mode in ("P", "PA"),
            chunks=tuple(chunk for chunk in chunks if chunk[0] in PNG_KEPT),
        )
    samples = samples.reshape(1, *samples.shape[:2], -1)
    return Stored(samples, 65535.0 if deep else 255.0, format, orientation, meta, error)


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "WEBP"))
    except UnidentifiedImageError:
        raise ValueError("it is not a PNG, JPEG, BMP or WebP picture") from None


def _plain(im: Image.Image) -> Image.Image:
    """`im` as L, LA, RGB or RGBA; a colour beneath full transparency stays as stored."""
    if im.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ValueError(f"{im.mode} colours; convert the picture to grey or RGB first")
    base = "L" if im.mode in ("1", "L", "LA") else "RGB"
    return im.convert(base + "A" if im.has_transparency_data else base)


def _write_pillow(file: BinaryIO, im: Image.Image, format: str, meta: Meta) -> None:
    block = b"Exif\0\0" + meta.exif if meta.exif else b""
    dpi = meta.dpi() or (0.0, 0.0)
    if format == "JPEG":
        block = block if len(block) <= 65533 else b""  # one JPEG segment
        dpi = dpi if max(dpi) < 65536 else (0.0, 0.0)
        im.save(file, format, quality=95, subsampling=0, icc_profile=meta.icc, exif=block, dpi=dpi)
    elif format == "WEBP":
        im.save(file, format, lossless=True, exact=True, icc_profile=meta.icc or b"", exif=block)
    else:
        im.save(file, format, dpi=dpi)


# --- PNG: sixteen bits, and the chunks around the pixels


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The (name, body) of every chunk; ValueError if one is cut short or fails its checksum."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while not chunks or chunks[-1][0] != b"IEND":
        end = at + 12 + int.from_bytes(data[at : at + 4])
        if end > len(data):
            raise ValueError("the file is truncated")
        name, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if data[at:end] != _chunk(name, body):
            raise ValueError("the file is damaged: a checksum is wrong")
        chunks.append((name, body))
        at = end
    return chunks


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png16(data: bytes) -> np.ndarray:
    import imagecodecs

    return imagecodecs.png_decode(data)


def _png_bytes(samples: np.ndarray, meta: Meta) -> bytes:
    """(H, W) or (H, W, S), uint8 or uint16, as a PNG with the metadata spliced in behind its header."""
    import imagecodecs

    chunks = list(meta.chunks)
    if meta.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(meta.icc)))
    if meta.exif:
        chunks.append((b"eXIf", meta.exif))
    if dpi := meta.dpi():
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(d / 0.0254) for d in dpi), 1)))  # pixels per metre
    png = bytes(imagecodecs.png_encode(samples))
    header = 8 + 25  # the signature and the IHDR chunk
    return png[:header] + b"".join(_chunk(*chunk) for chunk in chunks) + png[header:]


# --- NPY


def load_npy(path: Path) -> np.ndarray:
    """The array in `path`; pickled objects are refused."""
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npy(path: Path) -> Stored:
    array = load_npy(path)
    layout = _npy_layout(array.shape)
    samples = {
        "HW": lambda: array[None, :, :, None],
        "HWC": lambda: array[None],
        "CHW": lambda: np.moveaxis(array, 0, -1)[None],
        "BCHW": lambda: np.moveaxis(array, 1, -1),
    }[layout]()
    peak = float(np.iinfo(array.dtype).max) if array.dtype.kind == "u" else 1.0
    return Stored(samples, peak, "NPY", 1, Meta(layout=layout))


def _npy_layout(shape: tuple[int, ...]) -> str:
    """HW, HWC, CHW or BCHW, with C = 1 or 3; channels last where both ends fit."""
    if len(shape) == 2:
        return "HW"
    if len(shape) == 3 and shape[-1] in (1, 3):
        return "HWC"
    if len(shape) == 3 and shape[0] in (1, 3):
        return "CHW"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "BCHW"
    raise ValueError(f"shape {shape}; expected (H, W), (H, W, C), (C, H, W) or (B, C, H, W) with C = 1 or 3")


def _npy_pixels(samples: np.ndarray, layout: str) -> np.ndarray:
    """(B, H, W, C) in the layout it was read in, where it fits; else HW, HWC or, for several pages, BCHW."""
    if len(samples) > 1 or layout == "BCHW":
        return np.moveaxis(samples, -1, 1)
    if layout == "CHW":
        return np.moveaxis(samples[0], -1, 0)
    return samples[0] if layout == "HWC" else _flat(samples)
