"""The weight of the prior by the discrepancy principle: the residual is as large as the noise."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.loop import solve
from ..core.problem import Problem
from ..core.recording import Measure, Snapshot
from ..core.result import Status
from ..core.solver import Solver
from ..core.stopping import Seconds, StopRule, Tolerance
from ..linalg import norm
from ..progress import part
from ..registry import SOLVERS
from .default import default_solver

TRIAL, LONGEST = 60, 240  # iterations of a trial; as many at most where its residual still moves
RIDGE = 1e-3  # rho/‖A‖² of what a blur has left nothing of: reads white noise within 2 % (blurs of std 1 to 2, disks)
LEAST, MOST = 1.02, 2.0  # where the noise is larger than sigma: the target, in what the smallest lam leaves


def fit_lam(
    problem: Problem,
    solver: Solver,
    *,
    c: float = 1.0,
    precision: float = 0.015,
    evaluations: int = 10,
    iterations: int | None = None,
    seconds: float = math.inf,
    together: bool = False,
) -> tuple[Tensor, Tensor]:
    """The lam of each image for which ‖A x_lam − y‖ = c sigma √m, (B, 1, 1, 1), and the images that it was seen on.

    The residual grows with lam, so log residual is brought to log(c sigma √m) by steps of 4 and then by the Illinois
    form of regula falsi on log lam, each short solve starting from the image before, until it is met to `precision` or
    `seconds` are over.  lam stays within 1/30 and 1000 times its start, 0.5/sigma.  Where the largest leaves less than
    that, it is taken.  Where the smallest leaves more, sigma is too small or the model wrong: the noise that y shows
    (`visible_noise`) takes the place of sigma, the target staying within `LEAST` and `MOST` times what the smallest
    leaves.  Both are said in a warning.
    together: the images share one lam, (1, 1, 1, 1), and the mean square of their residuals is brought there.
    With a closed convex prior x_lam does not depend on the solver, so the first that fits it takes the place of
    `solver`: where that is ADMM its exact data step settles the residual in a few iterations, a gradient's does not.
    Each short solve has `TRIAL` iterations, with such a prior up to `LONGEST`, until its residual has settled; at most
    `iterations`.
    Raises KeyboardInterrupt when interrupted.
    Morozov 1966 (discrepancy principle); Dowell & Jarratt 1971 (Illinois).
    """
    if problem.prior.closed_convex:
        solver = SOLVERS[default_solver(problem.prior, problem.offers())].make()
    begun = time.monotonic()
    x = problem.initial()

    def pooled(values: Tensor) -> Tensor:
        return values.square().mean(0, keepdim=True).sqrt() if together else values

    def each(value: float | Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=x.dtype).reshape(-1).to(x.device).expand(len(x))

    expected = pooled(each(problem.noise_norm()))
    target = c * expected
    search = _Search(
        torch.log(0.5 / pooled(each(problem.sigma))),
        precision,
        lambda: (pooled(visible_noise(problem)) * problem.measurements() ** 0.5 / expected).log(),
    )
    limits = [_Settled(precision / 5), Tolerance(5e-4)]
    longest = LONGEST if problem.prior.closed_convex else min(solver.iterations, TRIAL)
    longest = longest if iterations is None else min(iterations, longest)
    best, late = x, False
    while len(search.tried) < evaluations and not late:
        trial = problem.weighted(each(search.log_lam.exp()).view(-1, 1, 1, 1))
        left = max(1e-3, seconds - (time.monotonic() - begun))
        clock = [Seconds(left)] if math.isfinite(left) else []
        with part("choosing lam, trial", len(search.tried) + 1, evaluations):
            result = solve(trial, solver, x0=x, iterations=longest, stop=[*limits, *clock], record=())
        if Status.INTERRUPTED in result.status:
            raise KeyboardInterrupt
        x = torch.where(search.done.view(-1, 1, 1, 1), x, result.x)
        better = search.judge((pooled(problem.residual(x)).clamp_min(1e-30) / target).log())
        best = torch.where(better.view(-1, 1, 1, 1), x, best)
        if bool(search.done.all()):
            break
        late = time.monotonic() - begun > seconds
    log_lam, miss = search.nearest()
    if bool((miss.abs() > 5 * precision).any()):
        at = int(miss.abs().argmax())
        warnings.warn(_missed(c * math.exp(float(miss[at])), float(search.slack[at].exp()), late), stacklevel=2)
    return log_lam.exp().view(-1, 1, 1, 1), best


def visible_noise(problem: Problem) -> Tensor:
    """The standard deviation of white noise that y shows where A has left next to nothing of the picture, (B,).

        ‖(I − H) y‖/‖(I − H) n‖,   H = A (AᵀA + rho I)⁻¹ Aᵀ,   rho = RIDGE ‖A‖²,   n white noise of variance 1

    What a ridge regression cannot fit of y, over what it cannot fit of white noise.  It tells only where A weakens
    something, as a blur does.
    The variance estimate of generalised cross-validation: Golub, Heath & Wahba 1979.
    """
    y, operator, rho = problem.y, problem.operator, RIDGE * problem.norm**2

    def unfitted(v: Tensor) -> Tensor:
        return norm(v - operator(operator.solve_normal(operator.adjoint(v), rho))).flatten()

    probe = torch.randn((1, *y.shape[1:]), generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
    known = operator.known()
    probe = (probe if known is None else probe * known.to(probe)).expand_as(y)
    with torch.no_grad():
        return unfitted(y) / unfitted(probe).clamp_min(1e-30)


def _missed(ratio: float, raised: float, late: bool) -> str:
    """Why the residual is so many times the noise, and what to do."""
    where = f"The residual is {ratio:.2f} times the noise with the lam that was found"
    if late:
        return f"{where}: the time ended before a fitting lam was found. Give more time, or lam."
    if raised > 1:
        return (
            f"{where}, and no lam brings it down to the noise. The kernel may be wrong, or sigma too small. "
            "This lam fits the noise that the measurement shows. Check the kernel, or raise sigma."
        )
    if ratio < 1:
        return f"{where}, and no lam brings it up to the noise. Sigma may be too large. Lower sigma, or give lam."
    return f"{where}: the search did not come nearer. The kernel may be wrong or sigma too small."


@dataclass(frozen=True)
class _Settled(StopRule):
    """Stop when the residual has changed by a share of at most tol in 10 iterations, from iteration `TRIAL` on."""

    tol: float

    @property
    def reason(self) -> str:
        return f"residual settled to {self.tol:g}"

    def measures(self) -> dict[str, Measure]:
        return {"settling": lambda now: now.residual if now.k >= TRIAL - 11 else torch.full_like(now.change, math.inf)}

    def __call__(self, now: Snapshot) -> Tensor:
        if now.k < TRIAL - 1:
            return torch.zeros_like(now.change, dtype=torch.bool)
        before, last = (now.history.rows["settling"][i].clamp_min(1e-30) for i in (-11, -1))
        return (last / before).log().abs() <= self.tol


class _Search:
    """log lam of each image, to be tried next; a bracket around the answer; and all that was tried.

    shown: log of the noise that y shows over the one that is told, asked where the smallest lam leaves too much.
    """

    def __init__(self, start: Tensor, precision: float, shown: Callable[[], Tensor]) -> None:
        self.log_lam, self.precision, self.shown = start.clone(), precision, shown
        self.low, self.high = torch.full_like(start, -math.inf), torch.full_like(start, math.inf)
        self.miss_low, self.miss_high = torch.full_like(start, -1.0), torch.full_like(start, 1.0)
        self.limits = (start - math.log(30), start + math.log(1000))
        self.done = torch.zeros_like(start, dtype=torch.bool)
        self.slack = torch.zeros_like(start)  # log of the target in use over the one that was asked for
        self.tried: list[tuple[Tensor, Tensor]] = []  # (log lam, log of residual over target)

    def judge(self, miss: Tensor) -> Tensor:
        """Take the outcome of log_lam, move every image that is not done; True where it is the nearest so far, (B,)."""
        self.tried.append((self.log_lam, miss))
        lowest = (self.log_lam <= self.limits[0]) & (miss > 0) & (self.slack == 0)
        if bool(lowest.any()):
            raised = torch.minimum(self.shown().maximum(miss + math.log(LEAST)), miss + math.log(MOST))
            self.slack = torch.where(lowest, raised, self.slack)
        nearest = self._nearest()[0] == len(self.tried) - 1
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
        return nearest

    def nearest(self) -> tuple[Tensor, Tensor]:
        """(log lam, miss) of the trial that came nearest to the target in use."""
        best = self._nearest()
        lams, misses = (torch.stack(column).gather(0, best)[0] for column in zip(*self.tried, strict=True))
        return lams, misses

    def _nearest(self) -> Tensor:
        """Its number for each image, (1, B)."""
        misses = torch.stack([miss for _, miss in self.tried])  # (evaluations, B)
        return (misses - self.slack).abs().argmin(0, keepdim=True)
