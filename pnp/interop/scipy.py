"""Linear operators of SciPy and PyLops as ours.  Neither package is imported here: the operator brings its own."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..operators.compose import FromCallables

MatMat = Callable[[np.ndarray], np.ndarray]


class LinearOperator(Protocol):
    """What is used of a scipy.sparse.linalg.LinearOperator or a pylops.LinearOperator."""

    shape: tuple[int, int]
    dtype: Any

    def matmat(self, X: np.ndarray, /) -> np.ndarray: ...

    def rmatmat(self, X: np.ndarray, /) -> np.ndarray: ...


def from_scipy(
    linear_operator: LinearOperator,
    image_shape: tuple[int, int, int],
    measurement_shape: tuple[int, ...] | None = None,
    *,
    check: bool = True,
) -> FromCallables:
    """A scipy or pylops LinearOperator M as an operator: y = M x, x flattened row by row, each image on its own.

    M: real, of shape (m, C·H·W).  y: (B, *measurement_shape), by default (B, 1, 1, m).  Runs on the CPU in NumPy;
    gradients pass through forward and adjoint.  Raises TypeError for a plain matrix, and ValueError if the sizes do
    not fit or, with `check`, if rmatvec is not the adjoint of matvec.
    """
    if not hasattr(linear_operator, "rmatmat"):
        kind = type(linear_operator).__name__
        raise TypeError(f"expected a LinearOperator, got {kind}; wrap it: scipy.sparse.linalg.aslinearoperator(...).")
    if np.issubdtype(linear_operator.dtype, np.complexfloating):
        raise ValueError(f"the operator is {linear_operator.dtype}; only real operators act on images.")
    m, n = map(int, linear_operator.shape)
    y_shape = (1, 1, m) if measurement_shape is None else tuple(measurement_shape)
    if (m, n) != (prod(y_shape), prod(image_shape)):
        raise ValueError(f"the operator is {m} × {n}; {tuple(image_shape)} -> {y_shape} needs "
                         f"{prod(y_shape)} × {prod(image_shape)}.")
    forward, adjoint = linear_operator.matmat, linear_operator.rmatmat
    return FromCallables(
        lambda x: _Linear.apply(x, forward, adjoint, y_shape),
        lambda y: _Linear.apply(y, adjoint, forward, tuple(image_shape)),
        image_shape,
        y_shape,
        check=check,
    )


class _Linear(torch.autograd.Function):
    """x -> M x in NumPy, with the derivative Mᵀ, which is again such a function."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, apply: MatMat, transposed: MatMat, shape: tuple[int, ...]) -> Tensor:
        ctx.saved = (transposed, apply, tuple(x.shape[1:]))
        columns = x.detach().flatten(1).T.cpu().numpy()  # (n, B)
        return torch.from_numpy(np.ascontiguousarray(apply(columns).T)).to(x).view(len(x), *shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return _Linear.apply(grad, *ctx.saved), None, None, None
