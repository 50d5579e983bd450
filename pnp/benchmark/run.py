"""Run a suite: each cell in a worker of Dask, results appended as they come, nothing run twice."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .suite import Cell, Data, Suite, cells


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
    have = {row.key: row for row in there if row.skipped is None}  # what failed is tried again
    wanted = [(cell.key(code_version(cell)), cell) for cell in cells(suite, data)]
    missing = {key: cell for key, cell in wanted if key not in have}
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
                have[row.key] = row
                say(len(have), len(wanted), row)
    return [_named(have[key], cell) for key, cell in wanted]


def _named(row: Row, cell: Cell) -> Row:
    """The row under the names that the suite has for its cell."""
    task, method, picture = cell.task.name, cell.method.name, Path(cell.picture).stem
    return replace(row, suite=cell.suite, task=task, method=method, sigma=cell.sigma, picture=picture, seed=cell.seed)


def _mend(results: Path) -> None:
    """Cut off a last line without an end, left by a kill."""
    if results.is_file() and (text := results.read_bytes()) and not text.endswith(b"\n"):
        results.write_bytes(text[: text.rfind(b"\n") + 1])


def _rows(
    missing: dict[str, Cell], machine: str, workers: int, threads: int, scheduler: str | None, pictures: Path | None
) -> Iterator[Row]:
    try:
        from distributed import Client, LocalCluster, as_completed
    except ModuleNotFoundError:
        raise ImportError("a suite runs in workers of Dask: pip install 'pnp-restoration[bench]'") from None

    keep = None if pictures is None else str(pictures)
    with ExitStack() as stack:
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
        cluster = scheduler or stack.enter_context(LocalCluster(**options))
        client = stack.enter_context(Client(cluster))
        first = next(iter(missing.values())).picture  # one picture is shown; the others are numbers
        futures = [
            client.submit(solve_cell, key, cell, machine, threads, keep if cell.picture == first else None, pure=False)
            for key, cell in missing.items()
        ]
        try:
            for future, row in as_completed(futures, with_results=True):
                future.release()
                yield row
        finally:
            client.cancel(futures)


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
    """Hash of what is behind a cell beside its own text: source, rules, weights, and the files that its specs name.

    Source: the module of each named operator, prior, denoiser and solver, and all that it and the path of `pnp solve`
    import.  A change of one solver so leaves the results of the others as they are.
    """
    from .. import operators as operators
    from .. import priors, rules, weights
    from ..registry import DENOISERS, OPERATORS, PRIORS, SOLVERS, Registry, Spec

    task, method = cell.task, cell.method
    words = re.findall(r"[\w./-]+", " ".join(filter(None, (task.measure, task.assume, method.prior, method.solver))))
    registries: tuple[Registry, ...] = (OPERATORS, PRIORS, DENOISERS, SOLVERS)
    modules = {registry[word].make.__module__ for word in words for registry in registries if word in registry}
    try:
        kind = priors.parse(method.prior, shape=(1, 64, 64)).kind
    except Exception:  # the cell's own row will say what is wrong
        kind = ""
    rows = sorted((task, repr(rule)) for (k, task), rule in rules.table().items() if k == kind)
    if not method.solver:
        named = [Spec.parse(rule.solver).name for (k, _), rule in rules.table().items() if k == kind] or ["admm", "hqs"]
        modules |= {SOLVERS[name].make.__module__ for name in named}
    nets = {word for word in words if word in DENOISERS}
    nets |= {"unet"} if kind not in ("", "other") else set()  # what dae, red and projector stand on by default
    learned = {k: r["sha256"] for k, r in weights.manifest().items() if kind and k.split("-")[0] in nets}
    files = {word: _bytes_hash(word) for word in words if Path(word).is_file()}
    text = json.dumps([_source_hash(frozenset(modules)), rows, learned, list(files.values())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _bytes_hash(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@lru_cache
def _source_hash(modules: frozenset[str]) -> str:
    """Hash of the source of these modules and of `pnp.restore`, with everything of this package that they import."""
    left, seen = {*modules, "pnp.restore", __name__}, set()
    while left:
        name = left.pop()
        seen.add(name)
        left |= _imports(name) - seen
    found = hashlib.sha256()
    for name in sorted(seen):
        found.update(_source(name))
    return found.hexdigest()


@lru_cache
def _imports(name: str) -> frozenset[str]:
    """Modules of this package that `name` imports at its top; packages that only gather others are not followed."""
    package = name if _path(name).stem == "__init__" else name.rpartition(".")[0]
    found = set()
    for node in ast.parse(_source(name)).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package.split(".")
            base = ".".join([*above[: len(above) + 1 - node.level], *filter(None, [node.module])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    gather = {"pnp", "pnp.operators", "pnp.priors", "pnp.solvers"}
    return frozenset(f for f in found - gather if f.startswith("pnp.") and _path(f).is_file())


def _source(name: str) -> bytes:
    return _path(name).read_bytes()


def _path(name: str) -> Path:
    """Of a module of this package; not a file if there is none."""
    at = Path(__file__).parents[1].joinpath(*name.split(".")[1:])
    return at / "__init__.py" if at.is_dir() else at.with_suffix(".py")


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
