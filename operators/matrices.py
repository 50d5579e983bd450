"""Sensing matrices: how many rows, random ones, orthonormal ones, ones from a file, and their singular values."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import checks

PUBLISHED_ROWS = {(0.01, 1089): 10, (0.04, 1089): 43, (0.5, 1089): 545}  # of ReconNet and ISTA-Net, where not nearest


def row_count(ratio: float, n: int) -> int:
    """How many rows the ratio m/n means: the nearest number, at least 1; ReconNet's and ISTA-Net's own at 33 × 33."""
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; expected a fraction above 0 and at most 1.")
    return PUBLISHED_ROWS.get((ratio, n), max(1, round(ratio * n)))


def gaussian_rows(m: int, n: int, seed: int = 0) -> Tensor:
    """M: (m, n) in float64 with independent entries N(0, 1/m).  Raises ValueError if that takes more than 4 GiB."""
    gib = 8 * m * n / 2**30
    if gib > 4:
        raise ValueError(
            f"a dense {m} × {n} sensing matrix takes {gib:.1f} GiB, more than 4; "
            "use kind=structured, kind=block, or a smaller ratio."
        )
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator, dtype=torch.float64) / sqrt(m)


def orthonormal_rows(matrix: Tensor) -> Tensor:
    """Q: (m, n) with Q Qᵀ = I and the row space of `matrix`, in float64: Gram-Schmidt on its rows, in order."""
    if matrix.ndim != 2 or matrix.shape[0] > matrix.shape[1]:
        raise ValueError(f"matrix has shape {tuple(matrix.shape)}; orthonormal rows need (m, n), m <= n.")
    q, r = torch.linalg.qr(matrix.detach().double().T)
    return (q * torch.where(r.diagonal() < 0, -1, 1)).T.contiguous()  # LAPACK leaves the signs open: take R's positive


class Rows(NamedTuple):
    """The thin singular value decomposition without its left factor: AᵀA = Vᵀ diag(s) V, V Vᵀ = I."""

    v: Tensor  # (r, n)
    s: Tensor  # (r,), squared singular values
    largest: float  # of s

    def solve(self, b: Tensor, rho: float | Tensor) -> Tensor:
        """(AᵀA + rho I)⁻¹ b = (b − Vᵀ diag(s / (s + rho)) V b) / rho   (Woodbury), for b: (..., n)."""
        c = b @ self.v.T
        x = (b - (c * (self.s / (self.s + rho))) @ self.v) / rho
        if b.dtype == torch.float32 and float(torch.as_tensor(rho).min()) < 1e-3 * self.largest:
            # the difference cancels to the relative precision eps s/rho, but V x = V b / (s + rho) is known to eps
            x = x + (c / (self.s + rho) - x @ self.v.T) @ self.v
        return x


def factorise(matrix: Tensor) -> Rows:
    """The Rows of A: (m, n), from one eigendecomposition in float64 of A Aᵀ, or of AᵀA if that is smaller."""
    a = matrix.double()
    wide = a.shape[0] <= a.shape[1]
    s, u = torch.linalg.eigh(a @ a.T if wide else a.T @ a)
    keep = s > s.max() * max(a.shape) * torch.finfo(s.dtype).eps  # the others are zeros, rounded
    s, u = s[keep], u[:, keep]
    v = (u.T @ a) / s.sqrt()[:, None] if wide else u.T
    return Rows(v.to(matrix.dtype).contiguous(), s.to(matrix.dtype), float(s.max()))


def read_matrix(file: str) -> Tensor:
    """The matrix (m, n) in an NPY file, or the only one in a MAT file (before version 7.3), in float64."""
    suffix = Path(file).suffix.lower()
    if suffix not in (".npy", ".mat"):
        raise ValueError(f"unknown matrix file {file}; expected .npy or .mat.")
    try:
        matrix = _load_mat(file) if suffix == ".mat" else np.load(file, allow_pickle=False)
        return checks.finite(torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float64)), "it")
    except Exception as error:  # the readers raise a dozen kinds
        raise ValueError(f"cannot read the matrix {file}: {str(error).partition(chr(10))[0]}") from error


def _load_mat(file: str) -> np.ndarray:
    from scipy.io import loadmat

    arrays = {k: v for k, v in loadmat(file).items() if not k.startswith("__") and v.ndim == 2 and v.size > 1}
    if len(arrays) != 1:
        raise ValueError(f"expected one matrix, found {', '.join(sorted(arrays)) or 'none'}")
    return next(iter(arrays.values()))
