"""File formats: samples and what stands beside them, to and from the files of cameras, editors and instruments.

Samples are numpy arrays (B, H, W, S) exactly as stored; S = 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.
Pillow cannot hold 16-bit colour, so PNG is written, and at 16 bits read, by libpng (imagecodecs); so is JPEG 2000.
A damaged file raises whatever its decoder raises; `pnp.files.pictures` turns that into one line.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from . import colours, exif, jpeg, layout, pnm, size

SUFFIXES = {
    suffix: format
    for format, suffixes in {
        "PNG": ".png",
        "JPEG": ".jpg .jpeg",
        "BMP": ".bmp",
        "WEBP": ".webp",
        "TIFF": ".tif .tiff",
        "NPY": ".npy",
        "FITS": ".fits .fit .fts",
        "JPEG 2000": ".jp2 .j2k .j2c .jpc",
        "PNM": ".ppm .pgm .pbm .pnm",
        "GIF": ".gif",
        "AVIF": ".avif",
        "HEIF": ".heic .heif",
        "RAW": ".dng .nef .cr2 .cr3 .arw .raf .rw2 .orf .pef .srw",
    }.items()
    for suffix in suffixes.split()
}
EVERY_DEPTH = ("uint8", "uint16", "float16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint32", "uint64")
DEPTHS = {  # of what is written, the deepest last; the other formats hold uint8 alone
    "PNG": ("uint8", "uint16"),
    "JPEG 2000": ("uint8", "uint16"),
    "PNM": ("uint8", "uint16"),
    "TIFF": (*INTEGERS, *EVERY_DEPTH),
    "NPY": (*INTEGERS, *EVERY_DEPTH),
    "FITS": ("uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float32", "float64"),
}
INSTEAD = {"GIF": ".png", "AVIF": ".png", "HEIF": ".png", "RAW": ".tif"}  # of formats that are only read
IN_LIGHT = ("FITS",)  # formats of instruments: values in proportion to light
HOLDS_ALPHA = ("PNG", "TIFF", "WEBP")
HOLDS_PAGES = ("TIFF", "NPY", "FITS")
EXTRAS = {"FITS": ("astropy", "fits"), "RAW": ("rawpy", "raw"), "HEIF": ("pi_heif", "heif")}  # module, extra
BY_PILLOW = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "AVIF")
PNG_KEPT = (b"cICP", b"cHRM", b"gAMA", b"sRGB", b"tEXt", b"zTXt", b"iTXt")  # colour space and texts


@dataclass(frozen=True)
class Meta:
    """What a file says beside its samples; each is written back where the new format can hold it."""

    icc: bytes | None = None
    exif: bytes | None = None  # turned upright, as the pixels are
    resolution: tuple[float, float, int] | None = None  # x, y and the TIFF unit: 1 none, 2 inch, 3 centimetre
    palette: bool = False  # looked up on reading; what is written is grey or RGB
    layout: str = ""  # the axes of the array, `pnp.files.layout`
    pages: tuple[int, ...] = ()  # lengths of those that are pages
    header: bytes = b""  # FITS
    description: bytes = b""  # TIFF
    tags: tuple[tuple[int, int, int, bytes], ...] = ()  # TIFF: private ones of the first page (code, type, count, raw)
    big_endian: bool = False  # TIFF: the order of the bytes in `tags`
    bands: tuple[str, bool, tuple[int, ...]] | None = None  # TIFF: kind, planar, extra samples; C of the layout is P
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
    tables: jpeg.Tables | None = None


def full_scale(dtype: np.dtype[Any]) -> float:
    """The largest integer of a type; 1 of floats."""
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def decode(path: Path, format: str) -> Stored:
    """The samples of `path` as stored, and what stands beside them."""
    need(format)
    if format == "TIFF":
        from . import tiff

        return tiff.read(path)
    if format == "FITS":
        from . import fits

        return fits.read(path)
    if format == "RAW":
        from . import raw

        return raw.read(path)
    if format == "NPY":
        return _read_npy(path)
    if format == "PNM":
        samples, white = pnm.decode(path.read_bytes())
        return Stored(samples[None], float(white), format, 1, Meta())
    return _read_jpeg2000(path) if format == "JPEG 2000" else _read_pillow(path)


def encode(file: BinaryIO, samples: np.ndarray, format: str, meta: Meta, peak: float) -> None:
    """Write (B, H, W, S) to a new file that is open for reading and writing.  peak: the full scale of the samples."""
    if format == "TIFF":
        from . import tiff

        tiff.write(file, samples, meta)
    elif format == "FITS":
        from . import fits

        fits.write(file, _array(samples, meta), meta)
    elif format == "NPY":
        np.save(file, _array(samples, meta), allow_pickle=False)
    elif format == "PNG":
        file.write(_png_bytes(_flat(samples), meta))
    elif format == "PNM":
        file.write(pnm.encode(_flat(samples), int(peak)))
    elif format == "JPEG 2000":
        file.write(_jpeg2000_bytes(_flat(samples), meta, int(peak)))
    else:
        _write_pillow(file, Image.fromarray(_flat(samples)), format, meta)


def need(format: str) -> None:
    """ValueError, with what to install, where a package that this format needs is missing."""
    if format in EXTRAS:
        module, extra = EXTRAS[format]
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"{format} files need {module}. Install it: pip install 'pnp-restoration[{extra}]'")


def _flat(samples: np.ndarray) -> np.ndarray:
    """The only picture of (1, H, W, S): (H, W) if S = 1, else (H, W, S)."""
    return np.ascontiguousarray(samples[0, :, :, 0] if samples.shape[-1] == 1 else samples[0])


# --- PNG, JPEG, BMP, WebP, GIF, AVIF, HEIF


def _read_pillow(path: Path) -> Stored:
    data = path.read_bytes()
    with _open(data, SUFFIXES[path.suffix.lower()]) as im:
        format = "JPEG" if im.format == "MPO" else str(im.format)  # MPO: a JPEG with a preview behind it
        alone = format in ("JPEG", "HEIF")  # what stands behind the first is a preview, or another photograph
        frames = 1 if alone else getattr(im, "n_frames", 1)
        size.check((frames, im.height, im.width, 4), 1, len(data))
        chunks = png_chunks(data) if format == "PNG" else [(b"", b"")]
        deep = chunks[0][1][8:9] == b"\x10"  # the bit depth follows width and height, four bytes each
        icc = im.info.get("icc_profile")
        if im.mode == "CMYK":
            rgb, icc = colours.from_cmyk(im, icc, path)
            samples = np.asarray(rgb)[None]
        else:
            samples = _png16(data)[None] if deep else _frames(im, frames)
        error, tables = jpeg.quantisation_error(im), jpeg.tables(im)
        block, orientation = exif.upright(dict(chunks).get(b"eXIf") or im.info.get("exif") or b"")
        meta = Meta(
            icc=icc,
            exif=block,
            resolution=(*im.info["dpi"], 2) if "dpi" in im.info else None,
            palette=im.mode in ("P", "PA"),
            chunks=tuple(chunk for chunk in chunks if chunk[0] in PNG_KEPT),
        )
    samples = samples.reshape(*samples.shape[:3], -1)
    return Stored(samples, 65535.0 if deep else 255.0, format, orientation, meta, error, tables)


def _open(data: bytes, named: str) -> Image.Image:
    formats: tuple[str, ...] = BY_PILLOW
    if named == "HEIF":
        import pi_heif

        pi_heif.register_heif_opener()
        formats = (*BY_PILLOW, "HEIF")
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError:
        raise ValueError("it is not a PNG, JPEG, BMP, WebP, GIF or AVIF picture") from None


def moves(path: Path) -> bool:
    """Whether a file that Pillow reads holds more than one frame; False for what it cannot read."""
    try:
        with Image.open(path, formats=BY_PILLOW) as im:
            return getattr(im, "n_frames", 1) > 1
    except Exception:  # the decoders raise a dozen kinds; reading it will tell
        return False


def _frames(im: Image.Image, count: int) -> np.ndarray:
    """(B, H, W, S); the frames of an animation as they are shown, a GIF whose colours are grey as grey."""
    frames = []
    for i in range(count):
        if i:
            im.seek(i)
        frames.append(_plain(im))
    modes = {frame.mode for frame in frames}
    if len(modes) > 1:
        alpha = bool(modes & {"LA", "RGBA"})
        frames = [frame.convert("RGBA" if alpha else "RGB") for frame in frames]
    samples = np.stack([np.asarray(frame) for frame in frames]).reshape(count, im.height, im.width, -1)
    if im.format == "GIF" and samples.shape[-1] > 2 and (samples[..., :1] == samples[..., :3]).all():
        samples = samples[..., [0, *range(3, samples.shape[-1])]]
    return samples


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


# --- JPEG 2000


def _read_jpeg2000(path: Path) -> Stored:
    import imagecodecs

    data = path.read_bytes()
    at = data.find(b"\xff\x4f\xff\x51")  # the start of the codestream, and of its sizes: ISO 15444-1, A.5.1
    if at < 0 or len(data) < at + 43:
        raise ValueError("it is not a JPEG 2000 picture")
    right, lower, left, upper = struct.unpack(">4I", data[at + 8 : at + 24])
    count, depth = struct.unpack(">HB", data[at + 40 : at + 43])
    signed, bits = depth >> 7, (depth & 127) + 1
    if count > 4 or signed or bits > 16:
        kind = "signed" if signed else "unsigned"
        raise ValueError(f"{count} components of {bits} {kind} bits; expected up to four of up to 16 unsigned bits")
    size.check((lower - upper, right - left, count), 2, len(data))
    samples = imagecodecs.jpeg2k_decode(data)
    samples = samples.reshape(1, *samples.shape[:2], -1)
    box = data[slice(*_colour_box(data))]
    return Stored(samples, float(2**bits - 1), "JPEG 2000", 1, Meta(icc=box[11:] if box[8:9] == b"\x02" else None))


def _jpeg2000_bytes(samples: np.ndarray, meta: Meta, peak: int) -> bytes:
    """(H, W) or (H, W, 3), without loss; the profile is put in the place of the name of the colour space."""
    import imagecodecs

    data = bytes(
        imagecodecs.jpeg2k_encode(samples, level=0, reversible=True, bitspersample=peak.bit_length(), codecformat="jp2")
    )
    start, end = _colour_box(data)
    if meta.icc is None or start == end:
        return data
    box = struct.pack(">I4sHB", len(meta.icc) + 11, b"colr", 0x0200, 0) + meta.icc
    head = data.index(b"jp2h") - 4
    grown = struct.pack(">I", int.from_bytes(data[head : head + 4]) + len(box) - (end - start))
    return data[:head] + grown + data[head + 4 : start] + box + data[end:]


def _colour_box(data: bytes) -> tuple[int, int]:
    """Where the colour space stands in a JP2 file: length, `colr`, method (2: a profile), two bytes, the profile."""
    header, name = data.find(b"jp2h"), data.find(b"colr")
    if not 0 <= header < name < data.find(b"jp2c"):
        return 0, 0
    return name - 4, name - 4 + int.from_bytes(data[name - 4 : name])


# --- NPY


def load_npy(path: Path) -> np.ndarray:
    """The array in `path`; pickled objects are refused."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is not None:
            shape, _, dtype = read_header(file)
            if not dtype.hasobject and shape and min(shape) > 0:
                size.check(shape, dtype.itemsize, path.stat().st_size - file.tell(), compressed=False)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npy(path: Path) -> Stored:
    array = load_npy(path)
    axes = layout.guess(array.shape)
    if array.dtype.kind == "b":
        array = 255 * array.astype(np.uint8)
    meta = Meta(layout=axes, pages=layout.lengths(array.shape, axes))
    return Stored(layout.to_pages(array, axes), full_scale(array.dtype), "NPY", 1, meta)


def _array(samples: np.ndarray, meta: Meta) -> np.ndarray:
    """(B, H, W, C) with the axes that it was read with, where they fit; else HW or HWC, and BCHW of several pages."""
    if layout.fits(samples, meta.layout, meta.pages):
        return layout.from_pages(samples, meta.layout, meta.pages)
    return _flat(samples) if len(samples) == 1 else np.moveaxis(samples, -1, 1)
