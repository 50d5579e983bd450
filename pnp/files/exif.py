"""EXIF blocks, byte for byte: turned upright, taken out of a TIFF, put into a TIFF.

A block is a small TIFF without pixels: `II` or `MM`, 42, the offset of a directory; a directory is a count, entries
(tag, type, count, value or its offset) and the offset of the next.  Values are carried as raw bytes, so that a maker
note, a rational or a name with an accent arrives as it left.  TIFF 6.0, section 2; Exif 2.32, section 4.6.
"""

from __future__ import annotations

import mmap
import struct
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal

ORIENTATION, EXIF, GPS, INTEROP = 0x0112, 0x8769, 0x8825, 0xA005
DESCRIPTION = 270
OF_CAMERAS = (271, 272)  # make, model
EXPOSURE = 0x829A
DESCRIPTIVE = (271, 272, 305, 306, 315, 33432)  # make, model, software, time, artist, copyright
SIZES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), start=1))  # bytes of a value of each type
BROKEN = (struct.error, KeyError, RecursionError, ValueError)  # what a damaged block raises here

# tag -> (type, count, raw value), or the directory that the tag points at
Directory = dict[int, "tuple[int, int, bytes] | Directory"]


def upright(block: bytes) -> tuple[bytes | None, int]:
    """`block` with its orientation set to 1 and its thumbnail unlinked, and the orientation it had.

    The thumbnail shows the picture before it was restored.  A damaged block gives (None, 1).
    """
    data = bytearray(block.removeprefix(b"Exif\0\0"))
    orientation = 1
    try:
        order = byte_order(data)
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        end = start + 2 + 12 * count
        for at in range(start + 2, end, 12):
            if struct.unpack_from(order + "H", data, at)[0] == ORIENTATION:
                (orientation,) = struct.unpack_from(order + "H", data, at + 8)
                struct.pack_into(order + "H", data, at + 8, 1)
        struct.pack_into(order + "I", data, end, 0)  # the offset of the next directory
    except BROKEN:
        return None, 1
    return bytes(data), orientation


def from_tiff(path: Path) -> bytes | None:
    """The block that the first page of a TIFF amounts to: who, when, with what, and its Exif and GPS directories."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            order = byte_order(data[:4])
            page = _unpack(data, order, struct.unpack_from(order + "I", data, 4)[0])
        except BROKEN:
            return None
    kept = {tag: page[tag] for tag in (*DESCRIPTIVE, EXIF, GPS) if tag in page}
    return _head(order, 8) + _pack(kept, order, 8) if kept else None


def of_camera(block: bytes | None) -> bool:
    """Whether a block names a camera (make, model) or an exposure time; a damaged block does not."""
    try:
        data = (block or b"").removeprefix(b"Exif\0\0")
        order = byte_order(data)
        page = _unpack(data, order, struct.unpack_from(order + "I", data, 4)[0])
    except BROKEN:
        return False
    inner = page.get(EXIF)
    return any(tag in page for tag in OF_CAMERAS) or (isinstance(inner, dict) and EXPOSURE in inner)


def into_tiff(file: BinaryIO, block: bytes) -> None:
    """Give the first page of a TIFF of the same byte order what `block` says.

    The page's directory is written anew at the end of the file.  A damaged block changes nothing.
    """
    order = byte_order(block)
    file.seek(0)
    head = file.read(8)
    if head[:4] != _head(order, 8)[:4]:  # BigTIFF, above 4 GB, is left without
        return
    (start,) = struct.unpack_from(order + "I", head, 4)
    page, next_page = _raw_entries(file, order, start)
    try:
        said = _unpack(block, order, struct.unpack_from(order + "I", block, 4)[0])
    except BROKEN:
        return
    added = {tag: said[tag] for tag in (DESCRIPTION, *DESCRIPTIVE, EXIF, GPS) if tag in said and tag not in page}
    end = file.seek(0, 2)
    offset = end + end % 2  # directories stand at even offsets
    file.write(bytes(end % 2) + _pack({**page, **added}, order, offset, next_page))
    file.seek(0)
    file.write(_head(order, offset))


def byte_order(block: bytes | bytearray) -> Literal["<", ">"]:
    """struct's sign for the byte order of a classic TIFF or EXIF block; ValueError if it is neither."""
    if bytes(block[:4]) == _head("<", 8)[:4]:
        return "<"
    if bytes(block[:4]) == _head(">", 8)[:4]:
        return ">"
    raise ValueError("not an EXIF block")


def _head(order: str, offset: int) -> bytes:
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, offset)


def _unpack(data: bytes | mmap.mmap, order: str, at: int, seen: tuple[int, ...] = ()) -> Directory:
    """The directory at offset `at`, its values fetched and its own directories followed; seen: those around it."""
    if at in seen or len(seen) > 2:
        raise ValueError("a directory within itself")
    directory: Directory = {}
    (count,) = struct.unpack_from(order + "H", data, at)
    for start in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, n = struct.unpack_from(order + "HHI", data, start)
        size = SIZES[kind] * n
        (offset,) = struct.unpack_from(order + "I", data, start + 8)
        if tag in directory:  # once is enough: a damaged block could ask for the same a million times
            continue
        if tag in (EXIF, GPS, INTEROP):
            with suppress(*BROKEN):  # writers leave stale offsets behind; one costs that directory alone
                directory[tag] = _unpack(data, order, offset, (*seen, at))
        else:
            offset = offset if size > 4 else start + 8
            if offset + size > len(data):
                raise ValueError("a value beyond the end")
            directory[tag] = (kind, n, data[offset : offset + size])
    return directory


def _raw_entries(file: BinaryIO, order: str, at: int) -> tuple[Directory, int]:
    """The directory at `at` with the four bytes of each value left as they are, and the offset of the next."""
    file.seek(at)
    (count,) = struct.unpack(order + "H", file.read(2))
    entries: Directory = {}
    for _ in range(count):
        tag, kind, n, raw = struct.unpack(order + "HHI4s", file.read(12))
        entries[tag] = (kind, n, raw)
    return entries, struct.unpack(order + "I", file.read(4))[0]


def _pack(directory: Directory, order: str, at: int, following: int = 0) -> bytes:
    """The directory and the values it points at, as bytes to be laid at offset `at`."""
    entries, values = b"", b""
    free = at + 2 + 12 * len(directory) + 4
    for tag, entry in sorted(directory.items()):
        if isinstance(entry, dict):
            kind, n, raw = 4, 1, struct.pack(order + "I", free + len(values))
            values += _pack(entry, order, free + len(values))
        else:
            kind, n, raw = entry
        if len(raw) > 4:
            raw, stored = struct.pack(order + "I", free + len(values)), raw
            values += stored + bytes(len(stored) % 2)
        entries += struct.pack(order + "HHI4s", tag, kind, n, raw)
    return struct.pack(order + "H", len(directory)) + entries + struct.pack(order + "I", following) + values
