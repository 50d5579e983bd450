"""What a blur that varies is made of: kernels, and which of them each pixel mixes.

A field of motions or of radii is cut into steps.  Each step has a kernel, and a pixel between steps mixes its
neighbours' linearly.  So the number of kernels is bounded, however many pixels there are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from .. import checks
from . import kernels

MOTION_STEP, MOTIONS = 1.0, 1024  # pixels between the ends of two motions; at most so many kernels
RADIUS_STEP, RADII = 0.25, 128
FEW = 64  # values as few as these have a kernel each, and nothing is mixed
NEIGHBOURS = 8  # of a pixel among scattered positions
LEAST_LENGTH, LEAST_RADIUS = 1e-3, 0.05  # pixels: less is a point


class Bank(NamedTuple):
    """Kernels (n, kh, kw) or (n, C, kh, kw), and at each pixel m of them: which and their weights, (m, H, W)."""

    kernels: Tensor
    which: Tensor
    weights: Tensor

    def cropped(self, top: int, left: int, size: tuple[int, int]) -> Bank:
        """The same for a part of the picture."""
        part = (slice(None), slice(top, top + size[0]), slice(left, left + size[1]))
        return Bank(self.kernels, self.which[part], self.weights[part])

    def continued(self, margins: tuple[tuple[int, int], tuple[int, int]]) -> Bank:
        """The same for a larger picture; beyond the border as at the border."""
        (top, bottom), (left, right) = margins
        which, weights = (pad(t.double()[None], (left, right, top, bottom), mode="replicate")[0]
                          for t in (self.which, self.weights))  # fmt: skip
        return Bank(self.kernels, which.long(), weights)


def of_motion(field: Tensor) -> Bank:
    """Straight motions: a pixel spread evenly along the line from −m/2 to m/2.

    field: (h, w, 2), m = (dx, dy) at each pixel, in pixels to the right and down; −m is the same motion.
    Raises ValueError for another shape, and for NaN.
    """
    if field.ndim != 3 or field.shape[-1] != 2 or field.numel() == 0:
        raise ValueError(f"field has shape {tuple(field.shape)}; expected (h, w, 2): pixels to the right and down.")
    m = checks.finite(field.detach().double(), "field")
    flip = (m[..., 1] < 0) | ((m[..., 1] == 0) & (m[..., 0] < 0))
    return _mixed(torch.where(flip[..., None], -m, m), MOTION_STEP, MOTIONS, lambda v: line(float(v[0]), float(v[1])))


def of_radii(radius: Tensor) -> Bank:
    """Out-of-focus disks.  radius: (h, w), in pixels; 0 is sharp.  Raises ValueError where it is negative or NaN."""
    if radius.ndim != 2 or radius.numel() == 0:
        raise ValueError(f"the radius map has shape {tuple(radius.shape)}; expected (h, w): pixels.")
    r = checks.finite(radius.detach().double(), "the radius map")
    if float(r.min()) < 0:
        raise ValueError(f"the radius map goes down to {float(r.min()):g}; a radius is 0 or more.")
    return _mixed(r[..., None], RADIUS_STEP, RADII, lambda v: disk(float(v[0])))


def of_grid(psfs: Tensor, positions: Tensor, size: tuple[int, int]) -> Bank:
    """PSFs measured at some places of a picture of this size.

    psfs: (n, kh, kw) or (n, C, kh, kw), each divided by its sum; positions: (n, 2), row and column of each in pixels,
    or where none is above 1 as shares of the picture, 0 its first row or column and 1 its last.
    Between positions on a regular grid bilinear, beyond it as at its border.  Between others the weights

        w_i ~ ((R − d_i)₊ / (R d_i))²,   d_i the distance to position i, R that to the ninth nearest

    Franke & Nielson 1980 (modified Shepard).  Raises ValueError for what does not belong together.
    """
    if psfs.ndim not in (3, 4) or psfs.numel() == 0:
        raise ValueError(f"psfs has shape {tuple(psfs.shape)}; expected (n, kh, kw) or (n, 3, kh, kw).")
    if tuple(positions.shape) != (len(psfs), 2):
        raise ValueError(f"positions has shape {tuple(positions.shape)}; expected ({len(psfs)}, 2): row and column of "
                         "each PSF.")  # fmt: skip
    k, at = checks.finite(psfs.detach().double(), "psfs"), checks.finite(positions.detach().double(), "positions")
    total = k.sum((-2, -1), keepdim=True)
    if float(total.min()) <= 0:
        raise ValueError(f"PSF {int(total.flatten(1).amin(1).argmin())} has a sum of 0 or less; expected light.")
    if float(at.min()) >= 0 and float(at.max()) <= 1:
        at = at * (torch.tensor(size, dtype=at.dtype) - 1)
    if len(at.unique(dim=0)) < len(at):
        raise ValueError("positions names one place twice. Give each PSF a place of its own.")
    index, weights = _regular(at, size) or _scattered(at, size)
    return Bank(k / total, index, weights)


def line(dx: float, dy: float) -> Tensor:
    """The kernel of a straight motion by (dx, dy) pixels, to the right and down."""
    length = math.hypot(dx, dy)
    return _point() if length < LEAST_LENGTH else kernels.motion(length, math.degrees(math.atan2(-dy, dx)))


def disk(radius: float) -> Tensor:
    return _point() if radius < LEAST_RADIUS else kernels.disk(radius)


def polar(field: Tensor) -> Tensor:
    """(dx, dy) of a field of (length, angle), the angle in degrees counter-clockwise from the x axis."""
    length, angle = field[..., 0], torch.deg2rad(field[..., 1])
    return torch.stack([length * angle.cos(), -length * angle.sin()], -1)


def rolled(size: tuple[int, int], length: float) -> Tensor:
    """The field (h, w, 2) of a camera that turns about its axis, with motions of `length` pixels in the corners."""
    h, w = size
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in size)
    field = torch.stack([rows[:, None].expand(h, w), -columns[None].expand(h, w)], -1)
    return field * (length / max(1e-9, float(field.norm(dim=-1).max())))


def _point() -> Tensor:
    return torch.ones(1, 1, dtype=torch.float64)


def _mixed(values: Tensor, step: float, most: int, make: Callable[[Tensor], Tensor]) -> Bank:
    """The bank of a field of values (h, w, d): multilinear between nodes `step` apart, or more for `most` nodes.

    The nodes start at the smallest value of each coordinate, so that a constant field has the one kernel of its value.
    """
    flat = values.flatten(0, 1)
    own, place = flat.unique(dim=0, return_inverse=True)
    if len(own) <= FEW:
        return Bank(_stacked(own, make), place.view(1, *values.shape[:2]), torch.ones_like(values[None, ..., 0]))
    while True:
        nodes, index, weights = _between(flat, step)
        if len(nodes) <= most:
            break
        step *= 1.25
    shape = (-1, *values.shape[:2])
    return Bank(_stacked(nodes, make), index.T.reshape(shape), weights.T.reshape(shape))


def _between(values: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (n, d) in use around values (N, d), and for each value its 2^d of them and their weights, (N, 2^d)."""
    low, span = values.amin(0), values.amax(0) - values.amin(0)
    many = (span / step).ceil().clamp_min(1)
    at = (values - low) / (span / many).clamp_min(1e-12)
    cell = at.floor().minimum(many - 1).clamp_min(0)
    rest = at - cell
    places, weights = [], []
    for corner in itertools.product((0, 1), repeat=values.shape[1]):
        c = torch.tensor(corner, dtype=at.dtype)
        places.append(cell + c)
        weights.append((c * rest + (1 - c) * (1 - rest)).prod(-1))
    grid, weight = torch.stack(places, 1), torch.stack(weights, 1)
    grid = torch.where((weight > 0)[..., None], grid, grid[:, :1])  # no node that nothing weighs
    used, index = grid.flatten(0, 1).unique(dim=0, return_inverse=True)
    return low + used * (span / many), index.view(weight.shape), weight


def _stacked(nodes: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
    """The kernels of the nodes, (n, kh, kw), each in the middle of the largest sides; sides are odd."""
    made = [make(node) for node in nodes]
    kh, kw = (max(k.shape[d] for k in made) for d in (0, 1))
    return torch.stack([pad(k, ((kw - k.shape[1]) // 2,) * 2 + ((kh - k.shape[0]) // 2,) * 2) for k in made])


def _regular(at: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor] | None:
    """Bilinear (index, weights) between positions on a regular grid, (4, h, w) each; None where there is none."""
    rows, columns = at[:, 0].unique(), at[:, 1].unique()
    if len(rows) * len(columns) != len(at):
        return None
    place = torch.empty(len(rows), len(columns), dtype=torch.long)
    place[torch.searchsorted(rows, at[:, 0].contiguous()), torch.searchsorted(columns, at[:, 1].contiguous())] = (
        torch.arange(len(at))
    )
    (r, rw), (c, cw) = (_linear(knots, n) for knots, n in zip((rows, columns), size, strict=True))
    index = [place[r[i]][:, c[j]] for i in (0, 1) for j in (0, 1)]
    weights = [torch.outer(rw[i], cw[j]) for i in (0, 1) for j in (0, 1)]
    return torch.stack(index), torch.stack(weights)


def _linear(knots: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Which two knots 0 … n − 1 lie between, and their weights: (2, n) each."""
    t = torch.arange(n, dtype=torch.float64).clamp(float(knots[0]), float(knots[-1]))
    if len(knots) == 1:
        return torch.zeros(2, n, dtype=torch.long), torch.stack([torch.ones_like(t), torch.zeros_like(t)])
    below = (torch.searchsorted(knots, t, right=True) - 1).clamp(0, len(knots) - 2)
    part = (t - knots[below]) / (knots[below + 1] - knots[below])
    return torch.stack([below, below + 1]), torch.stack([1 - part, part])


def _scattered(at: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(index, weights) of the nearest positions, by modified inverse distances: at most (NEIGHBOURS, h, w) each."""
    from scipy.spatial import cKDTree

    pixels = torch.cartesian_prod(*(torch.arange(n, dtype=torch.float64) for n in size))
    many = min(NEIGHBOURS + 1, len(at))
    found, which = cKDTree(at.numpy()).query(pixels.numpy(), k=range(1, many + 1))
    d, index = torch.from_numpy(found).clamp_min(1e-9), torch.from_numpy(which).long()
    if len(at) > NEIGHBOURS:
        reach = d[:, -1:]
        weights = ((reach - d).clamp_min(0) / (reach * d)).square()
    else:
        weights = d.pow(-2)
    weights = weights / weights.sum(1, keepdim=True)
    return index.T.reshape(-1, *size), weights.T.reshape(-1, *size)
