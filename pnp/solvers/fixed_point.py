"""The gradient step on the prior and the exact step on the data: RED's fixed point, and gradient-step plug-and-play."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import DataSplit, Problem
from ..core.solver import Solver, relative
from ..linalg import norm
from ..registry import SOLVERS

HALVINGS = 20


class FixedPointState(NamedTuple):
    """x the image; tau its step, (B, 1, 1, 1); value f + lam g at x, (B,), NaN for a prior without a value; move: how
    far the step at tau would go, relative to x, (B,)."""

    x: Tensor
    tau: Tensor
    value: Tensor
    move: Tensor
    split: DataSplit | None = None  # the copy of Ax, for a noise that needs one


@SOLVERS.register(
    "fixed-point", rank=90, cite=("romano2017", "hurault2022"), examples=("fixed-point", "fixed-point:tau=0.001")
)
@dataclass(frozen=True)
class FixedPoint(Solver):
    """Forward-backward splitting, forward in the prior: x <- prox_{tau f}(x − tau lam ∇g(x)).

    For RED and tau = s²/lam this is x <- prox_{tau f}(D(x)), Romano et al. 2017, section 4.3; for a prior with a value
    it is gradient-step plug-and-play (Hurault et al. 2022, algorithm 1): tau is halved, image by image, until

        F(x⁺) <= F(x) − gamma/tau ‖x⁺ − x‖²,   F = f + lam g,  gamma = 0.1,

    so that F never rises; an image for which 20 halvings do not suffice stays where it is, and counts as converged only
    if its first trial would not have moved it either.
    tau: a variance; None is 1/(lam L), L the prior's lipschitz().  backtrack: whether tau is halved.
    """

    tau: float | None = None
    backtrack: bool = True
    iterations: int = 200
    needs: ClassVar[tuple[str, ...]] = ("grad",)

    def init(self, problem: Problem, x0: Tensor) -> FixedPointState:
        smoothness = problem.prior.lipschitz()
        if self.tau is None and smoothness == float("inf"):
            raise ValueError(f"the smoothness constant of {problem.prior.name} is unknown. Pass fixed-point:tau=...")
        tau = 1 / (problem.lam * smoothness) if self.tau is None else self.tau
        tau = torch.as_tensor(tau, dtype=x0.dtype, device=x0.device).expand(len(x0), 1, 1, 1)
        nothing = x0.new_full((len(x0),), float("nan"))
        value = problem.objective(x0) if self._descends(problem) else nothing
        return FixedPointState(x0, tau, value, torch.full_like(nothing, float("inf")), problem.split(x0))

    def step(self, problem: Problem, s: FixedPointState, k: int) -> FixedPointState:
        forward = problem.lam * problem.prior.grad(s.x)
        first, split = problem.data_move(s.x - s.tau * forward, s.tau, s.x, s.split)
        move = relative(norm(first - s.x), first)
        if not self._descends(problem):
            return s._replace(x=first, move=move, split=split)
        x, value, tau, trial = s.x, s.value, s.tau, first
        good = torch.zeros_like(s.value, dtype=torch.bool)
        for _ in range(HALVINGS):
            now = problem.objective(trial)
            enough = now <= s.value - 0.1 * (norm(trial - s.x) ** 2 / tau).flatten()
            new = enough & ~good
            x, value = torch.where(new.view(-1, 1, 1, 1), trial, x), torch.where(new, now, value)
            good = good | enough
            if bool(good.all()):
                break
            tau = torch.where(good.view(-1, 1, 1, 1), tau, tau / 2)
            trial, split = problem.data_move(s.x - tau * forward, tau, s.x, s.split)
        tau = torch.where(good.view(-1, 1, 1, 1), tau, s.tau)
        return FixedPointState(x, tau, value, move, split)

    def change(self, problem: Problem, state: FixedPointState, before: FixedPointState) -> Tensor:
        """How far the step at tau goes: a line search that stands still has not converged."""
        moved = super().change(problem, state, before)
        return torch.where(moved > 0, moved, state.move)

    def objective(self, state: FixedPointState) -> Tensor | None:
        return None if bool(state.value.isnan().any()) else state.value

    def theorem(self, problem: Problem) -> str | None:
        if not problem.noise.quadratic:
            return None
        if self._descends(problem):
            return "backtracking: f + lam g never rises and the steps tend to 0 (Hurault et al. 2022, theorem 1)"
        if problem.prior.closed_convex and self.tau is None:
            return "step 1/L and a smooth convex prior: converges to a minimiser of f + lam g (Combettes & Wajs 2005)"
        return None

    def _descends(self, problem: Problem) -> bool:
        return self.backtrack and "value" in problem.prior.offers()
