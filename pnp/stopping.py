"""Stop rules: each says, per image, whether to stop, and why."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .checks import positive
from .recording import Snapshot


class StopRule(ABC):
    """Called after each iteration; True for an image ends its iteration.

    converged: True where the rule means that the answer is found, False for a limit.
    """

    converged: ClassVar[bool] = True

    @property
    @abstractmethod
    def reason(self) -> str:
        """Why, in words."""

    @property
    def watches(self) -> tuple[str, ...]:
        """Quantities whose history the rule looks back at."""
        return ()

    @abstractmethod
    def __call__(self, now: Snapshot) -> Tensor:
        """Which images to stop, (B,)."""


@dataclass(frozen=True)
class Tolerance(StopRule):
    """Stop when the relative change of an iteration (`Solver.change`) is at most tol."""

    tol: float = 1e-4

    def __post_init__(self) -> None:
        positive(self.tol, "tol")

    @property
    def reason(self) -> str:
        return f"relative change at most {self.tol:g}"

    def __call__(self, now: Snapshot) -> Tensor:
        return now.change <= self.tol


@dataclass(frozen=True)
class Plateau(StopRule):
    """Stop when the best value of a quantity has not fallen by a factor 1 − tol within `window` iterations."""

    quantity: str = "objective"
    window: int = 20
    tol: float = 1e-4

    @property
    def watches(self) -> tuple[str, ...]:
        return (self.quantity,)

    @property
    def reason(self) -> str:
        return f"{self.quantity} on a plateau for {self.window} iterations"

    def __call__(self, now: Snapshot) -> Tensor:
        rows = now.history.rows[self.quantity]
        if len(rows) <= self.window:
            return torch.zeros_like(rows[-1], dtype=torch.bool)
        before = torch.stack(rows[: -self.window]).amin(0)
        lately = torch.stack(rows[-self.window :]).amin(0)
        return lately > before - self.tol * before.abs()


@dataclass(frozen=True)
class Objective(StopRule):
    """Stop when f(x) + lam g(x) <= target."""

    target: float

    @property
    def reason(self) -> str:
        return f"objective at most {self.target:g}"

    def __call__(self, now: Snapshot) -> Tensor:
        return now.objective <= self.target


@dataclass(frozen=True)
class Discrepancy(StopRule):
    """Stop when ‖Ax − y‖ <= c sigma √m: the measurement is explained as well as its noise allows (Morozov 1966)."""

    c: float = 1.0

    @property
    def reason(self) -> str:
        return f"residual at most {self.c:g} sigma √m (discrepancy)"

    def __call__(self, now: Snapshot) -> Tensor:
        return now.residual <= self.c * now.problem.noise_norm()


@dataclass(frozen=True)
class Seconds(StopRule):
    """Stop when the steps have taken `limit` seconds together; a batch shares its clock."""

    limit: float
    converged = False

    def __post_init__(self) -> None:
        positive(self.limit, "seconds")

    @property
    def reason(self) -> str:
        return f"time limit of {self.limit:g} s"

    def __call__(self, now: Snapshot) -> Tensor:
        return torch.full((now.x.shape[0],), now.seconds >= self.limit, device=now.x.device)
