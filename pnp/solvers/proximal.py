"""Proximal gradient descent and FISTA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import Problem
from ..core.schedules import Geometric, Schedule, as_schedule
from ..core.solver import ImageState, Solver, State
from ..linalg import dot
from ..registry import SOLVERS


def gradient_step(
    problem: Problem, tau: float | Geometric | Schedule | None, iterations: int, k: int
) -> float | Tensor:
    """tau(k), by default 0.99/L with L = ‖A‖²/sigma² the Lipschitz constant of ∇f."""
    return 0.99 / problem.lipschitz() if tau is None else as_schedule(tau, iterations)(k)


@SOLVERS.register("pgd", rank=30, cite=("combettes2011",))
@dataclass(frozen=True)
class ProximalGradient(Solver):
    """Proximal gradient descent (forward-backward splitting).   Combettes & Pesquet 2011, algorithm 10.3.

        x <- prox_{lam tau g}(x − tau ∇f(x))

    tau: the step in units of a variance, by default 0.99 sigma²/‖A‖².
    """

    tau: float | Geometric | Schedule | None = None
    iterations: int = 300
    needs_noise: ClassVar[tuple[str, ...]] = ("curvature",)

    def init(self, problem: Problem, x0: Tensor) -> ImageState:
        return ImageState(x0)

    def step(self, problem: Problem, state: ImageState, k: int) -> ImageState:
        tau = gradient_step(problem, self.tau, self.iterations, k)
        v = state.x - tau * problem.data_grad(state.x)
        return ImageState(problem.prior.prox(v, problem.lam * tau))

    def last_tau(self, problem: Problem, state: State, k: int) -> float | Tensor:
        return gradient_step(problem, self.tau, self.iterations, k)

    def theorem(self, problem: Problem) -> str | None:
        if not (problem.prior.closed_convex and problem.smooth) or self.tau is not None:
            return None
        return "step below 2/L and a closed convex prior: converges to a minimiser of f + lam g (Combettes & Wajs 2005)"


class FISTAState(NamedTuple):
    """x the image, w the extrapolated point, t the momentum parameter of each image: (B, 1, 1, 1)."""

    x: Tensor
    w: Tensor
    t: Tensor


@SOLVERS.register("fista", rank=40, cite=("beck2009", "odonoghue2015"))
@dataclass(frozen=True)
class FISTA(Solver):
    """FISTA with gradient-based restart.   Beck & Teboulle 2009; restart: O'Donoghue & Candès 2015, section 3.2.

        x⁺ <- prox_{lam tau g}(w − tau ∇f(w))
        t⁺ <- (1 + √(1 + 4 t²))/2
        w⁺ <- x⁺ + (t − 1)/t⁺ (x⁺ − x)

    Restart, image by image: t⁺ <- 1 and w⁺ <- x⁺ where ⟨w − x⁺, x⁺ − x⟩ > 0.
    tau: the step in units of a variance, by default 0.99 sigma²/‖A‖².
    """

    tau: float | Geometric | Schedule | None = None
    restart: bool = True
    iterations: int = 300
    needs_noise: ClassVar[tuple[str, ...]] = ("curvature",)

    def init(self, problem: Problem, x0: Tensor) -> FISTAState:
        return FISTAState(x0, x0, torch.ones(x0.shape[0], 1, 1, 1, dtype=x0.dtype, device=x0.device))

    def step(self, problem: Problem, s: FISTAState, k: int) -> FISTAState:
        tau = gradient_step(problem, self.tau, self.iterations, k)
        x = problem.prior.prox(s.w - tau * problem.data_grad(s.w), problem.lam * tau)
        t = (1 + (1 + 4 * s.t**2).sqrt()) / 2
        w = x + (s.t - 1) / t * (x - s.x)
        if self.restart:
            again = dot(s.w - x, x - s.x) > 0
            t, w = torch.where(again, 1.0, t), torch.where(again, x, w)
        return FISTAState(x, w, t)

    def last_tau(self, problem: Problem, state: State, k: int) -> float | Tensor:
        return gradient_step(problem, self.tau, self.iterations, k)

    def theorem(self, problem: Problem) -> str | None:
        if not (problem.prior.closed_convex and problem.smooth) or self.tau is not None or self.restart:
            return None
        return "step 1/L and a closed convex prior: f + lam g falls as 2L‖x0 − x*‖²/(k+1)² (Beck & Teboulle 2009, 4.4)"
