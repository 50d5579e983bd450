"""What one iteration looks like from outside, and the history of a solve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .problem import Problem

if TYPE_CHECKING:
    from .loop import Memory

Metric = Callable[[Tensor], Tensor]  # an image batch -> (B,)
History = dict[str, Tensor]  # quantity -> (iterations, B); "seconds" -> (iterations,)


@dataclass(frozen=True)
class Snapshot:
    """The state of a solve after iteration k, for stop rules, callbacks and metrics.

    Each quantity is computed when it is first asked for, so that nobody pays for what nobody reads.
    """

    k: int
    limit: int  # the last k, plus 1, unless a stop rule ends the solve before
    x: Tensor
    drawn: Tensor  # the image of the last step alone, where x is an average
    measure: Callable[[], Tensor]  # how far the whole state moved, (B,)
    value: Tensor | None  # f + lam g, (B,), of a solver that has it anyway
    problem: Problem
    seconds: float  # time spent in steps so far
    history: Recorder
    memory: Callable[[], Memory]  # what the solve would leave behind if it ended here

    @cached_property
    def change(self) -> Tensor:
        """How far iteration k moved, relative to ‖x_k‖, (B,): the fixed-point residual (`Solver.change`)."""
        return self.measure()

    @cached_property
    def residual(self) -> Tensor:
        """‖A x_k − y‖, (B,)."""
        return self.problem.residual(self.x)

    @cached_property
    def objective(self) -> Tensor:
        """f(x_k) + lam g(x_k), (B,)."""
        return self.problem.objective(self.x) if self.value is None else self.value

    def get(self, quantity: str) -> Tensor:
        """change, residual or objective by name."""
        return getattr(self, quantity)

    def told(self) -> str:
        """What is known of this iteration without asking, for a person: `change 3.1e-04  residual 1.02 x noise`."""
        known = {name: rows[-1] for name, rows in self.history.rows.items()}
        if "change" in vars(self):
            known = {"change": self.change, **known}
        parts = []
        for name, last in known.items():
            if name == "residual":
                parts.append(f"residual {float((last / self.problem.noise_norm()).max()):.2f} x noise")
            elif math.isfinite(value := float(last.mean())):
                parts.append(f"{value:.2f} dB" if name == "psnr" else f"{name} {value:.1e}")
        return "  ".join(parts)


Measure = Callable[[Snapshot], Tensor]  # what a stop rule makes of an iteration, (B,); it may remember earlier ones


@dataclass
class Recorder:
    """Collects quantities per iteration; image i's rows after its stop repeat its last value."""

    quantities: tuple[str, ...] = ()
    metrics: dict[str, Metric] = field(default_factory=dict)
    measures: dict[str, Measure] = field(default_factory=dict)
    rows: dict[str, list[Tensor]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def add(self, snapshot: Snapshot, active: Tensor) -> None:
        """Add a row; active: which images still iterate, (B,)."""
        values = {quantity: snapshot.get(quantity).detach() for quantity in self.quantities}
        values |= {name: torch.as_tensor(metric(snapshot.x)).reshape(-1) for name, metric in self.metrics.items()}
        values |= {name: measure(snapshot) for name, measure in self.measures.items()}
        for name, value in values.items():
            rows = self.rows.setdefault(name, [])
            rows.append(torch.where(active.to(value.device), value, rows[-1]) if rows else value)
        self.seconds.append(snapshot.seconds)

    def history(self) -> History:
        """Quantity -> (iterations, B) on the CPU, with "seconds" -> (iterations,)."""
        found = {name: torch.stack(rows).cpu() for name, rows in self.rows.items() if rows}
        return {**found, "seconds": torch.tensor(self.seconds, dtype=torch.float64)}
