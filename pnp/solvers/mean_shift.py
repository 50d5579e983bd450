"""Stochastic descent along the mean shift of a denoising auto-encoder, with the noise level known or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..checks import positive
from ..linalg import trace
from ..problem import Problem
from ..registry import SOLVERS, SpecError
from .base import Solver


class MeanShiftState(NamedTuple):
    """x the image; v its velocity; trace tr(AᵀA), needed when the noise level is not known."""

    x: Tensor
    v: Tensor
    trace: float


@SOLVERS.register("mean-shift", cite=("bigdeli2017",), examples=("mean-shift", "mean-shift:blind=true"))
@dataclass(frozen=True)
class MeanShift(Solver):
    """Descent with momentum along ∇f + lam ∇g, a fixed share `step` of 1/L at a time.   Bigdeli et al. 2017.

        v <- momentum v − step/(‖A‖²/sigma² + lam L) (∇f(x) + lam ∇g(x));   x <- x + v

    L: the prior's smoothness, 1/s² for a denoising auto-encoder of strength s.
    blind: sigma is not used, but estimated anew at each step from what is left, given that the picture is known up to
    noise of std s (their section 3.2, here for any linear operator):

        sigma² <- (‖Ax − y‖² + s² tr(AᵀA))/m,   m the number of measurements.
    """

    momentum: float = 0.9
    step_size: float = 0.1
    blind: bool = False
    iterations: int = 300
    needs: ClassVar[tuple[str, ...]] = ("grad",)

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(self.step_size, "step_size")
        if not 0 <= self.momentum < 1:
            raise SpecError(f"momentum={self.momentum:g}; expected a number from 0 to below 1.")

    def init(self, problem: Problem, x0: Tensor) -> MeanShiftState:
        if problem.prior.smoothness() == float("inf"):
            raise ValueError(f"no smoothness constant is known for {problem.prior.name}; mean-shift needs one.")
        return MeanShiftState(x0, torch.zeros_like(x0), trace(problem.operator.normal, x0) if self.blind else 0.0)

    def step(self, problem: Problem, s: MeanShiftState, k: int) -> MeanShiftState:
        prior, data = problem.prior, problem.operator(s.x) - problem.y
        variance = torch.as_tensor(problem.sigma**2, dtype=s.x.dtype, device=s.x.device)
        if self.blind:
            left = data.flatten(1).square().sum(1) + prior.smoothing() ** 2 * s.trace
            variance = (left / problem.measurements()).view(-1, 1, 1, 1)
        gradient = problem.operator.adjoint(data) / variance + problem.lam * prior.grad(s.x)
        size = self.step_size / (problem.norm**2 / variance + problem.lam * prior.smoothness())
        v = self.momentum * s.v - size * gradient
        return MeanShiftState(s.x + v, v, s.trace)
