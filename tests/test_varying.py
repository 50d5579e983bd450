"""Blur that varies: against loops over pixels, uniform blurs and deepinv; from files; on the command line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from conftest import images
from PIL import Image
from test_cli import pnp, record
from torch import Tensor

from pnp.files import pictures
from pnp.jobs.guard import beyond
from pnp.jobs.job import Job, Parts
from pnp.operators import Blur, Identity, ValidBlur, Varying, dot_test, fields, kernels
from pnp.priors import TV
from pnp.registry import OPERATORS, SpecError
from pnp.samples import photograph
from pnp.testing import check_operator

CASES = [(order, border) for order in ("after", "before") for border in ("valid", "circular")]
UNIFORM: dict[str, Callable[[Tensor], Blur | ValidBlur]] = {"valid": ValidBlur, "circular": Blur}


def drawn(k: Tensor, size: tuple[int, int]) -> Tensor:
    """Random weights; a part of the grid is without the first kernel."""
    w = images(len(k), *size, seed=3)
    w[0, : size[0] // 2, : size[1] // 3] = 0
    return w


def made(order: str, border: str, k: Tensor, size: tuple[int, int]) -> Varying:
    return Varying(k, drawn(k, size), order=order, border=border)


def by_definition(op: Varying, k: Tensor, w: Tensor, x: Tensor) -> Tensor:
    blurs = [UNIFORM[op.border](each) for each in k]
    if op.order == "after":
        return sum(wi * blur(x) for wi, blur in zip(w, blurs, strict=True))
    return sum(blur(wi * x) for wi, blur in zip(w, blurs, strict=True))


@pytest.mark.parametrize("sides", [(5, 4), (7, 7), (1, 6)])
@pytest.mark.parametrize("size", [(23, 31), (130, 61)])
@pytest.mark.parametrize(("order", "border"), CASES)
def test_it_is_the_weighted_sum(order: str, border: str, size: tuple[int, int], sides: tuple[int, int]) -> None:
    k = images(3, *sides, seed=2)
    op, w = made(order, border, k, size), drawn(k, size)
    x = images(2, 2, *op.image_size)
    torch.testing.assert_close(op(x), by_definition(op, k, w, x), rtol=0, atol=1e-12)
    assert dot_test(op, x) < 1e-13


def test_a_wrong_weight_is_noticed() -> None:
    k, size = images(3, 5, 4, seed=2), (70, 31)
    op = made("after", "valid", k, size)
    op.weights[1, 3, 3] += 0.01
    x = images(1, 1, *op.image_size)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(op(x), by_definition(op, k, drawn(k, size), x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("order", "border"), CASES)
def test_it_keeps_the_contract(order: str, border: str) -> None:
    k = images(3, 4, 5, seed=2) - 0.1  # with negative values
    op = made(order, border, k / k.sum((-2, -1), keepdim=True), (20, 17))
    check_operator(op, (2, *op.image_size), bound=0.5)
    op = made(order, border, images(2, 3, 3, 3, seed=2), (12, 17))  # a kernel for each channel
    check_operator(op, bound=0.5)


def test_a_wrong_adjoint_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    op = made("after", "valid", images(3, 5, 4, seed=2), (20, 17))
    monkeypatch.setattr(type(op), "adjoint", lambda s, y: s._weighted_before(y, turned=False))
    with pytest.raises(AssertionError, match="⟨Ax, y⟩"):
        check_operator(op, (1, *op.image_size))


@pytest.mark.parametrize("border", ["valid", "circular"])
def test_the_orders_are_transposes_of_each_other_for_symmetric_kernels(border: str) -> None:
    k = torch.stack([pad_to(kernels.gaussian(s, 7), 7) for s in (0.7, 1.5)])
    w = images(2, 30, 26, seed=3)
    after, before = (Varying(k, w, order=o, border="circular") for o in ("after", "before"))
    y = images(1, 1, 30, 26)
    torch.testing.assert_close(after.adjoint(y), before(y), rtol=0, atol=1e-12)


def pad_to(k: Tensor, side: int) -> Tensor:
    return torch.nn.functional.pad(k, ((side - k.shape[1]) // 2,) * 2 + ((side - k.shape[0]) // 2,) * 2)


def test_few_kernels_a_pixel_are_named_by_an_index() -> None:
    k, index = images(5, 3, 3, seed=2), torch.randint(5, (2, 70, 31), generator=torch.Generator().manual_seed(0))
    w = images(2, 70, 31, seed=3)
    dense = torch.zeros(5, 70, 31, dtype=w.dtype).scatter_add_(0, index, w)
    op, x = Varying(k, w, index=index), images(1, 1, 72, 33)
    torch.testing.assert_close(op(x), Varying(k, dense)(x), rtol=0, atol=1e-12)


def test_the_norm_is_a_bound_close_to_the_largest_singular_value() -> None:
    op = Varying.motion(fields.rolled((40, 50), 9.0))
    x = images(1, 1, *op.image_size)
    exact = super(Varying, op).norm(x)
    assert exact * (1 - 1e-3) <= op.norm(x) <= 1.1 * exact


def test_another_kernel_is_noticed() -> None:
    k, w, x = images(2, 3, 3, seed=2), images(2, 12, 12, seed=3), images(1, 1, 14, 14)
    op = Varying(k, w)
    before = op(x)
    op.kernels.mul_(2)
    torch.testing.assert_close(op(x), 2 * before)


# Motion, disks, PSFs


@pytest.mark.parametrize(("order", "border"), CASES)
def test_a_constant_field_is_a_uniform_blur(order: str, border: str) -> None:
    dx, dy = 5.3, -2.6
    field = torch.tensor([dx, dy], dtype=torch.float64).expand(40, 50, 2)
    op = Varying.motion(field, order=order, border=border)
    same = UNIFORM[border](kernels.motion(math.hypot(dx, dy), math.degrees(math.atan2(-dy, dx))))
    x = images(1, 2, *op.image_size)
    assert op.image_size == same.image_shape((2, 40, 50))[1:]
    torch.testing.assert_close(op(x), same(x), rtol=0, atol=1e-12)


def smooth(size: tuple[int, int]) -> Tensor:
    """A picture of broad waves, (h, w)."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in size), indexing="ij")
    return 0.5 + 0.3 * torch.sin(0.5 * rows + 0.2 * columns) + 0.2 * torch.cos(0.7 * columns)


def looped(x: Tensor, field: Tensor, top: int, left: int) -> Tensor:
    """Each pixel the mean of x along its own line, bilinear between the pixels of x: one pixel after another."""
    y = torch.zeros(field.shape[:2], dtype=torch.float64)
    t = (torch.arange(400, dtype=torch.float64) + 0.5) / 400 - 0.5
    for i in range(field.shape[0]):
        for j in range(field.shape[1]):
            dx, dy = field[i, j]
            row, column = i + top - t * dy, j + left - t * dx
            r, c = row.floor().long(), column.floor().long()
            a, b = row - r, column - c
            y[i, j] = ((1 - a) * (1 - b) * x[r, c] + a * (1 - b) * x[r + 1, c] + (1 - a) * b * x[r, c + 1]
                       + a * b * x[r + 1, c + 1]).mean()  # fmt: skip
    return y


def turning(size: tuple[int, int]) -> Tensor:
    return fields.rolled(size, 8.0) + torch.tensor([1.5, 0.5], dtype=torch.float64)


def test_motion_is_what_a_loop_over_pixels_makes() -> None:
    field = turning((30, 34))
    op = Varying.motion(field)
    x = smooth(op.image_size)
    (top, _), (left, _) = op.margins
    gap = op(x[None, None])[0, 0] - looped(x, field, top, left)
    assert float(gap.abs().max()) < 4e-3 and float(gap.square().mean().sqrt()) < 1e-3
    mirrored = Varying.motion(field * torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert float((mirrored(x[None, None])[0, 0] - looped(x, field, top, left)).abs().max()) > 0.05


def test_a_field_of_few_values_is_exact() -> None:
    field = turning((12, 13)).round()
    op = Varying.motion(field)
    x = smooth(op.image_size)
    (top, _), (left, _) = op.margins
    torch.testing.assert_close(op(x[None, None])[0, 0], looped(x, field, top, left), rtol=0, atol=2e-4)


def test_memory_is_bounded_for_any_field() -> None:
    generator = torch.Generator().manual_seed(0)
    bank = fields.of_motion(200 * torch.rand(40, 40, 2, generator=generator) - 100)
    assert len(bank.kernels) <= fields.MOTIONS
    torch.testing.assert_close(bank.weights.sum(0), torch.ones(40, 40, dtype=torch.float64))


def test_disks_are_the_disks_of_their_radii() -> None:
    radius = torch.full((40, 40), 2.5, dtype=torch.float64)
    op, x = Varying.disks(radius), images(1, 1, 44, 44)
    torch.testing.assert_close(op(x), ValidBlur(kernels.disk(2.5))(x), rtol=0, atol=1e-12)
    radius = torch.linspace(0, 3, 1600, dtype=torch.float64).view(40, 40)
    op = Varying.disks(radius)
    x = images(1, 1, *op.image_size)
    torch.testing.assert_close(op(x)[0, 0, 0, 0], op.visible(x)[0, 0, 0, 0])  # radius 0 is sharp
    widest = ValidBlur(kernels.disk(3.0))(x)
    torch.testing.assert_close(op(x)[0, 0, -1, -1], widest[0, 0, -1, -1])


@pytest.mark.parametrize("shares", [False, True])
def test_a_grid_of_psfs_is_bilinear(shares: bool) -> None:
    psfs = torch.stack([pad_to(kernels.gaussian(0.5 + 0.3 * i, 9), 9) for i in range(6)])
    at = torch.tensor([(r, c) for r in (0.0, 20.0) for c in (0.0, 15.0, 30.0)], dtype=torch.float64)
    order = torch.tensor([3, 1, 5, 0, 2, 4])  # in any order
    given = at / torch.tensor([20.0, 30.0]) if shares else at
    op = Varying.grid(3 * psfs[order], given[order], (21, 31))
    x = images(1, 1, *op.image_size)
    parts = [ValidBlur(k)(x)[0, 0] for k in psfs]
    y = op(x)[0, 0]
    torch.testing.assert_close(y[0, 15], parts[1][0, 15])
    torch.testing.assert_close(y[20, 30], parts[5][20, 30])
    torch.testing.assert_close(y[10, 5], ((2 * parts[0] + parts[1] + 2 * parts[3] + parts[4]) / 6)[10, 5])


@pytest.mark.parametrize("many", [3, 20])
def test_scattered_psfs_weigh_one_and_are_whole_at_their_places(many: int) -> None:
    generator = torch.Generator().manual_seed(0)
    lattice = torch.cartesian_prod(torch.arange(4, 40, 8), torch.arange(3, 30, 8))  # (20, 2), apart from each other
    at = (lattice + torch.randint(-2, 3, (20, 2), generator=generator))[:many].double()
    bank = fields.of_grid(images(many, 3, 3), at, (40, 30))
    torch.testing.assert_close(bank.weights.sum(0), torch.ones(40, 30, dtype=torch.float64))
    assert float(bank.weights.min()) >= 0
    for i, (r, c) in enumerate(at.long().tolist()):
        own = bank.weights[:, r, c][bank.which[:, r, c] == i].sum()
        assert float(own) > 1 - 1e-6
    steps = torch.zeros(many, 40, 30, dtype=torch.float64).scatter_add_(0, bank.which, bank.weights).diff(dim=-1)
    assert float(steps.abs().max()) < 0.6  # no jumps


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "field": (lambda: Varying.motion(torch.zeros(5, 5)), r"field has shape \(5, 5\); expected \(h, w, 2\)"),
    "NaN": (lambda: Varying.motion(torch.full((5, 5, 2), math.nan)), "50 values that are NaN"),
    "radius": (lambda: Varying.disks(-torch.ones(5, 5)), "goes down to -1; a radius is 0 or more"),
    "positions": (lambda: Varying.grid(images(3, 3, 3), images(2, 2), (9, 9)), r"expected \(3, 2\)"),
    "twice": (lambda: Varying.grid(images(2, 3, 3), torch.ones(2, 2), (9, 9)), "one place twice"),
    "dark": (lambda: Varying.grid(torch.zeros(2, 3, 3), images(2, 2), (9, 9)), "PSF 0 has a sum of 0"),
    "weights": (lambda: Varying(images(3, 3, 3), images(2, 9, 9)), r"expected \(3, H, W\)"),
    "index": (lambda: Varying(images(3, 3, 3), images(1, 9, 9), index=torch.full((1, 9, 9), 3)), "there are 3 kernels"),
    "order": (lambda: Varying(images(3, 3, 3), images(3, 9, 9), order="later"), "expected after or before"),
    "border": (lambda: Varying(images(3, 3, 3), images(3, 9, 9), border="zero"), "expected valid or circular"),
    "size": (lambda: Varying(images(3, 3, 3), images(3, 9, 9))(images(1, 1, 9, 9)), r"takes \(B, C, 11, 11\)"),
    "nothing": (lambda: Varying(images(3, 3, 3), torch.zeros(3, 9, 9)), "every weight is 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_belong_together_is_refused(name: str) -> None:
    make, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        make()


# deepinv


@pytest.mark.parametrize(("order", "border"), CASES)
def test_deepinv_gives_the_same(order: str, border: str) -> None:
    deepinv = pytest.importorskip("deepinv")
    k, size = images(3, 5, 5, seed=2), (20, 26)
    op = made(order, border, k, size)
    peer = deepinv.physics.SpaceVaryingBlur(
        k[None, None], drawn(k, size)[None, None], padding=border, mask_first=order == "before"
    )
    x = images(1, 1, *op.image_size)
    y = op(x)
    torch.testing.assert_close(y, peer.A(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(op.adjoint(y), peer.A_adjoint(y), rtol=0, atol=1e-11)


# Files


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A picture blurred by a turning camera, with fields, maps and PSFs of its size."""
    monkeypatch.chdir(tmp_path)
    clean = photograph("astronaut")[..., 100:172, 190:270].double()
    field = fields.rolled((66, 74), 6.0)
    field = field + torch.tensor([1.0, 0.5], dtype=torch.float64)
    op = Varying.motion(field)
    (h, w), part = op.image_size, op(clean[..., : op.image_size[0], : op.image_size[1]])
    assert (h, w) <= (72, 80)
    pictures.write("photo.png", part.float())
    pictures.write("clean.png", clean.float())
    np.save("field.npy", field.numpy())
    length, angle = field.norm(dim=-1), torch.rad2deg(torch.atan2(-field[..., 1], field[..., 0]))
    np.save("polar.npy", torch.stack([length, angle], -1).numpy())
    scipy.io.savemat("field.mat", {"mfmap": torch.stack([length, 90 - angle], -1).numpy(), "other": np.ones((3, 3))})
    np.save("radius.npy", np.full((66, 74), 1.5))
    Image.fromarray(np.tile(np.linspace(0, 255, 74).astype(np.uint8), (66, 1))).save("radius.png")
    at = np.array([(r, c) for r in (0, 65) for c in (0, 73)])
    np.savez("psfs.npz", psfs=np.stack([kernels.gaussian(s, 7).numpy() for s in (0.6, 0.8, 1, 1.2)]), positions=at)
    return tmp_path


def test_the_forms_of_a_field_are_one(folder: Path) -> None:
    context = {"shape": (1, 66, 74), "measured": True, "border": "valid"}
    x = images(1, 1, *OPERATORS.build("varying:field.npy", **context).image_size)
    ways = ("field.npy", "polar.npy,form=polar", "field.mat,form=bearing")
    a, b, c = (OPERATORS.build(f"varying:motion={way}", **context)(x) for way in ways)
    assert float((a - b).abs().max()) < 1e-9 and float((a - c).abs().max()) < 1e-9


@pytest.mark.parametrize(
    "spec", ["motion=field.npy", "motion=field.mat,form=bearing,order=before", "radius=radius.npy",
             "radius=radius.png,most=2", "psfs=psfs.npz"],
)  # fmt: skip
def test_each_kind_of_file_restores_a_picture(folder: Path, spec: str) -> None:
    arguments = ("solve", "photo.png", "--op", f"varying:{spec}", "--prior", "tv", "--lam", "20")
    assert pnp(*arguments, "--iterations", "5") == 0
    assert pictures.read("photo-restored.png").pixels.shape == (1, 3, 66, 74)


def test_the_right_field_restores_the_picture(folder: Path) -> None:
    op = OPERATORS.build("varying:field.npy", shape=(3, 66, 74), measured=True, border="valid")
    clean = pictures.read("clean.png").pixels[..., : op.image_size[0], : op.image_size[1]]
    pictures.write("truth.png", op.visible(clean))
    arguments = ("solve", "photo.png", "--op", "varying:field.npy", "--prior", "unet", "--truth", "truth.png")
    assert pnp(*arguments, "--light", "srgb") == 0
    scores = record()["metrics"]
    assert scores["psnr"][0] > scores["psnr_initial"][0] + 4


def test_how_far_a_result_may_lie_beyond_goes_by_how_much_was_changed() -> None:
    y = (0.2 + 0.2 * images(1, 1, 40, 40)).float()
    job, parts = Job("identity", "tv", range=(0.0, 255.0)), Parts(Identity(), y, TV(), None, None)
    rows = torch.zeros_like(y)
    rows[..., :1, :] = 1
    above = rows * (1 + 10 / 255 - y)  # the first row is beyond white: 1.6 of 255 on average, a change of 30
    assert bool(beyond(job, parts, y + 2 * above, y).all())
    assert not bool(beyond(job, parts, y + above + (1 - rows) * 0.3, y).any())
    assert bool(beyond(job, parts, y + 4 * above + (1 - rows) * 0.3, y).all())


BAD: dict[str, tuple[np.ndarray | None, str, str]] = {
    "small.npy": (np.ones((9, 9, 2)), "motion=small.npy", "is 9×9; the picture is 66×74"),
    "flat.npy": (np.ones((66, 74)), "motion=flat.npy", "expected a field of motions (h, w, 2); it has none"),
    "nan.npy": (np.full((66, 74, 2), np.nan), "motion=nan.npy", "values that are NaN"),
    "negative.npy": (-np.ones((66, 74)), "radius=negative.npy", "a radius is 0 or more"),
    "short.npy": (-np.ones((66, 74, 2)), "motion=short.npy,form=polar", "With form=xy"),
    "missing.npy": (None, "motion=missing.npy", "missing.npy does not exist"),
    "missing.png": (None, "radius=missing.png", "missing.png does not exist"),
    "field.npy": (None, "psfs=field.npy", "has no psfs and no positions"),
    "radius.png": (None, "radius=radius.png", "most="),
    "photo.png": (None, "motion=photo.png", "expected one of .npy, .npz, .mat"),
    "clean.png": (None, "radius=photo.png", "not one grey picture"),
    "long.npy": (np.full((66, 74, 2), 90.0), "motion=long.npy", "larger than the picture"),
    "two": (None, "motion=field.npy,radius=radius.npy", "one file"),
    "none": (None, "length=4", "how the blur varies over this picture is not known"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_file_is_one_line(folder: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    array, spec, said = BAD[name]
    if array is not None:
        np.save(name, array)
    assert pnp("solve", "photo.png", "--op", f"varying:{spec}", "--prior", "tv", "--iterations", "2") == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0]
    assert not Path("photo-restored.png").exists()


@pytest.mark.parametrize("spec", ["", ":order=before", ":border=valid", ":order=before,border=valid"])
def test_a_simulation_needs_no_file(folder: Path, spec: str) -> None:
    arguments = ("solve", "clean.png", "--simulate", "--op", f"varying{spec}", "--prior", "tv", "--lam", "20")
    assert pnp(*arguments, "--iterations", "8") == 0
    scores = record("clean-restored-report")["metrics"]
    assert scores["psnr"][0] > scores["psnr_initial"][0] + 0.5


def test_an_option_that_is_none_is_refused() -> None:
    with pytest.raises(SpecError, match="unknown option"):
        OPERATORS.build("varying:field=field.npy", shape=(1, 66, 74))
