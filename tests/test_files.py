"""Files as instruments, cameras and editors write them: read, brought to 0 to 1 by their own range, put back."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from click.testing import CliRunner
from PIL import Image, ImageCms

import pnp
from pnp import cli
from pnp.files import layout, pictures, pnm, ranges
from pnp.files.pictures import PictureError, read, write
from pnp.files.ranges import UNIT, Range
from pnp.jobs.job import as_pixels
from pnp.samples import photograph

RNG = np.random.default_rng(0)


def grey(side: int = 96) -> np.ndarray:
    """A photograph in 0 to 1."""
    return photograph("camera")[0, 0, 100 : 100 + side, 150 : 150 + side].double().numpy()


def colour() -> np.ndarray:
    x = photograph("astronaut")[0, :, 100:164, 180:240].permute(1, 2, 0)
    return (x * 255).round().byte().numpy()


def found(array: np.ndarray) -> Range:
    samples = layout.to_pages(array, layout.guess(array.shape))
    return ranges.find(samples, ranges.full(array.dtype))


def restored(path: Path, **like: Any) -> Path:
    """Read and written as `pnp solve` does, without a change."""
    picture = read(path, "auto")
    out = pictures.default_output(path)
    write(out, picture.pixels, picture)
    return out


# --- types and axes


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint32", "uint64", "uint16", "float64"])
@pytest.mark.parametrize("suffix", [".tif", ".npy", ".fits"])
def test_every_type_of_number_comes_back_as_it_was(tmp_path: Path, dtype: str, suffix: str) -> None:
    if suffix == ".fits":
        pytest.importorskip("astropy")
    top = min(np.iinfo(dtype).max, 100000) if dtype != "float64" else 1
    low = -top // 3 if dtype.startswith("int") else 0
    a = (low + (top - low) * grey()).round(0 if dtype != "float64" else 9).astype(dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".fits" and dtype == "int8":  # which FITS does not know
        return
    {".tif": lambda: tifffile.imwrite(path, a), ".npy": lambda: np.save(path, a), ".fits": lambda: to_fits(path, a)}[
        suffix
    ]()
    picture = read(path, "auto")
    assert float(picture.pixels.min()) > -0.05 and float(picture.pixels.max()) <= 1.001
    out = restored(path)
    back = {".tif": tifffile.imread, ".npy": np.load, ".fits": from_fits}[suffix](out)
    assert back.dtype == a.dtype
    np.testing.assert_allclose(back, a, rtol=1e-6 if dtype == "float64" else 0, atol=0)


def to_fits(path: Path, a: np.ndarray, **cards: Any) -> None:
    from astropy.io import fits

    fits.PrimaryHDU(a, header=fits.Header(cards)).writeto(path)


def from_fits(path: Path) -> np.ndarray:
    from astropy.io import fits

    data = fits.getdata(path)
    return data.astype(data.dtype.newbyteorder("="))


@pytest.mark.parametrize(
    "shape, axes, pages",
    [
        ((6, 7), "HW", 1), ((5, 16, 17), "PHW", 5), ((16, 17, 5), "HWP", 5), ((16, 17, 3), "HWC", 1),
        ((3, 16, 17), "CHW", 1), ((4, 16, 17, 3), "PHWC", 4), ((4, 3, 16, 17), "PCHW", 4), ((2, 5, 16, 17), "PPHW", 10),
        ((2, 4, 5, 16, 17), "PPPHW", 40), ((2, 2, 16, 17, 3), "PPHWC", 4),
    ],
)  # fmt: skip
def test_arrays_of_any_axes_are_pages_and_come_back(
    tmp_path: Path, shape: tuple[int, ...], axes: str, pages: int
) -> None:
    a = RNG.integers(0, 256, shape).astype(np.uint8)
    np.save(tmp_path / "a.npy", a)
    picture = read(tmp_path / "a.npy")
    assert picture.meta.layout == axes and len(picture.pixels) == pages
    assert picture.pixels.shape[1] == (3 if "C" in axes else 1)
    first = a[(0,) * (len(shape) - 2)] if axes.endswith("HW") and "C" not in axes else None
    if first is not None:
        np.testing.assert_array_equal(picture.pixels[0, 0] * 255, first)
    np.testing.assert_array_equal(np.load(restored(tmp_path / "a.npy")), a)


def test_a_hyperstack_keeps_its_axes_scale_and_all_that_imagej_says(tmp_path: Path) -> None:
    a = (3000 * np.stack([np.stack([grey(48) / (1 + t + c) for c in range(2)]) for t in range(3)])).astype(np.uint16)
    said = {"axes": "TCYX", "spacing": 0.3, "unit": "um", "fps": 7.0, "mode": "composite"}
    said |= {"Info": "Objective: 63×\nGain = 3", "Labels": [f"plane {i}" for i in range(6)]}
    said |= {"Ranges": (0.0, 3000.0, 0.0, 1500.0), "LUTs": [RNG.integers(0, 256, (3, 256)).astype(np.uint8)] * 2}
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, a, imagej=True, resolution=(9.2, 9.2), metadata=said)
    with tifffile.TiffFile(path) as was, tifffile.TiffFile(restored(path)) as now:
        assert now.series[0].axes == "TCYX"
        np.testing.assert_array_equal(now.asarray(), a)
        assert str(now.imagej_metadata) == str(was.imagej_metadata) and "63×" in now.imagej_metadata["Info"]
        assert now.pages[0].tags[282].value == was.pages[0].tags[282].value


def test_ome_keeps_its_description_but_not_the_name_of_its_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    a = (200 * np.stack([np.stack([grey(48)] * 2)] * 3)).astype(np.uint8)
    tifffile.imwrite(
        path, a, ome=True, metadata={"axes": "ZCYX", "PhysicalSizeX": 0.1, "Channel": {"Name": ["µ", "b"]}}
    )
    with tifffile.TiffFile(path) as was:
        text = was.pages[0].tags[270].value
    named = text.replace('PlaneCount="6"/>', 'PlaneCount="6"><UUID FileName="a.ome.tif">urn:uuid:1</UUID></TiffData>')
    assert named != text
    tifffile.imwrite(path, a.reshape(6, 48, 48), description=named.encode(), metadata=None)
    out = restored(path)
    assert out.name == "a-restored.ome.tif"
    with tifffile.TiffFile(out) as now:
        assert now.is_ome and now.series[0].axes == "ZCYX"
        np.testing.assert_array_equal(now.asarray(), a)
        said = now.ome_metadata
    assert said is not None and "FileName" not in said and 'Name="µ"' in said and 'PhysicalSizeX="0.1"' in said


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("count", [2, 5, 7])
def test_a_tiff_of_many_channels_is_restored_channel_by_channel_and_put_together(
    tmp_path: Path, count: int, planar: str
) -> None:
    a = np.stack([(5000 * grey(40) / (1 + i)).astype(np.uint16) for i in range(count)])
    laid = a if planar == "separate" else np.moveaxis(a, 0, -1)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, laid, photometric="minisblack", planarconfig=planar, metadata=None)
    with pytest.warns(UserWarning, match=f"{count} samples a pixel"):
        picture = read(path)
    np.testing.assert_array_equal(picture.pixels[:, 0] * 65535, a)
    write(tmp_path / "b.tif", picture.pixels, picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert len(tif.pages) == 1 and tif.pages[0].planarconfig.name.lower() == planar
        np.testing.assert_array_equal(tif.asarray(), laid)


def test_the_pages_of_a_large_imagej_file_without_directories_are_all_read(tmp_path: Path) -> None:
    a = (200 * np.stack([grey(32) / (1 + i) for i in range(4)])).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", a, imagej=True, metadata={"axes": "TYX"}, truncate=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert len(tif.pages) == 1  # as ImageJ writes above 4 GB
    np.testing.assert_array_equal(read(tmp_path / "a.tif").pixels[:, 0] * 255, a)


# --- formats


def test_fits_keeps_header_type_and_units(tmp_path: Path) -> None:
    pytest.importorskip("astropy")
    from astropy.io import fits

    a = (1200 + 20000 * grey()).astype(np.uint16)
    to_fits(tmp_path / "a.fits", a, OBJECT="M 31", EXPTIME=30.0, BUNIT="adu")
    out = restored(tmp_path / "a.fits")
    header = fits.getheader(out)
    assert (header["OBJECT"], header["EXPTIME"], header["BUNIT"]) == ("M 31", 30.0, "adu")
    np.testing.assert_array_equal(from_fits(out), a)
    to_fits(tmp_path / "cube.fits", np.stack([a] * 4).astype(np.float32))
    assert read(tmp_path / "cube.fits", "auto").pixels.shape == (4, 1, 96, 96)


@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_pnm_of_all_depths_comes_back(tmp_path: Path, white: int) -> None:
    a = (np.stack([grey(20), grey(20).T, 1 - grey(20)], -1) * white).round()
    a = a.astype(np.uint8 if white == 255 else np.uint16)
    (tmp_path / "a.ppm").write_bytes(pnm.encode(a, white))
    np.testing.assert_array_equal(read(tmp_path / "a.ppm").pixels[0].permute(1, 2, 0), a / np.float32(white))
    assert restored(tmp_path / "a.ppm").read_bytes() == (tmp_path / "a.ppm").read_bytes()
    if white == 255:  # an independent reader
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.ppm")), a)


def test_text_and_bits_of_pnm_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P2\n# a comment\n3 2\n# and another\n7\n0 1 2\n3 4 7\n")
    np.testing.assert_allclose(read(tmp_path / "a.pgm").pixels[0, 0], np.array([[0, 1, 2], [3, 4, 7]]) / 7, atol=1e-6)
    bits = RNG.random((5, 11)) < 0.5
    Image.fromarray(bits).save(tmp_path / "a.pbm")
    np.testing.assert_array_equal(read(tmp_path / "a.pbm").pixels[0, 0], bits)
    text = b"P1 3 2 " + b"1 0 1 011"
    (tmp_path / "b.pbm").write_bytes(text)
    np.testing.assert_array_equal(read(tmp_path / "b.pbm").pixels[0, 0], [[0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_is_read_at_its_depth_and_written_without_loss(tmp_path: Path, bits: int) -> None:
    a = (np.stack([grey(64), grey(64).T, 1 - grey(64)], -1) * (2**bits - 1)).round()
    a = a.astype(np.uint8 if bits == 8 else np.uint16)
    data = imagecodecs.jpeg2k_encode(a, level=0, reversible=True, bitspersample=bits, codecformat="jp2")
    (tmp_path / "a.jp2").write_bytes(data)
    picture = read(tmp_path / "a.jp2")
    np.testing.assert_array_equal(picture.pixels[0].permute(1, 2, 0), a / np.float32(2**bits - 1))
    np.testing.assert_array_equal(imagecodecs.jpeg2k_decode(restored(tmp_path / "a.jp2").read_bytes()), a)


def test_jpeg_2000_keeps_its_profile(tmp_path: Path) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(colour()).save(tmp_path / "a.png", icc_profile=icc)
    picture = read(tmp_path / "a.png")
    write(tmp_path / "b.jp2", picture.pixels, picture)
    with Image.open(tmp_path / "b.jp2") as im:
        np.testing.assert_array_equal(np.asarray(im), colour())
    data = (tmp_path / "b.jp2").read_bytes()
    at = data.index(b"jp2h") - 4
    end = at + int.from_bytes(data[at : at + 4])  # ISO 15444-1, I.5.3: a box that holds boxes, end to end
    assert data[end + 4 : end + 8] == b"jp2c"
    inner, at = {}, at + 8
    while at < end:
        length = int.from_bytes(data[at : at + 4])
        inner[data[at + 4 : at + 8]] = data[at + 8 : at + length]
        at += length
    assert at == end and inner[b"colr"] == b"\2\0\0" + icc
    assert read(tmp_path / "b.jp2").meta.icc == icc


def test_a_gif_goes_to_png_and_an_animation_to_the_pages_of_a_tiff(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.roll(colour()[..., 0], 5 * i, 1)) for i in range(3)]
    frames[0].save(tmp_path / "still.gif")
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    still, moving = (restored(tmp_path / f"{name}.gif") for name in ("still", "moving"))
    assert (still.suffix, moving.suffix) == (".png", ".tif")
    np.testing.assert_array_equal(np.asarray(Image.open(still)), np.asarray(frames[0]))  # grey stays grey
    np.testing.assert_array_equal(tifffile.imread(moving), np.stack(frames))
    with pytest.raises(PictureError, match="only read"):
        write(tmp_path / "b.gif", torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_profile(tmp_path: Path, suffix: str) -> None:
    """The profile at hand is of grey ink; without one, RGB is what the inks leave."""
    ink = Image.fromarray(colour()).convert("CMYK")
    ink.save(tmp_path / f"a{suffix}", **({"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}))
    with pytest.warns(UserWarning, match="CMYK colours without a profile"):
        picture = read(tmp_path / f"a{suffix}")
    error = np.abs(picture.pixels[0].permute(1, 2, 0).numpy() * 255 - colour())
    assert error.mean() < 1.5
    with pytest.warns(UserWarning, match="CMYK"):
        assert read(restored(tmp_path / f"a{suffix}")).pixels.shape == picture.pixels.shape


def test_a_camera_raw_file_is_developed(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    from test_fuzz import negative

    (tmp_path / "a.dng").write_bytes(negative())
    picture = read(tmp_path / "a.dng")
    assert picture.pixels.shape[1] == 3 and picture.dtype == "uint16" and picture.meta.icc
    assert restored(tmp_path / "a.dng").suffix == ".tif"


def test_a_missing_extra_is_named_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.fits").write_bytes(b"SIMPLE")
    monkeypatch.setitem(sys.modules, "astropy", None)
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for act in (lambda: read(tmp_path / "a.fits"), lambda: write(tmp_path / "b.fits", torch.rand(1, 1, 4, 4))):
        with pytest.raises(PictureError, match=r"pip install 'pnp-restoration\[fits\]'"):
            act()
    assert not (tmp_path / "b.fits").exists()


# --- the range


def noisy(black: float, white: float, sigma: float, dtype: str) -> np.ndarray:
    v = black + (white - black) * grey() + sigma * RNG.normal(size=grey().shape)
    return v.round().astype(dtype) if dtype[0] != "f" else v.astype(dtype)


@pytest.mark.parametrize(
    "array, black, white",
    [
        (noisy(100, 500, 10, "uint16"), (60, 110), (480, 560)),  # a dim camera with an offset
        (noisy(3, 500, 1, "uint16"), (0, 0), (480, 520)),  # a black near 0 is 0
        (noisy(0, 60000, 500, "uint16").clip(0), (0, 0), (65535, 65535)),
        (noisy(0, 4000, 20, "uint16").clip(0, 4095), (0, 0), (4095, 4095)),  # 12 bits in 16
        (noisy(0, 250, 1, "int64").clip(0, 255), (0, 0), (255, 255)),  # 8 bits in 64
        (noisy(32700, 32900, 2, "uint16"), (32680, 32710), (32880, 32920)),
        (noisy(-900, 900, 5, "int16"), (-1000, -700), (800, 1000)),
        (noisy(0, 98000, 100, "uint32").clip(0), (0, 0), (90000, 100000)),
        (noisy(0, 250, 3, "uint8").clip(0), (0, 0), (255, 255)),
        (noisy(0, 1, 0.02, "float32"), (0, 0), (1, 1)),  # slightly outside, as it is
        (noisy(0, 0.5, 0.02, "float32"), (0, 0), (1, 1)),
        (noisy(0, 3000, 20, "float32"), (0, 0), (2700, 3200)),
        (noisy(0, 250, 0, "float32"), (0, 0), (255, 255)),
        (noisy(0, 1e-3, 1e-5, "float32"), (0, 0), (0.9e-3, 1.2e-3)),
        (np.full((40, 40), 1000, np.uint16), (0, 0), (1000, 65535)),
        (np.zeros((40, 40), np.float32), (0, 0), (1, 1)),
    ],
)
def test_the_range_of_a_file_is_that_of_its_picture(
    array: np.ndarray, black: tuple[float, float], white: tuple[float, float]
) -> None:
    ends = found(array)
    assert black[0] <= ends.black <= black[1] and white[0] <= ends.white <= white[1], ends


def test_hot_pixels_do_not_set_the_white_and_stars_do() -> None:
    hot = noisy(100, 500, 5, "uint16")
    assert found(hot).white < 560
    hot[RNG.random(hot.shape) < 0.003] = 65535
    assert found(hot).white < 600
    rows, columns = np.mgrid[:96, :96]
    stars = sum(
        900 * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 4) for r, c in RNG.integers(8, 88, (4, 2)).tolist()
    )
    sky = (100 + stars + 3 * RNG.normal(size=stars.shape)).round().astype(np.uint16)
    assert 700 < found(sky).white < 1100


def test_photon_counts_keep_their_zero() -> None:
    counts = RNG.poisson(20 * grey()).astype(np.uint16)
    ends = found(counts)
    assert ends.black == 0 and 17 < ends.white < 30


def test_a_flat_field_is_not_stretched_to_its_noise() -> None:
    ends = found((1000 + 3 * RNG.normal(size=(64, 64))).round().astype(np.uint16))
    assert ends.black == 0 and 1000 < ends.white < 1020


def test_radiance_keeps_its_values() -> None:
    radiance = (0.2 * np.exp(3 * grey())).astype(np.float32)
    radiance[40:44, 40:44] = 60  # a lamp
    assert found(radiance) == UNIT


def test_the_pages_of_a_stack_share_one_range() -> None:
    stack = np.stack([noisy(100, white, 2, "uint16") for white in (200, 500, 350, 300)])
    assert 480 < found(stack).white < 560


def test_values_beyond_the_range_stay_beyond_and_come_back() -> None:
    ends = Range(100.0, 500.0)
    values = np.array([[0, 100, 300, 500, 65535]], np.uint16)
    x = ends.inside(values)
    assert x[0, 0] == -0.25 and x[0, 4] > 100
    np.testing.assert_array_equal(ends.outside(x, "uint16"), values)
    np.testing.assert_array_equal(ends.outside(np.array([[-1.0, 1e9, 0.5012]]), "uint16"), [[0, 65535, 300]])
    for dtype in ("int64", "uint64"):  # whose largest is not a float64
        assert ends.outside(np.array([[1e30]]), dtype)[0, 0] > np.iinfo(dtype).max * 0.99


@pytest.mark.parametrize("text, ends", [("100..500", Range(100, 500)), ("-3e2..1.5", Range(-300, 1.5))])
def test_a_range_is_read_from_text(text: str, ends: Range) -> None:
    assert ranges.asked(text) == ends
    for wrong in ("500..100", "1..1", "a..b", "5", "0..inf", "nan..1"):
        with pytest.raises(ValueError, match="expected auto, full or LOW"):
            ranges.asked(wrong)


def test_rounding_and_jpeg_errors_are_in_image_units(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", noisy(100, 500, 5, "uint16"))
    assert read(tmp_path / "a.tif", Range(100, 500)).rounding == pytest.approx(12**-0.5 / 400)
    assert read(tmp_path / "a.tif").rounding == pytest.approx(12**-0.5 / 65535)
    Image.fromarray(colour()).save(tmp_path / "a.jpg", quality=50)
    half, full = read(tmp_path / "a.jpg", Range(0, 127.5)), read(tmp_path / "a.jpg")
    assert half.hidden == pytest.approx(2 * full.hidden) and half.rounding == pytest.approx(2 * full.rounding)


def test_the_truth_is_read_by_the_range_of_the_picture(tmp_path: Path) -> None:
    y = noisy(100, 500, 10, "uint16")
    tifffile.imwrite(tmp_path / "y.tif", y)
    picture = read(tmp_path / "y.tif", "auto")
    for name, truth in (("a", (100 + 400 * grey()).astype(np.uint16)), ("b", (100 + 400 * grey()).astype(np.float32))):
        tifffile.imwrite(tmp_path / f"{name}.tif", truth)
        assert pictures.read_like(tmp_path / f"{name}.tif", picture).ends == picture.ends
    np.save(tmp_path / "c.npy", grey())
    assert pictures.read_like(tmp_path / "c.npy", picture).ends == UNIT  # a truth of its own units


def test_solve_restores_a_dim_file_in_its_own_range_and_units(tmp_path: Path) -> None:
    truth = (100 + 400 * grey()).round().astype(np.uint16)
    y = (truth + 12 * RNG.normal(size=truth.shape)).round().astype(np.uint16)
    tifffile.imwrite(tmp_path / "y.tif", y)
    tifffile.imwrite(tmp_path / "truth.tif", truth)
    for span in ("auto", "full"):
        run = CliRunner().invoke(cli.cli, [
            "solve", str(tmp_path / "y.tif"), "--op", "identity", "--prior", "unet", "--range", span,
            "--truth", str(tmp_path / "truth.tif"), "-o", str(tmp_path / f"{span}.tif"),
        ])  # fmt: skip
        assert run.exit_code == 0, run.output
        record = json.loads((tmp_path / f"{span}-report" / "result.json").read_text())
        assert ("of the file is black to white" in run.output) == (span == "auto")
        low, high = record["job"]["range"]
        assert (60 < low < 110 and 480 < high < 560) if span == "auto" else (low, high) == (0, 65535)
        error = np.mean((tifffile.imread(tmp_path / f"{span}.tif").astype(float) - truth) ** 2)
        assert record["metrics"]["psnr"][0] == pytest.approx(10 * np.log10((high - low) ** 2 / error), abs=0.1)
    out = tifffile.imread(tmp_path / "auto.tif")
    assert out.dtype == np.uint16 and out.min() > 90 and out.max() < 560
    was, now = (np.sqrt(np.mean((a.astype(float) - truth) ** 2)) for a in (y, out))
    assert now < 0.7 * was


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", ["int16", "int32", "uint16", "float32"])
def test_arrays_have_the_range_of_files_and_come_back_in_their_units(kind: Any, dtype: str) -> None:
    array = noisy(100, 500, 5, dtype)
    pixels = as_pixels(kind(array))
    assert pixels.range == found(array)
    assert float(pixels.x.min()) > -0.01 and float(pixels.x.max()) < 1.01
    back = np.asarray(pixels.back(pixels.x))
    assert back.dtype == array.dtype
    np.testing.assert_allclose(back, array, atol=1e-4 if dtype == "float32" else 0)
    done = pnp.restore(kind(array), operator="identity", prior="tv", sigma=0.05, lam=8, range=(100, 500))
    assert done.record.job["range"] == [100, 500]
    assert float(np.asarray(done.picture).min()) > 50 and float(np.asarray(done.picture).max()) < 560


def test_a_truth_of_another_kind_is_in_the_units_of_the_picture_where_it_can_be() -> None:
    y, truth = noisy(100, 500, 5, "uint16"), 100 + 400 * grey()
    scores = []
    for clean in (truth.astype(np.uint16), torch.from_numpy(truth), truth.astype(np.float32)):
        metrics = pnp.restore(y, operator="identity", prior="tv", sigma=0.02, lam=8, truth=clean).record.metrics
        assert metrics is not None
        scores.append(metrics["psnr_initial"][0])
    expected = 20 * np.log10((found(y).white - found(y).black) / 5)
    np.testing.assert_allclose(scores, expected, atol=0.3)


def test_what_a_format_cannot_hold_is_said_and_becomes_the_nearest(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noisy(100, 500, 5, "float32").astype(np.float16))
    picture = read(tmp_path / "a.npy", Range(100, 500))
    with pytest.warns(UserWarning, match="JPEG does not hold float16. 100 becomes 0 and 500 becomes 255"):
        write(tmp_path / "b.jpg", picture.pixels, picture)
    assert float(read(tmp_path / "b.jpg").pixels.max()) > 0.9
    if pytest.importorskip("astropy"):
        with pytest.warns(UserWarning, match="float32 holds its values"):
            write(tmp_path / "b.fits", picture.pixels, picture)
        np.testing.assert_allclose(from_fits(tmp_path / "b.fits"), np.load(tmp_path / "a.npy"), rtol=1e-3)
