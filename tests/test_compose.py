"""The identity, products, pairs of callables, and scipy's and pylops' operators."""

from __future__ import annotations

import subprocess
import sys
from math import prod

import numpy as np
import pytest
import torch
from torch import Tensor

from pnp.core.problem import Problem
from pnp.interop.scipy import from_scipy
from pnp.operators import Mask, Operator, ValidBlur, dot_test, kernels
from pnp.operators.compose import Composition, FromCallables, Identity
from pnp.operators.sensing import DenseSensing
from pnp.priors import TV
from pnp.registry import OPERATORS

SHAPE = (2, 5, 4)
PRECISION = {torch.float32: 2e-5, torch.float64: 1e-10}
MATRIX = torch.randn(17, prod(SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 17**0.5


def images(shape: tuple[int, ...] = SHAPE, batch: int = 2, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def apply(x: Tensor) -> Tensor:
    return (x.flatten(1) @ MATRIX.T.to(x.dtype)).view(-1, 1, 1, 17)


def transpose(y: Tensor) -> Tensor:
    return (y.flatten(1) @ MATRIX.to(y.dtype)).view(-1, *SHAPE)


def scipy_operator() -> Operator:
    from scipy.sparse.linalg import aslinearoperator

    return from_scipy(aslinearoperator(MATRIX.numpy()), SHAPE)


def pylops_operator() -> Operator:
    pylops = pytest.importorskip("pylops")
    return from_scipy(pylops.MatrixMult(MATRIX.numpy()), SHAPE)


MAKERS = {
    "identity": lambda: OPERATORS.build("identity"),
    "product": lambda: DenseSensing(MATRIX, SHAPE) @ OPERATORS.build("mask", shape=SHAPE, seed=0),
    "product of three": lambda: Identity() @ DenseSensing(MATRIX, SHAPE) @ OPERATORS.build("mask", shape=SHAPE),
    "callables": lambda: FromCallables(apply, transpose, SHAPE),
    "forward alone": lambda: FromCallables(apply, None, SHAPE),
    "scipy": scipy_operator,
    "pylops": pylops_operator,
}


@pytest.fixture(params=MAKERS)
def op(request: pytest.FixtureRequest) -> Operator:
    return MAKERS[request.param]()


def dense(op: Operator) -> Tensor:
    """A: (m, n), its columns the measurements of unit images."""
    return op(torch.eye(prod(SHAPE), dtype=torch.float64).view(-1, *SHAPE)).flatten(1).T


def test_adjoint_passes_the_dot_test_and_a_scaled_one_does_not(op: Operator) -> None:
    assert dot_test(op, images()) <= 1e-12
    right = op.adjoint
    op.adjoint = lambda y: 1.01 * right(y)  # type: ignore[method-assign]
    assert dot_test(op, images()) > 1e-5


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("rho", [0.3, torch.tensor([0.05, 2.0]).view(2, 1, 1, 1)], ids=["number", "each"])
def test_data_step_equals_the_generic_and_the_dense_one(op: Operator, rho: float | Tensor, dtype: torch.dtype) -> None:
    b = images(dtype=dtype)
    rho = rho.to(dtype) if isinstance(rho, Tensor) else rho
    x, matrix = op.solve_normal(b, rho), dense(op)
    shift = torch.as_tensor(rho, dtype=torch.float64).reshape(-1, 1, 1) * torch.eye(matrix.shape[1])
    exact = torch.linalg.solve(matrix.T @ matrix + shift, b.double().flatten(1)[..., None]).view_as(b)
    atol = PRECISION[dtype] * float(exact.abs().max())
    torch.testing.assert_close(x, op.solve_normal_report(b, rho).x, rtol=0, atol=atol)
    torch.testing.assert_close(x.double(), exact, rtol=0, atol=atol)


def test_gradients_pass_through_forward_and_adjoint(op: Operator) -> None:
    x = images().requires_grad_(True)
    assert torch.autograd.gradcheck(op, (x,))
    assert torch.autograd.gradcheck(op.adjoint, (op(x).detach().requires_grad_(True),))
    assert torch.autograd.gradgradcheck(op, (x,))


def test_shapes_agree_with_what_is_made(op: Operator) -> None:
    y = op(images())
    assert op.measurement_shape(SHAPE) == tuple(y.shape[1:])
    assert op.image_shape(tuple(y.shape[1:])) == SHAPE
    assert op.initial(y).shape == (2, *SHAPE)


def test_norm_is_the_largest_singular_value(op: Operator) -> None:
    assert op.norm(images()) == pytest.approx(float(torch.linalg.matrix_norm(dense(op), 2)), rel=1e-3)


def test_product_is_the_product_of_the_matrices() -> None:
    mask = OPERATORS.build("mask", shape=SHAPE)
    torch.testing.assert_close(dense(DenseSensing(MATRIX, SHAPE) @ mask), MATRIX @ dense(mask))


def test_a_product_knows_the_image_size_if_either_factor_does() -> None:
    sized = FromCallables(lambda x: x, lambda y: y, SHAPE)
    assert Composition(sized, Identity()).image_shape(None) == SHAPE
    assert Composition(Identity(), sized).image_shape(None) == SHAPE
    with pytest.raises(ValueError, match="any image size"):
        Composition(Identity(), Identity()).image_shape(None)


def test_a_product_moves_both_factors() -> None:
    op = MAKERS["product"]().double()
    assert all(b.dtype == torch.float64 for b in op.buffers() if b.is_floating_point())
    assert op.name == "DenseSensing @ Mask"


@pytest.mark.parametrize(
    "adjoint",
    [lambda y: 2 * transpose(y), lambda y: transpose(y).flip(-1), lambda y: torch.full((len(y), *SHAPE), torch.nan)],
    ids=["scaled", "flipped", "nan"],
)
def test_a_wrong_adjoint_is_refused(adjoint) -> None:
    with pytest.raises(ValueError, match="not the adjoint of forward"):
        FromCallables(apply, adjoint, SHAPE)
    FromCallables(apply, adjoint, SHAPE, check=False)


@pytest.mark.parametrize("adjoint", [transpose, None])
def test_a_function_that_is_not_linear_is_refused(adjoint) -> None:
    with pytest.raises(ValueError, match="linear"):
        FromCallables(lambda x: apply(x) + 1, transpose, SHAPE)
    with pytest.raises(ValueError, match="linear"):
        FromCallables(lambda x: apply(x) ** 2, adjoint, SHAPE)


def test_wrong_shapes_are_refused() -> None:
    op = FromCallables(apply, transpose, SHAPE)
    with pytest.raises(ValueError, match=r"x has shape \(1, 2, 4, 5\); FromCallables takes \(B, 2, 5, 4\)"):
        op(torch.zeros(1, 2, 4, 5))
    with pytest.raises(ValueError, match=r"y has shape \(1, 1, 1, 16\); FromCallables makes \(B, 1, 1, 17\)"):
        op.adjoint(torch.zeros(1, 1, 1, 16))
    with pytest.raises(ValueError, match="the adjoint's result"):
        FromCallables(apply, lambda y: transpose(y).transpose(2, 3), SHAPE)


def test_a_matrix_of_another_size_or_kind_is_refused() -> None:
    from scipy.sparse.linalg import LinearOperator, aslinearoperator

    with pytest.raises(ValueError, match="needs 17 × 20"):
        from_scipy(aslinearoperator(MATRIX.numpy()), (1, 5, 4))
    with pytest.raises(TypeError, match="aslinearoperator"):
        from_scipy(MATRIX.numpy(), SHAPE)
    with pytest.raises(ValueError, match="complex"):
        from_scipy(aslinearoperator(1j * MATRIX.numpy()), SHAPE)
    m = MATRIX.numpy()
    wrong = LinearOperator(m.shape, lambda v: m @ v, lambda v: -m.T @ v, dtype=np.float64)
    with pytest.raises(ValueError, match="not the adjoint of forward"):
        from_scipy(wrong, SHAPE)


def test_pylops_derivative_is_a_difference_of_rows() -> None:
    pylops = pytest.importorskip("pylops")
    op = from_scipy(pylops.FirstDerivative((6, 5), axis=0, kind="forward"), (1, 6, 5), (1, 6, 5))
    x = images((1, 6, 5))
    torch.testing.assert_close(op(x)[:, :, :-1], x.diff(dim=2))
    assert dot_test(op, x) <= 1e-12


def test_the_callers_image_is_unchanged(op: Operator) -> None:
    x = images()
    before = x.clone()
    op.solve_normal(op.adjoint(op(x)), 0.1)
    assert torch.equal(x, before)


def test_importing_the_adapter_imports_neither_scipy_nor_pylops() -> None:
    code = "import sys, pnp.interop.scipy; print({'scipy', 'pylops'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_product_tells_what_is_known_and_what_is_seen() -> None:
    x = images((1, 20, 20), 1)
    mask = Mask((x[0] > 0.7).float())
    product = mask @ OPERATORS.build("blur:std=1,size=3")
    torch.testing.assert_close(product.known(), mask.mask)
    y = product(x)
    assert Problem(product, y, TV(), sigma=0.1).noise_norm() == pytest.approx(0.1 * float(mask.mask.sum()) ** 0.5)
    valid = Identity() @ ValidBlur(kernels.box(5))
    assert valid.visible(x).shape == (1, 1, 16, 16)
