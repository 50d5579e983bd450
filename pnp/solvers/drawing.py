"""Pictures that variables draw, each moved by an optimiser of its own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from ..optimizer import Muon
from ..priors.base import Drawing
from ..registry import SpecError, unknown

UNFIT = ("Optimizer", "SparseAdam", "LBFGS")  # the base class; for sparse gradients; a solver of its own


class Pictures:
    """The pictures of a batch, and for each the torch optimiser that moves what draws it; changes in place.

    drawn: each picture as it was drawn last, with its graph: the next gradient goes back through it, so that a step
    draws once.  Only the pictures that are active move.
    """

    def __init__(self, drawings: list[Drawing], make: Callable[[list[Tensor]], torch.optim.Optimizer]) -> None:
        self.drawings, self.optimizers = drawings, [make(d.variables) for d in drawings]
        self.active = list(range(len(drawings)))
        self.drawn: list[Tensor] = [self._draw(i) for i in self.active]

    def _draw(self, i: int) -> Tensor:
        with torch.enable_grad():
            return self.drawings[i].draw()

    def draw(self, i: int) -> Tensor:
        """Draw picture i anew; all of them, (B, C, H, W)."""
        self.drawn[i] = self._draw(i)
        return self.image

    @property
    def image(self) -> Tensor:
        return torch.cat([drawn.detach() for drawn in self.drawn])

    def rest(self, active: Tensor) -> None:
        """Only these, (B,), move from here on."""
        self.active = active.nonzero().flatten().tolist()

    def back(self, i: int, gradient: Tensor) -> None:
        """Put (dx/dθ)ᵀ gradient into the gradients of what draws picture i."""
        self.optimizers[i].zero_grad()
        self.drawn[i].backward(gradient[i : i + 1])

    def step(self, gradient: Tensor) -> Tensor:
        """One step of each optimiser along the gradient with respect to its picture; the new pictures."""
        for i in self.active:
            self.back(i, gradient)
            self.optimizers[i].step()
            self.drawn[i] = self._draw(i)
        return self.image

    def moments(self) -> dict[str, Any]:
        """The optimisers', and their name: one that forgot them would leap from where it stands."""
        name = type(self.optimizers[0]).__name__
        return {"optimizer": name, "moments": [optimizer.state_dict()["state"] for optimizer in self.optimizers]}

    def recall(self, memory: dict[str, Any], x: Tensor) -> None:
        """Go on with others' moments, at these learning rates, from x where a picture is its own variable.

        Raises ValueError for the moments of another optimiser, or of another number of pictures.
        """
        name = type(self.optimizers[0]).__name__
        if memory["optimizer"] != name:
            raise ValueError(
                f"the saved state is from optimizer {memory['optimizer']}, not {name}. Use the same one, or start over."
            )
        if len(memory["moments"]) != len(self.optimizers):
            raise ValueError(
                f"the saved state is from {len(memory['moments'])} pictures, not {len(self.optimizers)}. "
                "Use the same ones, or start over."
            )
        for i, (optimizer, moments) in enumerate(zip(self.optimizers, memory["moments"], strict=True)):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": deepcopy(moments)})
            if self.drawn[i] is self.drawings[i].variables[0]:
                with torch.no_grad():
                    self.drawn[i].copy_(x[i : i + 1])


def make_optimizer(name: str, variables: list[Tensor], lr: float) -> torch.optim.Optimizer:
    """The optimiser of this name, `check_optimizer` having passed it, with this learning rate.

    A single variable is the image itself: no weight, whose entries Muon would couple.
    """
    if name == "Muon":
        return Muon(variables, lr, inner=[] if len(variables) == 1 else None)
    return getattr(torch.optim, name)(variables, lr=lr)


def check_optimizer(name: str) -> None:
    """Raises SpecError for what is not an optimiser of torch that takes single steps."""
    names = [n for n in vars(torch.optim) if isinstance(getattr(torch.optim, n), type) and n not in UNFIT]
    if name not in names:
        raise SpecError(unknown("torch optimizer", name, names))
