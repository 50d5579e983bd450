"""Parameters that choose themselves: the weight of the prior by the discrepancy principle, and the solver."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import torch
from torch import Tensor

from .loop import solve
from .priors.base import Prior
from .problem import Problem
from .registry import SOLVERS
from .solvers.base import Solver, fits
from .stopping import Tolerance


def default_solver(prior: Prior) -> str:
    """The first registered solver that fits the prior.  Raises ValueError when none does."""
    for name, entry in SOLVERS.items():
        if fits(entry.make, prior):  # type: ignore[arg-type]
            return name
    offers = ", ".join(sorted(prior.offers())) or "nothing"
    raise ValueError(f"no solver fits prior {prior.name}, which offers {offers}.")


def fit_lam(
    problem: Problem, solver: Solver, *, c: float = 1.0, precision: float = 0.015, evaluations: int = 10
) -> tuple[Tensor, Tensor]:
    """The lam of each image for which ‖A x_lam − y‖ = c sigma √m, (B, 1, 1, 1), and the images x_lam.

    The residual grows with lam, so log residual is brought to log(c sigma √m) by steps of 4 and then by the Illinois
    form of regula falsi on log lam, each short solve starting from the image before, until it is met to `precision`.
    Warns where no lam meets it.   Morozov 1966 (discrepancy principle); Dowell & Jarratt 1971 (Illinois).
    """
    x = problem.initial()
    sigma = torch.as_tensor(problem.sigma, dtype=x.dtype).reshape(-1)
    target = torch.as_tensor(c * problem.noise_norm(), dtype=x.dtype).reshape(-1).to(x.device).expand(len(x))
    search = _Bracket(torch.log(0.5 / sigma).expand(len(x)).to(x.device))
    for _ in range(evaluations):
        trial = replace(problem, lam=search.log_lam.exp().view(-1, 1, 1, 1))
        x = solve(trial, solver, x0=x, iterations=min(solver.iterations, 60), stop=(Tolerance(5e-4),), record=()).x
        miss = (problem.residual(x).clamp_min(1e-30) / target).log()
        if bool((miss.abs() < precision).all()) or search.exhausted():
            break
        search.update(miss, precision)
    if bool((miss.abs() > 5 * precision).any()):
        side = "above" if float(miss[miss.abs().argmax()]) > 0 else "below"
        cause = "the kernel or sigma may be wrong" if side == "above" else "sigma may be too large for this operator"
        ratio = math.exp(float(miss[miss.abs().argmax()]))
        warnings.warn(
            f"no lam brings the residual to the noise: it stays {side} it ({ratio:.2f} times sigma √m); {cause}.",
            stacklevel=2,
        )
    return search.log_lam.exp().view(-1, 1, 1, 1), x


class _Bracket:
    """log lam of each image with the highest that leaves too small a residual and the lowest that leaves too large."""

    def __init__(self, start: Tensor) -> None:
        self.log_lam = start.clone()
        self.low, self.high = torch.full_like(start, -math.inf), torch.full_like(start, math.inf)
        self.miss_low, self.miss_high = torch.full_like(start, -1.0), torch.full_like(start, 1.0)
        self.limits = (start - 14, start + 14)  # a factor of a million either way

    def update(self, miss: Tensor, precision: float) -> None:
        """Move every image that misses its target."""
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
        self.log_lam = torch.where(miss.abs() < precision, self.log_lam, moved)

    def exhausted(self) -> bool:
        """Every image is at the end of its range or has a bracket too narrow to matter."""
        at_end = (self.log_lam <= self.limits[0]) | (self.log_lam >= self.limits[1])
        return bool((at_end | (self.high - self.low < 0.01)).all())
