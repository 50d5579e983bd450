"""Operators made of other things: the identity, a product, a pair of functions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor

from .. import checks
from ..registry import OPERATORS
from .base import Operator, dot_test
from .sized import SizedOperator


class Identity(Operator):
    """y = x: denoising.  Exact: (AᵀA + rho I)⁻¹ b = b / (1 + rho)."""

    task, pixelwise = "identity", True

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """b / (1 + rho)."""
        return b / (1 + checks.positive_tensor(rho, "rho"))

    def norm(self, x: Tensor | None = None) -> float:
        return 1.0

    def masked(self, known: Tensor) -> Operator:
        from .mask import Mask

        return Mask(known)


@OPERATORS.register("identity")
def identity() -> Identity:
    """The image is not changed, only noise is added: denoising."""
    return Identity()


class Undescribed(Identity):
    """Nobody says what was done to the picture: for networks that restore a measurement by itself (`Prior.restore`).

    It shows the measurement as it is, y = x, and solvers that need an operator refuse it.
    """

    described, task = False, "other"


@OPERATORS.register("unknown")
def undescribed() -> Undescribed:
    """Nobody says what was done to the picture: for priors that find out by themselves, as text does."""
    return Undescribed()


class Composition(Operator):
    """y = B (A x): `inner` A acts first, then `outer` B; written `B @ A`.

    The data step is the generic one, conjugate gradients: exact steps of A and of B do not combine into one of B A.
    """

    def __init__(self, outer: Operator, inner: Operator) -> None:
        super().__init__()
        self.outer, self.inner = outer, inner
        self.tolerance = max(outer.tolerance, inner.tolerance)
        self.pictorial = outer.pictorial

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ Bᵀ y."""
        return self.inner.adjoint(self.outer.adjoint(y))

    def normal(self, x: Tensor) -> Tensor:
        """Aᵀ (BᵀB) A x."""
        return self.inner.adjoint(self.outer.normal(self.inner(x)))

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        if y_shape is None:
            with suppress(ValueError):  # A works for any size; B may still tell
                return self.inner.image_shape(None)
        return self.inner.image_shape(self.outer.image_shape(y_shape))

    def initial(self, y: Tensor) -> Tensor:
        """A's first guess from B's."""
        return self.inner.initial(self.outer.initial(y))

    def known(self) -> Tensor | None:
        """B's: y is its measurement."""
        return self.outer.known()

    def visible(self, x: Tensor) -> Tensor:
        """A's: x is its image."""
        return self.inner.visible(x)

    @property
    def name(self) -> str:
        return f"{self.outer.name} @ {self.inner.name}"


class FromCallables(SizedOperator):
    """y = forward(x), Aᵀ y = adjoint(y): two functions of batches as an operator.

    forward: (B, *image_shape) -> (B, *measurement_shape), linear; adjoint: the map back, or None for the
    vector-Jacobian product of `forward`.  measurement_shape: found by one call of `forward` when None.
    Raises ValueError if adjoint is not the adjoint of forward; `check=False` skips that test.
    """

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor] | None,
        image_shape: tuple[int, int, int],
        measurement_shape: tuple[int, ...] | None = None,
        *,
        check: bool = True,
    ) -> None:
        if measurement_shape is None:
            measurement_shape = tuple(forward(torch.zeros(1, *image_shape)).shape[1:])
        super().__init__(image_shape, measurement_shape)
        self._forward, self._adjoint = forward, adjoint
        if check:
            _require_adjoint_pair(self)

    def forward(self, x: Tensor) -> Tensor:
        self.check_image(x)
        y = self._forward(x)
        self.check_measurement(y)
        return y

    def adjoint(self, y: Tensor) -> Tensor:
        self.check_measurement(y)
        x = super().adjoint(y) if self._adjoint is None else self._adjoint(y)
        self.check_image(x, "the adjoint's result")
        return x


def _require_adjoint_pair(operator: SizedOperator) -> None:
    gap = dot_test(operator, torch.zeros(1, *operator.x_shape))
    # float32 rounding leaves about 1e-8, an unrelated adjoint about 1/√m: 5e-4 for a 4-megapixel measurement
    if not gap <= 1e-5:
        raise ValueError(
            f"adjoint is not the adjoint of forward: ⟨Ax, y⟩ and ⟨x, Aᵀy⟩ differ by {gap:.1e} ‖Ax‖‖y‖. "
            "Check that forward is linear and that adjoint applies its transposed matrix."
        )
