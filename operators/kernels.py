"""Blur kernels: arrays (kh, kw) or (C, kh, kw) of sum 1, made by formula or read from a file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checks import positive


def gaussian(std: float, size: int | None = None) -> Tensor:
    """exp(−|i − c|²/(2 std²)), normalised, c the middle of size × size pixels; by default 4 std on each side."""
    size = 2 * int(np.ceil(4 * positive(std, "std"))) + 1 if size is None else int(positive(size, "size"))
    g = torch.exp(-((torch.arange(size, dtype=torch.float64) - (size - 1) / 2) ** 2) / (2 * std**2))
    return _normalised(torch.outer(g, g))


def box(size: int) -> Tensor:
    """The mean over size × size pixels."""
    return torch.full((size, size), 1.0 / int(positive(size, "size")) ** 2, dtype=torch.float64)


def disk(radius: float, oversampling: int = 16) -> Tensor:
    """An out-of-focus disk: the share of each pixel that lies within `radius` of the centre."""
    half = max(0, int(np.ceil(positive(radius, "radius") + 0.5)) - 1)
    n = (2 * half + 1) * oversampling
    t = (torch.arange(n, dtype=torch.float64) + 0.5) / oversampling - (half + 0.5)
    inside = (t[:, None] ** 2 + t[None, :] ** 2 <= radius**2).double()
    side = 2 * half + 1
    return _normalised(inside.reshape(side, oversampling, side, oversampling).mean((1, 3)))


def motion(length: float, angle: float = 0.0, oversampling: int = 32) -> Tensor:
    """A straight motion: a line of `length` pixels at `angle` degrees (counter-clockwise from the x axis).

    The line is sampled finely and shared among the four neighbours of each sample (bilinear weights).
    """
    if not np.isfinite(angle):
        raise ValueError(f"angle is {angle}; expected degrees.")
    n = max(1, int(np.ceil(positive(length, "length") * oversampling)))
    t = (np.arange(n) + 0.5) / n * length - length / 2
    return _path(-t * np.sin(np.deg2rad(angle)), t * np.cos(np.deg2rad(angle)))


def shake(length: float, seed: int = 0, smoothness: float = 0.25) -> Tensor:
    """A hand-held exposure: a curved path, drawn with the seed, whose longer side spans `length` pixels.

    Row and column are independent Gaussian processes over the exposure, t in [0, 1], of covariance
    exp(−(t − t')²/(2 smoothness²)): the camera stays longer where it turns, as in measured kernels (Levin et al. 2009).
    """
    knots = np.linspace(0, 1, 33)
    covariance = np.exp(-0.5 * ((knots[:, None] - knots) / positive(smoothness, "smoothness")) ** 2)
    root = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(knots)))
    t = (np.arange(4000) + 0.5) / 4000
    path = np.stack([np.interp(t, knots, z) for z in (root @ np.random.default_rng(seed).standard_normal((33, 2))).T])
    low, high = path.min(1, keepdims=True), path.max(1, keepdims=True)
    rows, columns = (path - (low + high) / 2) * (positive(length, "length") / (high - low).max())
    return _path(rows, columns)


def _path(rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """The kernel of a point that was at these places, relative to the middle, equally long at each."""
    half = int(np.ceil(max(np.abs(rows).max(), np.abs(columns).max()) + 1e-9))
    kernel = np.zeros((2 * half + 3, 2 * half + 3))
    r0, c0 = np.floor(rows).astype(int), np.floor(columns).astype(int)
    for dr in (0, 1):
        for dc in (0, 1):
            weight = np.abs(1 - dr - (rows - r0)) * np.abs(1 - dc - (columns - c0))
            np.add.at(kernel, (r0 + dr + half + 1, c0 + dc + half + 1), weight)
    return _normalised(_trimmed(torch.from_numpy(kernel)))


def cubic(factor: int) -> Tensor:
    """Keys' cubic (a = −1/2) stretched by `factor`: what shrinks a picture by `factor` without aliasing.

    Even factors give even sizes: the kernel is centred between pixels, as the low-resolution pixel is.  Keys 1981.
    """
    size = 4 * factor - factor % 2  # odd for odd factors, even for even ones; the taps beyond would be zero
    t = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs() / factor
    w = torch.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, torch.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0.0))
    return _normalised(torch.outer(w, w))


def from_file(path: str, index: int | str | None = None) -> Tensor:
    """A kernel from NPY, NPZ, MAT or any picture file, normalised to sum 1 with a warning where it was not.

    Pictures are taken as grey.  A MAT file's only numeric array is taken; with several kernels (a cell array, several
    variables, or a 3-D array: along its first axis in NPY, its last in MAT) `index` says which, from 0, or in NPZ by
    name.
    Raises ValueError for what holds no kernel.
    """
    kernel = _read(Path(path), index)
    if kernel.ndim != 2 or not np.isfinite(kernel).all() or kernel.sum() <= 0:
        raise ValueError(f"{path} holds no kernel: expected a finite 2-D array of positive sum, got {kernel.shape}.")
    if abs(kernel.sum() - 1) > 1e-3:
        warnings.warn(f"the kernel in {path} sums to {kernel.sum():.4g}; it is normalised to 1.", stacklevel=3)
    return _normalised(torch.from_numpy(np.ascontiguousarray(kernel, dtype=np.float64)))


def _read(path: Path, index: int | str | None) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"kernel file {path} does not exist.")
    suffix = path.suffix.lower()
    if suffix in READERS:
        try:
            kernels = READERS[suffix](path)
        except Exception as error:  # the readers raise a dozen kinds
            raise ValueError(f"{path} is no readable kernel file: {str(error).partition(chr(10))[0]}") from None
        return _pick(kernels, index, path)
    from ..files.pictures import read

    return read(path).pixels.double().mean((0, 1)).numpy()


def _npy_kernels(path: Path) -> list[np.ndarray]:
    array = np.load(path, allow_pickle=False)
    if not _is_real(array) or array.ndim not in (2, 3):
        return []
    return [array] if array.ndim == 2 else list(array)


def _mat_kernels(path: Path) -> list[np.ndarray]:
    from scipy.io import loadmat

    variables = loadmat(path)
    found: list[np.ndarray] = []
    for name in sorted(v for v in variables if not v.startswith("__")):
        array = variables[name]
        if array.dtype == object:
            found += [np.asarray(cell, dtype=np.float64) for cell in array.ravel()]
        elif _is_real(array) and max(array.shape[:2]) > 1:
            found += [array] if array.ndim == 2 else [array[..., i] for i in range(array.shape[2])]
    return found


def _is_real(array: np.ndarray) -> bool:
    return array.dtype.kind in "biuf"


def _npz_kernels(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: array for name in archive if _is_real(array := archive[name]) and array.ndim == 2}


Kernels = list[np.ndarray] | dict[str, np.ndarray]
READERS: dict[str, Callable[[Path], Kernels]] = {".mat": _mat_kernels, ".npy": _npy_kernels, ".npz": _npz_kernels}


def _pick(kernels: Kernels, index: int | str | None, path: Path) -> np.ndarray:
    named = kernels if isinstance(kernels, dict) else {str(i): k for i, k in enumerate(kernels)}
    if not named:
        raise ValueError(f"{path} holds no numeric array.")
    names = list(named)
    shown = f"index={names[0]} to index={names[-1]}" if isinstance(kernels, list) else f"index of {', '.join(names)}"
    if index is None and len(named) > 1:
        raise ValueError(f"{path} holds {len(named)} kernels; choose one with {shown}.")
    key = names[0] if index is None else str(index)
    if key not in named:
        raise ValueError(f"index={index} is none of the kernels in {path}: {shown}.")
    return np.asarray(named[key], dtype=np.float64)


def _normalised(kernel: Tensor) -> Tensor:
    return kernel / kernel.sum()


def _trimmed(kernel: Tensor) -> Tensor:
    """Without the outer rings of zeros, the centre kept where it is."""
    while min(kernel.shape) > 1 and float(kernel.sum() - kernel[1:-1, 1:-1].sum()) < 1e-12 * float(kernel.sum()):
        kernel = kernel[1:-1, 1:-1]
    return kernel
