"""The contract of every registered operator, against dense matrices, scipy's convolutions and planted faults."""

from __future__ import annotations

import copy
import functools
from math import prod

import numpy as np
import pytest
import scipy.io
import scipy.ndimage
import scipy.signal
import torch
from conftest import images
from PIL import Image
from torch import Tensor

from pnp.core.problem import Problem
from pnp.operators import Blur, Operator, PaddedBlur, ValidBlur, dot_test, kernels
from pnp.priors import Tikhonov
from pnp.registry import OPERATORS, Registry, SpecError

Shape = tuple[int, int, int]
SPECS = [spec for name in OPERATORS for spec in OPERATORS[name].examples]
SHAPES = [(1, 24, 24), (3, 15, 17)]  # multiples of every factor, and odd sizes
ACCURACY = {torch.float32: 5e-5, torch.float64: 1e-9}
RHOS = [0.05, torch.tensor([0.02, 1.0], dtype=torch.float64).view(2, 1, 1, 1)]


def build(spec: str, shape: Shape) -> tuple[Operator, Shape]:
    """The operator, and the image shape that it stands for: the given one, or one a little smaller."""
    op = OPERATORS.build(spec, shape=shape, seed=0)
    if "border=valid" in spec and "factor" in spec:  # the image behind a valid y is whole cells
        s = op.blur.factor
        return op, (shape[0], shape[1] // s * s, shape[2] // s * s)
    return op, shape


@functools.cache
def prepared(spec: str, shape: Shape) -> tuple[Operator, Shape, Tensor]:
    """The operator, its image shape and its matrix."""
    op, shape = build(spec, shape)
    return op, shape, dense(op, shape)


@pytest.fixture(
    params=[(spec, shape) for spec in SPECS for shape in SHAPES], ids=lambda p: f"{p[0]}-{p[1][0]}x{p[1][1]}"
)
def case(request: pytest.FixtureRequest) -> tuple[Operator, Shape]:
    return build(*request.param)


def dense(op: Operator, shape: Shape) -> Tensor:
    """A: (m, n), its columns the measurements of unit images."""
    return op(torch.eye(prod(shape), dtype=torch.float64).view(-1, *shape)).flatten(1).T


# The checks, each followed by an operator that must not pass it


def check_adjoint(op: Operator, x: Tensor) -> None:
    assert dot_test(op, x) <= 1e-12
    y = op(x)
    assert op.adjoint(y).shape == x.shape
    torch.testing.assert_close(op.normal(x), op.adjoint(y), rtol=0, atol=1e-12 * float(y.abs().max()) * x[0].numel())


def check_data_step(op: Operator, b: Tensor, rho: float | Tensor, matrix: Tensor) -> None:
    """solve_normal = the generic solve = the dense solve."""
    rho = rho.to(b.dtype) if isinstance(rho, Tensor) else rho
    x = op.solve_normal(b, rho)
    shift = torch.as_tensor(rho, dtype=torch.float64).reshape(-1, 1, 1) * torch.eye(
        matrix.shape[1], dtype=torch.float64
    )
    exact = torch.linalg.solve(matrix.T @ matrix + shift, b.double().flatten(1)[..., None]).view_as(b)
    assert x.dtype == b.dtype
    atol = max(ACCURACY[b.dtype], 30 * op.tolerance if b.dtype == torch.float32 else 0) * float(exact.abs().max())
    torch.testing.assert_close(x.double(), exact, rtol=0, atol=atol)
    torch.testing.assert_close(x, op.solve_normal_report(b, rho).x, rtol=0, atol=2 * atol)


def check_norm(op: Operator, x: Tensor, matrix: Tensor) -> None:
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    most = op.blur.norm(x) / exact if isinstance(op, ValidBlur) else 1.0  # a bound: cropping cannot enlarge
    assert exact * (1 - 1e-3) <= op.norm(x) <= exact * most * (1 + 1e-3)


def check_nothing_changes(op: Operator, x: Tensor) -> None:
    """Neither the operator's tensors and settings nor the caller's: and so every call gives the same."""
    state, before = copy.deepcopy(op.state_dict()), x.clone()
    settings = {k: v for k, v in vars(op).items() if isinstance(v, int | float | str | tuple)}
    y = op(x)
    kept = y.clone()
    first = op.solve_normal(op.adjoint(y), 0.1, x)
    op.initial(y), op.visible(x), op.norm(x)
    assert torch.equal(x, before) and torch.equal(y, kept) and not x.requires_grad
    assert all(torch.equal(state[k], v) for k, v in op.state_dict().items()) and state.keys() == op.state_dict().keys()
    assert settings == {k: v for k, v in vars(op).items() if k in settings}
    assert torch.equal(first, op.solve_normal(op.adjoint(op(x)), 0.1, x))


def check_shapes(op: Operator, x: Tensor) -> None:
    shape, y = tuple(x.shape[1:]), op(x)
    assert op.measurement_shape(shape) == tuple(y.shape[1:])
    assert op.image_shape(tuple(y.shape[1:])) == shape
    assert op.initial(y).shape == x.shape
    assert op.visible(x).shape[:2] == x.shape[:2]


def check_batch(op: Operator, x: Tensor, rho: Tensor) -> None:
    """Each image gets what it gets alone."""
    y = op(x)
    for whole, alone in [
        (y, lambda i: op(x[i : i + 1])),
        (op.adjoint(y), lambda i: op.adjoint(y[i : i + 1])),
        (op.solve_normal(x, rho), lambda i: op.solve_normal(x[i : i + 1], float(rho[i]))),
        (op.initial(y), lambda i: op.initial(y[i : i + 1])),
    ]:
        torch.testing.assert_close(whole, torch.cat([alone(i) for i in range(len(x))]), rtol=0, atol=1e-9)


def check_differentiable(op: Operator, x: Tensor) -> None:
    """Gradients of ‖Ax‖²/2 are AᵀA x, also after the operator was used in inference mode."""
    with torch.inference_mode():
        op.solve_normal(op.adjoint(op(x)), 0.1)
    x = x.clone().requires_grad_(True)
    (op(x) ** 2).sum().div(2).backward()
    torch.testing.assert_close(x.grad, op.normal(x.detach()))


def test_there_are_operators() -> None:
    assert len(SPECS) >= 20


def test_adjoint_passes_the_dot_test(case: tuple[Operator, Shape]) -> None:
    op, shape = case
    check_adjoint(op, images(2, *shape))


@pytest.mark.parametrize("shape", SHAPES, ids=["grey", "colour"])
@pytest.mark.parametrize("spec", SPECS)
def test_data_step_equals_the_generic_and_the_dense_one(spec: str, shape: Shape, dtype: torch.dtype) -> None:
    op, shape, matrix = prepared(spec, shape)
    for rho in RHOS if shape[0] == 1 else RHOS[1:]:
        check_data_step(op, images(2, *shape, dtype=dtype), rho, matrix)


@pytest.mark.parametrize("shape", SHAPES, ids=["grey", "colour"])
@pytest.mark.parametrize("spec", SPECS)
def test_norm_is_the_largest_singular_value(spec: str, shape: Shape) -> None:
    op, shape, matrix = prepared(spec, shape)
    check_norm(op, images(1, *shape), matrix)


def test_nothing_of_the_operator_or_the_caller_changes(case: tuple[Operator, Shape]) -> None:
    op, shape = case
    check_nothing_changes(op, images(2, *shape))


def test_shapes_agree_with_what_is_made(case: tuple[Operator, Shape]) -> None:
    op, (channels, height, width) = case
    larger = 2 if isinstance(op, ValidBlur) else 1  # so that the measurement is no smaller than the kernel
    check_shapes(op, images(2, channels, larger * height, larger * width))


def test_an_image_gets_the_same_in_a_batch_as_alone(case: tuple[Operator, Shape]) -> None:
    op, shape = case
    check_batch(op, images(2, *shape), RHOS[1])


def test_gradients_pass_through_forward(case: tuple[Operator, Shape]) -> None:
    op, shape = case
    check_differentiable(op, images(2, *shape))


@pytest.mark.parametrize("rho", [0, -1.0, float("nan"), torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)])
def test_rho_must_be_positive(case: tuple[Operator, Shape], rho: float | Tensor) -> None:
    op, shape = case
    with pytest.raises(ValueError, match="above 0"):
        op.solve_normal(images(2, *shape), rho)


class Broken(Blur):
    """A right blur, of which each test below breaks one method."""

    def __init__(self) -> None:
        super().__init__(kernels.motion(5, 30))


def test_each_check_catches_its_planted_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, x = (1, 12, 13), images(2, 1, 12, 13)
    matrix = dense(Broken(), shape)
    faults = [
        (check_adjoint, (x,), "adjoint", lambda s, y: Blur.adjoint(s, y).roll(1, -1)),
        (check_adjoint, (x,), "adjoint", lambda s, y: 1.001 * Blur.adjoint(s, y)),
        (check_adjoint, (x,), "normal", lambda s, v: Blur.normal(s, v) * 0.999),
        (check_data_step, (x, 0.05, matrix), "solve_normal", lambda s, b, rho, x0=None: Blur._solve(s, b, rho**2)),
        (check_data_step, (x, 0.05, matrix), "solve_normal", lambda s, b, rho, x0=None: Blur._solve(s, b, 1.001 * rho)),
        (check_data_step, (x, RHOS[1], matrix), "solve_normal", lambda s, b, r, x0=None: Blur._solve(s, b, r.mean())),
        (check_data_step, (x, 0.05, matrix), "solve_normal", lambda s, b, rho, x0=None: Blur._solve(s, b, rho).float()),
        (check_norm, (x, matrix), "norm", lambda s, x: 1.01 * Blur.norm(s, x)),
        (check_norm, (x, matrix), "norm", lambda s, x: Blur.norm(s, x) ** 2 * 0.99),
        (check_nothing_changes, (x.clone(),), "forward", lambda s, x: Blur.forward(s, x.mul_(1.01))),
        (check_nothing_changes, (x,), "norm", lambda s, x: setattr(s, "factor", 2) or 1.0),
        (check_nothing_changes, (x,), "initial", lambda s, y: s.kernel.mul_(1.01)),
        (check_shapes, (x,), "image_shape", lambda s, y_shape: (1, 12, 12)),
        (check_shapes, (x,), "initial", lambda s, y: y[..., 1:]),
        (check_batch, (x, RHOS[1]), "forward", lambda s, x: Blur.forward(s, x) - x.mean()),
        (check_batch, (x, RHOS[1]), "solve_normal", lambda s, b, r, x0=None: Blur._solve(s, b, r).roll(1, 0)),
        (check_differentiable, (x,), "forward", lambda s, x: Blur.forward(s, x.detach()) + 0 * x),
    ]
    for check in {fault[0] for fault in faults}:
        check(Broken(), *next(arguments for c, arguments, *_ in faults if c is check))
    for check, arguments, method, wrong in faults:
        with monkeypatch.context() as patch, pytest.raises(AssertionError):
            patch.setattr(Broken, method, wrong)
            check(Broken(), *arguments)


# float32, where rounding matters most


@pytest.mark.parametrize("spec", ["blur:kernel=motion,length=7,border=valid", "downsample:factor=3"])
@pytest.mark.parametrize("rho", [1e-3, 0.03])
def test_an_inexact_data_step_reaches_its_stated_tolerance_in_float32(spec: str, rho: float) -> None:
    op, x = OPERATORS.build(spec, shape=(1, 40, 40)), images(2, 1, 40, 40, dtype=torch.float32)
    solved = op.solve_normal_report(op.adjoint(op(x)) + rho * x, rho, 0.9 * x)
    assert float(solved.residual.max()) <= 2 * op.tolerance


def test_a_small_rho_of_one_image_does_not_loosen_the_step_of_another() -> None:
    op, x = ValidBlur(kernels.motion(7, 30)), images(2, 1, 40, 40, dtype=torch.float32)
    rho = torch.tensor([1e-4, 0.1]).view(2, 1, 1, 1)
    b = op.adjoint(op(x)) + rho * x
    together, alone = op.solve_normal(b, rho)[1:], op.solve_normal(b[1:], 0.1)
    assert float((together - alone).abs().max()) <= 1e-5


# Sizes


@pytest.mark.parametrize(
    ("spec", "y_shape"),
    [
        ("downsample:factor=3", (3, 50, 50)),
        ("downsample:factor=3,border=replicate", (3, 50, 50)),
        ("mask", (3, 16, 20)),
        ("mask:keep=0.3,per_channel=true", (1, 17, 20)),
        ("sensing", (1, 1, 3)),
        ("sensing:structured", (1, 17, 20)),
        ("blur", (3, 14, 20)),
        ("blur:border=zero", (3, 20, 14)),
    ],
)
def test_a_measurement_that_does_not_fit_is_an_error_at_the_door(spec: str, y_shape: Shape) -> None:
    op = OPERATORS.build(spec, shape=(3, 17, 20))
    with pytest.raises(ValueError, match=r"y (is|has)|larger than the picture"):
        Problem(op, torch.zeros(1, *y_shape), Tikhonov())


@pytest.mark.parametrize("border", ["circular", "replicate", "reflect", "zero", "mean"])
@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_downsampling_takes_any_size(factor: int, border: str) -> None:
    op = OPERATORS.build(f"downsample:factor={factor},border={border},kernel=box", shape=(1, 21, 22))
    x = images(2, 1, 21, 22)
    assert op(x).shape[-2:] == (-(-21 // factor), -(-22 // factor))
    check_adjoint(op, x)
    check_shapes(op, x)


def test_downsampling_knows_its_factors_and_centres() -> None:
    with pytest.raises(SpecError, match="factor=5; expected 2, 3, 4 or 8"):
        OPERATORS.build("downsample:factor=5")
    with pytest.raises(SpecError, match="both odd or both even"):
        OPERATORS.build("downsample:factor=2,kernel=gaussian,size=7")


# Convolutions, against scipy


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (5, 2), (1, 6)])
@pytest.mark.parametrize(
    ("border", "mode"),
    [("circular", "wrap"), ("replicate", "nearest"), ("reflect", "mirror"), ("zero", "constant"), ("mean", "mean")],
)
def test_blur_equals_scipys_convolution(border: str, mode: str, size: tuple[int, int]) -> None:
    kernel, x = images(*size, seed=2), images(2, 2, 9, 11)
    op = Blur(kernel) if border == "circular" else PaddedBlur(kernel / kernel.sum(), border)
    weights = (kernel if border == "circular" else kernel / kernel.sum()).numpy()

    def convolve(picture: np.ndarray) -> np.ndarray:
        if mode == "mean":
            return scipy.ndimage.convolve(picture, weights, mode="constant", cval=picture.mean())
        return scipy.ndimage.convolve(picture, weights, mode=mode)

    expected = torch.tensor(np.array([[convolve(c) for c in picture] for picture in x.numpy()]))
    torch.testing.assert_close(op(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(3, 3), (4, 4), (5, 2), (1, 6)])
def test_valid_equals_scipys_valid_part(size: tuple[int, int]) -> None:
    kernel, x = images(*size, seed=2), images(1, 1, 9, 11)
    expected = scipy.signal.convolve2d(x[0, 0].numpy(), kernel.numpy(), mode="valid")
    torch.testing.assert_close(ValidBlur(kernel)(x)[0, 0], torch.tensor(expected), rtol=0, atol=1e-12)


def test_each_channel_can_have_its_own_kernel() -> None:
    kernel, x = images(3, 4, 5, seed=2), images(1, 3, 9, 11)
    for op in (Blur, ValidBlur):
        parts = [op(kernel[c])(x[:, c : c + 1]) for c in range(3)]
        torch.testing.assert_close(op(kernel)(x), torch.cat(parts, 1), rtol=0, atol=1e-12)
    check_data_step(Blur(kernel), x, 0.1, dense(Blur(kernel), (3, 9, 11)))
    check_data_step(Blur(kernel, 3), images(1, 3, 9, 12), 0.1, dense(Blur(kernel, 3), (3, 9, 12)))


def test_a_changed_kernel_changes_the_blur() -> None:
    op, x = Blur(kernels.box(3)), images(1, 1, 9, 9)
    op(x)
    op.load_state_dict(Blur(images(3, 3, seed=2)).state_dict())
    torch.testing.assert_close(op(x), Blur(op.kernel[0].clone())(x))
    op.kernel.mul_(2)
    torch.testing.assert_close(op(x), 2 * Blur(op.kernel[0] / 2)(x))


# Where things are


def ramp(shape: Shape, slope: tuple[float, float] = (0.01, 0.02)) -> Tensor:
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in shape[1:]), indexing="ij")
    return (slope[0] * rows + slope[1] * columns).expand(1, *shape)


CENTRED = [f"downsample:factor={s},kernel={k}" for s in (2, 3, 4, 8) for k in ("bicubic", "gaussian", "box")]


@pytest.mark.parametrize("spec", CENTRED)
def test_samples_lie_in_the_middle_of_their_cells(spec: str) -> None:
    shape = (1, 96, 96)
    op, x = OPERATORS.build(f"{spec},border=valid", shape=shape), ramp(shape)
    y, seen = op(x), op.visible(x)
    s = op.blur.factor
    assert seen.shape[-2:] == (s * y.shape[-2], s * y.shape[-1])
    torch.testing.assert_close(y, torch.nn.functional.avg_pool2d(seen, s), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [*CENTRED, "downsample:factor=3,kernel=gaussian,align=corner"])
def test_the_first_guess_of_a_ramp_lies_where_the_ramp_does(spec: str) -> None:
    shape = (1, 120, 120)
    op, x = OPERATORS.build(spec, shape=shape), ramp(shape)
    # torch's bicubic interpolation ripples around a ramp, with mean 0 over any factor × factor pixels
    offset = torch.nn.functional.avg_pool2d((op.initial(op(x)) - x)[..., 40:-40, 40:-40], op.factor, 1)
    assert float(offset.abs().max()) < 1e-9


def test_a_misaligned_guess_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Blur, "_misalignment", lambda self: 1)
    with pytest.raises(AssertionError):
        test_the_first_guess_of_a_ramp_lies_where_the_ramp_does("downsample:factor=2,kernel=bicubic")


def test_corner_aligned_samples_lie_on_the_first_pixel_of_their_cells() -> None:
    op = OPERATORS.build("downsample:factor=3,kernel=gaussian,align=corner")
    x = ramp((1, 96, 96))
    torch.testing.assert_close(op(x)[..., 10:-10, 10:-10], x[..., ::3, ::3][..., 10:-10, 10:-10], rtol=0, atol=1e-12)


def test_what_valid_shows_is_where_the_measurement_lies() -> None:
    op, x = ValidBlur(kernels.gaussian(1.0, 7)), ramp((1, 30, 31))
    torch.testing.assert_close(op.visible(x), op(x), rtol=0, atol=1e-12)
    assert op.visible(op.initial(op(x))).equal(op(x))


# Kernels


KERNELS = {
    "gaussian": kernels.gaussian(1.6), "even gaussian": kernels.gaussian(1.2, 8), "box": kernels.box(5),
    "disk": kernels.disk(3.3), "small disk": kernels.disk(0.4), "motion": kernels.motion(9, 20),
    "short motion": kernels.motion(0.5, 0), "cubic 2": kernels.cubic(factor=2), "cubic 3": kernels.cubic(factor=3),
}  # fmt: skip


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_sum_to_one_and_are_point_symmetric(name: str) -> None:
    kernel = KERNELS[name]
    assert kernel.dtype == torch.float64 and float(kernel.sum()) == pytest.approx(1, abs=1e-12)
    torch.testing.assert_close(kernel, kernel.flip(0, 1), rtol=0, atol=1e-12)
    assert "cubic" in name or float(kernel.min()) >= 0


def moments(kernel: Tensor) -> Tensor:
    """[[x², xy], [xy, y²]] about the middle, x to the right and y upwards."""
    y, x = ((n - 1) / 2 - torch.arange(n, dtype=torch.float64) for n in kernel.shape)
    x = -x
    xy = float((kernel * y[:, None] * x).sum())
    return torch.tensor([[float((kernel * x**2).sum()), xy], [xy, float((kernel * y[:, None] ** 2).sum())]])


def test_gaussian_has_its_standard_deviation() -> None:
    torch.testing.assert_close(moments(kernels.gaussian(2.0)), 4.0 * torch.eye(2), rtol=0, atol=1e-2)


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 120, 200])
def test_motion_has_its_length_and_direction(angle: float) -> None:
    values, vectors = torch.linalg.eigh(moments(kernels.motion(15, angle)))
    direction = float(torch.atan2(vectors[1, 1], vectors[0, 1])) * 180 / np.pi
    assert abs((direction - angle + 90) % 180 - 90) < 0.5
    assert float(values[1]) == pytest.approx(15**2 / 12, rel=0.02)
    assert float(values[0]) < 0.25  # one pixel wide


def test_horizontal_motion_lies_in_one_row() -> None:
    assert kernels.motion(5, 0).shape[0] == 1 or kernels.motion(5, 0).sum(1).max() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_shake_is_a_bent_path_of_its_length_drawn_with_the_seed(seed: int) -> None:
    kernel = kernels.shake(20, seed=seed)
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-12) and float(kernel.min()) == 0
    assert kernel.equal(kernels.shake(20, seed=seed))
    assert not kernel.equal(kernels.shake(20, seed=seed + 1)[: len(kernel)])
    rows, columns = (kernel.sum(i).nonzero()[[0, -1], 0] for i in (1, 0))
    spans = [int(end - begin) for begin, end in (rows, columns)]
    assert max(spans) in (20, 21) and float((kernel > 0).double().mean()) < 0.4  # a line
    x, y = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in kernel.shape), indexing="ij")
    on = kernel > 0
    line = torch.stack([x[on], y[on], torch.ones_like(x[on])], 1)
    assert float(torch.linalg.svdvals(line - line.mean(0))[1]) / int(on.sum()) ** 0.5 > 1  # no straight one


@pytest.mark.parametrize("radius", [1.0, 2.5, 5.0])
def test_disk_has_the_area_of_its_radius(radius: float) -> None:
    kernel = kernels.disk(radius)
    assert 1 / float(kernel.max()) == pytest.approx(np.pi * radius**2, rel=0.02)
    if radius > 2:  # the variances of the disk and of one pixel add up
        assert moments(kernel)[0, 0] == pytest.approx(radius**2 / 4 + 1 / 12, rel=0.03)
    assert min(kernel.shape) == 2 * int(np.ceil(radius + 0.5) - 1) + 1


@pytest.mark.parametrize("make", [kernels.gaussian, kernels.box, kernels.disk, kernels.motion, kernels.shake])
def test_a_kernel_has_a_positive_size(make) -> None:
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            make(value)


def save(path, array: np.ndarray) -> str:
    if path.suffix == ".png":
        Image.fromarray(array).save(path)
    elif path.suffix == ".npy":
        np.save(path, array)
    else:
        scipy.io.savemat(path, {"kernel": array})
    return str(path)


@pytest.mark.parametrize("suffix", [".png", ".npy", ".mat"])
def test_a_kernel_file_is_read_and_normalised_with_a_warning(suffix: str, tmp_path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, 7), dtype=np.uint8)
    file = save(tmp_path / f"psf{suffix}", array)
    with pytest.warns(UserWarning, match="sums to .* It was divided by that sum"):
        kernel = kernels.from_file(file)
    torch.testing.assert_close(kernel, torch.tensor(array / array.sum()), rtol=0, atol=1e-6)
    with pytest.warns(UserWarning):
        op = OPERATORS.build(f"blur:kernel={file}")
    torch.testing.assert_close(op.kernel[0], kernel)


def test_a_kernel_file_of_sum_one_gives_no_warning(tmp_path, recwarn: pytest.WarningsRecorder) -> None:
    expected = kernels.motion(5, 30)
    kernel = kernels.from_file(save(tmp_path / "psf.mat", expected.numpy()))
    torch.testing.assert_close(kernel, expected)
    assert not recwarn.list


def several(kind: str, folder) -> str:
    shapes = [(3, 3), (5, 3), (4, 4)]
    arrays = [np.full(s, i + 1.0) / (np.prod(s) * (i + 1.0)) for i, s in enumerate(shapes)]
    if kind == "cells":
        cells = np.empty((1, 3), dtype=object)
        cells[0] = arrays
        scipy.io.savemat(folder / "several.mat", {"kernels": cells})
    elif kind == "variables":
        scipy.io.savemat(folder / "several.mat", {f"k{i}": a for i, a in enumerate(arrays)})
    else:
        stack = np.stack([np.roll(np.eye(3) / 3, i, 0) for i in range(3)])
        if kind == "stack.npy":
            np.save(folder / "several.npy", stack)
            return str(folder / "several.npy")
        scipy.io.savemat(folder / "several.mat", {"kernels": stack.transpose(1, 2, 0)})
    return str(folder / "several.mat")


@pytest.mark.parametrize("kind", ["cells", "variables", "stack", "stack.npy"])
def test_a_file_of_several_kernels_takes_an_index(kind: str, tmp_path) -> None:
    file = several(kind, tmp_path)
    for i, expected in enumerate([(3, 3), (5, 3), (4, 4)] if "stack" not in kind else [(3, 3)] * 3):
        kernel = OPERATORS.build(f"blur:kernel={file},index={i}").kernel[0]
        assert kernel.shape == expected
        if "stack" in kind:
            torch.testing.assert_close(kernel, torch.tensor(np.roll(np.eye(3) / 3, i, 0)))
    with pytest.raises(ValueError, match="3 kernels; choose one with index=0 to index=2"):
        kernels.from_file(file)
    for index in (-1, 3):
        with pytest.raises(ValueError, match=f"index={index} is not a kernel of .*: index=0 to index=2"):
            kernels.from_file(file, index)


NO_KERNEL = {
    "black.png": np.zeros((3, 3), np.uint8), "nan.npy": np.full((3, 3), np.nan), "line.npy": np.ones(4),
    "number.npy": np.float64(1.0), "empty.npy": np.ones((0, 3)), "text.npy": np.array([["a"]]),
    "negative.npy": -np.ones((3, 3)), "complex.npy": np.ones((3, 3)) * 1j, "objects.npy": np.array([[None]]),
}  # fmt: skip


@pytest.mark.parametrize("name", [*NO_KERNEL, "missing.png", "missing.npy", "missing.mat", "empty.mat"])
def test_a_file_without_a_kernel_is_one_value_error(name: str, tmp_path) -> None:
    if name in NO_KERNEL:
        save(tmp_path / name, NO_KERNEL[name])
    elif name == "empty.mat":
        scipy.io.savemat(tmp_path / name, {})
    with pytest.raises(ValueError, match=name):
        kernels.from_file(str(tmp_path / name))


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
def test_a_truncated_kernel_file_is_one_value_error_wherever_it_is_cut(suffix: str, tmp_path) -> None:
    file = save(tmp_path / f"psf{suffix}", kernels.gaussian(2.0).numpy())
    whole = (tmp_path / f"psf{suffix}").read_bytes()
    for cut in [0, 1, 20, 60, 125, 128, 130, 140, 180, 200, len(whole) // 2, len(whole) - 1]:
        (tmp_path / f"psf{suffix}").write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="psf"):
            kernels.from_file(file)


def test_an_unknown_kernel_suggests_the_near_one_and_a_large_one_is_refused() -> None:
    with pytest.raises(SpecError, match="Did you mean 'gaussian'"):
        OPERATORS.build("blur:kernel=gausian")
    for spec in ("blur", "blur:border=valid", "downsample:factor=2,kernel=gaussian,size=20"):
        with pytest.raises(ValueError, match="larger than the picture, 12×12"):
            OPERATORS.build(spec, shape=(1, 12, 12))(images(1, 1, 12, 12))
    with pytest.raises(ValueError, match="larger than the picture, 12×12"):
        OPERATORS.build("blur:border=zero").image_shape((1, 12, 12))
    with pytest.raises(ValueError, match="too small"):
        ValidBlur(kernels.box(4), 2)(images(1, 1, 4, 4))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("blur:kernel=disk,std=3", "kernel=disk takes radius, not std.  std is an option of kernel=gaussian."),
        ("blur:length=3", "kernel=gaussian takes std or size, not length.  length is .* of kernel=motion or shake."),
        ("blur:kernel=box,index=0", "kernel=box takes size, not index."),
        ("blur:kernel=psf.npy,size=3", "kernel=psf.npy takes index, not size.  size is .* of kernel=box or gaussian."),
        ("downsample:std=2", "kernel=bicubic takes no options, not std.  std is an option of kernel=gaussian."),
    ],
)
def test_an_option_of_another_kernel_is_refused(spec: str, said: str) -> None:
    with pytest.raises(SpecError, match=f"^{said}$"):
        OPERATORS.build(spec, seed=0)


def test_a_kernel_is_one_function_whose_parameters_are_options(monkeypatch: pytest.MonkeyPatch) -> None:
    made, operators = Registry("kernel"), Registry("operator")
    made.register("line")(lambda: None)

    @made.register("ring")
    def ring(radius: float = 2.0, width: int = 1, *, seed: int = 0) -> tuple[float, int, int]:
        return radius, width, seed

    monkeypatch.setattr(kernels, "KERNELS", made)

    @operators.register("blur")
    @kernels.takes_kernels
    def blur(kernel: str, seed: int = 0, **options: object) -> object:
        """A blur."""
        return kernels.make(kernel, options, seed=seed, factor=2)

    assert operators.build("blur:ring,width=3,seed=4") == (2.0, 3, 4)
    assert list(operators["blur"].parameters()) == ["kernel", "seed", "radius", "width", "index"]
    assert "line, ring (radius, width) or a file (index)" in (blur.__doc__ or "")
    with pytest.raises(SpecError, match="kernel=line takes no options, not radius"):
        operators.build("blur:line,radius=1.5", seed=0)  # the seed is what the program knows, and no option
    with pytest.raises(SpecError, match="unknown option of operator 'blur': 'factor'"):
        operators.build("blur:ring,factor=3")


def test_bicubic_without_a_decimation_is_refused() -> None:
    with pytest.raises(ValueError, match="Use downsample"):
        OPERATORS.build("blur:kernel=bicubic")


def test_another_kernel_is_noticed_however_it_came() -> None:
    x = images(1, 1, 16, 16)
    op = OPERATORS.build("blur:std=1,size=5")
    for _ in range(6):  # the memory of the kernel before is free to be used again
        op.kernel = op.kernel * 1.5
        torch.testing.assert_close(op(x), Blur(op.kernel.clone())(x))
    op.kernel.mul_(2)
    torch.testing.assert_close(op(x), Blur(op.kernel.clone())(x))
