"""Blur kernels from files: NPY, NPZ, MAT and pictures, as researchers and instruments write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checks import positive
from . import kernel_mending as mending

FILES = "a file (.png, .tif, .npy, .npz, .mat)"


def from_file(
    path: str,
    /,
    index: int | str | None = None,
    centre: bool | None = None,
    turn: int = 0,
    scale: float = 1.0,
    *,
    factor: int | None = None,
    shape: tuple[int, int, int] | None = None,
) -> Tensor:
    """A kernel from NPY, NPZ, MAT or any picture file, (kh, kw) or (3, kh, kw), of sum 1 in each channel.

    index: which of several kernels or planes, from 0 (NPY: first axis, MAT: last), in NPZ by name.
    turn: 90, 180 or 270 degrees counter-clockwise; 180 makes a convolution kernel of a correlation kernel.
    scale: size of the file's pixels over the size of the picture's; the kernel is resampled.
    centre: false leaves the kernel where it lies.  Default: true, but false before a decimation, whose kernels hold
    the place of the samples.
    factor: of the decimation that follows.  shape: (C, H, W) of the picture: a grey one takes the mean of the channels.

    An array that is a kernel already is not changed, only divided by its sum.  What `kernel_mending` changes is said in
    one warning.  Raises ValueError for what does not hold one kernel.
    """
    if turn not in (0, 90, 180, 270):
        raise ValueError(f"turn is {turn}; expected 0, 90, 180 or 270 degrees.")
    positive(scale, "scale")
    array = _read(Path(path), index)
    k = np.asarray(array, dtype=np.float64)
    if k.size == 0 or not np.isfinite(k).all() or k.sum() <= 0:
        raise ValueError(f"{path} is not a kernel: expected a finite 2-D array of positive sum, got {array.shape}.")
    said: list[str] = []
    k = _channels(k, 1 if shape is not None and shape[0] == 1 else 3, said)
    total = k.sum() / len(k)
    if array.dtype.kind == "f" and 0.5 <= total <= 2 and abs(total - 1) > 1e-3:
        said.append(f"it sums to {total:.4g}. It was divided by that sum")
    try:
        k = mending.mended(
            k,
            said,
            centre=factor is None if centre is None else centre,
            negative=factor is not None,
            turn=turn,
            scale=scale,
            limit=None if shape is None else tuple((factor or 1) * n for n in shape[1:]),
        )
    except ValueError as error:
        raise ValueError(f"{path} is not a kernel: {error}") from None
    if said:
        warnings.warn(f"the kernel in {path}: {'; '.join(said)}.", stacklevel=3)
    kernel = torch.from_numpy(np.ascontiguousarray(k))
    kernel = torch.stack([plane / plane.sum() for plane in kernel])
    return kernel[0] if len(kernel) == 1 else kernel


def _channels(k: np.ndarray, wanted: int, said: list[str]) -> np.ndarray:
    """(C, h, w): one plane where the channels are alike, or the picture is grey, or one of them is dark."""
    if k.ndim == 2:
        return k[None]
    if (k == k[:1]).all():
        return k[:1]
    if wanted == 1:
        said.append("the picture is grey, so the mean of the kernel's 3 channels is used")
        return k.mean(0, keepdims=True)
    peaks = k.max((1, 2)) - np.median(k, (1, 2))
    if peaks.min() < 0.05 * peaks.max():
        said.append("a channel of it is dark, so the mean of the 3 is used for each")
        return k.mean(0, keepdims=True)
    return k


def _read(path: Path, index: int | str | None) -> np.ndarray:
    """(h, w), or (3, h, w) of a colour picture, in the file's own kind of number."""
    if not path.is_file():
        raise ValueError(f"kernel file {path} does not exist.")
    suffix = path.suffix.lower()
    if suffix not in READERS:
        return _pick(_picture_kernels(path), index, path)
    try:
        kernels = READERS[suffix](path)
    except Exception as error:  # the readers raise a dozen kinds
        raise ValueError(f"cannot read the kernel file {path}: {str(error).partition(chr(10))[0]}") from None
    return _pick(kernels, index, path)


def _picture_kernels(path: Path) -> list[np.ndarray]:
    from ..files.pictures import read

    picture = read(path)
    x = picture.pixels.double().numpy()  # (B, C, h, w)
    if not picture.dtype.startswith("float"):
        x = np.rint(x * picture.peak).astype(np.int64)
    return [page[0] if len(page) == 1 else page for page in x]


def _npy_kernels(path: Path) -> list[np.ndarray]:
    array = np.load(path, allow_pickle=False)
    if not _is_real(array) or array.ndim not in (2, 3):
        return []
    if array.ndim == 3 and array.shape[2] == 3 < min(array.shape[:2]):
        return [np.moveaxis(array, 2, 0)]
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
        raise ValueError(f"{path} does not contain a numeric array.")
    names = list(named)
    shown = f"index={names[0]} to index={names[-1]}" if isinstance(kernels, list) else f"index of {', '.join(names)}"
    if index is None and len(named) > 1:
        raise ValueError(f"{path} holds {_several(named)}; choose one with {shown}.{_sharpest(named)}")
    key = names[0] if index is None else str(index)
    if key not in named:
        raise ValueError(f"index={index} is not a kernel of {path}. Known: {shown}.")
    return np.asarray(named[key])


def _several(named: dict[str, np.ndarray]) -> str:
    return f"{len(named)} {'kernels' if len({k.shape for k in named.values()}) > 1 else 'planes'}"


def _sharpest(named: dict[str, np.ndarray]) -> str:
    """The plane of a stack whose light is the most concentrated, if they are planes of one size."""
    if len({k.shape for k in named.values()}) > 1:
        return ""
    sharpness = {name: mending.concentration(np.asarray(k, dtype=np.float64)) for name, k in named.items()}
    return f" The sharpest is index={max(sharpness, key=lambda name: sharpness[name])}."
