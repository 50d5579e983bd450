"""Half-quadratic splitting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from ..core.problem import DataSplit, Problem
from ..core.schedules import Geometric, Schedule, as_schedule
from ..core.solver import Solver, falling_strength
from ..registry import SOLVERS


class HQSState(NamedTuple):
    """x the prior's image; split: the copy of Ax, for a noise that needs one."""

    x: Tensor
    split: DataSplit | None


@SOLVERS.register(
    "hqs", rank=20, cite=("geman1995", "zhang2021"), examples=("hqs", "hqs:tau=0.1..0.001", "hqs:tau=0.01")
)
@dataclass(frozen=True)
class HQS(Solver):
    """Half-quadratic splitting of f(x) + lam g(z) + ‖x − z‖²/(2 tau).   Geman & Yang 1995; DPIR: Zhang et al. 2021.

        x <- prox_{tau f∘A}(z)
        z <- prox_{lam tau g}(x)

    At constant tau the limit minimises f_tau(z) + lam g(z), f_tau the Moreau envelope of f∘A, not f + lam g itself.
    Beside noise that is not Gaussian the first line is `Problem.data_move`.
    tau: a variance or a schedule; None is DPIR's falling strength.
    """

    tau: float | Geometric | Schedule | None = None
    iterations: int = 30

    def init(self, problem: Problem, x0: Tensor) -> HQSState:
        return HQSState(x0, problem.split(x0))

    def step(self, problem: Problem, state: HQSState, k: int) -> HQSState:
        tau = self.last_tau(problem, state, k)
        x, split = problem.data_move(state.x, tau, state.x, state.split)
        return HQSState(problem.prior.prox(x, problem.lam * tau), split)

    def last_tau(self, problem: Problem, state: HQSState, k: int) -> float | Tensor:
        return as_schedule(falling_strength(problem) if self.tau is None else self.tau, self.iterations)(k)

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex or not problem.noise.quadratic or self.tau is None or callable(self.tau):
            return None
        return "constant tau and a closed convex prior: alternating proxes converge to a minimiser of f_tau + lam g"
