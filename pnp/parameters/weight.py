"""The weight of the prior by the discrepancy principle: the residual is as large as the noise."""

from __future__ import annotations

import math
import time
import warnings

import torch
from torch import Tensor

from ..core.loop import solve
from ..core.problem import Problem
from ..core.result import Status
from ..core.solver import Solver
from ..core.stopping import Seconds, Tolerance
from ..registry import SOLVERS
from .default import default_solver

SIDES = (("below", "sigma may be too large"), ("above", "the kernel may be wrong or sigma too small"))


def fit_lam(
    problem: Problem,
    solver: Solver,
    *,
    c: float = 1.0,
    precision: float = 0.015,
    evaluations: int = 10,
    iterations: int | None = None,
    seconds: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """The lam of each image for which ‖A x_lam − y‖ = c sigma √m, (B, 1, 1, 1), and images near x_lam to start from.

    The residual grows with lam, so log residual is brought to log(c sigma √m) by steps of 4 and then by the Illinois
    form of regula falsi on log lam, each short solve starting from the image before, until it is met to `precision` or
    `seconds` are over.  lam stays within 1/30 and 1000 times its start, 0.5/sigma.  Where the smallest leaves more than
    that (sigma is too small, or the model wrong), 1.2 times what it leaves becomes the target; where the largest leaves
    less, it is taken; both with a warning.
    With a closed convex prior x_lam does not depend on the solver, so the first that fits it takes the place of
    `solver`: where that is ADMM its exact data step settles the residual in a few iterations, a gradient's does not.
    Each short solve has at most 60 iterations, or `iterations`.  Raises KeyboardInterrupt when interrupted.
    Morozov 1966 (discrepancy principle); Dowell & Jarratt 1971 (Illinois).
    """
    if problem.prior.closed_convex:
        solver = SOLVERS[default_solver(problem.prior, problem.offers())].make()
    begun = time.monotonic()
    x = problem.initial()
    sigma = torch.as_tensor(problem.sigma, dtype=x.dtype).reshape(-1)
    target = torch.as_tensor(c * problem.noise_norm(), dtype=x.dtype).reshape(-1).to(x.device).expand(len(x))
    search = _Search(torch.log(0.5 / sigma).expand(len(x)).to(x.device), precision)
    most = min(solver.iterations, 60 if iterations is None else min(60, iterations))
    late = False
    while len(search.tried) < evaluations and not late:
        trial = problem.weighted(search.log_lam.exp().view(-1, 1, 1, 1))
        left = max(1e-3, seconds - (time.monotonic() - begun))
        limits = [Tolerance(5e-4), *([Seconds(left)] if math.isfinite(left) else [])]
        result = solve(trial, solver, x0=x, iterations=most, stop=limits, record=())
        if Status.INTERRUPTED in result.status:
            raise KeyboardInterrupt
        x = torch.where(search.done.view(-1, 1, 1, 1), x, result.x)
        search.judge((problem.residual(x).clamp_min(1e-30) / target).log())
        if bool(search.done.all()):
            break
        late = time.monotonic() - begun > seconds
    log_lam, miss = search.nearest()
    if bool((miss.abs() > 5 * precision).any()):
        worst = float(miss[miss.abs().argmax()])
        side, cause = SIDES[worst > 0]
        where = f"{side} it ({math.exp(worst):.2f} times sigma √m)"
        failed = "the time was over before a lam was found that" if late else "no lam"
        cause = "give more time, or lam" if late else cause
        warnings.warn(f"{failed} brings the residual to the noise: it stays {where}; {cause}.", stacklevel=2)
    return log_lam.exp().view(-1, 1, 1, 1), x


class _Search:
    """log lam of each image, to be tried next; a bracket around the answer; and all that was tried."""

    def __init__(self, start: Tensor, precision: float) -> None:
        self.log_lam, self.precision = start.clone(), precision
        self.low, self.high = torch.full_like(start, -math.inf), torch.full_like(start, math.inf)
        self.miss_low, self.miss_high = torch.full_like(start, -1.0), torch.full_like(start, 1.0)
        self.limits = (start - math.log(30), start + math.log(1000))
        self.done = torch.zeros_like(start, dtype=torch.bool)
        self.slack = torch.zeros_like(start)  # log of the target in use over the one that was asked for
        self.tried: list[tuple[Tensor, Tensor]] = []  # (log lam, log of residual over target)

    def judge(self, miss: Tensor) -> None:
        """Take the outcome of log_lam, and move every image that is not done."""
        self.tried.append((self.log_lam, miss))
        lowest = (self.log_lam <= self.limits[0]) & (miss > 0) & (self.slack == 0)
        self.slack = torch.where(lowest, miss + math.log(1.2), self.slack)
        miss = miss - self.slack
        self.high = torch.where(lowest, math.inf, self.high)
        under = miss < 0
        # Illinois: the end that stays twice weighs half, or one end would never move
        self.miss_high = torch.where(under, self.miss_high / 2, miss)
        self.miss_low = torch.where(under, miss, self.miss_low / 2)
        self.low = torch.where(under, self.log_lam, self.low)
        self.high = torch.where(under, self.high, self.log_lam)
        closed = torch.isfinite(self.low) & torch.isfinite(self.high)
        share = (-self.miss_low / (self.miss_high - self.miss_low)).clamp(0.1, 0.9)
        inside = torch.where(closed, self.low + share * (self.high - self.low), 0.0)
        outside = self.log_lam + torch.where(under, 1.0, -1.0) * math.log(4)
        moved = torch.where(closed, inside, outside).clamp(*self.limits)
        stuck = (moved == self.log_lam) | (self.high - self.low < 0.01)  # at a limit, or the bracket is that narrow
        self.done = self.done | (miss.abs() < self.precision) | stuck
        self.log_lam = torch.where(self.done, self.log_lam, moved)

    def nearest(self) -> tuple[Tensor, Tensor]:
        """(log lam, miss) of the trial that came nearest to the target in use."""
        lams, misses = (torch.stack(column) for column in zip(*self.tried, strict=True))  # (evaluations, B)
        best = (misses - self.slack).abs().argmin(0, keepdim=True)
        return lams.gather(0, best)[0], misses.gather(0, best)[0]
