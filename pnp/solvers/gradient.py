"""Gradient descent: plain, with momentum, or by any optimiser of torch."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from ..checks import positive
from ..core.problem import Problem
from ..core.solver import Solver
from ..optimizer import Muon
from ..priors.base import Draw
from ..registry import SOLVERS, SpecError, unknown

UNFIT = ("Optimizer", "SparseAdam")  # the base class; one for sparse gradients


class Descent:
    """Variables that draw an image, and the torch optimiser that moves them; changes in place, within one solve only.

    drawn: the image drawn last, with its graph: the next gradient goes back through it, so that a step draws once.
    """

    def __init__(self, variables: list[Tensor], draw: Draw, optimizer: torch.optim.Optimizer) -> None:
        self.variables, self.optimizer, self.draw_once = variables, optimizer, draw
        self.drawn = self.draw()

    def draw(self) -> Tensor:
        with torch.enable_grad():
            self.drawn = self.draw_once()
        return self.drawn

    def back(self, gradient: Tensor) -> None:
        """Put (dx/dθ)ᵀ gradient into the variables' gradients."""
        self.optimizer.zero_grad()
        self.drawn.backward(gradient)

    def step(self, gradient: Tensor) -> Tensor:
        """One step of the optimiser along the gradient with respect to the image; the new image."""
        self.back(gradient)
        self.optimizer.step()
        return self.draw()

    def moments(self) -> dict[str, Any]:
        """The optimiser's, and its name: one that forgot them would leap from where it stands."""
        return {"optimizer": type(self.optimizer).__name__, "moments": self.optimizer.state_dict()["state"]}

    def recall(self, memory: dict[str, Any]) -> None:
        """Go on with another's moments, at this one's learning rate.  Raises ValueError for another optimiser's."""
        if not memory:
            return
        mine = self.optimizer.state_dict()
        if memory["optimizer"] != type(self.optimizer).__name__:
            raise ValueError(
                f"what was carried is of optimizer {memory['optimizer']}, not {type(self.optimizer).__name__}; "
                "give the same one, or start over."
            )
        self.optimizer.load_state_dict({**mine, "state": deepcopy(memory["moments"])})
        if "iterate" in memory and self.drawn is self.variables[0]:  # the image itself, which no prior has kept
            with torch.no_grad():
                self.drawn.copy_(memory["iterate"]["x"])

    @property
    def image(self) -> Tensor:
        return self.drawn.detach().clone()


class DescentState(NamedTuple):
    """x the image drawn last; mean the average of the images so far, and how many weights it holds: 1 − average^k."""

    x: Tensor
    mean: Tensor
    weight: Tensor  # (B, 1, 1, 1)
    descent: Descent


@SOLVERS.register(
    "gd",
    rank=70,
    cite=("polyak1964", "nesterov1983", "zukerman2021"),
    examples=(
        "gd",
        "gd:momentum=0.9",
        "gd:momentum=0.9,nesterov=true",
        "gd:optimizer=Adam,lr=0.01,average=0.98",
        "gd:optimizer=Muon,lr=0.01,envelope=0.3",
    ),
)
@dataclass(frozen=True)
class GradientDescent(Solver):
    """Descent on f + lam g along G(x) = ∇f(x) + lam ∇g(x), in the variables that the prior draws the image from.

        m <- momentum m + G;   x <- x − tau m                     (Polyak 1964)
        m <- momentum m + G;   x <- x − tau (G + momentum m)      (nesterov; Nesterov 1983, as in torch)

    Step: tau, by default 1/(L_f + lam L_g), L_f = ‖A‖²/sigma².  optimizer: the name of a class of torch.optim, with
    learning rate lr; SGD means the recursions above, Muon our form, which takes any weights (`pnp.optimizer`).  LBFGS
    couples a batch, so it takes one image at a time.
    average: the image is the mean of all images so far with weights average^age, as in the deep image prior (Ulyanov et
    al. 2018); 0 is the last one.
    envelope: rho, to descend the Moreau envelope of f in its place, the t below which is sigma²/rho:

        ∇f_t(x) = (x − prox_{t f}(x))/t = rho (AᵀA + rho I)⁻¹ Aᵀ(Ax − y)/sigma²

    With rho well below ‖A‖² all that A sees is learned at one pace, what a blur has weakened too; at 0 it would be the
    back-projection of Zukerman, Tirer & Giryes 2021 (BP-DIP).
    """

    tau: float | None = None
    momentum: float = 0.0
    nesterov: bool = False
    optimizer: str = "SGD"
    lr: float | None = None
    average: float = 0.0
    envelope: float | None = None
    iterations: int = 500
    needs: ClassVar[tuple[str, ...]] = ("grad",)
    descends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_optimizer(self.optimizer)
        if (self.lr is None) != (self.optimizer == "SGD"):
            raise SpecError("SGD takes its step as tau; every other optimizer takes a learning rate lr, e.g. lr=0.01.")
        if self.optimizer != "SGD" and (self.momentum or self.tau is not None):
            raise SpecError(f"tau and momentum belong to SGD; {self.optimizer} takes a learning rate lr alone.")
        if not 0 <= self.momentum < 1:
            raise SpecError(f"momentum={self.momentum:g}; expected a number from 0 to below 1.")
        if self.nesterov and not self.momentum:
            raise SpecError("nesterov needs a momentum, e.g. momentum=0.9.")
        check_average(self.average)
        if self.envelope is not None:
            positive(self.envelope, "envelope")
            if self.optimizer == "LBFGS":
                raise SpecError("LBFGS searches along f itself; envelope is for the other optimizers.")

    def init(self, problem: Problem, x0: Tensor) -> DescentState:
        if self.optimizer == "LBFGS" and "value" not in problem.prior.offers():
            raise TypeError(f"LBFGS needs the value of its objective; prior {problem.prior.name} has none.")
        if self.optimizer == "LBFGS" and len(x0) > 1:
            raise ValueError("LBFGS couples the images of a batch; solve them one by one.")
        variables, draw = problem.prior.parametrise(x0)
        descent = Descent(variables, draw, self._make(variables))
        x = descent.image
        return DescentState(x, torch.zeros_like(x), x.new_zeros(len(x), 1, 1, 1), descent)

    def step(self, problem: Problem, state: DescentState, k: int) -> DescentState:
        descent = state.descent
        if self.optimizer == "LBFGS":
            self._search(problem, descent)
        else:
            scale = self._step_size(problem) if self.optimizer == "SGD" else 1.0
            descent.step(scale * self._gradient(problem, descent.drawn.detach()))
        x = descent.image
        mean, weight = averaged(state.mean, state.weight, x, self.average)
        return DescentState(x, mean, weight, descent)

    def image(self, state: DescentState) -> Tensor:
        """The average; at the start, where there is none yet, the image."""
        return mean_of(state)

    def drawn(self, state: DescentState) -> Tensor:
        return state.x

    def carried(self, state: DescentState) -> dict[str, Any]:
        return carried(state)

    def recall(self, state: DescentState, memory: dict[str, Any]) -> DescentState:
        return recalled(state, memory)

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex or self.optimizer != "SGD":
            return None
        if self.tau is not None or self.momentum or self.average or self.envelope is not None:
            return None
        return "step 1/L and a smooth convex prior: f + lam g falls as 1/k to its minimum (Nesterov 2004, th. 2.1.14)"

    def _search(self, problem: Problem, descent: Descent) -> None:
        """One step of an optimiser that draws as often as it likes."""

        def closure() -> Tensor:
            at = descent.draw().detach()
            descent.back(self._gradient(problem, at))
            return problem.objective(at).sum()

        descent.optimizer.step(closure)  # type: ignore[arg-type]  # torch's own optimizers return tensors, too
        descent.draw()

    def _make(self, variables: list[Tensor]) -> torch.optim.Optimizer:
        if self.optimizer == "SGD":  # the step is part of the gradient, so that each image can have its own
            return torch.optim.SGD(variables, lr=1.0, momentum=self.momentum, nesterov=self.nesterov)
        return make_optimizer(self.optimizer, variables, self.lr or 0.0)

    def _step_size(self, problem: Problem) -> float | Tensor:
        if self.tau is not None:
            return self.tau
        smoothness = problem.prior.smoothness()
        if smoothness == float("inf"):
            raise ValueError(f"no smoothness constant is known for {problem.prior.name}: give a step, gd:tau=...")
        steepest = problem.lipschitz()
        if self.envelope is not None:
            steepest = steepest * self.envelope / (problem.norm**2 + self.envelope)
        return 1 / (steepest + problem.lam * smoothness)

    def _gradient(self, problem: Problem, x: Tensor) -> Tensor:
        if self.envelope is None:
            fit = problem.data_grad(x)
        else:
            t = problem.sigma**2 / self.envelope
            fit = (x - problem.data_prox(x, t, x)) / t
        return fit + problem.lam * problem.prior.grad(x)


def averaged(mean: Tensor, weight: Tensor, x: Tensor, average: float) -> tuple[Tensor, Tensor]:
    """(m, w) <- average (m, w) + (1 − average)(x, 1); m/w is the mean of all x with weights average^age."""
    return torch.lerp(x, mean, average), torch.lerp(torch.ones_like(weight), weight, average)


def mean_of(state: Any) -> Tensor:
    """The average of a state; at the start, where there is none yet, its image."""
    return torch.where(state.weight > 0, state.mean / state.weight.clamp_min(1e-12), state.x)


def carried(state: Any) -> dict[str, Any]:
    """The moments of a state's descent, and as `iterate` the rest of it, which is of this picture alone."""
    return {
        **state.descent.moments(),
        "iterate": {name: value for name, value in state._asdict().items() if name != "descent"},
    }


def recalled(state: Any, memory: dict[str, Any]) -> Any:
    """The state with what another has `carried`.  Raises ValueError where that is of another shape."""
    iterate = {name: _on(value, state.x.device) for name, value in memory.get("iterate", {}).items()}
    for name, value in iterate.items():
        if _shapes(value) != _shapes(getattr(state, name)):
            raise ValueError("what was carried is of another operator or prior; give the same ones, or start over.")
    state.descent.recall(memory)
    return state._replace(**iterate)


def _on(value: Tensor | tuple[Tensor, ...], device: torch.device) -> Any:
    return tuple(v.to(device) for v in value) if isinstance(value, tuple) else value.to(device)


def _shapes(value: Tensor | tuple[Tensor, ...]) -> list[torch.Size]:
    return [v.shape for v in (value if isinstance(value, tuple) else (value,))]


def check_average(average: float) -> None:
    if not 0 <= average < 1:
        raise SpecError(f"average={average:g}; expected a number from 0 to below 1.")


def make_optimizer(name: str, variables: list[Tensor], lr: float) -> torch.optim.Optimizer:
    """The optimiser of this name, `check_optimizer` having passed it, with this learning rate.

    A single variable is the image batch itself: no weight, whose entries Muon would couple.
    """
    if name == "Muon":
        return Muon(variables, lr, inner=[] if len(variables) == 1 else None)
    return getattr(torch.optim, name)(variables, lr=lr)


def check_optimizer(name: str) -> None:
    names = [n for n in vars(torch.optim) if isinstance(getattr(torch.optim, n), type) and n not in UNFIT]
    if name not in names:
        raise SpecError(unknown("torch optimizer", name, names))
