"""Run a suite: each cell in a worker of Dask, results appended as they come, nothing run twice."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from .suite import Cell, Data, Suite, cells

CORE = ("loop", "problem", "restore", "choose", "linalg", "schedules", "stopping", "noise", "metrics", "registry",
        "solvers.base", "operators.base", "priors.base", "benchmark.run")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One result.  seconds: in the solver's steps alone; total: with the choice of parameters.  PSNR in dB.

    curve: (iteration, seconds, PSNR), at most some thirty of them.  skipped: why there is no result.
    """

    key: str
    suite: str
    task: str
    sigma: float
    method: str
    picture: str
    seed: int
    machine: str
    psnr_initial: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    seconds: float | None = None
    total: float | None = None
    iterations: int | None = None
    status: str | None = None
    verdict: str | None = None
    sigma_used: float | None = None
    lam: float | None = None
    curve: tuple[tuple[int, float, float], ...] = ()
    skipped: str | None = None


def read(path: Path) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """(machines, rows) of a results file; a last line that a kill left half written is dropped.  Raises ValueError."""
    machines: dict[str, dict[str, Any]] = {}
    rows: list[Row] = []
    known = {f.name for f in fields(Row)}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: no JSON.  Delete the line to run its cell again.") from None
        if value.keys() == {"machine", "id"}:
            machines[value["id"]] = value["machine"]
        elif value.keys() <= known and {"key", "suite", "task", "sigma", "method", "picture"} <= value.keys():
            rows.append(Row(**{**value, "curve": tuple(tuple(point) for point in value.get("curve", ()))}))
        else:
            raise ValueError(f"{path}, line {number}: unknown columns {sorted(value.keys() - known)}.")
    return machines, list({row.key: row for row in rows}.values())


def run(
    suite: Suite,
    data: Data,
    results: Path,
    *,
    workers: int = 1,
    threads: int | None = None,
    scheduler: str | None = None,
    pictures: Path | None = None,
    say: Callable[[int, int, Row], None] = lambda done, total, row: None,
) -> list[Row]:
    """Every row of the suite, those of `results` (a .jsonl file) as they are and the others run and appended there.

    workers: local processes; threads: of each, by default the cores divided among them; times are best with one worker
    on an idle machine.  scheduler: the address of a
    Dask scheduler, whose workers have this package, instead.  pictures: folder for restored pictures, for the report.
    """
    _, there = read(results)
    have = {row.key: row for row in there}
    wanted = {cell.key(code_version(cell)): cell for cell in cells(suite, data)}
    missing = {key: cell for key, cell in wanted.items() if key not in have}
    done = [have[key] for key in wanted if key in have]
    if missing:
        results.parent.mkdir(parents=True, exist_ok=True)
        _mend(results)
        threads = threads or max(1, (os.cpu_count() or 1) // workers)
        machine = {**_machine(workers, scheduler), "threads": threads}
        identity = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:8]
        with open(results, "a", encoding="utf-8") as file:
            if identity not in read(results)[0]:
                file.write(json.dumps({"id": identity, "machine": machine}) + "\n")
            for row in _rows(missing, identity, workers, threads, scheduler, pictures):
                file.write(json.dumps(_compact(row), ensure_ascii=False) + "\n")
                file.flush()
                done.append(row)
                say(len(done), len(wanted), row)
    order = {key: i for i, key in enumerate(wanted)}
    return sorted(done, key=lambda row: order[row.key])


def _mend(results: Path) -> None:
    """Cut off a last line without an end, left by a kill."""
    if results.is_file() and (text := results.read_bytes()) and not text.endswith(b"\n"):
        results.write_bytes(text[: text.rfind(b"\n") + 1])


def _rows(
    missing: dict[str, Cell], machine: str, workers: int, threads: int, scheduler: str | None, pictures: Path | None
) -> Iterator[Row]:
    from distributed import Client, LocalCluster, as_completed

    keep = None if pictures is None else str(pictures)
    cluster = None if scheduler else LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    with Client(scheduler or cluster) as client:
        futures = [
            client.submit(solve_cell, key, cell, machine, threads, keep, pure=False) for key, cell in missing.items()
        ]
        try:
            for future, row in as_completed(futures, with_results=True):
                future.release()
                yield row
        finally:
            client.cancel(futures)
    if cluster is not None:
        cluster.close()


def solve_cell(key: str, cell: Cell, machine: str, threads: int, keep: str | None) -> Row:
    """Run one cell where this is called; what keeps it from running is its result."""
    import torch

    torch.set_num_threads(threads)
    name = Path(cell.picture).stem
    head = {"key": key, "suite": cell.suite, "task": cell.task.name, "sigma": cell.sigma, "method": cell.method.name}
    head |= {"picture": name, "seed": cell.seed, "machine": machine}
    try:
        return Row(**head, **_solved(cell, keep and Path(keep) / key))  # type: ignore[arg-type]
    except Exception as error:  # whatever it is
        return Row(**head, skipped=" ".join(str(error).split())[:300] or type(error).__name__)  # type: ignore[arg-type]


def _solved(cell: Cell, keep: Path | None) -> dict[str, Any]:
    from .. import images
    from ..metrics import psnr, ssim
    from ..restore import Job, restore

    clean = picture(cell)
    _warm_up(cell)
    job, y, truth = _measured(cell, clean)
    job = Job(**{**asdict(job), "seed": cell.seed})
    done = restore(job, clean if y is None else y, truth=truth)
    target, record = done.truth, done.record
    assert target is not None
    history = done.result.history
    every = -(-len(history["seconds"]) // 30)
    points = [*range(0, len(history["seconds"]), every), len(history["seconds"]) - 1]
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        for suffix, x in (("restored", done.restored), ("initial", done.initial), ("truth", target)):
            images.write(keep.with_name(f"{keep.name}-{suffix}.png"), x[:1].clamp(0, 1))
    return {
        "psnr_initial": float(psnr(done.initial, target)),
        "psnr": float(psnr(done.restored, target)),
        "ssim": float(ssim(done.restored, target)),
        "seconds": record["seconds"]["solve"],
        "total": record["seconds"]["total"],
        "iterations": record["iterations"][0],
        "status": record["status"][0],
        "verdict": record["verdict"][0],
        "sigma_used": _first(record["sigma"]["value"]),
        "lam": _first(record["lam"]["value"]),
        "curve": tuple(
            (k + 1, float(history["seconds"][k]), float(history["psnr"][k, 0])) for k in dict.fromkeys(points)
        ),
    }


def _measured(cell: Cell, clean: Any) -> tuple[Any, Any, Any]:
    """(job, y, truth): y None where the job simulates for itself, which is when the solver is told the truth."""
    import torch

    from ..noise import Gaussian
    from ..registry import OPERATORS
    from ..restore import Job

    sigma, method = cell.sigma / 255, cell.method
    told = sigma if method.sigma == "given" else None
    common = {"prior": method.prior, "solver": method.solver, "lam": method.lam, "iterations": method.iterations}
    if cell.task.assume is None:
        noise = None if told else f"gaussian:sigma={sigma}"
        return Job(op=cell.task.measure, sigma=told, simulate=True, noise=noise, **common), None, None  # type: ignore[arg-type]
    operator = OPERATORS.build(cell.task.measure, shape=tuple(clean.shape[1:]), seed=cell.seed)
    y = Gaussian(sigma)(operator(clean), torch.Generator().manual_seed(cell.seed))
    return Job(op=cell.task.assume, sigma=told, **common), y, operator.visible(clean)  # type: ignore[arg-type]


_warm: set[tuple[str, ...]] = set()


def _warm_up(cell: Cell) -> None:
    """Two iterations, untimed, the first time that a worker meets this task, method and size."""
    from dataclasses import replace

    from ..restore import restore

    clean = picture(cell)
    what = (cell.task.measure, str(cell.task.assume), repr(cell.method), str(tuple(clean.shape)))
    if what not in _warm:
        job, y, truth = _measured(cell, clean)
        lam = job.lam or 1.0  # no search for it
        restore(replace(job, iterations=2, lam=lam), clean if y is None else y, truth=truth)
        _warm.add(what)


@lru_cache(maxsize=4)
def _picture(path: str, crop: int, grey: bool) -> Any:
    import numpy as np
    import torch

    if Path(path).is_file():
        from ..images import read as read_picture

        x = read_picture(path).pixels[:1, :3]
    else:
        from skimage import data

        array = np.atleast_3d(getattr(data, path)())
        x = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255
        x = torch.nn.functional.avg_pool2d(x, 2)  # 512² photographs: 256²
    if grey and x.shape[1] == 3:
        x = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    if crop:
        h, w = x.shape[-2:]
        top, left = max(0, (h - crop) // 2), max(0, (w - crop) // 2)
        x = x[..., top : top + crop, left : left + crop]
    return x.contiguous()


def picture(cell: Cell) -> Any:
    """The clean picture of a cell, (1, C, H, W)."""
    return _picture(cell.picture, cell.crop, cell.grey)


def code_version(cell: Cell) -> str:
    """Hash of the source files behind a cell, of its row of rules, and of the weights of its networks."""
    from .. import operators as operators
    from .. import priors, rules, weights
    from ..registry import OPERATORS, PRIORS, SOLVERS, Spec

    files = {f"pnp.{name}" for name in CORE}
    task = cell.task
    for registry, spec in ((OPERATORS, task.measure), (OPERATORS, task.assume), (SOLVERS, cell.method.solver)):
        if spec and Spec.parse(spec).name in registry:
            files |= _modules(registry[Spec.parse(spec).name].make)
    names = [Spec.parse(part.rpartition("*")[2]).name for part in cell.method.prior.split("+")]
    for name in names:
        files |= _modules(PRIORS[name].make) if name in PRIORS else set()
    nets = "unet" if "dae" in names else cell.method.prior  # dae stands on unet
    learned = {k: record["sha256"] for k, record in weights.manifest().items() if k.split("-")[0] in nets}
    files |= {"pnp.priors.network", "pnp.priors.denoiser"} if learned else set()
    try:
        kind = priors.parse(cell.method.prior, shape=(1, 64, 64)).kind
    except Exception:  # the cell's own row will say what is wrong
        kind = ""
    rows = sorted((task, repr(rule)) for (k, task), rule in rules.table().items() if k == kind)
    if not cell.method.solver:
        files |= {f"pnp.solvers.{m}" for m in ("admm", "hqs")} | {m for _, r in rows for m in _rule_modules(r)}
    text = json.dumps([_source_hash(tuple(sorted(files))), learned, rows], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _rule_modules(rule: str) -> set[str]:
    from ..registry import SOLVERS

    name = rule.split("solver='")[1].split("'")[0].split(":")[0]
    return _modules(SOLVERS[name].make)


def _modules(make: Any) -> set[str]:
    """The module of a class or function of this package, and the modules of this package that it imports from."""
    module = sys.modules[make.__module__]
    near = {getattr(v, "__module__", "") for v in vars(module).values()}
    return {module.__name__} | {m for m in near if isinstance(m, str) and m.startswith(("pnp.operators", "pnp.priors"))}


@lru_cache
def _source_hash(modules: tuple[str, ...]) -> str:
    import importlib

    found = hashlib.sha256()
    for name in modules:
        file = importlib.import_module(name).__file__
        if file:
            found.update(Path(file).read_bytes())
    return found.hexdigest()


def _machine(workers: int, scheduler: str | None) -> dict[str, Any]:
    """What a time means nothing without."""
    from ..report import environment

    try:
        here = Path(__file__).parent
        commit = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
    except OSError:
        commit = ""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {**environment(), "cpu": cpu, "commit": commit, "workers": "remote" if scheduler else workers,
            "precision": "auto"}  # fmt: skip


def _compact(row: Row) -> dict[str, Any]:
    """Columns that hold something, floats to what can be read off."""
    return {k: _rounded(v) for k, v in asdict(row).items() if v is not None and v != ()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.5g}")
    return [_rounded(v) for v in value] if isinstance(value, tuple | list) else value


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, list) else value)
