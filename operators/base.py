"""The contract of every linear operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import checks
from ..linalg import LinearSolve, conjugate_gradient, dot, largest_singular_value

if TYPE_CHECKING:
    from .unknown import Unknown, UnknownMotion


class Operator(nn.Module, ABC):
    """A linear map A from images (B, C, H, W) to measurements, `y = A x`.

    Only `forward` must be written.  An override of another method may be faster and must give the default's answer.
    Tensors that define the map (kernels, masks, matrices) are buffers, so `.to(device)` and `.double()` carry them.
    """

    pictorial: bool = True  # y is a picture, whose neighbouring samples are neighbours in the scene
    pixelwise: bool = False  # each number of y is one number of x, as it is: every pixel is a problem of its own
    described: bool = True  # False: nobody says what was done, so A is not the way from x to y
    task: str = "other"  # which rows of the default parameters fit: blur, mask, downsample, sensing, identity
    called: str = "operator"  # what a message says may be wrong: of a blur the kernel
    tolerance: float = 1e-6  # relative residual of the default `solve_normal`, for float32; float64 goes to 1e-12

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A x."""

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ y: (B, C, H, W).  The default is the vector-Jacobian product of `forward`."""
        with torch.inference_mode(False), torch.enable_grad():
            x = torch.zeros((y.shape[0], *self.image_shape(tuple(y.shape[1:]))), dtype=y.dtype, device=y.device)
            x.requires_grad_(True)
            (result,) = torch.autograd.grad(self.forward(x), x, y, create_graph=y.requires_grad)
        return result

    def normal(self, x: Tensor) -> Tensor:
        """AᵀA x."""
        return self.adjoint(self.forward(x))

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """(AᵀA + rho I)⁻¹ b, by default with conjugate gradients, each image to its own tolerance.

        b: (B, C, H, W); rho > 0, a number or (B, 1, 1, 1); x0: a guess.  Raises ValueError if rho <= 0.
        """
        return self.solve_normal_report(b, rho, x0).x

    def solve_normal_report(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> LinearSolve:
        """The generic solve and what it reached: the reference that every override is tested against."""
        checks.positive_tensor(rho, "rho")
        rho = torch.as_tensor(rho, dtype=b.dtype, device=b.device)
        rounding = 100 * torch.finfo(b.dtype).eps * (1 + 1 / float(rho.min()))  # a residual that needs no warning
        return conjugate_gradient(
            lambda v: self.normal(v) + rho * v,
            b,
            x0,
            tol=self.tolerance if b.dtype == torch.float32 else 1e-12,
            precondition=self.preconditioner(b, rho),
            acceptable=rounding,
        )

    def preconditioner(self, b: Tensor, rho: float | Tensor) -> Callable[[Tensor], Tensor]:
        """r -> an approximation of (AᵀA + rho I)⁻¹ r, symmetric and positive definite; default: r itself."""
        return lambda r: r

    def norm(self, x: Tensor | None = None) -> float:
        """Largest singular value of A; `x` gives the image size where the operator has none of its own."""
        like = self._zeros(self.image_shape(None)) if x is None else x[:1]
        return largest_singular_value(self.normal, like)

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        """(C, H, W) of the image behind a measurement of shape `y_shape` (without the batch).

        None asks for the one image shape of an operator that is made for a single size.  Default: the same shape.
        """
        if y_shape is None or len(y_shape) != 3:
            raise ValueError(f"{self.name} works for any image size; give a measurement of shape (C, H, W).")
        return (y_shape[0], y_shape[1], y_shape[2])

    def measurement_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Shape of A x (without the batch) for an image of shape (C, H, W)."""
        with torch.no_grad():
            return tuple(self.forward(self._zeros(image_shape)).shape[1:])

    def initial(self, y: Tensor) -> Tensor:
        """A plain first guess of the image: Aᵀy.  Overrides return the y that a person would look at."""
        return self.adjoint(y)

    def known(self) -> Tensor | None:
        """1 where y was measured and 0 where it holds nothing, broadcast against y; None: everywhere."""
        return None

    def masked(self, known: Tensor) -> Operator:
        """m A: the same operator where only y with known = 1, (1, H, W) or (C, H, W), was measured."""
        from .mask import Masked

        return Masked(known, self)

    def planes(self, y: Tensor) -> tuple[Tensor, Tensor | None]:
        """y as a picture whose neighbouring samples are of one kind, and its known samples (`known`); default: y."""
        return y, self.known()

    def visible(self, x: Tensor) -> Tensor:
        """The part of the image that the measurement shows; default: all of it."""
        return x

    def transfer(self, size: tuple[int, int]) -> Tensor | None:
        """K of a convolution at the frequencies of rfft2 of this size, (1 or C, h, w//2 + 1), complex128.

        None where A is not a convolution, or its kernel is larger than this size.
        """
        return None

    def rivals(self) -> dict[str, Operator]:
        """Operators that may have been meant in the place of this one, by what sets each apart, in words."""
        return {}

    def turned(self) -> Operator | None:
        """The operator with its kernel turned by 180°; None where it has none, or that is the same."""
        return None

    def unknown(self) -> Unknown | UnknownMotion | None:
        """What has to be found in the measurement first; None: the operator is known."""
        return None

    @property
    def name(self) -> str:
        return type(self).__name__

    def _zeros(self, image_shape: tuple[int, int, int]) -> Tensor:
        """A black image where the operator's buffers live."""
        device = next((b.device for b in self.buffers()), torch.device("cpu"))
        return torch.zeros(1, *image_shape, device=device)

    def __matmul__(self, other: Operator) -> Operator:
        """`B @ A` applies A first: (B @ A)(x) = B(A(x))."""
        from .compose import Composition

        return Composition(self, other)


def dot_test(operator: Operator, x: Tensor, *, seed: int = 0) -> float:
    """Relative gap |⟨Ax, y⟩ − ⟨x, Aᵀy⟩| / (‖Ax‖ ‖y‖) for a random y: 0 up to rounding if the adjoint is right.

    x: (B, C, H, W), any image of the size to test; float64 gives about 1e-16 for a right adjoint.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    u = torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x)
    au = operator(u)
    v = torch.randn(au.shape, generator=generator, dtype=torch.float64).to(au)
    gap = dot(au, v).flatten() - dot(u, operator.adjoint(v)).flatten()
    scale = torch.linalg.vector_norm(au.flatten(1), dim=1) * torch.linalg.vector_norm(v.flatten(1), dim=1)
    return float((gap.abs() / scale).max())
