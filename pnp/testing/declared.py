"""A prior and a noise that offer what a solver says it needs, and fail where more is called."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.solver import Solver
from ..noises.base import Noise
from ..noises.gaussian import Gaussian
from ..priors.base import Prior, Split
from .common import expect


class Declared(Prior):
    """A prior that offers what a solver says it needs, and fails where more is called."""

    def __init__(self, prior: Prior, solver: Solver) -> None:
        self.prior, self.solver = prior, solver
        self.closed_convex, self.lam, self.kind = prior.closed_convex, prior.lam, prior.kind

    def offers(self) -> set[str]:
        return set(self.solver.needs)

    def _asked(self, what: str) -> None:
        expect(
            what in self.solver.needs,
            f"{type(self.solver).__name__} calls {what} of the prior; its needs are {self.solver.needs}. "
            "Add it to `needs`.",
        )

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        self._asked("prox")
        return self.prior.prox(v, tau)

    def grad(self, x: Tensor) -> Tensor:
        self._asked("grad")
        return self.prior.grad(x)

    def value(self, x: Tensor) -> Tensor:
        self._asked("value")
        return self.prior.value(x)

    def split(self) -> Split:
        self._asked("split")
        return self.prior.split()

    def restore(self, y: Tensor) -> Tensor:
        self._asked("restore")
        return self.prior.restore(y)

    def lipschitz(self) -> float:
        return self.prior.lipschitz()

    def weakness(self) -> float:
        return self.prior.weakness()

    def smoothing(self) -> float:
        return self.prior.smoothing()

    def begin(self, x0: Tensor) -> Prior:
        return Declared(self.prior.begin(x0), self.solver)


class Plain(Noise):
    """Gaussian noise that hides its closed form, offers what a solver says it needs, and fails where more is called."""

    def __init__(self, noise: Gaussian, solver: Solver) -> None:
        self.noise, self.solver = noise, solver
        self.declared = set(solver.needs_noise)
        self.declared |= {"slope"} if "curvature" in self.declared else set()
        self.declared |= {"prox"} if "step" in self.declared else set()

    def offers(self) -> set[str]:
        return self.declared - {"step"}

    def _asked(self, what: str) -> None:
        expect(
            what in self.declared,
            f"{type(self.solver).__name__} calls {what} of the noise; its needs_noise are "
            f"{self.solver.needs_noise}. Add it to `needs_noise`.",
        )

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        return self.noise.draw(u, generator)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        return self.noise.value(u, y)

    def level(self, y: Tensor) -> float | Tensor:
        return self.noise.level(y)

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        self._asked("slope")
        return self.noise.slope(u, y)

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        self._asked("prox")
        return self.noise.prox(v, y, tau)

    def pulls(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        self._asked("pulls")
        return self.noise.pulls(u, y)

    def curvature(self, y: Tensor) -> float | Tensor:
        return self.noise.curvature(y) if "curvature" in self.declared else float("inf")  # there is always an answer
