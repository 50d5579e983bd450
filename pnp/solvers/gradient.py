"""Gradient descent: plain, with momentum, or by any optimiser of torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..problem import Problem
from ..registry import SOLVERS, SpecError, unknown
from .base import Solver

UNFIT = ("Optimizer", "Muon", "SparseAdam")  # the base class; one for matrices, one for sparse gradients


class DescentState(NamedTuple):
    """x the image drawn last; the rest belongs to the descent and changes in place, within one solve only."""

    x: Tensor
    draw: Callable[[], Tensor]
    optimizer: torch.optim.Optimizer


@SOLVERS.register(
    "gd",
    cite=("polyak1964", "nesterov1983"),
    examples=("gd", "gd:momentum=0.9", "gd:momentum=0.9,nesterov=true", "gd:optimizer=Adam,lr=0.01"),
)
@dataclass(frozen=True)
class GradientDescent(Solver):
    """Descent on f + lam g along G(x) = ∇f(x) + lam ∇g(x), in the variables that the prior draws the image from.

        m <- momentum m + G;   x <- x − tau m                     (Polyak 1964)
        m <- momentum m + G;   x <- x − tau (G + momentum m)      (nesterov; Nesterov 1983, as in torch)

    Step: tau, by default 1/(L_f + lam L_g), L_f = ‖A‖²/sigma².  optimizer: the name of a class of torch.optim, with
    learning rate lr; SGD then means the recursions above.  LBFGS couples a batch, so it takes one image at a time.
    """

    tau: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    optimizer: str = "SGD"
    lr: float | None = None
    iterations: int = 500
    needs: ClassVar[tuple[str, ...]] = ("grad",)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [n for n in vars(torch.optim) if isinstance(getattr(torch.optim, n), type) and n not in UNFIT]
        if self.optimizer not in names:
            raise SpecError(unknown("torch optimizer", self.optimizer, names))
        if (self.lr is None) != (self.optimizer == "SGD"):
            raise SpecError("SGD takes its step as tau; every other optimizer takes a learning rate lr, e.g. lr=0.01.")
        if self.optimizer != "SGD" and (self.momentum or self.tau is not None):
            raise SpecError(f"tau and momentum belong to SGD; {self.optimizer} takes a learning rate lr alone.")
        if not 0 <= self.momentum < 1:
            raise SpecError(f"momentum={self.momentum:g}; expected a number from 0 to below 1.")
        if self.nesterov and not self.momentum:
            raise SpecError("nesterov needs a momentum, e.g. momentum=0.9.")

    def init(self, problem: Problem, x0: Tensor) -> DescentState:
        if self.optimizer == "LBFGS" and "value" not in problem.prior.offers():
            raise TypeError(f"LBFGS needs the value of its objective; prior {problem.prior.name} has none.")
        if self.optimizer == "LBFGS" and len(x0) > 1:
            raise ValueError("LBFGS couples the images of a batch; solve them one by one.")
        variables, draw = problem.prior.parametrise(x0)
        return DescentState(draw().detach().clone(), draw, self._make(variables))

    def step(self, problem: Problem, state: DescentState, k: int) -> DescentState:
        scale = self._step_size(problem) if self.optimizer == "SGD" else 1.0

        def closure() -> Tensor:
            state.optimizer.zero_grad()
            with torch.enable_grad():
                x = state.draw()
            at = x.detach()
            gradient = problem.data_grad(at) + problem.lam * problem.prior.grad(at)
            x.backward(scale * gradient)
            return problem.objective(at).sum() if self.optimizer == "LBFGS" else gradient.new_zeros(())

        state.optimizer.step(closure)  # type: ignore[arg-type]  # torch's own optimizers return tensors, too
        return state._replace(x=state.draw().detach().clone())

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex or self.tau is not None or self.momentum or self.optimizer != "SGD":
            return None
        return "step 1/L and a smooth convex prior: f + lam g falls as 1/k to its minimum (Nesterov 2004, th. 2.1.14)"

    def _make(self, variables: list[Tensor]) -> torch.optim.Optimizer:
        if self.optimizer == "SGD":  # the step is part of the gradient, so that each image can have its own
            return torch.optim.SGD(variables, lr=1.0, momentum=self.momentum, nesterov=self.nesterov)
        return getattr(torch.optim, self.optimizer)(variables, lr=self.lr)

    def _step_size(self, problem: Problem) -> float | Tensor:
        if self.tau is not None:
            return self.tau
        smoothness = problem.prior.smoothness()
        if smoothness == float("inf"):
            raise ValueError(f"no smoothness constant is known for {problem.prior.name}: give a step, gd:tau=...")
        return 1 / (problem.lipschitz() + problem.lam * smoothness)
