"""Blur that varies, from files: fields of motions, maps of radii, stacks of PSFs with their places."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .. import checks
from ..registry import OPERATORS, SpecError
from . import fields
from .blur import check_kernel_size
from .fields import Bank
from .unknown import UnknownBlur, UnknownMotion
from .varying import Edge, Order, Varying

ARRAYS = (".npy", ".npz", ".mat")


@OPERATORS.register(
    "varying",
    cite=("nagy1998", "denis2015"),
    examples=("varying", "varying:length=3,order=before", "varying:length=3,border=valid",
              "varying:length=3,order=before,border=valid"),
)  # fmt: skip
def varying(
    motion: str | None = None,
    radius: str | None = None,
    psfs: str | None = None,
    form: Literal["xy", "polar", "bearing"] = "xy",
    most: float | None = None,
    length: float = 5.0,
    kernel: Literal["estimate"] | None = None,
    order: Order = "after",
    border: Edge = "circular",
    *,
    shape: tuple[int, int, int],
    measured: bool = False,
) -> Varying | UnknownBlur:
    """Blur that varies over the picture: motions, disks or PSFs of their own at each pixel, from a file.

    motion: an array (h, w, 2) of the picture's size in .npy, .npz or .mat, a straight motion at each pixel.
    form: of its two numbers: xy (pixels to the right and down), polar (length in pixels, and degrees counter-clockwise
    from the x axis), bearing (length, and degrees clockwise from the upright).
    radius: an array (h, w), or a grey picture, of radii of out-of-focus disks in pixels, 0 where it is sharp.
    most: the radius that white of such a picture stands for.
    psfs: an .npz or .mat with `psfs` (n, kh, kw) or (n, 3, kh, kw), and `positions` (n, 2): row and column of each, in
    pixels or as shares from 0 to 1.  Between them they are interpolated.
    kernel: estimate finds a straight motion at each pixel in the measured picture.
    order: whether the weights of the kernels act after the convolutions or before them.
    border: circular; valid (y is the valid part: unknown borders).
    A simulation without a file turns the camera about its axis: motions of `length` pixels in the corners.
    """
    size, given = (shape[1], shape[2]), [f for f in (motion, radius, psfs) if f is not None]
    if len(given) > 1:
        raise SpecError("varying takes one file: motion, radius or psfs.")
    if kernel is not None:
        return _estimated(given, measured, order, border)
    if measured and not given:
        raise SpecError(
            "how the blur varies over this picture is not known. Give the motion at each pixel (varying:motion=FILE), "
            "the radius of its disk (varying:radius=FILE), or PSFs and their places (varying:psfs=FILE). "
            "varying:kernel=estimate finds the motions in the picture."
        )
    if motion is not None:
        bank = fields.of_motion(_field(motion, form, size))
    elif radius is not None:
        bank = fields.of_radii(_radii(radius, most, size))
    elif psfs is not None:
        bank = _grid(psfs, shape)
    else:
        bank = fields.of_motion(fields.rolled(size, checks.positive(length, "length")))
    check_kernel_size(bank.kernels, size)
    if measured or border == "circular":
        return Varying.of(bank, order=order, border=border)
    if order == "after":  # what was given is for the clean picture, and y shows a part of it
        bank = _shown(bank, size)
    return Varying(bank.kernels, bank.weights, order=order, border=border, index=bank.which)


def _estimated(given: list[str], measured: bool, order: Order, border: Edge) -> UnknownBlur:
    if given:
        raise SpecError(f"{given[0]} says how the blur varies, so there is nothing to estimate. Leave kernel out.")
    if not measured:
        raise SpecError("Motions are estimated from a measured picture. Leave --simulate out, or give a file.")
    return UnknownBlur(UnknownMotion(lambda field: Varying.motion(field, order=order, border=border)))


def _shown(bank: Bank, size: tuple[int, int]) -> Bank:
    kh, kw = bank.kernels.shape[-2:]
    return bank.cropped(kh - 1 - kh // 2, kw - 1 - kw // 2, (size[0] - kh + 1, size[1] - kw + 1))


def _field(file: str, form: str, size: tuple[int, int]) -> Tensor:
    """The field (h, w, 2) in a file, as pixels to the right and down."""
    field = _only(file, "a field of motions (h, w, 2)", lambda a: a.ndim == 3 and a.shape[2] == 2)
    _check_size(file, "field of motions", field, size)
    if form == "xy":
        return field
    if float(field[..., 0].min()) < 0:
        raise ValueError(f"{file} has lengths below 0, down to {float(field[..., 0].min()):g}. With form=xy its two "
                         "numbers are pixels to the right and down.")  # fmt: skip
    if form == "bearing":
        field = torch.stack([field[..., 0], 90 - field[..., 1]], -1)
    return fields.polar(field)


def _radii(file: str, most: float | None, size: tuple[int, int]) -> Tensor:
    """The radius in pixels at each pixel, (h, w)."""
    if Path(file).suffix.lower() in ARRAYS:
        if most is not None:
            raise SpecError(f"most is for pictures; {file} holds radii in pixels.")
        radius = _only(file, "a map of radii (h, w)", lambda a: a.ndim == 2)
    else:
        radius = _grey(file, most)
    _check_size(file, "map of radii", radius, size)
    widest = float(radius.max())
    if 2 * widest + 1 > min(size):
        raise ValueError(f"the map of radii {file} goes up to {widest:g} pixels, too much for a picture of "
                         f"{size[0]}×{size[1]}. Give the radius that its white stands for: most=6.")  # fmt: skip
    return radius


def _grey(file: str, most: float | None) -> Tensor:
    """The samples of a grey picture, or with `most` its values from black, 0, to white."""
    from ..files.pictures import read

    if not Path(file).is_file():
        raise ValueError(f"the map of radii {file} does not exist.")
    picture = read(file)
    x = picture.pixels.double()
    if len(x) != 1 or not bool((x == x[:, :1]).all()):
        raise ValueError(f"the map of radii {file} is not one grey picture. Save it as grey, or as .npy in pixels.")
    if most is not None:
        return x[0, 0] * checks.positive(most, "most")
    return x[0, 0] if picture.dtype.startswith("float") else (x[0, 0] * picture.peak).round()


def _grid(file: str, shape: tuple[int, int, int]) -> Bank:
    """PSFs and positions; of a grey picture the mean of a colour PSF."""
    arrays = _arrays(file)
    if missing := [name for name in ("psfs", "positions") if name not in arrays]:
        raise ValueError(f"{file} has no {' and no '.join(missing)}; expected psfs (n, kh, kw) and positions (n, 2).")
    psfs, positions = (torch.from_numpy(np.asarray(arrays[name], dtype=np.float64)) for name in ("psfs", "positions"))
    if psfs.ndim == 4 and shape[0] == 1:
        psfs = psfs.mean(1)
    try:
        return fields.of_grid(psfs, positions, (shape[1], shape[2]))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _only(file: str, what: str, fits: object) -> Tensor:
    """The one array of a file that fits."""
    found = {name: a for name, a in _arrays(file).items() if fits(a)}  # type: ignore[operator]
    if len(found) != 1:
        names = f"it has {len(found)}: {', '.join(found)}" if found else "it has none"
        raise ValueError(f"{file}: expected {what}; {names}.")
    array = torch.from_numpy(np.asarray(next(iter(found.values())), dtype=np.float64))
    if not bool(array.isfinite().all()):
        raise ValueError(f"{file} has {int((~array.isfinite()).sum())} values that are NaN or infinite. Fill them in.")
    return array


def _arrays(file: str) -> dict[str, np.ndarray]:
    """The real arrays of a file by name."""
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"the file {file} does not exist.")
    try:
        found = _loaded(path)
    except Exception as error:  # the readers raise a dozen kinds
        raise ValueError(f"cannot read {file}: {str(error).partition(chr(10))[0]}") from None
    return {name: a for name, a in found.items() if a.dtype.kind in "biuf" and a.size}


def _loaded(path: Path) -> dict[str, np.ndarray]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return {"array": np.load(path, allow_pickle=False)}
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive}
    if suffix == ".mat":
        from scipy.io import loadmat

        return {name: a for name, a in loadmat(path).items() if not name.startswith("__")}
    raise ValueError(f"expected one of {', '.join(ARRAYS)}")


def _check_size(file: str, what: str, map: Tensor, size: tuple[int, int]) -> None:
    if tuple(map.shape[:2]) != size:
        raise ValueError(f"the {what} in {file} is {map.shape[0]}×{map.shape[1]}; the picture is {size[0]}×{size[1]}. "
                         "Give one of the picture's size.")  # fmt: skip
