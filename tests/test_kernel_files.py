"""Kernel files as instruments write them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from PIL import Image
from torch import Tensor

import pnp
from pnp.jobs.job import Job, build
from pnp.operators import ValidBlur, kernel_mending, kernels
from pnp.registry import OPERATORS, SpecError
from pnp.samples import photograph

PEAK = 3000


def placed(kernel: Tensor, side: int = 41, at: tuple[int, int] | None = None) -> np.ndarray:
    """The counts of a point of PEAK, in a dark frame, the kernel's middle at `at`."""
    k = kernel.numpy() / float(kernel.max()) * PEAK
    out = np.zeros((side, side))
    top, left = (c - n // 2 for c, n in zip(at or (side // 2, side // 2), k.shape, strict=True))
    out[top : top + k.shape[0], left : left + k.shape[1]] = k
    return out


def counted(k: np.ndarray, pedestal: float = 100, seed: int = 0) -> np.ndarray:
    """With a camera's offset, and shot noise on all of it."""
    return np.random.default_rng(seed).poisson(k + pedestal).astype(np.uint16)


def saved(path: Path, array: np.ndarray) -> str:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 and array.shape[2] == 3 else "minisblack")
    return str(path)


def read(file: str, **options) -> tuple[Tensor, str]:
    """The kernel, and what was said of it."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        kernel = kernels.from_file(file, **options)
    assert len(notes) <= 1
    return kernel, str(notes[0].message) if notes else ""


def gap(kernel: Tensor, expected: Tensor) -> float:
    """The sum of absolute differences, both about their middle pixel: 0 for the same, 2 for disjoint ones."""
    size = [max(a, b) for a, b in zip(kernel.shape[-2:], expected.shape[-2:], strict=True)]
    both = []
    for k in (kernel, expected):
        canvas = torch.zeros(k.shape[:-2] + tuple(size), dtype=torch.float64)
        top, left = (n // 2 - m // 2 for n, m in zip(size, k.shape[-2:], strict=True))
        canvas[..., top : top + k.shape[-2], left : left + k.shape[-1]] = k
        both.append(canvas)
    return float((both[0] - both[1]).abs().sum())


def moffat(side: int) -> Tensor:
    r = torch.arange(side, dtype=torch.float64) - side // 2
    k = (1 + (r[:, None] ** 2 + r**2) / 16) ** -2.5
    return k / k.sum()


SHAPES = {"gaussian": kernels.gaussian(2.0), "disk": kernels.disk(4.0), "motion": kernels.motion(11, 35.0)}
assert SHAPES
each_shape = pytest.mark.parametrize("shape", [*SHAPES])


@each_shape
def test_a_camera_offset_is_subtracted_and_leaves_no_noisy_floor(shape: str, tmp_path: Path) -> None:
    clean = SHAPES[shape]
    stored = counted(placed(clean))
    kernel, said = read(saved(tmp_path / "psf.tif", stored))
    assert "a background of " in said and "subtracted" in said
    assert gap(kernel, clean) < 0.1
    assert gap(torch.from_numpy(stored / stored.sum()), clean) > 0.8  # planted: not subtracted
    assert max(kernel.shape) <= max(clean.shape) + 6
    level = float(said.partition("background of ")[2].partition(" ")[0])
    assert level == pytest.approx(100, abs=3)


def test_noise_around_zero_leaves_no_floor(tmp_path: Path) -> None:
    stored = counted(placed(SHAPES["gaussian"])).astype(np.float32) - 100  # darks were subtracted before
    kernel, _ = read(saved(tmp_path / "psf.tif", stored))
    assert gap(kernel, SHAPES["gaussian"]) < 0.1 and float(kernel.min()) == 0


UNTOUCHED = {
    "a gaussian cut at two stds": kernels.gaussian(3.0, 13),
    "a gaussian": kernels.gaussian(1.6, 25),
    "a long tail": moffat(15),
    "a disk that fills its window": kernels.disk(5.0),
    "a box": kernels.box(9),
    "a path": kernels.shake(15.0, seed=0),
    "another path": kernels.shake(21.0, seed=3),
    "a straight motion": kernels.motion(15.0, 30.0),
    "a path in a frame": torch.nn.functional.pad(kernels.shake(9.0, seed=1), (5, 5, 5, 5)),
}
assert UNTOUCHED


@pytest.mark.parametrize("name", [*UNTOUCHED])
def test_a_kernel_that_is_one_already_is_left_bit_for_bit(name: str, tmp_path: Path) -> None:
    expected = UNTOUCHED[name].contiguous()
    kernel, said = read(saved(tmp_path / "psf.npy", expected.numpy()))
    assert said == ""
    assert kernel.equal(expected / expected.sum())


def test_noise_does_not_make_a_background_of_a_real_rim(tmp_path: Path) -> None:
    k = kernels.gaussian(3.0, 13).numpy()
    noisy = k / k.max() + 0.01 * np.random.default_rng(0).standard_normal(k.shape)
    assert kernel_mending.background(noisy) == (0, 0)


@each_shape
def test_a_kernel_off_the_middle_is_moved_there_and_said(shape: str, tmp_path: Path) -> None:
    clean = SHAPES[shape]
    file = saved(tmp_path / "psf.tif", placed(clean, 41, (17, 25)).round().astype(np.uint16))
    kernel, said = read(file)
    assert "moved +3 rows and -5 columns" in said and "centre=false" in said
    assert gap(kernel, clean) < 0.01
    left, said = read(file, centre=False)
    assert said == "" and gap(left, clean) > 0.5


def fine_gaussian(side: int, row: float, column: float) -> np.ndarray:
    r = np.arange(side)
    return np.exp(-((r[:, None] - row) ** 2 + (r - column) ** 2) / 8)


@pytest.mark.parametrize(("side", "row", "column"), [(20, 9.5, 9.5), (25, 12.4, 11.7), (30, 11.25, 16.5)])
def test_a_centre_between_pixels_becomes_a_pixel(side: int, row: float, column: float, tmp_path: Path) -> None:
    """Planted: the same array, where pixel side // 2 is taken as the centre."""
    stored = (fine_gaussian(side, row, column) * PEAK).round().astype(np.uint16)
    kernel, said = read(saved(tmp_path / "psf.tif", stored))
    assert "to its centroid" in said and all(n % 2 for n in kernel.shape)
    assert gap(kernel, SHAPES["gaussian"]) < 0.02
    assert gap(torch.from_numpy(stored / stored.sum()), SHAPES["gaussian"]) > 0.05


@pytest.mark.parametrize("pedestal", [0, 100])
@pytest.mark.parametrize("side", [31, 32])
def test_a_forgotten_fftshift_is_mended_and_said(side: int, pedestal: int, tmp_path: Path) -> None:
    clean = SHAPES["gaussian"]
    stored = np.roll(placed(clean, side), (-(side // 2), -(side // 2)), (0, 1))
    stored = counted(stored, pedestal) if pedestal else stored.round().astype(np.uint16)
    assert stored[0, 0] == stored.max() or pedestal
    kernel, said = read(saved(tmp_path / "psf.tif", stored))
    assert "fftshift" in said
    assert gap(kernel, clean) < 0.1


@pytest.mark.parametrize("side", [257, 513])
def test_a_file_that_is_larger_than_the_picture_works(side: int, tmp_path: Path) -> None:
    file = saved(tmp_path / "psf.tif", placed(SHAPES["gaussian"], side).round().astype(np.uint16))
    operator = OPERATORS.build(f"blur:kernel={file}", shape=(1, 60, 70), measured=True, border="valid", seed=0)
    assert operator.image_shape((1, 60, 70)) == (1, 76, 86)


def test_a_wide_tail_is_cut_to_fit_and_said(tmp_path: Path) -> None:
    file = saved(tmp_path / "psf.npy", fine_gaussian(201, 100, 100) ** 0.05)
    kernel, said = read(file, shape=(1, 100, 100))
    assert max(kernel.shape) <= 100 and "cut off to fit the picture" in said
    assert read(file)[0].shape == (201, 201)


def test_a_stack_of_planes_asks_for_one_and_names_the_sharpest(tmp_path: Path) -> None:
    stack = np.stack([counted(placed(kernels.gaussian(1.5 + abs(i - 2)), 31)) for i in range(5)])
    for suffix in (".tif", ".npy"):
        file = saved(tmp_path / f"psf{suffix}", stack)
        with pytest.raises(ValueError, match=r"5 planes; choose one with index=0 to index=4. The sharpest is index=2"):
            kernels.from_file(file)
        assert gap(read(file, index=2)[0], kernels.gaussian(1.5)) < 0.1
        with pytest.raises(ValueError, match="index=5 is not"):
            kernels.from_file(file, 5)


def colour_file(folder: Path) -> str:
    planes = [placed(kernels.gaussian(std), 25).round().astype(np.uint16) for std in (1.0, 1.5, 2.0)]
    return saved(folder / "rgb.tif", np.stack(planes, -1))


def test_a_colour_file_is_a_kernel_for_each_channel(tmp_path: Path) -> None:
    kernel, said = read(colour_file(tmp_path), shape=(3, 60, 60))
    assert kernel.shape == (3, 25, 25) and said == ""
    for channel, std in zip(kernel, (1.0, 1.5, 2.0), strict=True):
        assert gap(channel, kernels.gaussian(std)) < 0.01
        assert float(channel.sum()) == pytest.approx(1)


def test_a_grey_picture_takes_the_mean_of_a_colour_file_and_grey_colours_are_one_kernel(tmp_path: Path) -> None:
    kernel, said = read(colour_file(tmp_path), shape=(1, 60, 60))
    assert kernel.ndim == 2 and "mean" in said
    grey = np.repeat(placed(SHAPES["gaussian"])[..., None], 3, 2).round().astype(np.uint16)
    kernel, said = read(saved(tmp_path / "grey.tif", grey), shape=(3, 60, 60))
    assert kernel.ndim == 2 and said == ""


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_kernel_is_turned(turn: int, tmp_path: Path) -> None:
    k = kernels.shake(15.0, seed=0)
    file = saved(tmp_path / "k.npy", k.numpy())
    torch.testing.assert_close(read(file, turn=turn)[0], torch.rot90(k, turn // 90))
    with pytest.raises(ValueError, match="turn is 45; expected 0, 90, 180 or 270"):
        kernels.from_file(file, turn=45)


@pytest.mark.parametrize("scale", [0.25, 0.5, 0.7, 1.5, 2.0])
def test_a_resampled_kernel_keeps_its_centre_and_scales_its_variance(scale: float, tmp_path: Path) -> None:
    file = saved(tmp_path / "k.npy", kernels.gaussian(4.0).numpy())
    kernel, said = read(file, scale=scale)
    at = torch.arange(len(kernel), dtype=torch.float64) - len(kernel) // 2
    rows = kernel.sum(1)
    assert said == "" and float(kernel.sum()) == pytest.approx(1)
    assert float((rows * at).sum()) == pytest.approx(0, abs=1e-9)
    assert float((rows * at**2).sum()) == pytest.approx(16 * scale**2 + max(0, 1 - scale**2) / 12, rel=2e-3)


def test_halving_a_kernel_is_close_to_the_mean_over_two_by_two_pixels(tmp_path: Path) -> None:
    fine = fine_gaussian(40, 19.5, 19.5) ** 0.25  # std 4
    kernel, _ = read(saved(tmp_path / "k.npy", fine), scale=0.5)
    blocks = fine.reshape(20, 2, 20, 2).sum((1, 3))
    blocks = torch.from_numpy(kernel_mending.resampled(blocks[None], (9.5, 9.5))[0])
    assert gap(kernel, blocks / blocks.sum()) < 0.02


@pytest.mark.parametrize(("array", "news"), [
    (placed(SHAPES["gaussian"]).round().astype(np.uint16), False),
    ((kernels.box(9) * 81).numpy().astype(np.uint8), False),
    (placed(SHAPES["gaussian"]), False),  # counts, as floats
    (0.9 * SHAPES["gaussian"].numpy(), True),
])  # fmt: skip
def test_a_sum_is_news_where_it_looks_as_if_it_were_to_be_one(array: np.ndarray, news: bool, tmp_path: Path) -> None:
    _, said = read(saved(tmp_path / "k.npy", array))
    assert ("sums to 0.9. It was divided by that sum" in said) == news
    assert news or said == ""


def test_small_negative_values_are_clipped_and_said_and_large_ones_refused(tmp_path: Path) -> None:
    k = kernels.gaussian(1.6, 25).numpy().copy()
    k[5, 5] = -0.01
    kernel, said = read(saved(tmp_path / "k.npy", k))
    assert float(kernel.min()) == 0 and "below 0" in said
    k[5, 5] = -0.3
    with pytest.raises(ValueError, match=r"k\.npy is not a kernel: .* negative"):
        kernels.from_file(saved(tmp_path / "k.npy", k))


def test_a_filter_before_a_decimation_keeps_its_lobes_and_its_place(tmp_path: Path) -> None:
    k = kernels.cubic(factor=2)
    assert float(k.min()) < 0
    kernel, said = read(saved(tmp_path / "k.npy", k.numpy()), factor=2)
    assert said == "" and kernel.equal(k / k.sum())


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee"])
@pytest.mark.parametrize("side", [48, 128])
def test_a_photograph_is_refused_as_a_kernel(name: str, side: int, tmp_path: Path) -> None:
    x = photograph(name)[0].mean(0)
    h, w = x.shape
    x = x[h // 2 - side // 2 : h // 2 + side // 2, w // 2 - side // 2 : w // 2 + side // 2]
    file = saved(tmp_path / "photo.png", (x * 255).byte().numpy())
    with pytest.raises(ValueError, match=r"photo\.png is not a kernel: .*photograph"):
        kernels.from_file(file)


def test_a_mat_file_turns_to_the_convolution_kernel(tmp_path: Path) -> None:
    k = kernels.shake(15.0, seed=2)
    scipy.io.savemat(tmp_path / "im.mat", {"f": k.flip(0, 1).numpy()})
    torch.testing.assert_close(read(str(tmp_path / "im.mat"), turn=180)[0], k)


@pytest.mark.parametrize(("spec", "said"), [
    ("blur", "the kernel that blurred this picture is not known"),
    ("blur:kernel=gaussian", "kernel=gaussian needs its std"),
    ("blur:size=9", "kernel=gaussian needs its std"),
    ("blur:kernel=disk", "kernel=disk needs its radius"),
    ("blur:kernel=box", "kernel=box needs its size"),
    ("blur:kernel=motion,length=5", "kernel=motion needs its angle"),
    ("blur:kernel=shake,length=5", "kernel=shake is drawn at random"),
])  # fmt: skip
def test_a_measured_picture_needs_its_kernel_and_a_simulation_does_not(spec: str, said: str) -> None:
    y = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    with pytest.raises(SpecError, match=f"^{said}.*psf.png.*psf.npy.*std=2"):
        build(Job(spec, "tv"), y)
    build(Job(spec, "tv", simulate=True), y)


@pytest.mark.parametrize("spec", ["blur:std=2", "blur:kernel=disk,radius=2", "blur:kernel=box,size=3",
                                  "blur:kernel=motion,length=5,angle=0"])  # fmt: skip
def test_a_shape_with_its_size_is_a_kernel_of_a_measured_picture(spec: str) -> None:
    build(Job(spec, "tv"), torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0)))


def score(x: Tensor, truth: Tensor) -> float:
    return float(-10 * ((x - truth)[..., 8:-8, 8:-8] ** 2).mean().log10())


def test_a_mended_kernel_restores_as_the_clean_one_does(tmp_path: Path) -> None:
    """Planted: each file with what it needs left undone."""
    clean = SHAPES["gaussian"]
    shapes = (
        counted(placed(clean)),
        placed(clean, 25, (9, 15)).round().astype(np.uint16),
        (fine_gaussian(20, 9.5, 9.5) * PEAK).round().astype(np.uint16),
        np.roll(placed(clean, 31), (16, 16), (0, 1)).round().astype(np.uint16),
    )
    x = photograph("camera")[..., 90:186, 180:276]
    y = ValidBlur(clean)(x)
    y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    truth = x[..., 8:-8, 8:-8]

    def restored(operator: object) -> float:
        return score(pnp.restore(y, operator=operator, prior="tv", sigma=0.01, lam=5.0, iterations=60).picture, truth)

    best = restored(ValidBlur(clean))
    for i, stored in enumerate(shapes):
        with pytest.warns(UserWarning, match="the kernel in"):
            mended = restored(f"blur:kernel={saved(tmp_path / f'{i}.tif', stored)}")
        raw = restored(ValidBlur(torch.from_numpy(stored / stored.sum())))
        assert mended > best - 0.15 and raw < best - 0.5, (i, mended, raw, best)
