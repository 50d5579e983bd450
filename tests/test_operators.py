"""The contract of every registered operator, and each against scipy's convolutions and known shapes."""

from __future__ import annotations

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
from pnp.operators import Blur, ConvolveWith, Operator, PaddedBlur, ValidBlur, Varying, dot_test, kernels
from pnp.priors import Tikhonov
from pnp.registry import OPERATORS, Registry, SpecError
from pnp.testing import check_operator

Shape = tuple[int, int, int]
SPECS = [spec for name in OPERATORS for spec in OPERATORS[name].examples]
SHAPES = [(1, 24, 24), (3, 15, 17)]  # multiples of every factor, and odd sizes


def build(spec: str, shape: Shape) -> tuple[Operator, Shape]:
    """The operator, and the image shape that it stands for: the given one, or one a little smaller."""
    op = OPERATORS.build(spec, shape=shape, seed=0)
    if "border=valid" in spec and "factor" in spec:  # the image behind a valid y is whole cells
        s = op.blur.factor
        return op, (shape[0], shape[1] // s * s, shape[2] // s * s)
    return op, shape


@pytest.fixture(
    params=[(spec, shape) for spec in SPECS for shape in SHAPES], ids=lambda p: f"{p[0]}-{p[1][0]}x{p[1][1]}"
)
def case(request: pytest.FixtureRequest) -> tuple[Operator, Shape]:
    return build(*request.param)


def check_differentiable(op: Operator, x: Tensor) -> None:
    """Gradients of ‖Ax‖²/2 are AᵀA x, also after the operator was used in inference mode."""
    with torch.inference_mode():
        op.solve_normal(op.adjoint(op(x)), 0.1)
    x = x.clone().requires_grad_(True)
    (op(x) ** 2).sum().div(2).backward()
    torch.testing.assert_close(x.grad, op.normal(x.detach()))


def test_there_are_operators() -> None:
    assert len(SPECS) >= 20


@pytest.mark.parametrize("shape", SHAPES, ids=["grey", "colour"])
@pytest.mark.parametrize("spec", SPECS)
def test_every_operator_keeps_its_contract(spec: str, shape: Shape) -> None:
    valid = "border=valid" in spec  # twice as large, so that the measurement is no smaller than the kernel
    op, shape = build(spec, (shape[0], shape[1] * (1 + valid), shape[2] * (1 + valid)))
    check_operator(op, shape, bound=0.1 if isinstance(op, ValidBlur | ConvolveWith | Varying) else 1e-3)
    if isinstance(op, ValidBlur):  # a bound: cropping cannot enlarge
        x = images(1, *shape)
        assert op.norm(x) <= op.blur.norm(x) * (1 + 1e-3)


def test_gradients_pass_through_forward(case: tuple[Operator, Shape]) -> None:
    op, shape = case
    check_differentiable(op, images(2, *shape))


def test_a_forward_without_gradients_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Blur.forward
    monkeypatch.setattr(Blur, "forward", lambda s, x: forward(s, x.detach()) + 0 * x)
    with pytest.raises(AssertionError):
        check_differentiable(Blur(kernels.motion(5, 30)), images(2, 1, 12, 13))


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
    assert dot_test(op, x) <= 1e-12
    assert op.image_shape(tuple(op(x).shape[1:])) == (1, 21, 22) and op.initial(op(x)).shape == x.shape


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
    check_operator(Blur(kernel), (3, 9, 11))
    check_operator(Blur(kernel, 3), (3, 9, 12))


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
def test_a_kernel_file_is_read_and_normalised(suffix: str, tmp_path) -> None:
    array = np.random.default_rng(0).integers(0, 255, (5, 7), dtype=np.uint8)
    file = save(tmp_path / f"psf{suffix}", array)
    kernel = kernels.from_file(file)
    torch.testing.assert_close(kernel, torch.tensor(array / array.sum()), rtol=0, atol=1e-6)
    torch.testing.assert_close(OPERATORS.build(f"blur:kernel={file}").kernel[0], kernel)


def test_a_kernel_file_of_sum_one_gives_no_warning(tmp_path, recwarn: pytest.WarningsRecorder) -> None:
    expected = kernels.motion(5, 30)
    kernel = kernels.from_file(save(tmp_path / "psf.mat", expected.numpy()))
    torch.testing.assert_close(kernel, expected)
    assert not recwarn.list


def several(kind: str, folder) -> str:
    shapes = [(3, 3), (5, 3), (5, 5)]
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
    for i, expected in enumerate([(3, 3), (5, 3), (5, 5)] if "stack" not in kind else [(3, 3)] * 3):
        kernel = OPERATORS.build(f"blur:kernel={file},index={i}").kernel[0]
        assert kernel.shape == expected
        if "stack" in kind:
            torch.testing.assert_close(kernel, torch.tensor(np.roll(np.eye(3) / 3, i, 0)))
    with pytest.raises(ValueError, match=r"3 (kernels|planes); choose one with index=0 to index=2"):
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
        (
            "blur:kernel=psf.npy,size=3",
            "kernel=psf.npy takes index, centre, turn or scale, not size.  size is .* of kernel=box or gaussian.",
        ),
        ("downsample:std=2", "kernel=bicubic takes no options, not std.  std is an option of kernel=gaussian."),
    ],
)
def test_an_option_of_another_kernel_is_refused(spec: str, said: str) -> None:
    with pytest.raises(SpecError, match=f"^{said}$"):
        OPERATORS.build(spec, seed=0)


FILE = ["index", "centre", "turn", "scale"]


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
    assert list(operators["blur"].parameters()) == ["kernel", "seed", "radius", "width", *FILE]
    assert f"line, ring (radius, width) or a file ({', '.join(FILE)})" in (blur.__doc__ or "")
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
