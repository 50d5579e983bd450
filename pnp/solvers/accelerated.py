"""Forward-backward splitting with the gradient of the prior, Nesterov's momentum, and an objective that never rises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import Problem
from ..core.solver import Solver, relative
from ..linalg import norm
from ..registry import SOLVERS

DECREASE = 0.1  # of ‖z − w‖²/tau: what F has to fall by; a step of 1/L without momentum gives 0.5 at least


class AcceleratedState(NamedTuple):
    """x the image; w where the next step begins; t the momentum parameter, (B, 1, 1, 1); value F at x, (B,); move: how
    far the last step went, relative to x, (B,)."""

    x: Tensor
    w: Tensor
    t: Tensor
    value: Tensor
    move: Tensor


@SOLVERS.register("accelerated", rank=92, cite=("li2015", "odonoghue2015"))
@dataclass(frozen=True)
class Accelerated(Solver):
    """Accelerated forward-backward splitting, forward in the prior, F = f + lam g:

        z <- prox_{tau f}(w − tau lam ∇g(w)),   tau = 1/(lam L)
        x⁺ <- z where F(z) <= F(x) − 0.1 ‖z − w‖²/tau
        t⁺ <- (1 + √(1 + 4 t²))/2;   w⁺ <- x⁺ + (t − 1)/t⁺ (x⁺ − x)

    Where F does not fall by that much, image by image, x stays, t⁺ <- 1 and w⁺ <- x: the next step has no momentum, and
    F falls with it.  L: the prior's lipschitz().  Sums of F are compared up to rounding.
    Li & Lin 2015, algorithm 1, whose second step is made here only where it is needed.
    """

    iterations: int = 200
    needs: ClassVar[tuple[str, ...]] = ("grad", "value")
    needs_noise: ClassVar[tuple[str, ...]] = ("step",)

    def init(self, problem: Problem, x0: Tensor) -> AcceleratedState:
        if problem.prior.lipschitz() == float("inf"):
            raise ValueError(f"the smoothness constant of {problem.prior.name} is unknown. Use fixed-point:tau=...")
        far = x0.new_full((len(x0),), float("inf"))
        return AcceleratedState(x0, x0, x0.new_ones(len(x0), 1, 1, 1), problem.objective(x0), far)

    def step(self, problem: Problem, s: AcceleratedState, k: int) -> AcceleratedState:
        tau = 1 / (problem.lam * problem.prior.lipschitz())
        z = problem.data_prox(s.w - tau * problem.lam * problem.prior.grad(s.w), tau, s.w)
        value, moved = problem.objective(z), norm(z - s.w)
        rounding = 8 * torch.finfo(value.dtype).eps * s.value.abs()
        falls = value <= s.value - DECREASE * (moved**2 / tau).flatten() + rounding
        here = falls.view(-1, 1, 1, 1)
        x = torch.where(here, z, s.x)
        t = torch.where(here, (1 + (1 + 4 * s.t**2).sqrt()) / 2, 1.0)
        w = torch.where(here, x + (s.t - 1) / t * (x - s.x), s.x)
        return AcceleratedState(x, w, t, torch.where(falls, value, s.value), relative(moved, s.x))

    def change(self, problem: Problem, state: AcceleratedState, before: AcceleratedState) -> Tensor:
        """How far the step went: an image that stays where it is has not converged."""
        return state.move

    def objective(self, state: AcceleratedState) -> Tensor | None:
        return state.value

    def theorem(self, problem: Problem) -> str | None:
        if not problem.noise.quadratic or problem.prior.weakness() == float("inf"):
            return None
        if problem.convex:
            return "f + lam g is convex and never rises: every limit is a minimiser (Li & Lin 2015, theorem 1)"
        return "f + lam g never rises, and every limit is a critical point of it (Li & Lin 2015, theorem 1)"
