"""Stochastic descent along the mean shift of a denoising auto-encoder, with the noise level known or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..core.problem import Problem
from ..core.solver import Solver, relative
from ..linalg import norm, trace
from ..registry import SOLVERS


class MeanShiftState(NamedTuple):
    """x the image; v its velocity; trace tr(AᵀA), needed when the noise level is not known; pull: the gradient's length
    in units of the prior's, relative to x, (B,)."""

    x: Tensor
    v: Tensor
    trace: float
    pull: Tensor


@SOLVERS.register("mean-shift", rank=80, cite=("bigdeli2017",), examples=("mean-shift", "mean-shift:blind=true"))
@dataclass(frozen=True)
class MeanShift(Solver):
    """Descent with momentum along ∇f + lam ∇g, a fixed share of 1/L at a time.   Bigdeli et al. 2017.

        v <- momentum v − step_size/(‖A‖²/sigma² + lam L) (∇f(x) + lam ∇g(x));   x <- x + v

    L: the prior's lipschitz(), 1/s² for a denoising auto-encoder of strength s.
    blind: the noise is taken for Gaussian, its sigma estimated anew at each step from what is left, given that the
    picture is known up to
    noise of std s (their section 3.2, here for any linear operator):

        sigma² <- (‖Ax − y‖² + s² tr(AᵀA))/m,   m the number of measurements.
    """

    momentum: float = 0.9
    step_size: float = 0.1
    blind: bool = False
    iterations: int = 300
    needs: ClassVar[tuple[str, ...]] = ("grad",)
    needs_noise: ClassVar[tuple[str, ...]] = ("curvature",)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(self.step_size, "step_size")
        checks.share(self.momentum, "momentum")

    @property
    def blindly(self) -> bool:
        return self.blind

    def init(self, problem: Problem, x0: Tensor) -> MeanShiftState:
        if problem.prior.lipschitz() == float("inf"):
            raise ValueError(f"mean-shift needs a smooth prior, and {problem.prior.name} is not. Use dae or red.")
        if self.blind and problem.prior.smoothing() == 0:
            raise ValueError(f"the blind solver needs a prior that smooths: dae or red, not {problem.prior.name}.")
        size = trace(problem.operator.normal, x0) if self.blind else 0.0
        return MeanShiftState(x0, torch.zeros_like(x0), size, x0.new_full((len(x0),), float("inf")))

    def step(self, problem: Problem, s: MeanShiftState, k: int) -> MeanShiftState:
        prior = problem.prior
        if self.blind:
            data = problem.operator(s.x) - problem.y
            left = data.flatten(1).square().sum(1) + prior.smoothing() ** 2 * s.trace
            variance = (left / problem.measurements()).view(-1, 1, 1, 1)
            fit, steepest = problem.operator.adjoint(data) / variance, problem.norm**2 / variance
        else:
            fit, steepest = problem.data_grad(s.x), problem.lipschitz()
        gradient = fit + problem.lam * prior.grad(s.x)
        size = self.step_size / (steepest + problem.lam * prior.lipschitz())
        v = self.momentum * s.v - size * gradient
        pull = relative(norm(gradient) / (problem.lam * prior.lipschitz()), s.x)
        return MeanShiftState(s.x + v, v, s.trace, pull)

    def change(self, problem: Problem, state: MeanShiftState, before: MeanShiftState) -> Tensor:
        """‖∇f + lam ∇g‖/(lam L ‖x‖): its steps are short where the noise is little, and say nothing."""
        return state.pull
