"""One call of a network that needs no operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.problem import Problem
from ..core.solver import ImageState, Solver
from ..registry import SOLVERS


@SOLVERS.register("direct", rank=200)
@dataclass(frozen=True)
class DirectCall(Solver):
    """The measurement restored by the prior alone; operator and noise have no say.

        x <- R(y)

    The second step is free: it finds that nothing moves any more.
    """

    iterations: int = 2
    needs: ClassVar[tuple[str, ...]] = ("restore",)
    needs_noise: ClassVar[tuple[str, ...]] = ()
    needs_operator: ClassVar[bool] = False

    @property
    def blindly(self) -> bool:
        return True

    def init(self, problem: Problem, x0: Tensor) -> ImageState:
        return ImageState(x0)

    def step(self, problem: Problem, state: ImageState, k: int) -> ImageState:
        return state if k else ImageState(problem.prior.restore(problem.y))
