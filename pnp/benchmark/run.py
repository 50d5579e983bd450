"""Run a suite: each cell in a worker of Dask, results appended as they come, nothing run twice but what failed."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..files import atomic
from .solving import Outcome, solve_cell
from .suite import Cell, Data, Suite, cells
from .version import code_version


@dataclass(frozen=True)
class Row:
    """One result.  PSNR in dB.  skipped: why there is none.

    seconds: in the solver's steps alone; total: from the picture to the result, with the choice of parameters and the
    stop rules, without the scores.  curve: (iteration, seconds since the picture was there, PSNR), some thirty at most.
    reason: what ended the iteration; chosen: the iteration whose image is the result.
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
    reason: str | None = None
    chosen: int | None = None
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
    needed = {f.name for f in fields(Row) if f.default is MISSING}
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
        elif value.keys() <= known and needed <= value.keys():
            rows.append(Row(**{**value, "curve": tuple(tuple(point) for point in value.get("curve", ()))}))
        else:
            wrong = ", ".join(sorted((value.keys() - known) | (needed - value.keys())))
            raise ValueError(f"{path}, line {number} is no row of results: columns {wrong}.")
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
    on an idle machine.  scheduler: instead, the address of a Dask scheduler whose workers have this package.
    pictures: folder for restored pictures, for the report.
    """
    machines, there = read(results)
    have = {row.key: row for row in there if row.skipped is None}  # what failed is tried again
    wanted = [(cell.key(code_version(cell)), cell) for cell in cells(suite, data)]
    missing = {key: cell for key, cell in wanted if key not in have}
    if missing:
        results.parent.mkdir(parents=True, exist_ok=True)
        _mend(results)
        threads = threads or max(1, (os.cpu_count() or 1) // workers)
        with open(results, "a", encoding="utf-8") as file:
            for key, outcome in _outcomes(missing, workers, threads, scheduler, pictures is not None):
                machine = {**outcome.machine, "workers": "remote" if scheduler else workers}
                identity = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:8]
                if identity not in machines:
                    machines[identity] = machine
                    file.write(json.dumps({"id": identity, "machine": machine}) + "\n")
                row = _named(Row(key, "", "", 0.0, "", "", 0, identity, **outcome.columns), missing[key])
                file.write(json.dumps(_compact(row), ensure_ascii=False) + "\n")
                file.flush()
                have[key] = row
                if pictures is not None:
                    _keep(pictures, key, outcome.pictures)
                say(len(have), len(wanted), row)
    return [_named(have[key], cell) for key, cell in wanted]


def _named(row: Row, cell: Cell) -> Row:
    """The row under the names that the suite has for its cell."""
    task, method, picture = cell.task.name, cell.method.name, Path(cell.picture).stem
    return replace(row, suite=cell.suite, task=task, method=method, sigma=cell.sigma, picture=picture, seed=cell.seed)


def _mend(results: Path) -> None:
    """Cut off a last line that a kill left half written, or end one that is whole."""
    if results.is_file() and (text := results.read_bytes()) and not text.endswith(b"\n"):
        whole, _, last = text.rpartition(b"\n")
        try:
            json.loads(last)
            atomic.write(results, text + b"\n")
        except json.JSONDecodeError:
            atomic.write(results, whole + b"\n" if whole else b"")


def _outcomes(
    missing: dict[str, Cell], workers: int, threads: int, scheduler: str | None, keep: bool
) -> Iterator[tuple[str, Outcome]]:
    with _client(workers, scheduler) as client:
        from distributed import as_completed

        first = next(iter(missing.values())).picture  # one picture is shown; the others are numbers
        futures = {
            client.submit(solve_cell, cell, threads, keep and cell.picture == first, pure=False): key
            for key, cell in missing.items()
        }
        try:
            for future, outcome in as_completed(list(futures), with_results=True):
                future.release()
                yield futures[future], outcome
        finally:
            client.cancel(list(futures))


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A client of the scheduler, or of so many workers of this machine.

    Dask sets MALLOC_TRIM_THRESHOLD_, by which memory is handed back at once; a network that asks for it anew in each
    step takes twice as long at 512², so our own workers go without.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ModuleNotFoundError:
        raise ImportError("a suite runs in workers of Dask: pip install 'pnp-restoration[bench]'") from None

    where = "distributed.nanny.pre-spawn-environ"
    kept = {k: v for k, v in dask.config.get(where).items() if k != "MALLOC_TRIM_THRESHOLD_"}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({where: kept}))
        options = {"n_workers": workers, "threads_per_worker": 1, "dashboard_address": ":0"}
        cluster = scheduler or stack.enter_context(LocalCluster(**options))
        yield stack.enter_context(Client(cluster))


def _keep(folder: Path, key: str, pictures: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in pictures.items():
        atomic.write(folder / f"{key}-{name}.png", png)


def _compact(row: Row) -> dict[str, Any]:
    """Columns that hold something, floats to what can be read off."""
    return {k: _rounded(v) for k, v in asdict(row).items() if v is not None and v != ()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.5g}")
    return [_rounded(v) for v in value] if isinstance(value, tuple | list) else value
