"""Run a suite: each cell in a worker of Dask, results appended as they come, nothing run twice but what failed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
from collections.abc import Callable, Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import IO, Any

from ..files import atomic
from ..progress import doing
from ..registry import DENOISERS, NOISES, OPERATORS, PRIORS, SOLVERS, Registry, Spec, SpecError
from .keys import key as key_of
from .keys import key_of_set
from .solving import Outcome, solve_cell
from .suite import BUNDLED, Cell, Data, Suite, cells, column, levels
from .views import VIEWS
from .world import CAMERAS, FILES

AGREES = 0.01  # dB: how far a result that is run again may be from its row


@dataclass(frozen=True)
class Row:
    """One result.  PSNR in dB.  skipped: why there is none.

    seconds: in the solver's steps alone; total: from the picture to the result, with the choice of parameters and the
    stop rules, without the scores.  curve: (iteration, seconds since the picture was there, PSNR), some thirty at most.
    reason: what ended the iteration; chosen: the iteration whose image is the result.
    noise: its spec, where it is not Gaussian of `sigma`.  parameters: how many numbers a denoiser has learned.
    variant: what tells its task from others of the same name.
    pictures: how many there are in the set whose average this is (a median for the times); `picture` is its name.
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
    noise: str | None = None
    parameters: int | None = None
    pictures: int | None = None
    variant: str | None = None

    @property
    def column(self) -> str:
        return column(self.task, self.sigma, self.noise)


def read(path: Path) -> tuple[dict[str, dict[str, Any]], list[Row]]:
    """(machines, rows) of a results file; a last line that a kill left half written is dropped.  Raises ValueError."""
    machines: dict[str, dict[str, Any]] = {}
    rows: dict[str, Row] = {}
    for _, value in _lines(path, path.read_bytes() if path.is_file() else b""):
        if isinstance(value, Row):
            rows[value.key] = value  # the newest
        else:
            machines[value["id"]] = value["machine"]
    return machines, list(rows.values())


def _lines(path: Path, text: bytes) -> Iterator[tuple[bytes, dict[str, Any] | Row]]:
    """(line with its end, machine or row) of a results file.  Only b"\\n" ends a line: a name may hold any other."""
    known = {f.name for f in fields(Row)}
    needed = {f.name for f in fields(Row) if f.default is MISSING}
    *whole, last = text.split(b"\n")
    for number, line in enumerate([*whole, *([last] if _is_json(last) else [])], 1):
        if not _is_json(line):
            raise ValueError(f"{path}, line {number}: not JSON.  Delete the line to run its cell again.")
        value = json.loads(line.decode())
        if value.keys() == {"machine", "id"}:
            yield line + b"\n", value
        elif value.keys() <= known and needed <= value.keys():
            yield line + b"\n", Row(**{**value, "curve": tuple(tuple(point) for point in value.get("curve", ()))})
        else:
            wrong = ", ".join(sorted((value.keys() - known) | (needed - value.keys())))
            raise ValueError(f"{path}, line {number} is not a row of results: columns {wrong}.")


def _is_json(line: bytes) -> bool:
    """Whether a line is a whole object; half a character of several bytes is not."""
    try:
        return isinstance(json.loads(line.decode()), dict)
    except ValueError:  # of the JSON, or of the UTF-8
        return False


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

    workers: local processes; threads: of each, by default OMP_NUM_THREADS, or one; times are best with one worker on an
    idle machine.  scheduler: instead, the address of a Dask scheduler whose workers have this package.
    pictures: folder for restored pictures, for the report.  Several processes may append to one file.
    Raises SpecError for a suite that names what is not there.
    """
    check(suite, data)
    have = _have(results)
    wanted = _wanted(suite, data, have)
    missing = {key: cell for key, (cell, *_) in wanted if key not in have}
    if missing:
        results.parent.mkdir(parents=True, exist_ok=True)
        for key, outcome in _outcomes(missing, workers, threads, scheduler, pictures is not None):
            machine = {**outcome.machine, "workers": "remote" if scheduler else workers}
            identity = hashlib.sha256(json.dumps(machine, sort_keys=True).encode()).hexdigest()[:8]
            columns = _rounded(outcome.columns)  # as they will be read: a table of now is the table of later
            row = _named(Row(key, "", "", 0.0, "", "", 0, identity, **columns), missing[key])
            _append(results, {"id": identity, "machine": machine}, row)
            have[key] = row
            if pictures is not None:
                _keep(pictures, key, outcome.pictures)
            say(len(have), len(wanted), row)
    return [_named(have[key], *of) for key, of in wanted]


def _wanted(suite: Suite, data: Data, have: Container[str]) -> list[tuple[str, list[Cell]]]:
    """(key of a row, its cell), or its cells: where a row is there that is the average over a set of pictures."""
    sets: dict[Any, list[tuple[str, list[Cell]]]] = {}
    for cell in cells(suite, data):
        what = (cell.task, cell.sigma, cell.noise, cell.method, cell.seed)
        sets.setdefault(what, []).append((key_of(cell), [cell]))
    found = []
    for single in sets.values():
        whole = key_of_set(key for key, _ in single)
        together = whole in have and any(key not in have for key, _ in single)
        found += [(whole, [cell for _, (cell,) in single])] if together else single
    return found


def _have(results: Path) -> dict[str, Row]:
    """Key -> row of what need not run again; what failed is tried again."""
    return {row.key: row for row in read(results)[1] if row.skipped is None}


def check(suite: Suite, data: Data) -> None:
    """Raise SpecError for a suite that names an operator, prior, denoiser, solver or option that does not exist.

    Other mistakes, and what is not installed, are the affair of single cells, whose rows say so.
    """
    from .solving import picture

    for task, _, noise in levels(suite):  # those that this data leaves out, too
        for spec in filter(None, (task.measure, task.assume)):
            with _refused(suite, f"task {task.name!r}"):
                OPERATORS[Spec.parse(spec).name]
        with _refused(suite, f"task {task.name!r}" if task.noise else "noise"):
            if noise is not None:
                NOISES.build(noise)
        for registry, named in ((CAMERAS, task.camera), (FILES, task.file)):
            with _refused(suite, f"task {task.name!r}"):
                if named is not None:
                    registry.build(named)
    with _refused(suite, "view"):
        VIEWS.build(suite.view)
    for method in suite.methods:
        made: list[tuple[Registry[Any], str | None]] = [
            (PRIORS, method.prior),
            (DENOISERS, method.denoiser),
            (SOLVERS, method.solver),
        ]
        for registry, named in made:
            with _refused(suite, f"method {method.name!r}"):
                if named is not None:
                    registry.build(named, shape=(1, 64, 64), seed=0)
    for cell in {cell.task: cell for cell in cells(suite, data)}.values():
        shape = tuple(picture(cell).shape[1:])
        with _refused(suite, f"task {cell.task.name!r}"):
            OPERATORS.build(cell.task.measure, shape=shape, seed=cell.seed)
            if cell.task.assume is not None:
                OPERATORS.build(cell.task.assume, shape=shape, seed=cell.seed, measured=True)


@contextmanager
def _refused(suite: Suite, part: str) -> Iterator[None]:
    """A SpecError says where in the suite it is from; any other error is let pass."""
    try:
        yield
    except SpecError as error:
        raise SpecError(f"suite {suite.name}, {part}: {error}") from None
    except Exception:  # the row of a cell will say it
        return


@dataclass(frozen=True)
class Pruned:
    """How many rows stay, of these how many of pictures that are not here; rows and machines that were dropped."""

    kept: int
    elsewhere: int
    rows: int
    machines: int


def prune(suite: Suite, data: Data, results: Path) -> Pruned:
    """Drop the rows that no cell of the suite reaches any more, and the machines that no row names.

    Rows of pictures that are neither in `data` nor bundled stay, because nothing here can tell whether a cell reaches
    them.  Of several rows of one key the newest stays.
    Raises ValueError where no row belongs to any cell with `data`: then these are not the pictures of the file.
    """
    _require(suite, results, results.is_file())
    with _locked(results) as file:
        lines = list(_lines(results, file.read()))
        rows = {value.key: (line, value) for line, value in lines if isinstance(value, Row)}
        mine, bundled = (dict(_wanted(suite, d, rows)) for d in (data, Data(None, BUNDLED)))
        pictures = [Path(cell.picture) for of in (mine | bundled).values() for cell in of]
        here = {name for path in pictures for name in (path.stem, path.parent.name)}
        _require(suite, results, not rows.keys().isdisjoint(mine))
        elsewhere = {key for key, (_, row) in rows.items() if row.picture not in here}
        kept = {key: rows[key] for key in rows if key in mine or key in bundled or key in elsewhere}
        used = {row.machine for _, row in kept.values()}
        machines = {value["id"]: line for line, value in lines if not isinstance(value, Row)}
        whole = [*(line for name, line in machines.items() if name in used), *(line for line, _ in kept.values())]
        atomic.write(results, b"".join(whole))
    before = sum(isinstance(value, Row) for _, value in lines)
    return Pruned(len(kept), len(elsewhere), before - len(kept), len(lines) - before - (len(whole) - len(kept)))


def _require(suite: Suite, results: Path, found: bool) -> None:
    if not found:
        raise ValueError(
            f"{results} has no result of suite {suite.name} with these pictures.  Give the --data and --results that "
            "the suite was run with, or run it first."
        )


def verify(
    suite: Suite,
    data: Data,
    results: Path,
    count: int,
    *,
    workers: int = 1,
    threads: int | None = None,
    scheduler: str | None = None,
) -> list[tuple[Row, Row]]:
    """(row of the file, row of now) of `count` cells that have a row, drawn by a fixed seed; the file stays as it is.

    Raises ValueError where no cell has a row.
    """
    check(suite, data)
    have = _have(results)
    found = {key: of for key, of in _wanted(suite, data, have) if key in have}
    _require(suite, results, bool(found))
    drawn = random.Random(0).sample(sorted(found), min(count, len(found)))
    again = {key_of(cell): cell for key in drawn for cell in found[key]}
    columns = {key: outcome.columns for key, outcome in _outcomes(again, workers, threads, scheduler, keep=False)}
    pairs = []
    for key in drawn:
        now = _together([columns[key_of(cell)] for cell in found[key]])
        pairs.append((_named(have[key], *found[key]), replace(have[key], **_rounded(now))))
    return pairs


def differs(row: Row, now: Row) -> bool:
    """Whether a result that was run again is another: by more than `AGREES`, or by having none."""
    if now.skipped is not None or row.psnr is None or now.psnr is None:  # None is the infinite one of a perfect picture
        return now.skipped is not None or row.psnr != now.psnr
    return abs(row.psnr - now.psnr) > AGREES


def _named(row: Row, cell: Cell, *more: Cell) -> Row:
    """The row under the names that the suite has for its cell; a set of several pictures has the name of its folder."""
    path = Path(cell.picture)
    return replace(
        row,
        suite=cell.suite,
        task=cell.task.name,
        variant=cell.task.variant,
        sigma=cell.sigma,
        noise=cell.noise,
        method=cell.method.name,
        picture=path.parent.name if more else path.stem,
        pictures=1 + len(more) if more else None,
        seed=cell.seed,
    )


def _together(columns: list[dict[str, Any]]) -> dict[str, Any]:
    """The columns of a set from its pictures': mean scores, or why one has none."""
    skipped = next((c["skipped"] for c in columns if "skipped" in c), None)
    if len(columns) == 1 or skipped:
        return columns[0] if not skipped else {"skipped": skipped}
    return {score: mean(c[score] for c in columns) for score in ("psnr", "ssim")}


def _append(results: Path, machine: dict[str, Any], row: Row) -> None:
    """Add a row, and its machine where the file does not have it; first end or cut off what a kill left half written.

    The file is never written anew: a kill at any moment loses this row at most.
    """
    with _locked(results) as file:
        _, _, last = (text := file.read()).rpartition(b"\n")
        if last and not _is_json(last):
            file.truncate(len(text) - len(last))
        described = json.dumps(machine).encode() + b"\n"
        added = json.dumps(_compact(row), ensure_ascii=False).encode() + b"\n"
        file.write((b"\n" if _is_json(last) else b"") + (b"" if described in text else described) + added)


@contextmanager
def _locked(results: Path) -> Iterator[IO[bytes]]:
    """The file at its beginning, for this process alone; what is written goes to its end.

    Another process may have replaced it while this one waited, so the file that is locked must be the one of that name.
    """
    while True:
        with open(results, "a+b") as file:
            with suppress(ModuleNotFoundError):  # Windows has no such lock
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(results)):
                file.seek(0)
                yield file
                return


def _outcomes(
    missing: dict[str, Cell], workers: int, threads: int | None, scheduler: str | None, keep: bool
) -> Iterator[tuple[str, Outcome]]:
    threads = threads or _threads()
    doing("starting the workers")
    with _client(workers, scheduler) as client:
        from distributed import as_completed

        first = next(iter(missing.values())).picture  # one picture is shown; the others are numbers
        futures = {
            client.submit(solve_cell, cell, threads, keep and cell.picture == first, pure=False): key
            for key, cell in missing.items()
        }
        doing("waiting for the first result")
        try:
            for done, (future, outcome) in enumerate(as_completed(list(futures), with_results=True), 1):
                future.release()
                doing("result", done, len(futures), partial(_called, missing[futures[future]]))
                yield futures[future], outcome
        finally:
            client.cancel(list(futures))


def _called(cell: Cell) -> str:
    """A cell for a person who waits."""
    return f"{cell.method.name}, {column(cell.task.name, cell.sigma, cell.noise)}, {Path(cell.picture).stem}"


def _threads() -> int:
    """Of each worker when nobody says: OMP_NUM_THREADS, its first level where it has several; else one."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) else 1


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
    """Columns that hold something."""
    return {k: v for k, v in asdict(row).items() if v is not None and v != ()}


def _rounded(value: Any) -> Any:
    """Floats, wherever they are, to what can be read off; None for one that is not finite."""
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return tuple(map(_rounded, value)) if isinstance(value, tuple | list) else value
