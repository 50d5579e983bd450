"""LBFGS, in the variables that draw the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .. import checks
from ..core.problem import Problem
from ..registry import SOLVERS
from .average import averaged
from .descent import DescentState, Drawn
from .drawing import Pictures
from .gradient import pull


@SOLVERS.register("lbfgs", rank=74, cite=("liu1989",))
@dataclass(frozen=True)
class LBFGS(Drawn):
    """The limited-memory BFGS method on f + lam g, in the variables θ that the prior draws each image from.

        θ <- θ − lr H (dx/dθ)ᵀ (∇f(x) + lam ∇g(x)),   x = x(θ)

    H: an inverse Hessian from the last 100 changes of θ and of the gradient, image by image; one iteration is 20 of
    these steps (torch.optim.LBFGS).  average: as for `gd`.   Liu & Nocedal 1989, algorithm 2.1.
    """

    lr: float = 1.0
    average: float = 0.0
    iterations: int = 100
    needs: ClassVar[tuple[str, ...]] = ("grad", "value")

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(self.lr, "lr")
        checks.share(self.average, "average")

    def init(self, problem: Problem, x0: Tensor) -> DescentState:
        pictures = Pictures(problem.prior.parametrise(x0), lambda variables: torch.optim.LBFGS(variables, lr=self.lr))
        x = pictures.image
        return DescentState(x, torch.zeros_like(x), x.new_zeros(len(x), 1, 1, 1), pictures)

    def step(self, problem: Problem, s: DescentState, k: int) -> DescentState:
        for i in s.pictures.active:
            self._search(problem, s.pictures, i)
        x = s.pictures.image
        return DescentState(x, *averaged(s.mean, s.weight, x, self.average), s.pictures)

    def _search(self, problem: Problem, pictures: Pictures, i: int) -> None:
        """One call of picture i's optimiser, which draws it as often as it likes while the others stand still."""

        def closure() -> Tensor:
            x = pictures.draw(i)
            pictures.back(i, pull(problem, x, None))
            return problem.objective(x)[i]

        pictures.optimizers[i].step(closure)  # type: ignore[arg-type]  # torch's own optimizers return tensors, too
        pictures.draw(i)
