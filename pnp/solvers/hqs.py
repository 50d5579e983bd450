"""Half-quadratic splitting."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core.problem import Problem
from ..core.schedules import Geometric, Schedule, as_schedule
from ..core.solver import ImageState, Solver, falling_strength
from ..registry import SOLVERS


@SOLVERS.register(
    "hqs", rank=20, cite=("geman1995", "zhang2021"), examples=("hqs", "hqs:tau=0.1..0.001", "hqs:tau=0.01")
)
@dataclass(frozen=True)
class HQS(Solver):
    """Half-quadratic splitting of f(x) + lam g(z) + ‖x − z‖²/(2 tau).   Geman & Yang 1995; DPIR: Zhang et al. 2021.

        x <- prox_{tau f}(z)
        z <- prox_{lam tau g}(x)

    At constant tau the limit minimises f_tau(z) + lam g(z), f_tau the Moreau envelope of f, not f + lam g itself.
    tau: a variance or a schedule; None is DPIR's falling strength.
    """

    tau: float | Geometric | Schedule | None = None
    iterations: int = 30

    def init(self, problem: Problem, x0: Tensor) -> ImageState:
        return ImageState(x0)

    def step(self, problem: Problem, state: ImageState, k: int) -> ImageState:
        tau = self.last_tau(problem, state, k)
        x = problem.data_prox(state.x, tau, x0=state.x)
        return ImageState(problem.prior.prox(x, problem.lam * tau))

    def last_tau(self, problem: Problem, state: ImageState, k: int) -> float | Tensor:
        return as_schedule(falling_strength(problem) if self.tau is None else self.tau, self.iterations)(k)

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex or self.tau is None or callable(self.tau):
            return None
        return "constant tau and a closed convex prior: alternating proxes converge to a minimiser of f_tau + lam g"
