"""Masks: what is known, the exact data step, the first guess, and the recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pnp.operators import dot_test
from pnp.operators.mask import Mask, fill
from pnp.registry import OPERATORS

SHAPE = (3, 7, 9)
SPECS = OPERATORS["mask"].examples
PRECISION = {torch.float32: 1e-5, torch.float64: 1e-10}


def build(spec: str, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Mask:
    return OPERATORS.build(spec, shape=shape, seed=seed)


def images(shape: tuple[int, ...] = SHAPE, batch: int = 2, dtype: torch.dtype = torch.float64, seed: int = 1) -> Tensor:
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("spec", SPECS)
def test_adjoint_passes_the_dot_test_and_a_shifted_one_does_not(spec: str) -> None:
    op = build(spec)
    assert dot_test(op, images()) <= 1e-12
    op.adjoint = lambda y: Mask.adjoint(op, y).roll(1, -1)  # type: ignore[method-assign]
    assert dot_test(op, images()) > 1e-3


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("rho", [0.3, torch.tensor([0.05, 2.0]).view(2, 1, 1, 1)], ids=["number", "each"])
@pytest.mark.parametrize("spec", SPECS)
def test_data_step_equals_the_generic_one(spec: str, rho: float | Tensor, dtype: torch.dtype) -> None:
    op, b = build(spec), images(dtype=dtype)
    rho = rho.to(dtype) if isinstance(rho, Tensor) else rho
    x, generic = op.solve_normal(b, rho), op.solve_normal_report(b, rho).x
    dense = b / (op(torch.ones_like(b)) ** 2 + rho)  # the matrix is diagonal
    assert x.dtype == dtype
    torch.testing.assert_close(x, generic, rtol=0, atol=PRECISION[dtype] * float(x.abs().max()))
    torch.testing.assert_close(x, dense)


def test_missing_pixels_are_zero_and_known_ones_unchanged() -> None:
    known = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    y = Mask(known)(torch.full((1, 2, 2, 2), 0.7))
    assert y.tolist() == [[[[pytest.approx(0.7), 0], [0, pytest.approx(0.7)]]] * 2]


@pytest.mark.parametrize("spec", SPECS)
def test_a_seed_repeats_the_mask_and_the_callers_image_is_unchanged(spec: str) -> None:
    op, x = build(spec), images()
    before = x.clone()
    torch.testing.assert_close(op.initial(op(x)), build(spec).initial(build(spec)(x)), rtol=0, atol=0)
    assert torch.equal(x, before)


def test_another_seed_gives_another_mask() -> None:
    assert not torch.equal(build("mask").mask, build("mask", seed=1).mask)


def test_random_mask_keeps_the_stated_fraction() -> None:
    shared, own = build("mask:keep=0.25", (3, 20, 20)), build("mask:keep=0.25,per_channel=true", (3, 20, 20))
    assert shared.mask.shape == (1, 20, 20) and shared.mask.sum() == 100
    assert own.mask.shape == (3, 20, 20) and own.mask.sum() == 300
    assert not torch.equal(own.mask[0], own.mask[1])


def test_boxes_and_block_have_the_stated_side() -> None:
    assert (build("mask:kind=boxes,boxes=1,size=3", (1, 20, 30)).mask == 0).sum() == 9
    block = build("mask:kind=block,size=4", (1, 20, 30)).mask
    assert (block == 0).sum() == 16 and (block[:, 8:12, 13:17] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 8), (13, 22)])
def test_first_guess_of_a_flat_image_is_flat(size: tuple[int, int]) -> None:
    op = build("mask:keep=0.2", (1, *size))
    flat = torch.full((1, 3, *size), 0.6, dtype=torch.float64)
    torch.testing.assert_close(op.initial(op(flat)), flat)


def test_first_guess_keeps_known_pixels_and_stays_in_their_range() -> None:
    op, x = build("mask:kind=block,size=30", (1, 50, 41)), images((1, 50, 41))
    guess = op.initial(op(x))
    assert torch.equal(op(guess), op(x))
    assert x.min() <= guess.min() and guess.max() <= x.max()


def test_first_guess_follows_a_ramp_and_zeros_do_not() -> None:
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    op = build("mask:keep=0.5", (1, 64, 64))
    assert (op.initial(op(ramp)) - ramp).abs().mean() < 0.005
    assert (op(ramp) - ramp).abs().mean() > 0.2


def test_a_channel_without_known_pixels_is_left_alone() -> None:
    known = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
    known[:, 0, 0, 0] = 1
    y = torch.ones(1, 2, 4, 4, dtype=torch.float64) * known
    assert fill(y, known)[0, :, 3, 3].tolist() == [1, 0]


def test_gradient_through_forward_is_the_adjoint() -> None:
    op, x = build("mask"), images().requires_grad_(True)
    (op(x) ** 2).sum().backward()
    torch.testing.assert_close(x.grad, 2 * op.normal(x.detach()))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(1, 4, 4), "every pixel"),
        (torch.full((1, 4, 4), 0.5), "other than 0"),
        (torch.ones(4, 4), r"expected \(1, H, W\)"),
        (torch.ones(1, 0, 4), r"expected \(1, H, W\)"),
    ],
)
def test_a_wrong_mask_is_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mask(mask)


def test_wrong_shapes_are_refused() -> None:
    op = build("mask:keep=0.5,per_channel=true")
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 7, 9\); Mask takes \(B, 3, 7, 9\)"):
        op(torch.zeros(1, 1, 7, 9))
    with pytest.raises(ValueError, match=r"y has shape \(1, 3, 7, 8\); Mask makes \(B, 3, 7, 9\)"):
        op.adjoint(torch.zeros(1, 3, 7, 8))


@pytest.mark.parametrize("spec", ["mask:keep=0", "mask:keep=1.5", "mask:kind=boxes,boxes=0", "mask:kind=block,size=8"])
def test_wrong_options_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        build(spec)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".tif"])
def test_a_mask_file_knows_its_white_pixels(suffix: str, tmp_path) -> None:
    known = np.random.default_rng(0).random(SHAPE[1:]) > 0.4
    file = str(tmp_path / f"mask{suffix}")
    save(file, known.astype(np.uint8) * 255)
    assert torch.equal(build(f"mask:{file}").mask, torch.from_numpy(known)[None].float())


def test_a_mask_file_of_truth_values_is_read(tmp_path) -> None:
    known = np.random.default_rng(0).random(SHAPE[1:]) > 0.4
    np.save(tmp_path / "mask.npy", known)
    assert torch.equal(build(f"mask:{tmp_path}/mask.npy").mask, torch.from_numpy(known)[None].float())


def test_a_colour_mask_file_with_equal_channels_is_shared(tmp_path) -> None:
    known = (np.random.default_rng(0).random(SHAPE[1:]) > 0.4).astype(np.uint8) * 255
    save(str(tmp_path / "grey.png"), np.stack([known] * 3, -1))
    save(str(tmp_path / "colour.png"), np.stack([known, 255 - known, known], -1))
    assert build(f"mask:file={tmp_path}/grey.png").mask.shape == (1, 7, 9)
    assert build(f"mask:file={tmp_path}/colour.png").mask.shape == SHAPE
    with pytest.raises(ValueError, match="3 different channels; the picture has 1"):
        build(f"mask:file={tmp_path}/colour.png", (1, 7, 9))


def test_a_mask_file_that_does_not_fit_is_refused(tmp_path) -> None:
    save(str(tmp_path / "black.png"), np.zeros(SHAPE[1:], np.uint8))
    save(str(tmp_path / "small.png"), np.full((5, 9), 255, np.uint8))
    with pytest.raises(ValueError, match="all black"):
        build(f"mask:{tmp_path}/black.png")
    with pytest.raises(ValueError, match=r"1 page\(s\) of 5×9 .* needs one of 7×9"):
        build(f"mask:{tmp_path}/small.png")


def save(file: str, array: np.ndarray) -> None:
    import imageio.v3 as iio

    np.save(file, array) if file.endswith(".npy") else iio.imwrite(file, array)
