"""Blurs of which something is not known: a number of their kernel, all of it, or the motion at each pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from .base import Operator


class Span(NamedTuple):
    """Where a number of a kernel is looked for: low to high.  period: of an angle; 0 for a size.  whole: an integer."""

    low: float
    high: float
    period: float = 0.0
    whole: bool = False


@dataclass(frozen=True)
class Unknown:
    """What has to be found in the measurement before anything can be solved.

    spans: the numbers that are not known; empty: the kernel has no known form.  at: the operator for such numbers.
    of: the operator for a kernel (kh, kw).  largest: side of a kernel at most; None: as the picture allows.
    """

    spans: dict[str, Span]
    at: Callable[[dict[str, float]], Operator]
    of: Callable[[Tensor], Operator]
    largest: int | None = None

    def masked(self, known: Tensor) -> Unknown:
        """The same where only some pixels are known."""
        return replace(self, at=lambda values: self.at(values).masked(known), of=lambda k: self.of(k).masked(known))


@dataclass(frozen=True)
class UnknownMotion:
    """A straight motion at each pixel, to be found in the measurement.   of: the operator for a field (h, w, 2)."""

    of: Callable[[Tensor], Operator]

    def masked(self, known: Tensor) -> UnknownMotion:
        """The same where only some pixels are known."""
        return UnknownMotion(lambda field: self.of(field).masked(known))


class UnknownBlur(Operator):
    """A blur that is not known yet; until it is found (`Operator.unknown`) it leaves a picture as it is."""

    task, called = "blur", "kernel"

    def __init__(self, unknown: Unknown | UnknownMotion) -> None:
        super().__init__()
        self._unknown = unknown

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def unknown(self) -> Unknown | UnknownMotion:
        return self._unknown
