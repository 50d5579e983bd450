"""One cell of a suite, solved where this is called: on this machine or in a worker elsewhere."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .suite import Cell

if TYPE_CHECKING:
    from torch import Tensor

    from ..jobs import Job
    from ..noises import Noise
    from ..operators import Operator
    from ..priors import Denoiser


@dataclass(frozen=True)
class Outcome:
    """What a worker sends back.  columns: of the row; machine: that it ran on; pictures: PNG files by name."""

    columns: dict[str, Any]
    machine: dict[str, Any]
    pictures: dict[str, bytes] = field(default_factory=dict)


class Scored(NamedTuple):
    """What is scored, (1, C, H, W) each, over the field that the measurement shows."""

    restored: Tensor
    initial: Tensor
    truth: Tensor


def solve_cell(cell: Cell, threads: int, keep: bool) -> Outcome:
    """Run one cell; what keeps it from running is its result.  keep: send the pictures back, too."""
    import torch

    torch.set_num_threads(threads)
    try:
        columns, scored = _solved(cell)
        return Outcome(columns, machine(), _pictures(scored) if keep else {})
    except Exception as error:  # whatever it is
        said = " ".join(str(error).split())[:300]
        expected = isinstance(error, ValueError | TypeError) and said  # any other is a mistake, whose kind helps
        return Outcome({"skipped": said if expected else f"{type(error).__name__}: {said}"}, machine())


def _solved(cell: Cell) -> tuple[dict[str, Any], Scored]:
    from ..metrics import psnr, ssim

    clean = picture(cell)
    _warm_up(cell, clean)
    columns, scored = (_restored if cell.method.denoiser is None else _denoised)(cell, clean)
    if cell.rounded:
        scored = scored._replace(restored=_in_8_bits(scored.restored))
    scores = {
        "psnr_initial": float(psnr(scored.initial, scored.truth)),
        "psnr": float(psnr(scored.restored, scored.truth)),
        "ssim": float(ssim(scored.restored, scored.truth)),
    }
    return {**scores, **columns}, scored


def _in_8_bits(x: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded to 255ths."""
    return (255 * x.clamp(0, 1)).round() / 255


def _restored(cell: Cell, clean: Tensor) -> tuple[dict[str, Any], Scored]:
    from ..jobs import run

    job, y, truth = _measured(cell, clean)
    done = run(job, y, truth=truth)
    record, history = done.record, done.result.history
    assert done.truth is not None
    every = -(-len(history["seconds"]) // 30)
    before = record.seconds["before"]
    points = [*range(0, len(history["seconds"]), every), len(history["seconds"]) - 1]
    columns = {
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
    return columns, Scored(done.restored, done.initial, done.truth)


def _denoised(cell: Cell, clean: Tensor) -> tuple[dict[str, Any], Scored]:
    """x = D(x0, sigma) of the operator's plain guess x0, which is y where the operator is the identity."""
    from .keys import networks

    y, truth = _measurement(cell, clean)
    operator = _operator(cell, cell.task.assume or cell.task.measure, clean)
    x0, sigma = operator.initial(y), _noise(cell).begin(y).level(y)
    denoiser = _denoiser(str(cell.method.denoiser), tuple(clean.shape[1:]))
    begun = time.perf_counter()
    x = denoiser(x0, sigma)
    seconds = time.perf_counter() - begun
    columns = {
        "seconds": seconds,
        "total": seconds,
        "sigma_used": float(sigma),
        "parameters": sum(p.numel() for net in networks(denoiser, clean.shape[1]) for p in net.parameters()) or None,
    }
    return columns, Scored(operator.visible(x), operator.visible(x0), truth)


@lru_cache(maxsize=16)
def _denoiser(spec: str, shape: tuple[int, ...]) -> Denoiser:
    """Kept, so that what its first call alone has to do is done by the warm-up."""
    from ..registry import DENOISERS

    return DENOISERS.build(spec, shape=shape)


def _noise(cell: Cell) -> Noise:
    """How the noise of a cell falls, which a solver is told where its method says so."""
    from ..registry import NOISES

    return NOISES.build(cell.noise or f"gaussian:sigma={cell.sigma / 255}")


def _drawn(cell: Cell, u: Tensor) -> Tensor:
    """A noisy measurement of u, neither clipped nor rounded.

    numpy: sigma n of RandomState(seed), in the order (H, W, C): the noise of the published tables of denoisers.
    """
    import numpy as np
    import torch

    if cell.draw == "torch":
        return _noise(cell).draw(u, torch.Generator().manual_seed(cell.seed))
    c, h, w = u.shape[1:]
    n = np.random.RandomState(cell.seed).normal(0, cell.sigma / 255, (h, w, c))
    return u + torch.from_numpy(n).permute(2, 0, 1)[None].to(u)


def _measurement(cell: Cell, clean: Tensor) -> tuple[Tensor, Tensor]:
    """(y, truth): drawn, or the published one; the truth over the field that y shows."""
    from ..files import pictures

    operator, file = _operator(cell, cell.task.measure, clean), cell.measurement()
    y = _drawn(cell, operator(clean)) if file is None else pictures.read(file).pixels
    return y, operator.visible(clean)


def _operator(cell: Cell, spec: str, clean: Tensor) -> Operator:
    from ..registry import OPERATORS

    return OPERATORS.build(spec, shape=tuple(clean.shape[1:]), seed=cell.seed)


def _measured(cell: Cell, clean: Tensor) -> tuple[Job, Tensor, Tensor]:
    """(job, y, truth): what the cell's picture is measured as, and what the solver is told of it."""
    from ..jobs import Job
    from ..noises import Gaussian

    task, method, noise = cell.task, cell.method, _noise(cell)
    told = method.sigma == "given"
    white = isinstance(noise, Gaussian)
    as_measured = task.assume is not None or task.given is not None  # else the solver knows the very operator
    job = Job(
        (task.assume or task.measure) if as_measured else _operator(cell, task.measure, clean),
        str(method.prior),
        method.solver,
        noise=noise if told and not white else None,
        sigma=float(noise.level(clean)) if told and white else None,
        lam=method.lam,
        iterations=method.iterations,
        seed=cell.seed,
    )
    return job, *_measurement(cell, clean)


_warm: set[tuple[str, ...]] = set()


def _warm_up(cell: Cell, clean: Tensor) -> None:
    """Two iterations, untimed, the first time that a worker meets this task, method and size; one of a denoiser."""
    from ..jobs import run

    what = (cell.task.measure, str(cell.task.assume), repr(cell.method), str(tuple(clean.shape)))
    if what in _warm:
        return
    if cell.method.denoiser is not None:
        _denoised(cell, clean)
    else:
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


def _pictures(scored: Scored) -> dict[str, bytes]:
    """Restored, measured and true picture as PNG files."""
    from ..files import pictures

    with tempfile.TemporaryDirectory() as folder:
        for name, x in scored._asdict().items():
            pictures.write(Path(folder, f"{name}.png"), x[:1].clamp(0, 1))
        return {name: Path(folder, f"{name}.png").read_bytes() for name in scored._fields}


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


def _first(value: float | list[float] | None) -> float | None:
    return value[0] if isinstance(value, list) else value
