"""Find the rows of a table of rules on training pictures: the search behind `pnp tune`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import priors
from ..core.loop import solve
from ..core.problem import Problem
from ..files import atomic, pictures
from ..metrics import psnr
from ..noises.gaussian import Gaussian
from ..operators.base import Operator
from ..priors.base import Prior
from ..registry import OPERATORS
from ..training.patches import read_pictures, sizes
from . import rules
from .rules import Rule

# The operators and noise levels (of 255) that stand for each task
TASKS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "blur": (
        (
            "blur:kernel=shake,length=15,seed=1",
            "blur:kernel=shake,length=24,seed=2",
            "blur:std=1.4",
            "blur:kernel=disk,radius=3",
        ),
        (2.5, 7.5),
    ),
    "downsample": (("downsample:factor=2,kernel=gaussian", "downsample:factor=3"), (0.5, 2.5, 7)),
    "mask": (("mask:keep=0.5", "mask:keep=0.2", "mask:kind=boxes,boxes=12,size=7"), (0.5, 12)),
    "sensing": (tuple(f"sensing:kind=block,ratio={r}" for r in (0.04, 0.1, 0.3)), (0.5, 4)),
    "identity": (("identity",), (5, 15, 40)),
}
HEAD = (
    "# Default parameters by `pnp tune`, for `pnp solve --rules`: a row goes before the shipped one of the same kind,",
    "# task and asked-for solver (`pnp list rules`).",
)
SIZES = ("whole", "halved", *6 * ["jpeg"])  # of the large photographs, in turn
STEPS = {"lam": (1.6, 1.25), "start": (1.5, 1.2), "end": (1.4, 1.15), "floor": (1.6, 1.25)}  # factors, coarse then fine


@dataclass(frozen=True)
class Case:
    """A batch of training crops measured once."""

    operator: Operator
    y: Tensor
    truth: Tensor
    sigma: float


def crops(paths: Sequence[Path], count: int, side: int, channels: int) -> Tensor:
    """The central squares of `count` pictures spread over the list, (count, channels, side, side).

    Six in eight large photographs are taken as a small copy out of a JPEG file, one as its half, one as it is.
    """
    found: list[Tensor] = []
    for path in paths[:: max(1, len(paths) // count)]:
        if len(found) == count:
            break
        picture = read_pictures([path], channels)[0]
        if min(picture.shape[1:]) >= side:
            seen = sizes(picture, len(found), side)
            size = SIZES[len(found) % len(SIZES)] if "jpeg" in seen else "whole"
            found.append(pictures.crop_centre(seen[size][None].float() / 255, side))
    if not found:
        raise ValueError(f"no picture has {side}×{side} pixels or more. Add larger pictures, or lower --side.")
    return torch.cat(found)


def cases(task: str, truth: Tensor, seed: int = 0) -> list[Case]:
    """Every operator of the task at each of its noise levels."""
    specs, sigmas = TASKS[task]
    made = []
    for spec, sigma in itertools.product(specs, sigmas):
        operator = OPERATORS.build(spec, shape=tuple(truth.shape[1:]), seed=seed)
        y = Gaussian(sigma / 255).draw(operator(truth), torch.Generator().manual_seed(seed))
        made.append(Case(operator, y, truth, sigma / 255))
    return made


def score(rule: Rule, prior: Prior, measured: list[Case]) -> float:
    """Mean PSNR in dB over the cases."""
    values = []
    for case in measured:
        own = rule.tuned(prior, case.sigma)
        problem = Problem(case.operator, case.y, own, sigma=case.sigma, lam=rule.lam)
        x = solve(problem, rule.make(case.sigma), stop=(), record=()).x
        values.append(float(psnr(x, case.truth).mean()))
    return sum(values) / len(values)


def search(
    rule: Rule,
    evaluate: Callable[[Rule], float],
    steps: Mapping[str, tuple[float, ...]] = STEPS,
    gain: float = 0.005,
) -> Iterator[tuple[Rule, float]]:
    """Coordinate search by factors: each better row with its score, the best last.

    A parameter moves by its factor, rounded to four digits, while that gains at least `gain` dB, up or else down; one
    round over all parameters for each size of step.  What is 0 stays 0.
    """
    best = evaluate(rule)
    yield rule, best
    for size in range(max(len(s) for s in steps.values())):
        for name in steps:
            for factor in (steps[name][size], 1 / steps[name][size]):
                moved = False
                while getattr(rule, name) > 0:
                    changed: dict[str, Any] = {name: float(f"{getattr(rule, name) * factor:.4g}")}
                    trial = replace(rule, **changed)
                    value = evaluate(trial)
                    if value < best + gain:
                        break
                    rule, best, moved = trial, value, True
                    yield rule, best
                if moved:
                    break


def start(
    rows: Mapping[rules.Key, Rule], kind: str, task: str, solver: str | None, iterations: int | None
) -> tuple[rules.Key, Rule]:
    """The place of the row to tune, and the row to begin with: itself, or else the task's, or any other task's.

    solver, iterations: what it shall have; None: what it has.  Raises ValueError for a kind that has no row.
    """
    own = rows.get((kind, task))
    asked = "" if solver is None or (own is not None and own.solver == solver) else solver
    at = (kind, rules.slot(task, asked))
    found = rows.get(at) or own or rows.get((kind, rules.OTHER))
    if found is None:
        known = ", ".join(sorted({k for k, _ in rows}))
        raise ValueError(f"priors of kind {kind!r} do not have a row to start from. Known kinds: {known}.")
    return at, replace(found, iterations=iterations or found.iterations, solver=solver or found.solver)


def tune(prior: str, task: str, rule: Rule, truth: Tensor) -> Iterator[tuple[Rule, float]]:
    """`search` for one prior and one task on these clean crops (B, C, H, W)."""
    built = priors.parse(prior, shape=(truth.shape[1], truth.shape[2], truth.shape[3]))
    measured = cases(task, truth)
    return search(rule, lambda trial: score(trial, built, measured))


def write(rows: Mapping[rules.Key, Rule], path: Path) -> None:
    """Replace the table in `path`; the comments at its head stay, and a new file has HEAD.   Raises WriteError."""
    head: Sequence[str] = HEAD
    if path.exists():
        head = list(itertools.takewhile(lambda line: line.startswith("#"), path.read_text("utf-8-sig").splitlines()))
    atomic.write(path, rules.as_text(rows, head))
