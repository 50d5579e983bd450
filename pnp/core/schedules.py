"""Schedules: functions of the iteration k = 0, 1, ... that give a solver's parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..checks import positive_tensor
from ..registry import number

Schedule = Callable[[int], "float | Tensor"]


@dataclass(frozen=True)
class Geometric:
    """k -> start (end/start)^(k/(steps − 1)): log-spaced from start to end, then constant.

    Written `start..end` or `start..end@steps` in specs.
    """

    start: float | Tensor
    end: float | Tensor
    steps: int | None = None  # None: all iterations of the solver
    text_form: ClassVar[str] = "start..end[@steps]"

    def __post_init__(self) -> None:
        positive_tensor(self.start, "start of a schedule")
        positive_tensor(self.end, "end of a schedule")

    def __call__(self, k: int) -> float | Tensor:
        steps = self.steps or 1
        return self.start * (self.end / self.start) ** min(1.0, k / max(1, steps - 1))

    @classmethod
    def from_text(cls, text: str) -> Geometric:
        """`0.1..0.001` over all iterations, `0.1..0.001@20` over the first 20."""
        start, dots, rest = text.partition("..")
        end, at, steps = rest.partition("@")
        if not dots:
            raise ValueError(f"{text!r} is not a schedule; expected start..end or start..end@steps")
        return cls(number(start), number(end), int(steps) if at else None)


def as_schedule(value: float | Tensor | Schedule, iterations: int) -> Schedule:
    """A schedule from a constant, or the schedule itself, spread over `iterations` where it has no length."""
    if isinstance(value, Geometric) and value.steps is None:
        return Geometric(value.start, value.end, iterations)
    if callable(value):
        return value
    return lambda k: value
