"""Gradient descent in closed form: plain, with Polyak's momentum, or with Nesterov's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..core.problem import Problem
from ..core.solver import Solver
from ..registry import SpecError
from .average import averaged, mean_of
from .memory import placed


class GradientState(NamedTuple):
    """x the image; m its momentum; mean the average of the images so far, and how many weights it holds."""

    x: Tensor
    m: Tensor
    mean: Tensor
    weight: Tensor  # (B, 1, 1, 1), 1 − average^k


@dataclass(frozen=True)
class GradientDescent(Solver):
    """Descent on f + lam g along G(x) = ∇f(x) + lam ∇g(x).

        m <- momentum m + tau G;   x <- x − m                     (Polyak 1964)
        m <- momentum m + tau G;   x <- x − (tau G + momentum m)  (nesterov; Nesterov 1983, as in torch)

    tau: the step, by default 1/(L_f + lam L_g), L_f = ‖A‖²/sigma².  average, envelope: as for `gd`.
    """

    tau: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    average: float = 0.0
    envelope: float | None = None
    iterations: int = 500
    needs: ClassVar[tuple[str, ...]] = ("grad",)
    needs_noise: ClassVar[tuple[str, ...]] = ("curvature",)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share(self.momentum, "momentum")
        checks.share(self.average, "average")
        if self.nesterov and not self.momentum:
            raise SpecError("nesterov needs a momentum, e.g. momentum=0.9.")
        if self.envelope is not None:
            checks.positive(self.envelope, "envelope")

    def init(self, problem: Problem, x0: Tensor) -> GradientState:
        zero = torch.zeros_like(x0)
        return GradientState(x0, zero, zero, x0.new_zeros(len(x0), 1, 1, 1))

    def step(self, problem: Problem, s: GradientState, k: int) -> GradientState:
        g = self._step_size(problem) * pull(problem, s.x, self.envelope)
        m = self.momentum * s.m + g
        x = s.x - (torch.add(g, m, alpha=self.momentum) if self.nesterov else m)
        return GradientState(x, m, *averaged(s.mean, s.weight, x, self.average))

    def image(self, state: GradientState) -> Tensor:
        """The average; at the start, where there is none yet, the image."""
        return mean_of(state)

    def drawn(self, state: GradientState) -> Tensor:
        return state.x

    def carried(self, state: GradientState) -> dict[str, Any]:
        return state._asdict()

    def recall(self, state: GradientState, memory: dict[str, Any]) -> GradientState:
        return placed(state, memory)

    def elsewhere(self, memory: dict[str, Any]) -> dict[str, Any]:
        return {}

    def theorem(self, problem: Problem) -> str | None:
        if not problem.smooth or self.tau is not None:
            return None
        if self.momentum or self.average or self.envelope is not None:
            return None
        if problem.prior.closed_convex:
            return (
                "step 1/L and a smooth convex prior: f + lam g falls as 1/k to its minimum (Nesterov 2004, th. 2.1.14)"
            )
        if problem.prior.weakness() == float("inf"):
            return None
        if problem.convex:
            return "step 1/L and f + lam g convex: it falls as 1/k to its minimum (Nesterov 2004, th. 2.1.14)"
        return "step 1/L: f + lam g never rises and its gradient tends to 0 (Nesterov 2004, section 1.2.3)"

    def _step_size(self, problem: Problem) -> float | Tensor:
        if self.tau is not None:
            return self.tau
        smoothness = problem.prior.lipschitz()
        if smoothness == float("inf"):
            raise ValueError(f"the smoothness constant of {problem.prior.name} is unknown. Pass a step: gd:tau=...")
        steepest = problem.lipschitz()
        if self.envelope is not None:
            steepest = steepest * self.envelope / (problem.norm**2 + self.envelope)
        return 1 / (steepest + problem.lam * smoothness)


def pull(problem: Problem, x: Tensor, envelope: float | None) -> Tensor:
    """∇f(x) + lam ∇g(x), with an envelope rho the gradient of f's Moreau envelope instead of ∇f."""
    fit = problem.data_grad(x) if envelope is None else problem.envelope_grad(x, envelope)
    return fit + problem.lam * problem.prior.grad(x)
