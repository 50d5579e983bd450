"""One cell of a suite, solved where this is called: on this machine or in a worker elsewhere."""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .suite import Cell
from .views import VIEWS, Beyond
from .world import CAMERAS, FILES, Filed

if TYPE_CHECKING:
    from torch import Tensor

    from ..jobs import Job
    from ..noises import Noise
    from ..operators import Operator
    from ..priors import Denoiser

LEVELS = tuple(0.5 / 255 * 1.5 ** (k / 4) for k in range(45))  # of which `best` is one: from 0.5 to 43 of 255
COARSE = range(4, len(LEVELS), 12)  # tried first


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


class Measured(NamedTuple):
    """What a solver gets and what is known beside.

    y: the measurement; truth: what it shows of the clean picture; beyond: what that picture has around it.
    filed: the file that y was read from, where the suite has written it.  rounding: that of another file's integers.
    """

    y: Tensor
    truth: Tensor
    beyond: Beyond
    filed: Filed | None = None
    rounding: float = 0.0

    @property
    def scale(self) -> float:
        """What a difference of 1 of the clean picture is in y."""
        return 1.0 if self.filed is None else self.filed.scale

    def written(self, x: Tensor) -> Tensor:
        """A picture as it is found in the file that is written of it."""
        return x if self.filed is None else self.filed.written(x)


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
    clean = picture(cell)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if cell.task.file else "."
        measured = _measured(cell, clean, Path(folder))
        _warm_up(cell, clean, measured)
        ways = {"best": _best, "estimated": _restored, "given": _restored}
        way = ways[cell.method.sigma] if cell.method.denoiser is None else _denoised
        return way(cell, clean, measured)


def _scored(cell: Cell, measured: Measured, scored: Scored) -> dict[str, Any]:
    """The scores of what the suite looks at."""
    from ..metrics import psnr, ssim

    view = VIEWS.build(cell.view)
    before, target = view(scored.initial, scored.truth, measured.beyond)
    restored, truth = view(scored.restored, scored.truth, measured.beyond)
    return {
        "psnr_initial": float(psnr(before, target)),
        "psnr": float(psnr(restored, truth)),
        "ssim": float(ssim(restored, truth)),
    }


def _in_8_bits(x: Tensor) -> Tensor:
    """Clipped to [0, 1] and rounded to 255ths."""
    return (255 * x.clamp(0, 1)).round() / 255


def _best(cell: Cell, clean: Tensor, measured: Measured) -> tuple[dict[str, Any], Scored]:
    """The best of `LEVELS` by PSNR: from the best of four, uphill in steps that get finer.

    Results may gain and lose a decibel within a factor of 1.2.  total: the seconds of all that were tried.
    """
    tried: dict[int, tuple[dict[str, Any], Scored]] = {}

    def score(k: int) -> float:
        if not 0 <= k < len(LEVELS):
            return float("-inf")
        if k not in tried:
            tried[k] = _restored(cell, clean, measured, sigma=LEVELS[k])
        return float(tried[k][0]["psnr"])

    best = max(COARSE, key=score)
    for step in (4, 2, 1):  # a factor of 1.5, 1.22, 1.11
        while (top := max((best, best - step, best + step), key=score)) != best:
            best = top
    columns, scored = tried[best]
    return {**columns, "total": sum(found["total"] for found, _ in tried.values())}, scored


def _restored(
    cell: Cell, clean: Tensor, measured: Measured, *, sigma: float | None = None
) -> tuple[dict[str, Any], Scored]:
    """What the cell's method makes of it.  sigma: a level that it is told in place of the cell's."""
    from ..jobs import run

    job = _job(cell, clean, measured)
    job = job if sigma is None else replace(job, sigma=sigma * measured.scale)
    done = run(job, measured.y, truth=measured.truth)
    record, history = done.record, done.result.history
    assert done.truth is not None
    restored, initial = measured.written(done.restored), measured.written(done.initial)
    scored = Scored(_in_8_bits(restored) if cell.rounded else restored, initial, measured.truth)
    every = -(-len(history["seconds"]) // 30)
    before = record.seconds["before"]
    points = [*range(0, len(history["seconds"]), every), len(history["seconds"]) - 1]
    columns = {
        **_scored(cell, measured, scored),
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
    return columns, scored


def _denoised(cell: Cell, clean: Tensor, measured: Measured) -> tuple[dict[str, Any], Scored]:
    """x = D(x0, sigma) of the operator's plain guess x0, which is y where the operator is the identity."""
    from .keys import networks

    y = measured.y
    operator = _operator(cell, cell.task.assume or cell.task.measure, clean)
    x0, sigma = operator.initial(y), _noise(cell).begin(y).level(y)
    denoiser = _denoiser(str(cell.method.denoiser), tuple(clean.shape[1:]))
    begun = time.perf_counter()
    x = denoiser(x0, sigma)
    seconds = time.perf_counter() - begun
    restored, initial = measured.written(operator.visible(x)), measured.written(operator.visible(x0))
    scored = Scored(_in_8_bits(restored) if cell.rounded else restored, initial, measured.truth)
    columns = {
        **_scored(cell, measured, scored),
        "seconds": seconds,
        "total": seconds,
        "sigma_used": float(sigma),
        "parameters": sum(p.numel() for net in networks(denoiser, clean.shape[1]) for p in net.parameters()) or None,
    }
    return columns, scored


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
    """A noisy measurement of u, neither clipped nor rounded; u itself at a sigma of 0.

    numpy: sigma n of RandomState(seed), in the order (H, W, C): the noise of the published tables of denoisers.
    """
    import numpy as np
    import torch

    if cell.noise is None and cell.sigma == 0:
        return u
    if cell.draw == "torch":
        return _noise(cell).draw(u, torch.Generator().manual_seed(cell.seed))
    c, h, w = u.shape[1:]
    n = np.random.RandomState(cell.seed).normal(0, cell.sigma / 255, (h, w, c))
    return u + torch.from_numpy(n).permute(2, 0, 1)[None].to(u)


def _measured(cell: Cell, clean: Tensor, folder: Path) -> Measured:
    """Drawn, taken by the task's camera and read from its file; or the published measurement.

    A clean picture of the size of a published measurement shows what that shows.  folder: where files are written.
    """
    import torch

    operator, published = _operator(cell, cell.task.measure, clean), cell.measurement()
    truth, beyond = operator.visible(clean), _beyond(operator, clean)
    if published is not None:
        y, rounding = _pixels(published, cell.task.variable), _rounding(published)
        whole = y.shape == clean.shape
        shown = (clean, Beyond(0, 0, 0, 0)) if whole else (truth, beyond)
        return Measured(y, *shown, rounding=rounding)
    camera = CAMERAS.build(cell.task.camera or "plain")
    own = torch.Generator().manual_seed(cell.seed + 2**32)  # not the numbers of the noise again
    y = camera.shoot(operator(clean), lambda u: _drawn(cell, u), own)
    if cell.task.file is None:
        return Measured(y, camera.truth(truth), beyond)
    filed = Filed(FILES.build(cell.task.file), y, folder)
    return Measured(filed.picture.pixels, camera.truth(truth), beyond, filed)


def _beyond(operator: Operator, clean: Tensor) -> Beyond:
    """What the clean picture has around the field that the operator shows."""
    import torch

    sides: list[int] = []
    for axis, n in ((-2, clean.shape[-2]), (-1, clean.shape[-1])):
        shape = [1, 1, 1, 1]
        shape[axis] = n
        at = operator.visible(torch.arange(n, dtype=clean.dtype).view(shape).expand_as(clean))
        sides += [round(float(at.min())), n - 1 - round(float(at.max()))]
    return Beyond(*sides)


def _operator(cell: Cell, spec: str, clean: Tensor) -> Operator:
    from ..registry import OPERATORS

    return OPERATORS.build(spec, shape=tuple(clean.shape[1:]), seed=cell.seed)


def _job(cell: Cell, clean: Tensor, measured: Measured) -> Job:
    """What the solver is told of a measurement."""
    from ..jobs import Job
    from ..jobs.job import of_file
    from ..noises import Gaussian

    task, method = cell.task, cell.method
    noise = _noise(cell) if method.sigma == "given" else None
    white = isinstance(noise, Gaussian)
    as_measured = task.assume or task.given or task.file  # else the solver knows the very operator
    job = Job(
        (task.assume or task.measure) if as_measured else _operator(cell, task.measure, clean),
        str(method.prior),
        method.solver,
        noise=None if white else noise,
        sigma=float(noise.level(clean)) * measured.scale if noise is not None and white else None,
        lam=method.lam,
        iterations=method.iterations,
        seed=cell.seed,
    )
    if measured.filed is not None:
        return of_file(job, measured.filed.picture)
    return replace(job, floor=measured.rounding) if job.sigma is None else job


_warm: set[tuple[str, ...]] = set()


def _warm_up(cell: Cell, clean: Tensor, measured: Measured) -> None:
    """Two iterations, untimed, the first time that a worker meets this task, method and size; one of a denoiser."""
    from ..jobs import run

    what = (cell.task.name, repr(cell.method), str(tuple(clean.shape)))
    if what in _warm:
        return
    if cell.method.denoiser is not None:
        _denoised(cell, clean, measured)
    else:
        job = _job(cell, clean, measured)
        lam = job.lam or 1.0  # no search for it
        run(replace(job, iterations=2, lam=lam), measured.y, truth=measured.truth)
    _warm.add(what)


def picture(cell: Cell) -> Tensor:
    """The clean picture of a cell, (1, C, H, W)."""
    x = _picture(cell.picture, cell.crop, cell.grey, cell.variable)
    return _in_8_bits(x) if cell.rounded else x


@lru_cache(maxsize=4)
def _picture(path: str, crop: int, grey: bool, variable: str | None) -> Tensor:
    from torch.nn.functional import avg_pool2d

    from ..files import pictures
    from ..samples import photograph

    x = _pixels(Path(path), variable) if Path(path).is_file() else avg_pool2d(photograph(path), 2)  # 512²: 256²
    x = pictures.luma(x) if grey else x
    return (pictures.crop_centre(x, crop) if crop else x).contiguous()


def _rounding(path: Path) -> float:
    """The std of a picture file's rounding to integers, 0 for a .mat file."""
    from ..files import pictures

    return 0.0 if path.suffix.lower() == ".mat" else pictures.read(path).rounding


def _pixels(path: Path, variable: str | None) -> Tensor:
    """(1, C, H, W) of a picture file, or of the variable of a .mat file.  Raises ValueError where it has none."""
    import torch

    from ..files import pictures

    if path.suffix.lower() != ".mat":
        return pictures.read(path).pixels[:1, :3]
    from scipy.io import loadmat

    found = loadmat(path)
    if variable not in found:
        known = ", ".join(name for name in found if not name.startswith("__"))
        raise ValueError(f"{path} has no variable {variable!r}. Known: {known}.")
    array = torch.from_numpy(found[variable]).float()
    return (array[None] if array.ndim == 2 else array.permute(2, 0, 1))[None]


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
