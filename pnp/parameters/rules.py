"""The parameters that `pnp solve` takes when nobody gives any: one table, a row for each kind of prior and of task.

A row says, as a function of the noise level sigma and of nothing else that is measured, which solver runs, how long,
with which weight, and how the prior's strength √(lam tau_k) falls:

    from `start` to max(end · sigma, floor), log-spaced over the iterations.

The rows stand in table.toml; `pnp tune` finds weight and strength on training pictures.  A row `task-solver` is for a
solver that was asked for in the place of the task's own.  Convex priors have no row: their weight is
fitted to the noise (`choose.fit_lam`).
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Any

from torch import Tensor

from ..checks import positive
from ..core.schedules import Geometric
from ..core.solver import Solver
from ..operators.base import Operator
from ..priors.base import Prior
from ..registry import SOLVERS, Spec

TABLE = Path(__file__).parent / "table.toml"


@dataclass(frozen=True)
class Rule:
    """One row: numbers that a solve is made from.

    solver: a spec.  lam: the weight of the prior.  start, floor: strengths in image units; end: in units of sigma.
    A solver that takes no falling strength has start = end = floor = 0.  stop: specs of stop rules; empty: the change.
    """

    solver: str
    iterations: int
    lam: float
    start: float = 0.0
    end: float = 0.0
    floor: float = 0.0
    stop: str = ""

    def __post_init__(self) -> None:
        positive(self.lam, "lam")
        positive(self.iterations, "iterations")

    def strength(self, sigma: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """√(lam tau) at the first and at the last iteration."""
        if isinstance(sigma, Tensor):
            lasts = (self.end * sigma).clamp_min(self.floor)
            return lasts.clamp_min(self.start), lasts
        last = max(self.end * sigma, self.floor)
        return max(self.start, last), last

    def make(self, sigma: float | Tensor, lam: float | Tensor | None = None, spec: str | None = None) -> Solver:
        """The solver of this row, for this noise level and weight; `spec` sets what it sets, the row the rest."""
        spec = spec or self.solver
        solver = SOLVERS.build(spec)
        given = Spec.parse(spec).options
        if "iterations" not in given:
            solver = replace(solver, iterations=self.iterations)  # type: ignore[call-arg]
        if self.start and "tau" not in given:
            weight = self.lam if lam is None else lam
            first, last = self.strength(sigma)
            solver = replace(solver, tau=Geometric(first**2 / weight, last**2 / weight))  # type: ignore[call-arg]
        return solver


def find(prior: Prior, operator: Operator, solver: str | None = None, path: Path = TABLE) -> Rule | None:
    """The row for this kind of prior and this task, or for its kind and any other task; None where there is none.

    solver: the spec that was asked for; a row of its own, or one by that solver, goes before the task's.
    """
    rows = {task: row for (kind, task), row in table(path).items() if kind == prior.kind}
    tasks = (operator.task, "other")
    if solver is not None:
        name = Spec.parse(solver).name
        for task in tasks:
            if f"{task}-{name}" in rows:
                return rows[f"{task}-{name}"]
            if task in rows and Spec.parse(rows[task].solver).name == name:
                return rows[task]
    return next((rows[task] for task in tasks if task in rows), None)


@lru_cache
def table(path: Path = TABLE) -> dict[tuple[str, str], Rule]:
    """(kind of prior, task) -> Rule."""
    read = tomllib.loads(path.read_text(encoding="utf-8"))
    return {(kind, task): Rule(**row) for kind, tasks in read.items() for task, row in tasks.items()}


def write(rows: dict[tuple[str, str], Rule], path: Path) -> None:
    """Replace the table in `path`; its head, which says where the numbers come from, stays (a new file has ours)."""
    now = (path if path.exists() else TABLE).read_text(encoding="utf-8")
    lines = list(takewhile(lambda line: line.startswith("#"), now.splitlines()))
    for (kind, task), rule in sorted(rows.items()):
        lines += ["", f"[{kind}.{task}]"]
        lines += [f"{field.name} = {_toml(getattr(rule, field.name))}" for field in fields(rule)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    table.cache_clear()


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value:.4g}" if isinstance(value, float) else str(value)
