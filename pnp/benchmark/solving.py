"""One cell of a suite, solved where this is called: on this machine or in a worker elsewhere."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .suite import Cell

if TYPE_CHECKING:
    from torch import Tensor

    from ..jobs import Job, Restoration


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back.  columns: of the row; machine: that it ran on; pictures: PNG files by name."""

    columns: dict[str, Any]
    machine: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)


def solve_cell(cell: Cell, threads: int, keep: bool) -> Outcome:
    """Run one cell; what keeps it from running is its result.  keep: send the pictures back, too."""
    import torch

    torch.set_num_threads(threads)
    try:
        columns, done = _solved(cell)
        return Outcome(columns, machine(), _pictures(done) if keep else {})
    except Exception as error:  # whatever it is
        said = " ".join(str(error).split())[:300]
        expected = isinstance(error, ValueError | TypeError) and said  # any other is a mistake, whose kind helps
        return Outcome({"skipped": said if expected else f"{type(error).__name__}: {said}"}, machine())


def _solved(cell: Cell) -> tuple[dict[str, Any], Restoration]:
    from ..jobs import run
    from ..metrics import psnr, ssim

    clean = picture(cell)
    _warm_up(cell, clean)
    job, y, truth = _measured(cell, clean)
    done = run(job, y, truth=truth)
    target, record, history = done.truth, done.record, done.result.history
    assert target is not None
    every = -(-len(history["seconds"]) // 30)
    before = record.seconds["before"]
    points = [*range(0, len(history["seconds"]), every), len(history["seconds"]) - 1]
    columns = {
        "psnr_initial": float(psnr(done.initial, target)),
        "psnr": float(psnr(done.restored, target)),
        "ssim": float(ssim(done.restored, target)),
        "seconds": record.seconds["solve"],
        "total": record.seconds["total"],
        "iterations": record.iterations[0],
        "status": record.status[0],
        "reason": record.reason[0],
        "chosen": record.chosen[0],
        "verdict": record.verdict[0],
        "sigma_used": _first(record.sigma.value),
        "lam": _first(record.lam.value),
        "curve": tuple(
            (k + 1, before + float(history["seconds"][k]), float(history["psnr"][k, 0])) for k in dict.fromkeys(points)
        ),
    }
    return columns, done


def _measured(cell: Cell, clean: Tensor) -> tuple[Job, Tensor, Tensor]:
    """(job, y, truth): what the cell's picture is measured as, and what the solver is told of it."""
    import torch

    from ..files import pictures
    from ..jobs import Job
    from ..noises.gaussian import Gaussian
    from ..registry import OPERATORS

    task, method, sigma = cell.task, cell.method, cell.sigma / 255
    told = {"sigma": sigma if method.sigma == "given" else None, "seed": cell.seed}
    common = {"prior": method.prior, "solver": method.solver, "lam": method.lam, "iterations": method.iterations}
    if (file := cell.measurement()) is not None:
        return Job(task.assume or task.measure, **common, **told), pictures.read(file).pixels, clean  # type: ignore[arg-type]
    operator = OPERATORS.build(task.measure, shape=tuple(clean.shape[1:]), seed=cell.seed)
    y = Gaussian(sigma).draw(operator(clean), torch.Generator().manual_seed(cell.seed))
    assumed = operator if task.assume is None else task.assume
    return Job(assumed, **common, **told), y, operator.visible(clean)  # type: ignore[arg-type]


_warm: set[tuple[str, ...]] = set()


def _warm_up(cell: Cell, clean: Tensor) -> None:
    """Two iterations, untimed, the first time that a worker meets this task, method and size."""
    from ..jobs import run

    what = (cell.task.measure, str(cell.task.assume), repr(cell.method), str(tuple(clean.shape)))
    if what not in _warm:
        job, y, truth = _measured(cell, clean)
        lam = job.lam or 1.0  # no search for it
        run(replace(job, iterations=2, lam=lam), y, truth=truth)
        _warm.add(what)


def picture(cell: Cell) -> Tensor:
    """The clean picture of a cell, (1, C, H, W)."""
    return _picture(cell.picture, cell.crop, cell.grey)


@lru_cache(maxsize=4)
def _picture(path: str, crop: int, grey: bool) -> Tensor:
    from torch.nn.functional import avg_pool2d

    from ..files import pictures
    from ..samples import photograph

    filed = Path(path).is_file()
    x = pictures.read(path).pixels[:1, :3] if filed else avg_pool2d(photograph(path), 2)  # 512²: 256²
    x = pictures.luma(x) if grey else x
    return (pictures.crop_centre(x, crop) if crop else x).contiguous()


def _pictures(done: Restoration) -> dict[str, bytes]:
    """Restored, measured and true picture as PNG files."""
    from ..files import pictures

    assert done.truth is not None
    shown = {"restored": done.restored, "initial": done.initial, "truth": done.truth}
    with tempfile.TemporaryDirectory() as folder:
        for name, x in shown.items():
            pictures.write(Path(folder, f"{name}.png"), x[:1].clamp(0, 1))
        return {name: Path(folder, f"{name}.png").read_bytes() for name in shown}


def machine() -> dict[str, Any]:
    """What a time means nothing without; precision: of networks where none was given."""
    import torch

    from ..machine import environment
    from ..precision import choose

    try:
        here = Path(__file__).parent
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude", "*"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    except OSError:
        commit = ""
    precision = choose("auto", torch.device("cpu")).name  # without its times: a machine is one line, not one a run
    return {**environment(), "commit": commit, "precision": precision}


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)
