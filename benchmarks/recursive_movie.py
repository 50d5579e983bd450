"""Recursive deep image prior: what a frame costs that begins where the last one ended, and whether its cells are found.

    python benchmarks/recursive_movie.py          (about three minutes; --quick: few frames and steps, writes nothing)

The movie of cells (`examples/cells.py`), seen at half the size with noise of SIGMA, restored as by `pnp solve
movie.tif --op downsample:factor=2 --prior dip --recursive`, and each frame once more from nothing.  Both stop
themselves, by the same rules.  Steps to equal: the first step that has the PSNR with which the frame from nothing
stops.  Cells: mean distance in pixels from each true centre to the nearest one found, by Otsu's threshold and centres
of mass, in the small movie (its pixels doubled) and in the restored one, and how many are found for how many there
are. """

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from common import arguments, save
from torch import Tensor

from pnp.jobs import Job, run
from pnp.jobs.movie import restore_movie
from pnp.registry import OPERATORS

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from cells import cells, centres, miss

SIGMA = 0.05
JOB = Job(operator="downsample:factor=2", prior="dip", sigma=SIGMA)


def restored(frames: Tensor, y: Tensor, iterations: int | None) -> tuple[Tensor, list[dict[str, Any]]]:
    """The movie by recursion, and for each frame its own curve beside that from nothing."""
    job = Job(**{**vars(JOB), "iterations": iterations})
    movie = restore_movie(job, y, truth=frames)
    rows = []
    for t, history in enumerate(movie.record.history):
        alone = run(job, y[t : t + 1], truth=frames[t : t + 1])
        mine, scratch = curve(history), curve(alone.record.history)
        target = alone.record.metrics["psnr"][0]
        rows.append({
            "recursive": {"psnr": movie.record.metrics["psnr"][t], "steps": movie.record.iterations[t],
                          "steps to equal": reached(mine, target)},
            "from nothing": {"psnr": target, "steps": alone.record.iterations[0],
                             "steps to equal": reached(scratch, target)},
        })  # fmt: skip
        print(f"frame {t}: {rows[-1]}", flush=True)
    return movie.restored, rows


def curve(history: dict[str, Any]) -> list[float]:
    """PSNR after each step."""
    return torch.tensor(history["psnr"]).flatten().tolist()


def reached(values: list[float], target: float) -> int | None:
    """The first step, from 1, whose PSNR is that of the target to two digits; None where there is none."""
    return next((k for k, value in enumerate(values, 1) if value >= target - 0.005), None)


def mean(values: list[float | None]) -> float | None:
    """None where one of them is none: a frame that never came there has no number of steps."""
    found = [v for v in values if v is not None]
    return sum(found) / len(found) if len(found) == len(values) else None


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    count, side, iterations = (3, 40, 60) if options.quick else (16, 64, None)
    movie = cells(frames=16, side=side, count=4)
    frames, tracks = movie.frames[:count], movie.tracks[:count]
    y = OPERATORS.build("downsample:factor=2")(frames)
    y = y + SIGMA * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    x, rows = restored(frames, y, iterations)
    later = rows[1:]
    means = {kind: {k: mean([r[kind][k] for r in later]) for k in later[0][kind]} for kind in later[0]}
    spots = {"small": [2 * centres(f[0]) + 0.5 for f in y], "restored": [centres(f[0]) for f in x]}
    seen = {
        name: {
            "missed by, pixels": mean([miss(c, track) for c, track in zip(found, tracks, strict=True)]),
            "found": [len(c) for c in found],
        }
        for name, found in spots.items()
    }
    print(f"mean of the frames after the first: {means}; {len(tracks[0])} cells: {seen}")
    if not options.quick:
        results = {"frames": rows, "mean after the first": means, "cells": {"there": len(tracks[0]), **seen}}
        print(save("recursive_movie", results, side=side, sigma=SIGMA))


if __name__ == "__main__":
    main()
