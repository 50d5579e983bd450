"""Compressive sensing: fewer random projections than pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import prod, sqrt
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from .. import checks
from ..linalg import conjugate_gradient
from ..registry import OPERATORS
from .base import Operator
from .matrices import Rows, factorise, gaussian_rows, orthonormal_rows, read_matrix, row_count
from .sized import SizedOperator

T = TypeVar("T")


class MatrixSensing(SizedOperator):
    """What dense and block-wise sensing share: a matrix, cast and factorised once for each dtype.

    Subclasses say how the matrix acts (`forward`, `adjoint`), and where its factors do (`_solve`).
    """

    matrix: Tensor
    pictorial = False
    task = "sensing"

    def __init__(self, matrix: Tensor, columns: int, x_shape: tuple[int, int, int], y_shape: tuple[int, ...]) -> None:
        super().__init__(x_shape, y_shape)
        if matrix.ndim != 2 or matrix.shape[0] == 0 or matrix.shape[1] != columns:
            raise ValueError(f"matrix has shape {tuple(matrix.shape)}; {self.name} needs (m, {columns}).")
        matrix = matrix if matrix.is_floating_point() else matrix.double()
        self.register_buffer("matrix", checks.finite(matrix, "matrix").detach().clone())
        self._casts: dict[torch.dtype, Tensor] = {}
        self._factors: dict[torch.dtype, list[Rows]] = {}
        self._made_from = (self.matrix, self.matrix._version)

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """Exact for every rho from one factorisation, made at the first call."""
        self.check_image(b, "b")
        checks.positive_tensor(rho, "rho")
        return self._solve(b, rho)

    def norm(self, x: Tensor | None = None) -> float:
        return sqrt(max(rows.largest for rows in self._rows(self.matrix if x is None else x)))

    def initial(self, y: Tensor) -> Tensor:
        return likeliest(self, y)

    @abstractmethod
    def _solve(self, b: Tensor, rho: float | Tensor) -> Tensor: ...

    def _parts(self, matrix: Tensor) -> list[Rows]:
        """The factors that `_solve` needs."""
        return [factorise(matrix)]

    def _cast(self, like: Tensor) -> Tensor:
        if like.dtype == self.matrix.dtype:
            return self.matrix
        return self._once(self._casts, like, lambda: self.matrix.to(like.dtype))

    def _rows(self, like: Tensor) -> list[Rows]:
        return self._once(self._factors, like, lambda: self._parts(self._cast(like)))

    def _once(self, kept: dict[torch.dtype, T], like: Tensor, make: Callable[[], T]) -> T:
        if self._made_from[0] is not self.matrix or self._made_from[1] != self.matrix._version:  # moved or changed
            self._casts.clear()
            self._factors.clear()
            self._made_from = (self.matrix, self.matrix._version)
        if like.dtype not in kept:
            with torch.inference_mode(False), torch.no_grad():
                kept[like.dtype] = make()
        return kept[like.dtype]


class DenseSensing(MatrixSensing):
    """y = M x with any matrix M, x flattened channel by channel and row by row.

    matrix: (m, C·H·W), kept in its own dtype; y: (B, 1, 1, m).  Exact data step: two products with M's right singular
    vectors, which take as much memory as M and one factorisation at the first call.
    """

    def __init__(self, matrix: Tensor, image_shape: tuple[int, int, int]) -> None:
        super().__init__(matrix, prod(image_shape), image_shape, (1, 1, matrix.shape[0]))

    def forward(self, x: Tensor) -> Tensor:
        self.check_image(x)
        return (x.flatten(1) @ self._cast(x).T).view(-1, *self.y_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        self.check_measurement(y)
        return (y.flatten(1) @ self._cast(y)).view(-1, *self.x_shape)

    def _solve(self, b: Tensor, rho: float | Tensor) -> Tensor:
        (rows,) = self._rows(b)
        return rows.solve(b.reshape(len(b), 1, 1, -1), rho).view_as(b)


class OrthonormalSensing(DenseSensing):
    """y = Q x with orthonormal rows, Q Qᵀ = I: the rows of `matrix` after QR, kept in float64.

    matrix: (m, C·H·W), m <= C·H·W; y: (B, 1, 1, m).  (AᵀA + rho I)⁻¹ b = (b − Qᵀ Q b / (1 + rho)) / rho.
    """

    def __init__(self, matrix: Tensor, image_shape: tuple[int, int, int]) -> None:
        super().__init__(orthonormal_rows(matrix), image_shape)

    def _parts(self, matrix: Tensor) -> list[Rows]:
        return [Rows(matrix, matrix.new_ones(len(matrix)), 1.0)]


class BlockSensing(MatrixSensing):
    """Each block × block square of each channel is measured on its own, by the same matrix (Kulkarni et al. 2016).

    matrix: (m, block²), for a square flattened row by row; y: (B, C, squares, m), squares row by row.  The image is
    continued by zeros, below and to the right, to whole squares.  Exact: squares that reach beyond the border see
    fewer columns of the matrix, and get factors of their own.
    """

    def __init__(self, matrix: Tensor, image_shape: tuple[int, int, int], block: int = 33) -> None:
        channels, height, width = image_shape
        down, across = -(-height // block), -(-width // block)  # rounded up
        super().__init__(matrix, block**2, image_shape, (channels, down * across, matrix.shape[0]))
        self.block, self.down = block, down
        inside = self._squares(torch.ones(1, 1, height, width))[0, 0]  # (squares, block²), 0 beyond the border
        seen, kind = inside.unique(dim=0, return_inverse=True)
        self.register_buffer("seen", seen, persistent=False)  # (kinds, block²), kinds <= 4
        self.register_buffer("kind", kind, persistent=False)  # (squares,)

    seen: Tensor
    kind: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.check_image(x)
        return self._squares(x) @ self._cast(x).T

    def adjoint(self, y: Tensor) -> Tensor:
        self.check_measurement(y)
        return self._image(y @ self._cast(y))

    def _solve(self, b: Tensor, rho: float | Tensor) -> Tensor:
        squares = self._squares(b)
        x = torch.empty_like(squares)
        for kind, rows in enumerate(self._rows(b)):
            x[:, :, self.kind == kind] = rows.solve(squares[:, :, self.kind == kind], rho)
        return self._image(x)

    def _parts(self, matrix: Tensor) -> list[Rows]:
        return [factorise(matrix * seen.to(matrix.dtype)) for seen in self.seen]

    def _squares(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, squares, block²)."""
        p = self.block
        x = pad(x, (0, -x.shape[-1] % p, 0, -x.shape[-2] % p))
        return x.unflatten(3, (-1, p)).unflatten(2, (-1, p)).transpose(3, 4).flatten(4).flatten(2, 3)

    def _image(self, squares: Tensor) -> Tensor:
        """The inverse of `_squares`, and its adjoint: what lies beyond the border is dropped."""
        x = squares.unflatten(3, (self.block, self.block)).unflatten(2, (self.down, -1))
        x = x.transpose(3, 4).flatten(4).flatten(2, 3)  # (B, C, down block, across block)
        return x[..., : self.x_shape[1], : self.x_shape[2]].contiguous()


class StructuredSensing(SizedOperator):
    """A = S H D: random signs D, the Hartley transform H of each channel, a random choice S of its coefficients.

    y: (B, 1, 1, m), m = round(ratio C H W).  No matrix is stored; the rows are orthonormal at every image size.
    H D is orthogonal and makes AᵀA diagonal, so that (AᵀA + rho I)⁻¹ b = D H (H D b / (SᵀS + rho)) is exact.
    Do et al. 2012, with a local randomiser; Hartley instead of their transforms.
    """

    signs: Tensor
    chosen: Tensor
    sampled: Tensor

    pictorial = False
    task = "sensing"

    def __init__(self, image_shape: tuple[int, int, int], ratio: float = 0.25, seed: int = 0) -> None:
        n = prod(image_shape)
        m = row_count(ratio, n)
        super().__init__(image_shape, (1, 1, m))
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("signs", torch.randint(2, image_shape, generator=generator).float() * 2 - 1)
        chosen = torch.randperm(n, generator=generator)[:m].sort().values  # in the order of memory, for speed
        self.register_buffer("chosen", chosen)
        self.register_buffer("sampled", torch.zeros(n).index_fill(0, chosen, 1).view(image_shape))  # diagonal of SᵀS

    def forward(self, x: Tensor) -> Tensor:
        self.check_image(x)
        return self._spectrum(x).flatten(1).index_select(1, self.chosen).view(-1, *self.y_shape)

    def adjoint(self, y: Tensor) -> Tensor:
        self.check_measurement(y)
        spectrum = y.new_zeros(len(y), prod(self.x_shape)).index_copy(1, self.chosen, y.flatten(1))
        return self._image(spectrum.view(-1, *self.x_shape))

    def normal(self, x: Tensor) -> Tensor:
        self.check_image(x)
        return self._image(self._spectrum(x) * self.sampled.to(x.dtype))

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """D H (H D b / (SᵀS + rho)): two fast transforms."""
        self.check_image(b, "b")
        checks.positive_tensor(rho, "rho")
        return self._image(self._spectrum(b) / (self.sampled.to(b.dtype) + rho))

    def initial(self, y: Tensor) -> Tensor:
        return likeliest(self, y)

    def norm(self, x: Tensor | None = None) -> float:
        return 1.0

    def _spectrum(self, x: Tensor) -> Tensor:
        return hartley(x * self.signs.to(x.dtype))

    def _image(self, spectrum: Tensor) -> Tensor:
        return hartley(spectrum) * self.signs.to(spectrum.dtype)


def likeliest(operator: Operator, y: Tensor, tol: float = 1e-2) -> Tensor:
    """The likeliest picture that explains y, when pictures are Gaussian with amplitudes falling as 1/f:

        x = S u,   u = argmin ‖A S u − y‖² + 1e-5 ‖u‖² ,   S(f) = 1/(N f + 1), f in cycles per pixel, N the longer side,

    by conjugate gradients to the relative residual tol, loose because it is a first guess.  y: (B, ...).
    Field 1987 for the spectrum of natural images.
    """
    h, w = operator.image_shape(tuple(y.shape[1:]))[1:]
    rows, columns = (f(n, dtype=y.dtype, device=y.device) for f, n in ((torch.fft.fftfreq, h), (torch.fft.rfftfreq, w)))
    amplitude = 1 / (max(h, w) * (rows[:, None].square() + columns.square()).sqrt() + 1)

    def shaped(x: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(x) * amplitude, s=(h, w))

    def normal(u: Tensor) -> Tensor:
        return shaped(operator.normal(shaped(u))) + 1e-5 * u

    found = conjugate_gradient(normal, shaped(operator.adjoint(y)), tol=tol, max_iter=50, acceptable=float("inf"))
    return shaped(found.x)


def hartley(x: Tensor) -> Tensor:
    """H x, H[uv, hw] = cas(2π(u h/H + v w/W)) / √(H W), cas t = cos t + sin t: real, H = Hᵀ = H⁻¹ at every size.

    Re − Im of the Fourier transform (Bracewell 1983); the half that rfft2 leaves out is its mirror's Re + Im.
    """
    height, width = x.shape[-2:]
    # the real transform, and unscaled: MKL scales complex float32 ones of 2048 × 2048 wrongly (pytorch issue 169670)
    spectrum = torch.fft.rfft2(x)  # columns 0 ... W//2
    mirror = (spectrum.real + spectrum.imag)[..., 1 : (width + 1) // 2].flip(-2, -1).roll(1, -2)
    return torch.cat([spectrum.real - spectrum.imag, mirror], -1) / sqrt(height * width)


@OPERATORS.register(
    "sensing",
    cite=("do2012", "kulkarni2016", "zhang2018"),
    examples=("sensing", "sensing:gaussian", "sensing:structured", "sensing:block,block=5,ratio=0.4"),
)
def sensing(
    kind: Literal["orthonormal", "gaussian", "structured", "block"] = "orthonormal",
    ratio: float = 0.25,
    block: int = 33,
    file: str | None = None,
    *,
    shape: tuple[int, int, int],
    seed: int = 0,
) -> MatrixSensing | StructuredSensing:
    """Compressive sensing: ratio times as many random projections as there are values in the image.

    orthonormal, gaussian: dense rows over the whole image, all channels together; gaussian ones are N(0, 1/m), as in
    Chang et al. 2017.  structured: random signs and a fast transform, for large pictures.  block: orthonormal rows for
    each block × block square of each channel, as in ReconNet and ISTA-Net.
    file: the matrix (.npy or .mat) instead of a random one; the rows of a block matrix are taken as they are.
    """
    if kind == "structured":
        if file is not None:
            raise ValueError("structured sensing has no matrix; use kind=gaussian, orthonormal or block with a file.")
        return StructuredSensing(shape, ratio, seed)
    checks.positive(block, "block")
    n = block**2 if kind == "block" else prod(shape)
    matrix = read_matrix(file) if file is not None else gaussian_rows(row_count(ratio, n), n, seed)
    if kind == "block":
        return BlockSensing(orthonormal_rows(matrix) if file is None else matrix, shape, block)
    return DenseSensing(matrix.float(), shape) if kind == "gaussian" else OrthonormalSensing(matrix, shape)
