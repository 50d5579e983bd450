"""Movies: frame after frame, each begun from what the frame before has taught."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.certificate import Convergence
from ..core.loop import Callback
from ..core.result import Memory
from ..operators.base import Operator
from ..progress import part
from ..registry import OPERATORS
from .job import Job, build, simulated
from .record import Chosen, rounded, scores
from .restore import Restoration, run

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
    little is left to do.  Each frame has its own stop.  Of `job.seconds` each may take its share of what is left.  An
    interrupt ends the movie with the frame that it hits; the frames that are not reached stay the operator's plain
    guess.  The memory in the result is from the last frame reached.
    Raises ValueError for a prior that learns nothing, or for a single frame.
    """
    if len(frames) < 2 or "parametrise" not in build(_of_frame(job, 0), frames[:1]).prior.offers():
        raise ValueError(
            "A recursion needs a movie of two frames or more and a prior that learns, e.g. dip. It got "
            f"{len(frames)} and {job.settings()['prior']}. Leave --recursive out."
        )
    begun = time.perf_counter()
    done: list[Restoration] = []
    why = "interrupted"
    for t, frame in enumerate(frames.split(1)):
        each, target = _of_frame(job, t), None if truth is None else truth[t : t + 1]
        if job.seconds is not None:
            left = job.seconds - (time.perf_counter() - begun)
            if done and left <= 0:
                why = f"time limit of {job.seconds:g} s for the movie"
                break
            each = replace(each, seconds=max(1e-3, left / (len(frames) - t)))
        if done and isinstance(light := done[0].record.light.value, str):  # what the weights have learned
            each = replace(each, light=light)
        try:
            with part("frame", t + 1, len(frames)):
                now = run(
                    each,
                    frame,
                    truth=target,
                    callbacks=callbacks,
                    say=_quiet if done else say,
                    after=done[-1].result.memory if done else None,
                    sooner=SOONER if done else 1,
                )
            done.append(now)
        except KeyboardInterrupt:  # beside the iteration, which has its own way of ending
            if not done:
                raise
            break
        if "interrupted" in done[-1].record.status:
            break
    last = done[-1].result
    for t in range(len(done), len(frames)):
        target = None if truth is None else truth[t : t + 1]
        done.append(_unreached(_of_frame(job, t), frames[t : t + 1], target, done[0], why))
    return _joined(job, done, last.memory)


def _of_frame(job: Job, t: int) -> Job:
    """The job with noise of its own for each frame of a simulation, and the same operator for all."""
    if not job.simulate or isinstance(job.operator, Operator):
        return replace(job, seed=job.seed + t) if job.simulate else job
    spec = OPERATORS.parse(job.operator)
    if "seed" in OPERATORS[spec.name].parameters() and "seed" not in spec.options:
        spec = replace(spec, options={**spec.options, "seed": str(job.seed)})
    return replace(job, operator=spec, seed=job.seed + t)


def _unreached(job: Job, frame: Tensor, truth: Tensor | None, like: Restoration, why: str) -> Restoration:
    """The plain guess of a frame in the place of its restoration, with a record of zero iterations."""
    old = like.result.problem
    operator, y = simulated(job, frame.to(old.y.device)) if job.simulate else (old.operator, frame.to(old.y.device))
    problem = replace(old, operator=operator, y=y)
    x = problem.initial()
    initial = operator.visible(x)
    end = Convergence(None, torch.full((1,), math.inf), False, problem, x)
    if job.simulate:
        truth = frame
    if truth is not None and like.truth is not None:
        truth = truth.to(y.device)
        truth = truth if truth.shape[1:] == like.truth.shape[1:] else operator.visible(truth)
    record = replace(
        like.record,
        status=["interrupted" if why == "interrupted" else "limit"],
        reason=[why],
        iterations=[0],
        chosen=[0],
        residual_over_noise=rounded(end.fit),
        residual_whiteness=None if end.whiteness is None else rounded(end.whiteness),
        verdict=["not reached: this is the operator's plain guess"],
        seconds=dict.fromkeys(like.record.seconds, 0.0),
        history={},
        metrics=None if truth is None else scores(initial, initial, truth),
    )
    return replace(like, picture=initial, restored=initial, initial=initial, truth=truth, record=record)


def _joined(job: Job, done: list[Restoration], memory: Memory) -> Restoration:
    """The frames as one batch; the result is that of the first with this memory, the record has a row for each."""
    first, records = done[0], [d.record for d in done]
    rows: dict[str, Any] = {name: [getattr(record, name) for record in records] for name in PER_FRAME}
    each: dict[str, Any] = {name: None if row[0] is None else [value[0] for value in row] for name, row in rows.items()}
    measured = [record.metrics for record in records if record.metrics is not None]
    levels = [value for record in records if isinstance(value := record.sigma.value, float)]
    record = replace(
        first.record,
        job=job.settings(),
        **each,
        sigma=Chosen(levels or None, first.record.sigma.source),
        seconds={k: sum(r.seconds[k] for r in records) for k in first.record.seconds},
        history=[r.history for r in records if isinstance(r.history, dict)],
        objective=None,
        metrics={k: [m[k][0] for m in measured] for k in measured[0]} if len(measured) == len(done) else None,
    )
    truths = [d.truth for d in done if d.truth is not None]
    return replace(
        first,
        picture=torch.cat([d.restored for d in done]),
        restored=torch.cat([d.restored for d in done]),
        initial=torch.cat([d.initial for d in done]),
        truth=torch.cat(truths) if truths else None,
        result=replace(first.result, memory=memory),
        record=record,
    )


def _quiet(line: str) -> None:
    return None
