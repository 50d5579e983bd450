"""Descent by any optimiser of torch, in the variables that draw the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..core.problem import Problem
from ..core.solver import Solver
from ..registry import SOLVERS
from .average import averaged, mean_of
from .drawing import Pictures, check_optimizer, make_optimizer
from .gradient import pull
from .memory import placed


class DescentState(NamedTuple):
    """x the images drawn last; mean the average of the images so far, and how many weights it holds; pictures: what
    draws them, which changes in place."""

    x: Tensor
    mean: Tensor
    weight: Tensor  # (B, 1, 1, 1), 1 − average^k
    pictures: Pictures


class Drawn(Solver):
    """What solvers share that move what draws the image: what they return, and what they leave for the next solve."""

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    needs_noise: ClassVar[tuple[str, ...]] = ("slope",)
    descends: ClassVar[bool] = True

    def image(self, state: Any) -> Tensor:
        """The average; at the start, where there is none yet, the image."""
        return mean_of(state)

    def drawn(self, state: Any) -> Tensor:
        return state.x

    def rest(self, state: Any, active: Tensor) -> None:
        state.pictures.rest(active)

    def carried(self, state: Any) -> dict[str, Any]:
        """The optimisers' moments, and as `iterate` the tensors of the state, which are of this picture alone."""
        tensors = {name: value for name, value in state._asdict().items() if name != "pictures"}
        return {**state.pictures.moments(), "iterate": tensors}

    def elsewhere(self, memory: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in memory.items() if name != "iterate"}

    def recall(self, state: Any, memory: dict[str, Any]) -> Any:
        state = placed(state, memory.get("iterate", {}))
        if memory:
            state.pictures.recall(memory, state.x)
        return state


@SOLVERS.register(
    "descent",
    rank=72,
    cite=("ulyanov2018", "zukerman2021"),
    examples=("descent", "descent:optimizer=Muon,average=0.98", "descent:optimizer=SGD,lr=0.001,envelope=0.3"),
)
@dataclass(frozen=True)
class Descent(Drawn):
    """Descent on f + lam g by an optimiser of torch, in the variables θ that the prior draws each image from.

        θ <- the optimiser's step along (dx/dθ)ᵀ (∇f(x) + lam ∇g(x)),   x = x(θ)

    optimizer: the name of a class of torch.optim; Muon means our form, which takes any weights (`pnp.optimizer`).  Each
    picture of a batch has its own.  lr: its learning rate.  average, envelope: as for `gd`.
    """

    optimizer: str = "Adam"
    lr: float = 0.01
    average: float = 0.0
    envelope: float | None = None
    iterations: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        check_optimizer(self.optimizer)
        checks.positive(self.lr, "lr")
        checks.share(self.average, "average")
        if self.envelope is not None:
            checks.positive(self.envelope, "envelope")
            object.__setattr__(self, "needs_noise", ("slope", "curvature"))  # of `Problem.majorised_prox`

    def init(self, problem: Problem, x0: Tensor) -> DescentState:
        pictures = Pictures(problem.prior.parametrise(x0), partial(make_optimizer, self.optimizer, lr=self.lr))
        x = pictures.image
        return DescentState(x, torch.zeros_like(x), x.new_zeros(len(x), 1, 1, 1), pictures)

    def step(self, problem: Problem, s: DescentState, k: int) -> DescentState:
        x = s.pictures.step(pull(problem, s.x, self.envelope))
        return DescentState(x, *averaged(s.mean, s.weight, x, self.average), s.pictures)
