"""Blur whose kernel changes over the picture: a few kernels, and at each pixel their weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .. import checks
from . import fields
from .base import Operator
from .blur import check_kernel_size
from .fields import Bank
from .tiles import Group, LocalPower, cut, laid, side

Order = Literal["after", "before"]
Edge = Literal["circular", "valid"]

AT_ONCE = 2**20  # numbers of a batch of transforms: they stay near the processor, and memory is bounded
ROUNDS, FLOOR = 8, 1e-3  # of the bound of the norm


class Varying(Operator):
    """A blur that varies over the picture.

        order after:   y = Σ_i w_i · (k_i ∗ x)        order before:   y = Σ_i k_i ∗ (w_i · x)

    kernels: (n, kh, kw), or one a channel (n, C, kh, kw), the tap kh//2, kw//2 at offset 0.
    weights: (n, H, W), on the grid of y (after) or of x (before).  With `index` (m, H, W), whole numbers below n,
    weights are (m, H, W), and belong at each pixel to the m kernels that index names.
    border: valid (y is the valid part, kh − 1 and kw − 1 smaller than x: nothing is assumed beyond y's border) or
    circular (x is periodic).

    The weights are cut into tiles, and each tile meets the kernels alone that have a weight in it: by the fast Fourier
    transform, exact up to rounding.  The data step runs conjugate gradients, preconditioned with Wiener's filter for
    the blur near each place.  Raises ValueError for shapes that do not belong together, and for NaN.
    After: Nagy & O'Leary 1998; both: Denis et al. 2015.
    """

    task, called, tolerance = "blur", "blur", 1e-5

    def __init__(
        self,
        kernels: Tensor,
        weights: Tensor,
        *,
        order: Order = "after",
        border: Edge = "valid",
        index: Tensor | None = None,
    ) -> None:
        super().__init__()
        _check(kernels, weights, index, order, border)
        self.order, self.border = order, border
        self.register_buffer("kernels", kernels.detach().double().reshape(len(kernels), -1, *kernels.shape[-2:]))
        self.extent = (int(weights.shape[-2]), int(weights.shape[-1]))
        kh, kw = kernels.shape[-2:]
        if border == "circular":
            check_kernel_size(kernels, self.extent)
        elif order == "before" and (kh > self.extent[0] or kw > self.extent[1]):
            raise ValueError(f"x is {self.extent[0]}×{self.extent[1]}, smaller than the kernels, {kh}×{kw}.")
        self.margins = _margins(kh, kw)
        self.side = (side(kh, self.extent[0]), side(kw, self.extent[1]))  # of the transforms
        self.tile = (self.side[0] - kh + 1, self.side[1] - kw + 1)
        found = cut(weights.detach().double(), index, self.tile)
        self.groups = found.groups
        for name in ("tiles", "which", "weights"):
            self.register_buffer(name, getattr(found, name))
        self.register_buffer("power", LocalPower.of(self.kernels, weights.detach().double(), index, self.side).power)
        self._kept: dict[tuple[object, ...], _Kept] = {}

    @classmethod
    def of(cls, bank: Bank, *, order: Order = "after", border: Edge = "valid") -> Varying:
        """Of kernels and weights for the pixels of y; with unknown borders an x that is weighted first is larger."""
        kh, kw = bank.kernels.shape[-2:]
        if order == "before" and border == "valid":
            bank = bank.continued(_margins(kh, kw))
        return cls(bank.kernels, bank.weights, order=order, border=border, index=bank.which)

    @classmethod
    def motion(cls, field: Tensor, *, order: Order = "after", border: Edge = "valid") -> Varying:
        """Straight motions, one a pixel.   field: (h, w, 2) of y's size, pixels to the right and down (`of_motion`)."""
        return cls.of(fields.of_motion(field), order=order, border=border)

    @classmethod
    def disks(cls, radius: Tensor, *, order: Order = "after", border: Edge = "valid") -> Varying:
        """Out-of-focus disks by depth.   radius: (h, w) of y's size, in pixels, 0 is sharp (`of_radii`)."""
        return cls.of(fields.of_radii(radius), order=order, border=border)

    @classmethod
    def grid(
        cls,
        psfs: Tensor,
        positions: Tensor,
        size: tuple[int, int],
        *,
        order: Order = "after",
        border: Edge = "valid",
    ) -> Varying:
        """PSFs (n, kh, kw) measured at positions (n, 2) of a y of this size (`of_grid`)."""
        return cls.of(fields.of_grid(psfs, positions, size), order=order, border=border)

    kernels: Tensor
    tiles: Tensor  # (t,) the tiles that have a weight, in the order of `groups`
    which: Tensor  # (pairs,) the kernel of each pair
    weights: Tensor  # (pairs, *tile)
    power: Tensor  # of the preconditioner

    def forward(self, x: Tensor) -> Tensor:
        self._check_size(x, "x", "takes", self.image_size)
        if self.order == "after":
            return self._weighted_after(self._beyond(x), turned=False)
        return self._within(self._weighted_before(x, turned=False))

    def adjoint(self, y: Tensor) -> Tensor:
        self._check_size(y, "y", "makes", self.measured_size)
        if self.order == "after":
            return self._beyond_adjoint(self._weighted_before(y, turned=True))
        return self._weighted_after(self._within_adjoint(y), turned=True)

    def preconditioner(self, b: Tensor, rho: float | Tensor) -> Callable[[Tensor], Tensor]:
        """Wiener's filter for the blur near each place, on windows that overlap (`tiles.LocalPower`).

        For motions of 10 to 18 pixels and rho = 0.0006 it takes 59 iterations where none takes 102, and one circulant
        matrix for the whole picture 212.
        """
        beyond = self.border == "valid" and self.order == "after"  # the picture has margins around the weights
        margin = (self.margins[0][0], self.margins[1][0]) if beyond else (0, 0)
        return LocalPower(self.power, self.side).inverse(rho, margin, b)

    def norm(self, x: Tensor | None = None) -> float:
        """A bound: √max_j (|A|ᵀ|A| p)_j / p_j >= ‖A‖ for any p > 0, here p after a few steps of the power method."""
        bounding = self._absolute()
        p = bounding.kernels.new_ones(1, self.kernels.shape[1], *self.image_size)
        bound = math.inf
        for _ in range(ROUNDS):
            q = bounding.normal(p).clamp_min(0)
            bound = min(bound, float((q / p).max()))
            p = q / q.max().clamp_min(torch.finfo(q.dtype).tiny) + FLOOR
        return bound**0.5

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of x."""
        return self._around(self.extent) if self.order == "after" and self.border == "valid" else self.extent

    @property
    def measured_size(self) -> tuple[int, int]:
        """(H, W) of y."""
        if self.order == "after" or self.border == "circular":
            return self.extent
        return (self.extent[0] - self.kernels.shape[-2] + 1, self.extent[1] - self.kernels.shape[-1] + 1)

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        if y_shape is None:
            return (self.kernels.shape[1], *self.image_size)
        self._check_size(torch.empty(1, *y_shape, device="meta"), "y", "makes", self.measured_size)
        return (y_shape[0], *self.image_size)

    def measurement_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        self._check_size(torch.empty(1, *image_shape, device="meta"), "x", "takes", self.image_size)
        return (image_shape[0], *self.measured_size)

    def initial(self, y: Tensor) -> Tensor:
        """y itself, its border pixels repeated over unknown margins."""
        if self.border == "circular":
            return y.clone()
        (top, bottom), (left, right) = self.margins
        return pad(y, (left, right, top, bottom), mode="replicate")

    def visible(self, x: Tensor) -> Tensor:
        if self.border == "circular":
            return x
        (top, bottom), (left, right) = self.margins
        return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]

    # borders: what x is beyond its grid for k ∗ x, what y shows of k ∗ (w · x), and the transposes

    def _beyond(self, x: Tensor) -> Tensor:
        return x if self.border == "valid" else _wrapped(x, self.margins)

    def _beyond_adjoint(self, z: Tensor) -> Tensor:
        return z if self.border == "valid" else _folded(z, self.margins)

    def _within(self, z: Tensor) -> Tensor:
        (kh, kw), (h, w) = self.kernels.shape[-2:], self.measured_size
        if self.border == "circular":
            return _folded(z, _swapped(self.margins))
        return z[..., kh - 1 : kh - 1 + h, kw - 1 : kw - 1 + w]

    def _within_adjoint(self, y: Tensor) -> Tensor:
        kh, kw = self.kernels.shape[-2:]
        if self.border == "circular":
            return _wrapped(y, _swapped(self.margins))
        return pad(y, (kw - 1, kw - 1, kh - 1, kh - 1))

    # tiles: A and its transpose on the weights' grid and on what the kernels reach around it

    def _weighted_after(self, z: Tensor, *, turned: bool) -> Tensor:
        """Σ_i w_i · (valid part of k_i ∗ z): (B, C, H + kh − 1, W + kw − 1) -> (B, C, H, W); turned: k_i(−n)."""
        kept, (kh, kw), (th, tw) = self._spectra(z, turned), self.kernels.shape[-2:], self.tile
        h, w = self.extent
        z = pad(z, (0, -w % tw, 0, -h % th))
        windows = z.unfold(2, self.side[0], th).unfold(3, self.side[1], tw)
        down, across = windows.shape[2:4]
        windows = windows.permute(2, 3, 0, 1, 4, 5).flatten(0, 1)  # (tiles, B, C, *side)
        out = z.new_zeros(len(windows), *z.shape[:2], th, tw)
        places, parts = [], []
        for tiles, pairs, each in self._batches(z):
            spectrum = torch.fft.rfft2(windows[self.tiles[tiles]])[:, None]
            spectra = kept.transfer[self.which[pairs]].unflatten(0, (-1, each))[:, :, None]
            found = torch.fft.irfft2(spectrum * spectra, s=self.side)[..., kh - 1 :, kw - 1 :]
            weights = kept.weights[pairs].unflatten(0, (-1, each))[:, :, None, None]
            parts.append((found * weights).sum(1))
            places.append(self.tiles[tiles])
        out = out.index_copy(0, torch.cat(places), torch.cat(parts))
        rows = out.unflatten(0, (down, across)).permute(2, 3, 0, 4, 1, 5)
        return rows.flatten(4, 5).flatten(2, 3)[..., :h, :w]

    def _weighted_before(self, v: Tensor, *, turned: bool) -> Tensor:
        """Σ_i k_i ∗ (w_i · v), all of it: (B, C, H, W) -> (B, C, H + kh − 1, W + kw − 1); turned: k_i(−n)."""
        kept, (kh, kw), (th, tw) = self._spectra(v, turned), self.kernels.shape[-2:], self.tile
        h, w = self.extent
        v = pad(v, (0, -w % tw, 0, -h % th))
        down, across = v.shape[-2] // th, v.shape[-1] // tw
        parted = v.unflatten(3, (across, tw)).unflatten(2, (down, th)).permute(2, 4, 0, 1, 3, 5).flatten(0, 1)
        places, parts = [], []
        for tiles, pairs, each in self._batches(v):
            weights = kept.weights[pairs].unflatten(0, (-1, each))[:, :, None, None]
            spectrum = torch.fft.rfft2(parted[self.tiles[tiles]][:, None] * weights, s=self.side)
            spectra = kept.transfer[self.which[pairs]].unflatten(0, (-1, each))[:, :, None]
            parts.append(torch.fft.irfft2((spectrum * spectra).sum(1), s=self.side))
            places.append(self.tiles[tiles])
        out = v.new_zeros(len(parted), *v.shape[:2], *self.side)
        out = out.index_copy(0, torch.cat(places), torch.cat(parts))
        return laid(out.unflatten(0, (down, across)), self.tile)[..., : h + kh - 1, : w + kw - 1]

    def _batches(self, x: Tensor) -> Iterator[Group]:
        """The groups in parts of at most AT_ONCE numbers."""
        for tiles, pairs, each in self.groups:
            most = max(1, AT_ONCE // (each * x.shape[0] * x.shape[1] * math.prod(self.side)))
            for start in range(tiles.start, tiles.stop, most):
                stop, first = min(start + most, tiles.stop), pairs.start + (start - tiles.start) * each
                yield Group(slice(start, stop), slice(first, first + (stop - start) * each), each)

    def _spectra(self, like: Tensor, turned: bool) -> _Kept:
        """The kernels' transfer functions and the weights in the dtype and on the device of `like`; kept."""
        key, now = (turned, like.dtype, like.device), (self.kernels, self.weights)
        kept = self._kept.get(key)
        if kept is None or kept.made_of != tuple((id(t), t._version) for t in now):
            with torch.inference_mode(False):  # a tensor made in inference mode would break autograd later
                kernels = (self.kernels.flip(-2, -1) if turned else self.kernels).double()
                dtype = torch.complex64 if like.dtype == torch.float32 else torch.complex128
                transfer = torch.fft.rfft2(kernels, s=self.side).to(like.device, dtype)
                made_of = tuple((id(t), t._version) for t in now)
                kept = self._kept[key] = _Kept(transfer, self.weights.to(like), made_of, now)
        return kept

    def _absolute(self) -> Varying:
        """The operator of |k_i| and |w_i|, itself where nothing is negative."""
        if not bool((self.kernels < 0).any() | (self.weights < 0).any()):
            return self
        other = deepcopy(self)
        other.kernels, other.weights = self.kernels.abs(), self.weights.abs()
        return other

    def _around(self, grid: tuple[int, int]) -> tuple[int, int]:
        kh, kw = self.kernels.shape[-2:]
        return (grid[0] + kh - 1, grid[1] + kw - 1)

    def _check_size(self, x: Tensor, name: str, does: str, size: tuple[int, int]) -> None:
        c = self.kernels.shape[1]
        if x.ndim != 4 or tuple(x.shape[-2:]) != size or c not in (1, x.shape[1]):
            channels = "C" if c == 1 else c
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; {self.name} {does} (B, {channels}, {size[0]}, {size[1]})."
            )


class _Kept(NamedTuple):
    """Transfer functions and weights, and the buffers that they were made of, so that other ones are noticed."""

    transfer: Tensor  # (n, C, side, side//2 + 1)
    weights: Tensor
    made_of: tuple[tuple[int, int], ...]
    buffers: tuple[Tensor, Tensor]  # held, so that no other tensor takes their id


def _check(kernels: Tensor, weights: Tensor, index: Tensor | None, order: str, border: str) -> None:
    if kernels.ndim not in (3, 4) or kernels.numel() == 0:
        raise ValueError(f"kernels has shape {tuple(kernels.shape)}; expected (n, kh, kw) or (n, C, kh, kw).")
    many = len(kernels) if index is None else len(index)
    if weights.ndim != 3 or weights.numel() == 0 or len(weights) != many:
        what = "n kernels" if index is None else "index of shape (m, H, W)"
        raise ValueError(f"weights has shape {tuple(weights.shape)}; expected ({many}, H, W), for {what}.")
    checks.finite(kernels, "kernels")
    checks.finite(weights, "weights")
    if index is not None and (index.shape != weights.shape or index.is_floating_point()):
        raise ValueError(f"index has shape {tuple(index.shape)} and {index.dtype}; expected whole numbers, "
                         f"{tuple(weights.shape)}, as weights.")  # fmt: skip
    if index is not None and not 0 <= int(index.min()) <= int(index.max()) < len(kernels):
        raise ValueError(f"index goes from {int(index.min())} to {int(index.max())}; there are {len(kernels)} kernels, "
                         "from 0.")  # fmt: skip
    for name, value, known in (("order", order, ("after", "before")), ("border", border, ("valid", "circular"))):
        if value not in known:
            raise ValueError(f"{name} is {value!r}; expected {' or '.join(known)}.")


Margins = tuple[tuple[int, int], tuple[int, int]]


def _margins(kh: int, kw: int) -> Margins:
    """((top, bottom), (left, right)): what y shows less than x, whose tap kh//2, kw//2 lies at offset 0."""
    return ((kh - 1 - kh // 2, kh // 2), (kw - 1 - kw // 2, kw // 2))


def _wrapped(x: Tensor, margins: Margins) -> Tensor:
    (top, bottom), (left, right) = margins
    return pad(x, (left, right, top, bottom), mode="circular")


def _folded(z: Tensor, margins: Margins) -> Tensor:
    """The transpose of `_wrapped`: margins are added to the other side."""
    for dim, (before, after) in zip((-2, -1), margins, strict=True):
        n = z.shape[dim] - before - after
        start, middle, end = z.split((before, n, after), dim)
        grow = [0, 0] * (-1 - dim)
        z = middle + pad(start, (*grow, n - before, 0)) + pad(end, (*grow, 0, n - after))
    return z


def _swapped(margins: Margins) -> Margins:
    (top, bottom), (left, right) = margins
    return ((bottom, top), (right, left))
