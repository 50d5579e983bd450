"""A movie of cells whose tracks are known, and how well they are found again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Movie:
    """frames: (T, 1, side, side) in [0, 1]; tracks: (T, cells, 2), row and column of each cell's centre."""

    frames: Tensor
    tracks: Tensor


def cells(frames: int = 8, side: int = 64, count: int = 5, seed: int = 0) -> Movie:
    """Bright elliptic cells, with a dark nucleus each, that drift and turn over a dim ground; no noise.

    Their paths start on a grid and are shorter than its meshes, so that no two cells meet.
    """
    draw = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=draw, dtype=torch.float64)

    meshes = int(count**0.5 + 0.999)  # a side
    mesh = side / meshes
    places = torch.randperm(meshes**2, generator=draw)[:count]
    centre = torch.stack([places // meshes, places % meshes], 1) * mesh + mesh / 2
    turn, speed = uniform(0, 6.2832, count), uniform(0.05, 0.15, count, 2) * mesh
    time = torch.arange(frames, dtype=torch.float64)[:, None, None] / max(1, frames - 1)
    tracks = centre + speed * torch.stack([(3 * time[..., 0] + turn).sin(), (2 * time[..., 0] + turn).cos()], -1)
    radii, bright = uniform(0.16, 0.24, count, 2) * mesh, uniform(0.5, 0.8, count)
    grid = torch.arange(side, dtype=torch.float64)
    movie = torch.full((frames, side, side), 0.1, dtype=torch.float64)
    for t in range(frames):
        for i in range(count):
            angle = turn[i] + 0.5 * time[t, 0, 0]
            y, x = grid[:, None] - tracks[t, i, 0], grid[None] - tracks[t, i, 1]
            a, b = (angle.cos() * y + angle.sin() * x) / radii[i, 0], (angle.cos() * x - angle.sin() * y) / radii[i, 1]
            from_centre = (a.square() + b.square()).sqrt()
            body = (4 * (1 - from_centre) * radii[i].mean() / 2).sigmoid()
            nucleus = (4 * (0.35 - from_centre) * radii[i].mean() / 2).sigmoid()
            movie[t] += bright[i] * (body - 0.4 * nucleus)
    return Movie(movie[:, None].float().clamp(0, 1), tracks)


def centres(picture: Tensor) -> Tensor:
    """The cells that are found in a picture (H, W): centres of mass of what is brighter than Otsu's threshold, (n, 2).

    In pixels, row and column, as in `Movie.tracks`; spots of fewer than 4 pixels are noise.
    """
    from skimage.filters import threshold_otsu
    from skimage.measure import label, regionprops

    p = picture.double().numpy()
    found = [r.centroid_weighted for r in regionprops(label(p > threshold_otsu(p)), p) if r.area >= 4]
    return torch.tensor(found, dtype=torch.float64)


def miss(found: Tensor, track: Tensor) -> float:
    """Mean distance in pixels from each true centre (m, 2) to the nearest that was found (n, 2)."""
    return float((track[:, None] - found[None]).norm(dim=2).amin(1).mean())
