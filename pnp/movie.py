"""Movies: frame after frame, each begun from what the frame before has taught, and a movie of cells to try it on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import priors
from .loop import Callback, Memory
from .restore import Job, Restoration, restore

SOONER = 4  # a frame that starts near its end waits for a quarter of the iterations before it is believed to be there
PER_FRAME = ("status", "reason", "iterations", "chosen", "residual_over_noise", "residual_whiteness", "verdict")


def restore_movie(
    job: Job,
    frames: Tensor,
    *,
    truth: Tensor | None = None,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Restoration:
    """Restore the frames (T, C, H, W) of a movie in turn, frame t from the weights and moments of frame t − 1.

    The recursive deep prior of Cascarano et al. 2021 (video): little changes from one frame to the next, so that
    little is left to do.  Each frame has its own stop.  An interrupt ends the movie with the frame that it hits.
    Raises ValueError for a prior that learns nothing, or for a single frame.
    """
    if len(frames) < 2 or "parametrise" not in priors.parse(job.prior).offers():
        raise ValueError(
            "a recursion is for a movie of two frames or more and a prior that learns, e.g. dip; "
            f"got {len(frames)} and {job.prior}.  Leave --recursive out."
        )
    done: list[Restoration] = []
    after: Memory | None = None
    for t, frame in enumerate(frames.split(1)):
        target = None if truth is None else truth[t : t + 1]
        each = replace(job, seed=job.seed + t)  # noise of its own for each frame of a simulation
        hear = say if t == 0 else _quiet
        done.append(
            restore(
                each, frame, truth=target, callbacks=callbacks, say=hear, after=after, sooner=SOONER if after else 1
            )
        )
        after = done[-1].result.memory
        if "interrupted" in done[-1].record["status"]:
            break
    return _joined(job, done)


def _joined(job: Job, done: list[Restoration]) -> Restoration:
    """The frames as one batch; the result is that of the first, the record has a row for each."""
    first = done[0]
    record: dict[str, Any] = {**first.record, "job": {**first.record["job"], "seed": job.seed}}
    for name in PER_FRAME:
        rows = [d.record[name] for d in done]
        record[name] = None if rows[0] is None else [row[0] for row in rows]
    record["sigma"] = {**record["sigma"], "value": [d.record["sigma"]["value"] for d in done]}
    record["seconds"] = {k: sum(d.record["seconds"][k] for d in done) for k in record["seconds"]}
    if "metrics" in record:
        record["metrics"] = {k: [d.record["metrics"][k][0] for d in done] for k in record["metrics"]}
    truths = [d.truth for d in done if d.truth is not None]
    return replace(
        first,
        restored=torch.cat([d.restored for d in done]),
        initial=torch.cat([d.initial for d in done]),
        truth=torch.cat(truths) if truths else None,
        record=record,
    )


def _quiet(line: str) -> None:
    return None


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
