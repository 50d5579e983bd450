"""The record of a restoration: every choice with its reason, and what came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import metrics
from ..core.result import Result
from ..core.solver import Solver

Numbers = float | list[float]


class Chosen(NamedTuple):
    """A number that was given or chosen, one for each picture where they differ, and where it comes from."""

    value: Numbers | None
    source: str


class Light(NamedTuple):
    """The values in which a picture was solved, `linear`, `stabilised` or `srgb`, one each if they differ; and why."""

    value: str | list[str]
    source: str


@dataclass(frozen=True)
class Record:
    """What was done with a batch, ready for JSON: settings, choices with their reasons, and outcomes image by image.

    sigma: in the values in which the solve ran, file values or linear light.
    precision: the number format of networks.  lipschitz: of D − Id, where no theorem holds.  residual_over_noise and
    verdict: None and a remark where the noise is not known.  objective: of solvers that have it: first and last value,
    and by what share of the fall it ever rose.  stripes: std of the offsets that were subtracted, by direction.
    mask: what was found missing, dead, hot or saturated.  kernel: what was found of an unknown one.
    said: the lines that the run has said of its choices, in their order.
    metrics: PSNR and SSIM, where the truth is known.
    seconds: before the solve, of its steps, and in all.  history: quantity -> iterations -> images; for a movie one for
    each frame.
    """

    job: dict[str, Any]
    solver: dict[str, Any]
    shape: dict[str, list[int]]
    noise: str
    sigma: Chosen
    lam: Chosen
    light: Light
    precision: str | None
    status: list[str]
    reason: list[str]
    iterations: list[int]
    chosen: list[int]
    theory: str
    lipschitz: Numbers | None
    residual_over_noise: list[float] | None
    residual_whiteness: list[float] | None
    verdict: list[str]
    seconds: dict[str, float]
    history: dict[str, Any] | list[dict[str, Any]]
    objective: dict[str, Numbers] | None = None
    metrics: dict[str, list[float]] | None = None
    stripes: dict[str, float] | None = None
    mask: list[str] | None = None
    kernel: dict[str, Any] | None = None
    said: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The record as a dictionary; what is None by default is left out where there is none."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found |= {name: found[name]._asdict() for name in ("sigma", "lam", "light")}
        may_lack = ("objective", "metrics", "stripes", "mask", "kernel")
        return {k: v for k, v in found.items() if v is not None or k not in may_lack}


def settings_of(solver: Solver, iterations: int) -> dict[str, Any]:
    """A solver by name, with its settings as JSON knows them."""
    settings = {name: _plain(value) for name, value in asdict(solver).items()}
    return {"name": type(solver).__name__, **settings, "iterations": iterations}


def scores(initial: Tensor, restored: Tensor, truth: Tensor) -> dict[str, list[float]]:
    """PSNR in dB and SSIM of each picture, before and after."""
    measured = {"psnr": metrics.psnr, "ssim": metrics.ssim}
    return {
        f"{name}{suffix}": rounded(score(x, truth))
        for name, score in measured.items()
        for suffix, x in (("_initial", initial), ("", restored))
    }


def objective_of(result: Result) -> dict[str, Numbers] | None:
    """Of a solver that has the objective: how far it fell, and by how much of that it ever rose in one iteration."""
    values = result.history.get("objective")
    if values is None:
        return None
    rises = (values[1:] - values[:-1]).clamp_min(0).amax(0) if len(values) > 1 else torch.zeros_like(values[0])
    fall = (values[0] - values[-1]).abs().clamp_min(1e-30)
    return {"first": rounded(values[0]), "last": rounded(values[-1]), "rise": rounded(rises / fall)}


def history_of(result: Result) -> dict[str, Any]:
    return {name: [numbers(row, 5) for row in rows] for name, rows in result.history.items()}


def numbers(value: float | Tensor, digits: int = 9) -> Numbers:
    """A number as it is, a tensor as a list, or as a number where it has no axes."""
    if not isinstance(value, Tensor):
        return float(value)
    found = rounded(value, digits)
    return found if value.ndim else found[0]


def rounded(values: Tensor, digits: int = 9) -> list[float]:
    return [float(f"{v:.{digits}g}") for v in values.flatten().tolist()]


def _plain(value: Any) -> Any:
    """Settings as JSON knows them."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return numbers(value)
    return value if isinstance(value, int | float | str | None) else repr(value)
