"""What a solve returns: the picture, how each image ended, and what the next solve can go on from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from ..html.notebook import panels
from .certificate import Convergence
from .problem import Problem
from .recording import History
from .solver import Solver


class Status(Enum):
    """How the iteration of one image ended; the value is the help text."""

    CONVERGED = "a stop rule was met"
    LIMIT = "a limit ended the iteration before a stop rule was met; more iterations may improve the image"
    DIVERGED = "the iteration ran away; the iterate that moved least is returned. Lower tau or the step size"
    INTERRUPTED = "interrupted by the user; the best iterate by the stop rules, or else the last, is returned"


@dataclass(frozen=True)
class Memory:
    """What a solve leaves behind for one that goes on from it: what its prior learned, and what its solver carries.

    made_by: the solver's class; y: the measurement.  Where they are not known the solve is taken for a similar one.
    """

    learned: dict[str, Tensor]
    solver: dict[str, Any]
    made_by: str = ""
    y: Tensor | None = None

    def fit_for(self, problem: Problem, solver: Solver) -> Memory:
        """All of it for the same measurement; for another, without what belongs to one picture alone.

        Raises ValueError for another solver.
        """
        if self.made_by not in ("", type(solver).__name__):
            raise ValueError(
                f"what was carried is of {self.made_by}, not {type(solver).__name__}; give the same, or start over."
            )
        if self.y is not None and self.y.shape == problem.y.shape and torch.equal(self.y.to(problem.y), problem.y):
            return self
        return replace(
            self, learned=problem.prior.elsewhere(self.learned), solver=solver.elsewhere(self.solver)
        )


@dataclass(frozen=True)
class Result:
    """The restored batch and how it was reached; everything per image where it can differ.

    chosen: the iteration whose image x is, the last but where a stop rule says which was the best.
    maps: further pictures by name: a kernel (H, W) or a field of motions (H, W, 2) that was estimated.
    """

    x: Tensor
    status: tuple[Status, ...]
    reason: tuple[str, ...]
    iterations: tuple[int, ...]
    chosen: tuple[int, ...]
    seconds: float  # in steps alone: metrics and callbacks do not count
    history: History
    convergence: Convergence
    problem: Problem  # as it was solved, with sigma and lam
    memory: Memory
    maps: dict[str, Tensor] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"image {i}: {s.name.lower()} after {n} iterations ({r})" + f", the image of iteration {c}" * (c < n)
            for i, (s, n, r, c) in enumerate(zip(self.status, self.iterations, self.reason, self.chosen, strict=True))
        ]
        return "\n".join([*lines, str(self.convergence), *dict.fromkeys(self.convergence.verdict)])

    def _repr_html_(self) -> str:
        """What a notebook shows: the pictures, and the lines that `print` gives."""
        verdict = " ".join(dict.fromkeys(self.convergence.verdict))
        status = ", ".join(dict.fromkeys(s.name.lower() for s in self.status))
        lines = {"status": status, "theory": str(self.convergence), "verdict": verdict}
        return panels({"restored": self.x}, lines)
