"""The parameters that `pnp solve` takes when nobody gives any: one table, a row for each kind of prior and of task.

A row says which solver runs, for how many iterations, with which weight lam, and how the strength of the prior's step,
s_k = √(lam tau_k), falls with the noise level sigma:

    s_k = start (last/start)^(k/(K − 1)),   last = max(end · sigma, floor),   k = 0, ..., K − 1.

start and floor are in image units, end is in units of sigma; where start is below last, s_k = last throughout;
with `rise` start is at least rise · sigma.  Nothing else that is measured enters.  A row with task+noise for its task
is for one kind of noise (`Noise.rules`).  Where start is empty nothing falls, and last is the strength that the prior
itself is made for (`Prior.tuned`).

The rows are lines of table.tsv (`pnp list rules` shows them); `pnp tune` finds weight and strength on training pictures
and writes them into a table of your own, which `pnp solve --rules` reads.  A row whose cell `asked` names a solver is
for that solver, where a person asked for it instead of the task's own.  Convex priors have no row: their weight is
fitted to the noise (`weight.fit_lam`).
"""

from __future__ import annotations

import csv
from collections.abc import Container, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import get_args, get_type_hints

import torch
from torch import Tensor

from .. import solvers as solvers  # they fill their registry
from ..checks import positive
from ..core.schedules import Geometric
from ..core.solver import Solver
from ..core.stopping import parse as parse_stop
from ..operators.base import Operator
from ..priors.base import Prior
from ..registry import SOLVERS, Spec, SpecError, convert

TABLE = Path(__file__).parent / "table.tsv"
OTHER = "other"  # the row for tasks that have none of their own


@dataclass(frozen=True)
class Rule:
    """One row: numbers that a solve is made from.

    solver: a spec.  lam: the weight of the prior.  start, floor: strengths in image units; end, rise: in units of
    sigma.  A solver that takes no falling strength has start = end = floor = 0.  stop: specs of stop rules; empty: the
    change.
    """

    solver: str
    iterations: int
    lam: float
    start: float = 0.0
    end: float = 0.0
    floor: float = 0.0
    stop: str = ""
    rise: float = 0.0

    def __post_init__(self) -> None:
        positive(self.lam, "lam")
        positive(self.iterations, "iterations")
        for name in ("start", "end", "floor", "rise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or more.")

    def strength(self, sigma: float | Tensor) -> tuple[float | Tensor, float | Tensor]:
        """√(lam tau) at the first and at the last iteration."""
        if isinstance(sigma, Tensor):
            lasts = (self.end * sigma).clamp_min(self.floor)
            return torch.maximum(lasts, (self.rise * sigma).clamp_min(self.start)), lasts
        last = max(self.end * sigma, self.floor)
        return max(self.start, self.rise * sigma, last), last

    def tuned(self, prior: Prior, sigma: float | Tensor) -> Prior:
        """The prior at the strength of this row, where the row has one for it and nobody has chosen another."""
        fixed = not (self.start or self.rise) and (self.end or self.floor)
        return prior.tuned(self.strength(sigma)[1]) if fixed else prior

    def own(self) -> Solver:
        """The solver of this row, as its spec has it: what it is, not how it is set."""
        return SOLVERS.build(self.solver)

    def make(self, sigma: float | Tensor, lam: float | Tensor | None = None, spec: str | None = None) -> Solver:
        """The solver of this row, for this noise level and weight; `spec` sets what it sets, the row the rest."""
        named = SOLVERS.parse(spec or self.solver)
        return self.fill(SOLVERS.build(named), SOLVERS[named.name].values(named, "solver"), sigma, lam)

    def fill(
        self, solver: Solver, given: Container[str], sigma: float | Tensor, lam: float | Tensor | None = None
    ) -> Solver:
        """The solver with this row's settings in the place of those that are not `given`.

        Raises ValueError where the strength falls and the solver has one step for all iterations.
        """
        if "iterations" not in given:
            solver = replace(solver, iterations=self.iterations)  # type: ignore[call-arg]
        if self.start and "tau" not in given:
            if Geometric not in get_args(get_type_hints(type(solver).__init__).get("tau")):
                name = type(solver).__name__
                raise ValueError(f"{name} does not take a falling strength. Leave start, end and floor out of its row.")
            weight = self.lam if lam is None else lam
            first, last = self.strength(sigma)
            solver = replace(solver, tau=Geometric(first**2 / weight, last**2 / weight))  # type: ignore[call-arg]
        return solver


Key = tuple[str, str]  # (kind of prior, task), the task with -solver where the row is for one that was asked for
Table = dict[Key, Rule]
COLUMNS = ("kind", "task", "asked", *(field.name for field in fields(Rule)))


def key(prior: Prior, operator: Operator) -> Key:
    """(kind, task) of the row for this prior and operator."""
    return kind_of(prior), operator.task


def kind_of(prior: Prior) -> str:
    """What a prior says that it is; of a sum, what its terms say where one of them draws the picture.

    That one's kind, with -denoiser behind it where all the others are denoisers, and with -split where one is not; its
    kind alone where there is no other, or where one of them has no prox to split off.
    """
    drawing = [p for _, p in prior.terms if "parametrise" in p.offers()]
    if not drawing:
        return prior.kind
    others = [p for _, p in prior.terms if "parametrise" not in p.offers()]
    if not others or not all("split" in p.offers() for p in others):
        return drawing[0].kind
    return f"{drawing[0].kind}-{'denoiser' if all(p.denoises for p in others) else 'split'}"


def slot(task: str, solver: str = "") -> str:
    """The second half of a key: the task, and the solver (a spec) that was asked for."""
    return f"{task}-{Spec.parse(solver).name}" if solver else task


def beside(task: str, noise: str) -> str:
    """The second half of the key of a row for one kind of noise."""
    return f"{task}+{noise}"


def serves(prior: Prior, operator: Operator, noise: str, own: str | Path | None = None) -> bool:
    """Whether there is a row for this kind of noise, `Noise.rules`, with this prior and operator."""
    kind, task = key(prior, operator)
    return (kind, beside(task, noise)) in (table() if own is None else {**table(), **table(own)})


def find(
    prior: Prior, operator: Operator, solver: str | None = None, own: str | Path | None = None, noise: str = ""
) -> Rule | None:
    """The row for this kind of prior and this task, or for its kind and any other task; None where there is none.

    solver: the spec that was asked for; a row of its own, or one by that solver, goes before the task's.
    own: a table whose rows replace the shipped ones of the same kind, task and solver.  noise: `Noise.rules`; a row for
    it goes before the task's own, where no solver was asked for.
    """
    kind, task = key(prior, operator)
    rows = table() if own is None else {**table(), **table(own)}
    if solver is not None:
        for name in (task, OTHER):
            if (asked := rows.get((kind, slot(name, solver)))) is not None:
                return asked
            row = rows.get((kind, name))
            if row is not None and Spec.parse(row.solver).name == Spec.parse(solver).name:
                return row
    if noise and solver is None and (kind, beside(task, noise)) in rows:
        return rows[kind, beside(task, noise)]
    return rows.get((kind, task)) or rows.get((kind, OTHER))


def table(path: str | Path = TABLE) -> Table:
    """The rows of a file.  Raises SpecError, which names the line, for what is not such a table."""
    try:
        read = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"cannot read the rules in {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"cannot read the rules in {path}: it is not a text file (UTF-8).") from error
    return dict(_parsed(read, str(path)))


def cells(rows: Mapping[Key, Rule]) -> list[list[str]]:
    """Each row as text in COLUMNS, sorted; what is the default is left out."""
    lines = []
    for (kind, name), rule in sorted(rows.items()):
        task, _, asked = name.partition("-")
        values = ((getattr(rule, field.name), field.default) for field in fields(rule))
        lines.append([kind, task, asked, *("" if value == default else _text(value) for value, default in values)])
    return lines


def as_text(rows: Mapping[Key, Rule], head: Iterable[str]) -> str:
    """What `table` reads: comment lines, the names of the columns, the rows."""
    lines = ("\t".join(line).rstrip("\t") for line in [list(COLUMNS), *cells(rows)])
    return "\n".join([*head, *lines]) + "\n"


@lru_cache
def _parsed(text: str, path: str) -> Table:
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    (first, names), *rest = lines or [(1, "")]
    if _cells(names) != list(COLUMNS):
        columns = ", ".join(COLUMNS)
        raise SpecError(f"{path}, line {first}: expected the names of the columns, with a tab after each: {columns}.")
    rows: Table = {}
    for number, line in rest:
        try:
            at, rule = _row(_cells(line))
            if at in rows:
                raise ValueError(f"{' and '.join(at)} already has a row. Remove one of the two.")
        except ValueError as error:
            raise SpecError(f"{path}, line {number}: {error}") from error
        rows[at] = rule
    return rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for row in csv.reader([line], delimiter="\t") for cell in row]


def _row(row: list[str]) -> tuple[Key, Rule]:
    """A key and its rule, from cells whose solver and stop rules can be made.  Raises ValueError."""
    if len(row) > len(COLUMNS):
        raise ValueError(f"this row has {len(row)} cells; expected at most {len(COLUMNS)}: {', '.join(COLUMNS)}.")
    given = {name: cell for name, cell in zip(COLUMNS, row, strict=False) if cell}
    needed = ("kind", "task", *(field.name for field in fields(Rule) if field.default is MISSING))
    if missing := [name for name in needed if name not in given]:
        raise ValueError(f"{' and '.join(missing)} left out; a row needs {', '.join(needed)}, with a tab after each.")
    kind, task, asked = given.pop("kind"), given.pop("task"), given.pop("asked", "")
    if "-" in task:
        raise ValueError(f"task {task!r} has a hyphen. Write the solver into its own cell.")
    if asked:
        SOLVERS[asked]  # raises SpecError for one that is not there
    hints = get_type_hints(Rule)
    rule = Rule(**{name: convert(cell, hints[name], name) for name, cell in given.items()})
    rule.make(sigma=0.01)
    if rule.stop:
        parse_stop(rule.stop)
    return (kind, slot(task, asked)), rule


def _text(value: str | int | float) -> str:
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
