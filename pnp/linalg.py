"""Linear algebra on images: per-image inner products, conjugate gradients, largest singular value, a cosine basis.

Each row of a batch is its own problem: it gets its own step sizes and its own stop, the same as if it were alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each image, shape (B, 1, 1, 1) for (B, C, H, W); complex input gives the real part."""
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
        return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 2))
    return (a * b).flatten(1).sum(1).view(-1, *[1] * (a.ndim - 1))


def norm(a: Tensor) -> Tensor:
    """Euclidean norm of each image, shape (B, 1, 1, 1)."""
    return dot(a, a).sqrt()


Value = TypeVar("Value", Tensor, float | Tensor)


def per_image(value: Value, like: Tensor) -> Value:
    """One value an image, (B, 1, 1, 1) or (B,), with as many axes as `like`, (B, ...); a number stays."""
    return value.reshape(-1, *[1] * (like.ndim - 1)) if isinstance(value, Tensor) else value


class LinearSolve(NamedTuple):
    """What an iterative linear solve reached."""

    x: Tensor
    residual: Tensor  # (B, 1, 1, 1), ‖b − Mx‖ / ‖b‖
    iterations: int


def conjugate_gradient(
    matvec: Callable[[Tensor], Tensor],
    b: Tensor,
    x0: Tensor | None = None,
    *,
    tol: float = 1e-6,
    max_iter: int = 500,
    precondition: Callable[[Tensor], Tensor] = lambda r: r,
    acceptable: float = 0.0,
) -> LinearSolve:
    """Solve M x = b, M symmetric positive definite, image by image.

    Stops each image at ‖b − Mx‖ <= tol ‖b‖; a stopped image no longer moves.  The residual is recomputed from its
    definition at the end and reported; a warning says when it misses the tolerance tenfold and is not `acceptable`.
    Hestenes & Stiefel 1952; preconditioned form: Golub & Van Loan, algorithm 11.5.1.
    """
    x = torch.zeros_like(b) if x0 is None else x0.clone()
    scale = norm(b).clamp_min(torch.finfo(b.dtype).tiny)
    r = b - matvec(x) if x0 is not None else b.clone()
    z = precondition(r)
    p, rz = z, dot(r, z)
    iterations = 0
    for _ in range(max_iter):
        active = norm(r) > tol * scale
        if not bool(active.any()):
            break
        mp = matvec(p)
        alpha = torch.where(active, rz / _nonzero(dot(p, mp)), 0)
        x = x + alpha * p
        r = r - alpha * mp
        z = precondition(r)
        rz_next = dot(r, z)
        p = z + torch.where(active, rz_next / _nonzero(rz), 0) * p
        rz = rz_next
        iterations += 1
    residual = norm(b - matvec(x)) / scale
    if bool((residual > max(10 * tol, acceptable)).any()):
        warnings.warn(
            f"conjugate gradients stopped at relative residual {residual.max().item():.1e} after {iterations} "
            f"iterations; {tol:.1e} was asked for.",
            RuntimeWarning,
            stacklevel=2,
        )
    return LinearSolve(x, residual, iterations)


def _nonzero(d: Tensor) -> Tensor:
    return torch.where(d == 0, torch.ones_like(d), d)


def largest_singular_value(
    normal: Callable[[Tensor], Tensor], like: Tensor, *, tol: float = 1e-5, max_iter: int = 300, seed: int = 0
) -> float:
    """sqrt of the largest eigenvalue of AᵀA by power iteration; `like` gives shape, dtype and device."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
    value = 0.0
    for _ in range(max_iter):
        w = normal(v)
        size = float(torch.linalg.vector_norm(w))
        if size == 0:
            return 0.0
        v = w / size
        if abs(size - value) <= tol * size:
            break
        value = size
    return size**0.5


def trace(normal: Callable[[Tensor], Tensor], like: Tensor, *, probes: int = 8, seed: int = 0) -> float:
    """tr(AᵀA), for one image of the shape of `like`, as the mean of ⟨z, AᵀA z⟩ over random signs z.

    The error falls as one over the square root of probes × pixels; 0 for a mask.   Hutchinson 1990.
    """
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(probes):
        z = torch.randint(0, 2, (1, *like.shape[1:]), generator=generator).to(like) * 2 - 1
        total += float(dot(z, normal(z)))
    return total / probes


def dct_basis(size: int) -> Tensor:
    """The orthonormal two-dimensional DCT-II of size × size patches: (size², size²), float64, one frequency a row.

    Row size·i + j is the outer product of cos(π i (2n + 1)/(2 size)) and the same of j, normalised; row 0 is constant.
    """
    n = torch.arange(size, dtype=torch.float64)
    rows = torch.cos(torch.pi * (2 * n + 1) * n[:, None] / (2 * size)) * (2 / size) ** 0.5
    rows[0] /= 2**0.5
    return torch.kron(rows, rows)
