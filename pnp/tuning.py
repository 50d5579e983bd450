"""Find the rows of rules.toml on training pictures: the search behind `pnp tune`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from . import images, priors
from .loop import solve
from .metrics import psnr
from .noise import Gaussian
from .operators.base import Operator
from .priors.base import Prior
from .problem import Problem
from .registry import OPERATORS
from .rules import Rule

# The operators and noise levels (of 255) that stand for each task
TASKS: dict[str, tuple[tuple[str, ...], tuple[float, ...]]] = {
    "blur": (("blur:kernel=motion,length=13,angle=60", "blur:std=1.4", "blur:kernel=disk,radius=3"), (2, 5, 9)),
    "downsample": (("downsample:factor=2,kernel=gaussian", "downsample:factor=3"), (0.5, 2.5, 7)),
    "mask": (("mask:keep=0.5", "mask:keep=0.2", "mask:kind=boxes,boxes=12,size=7"), (0.5, 12)),
    "sensing": (("sensing:kind=block,ratio=0.1", "sensing:kind=block,ratio=0.3"), (0.5, 4)),
    "identity": (("identity",), (5, 15, 40)),
}
STEPS = {"lam": (1.6, 1.25), "start": (1.5, 1.2), "end": (1.4, 1.15), "floor": (1.6, 1.25)}  # factors, coarse then fine


@dataclass(frozen=True)
class Case:
    """A batch of training crops measured once."""

    operator: Operator
    y: Tensor
    truth: Tensor
    sigma: float


def crops(paths: Sequence[Path], count: int, side: int, channels: int) -> Tensor:
    """The central squares of `count` pictures spread over the list, (count, channels, side, side)."""
    found: list[Tensor] = []
    for path in paths[:: max(1, len(paths) // count)]:
        x = images.read(path).pixels[:1]
        if min(x.shape[-2:]) >= side and x.shape[1] >= channels and len(found) < count:
            x = images.crop_centre(x, side)
            found.append(x[:, :3] if channels == 3 else x.mean(1, keepdim=True))
    if not found:
        raise ValueError(f"no picture of at least {side}×{side} pixels and {channels} channel(s) to tune on.")
    return torch.cat(found)


def cases(task: str, truth: Tensor, seed: int = 0) -> list[Case]:
    """Every operator of the task at each of its noise levels."""
    specs, sigmas = TASKS[task]
    made = []
    for spec, sigma in itertools.product(specs, sigmas):
        operator = OPERATORS.build(spec, shape=tuple(truth.shape[1:]), seed=seed)
        y = Gaussian(sigma / 255)(operator(truth), torch.Generator().manual_seed(seed))
        made.append(Case(operator, y, truth, sigma / 255))
    return made


def score(rule: Rule, prior: Prior, measured: list[Case]) -> float:
    """Mean PSNR in dB over the cases."""
    values = []
    for case in measured:
        problem = Problem(case.operator, case.y, prior, sigma=case.sigma, lam=rule.lam)
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

    A parameter moves by its factor while that gains at least `gain` dB, up or else down; one round over all parameters
    for each size of step.  What is 0 stays 0.
    """
    best = evaluate(rule)
    yield rule, best
    for size in range(max(len(s) for s in steps.values())):
        for name in steps:
            for factor in (steps[name][size], 1 / steps[name][size]):
                moved = False
                while getattr(rule, name) > 0:
                    trial = replace(rule, **{name: getattr(rule, name) * factor})
                    value = evaluate(trial)
                    if value < best + gain:
                        break
                    rule, best, moved = trial, value, True
                    yield rule, best
                if moved:
                    break


def tune(prior: str, task: str, rule: Rule, truth: Tensor) -> Iterator[tuple[Rule, float]]:
    """`search` for one prior and one task on these clean crops (B, C, H, W)."""
    built = priors.parse(prior, shape=(truth.shape[1], truth.shape[2], truth.shape[3]))
    measured = cases(task, truth)
    return search(rule, lambda trial: score(trial, built, measured))
