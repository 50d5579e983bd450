"""Damaged files: each is read whole or refused in one line; nothing hangs, and nothing asks for gigabytes."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from pnp.files import exif, formats, pictures
from pnp.samples import photograph

ROOM = 1 << 30  # bytes that reading may ask for beyond what the process has
FILES = 500
PATIENCE = 600.0  # seconds for all of them: they take about ten, and a hang takes for ever


def colour() -> np.ndarray:
    return (photograph("astronaut")[0, :, 100:148, 200:240].permute(1, 2, 0) * 255).numpy().astype(np.uint8)


def pillow(format: str, im: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (im or Image.fromarray(colour())).save(file, format, **options)
    return file.getvalue()


def tiff(array: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, **options)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def written(suffix: str, *, deep: bool = False) -> bytes:
    """By our own writer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"a{suffix}")
        like = pictures.Picture(torch.zeros(1, 3, 2, 2), None, "TIFF", "uint16", 65535.0, formats.Meta())
        pictures.write(path, torch.from_numpy(colour() / 255).permute(2, 0, 1), like if deep else None)
        return path.read_bytes()


def fits_cube() -> bytes:
    fits = pytest.importorskip("astropy.io.fits")
    file = io.BytesIO()
    fits.PrimaryHDU(np.moveaxis(colour(), -1, 0).astype(np.int16)).writeto(file)
    return file.getvalue()


def negative() -> bytes:
    """A DNG of one sensor plane (RGGB)."""
    pytest.importorskip("rawpy")
    plane = colour()[..., 1].astype(np.uint16) * 200
    identity = tuple(n for i in range(9) for n in (int(i % 4 == 0), 1))
    tags = [
        (271, 2, 5, "Maker", True), (272, 2, 6, "Model", True), (33421, 3, 2, (2, 2), True),
        (33422, 1, 4, bytes((0, 1, 1, 2)), True), (50706, 1, 4, bytes((1, 4, 0, 0)), True),
        (50708, 2, 12, "Maker Model", True), (50721, 10, 9, identity, True), (50778, 3, 1, 21, True),
    ]  # fmt: skip
    return tiff(plane, photometric=32803, extratags=tags, metadata=None)


SAMPLES = {
    "a.png": lambda: pillow("PNG"),
    "deep.png": lambda: written(".png", deep=True),
    "a.jpg": lambda: pillow("JPEG", exif=Image.Exif()),
    "ink.jpg": lambda: pillow("JPEG", Image.fromarray(colour()).convert("CMYK")),
    "a.bmp": lambda: pillow("BMP"),
    "a.webp": lambda: pillow("WEBP"),
    "a.avif": lambda: pillow("AVIF"),
    "a.gif": lambda: pillow("GIF", save_all=True, append_images=[Image.fromarray(255 - colour())]),
    "a.ppm": lambda: pillow("PPM"),
    "text.pgm": lambda: b"P2 # text\n40 48\n255\n" + b" ".join(str(v).encode() for v in colour()[..., 0].ravel()),
    "a.jp2": lambda: pillow("JPEG2000"),
    "a.npy": lambda: npy(colour()[..., 0].astype(np.int64)),
    "a.tif": lambda: tiff(colour(), photometric="rgb"),
    "zip.tif": lambda: tiff(colour().astype(np.float32), photometric="rgb", compression="zlib", predictor=True),
    "stack.tif": lambda: tiff(np.stack([colour()[None, ..., 0]] * 4), imagej=True, metadata={"axes": "TZYX"}),
    "ome.tif": lambda: tiff(np.stack([colour()[..., 0]] * 3), ome=True, tile=(16, 16), compression="lzw"),
    "a.fits": fits_cube,
    "a.dng": negative,
}


def damaged(data: bytes, generator: np.random.Generator) -> bytes:
    """Cut anywhere, or with a few bits flipped, every other time among the first 400 bytes, where headers are."""
    if generator.random() < 0.3:
        return data[: generator.integers(1, len(data))]
    bad = bytearray(data)
    reach = min(len(bad), 400) if generator.random() < 0.5 else len(bad)
    for _ in range(generator.integers(1, 6)):
        bad[generator.integers(reach)] ^= 1 << int(generator.integers(8))
    return bytes(bad)


def reads(path: Path) -> str:
    """`whole` or `refused`; an AssertionError for anything else."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = pictures.read(path, "auto").pixels
        except pictures.PictureError as error:
            assert str(path) in str(error) and "\n" not in str(error), str(error)
            return "refused"
    assert pixels.ndim == 4 and bool(pixels.isfinite().all())
    return "whole"


def main(folder: str) -> None:
    """Read what lies in the folder with little room, and name what went wrong."""
    for suffix in sorted(formats.SUFFIXES):  # what is imported for a format counts before the limit
        for path in Path(folder).glob(f"good-*{suffix}"):
            assert reads(path) == "whole", path
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    for path in sorted(Path(folder).glob("bad-*")):
        print(path.name, flush=True)
        print(path.name, reads(path), flush=True)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit on memory is Linux's")
def test_damaged_files_are_read_whole_or_refused_in_one_line(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    made = {name: make() for name, make in SAMPLES.items()}
    for name, data in made.items():
        (tmp_path / f"good-{name}").write_bytes(data)
    names = [list(made)[i % len(made)] for i in range(FILES)]
    for i, name in enumerate(names):
        (tmp_path / f"bad-{i:03}-{name}").write_bytes(damaged(made[name], generator))
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    lines = run.stdout.split("\n")
    assert run.returncode == 0, f"{lines[-2]}\n{run.stderr[-2000:]}"
    verdicts = [line.split()[1] for line in lines if " " in line]
    assert len(verdicts) == FILES and 0.1 < verdicts.count("refused") / FILES < 0.9


def little(number: int) -> bytes:
    return number.to_bytes(4, "little")


LONGS = ((b"\0\1\4\0", 40), (b"\1\1\4\0", 48))  # entries of a TIFF: width and height
HUGE = {  # what the header says of width and height, and what it says with 9000 of each
    "a.bmp": [(little(40) + little(48), little(9000) * 2)],
    "a.npy": [(b"(48, 40)", b"(9000, 9000)")],
    "a.ppm": [(b"40 48", b"9000 9000")],
    "a.fits": [(b"NAXIS1  =                   40", b"NAXIS1  =                 9000")],
    "a.jp2": [(bytes(3) + b"\x28" + bytes(3) + b"\x30", 2 * (9000).to_bytes(4))],
    "a.tif": [(tag + little(1) + little(n), tag + little(1) + little(9000)) for tag, n in LONGS],
}


@pytest.mark.parametrize("name", HUGE)
def test_a_header_that_claims_more_than_the_file_holds_is_refused_before_it_is_asked_for(
    tmp_path: Path, name: str
) -> None:
    data = SAMPLES[name]()
    for said, claims in HUGE[name]:
        assert said in data
        data = data.replace(said, claims)
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(pictures.PictureError, match="cannot hold"):
        pictures.read(path)


def test_a_directory_that_points_at_itself_thrice_ends() -> None:
    """Followed as often as it asks, 3 to the power of the recursion limit directories would be read."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (exif.EXIF, exif.GPS, exif.INTEROP))
    block = b"II*\0" + little(8) + struct.pack("<H", 3) + entries + bytes(4)
    assert exif._unpack(block, "<", 8) == {}


if __name__ == "__main__":
    main(sys.argv[1])
