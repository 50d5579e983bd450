"""Movies: frame after frame, each begun from what the frame before has taught."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from .. import metrics, priors
from ..core.certificate import Convergence
from ..core.loop import Callback, Memory
from ..registry import OPERATORS, Spec
from .restore import Job, Restoration, restore, simulated

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
    guess.  The memory in the result is that of the last frame reached.
    Raises ValueError for a prior that learns nothing, or for a single frame.
    """
    if len(frames) < 2 or "parametrise" not in priors.parse(job.prior).offers():
        raise ValueError(
            "a recursion is for a movie of two frames or more and a prior that learns, e.g. dip; "
            f"got {len(frames)} and {job.prior}.  Leave --recursive out."
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
        try:
            done.append(
                restore(
                    each,
                    frame,
                    truth=target,
                    callbacks=callbacks,
                    say=_quiet if done else say,
                    after=done[-1].result.memory if done else None,
                    sooner=SOONER if done else 1,
                )
            )
        except KeyboardInterrupt:  # beside the iteration, which has its own way of ending
            if not done:
                raise
            break
        if "interrupted" in done[-1].record["status"]:
            break
    last = done[-1].result
    for t in range(len(done), len(frames)):
        target = None if truth is None else truth[t : t + 1]
        done.append(_unreached(_of_frame(job, t), frames[t : t + 1], target, done[0], why))
    return _joined(job, done, last.memory)


def _of_frame(job: Job, t: int) -> Job:
    """The job with noise of its own for each frame of a simulation, and the same operator for all."""
    if not job.simulate:
        return job
    spec = Spec.parse(job.op)
    if "seed" in OPERATORS[spec.name].parameters() and "seed" not in spec.options:
        op = f"{job.op}{',' if ':' in job.op else ':'}seed={job.seed}"
        return replace(job, op=op, seed=job.seed + t)
    return replace(job, seed=job.seed + t)


def _unreached(job: Job, frame: Tensor, truth: Tensor | None, like: Restoration, why: str) -> Restoration:
    """The plain guess of a frame in the place of its restoration, with a record of zero iterations."""
    operator = like.result.problem.operator
    if job.simulate:
        operator, y = simulated(job, frame.to(job.device))
        truth = frame
    else:
        y = frame.to(job.device)
    problem = replace(like.result.problem, operator=operator, y=y)
    x = problem.initial()
    initial = operator.visible(x)
    end = Convergence(None, torch.full((1,), math.inf), False, problem, x)
    record: dict[str, Any] = {
        **like.record,
        "status": ["interrupted" if why == "interrupted" else "limit"],
        "reason": [why],
        "iterations": [0],
        "chosen": [0],
        "residual_over_noise": end.fit.tolist(),
        "residual_whiteness": None if end.whiteness is None else end.whiteness.tolist(),
        "verdict": ["not reached: this is the operator's plain guess"],
        "seconds": dict.fromkeys(like.record["seconds"], 0.0),
        "history": {},
    }
    if truth is not None and like.truth is not None:
        truth = truth.to(job.device)
        truth = truth if truth.shape[1:] == like.truth.shape[1:] else operator.visible(truth)
        scores = {"psnr": metrics.psnr(initial, truth).tolist(), "ssim": metrics.ssim(initial, truth).tolist()}
        record["metrics"] = {name: scores[name.removesuffix("_initial")] for name in like.record["metrics"]}
    return replace(like, restored=initial, initial=initial, truth=truth, record=record)


def _joined(job: Job, done: list[Restoration], memory: Memory) -> Restoration:
    """The frames as one batch; the result is that of the first with this memory, the record has a row for each."""
    first = done[0]
    record: dict[str, Any] = {**first.record, "job": asdict(job)}
    for name in PER_FRAME:
        rows = [d.record[name] for d in done]
        record[name] = None if rows[0] is None else [row[0] for row in rows]
    record["sigma"] = {**record["sigma"], "value": [d.record["sigma"]["value"] for d in done]}
    record["seconds"] = {k: sum(d.record["seconds"][k] for d in done) for k in record["seconds"]}
    record["history"] = [d.record["history"] for d in done]
    record.pop("objective", None)
    if "metrics" in record:
        record["metrics"] = {k: [d.record["metrics"][k][0] for d in done] for k in record["metrics"]}
    truths = [d.truth for d in done if d.truth is not None]
    return replace(
        first,
        restored=torch.cat([d.restored for d in done]),
        initial=torch.cat([d.initial for d in done]),
        truth=torch.cat(truths) if truths else None,
        result=replace(first.result, memory=memory),
        record=record,
    )


def _quiet(line: str) -> None:
    return None
