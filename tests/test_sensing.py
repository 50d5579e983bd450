"""Compressive sensing: orthonormal rows, exact data steps, sizes, files."""

from __future__ import annotations

import copy
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor

from pnp.operators import Operator, dot_test
from pnp.operators.matrices import factorise, orthonormal_rows, row_count
from pnp.operators.sensing import (
    BlockSensing,
    DenseSensing,
    OrthonormalSensing,
    StructuredSensing,
    hartley,
    likeliest,
)
from pnp.registry import OPERATORS
from pnp.samples import photograph

SPECS = [
    *OPERATORS["sensing"].examples,
    "sensing:gaussian,ratio=1",
    "sensing:structured,ratio=1",
    "sensing:block,block=4,ratio=1",
    "sensing:block",  # one block, larger than the image
]
SHAPES = [(1, 8, 10), (3, 7, 5)]
RHOS = [0.3, torch.tensor([0.05, 2.0]).view(2, 1, 1, 1)]
PRECISION = {torch.float32: 2e-5, torch.float64: 1e-10}


def build(spec: str, shape: tuple[int, int, int] = SHAPES[1], seed: int = 0) -> Operator:
    return OPERATORS.build(spec, shape=shape, seed=seed)


def images(shape: tuple[int, ...] = SHAPES[1], batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def dense(op: Operator, shape: tuple[int, int, int]) -> Tensor:
    """A: (m, n), its columns the measurements of unit images."""
    return op(torch.eye(prod(shape), dtype=torch.float64).view(-1, *shape)).flatten(1).T


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_adjoint_passes_the_dot_test_and_a_flipped_one_does_not(spec: str, shape: tuple[int, int, int]) -> None:
    op = build(spec, shape)
    assert dot_test(op, images(shape)) <= 1e-12
    right = op.adjoint
    op.adjoint = lambda y: right(y).flip(-1)  # type: ignore[method-assign]
    assert dot_test(op, images(shape)) > 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_adjoint_is_the_transposed_matrix(spec: str, shape: tuple[int, int, int]) -> None:
    op = build(spec, shape)
    matrix, y = dense(op, shape), op(images(shape))
    torch.testing.assert_close(op.adjoint(y).flatten(1), y.flatten(1) @ matrix, rtol=0, atol=1e-12)
    x = images(shape)
    torch.testing.assert_close(op.normal(x).flatten(1), x.flatten(1) @ matrix.T @ matrix, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("rho", RHOS, ids=["number", "each"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_data_step_equals_the_generic_and_the_dense_one(
    spec: str, shape: tuple[int, int, int], rho: float | Tensor, dtype: torch.dtype
) -> None:
    op, b = build(spec, shape), images(shape, dtype=dtype)
    rho = rho.to(dtype) if isinstance(rho, Tensor) else rho
    x = op.solve_normal(b, rho)
    atol = PRECISION[dtype] * float(x.abs().max())
    assert x.dtype == dtype and x.shape == b.shape
    torch.testing.assert_close(x, op.solve_normal_report(b, rho).x, rtol=0, atol=atol)
    torch.testing.assert_close(x.double(), dense_step(op, b.double(), rho), rtol=0, atol=atol)


def dense_step(op: Operator, b: Tensor, rho: float | Tensor) -> Tensor:
    matrix = dense(op, tuple(b.shape[1:]))
    shift = torch.as_tensor(rho, dtype=torch.float64).reshape(-1, 1, 1) * torch.eye(matrix.shape[1])
    return torch.linalg.solve(matrix.T @ matrix + shift, b.flatten(1)[..., None]).view_as(b)


@pytest.mark.parametrize("spec", SPECS)
def test_small_rho_keeps_its_residual_in_float32(spec: str) -> None:
    op, rho = build(spec, SHAPES[0]).double(), 1e-5
    x = images(SHAPES[0])
    b = op.normal(x) + rho * x  # a right-hand side as solvers have it: nearly all in the row space
    got = op.solve_normal(b.float(), rho).double()
    residual = (op.normal(got) + rho * got - b).norm() / b.norm()
    assert residual < 3e-6


def test_without_the_correction_a_small_rho_loses_its_residual() -> None:
    op, rho = build("sensing:gaussian", SHAPES[0]).double(), 1e-5
    x = images(SHAPES[0])
    b = op.normal(x) + rho * x
    (rows,) = op._rows(b.float())
    got = rows._replace(largest=0.0).solve(b.float().flatten(1), rho).view_as(b).double()
    assert (op.normal(got) + rho * got - b).norm() / b.norm() > 3e-4


@pytest.mark.parametrize("spec", ["sensing:orthonormal", "sensing:structured", "sensing:structured,ratio=1"])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 1, 1), (2, 1, 6), (1, 6, 1)])
def test_rows_are_orthonormal(spec: str, shape: tuple[int, int, int]) -> None:
    matrix = dense(build(spec, shape), shape)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(len(matrix), dtype=torch.float64), rtol=0, atol=1e-12)


def test_gaussian_rows_are_not_orthonormal_but_have_unit_variance_over_m() -> None:
    matrix = dense(build("sensing:gaussian,ratio=0.5", (1, 20, 20)), (1, 20, 20))
    assert float(matrix.var() * len(matrix)) == pytest.approx(1, abs=0.02)
    assert float((matrix @ matrix.T - torch.eye(len(matrix))).abs().max()) > 0.1


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1), (4, 6), (5, 7), (6, 9)])
def test_hartley_is_the_cas_transform_and_its_own_inverse(size: tuple[int, int]) -> None:
    x = images((2, *size))
    h, w = (torch.outer(torch.arange(n), torch.arange(n)).double() / n for n in size)
    angle = 2 * torch.pi * (h[:, None, :, None] + w[None, :, None, :])
    expected = torch.einsum("uvhw,bchw->bcuv", angle.cos() + angle.sin(), x) / prod(size) ** 0.5
    torch.testing.assert_close(hartley(x), expected)
    torch.testing.assert_close(hartley(hartley(x)), x)


def test_hartley_keeps_the_energy_of_four_megapixels() -> None:
    x = torch.rand(1, 1, 2048, 2048, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hartley(hartley(x)), x)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", SPECS)
def test_norm_is_the_largest_singular_value(spec: str, shape: tuple[int, int, int]) -> None:
    op = build(spec, shape)
    assert op.norm() == pytest.approx(float(torch.linalg.matrix_norm(dense(op, shape), 2)), rel=1e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_first_guess_explains_the_measurement(spec: str) -> None:
    op, x = build(spec), images()
    y = op(x)
    assert (op(op.initial(y)) - y).norm() < 0.05 * y.norm()


@pytest.mark.parametrize("spec", SPECS)
def test_a_seed_repeats_the_operator_and_another_does_not(spec: str) -> None:
    x = images()
    assert torch.equal(build(spec)(x), build(spec)(x))
    assert not torch.equal(build(spec)(x), build(spec, seed=1)(x))


@pytest.mark.parametrize("spec", SPECS)
def test_an_image_gets_the_same_result_alone_and_nothing_of_the_callers_changes(spec: str) -> None:
    op, x = build(spec), images(batch=3)
    y, state, before = op(x), copy.deepcopy(op.state_dict()), x.clone()
    both, alone = op.solve_normal(op.adjoint(y), 0.1), op.solve_normal(op.adjoint(y[1:2]), 0.1)
    torch.testing.assert_close(both[1:2], alone, rtol=0, atol=1e-12)
    assert torch.equal(x, before)
    torch.testing.assert_close(dict(op.state_dict()), dict(state), rtol=0, atol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_gradients_pass_through_forward_and_data_step(spec: str) -> None:
    op = build(spec, (1, 4, 3))
    x = images((1, 4, 3)).requires_grad_(True)
    assert torch.autograd.gradcheck(op, (x,))
    assert torch.autograd.gradcheck(lambda b: op.solve_normal(b, 0.5), (x,))


@pytest.mark.parametrize("spec", SPECS)
def test_inference_mode_leaves_no_trace(spec: str) -> None:
    op, x = build(spec), images(dtype=torch.float32)
    with torch.inference_mode():
        op.solve_normal(op.adjoint(op(x)), 0.1)
    x.requires_grad_(True)
    op.solve_normal(op.adjoint(op(x)), 0.1).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("spec", SPECS)
def test_casting_the_operator_changes_rounding_only(spec: str) -> None:
    op, x = build(spec), images()
    expected = op.solve_normal(x, 0.1)
    torch.testing.assert_close(op.float().solve_normal(x.float(), 0.1).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_matrix_loaded_later_is_factorised_again() -> None:
    a, b = build("sensing:gaussian"), build("sensing:gaussian", seed=1)
    x = images()
    stale, expected = a.solve_normal(x, 0.1), b.solve_normal(x, 0.1)
    a.load_state_dict(b.state_dict())
    torch.testing.assert_close(a.solve_normal(x, 0.1), expected)
    assert not torch.allclose(stale, expected)


@pytest.mark.parametrize("m", [3, 12, 20])
def test_a_matrix_of_any_height_and_rank_is_solved_exactly(m: int) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((m, 2), (2, 12)))
    matrix = left @ right if m != 12 else torch.randn(m, 12, generator=generator, dtype=torch.float64)
    op, b = DenseSensing(matrix, (1, 3, 4)), images((1, 3, 4))
    torch.testing.assert_close(op.solve_normal(b, 0.2), dense_step(op, b, 0.2), rtol=0, atol=1e-10)


def test_factors_are_a_thin_singular_value_decomposition() -> None:
    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v, s, largest = factorise(matrix)
    torch.testing.assert_close(v @ v.T, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(v.T @ torch.diag(s) @ v, matrix.T @ matrix)
    assert largest == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)) ** 2)


def test_orthonormal_rows_keep_the_row_space_and_rows_that_are_orthonormal() -> None:
    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = orthonormal_rows(matrix)
    torch.testing.assert_close(matrix @ rows.T @ rows, matrix)
    torch.testing.assert_close(orthonormal_rows(rows), rows)


def test_block_measurements_are_of_squares_row_by_row() -> None:
    op = BlockSensing(torch.eye(4, dtype=torch.float64), (1, 3, 4), block=2)
    x = torch.arange(12, dtype=torch.float64).view(1, 1, 3, 4)
    assert op(x).tolist() == [[[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 0, 0], [10, 11, 0, 0]]]]


def test_published_row_counts_at_33() -> None:
    ratios = (0.01, 0.04, 0.1, 0.25, 0.3, 0.4, 0.5)
    assert [row_count(r, 1089) for r in ratios] == [10, 43, 109, 272, 327, 436, 545]


def test_a_matrix_too_large_for_memory_is_refused_before_it_is_made() -> None:
    with pytest.raises(ValueError, match="kind=structured"):
        build("sensing:gaussian", (1, 2048, 2048))


@pytest.mark.parametrize("suffix", [".npy", ".mat"])
def test_a_matrix_file_is_used_as_it_is(suffix: str, tmp_path) -> None:
    matrix = np.random.default_rng(0).standard_normal((7, 12))
    file = str(tmp_path / f"phi{suffix}")
    save(file, matrix)
    op = build(f"sensing:gaussian,file={file}", (1, 3, 4))
    torch.testing.assert_close(dense(op, (1, 3, 4)), torch.from_numpy(matrix), rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"matrix has shape \(7, 12\)"):
        build(f"sensing:gaussian,file={file}", (1, 5, 4))


@pytest.mark.parametrize("name", ["missing.npy", "text.npy", "phi.csv", "many.mat"])
def test_an_unreadable_matrix_is_one_value_error(name: str, tmp_path) -> None:
    (tmp_path / "text.npy").write_text("no array")
    save(str(tmp_path / "many.mat"), np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="matrix"):
        build(f"sensing:gaussian,file={tmp_path / name}", (1, 1, 2))


@pytest.mark.parametrize("spec", ["sensing:ratio=0", "sensing:ratio=2", "sensing:structured,file=phi.npy", "sensing:x"])
def test_wrong_options_are_refused(spec: str) -> None:
    with pytest.raises(ValueError):
        build(spec)


@pytest.mark.parametrize("spec", SPECS)
def test_wrong_shapes_are_refused(spec: str) -> None:
    op = build(spec, (1, 4, 3))
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 3, 4\); \w+ takes \(B, 1, 4, 3\)"):
        op(torch.zeros(1, 1, 3, 4))
    with pytest.raises(ValueError, match=r"y has shape \(1, 9, 1, 1\); \w+ makes \(B, 1, "):
        op.adjoint(torch.zeros(1, 9, 1, 1))


def test_more_rows_than_values_have_no_orthonormal_form() -> None:
    with pytest.raises(ValueError, match="m <= n"):
        OrthonormalSensing(torch.ones(5, 4), (1, 2, 2))


def test_structured_sensing_needs_no_matrix_at_four_megapixels() -> None:
    op = StructuredSensing((1, 2048, 2048), 0.1)
    x = torch.rand(1, 1, 2048, 2048, generator=torch.Generator().manual_seed(0))
    y = op(x)
    torch.testing.assert_close(op(op.adjoint(y)), y)
    b = op.adjoint(y)
    solved = op.solve_normal(b, 0.1)
    torch.testing.assert_close(op.normal(solved) + 0.1 * solved, b)


def save(file: str, *arrays: np.ndarray) -> None:
    from scipy.io import savemat

    np.save(file, *arrays) if file.endswith(".npy") else savemat(file, {f"phi{i}": a for i, a in enumerate(arrays)})


def test_almost_no_noise_leaves_what_the_measurement_does_not_see_as_it_was() -> None:
    """rho v would be lost beside Aᵀy in float32: with rho of 1e-8 the picture's unseen part would become noise."""
    from pnp.core.problem import Problem
    from pnp.priors import Tikhonov

    op = OPERATORS.build("sensing:ratio=0.3", shape=(1, 16, 16), seed=0)
    x = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    step = Problem(op, op(x), Tikhonov(), sigma=1e-4).data_prox(x, 1.0)
    torch.testing.assert_close(step, x, rtol=0, atol=2e-3)


@pytest.mark.parametrize("spec", ["sensing", "sensing:gaussian", "sensing:structured", "sensing:block,block=8"])
def test_the_first_guess_is_the_likeliest_picture_of_a_spectrum_that_falls_as_1_over_f(spec: str) -> None:
    op = build(f"{spec},ratio=0.25" if ":" in spec else spec, (1, 16, 16))
    y = op(torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    f = torch.fft.fftfreq(16, dtype=torch.float64)
    s = 1 / (16 * (f[:, None] ** 2 + f**2).sqrt() + 1)
    pixels = torch.eye(256, dtype=torch.float64).view(256, 1, 16, 16)
    shape = torch.fft.ifft2(torch.fft.fft2(pixels) * s).real.flatten(1)  # (256, 256), symmetric
    a = op(pixels).flatten(1).T  # (m, 256)
    b = a @ shape
    expected = shape @ torch.linalg.solve(b.T @ b + 1e-5 * torch.eye(256, dtype=torch.float64), b.T @ y.flatten())
    torch.testing.assert_close(likeliest(op, y, tol=1e-10).flatten(), expected, rtol=0, atol=1e-5)
    assert (op.adjoint(y).flatten() - expected).norm() > 0.1 * expected.norm()  # the adjoint is another picture


def test_the_first_guess_is_nearer_to_a_photograph_than_the_adjoint() -> None:
    x = photograph("camera")[..., 100:164, 200:264]
    op = build("sensing:block,block=32,ratio=0.1", (1, 64, 64))
    y = op(x)
    assert (op.initial(y) - x).norm() < 0.5 * (op.adjoint(y) - x).norm()
