"""Picture files: what is read is what the file holds, what is written is what was read, nothing is lost in silence."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin

from pnp.files import exif, formats, pictures
from pnp.files.pictures import Picture, PictureError, read, write

RNG = np.random.default_rng(0)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}


def samples(dtype: str, *shape: int) -> np.ndarray:
    if dtype.startswith("f"):
        return RNG.normal(0.5, 1, shape).astype(np.float16 if dtype == "float16" else np.float32).astype(dtype)
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def peak(dtype: str) -> float:
    return 1.0 if dtype.startswith("f") else float(np.iinfo(dtype).max)


def channels_last(picture: Picture) -> np.ndarray:
    """Pixels and alpha, (B, H, W, S)."""
    x = picture.pixels if picture.alpha is None else torch.cat([picture.pixels, picture.alpha], 1)
    return x.permute(0, 2, 3, 1).numpy()


def save_png(path: Path, a: np.ndarray) -> Path:
    path.write_bytes(imagecodecs.png_encode(a.squeeze(-1) if a.shape[-1] == 1 else a))
    return path


def save_tiff(path: Path, a: np.ndarray, **options: object) -> Path:
    """(B, H, W, S)"""
    s = a.shape[-1]
    extra = {"planarconfig": "contig"} if s > 1 else {}
    extra |= {"extrasamples": ["unassalpha"]} if s in (2, 4) else {}
    kind = "rgb" if s > 2 else "minisblack"
    tifffile.imwrite(
        path,
        a if s > 1 else a[..., 0],
        **({"photometric": kind, "metadata": None, "software": False} | extra | options),
    )
    return path


def exif_block(*, orientation: int = 1) -> bytes:
    """A camera's block: a name with an accent, exposure, a maker note and a position."""
    block = Image.Exif()
    block.update({271: "Maker", 272: "Model 1", 274: orientation, 306: "2024:05:06 07:08:09", 315: b"Jos\xe9"})
    block[0x8769] = {36867: "2024:05:06 07:08:09", 33434: 0.004, 37500: b"maker note", 0xA005: {1: "R98"}}
    block[0x8825] = {1: "N", 2: (48.0, 8.0, 14.5)}
    return block.tobytes()


def facts(path: Path) -> dict[object, object]:
    """What Pillow finds in the EXIF of `path`."""
    exif_of = Image.open(path).getexif()
    inner = exif_of.get_ifd(0x8769)
    found = {tag: exif_of.get(tag) for tag in (271, 272, 306, 315)}
    found |= {tag: inner.get(tag) for tag in (36867, 33434, 37500)}
    return found | {"gps": dict(exif_of.get_ifd(0x8825)), "interop": exif_of.get_ifd(0xA005), "up": exif_of.get(274, 1)}


# --- round trips


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png_is_read_and_written_bit_by_bit(tmp_path, dtype, count):
    a = samples(dtype, 19, 13, count)
    picture = read(save_png(tmp_path / "a.png", a))
    np.testing.assert_array_equal(channels_last(picture)[0], a / np.float32(peak(dtype)))
    write(tmp_path / "b.png", picture.pixels, picture)
    back = imagecodecs.png_decode((tmp_path / "b.png").read_bytes()).reshape(a.shape)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, a)
    if dtype == "uint8":  # an independent reader
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")).reshape(a.shape), a)
    elif count > 1:  # the planted fault: Pillow keeps the upper eight bits
        lost = np.asarray(Image.open(tmp_path / "b.png"))
        assert lost.dtype == np.uint8
        np.testing.assert_array_equal(lost[..., 0], a[..., 0] >> 8)


@pytest.mark.parametrize("pages", [1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", formats.EVERY_DEPTH)
def test_tiff_is_read_and_written_bit_by_bit(tmp_path, dtype, count, pages):
    a = samples(dtype, pages, 9, 7, count)
    picture = read(save_tiff(tmp_path / "a.tif", a))
    assert picture.pixels.shape == (pages, 3 if count > 2 else 1, 9, 7)
    np.testing.assert_array_equal(channels_last(picture), (a / peak(dtype)).astype(np.float32))
    write(tmp_path / "b.tif", picture.pixels, picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert len(tif.pages) == pages
        back = np.stack([page.asarray() for page in tif.pages]).reshape(a.shape)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, a)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 1, 3, 3), (3, 1, 1, 3), (2, 3, 1, 4), (4, 3, 4, 1), (3, 3, 3, 3)])
def test_tiff_of_any_shape_keeps_its_axes(tmp_path, shape):
    a = samples("uint16", *shape)
    picture = Picture(*split(a / np.float32(65535)), "TIFF", "uint16", 65535.0, formats.Meta())
    write(tmp_path / "a.tif", picture.pixels, picture)
    np.testing.assert_array_equal(channels_last(read(tmp_path / "a.tif")), a / np.float32(65535))


def split(a: np.ndarray) -> tuple[torch.Tensor, torch.Tensor | None]:
    x = torch.from_numpy(a).permute(0, 3, 1, 2).contiguous()
    colours = 3 if x.shape[1] > 2 else 1
    return x[:, :colours], x[:, colours:] if x.shape[1] > colours else None


@pytest.mark.parametrize(
    "options", [{"compression": "lzw"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}]
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_variants_are_read_and_stay_compressed(tmp_path, options, dtype, byteorder):
    a = samples(dtype, 2, 33, 20, 3)
    picture = read(save_tiff(tmp_path / "a.tif", a, byteorder=byteorder, **options))
    write(tmp_path / "b.tif", picture.pixels, picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        np.testing.assert_array_equal(np.stack([page.asarray() for page in tif.pages]), a)
        assert (tif.pages[0].compression != 1) == ("compression" in options)


def test_tiff_planes_palettes_bits_and_white_is_zero(tmp_path):
    path = tmp_path / "a.tif"
    a = samples("uint8", 12, 16, 3)
    tifffile.imwrite(path, np.moveaxis(a, -1, 0), photometric="rgb", planarconfig="separate", metadata=None)
    np.testing.assert_array_equal(channels_last(read(path))[0], a / np.float32(255))

    indexed = Image.fromarray(a).quantize(16)
    indexed.save(path)
    np.testing.assert_array_equal(channels_last(read(path))[0], np.asarray(indexed.convert("RGB")) / np.float32(255))
    assert read(path).meta.palette

    tifffile.imwrite(path, a[..., 0], photometric="miniswhite", metadata=None)
    np.testing.assert_array_equal(channels_last(read(path))[0, ..., 0], (255 - a[..., 0]) / np.float32(255))

    bits = a[..., 0] > 127
    for photometric, expected in (("minisblack", bits), ("miniswhite", ~bits)):
        tifffile.imwrite(path, bits, photometric=photometric, metadata=None)
        np.testing.assert_array_equal(read(path).pixels[0, 0], expected)
    assert read(path).dtype == "uint8"  # a restored picture is not black and white

    Image.fromarray(a).resize((64, 48)).save(path, compression="jpeg")  # YCbCr inside
    np.testing.assert_allclose(channels_last(read(path))[0] * 255, np.asarray(Image.open(path)), atol=2)


def test_twelve_bits_reach_one(tmp_path):
    a = np.array([[0, 4095, 1024, 4095]], np.uint16)
    packed = bytes(int(f"{x:03x}{y:03x}"[i : i + 2], 16) for x, y in a.reshape(-1, 2).tolist() for i in (0, 2, 4))
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(data)
    picture = read(tmp_path / "a.tif")
    assert picture.peak == 4095
    np.testing.assert_array_equal(picture.pixels[0, 0], a / np.float32(4095))


@pytest.mark.parametrize("suffix, count", [(".bmp", 1), (".bmp", 3), (".webp", 3), (".webp", 4)])
def test_bmp_and_webp_are_written_bit_by_bit(tmp_path, suffix, count):
    a = samples("uint8", 15, 11, count)
    Image.fromarray(a.squeeze(-1) if count == 1 else a).save(
        tmp_path / f"a{suffix}", **({"lossless": True, "exact": True} if suffix == ".webp" else {})
    )
    picture = read(tmp_path / f"a{suffix}")
    write(tmp_path / f"b{suffix}", picture.pixels, picture)
    assert picture.format == FORMATS[suffix]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"b{suffix}")).reshape(a.shape), a)


@pytest.mark.parametrize("count", [1, 3])
def test_jpeg_stays_close_and_keeps_its_channels(tmp_path, count):
    smooth = np.linspace(0, 255, 40 * 32 * count).reshape(40, 32, count).astype(np.uint8)
    Image.fromarray(smooth.squeeze(-1) if count == 1 else smooth).save(tmp_path / "a.jpg", quality=97, subsampling=0)
    picture = read(tmp_path / "a.jpg")
    write(tmp_path / "b.jpg", picture.pixels, picture)
    assert picture.pixels.shape[1] == count
    assert count == 1 or JpegImagePlugin.get_sampling(Image.open(tmp_path / "b.jpg")) == 0
    torch.testing.assert_close(read(tmp_path / "b.jpg").pixels, picture.pixels, atol=4 / 255, rtol=0)


@pytest.mark.parametrize("dtype", formats.EVERY_DEPTH)
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 1), (7, 5, 3), (1, 7, 5), (3, 7, 5), (2, 3, 7, 5), (1, 1, 7, 5)])
def test_npy_keeps_values_depth_and_layout(tmp_path, dtype, shape):
    a = samples(dtype, *shape)
    np.save(tmp_path / "a.npy", a.astype(a.dtype.newbyteorder(">")))
    picture = read(tmp_path / "a.npy")
    assert picture.pixels.shape[-2:] == (7, 5)
    write(tmp_path / "b.npy", picture.pixels, picture)
    back = np.load(tmp_path / "b.npy")
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, a)


def test_single_bits_palettes_and_few_bit_greys_are_looked_up(tmp_path):
    path = tmp_path / "a.png"
    a = samples("uint8", 12, 16, 3)
    Image.fromarray(a[..., 0]).convert("1").save(path)
    np.testing.assert_array_equal(np.unique(read(path).pixels), [0, 1])

    indexed = Image.fromarray(a).quantize(16)
    indexed.save(path, transparency=3)
    picture = read(path)
    np.testing.assert_array_equal(channels_last(picture)[0, ..., :3] * 255, np.asarray(indexed.convert("RGB")))
    np.testing.assert_array_equal(picture.alpha[0, 0] == 0, np.asarray(indexed) == 3)
    assert picture.meta.palette

    ihdr, rows = struct.pack(">IIBBBBB", 4, 1, 2, 0, 0, 0, 0), zlib.compress(b"\0\x1b")  # 2 bits: 0 1 2 3
    chunks = [(b"IHDR", ihdr), (b"IDAT", rows), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(formats._chunk(*chunk) for chunk in chunks))
    torch.testing.assert_close(read(path).pixels[0, 0], torch.tensor([[0, 1, 2, 3]]) / 3)


# --- depth


@pytest.mark.parametrize(
    "suffix, dtype", [(".jpg", "uint8"), (".bmp", "uint8"), (".webp", "uint8"), (".png", "uint16")]
)
def test_a_depth_the_format_cannot_hold_becomes_its_deepest(tmp_path, suffix, dtype):
    picture = read(save_tiff(tmp_path / "a.tif", np.clip(samples("float32", 1, 9, 8, 3), 0, 1)))
    write(tmp_path / f"b{suffix}", picture.pixels, picture)
    assert read(tmp_path / f"b{suffix}").dtype == dtype


def test_integers_are_clipped_and_rounded_and_floats_untouched(tmp_path):
    x = torch.tensor([[[[-0.5, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0]]]])
    write(tmp_path / "a.png", x)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), [[0, 0, 0, 1, 255, 255]])
    write(tmp_path / "a.tif", x)
    torch.testing.assert_close(read(tmp_path / "a.tif").pixels, x, atol=0, rtol=0)


def test_write_leaves_its_arguments_alone(tmp_path):
    picture = read(save_png(tmp_path / "a.png", samples("uint8", 6, 5, 4)))
    x = torch.rand(1, 3, 6, 5)
    before = [x.clone(), picture.pixels.clone(), picture.alpha.clone()]
    write(tmp_path / "b.png", x, picture)
    for was, now in zip(before, [x, picture.pixels, picture.alpha], strict=True):
        torch.testing.assert_close(now, was, atol=0, rtol=0)


# --- alpha


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_hidden_colours_and_alpha_survive_a_restoration(tmp_path, suffix):
    a = samples("uint8", 10, 12, 4)
    a[:5, :, 3] = 0
    picture = read(save_png(tmp_path / "a.png", a))
    write(tmp_path / f"b{suffix}", torch.rand(1, 3, 10, 12), picture)
    back = np.round(channels_last(read(tmp_path / f"b{suffix}"))[0] * 255)
    np.testing.assert_array_equal(back[..., 3], a[..., 3])
    np.testing.assert_array_equal(back[:5], a[:5])
    assert (back[5:, :, :3] != a[5:, :, :3]).any()  # what shows is the restored picture


def test_alpha_follows_a_picture_that_grew(tmp_path):
    a = samples("uint8", 8, 10, 4)
    a[..., 3] = np.linspace(0, 255, 10)[None]
    picture = read(save_png(tmp_path / "a.png", a))
    write(tmp_path / "b.png", torch.rand(1, 3, 24, 30), picture)
    alpha = read(tmp_path / "b.png").alpha
    assert alpha.shape == (1, 1, 24, 30)
    expected = np.asarray(Image.fromarray(a[..., 3]).resize((30, 24), Image.Resampling.BICUBIC)) / 255
    np.testing.assert_allclose(alpha[0, 0], expected, atol=3 / 255)  # Pillow rounds between its two passes


def test_alpha_is_left_out_where_it_cannot_be_held(tmp_path):
    picture = read(save_png(tmp_path / "a.png", samples("uint8", 8, 8, 4)))
    for suffix in (".jpg", ".bmp", ".npy"):
        write(tmp_path / f"b{suffix}", picture.pixels, picture)
        assert read(tmp_path / f"b{suffix}").alpha is None


def test_premultiplied_tiff_stays_so_and_is_divided_for_png(tmp_path):
    a = np.full((1, 4, 4, 4), 128, np.uint8)
    a[..., :3] = 64
    picture = read(save_tiff(tmp_path / "a.tif", a, extrasamples=["assocalpha"]))
    write(tmp_path / "b.tif", picture.pixels, picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].extrasamples == (1,)
        np.testing.assert_array_equal(tif.pages[0].asarray(), a[0])
    write(tmp_path / "b.png", picture.pixels, picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png"))[0, 0], [128, 128, 128, 128])


def test_sixteen_bit_colour_key_is_transparent(tmp_path):
    a = samples("uint16", 5, 6, 3)
    a[0, 0] = (1, 2, 3)
    png = bytes(imagecodecs.png_encode(a))
    (tmp_path / "a.png").write_bytes(png[:33] + formats._chunk(b"tRNS", struct.pack(">HHH", 1, 2, 3)) + png[33:])
    picture = read(tmp_path / "a.png")
    assert picture.alpha[0, 0, 0, 0] == 0 and picture.alpha.sum() == 29
    np.testing.assert_array_equal(channels_last(picture)[0, ..., :3], a / np.float32(65535))


# --- metadata


@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
def test_profile_and_exif_go_from_every_format_to_every_other(tmp_path, source, target):
    first, last = tmp_path / f"a{source}", tmp_path / f"b{target}"
    kept = {"icc_profile": ICC, "exif": exif_block()}
    seed = tmp_path / "seed.jpg"
    Image.fromarray(samples("uint8", 16, 16, 3)).save(seed, **kept)
    write(first, read(seed).pixels, read(seed))
    picture = read(first)
    write(last, picture.pixels, picture)
    assert Image.open(last).info["icc_profile"] == ICC
    assert facts(last) == facts(seed)
    assert facts(last)[315] == "José" and facts(last)["gps"] and facts(last)[37500] == b"maker note"


def test_sixteen_bit_png_keeps_profile_exif_density_and_texts(tmp_path):
    png = bytes(imagecodecs.png_encode(samples("uint16", 5, 6, 3)))
    said = [
        (b"gAMA", struct.pack(">I", 100000)),
        (b"tEXt", b"Author\0me"),
        (b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
    ]
    said += [(b"iCCP", b"x\0\0" + zlib.compress(ICC)), (b"eXIf", exif_block()[6:])]
    (tmp_path / "a.png").write_bytes(png[:33] + b"".join(formats._chunk(*c) for c in said) + png[33:])
    picture = read(tmp_path / "a.png")
    write(tmp_path / "b.png", picture.pixels, picture)
    info = Image.open(tmp_path / "b.png").info
    assert info["icc_profile"] == ICC and info["gamma"] == 1.0 and info["Author"] == "me"
    assert formats.png_chunks((tmp_path / "b.png").read_bytes()).count(said[2]) == 1
    assert facts(tmp_path / "b.png") == facts(tmp_path / "a.png")


@pytest.mark.parametrize("bits", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_keeps_profile_resolution_and_description(tmp_path, bits, byteorder):
    a = samples(bits, 2, 6, 8, 3)
    options = {"resolution": (118.11, 100), "resolutionunit": 3, "iccprofile": ICC, "description": "8 µm".encode()}
    picture = read(
        save_tiff(tmp_path / "a.tif", a, byteorder=byteorder, **options, extratags=[(315, "s", 0, "me", True)])
    )
    for pixels, note in ((picture.pixels, "8 µm"), (torch.rand(2, 3, 12, 16), "")):
        write(tmp_path / "b.tif", pixels, picture)
        with tifffile.TiffFile(tmp_path / "b.tif") as tif:
            page = tif.pages[0]
            assert page.iccprofile == ICC and page.resolutionunit == 3 and page.tags[315].value == "me"
            np.testing.assert_allclose(page.resolution, (118.11, 100))
            assert page.description == note  # it may speak of the size, so a picture of another size drops it
            assert len(tif.pages) == 2 and tif.pages[1].asarray().shape == (*pixels.shape[2:], 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_density_is_kept(tmp_path, suffix):
    Image.new("RGB", (8, 8)).save(tmp_path / f"a{suffix}", dpi=(300, 150))
    picture = read(tmp_path / f"a{suffix}")
    write(tmp_path / f"b{suffix}", picture.pixels, picture)
    was, now = (np.array(Image.open(tmp_path / f"{name}{suffix}").info["dpi"], float) for name in "ab")
    np.testing.assert_array_equal(now, was)
    np.testing.assert_allclose(now, (300, 150), rtol=1e-4)  # PNG and BMP count whole pixels per metre


def test_a_profile_for_other_colours_is_dropped(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", icc_profile=ICC)
    picture = read(tmp_path / "a.png")
    write(tmp_path / "b.png", picture.pixels[:, :1], picture)
    assert "icc_profile" not in Image.open(tmp_path / "b.png").info


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_pictures_are_upright_and_say_so(tmp_path, suffix, orientation):
    a = np.zeros((16, 32, 3), np.uint8)
    a[:8, :16] = 255, 128, 0
    a[8:, 16:] = 0, 64, 255
    path = tmp_path / f"a{suffix}"
    Image.fromarray(a).save(
        path, exif=exif_block(orientation=orientation), **({"lossless": True} if suffix == ".webp" else {})
    )
    stored = Image.open(path)
    assert stored.getexif()[274] == orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))
    picture = read(path)
    np.testing.assert_array_equal(np.round(channels_last(picture)[0] * 255), expected)
    write(tmp_path / f"b{suffix}", picture.pixels, picture)
    written = Image.open(tmp_path / f"b{suffix}")
    assert written.getexif().get(274, 1) == 1
    assert written.size == expected.shape[1::-1]
    assert facts(tmp_path / f"b{suffix}")[36867] == "2024:05:06 07:08:09"


@pytest.mark.parametrize("cut", [3, 9, 15, 40, 120, 200])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of what we damaged
def test_a_damaged_exif_block_does_not_cost_the_picture(tmp_path, cut):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif_block()[: 6 + cut])
    picture = read(tmp_path / "a.jpg")
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write(tmp_path / f"b{suffix}", picture.pixels, picture)
        assert read(tmp_path / f"b{suffix}").pixels.shape == (1, 3, 8, 8)
    Image.new("RGB", (8, 8)).save(tmp_path / "whole.jpg", exif=exif_block())
    right = facts(tmp_path / "whole.jpg")
    assert all(value in (None, {}, right[tag]) for tag, value in facts(tmp_path / "b.tif").items())


def test_the_thumbnail_of_the_unrestored_picture_is_unlinked(tmp_path):
    """A block of two empty directories, the second of which would hold the thumbnail."""
    block = b"II*\0" + struct.pack("<IHIHI", 8, 0, 14, 0, 0)
    assert exif.upright(block) == (block[:10] + bytes(4) + block[14:], 1)


def test_exif_in_a_tiff_stands_at_even_offsets(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", exif=exif_block())
    picture = read(tmp_path / "a.jpg")
    write(tmp_path / "b.tif", torch.rand(1, 3, 5, 5), picture)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].offset % 2 == 0
        assert not any(tag.valueoffset % 2 for tag in tif.pages[0].tags)


def test_what_one_jpeg_segment_cannot_hold_is_left_out(tmp_path):
    long = Image.Exif()
    long[37510] = b"x" * 70000
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", exif=long.tobytes(), dpi=(100000, 100000))
    picture = read(tmp_path / "a.png")
    assert picture.meta.exif and picture.meta.dpi()
    write(tmp_path / "b.jpg", picture.pixels, picture)
    info = Image.open(tmp_path / "b.jpg").info
    assert "exif" not in info and "dpi" not in info  # Pillow would write 100000 modulo 65536


def test_centimetres_become_inches(tmp_path):
    path = save_tiff(tmp_path / "a.tif", samples("uint8", 1, 6, 8, 3), resolution=(100, 200), resolutionunit=3)
    write(tmp_path / "b.png", read(path).pixels, read(path))
    np.testing.assert_allclose(Image.open(tmp_path / "b.png").info["dpi"], (254, 508), rtol=1e-5)


# --- refusals


def made(path: Path) -> Path:
    """A small picture in the format of `path`, with something in every part of the file."""
    write(path, torch.rand(2 if path.suffix == ".tif" else 1, 3, 16, 12))
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".npy"])
def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path, suffix):
    path = made(tmp_path / f"a{suffix}")
    data = path.read_bytes()
    read(path)
    padding = {".bmp": 0, ".tif": 4}.get(suffix, 0)
    for end in range(0, len(data) - padding, 7 if len(data) < 2000 else 41):
        path.write_bytes(data[:end])
        with pytest.raises(PictureError) as error:
            read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_truncated_sixteen_bit_png_is_refused(tmp_path):
    path = save_png(tmp_path / "a.png", samples("uint16", 9, 8, 3))
    data = path.read_bytes()
    for end in (*range(1, 40), len(data) - 13, len(data) - 5, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(PictureError):
            read(path)


def test_a_flipped_bit_in_a_png_is_refused(tmp_path):
    path = made(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(PictureError, match="damaged"):
        read(path)


def test_a_multipage_tiff_that_lost_its_last_page_is_refused(tmp_path):
    """tifffile itself returns the pages before the cut."""
    path = save_tiff(tmp_path / "a.tif", samples("uint8", 3, 32, 32, 1))
    path.write_bytes(path.read_bytes()[:2000])
    with tifffile.TiffFile(path) as tif:
        assert tif.pages[0].asarray().shape == (32, 32)  # the planted fault
    with pytest.raises(PictureError, match="truncated"):
        read(path)


def test_a_tiff_with_jpeg_strips_is_refused_when_the_last_is_cut(tmp_path):
    """libjpeg itself fills up what is missing."""
    smooth = np.add.outer(np.arange(100), np.arange(100)).astype(np.uint8)
    path = save_tiff(tmp_path / "a.tif", smooth[None, ..., None], rowsperstrip=8, compression="jpeg")
    read(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert tifffile.imread(path).shape == (100, 100)  # the planted fault
    with pytest.raises(PictureError, match="truncated"):
        read(path)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_nan_and_infinity_are_counted(tmp_path, suffix):
    a = np.zeros((8, 9), np.float32)
    a[0, :2], a[3, 3] = np.nan, np.inf
    np.save(tmp_path / "a.npy", a)
    tifffile.imwrite(tmp_path / "a.tif", a)
    with pytest.raises(PictureError, match="has 3 values that are NaN or infinite"):
        read(tmp_path / f"a{suffix}")
    with pytest.raises(ValueError, match="has 3 values"):
        write(tmp_path / "b.png", torch.from_numpy(a)[None])
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize(
    "array, says",
    [
        (np.zeros((0, 4)), "empty"),
        (np.zeros((4, 0, 3)), "empty"),
        (np.zeros((4, 4), np.complex64), "complex64"),
        (np.zeros(16), "shape"),
        (np.array([[None]]), "[Oo]bject"),
        (np.full((4, 4), 1e300), "16 values"),
    ],
)
def test_arrays_that_are_no_picture_are_refused(tmp_path, array, says):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(PictureError, match=says):
        read(tmp_path / "a.npy")


class Trap:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_an_npy_file_runs_no_code(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[Trap(tmp_path / "sprung")]], object), allow_pickle=True)
    for reader in (read, pictures.read_array):
        with pytest.raises(PictureError, match="Object arrays"):
            reader(tmp_path / "a.npy")
    assert not (tmp_path / "sprung").exists()
    np.load(tmp_path / "a.npy", allow_pickle=True)
    assert (tmp_path / "sprung").exists()  # the planted fault


def test_what_is_no_picture_is_refused_in_one_line(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "text.tif").write_text("not a picture")
    (tmp_path / "text.npy").write_text("not a picture")
    (tmp_path / "a.gif").write_bytes(b"GIF89a")
    (tmp_path / "a.xcf").write_bytes(b"gimp xcf")
    (tmp_path / "folder.png").mkdir()
    Image.new("LAB", (8, 8)).save(tmp_path / "lab.tif")
    with tifffile.TiffWriter(tmp_path / "sizes.tif") as tif:
        tif.write(np.zeros((4, 4), np.uint8))
        tif.write(np.zeros((4, 5), np.uint8))
    cases = {
        "nowhere.png": "no such file",
        "empty.png": "empty",
        "text.png": "not a PNG",
        "text.tif": "not a TIFF",
        "text.npy": "magic",
        "a.gif": "not a PNG",
        "a.xcf": "Known: .png",
        "folder.png": "not a file",
        "lab.tif": "CIELAB",
        "sizes.tif": "differ",
    }
    for name, says in cases.items():
        with pytest.raises(PictureError, match=says) as error:
            read(tmp_path / name)
        assert name in str(error.value) and "\n" not in str(error.value)


def test_a_wrong_suffix_does_not_hide_the_format(tmp_path):
    a = samples("uint16", 5, 6, 3)
    picture = read(save_png(tmp_path / "a.jpg", a))
    assert picture.format == "PNG" and picture.dtype == "uint16"


def test_thumbnails_in_a_tiff_are_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(np.zeros((16, 16), np.uint8), metadata=None)
        tif.write(np.zeros((4, 4), np.uint8), metadata=None, subfiletype=1)
    assert read(tmp_path / "a.tif").pixels.shape == (1, 1, 16, 16)


def test_several_pages_need_a_format_that_holds_them(tmp_path):
    with pytest.raises(PictureError, match="holds one picture, got 2"):
        write(tmp_path / "a.png", torch.rand(2, 3, 4, 4))
    with pytest.raises(PictureError, match="2 channels"):
        write(tmp_path / "a.png", torch.rand(2, 4, 4))


# --- arrays that are no pictures


@pytest.mark.parametrize("shape", [(9,), (3, 4), (2, 3, 5, 7)])
def test_read_array_keeps_shape_and_values(tmp_path, shape):
    a = RNG.normal(0, 100, shape)
    np.save(tmp_path / "y.npy", a)
    torch.testing.assert_close(pictures.read_array(tmp_path / "y.npy"), torch.from_numpy(a).float(), atol=0, rtol=0)
    np.save(tmp_path / "y.npy", np.full(shape, 7, np.int16))
    assert (pictures.read_array(tmp_path / "y.npy") == 7).all()
    assert pictures.read_array(made(tmp_path / "a.png")).shape == (1, 3, 16, 12)


@pytest.mark.parametrize(
    "array", [np.zeros(0), np.zeros((1, 1, 1, 1, 1)), np.zeros(3, complex), np.array([1.0, np.nan])]
)
def test_read_array_refuses_what_it_cannot_hold(tmp_path, array):
    np.save(tmp_path / "y.npy", array)
    with pytest.raises(PictureError):
        pictures.read_array(tmp_path / "y.npy")


# --- nothing half-written


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = made(tmp_path / "a.png")
    before = path.read_bytes()

    def half(file, *_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "encode", half)
    with pytest.raises(PictureError, match=r"a\.png: No space left on device"):
        write(path, torch.rand(3, 4, 4))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_whoever_reads_the_old_file_reads_it_to_the_end(tmp_path):
    path = made(tmp_path / "a.png")
    before = path.read_bytes()
    with path.open("rb") as old:
        made(path)
        assert old.read() == before != path.read_bytes()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_interrupted_atomic_write_leaves_nothing(tmp_path, kind):
    with pytest.raises(kind), pictures.atomic(tmp_path / "a.json") as file:
        file.write(b"half")
        assert len(os.listdir(tmp_path)) == 1 and not (tmp_path / "a.json").exists()
        raise kind
    assert os.listdir(tmp_path) == []


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    assert made(tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("folder", ["missing", "file", "/proc"])
def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(PictureError, match="cannot write"):
        write(tmp_path / folder / "a.png", torch.rand(3, 4, 4))
    if folder != "/proc":  # which the administrator may write by its rights
        with pytest.raises(PictureError, match="no folder"):
            pictures.check_output(tmp_path / folder / "a.png")


def test_an_output_that_is_the_input_is_refused(tmp_path, monkeypatch):
    source = made(tmp_path / "a.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.png").symlink_to(source)
    (tmp_path / "hard.png").hardlink_to(source)
    monkeypatch.chdir(tmp_path)
    for output in (source, "a.png", "./sub/../a.png", "link.png", "hard.png"):
        with pytest.raises(PictureError, match="would overwrite the input"):
            pictures.check_output(output, [made(tmp_path / "other.png"), source])
    made(tmp_path / "old.png")
    for output in ("new.png", "old.png", pictures.default_output(source)):  # the planted fault: refusing everything
        assert pictures.check_output(output, [source]) == Path(output)
    for output in ("sub", "a", "a.gif"):
        with pytest.raises(PictureError):
            pictures.check_output(output, [source])


def test_default_output_stands_beside_the_input():
    assert pictures.default_output("in/photo.v2.PNG") == Path("in/photo.v2-restored.PNG")
    assert pictures.default_output("photo.tif", "-x4") == Path("photo-x4.tif")


# --- inputs


def test_expand_finds_files_folders_and_globs_once_and_sorted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("d/deep").mkdir(parents=True)
    for name in ("b.png", "a.TIF", "c.npy", ".hidden.png", "notes.txt", "deep/z.jpg"):
        (tmp_path / "d" / name).touch()
    Path("x[1].png").touch()
    everything = ["d/a.TIF", "d/b.png", "d/c.npy"]
    assert list(map(str, pictures.expand(["d"]))) == everything
    assert list(map(str, pictures.expand(["d/*"]))) == everything
    assert list(map(str, pictures.expand(["d/b.png", "./d", "d/*.png", str(tmp_path / "d" / "b.png")]))) == [
        "d/b.png",
        "d/a.TIF",
        "d/c.npy",
    ]
    assert list(map(str, pictures.expand(["d/**/*.jpg"]))) == ["d/deep/z.jpg"]
    assert list(map(str, pictures.expand(["x[1].png"]))) == ["x[1].png"]  # a name is not taken for a pattern


@pytest.mark.parametrize("text", ["nothing.png", "*.png", "empty"])
def test_expand_says_when_nothing_is_found(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with pytest.raises(PictureError, match=r"no picture found at|nothing\.png does not exist"):
        pictures.expand([text])


def test_reading_leaves_no_file_open(tmp_path):
    paths = [made(tmp_path / f"a{suffix}") for suffix in (".png", ".jpg", ".tif", ".npy")]
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for path in paths:
        read(path)
    assert not before or len(os.listdir("/proc/self/fd")) == before


def test_a_phone_jpeg_with_a_preview_is_one_picture(tmp_path):
    one, two = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    buffer = io.BytesIO()
    one.save(buffer, "MPO", save_all=True, append_images=[two])
    (tmp_path / "a.jpg").write_bytes(buffer.getvalue())
    assert Image.open(tmp_path / "a.jpg").format == "MPO"
    picture = read(tmp_path / "a.jpg")
    assert picture.format == "JPEG" and picture.pixels.shape == (1, 3, 16, 16)
