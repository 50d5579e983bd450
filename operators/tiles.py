"""Tiles of a picture: weights cut by them, parts laid over each other, and a filter of its own for each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

SMALLEST = 64  # side of the smallest Fourier transform: a tile and its surroundings
WIDTHS = 3  # kernels that fit side by side into a transform: with fewer, most of it is surroundings


class Group(NamedTuple):
    """Tiles that see equally many kernels: their places in the lists of tiles and of pairs (tile, kernel)."""

    tiles: slice
    pairs: slice
    each: int


class Cut(NamedTuple):
    """Weights by tiles: the numbers of the tiles in the order of `groups`, and of each pair its kernel and weights."""

    tiles: Tensor
    which: Tensor  # (pairs,)
    weights: Tensor  # (pairs, *tile)
    groups: tuple[Group, ...]


def cut(weights: Tensor, index: Tensor | None, tile: tuple[int, int]) -> Cut:
    """The weights (m, H, W) by tiles, each with the kernels that have a weight there; sorted by how many these are."""
    grow = (0, -weights.shape[-1] % tile[1], 0, -weights.shape[-2] % tile[0])
    weights, index = pad(weights, grow), None if index is None else pad(index.to(weights.device), grow)
    across = weights.shape[-1] // tile[1]
    found: list[tuple[int, int, Tensor, Tensor]] = []
    for t in range(weights.shape[-2] // tile[0] * across):
        (row, column), (th, tw) = divmod(t, across), tile
        place = (slice(None), slice(row * th, (row + 1) * th), slice(column * tw, (column + 1) * tw))
        which, own = _of_tile(weights[place], None if index is None else index[place])
        if len(which):
            found.append((len(which), t, which, own))
    if not found:
        raise ValueError("every weight is 0. At each pixel the weights should sum to 1.")
    found.sort(key=lambda each: each[:2])
    groups, at, pairs = [], 0, 0
    for count in sorted({each[0] for each in found}):
        many = sum(each[0] == count for each in found)
        groups.append(Group(slice(at, at + many), slice(pairs, pairs + many * count), count))
        at, pairs = at + many, pairs + many * count
    tiles = torch.tensor([each[1] for each in found], device=weights.device)
    return Cut(tiles, torch.cat([e[2] for e in found]), torch.cat([e[3] for e in found]), tuple(groups))


def _of_tile(weights: Tensor, index: Tensor | None) -> tuple[Tensor, Tensor]:
    """The kernels that have a weight in a tile, and their weights (a, *tile)."""
    if index is None:
        which = weights.flatten(1).any(1).nonzero()[:, 0]
        return which, weights[which]
    which = index[weights != 0].unique()
    own = weights.new_zeros(len(which), *weights.shape[1:])
    if len(which):
        place = torch.searchsorted(which, index.contiguous()).clamp_max(len(which) - 1)  # anywhere for a weight of 0
        own.scatter_add_(0, place, weights)
    return which, own


def side(k: int, n: int) -> int:
    """Side of the transforms for kernels of side k on a grid of side n: even, of the factors 2, 3 and 5 alone."""
    wanted = min(max(SMALLEST, WIDTHS * k), n + k - 1)
    while True:
        rest = wanted
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1 and wanted % 2 == 0:
            return wanted
        wanted += 1


def laid(parts: Tensor, step: tuple[int, int]) -> Tensor:
    """The sum of parts (down, across, B, C, h, w), laid `step` apart: (B, C, H, W).  h and w are at most 2 steps."""
    rows = parts.permute(2, 3, 0, 4, 1, 5)
    return _along(_along(rows, step[0], 2), step[1], 3)


def _along(parts: Tensor, step: int, dim: int) -> Tensor:
    """The sum of parts (..., tiles, side, ...) along one axis."""
    many, length = parts.shape[dim : dim + 2]
    if many == 1:
        return parts.squeeze(dim)
    grow = [0, 0] * (parts.ndim - dim - 2)
    first, rest = parts.narrow(dim + 1, 0, step), parts.narrow(dim + 1, step, length - step)
    rest = pad(rest, (*grow, 0, 2 * step - length, 1, 0))
    return (pad(first, (*grow, 0, 0, 0, 1)) + rest).flatten(dim, dim + 1)


class LocalPower(NamedTuple):
    """AᵀA as it is near each of many places: the mean of |K|² there, on windows that overlap by half.

    power: (down, across, C, side, side//2 + 1); the first window begins half a side before the grid of the weights.
    """

    power: Tensor
    side: tuple[int, int]

    @classmethod
    def of(cls, kernels: Tensor, weights: Tensor, index: Tensor | None, side: tuple[int, int]) -> LocalPower:
        """Of kernels (n, C, kh, kw) with weights (m, h, w) on the picture's own grid, as for `cut`."""
        half = (side[0] // 2, side[1] // 2)
        found = cut(weights.abs(), index, half)
        down, across = (-(-n // s) for n, s in zip(weights.shape[-2:], half, strict=True))
        spectra = torch.fft.rfft2(kernels, s=side).abs().square()
        cells = spectra.new_zeros(down * across, *spectra.shape[1:])
        share = found.weights.mean((-2, -1)).view(-1, 1, 1, 1)
        for tiles, pairs, each in found.groups:
            mean = (share[pairs] * spectra[found.which[pairs]]).unflatten(0, (-1, each)).sum(1)
            total = share[pairs].unflatten(0, (-1, each)).sum(1)
            cells[found.tiles[tiles]] = mean / total  # a cell that the border cuts is like its inside
        grid = cells.unflatten(0, (down, across)).movedim((0, 1), (-2, -1)).flatten(0, 2)
        grid = pad(grid[None], (1, 1, 1, 1), mode="replicate")[0]  # windows begin half a side outside
        grid = (grid[:, :-1, :-1] + grid[:, 1:, :-1] + grid[:, :-1, 1:] + grid[:, 1:, 1:]) / 4
        return cls(grid.unflatten(0, spectra.shape[1:]).movedim((-2, -1), (0, 1)).contiguous(), side)

    def inverse(self, rho: float | Tensor, margin: tuple[int, int], like: Tensor) -> Callable[[Tensor], Tensor]:
        """r -> Σ_t D_t F⁻¹ (P_t + rho)⁻¹ F D_t r,   Σ D_t² = 1, D_t the sine windows: symmetric, positive definite.

        margin: rows and columns of the picture above and left of the grid of the power.
        """
        (h, w), (down, across) = (self.side[0] // 2, self.side[1] // 2), self.power.shape[:2]
        waves = [torch.sin(math.pi * (torch.arange(n, dtype=torch.float64) + 0.5) / n) for n in self.side]
        window, power = torch.outer(*waves).to(like), self.power.to(like)[:, :, None]
        rho = rho if isinstance(rho, float | int) else rho.to(like)

        first = (-(-margin[0] // h), -(-margin[1] // w))  # windows above and left of the power's own
        top, left = h + h * first[0] - margin[0], w + w * first[1] - margin[1]

        def solve(r: Tensor) -> Tensor:
            height, width = r.shape[-2:]
            rows, columns = -(-(top + height) // h) + 1, -(-(left + width) // w) + 1
            z = pad(r, (left, columns * w - left - width, top, rows * h - top - height))
            tiles = z.unfold(2, 2 * h, h).unfold(3, 2 * w, w).permute(2, 3, 0, 1, 4, 5) * window
            near = [(torch.arange(n, device=r.device) - f).clamp(0, m - 1)
                    for n, f, m in zip(tiles.shape[:2], first, (down, across), strict=True)]  # fmt: skip
            spectrum = torch.fft.rfft2(tiles) / (power[near[0]][:, near[1]] + rho)
            out = laid(torch.fft.irfft2(spectrum, s=self.side) * window, (h, w))
            return out[..., top : top + height, left : left + width]

        return solve
