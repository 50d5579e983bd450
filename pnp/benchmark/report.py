"""What is made of a suite's rows: tables for the terminal and for Markdown, and one self-contained HTML page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from ..files import atomic
from ..files.pictures import read
from ..html.curves import Axis, Line, svg
from ..html.pictures import Shown, shown
from ..html.render import render
from .run import Row
from .suite import Published, Suite, column, levels

TEMPLATE = Path(__file__).parent / "report.html.j2"
BUDGET = 9_000_000  # bytes of the pictures of a page
EXACT = 2_000_000  # samples of a picture that is kept to the last bit where the budget allows

NAMES = {"psnr": "PSNR in dB", "ssim": "SSIM"}
LOST, LEFT = "↓", "–"  # a cell that lost against the measured picture; one that could not be run


def columns_of(suite: Suite, rows: Sequence[Row]) -> list[str]:
    """Those that were run, in the order of the suite."""
    there = {row.column for row in rows}
    names = dict.fromkeys(column(task.name, sigma, noise) for task, sigma, noise in levels(suite))
    return [name for name in names if name in there]


def averages(suite: Suite, rows: Sequence[Row], quantity: str = "psnr") -> dict[str, dict[str, float]]:
    """method -> column -> mean over pictures and seeds (median for times); "measured" is what the person has."""
    found: dict[str, dict[str, float]] = {}
    for name in ("measured", *(m.name for m in suite.methods)):
        for where in columns_of(suite, rows):
            mine = [r for r in rows if r.column == where and name in ("measured", r.method)]
            which = "psnr_initial" if name == "measured" and quantity == "psnr" else quantity
            values = [v for r in mine for _ in range(r.pictures or 1) if (v := getattr(r, which)) is not None]
            if values and not (name == "measured" and quantity != "psnr"):
                found.setdefault(name, {})[where] = median(values) if quantity == "total" else mean(values)
    return found


def published(row: Published) -> dict[str, float]:
    """column -> mean of the published values."""
    return {k: mean(v) if isinstance(v, list) else v for k, v in row.values.items()}


def marks(rows: Sequence[Row]) -> dict[tuple[str, str], str]:
    """(method, column) -> LOST where some picture became worse than the measured one, LEFT where none was restored."""
    left = {(r.method, r.column): LEFT for r in rows if r.skipped}
    done = {(r.method, r.column): "" for r in rows if not r.skipped}
    return left | done | {(r.method, r.column): LOST for r in rows if _loss(r) > 0}


def footnotes(rows: Sequence[Row]) -> list[str]:
    """What the marks of the table stand for."""
    worst = max(rows, key=_loss, default=None)
    notes = []
    if worst is not None and _loss(worst) > 0:
        where = f"{worst.method}, {worst.column}"
        notes.append(
            f"{LOST} below the measured picture on at least one picture, by at most {_loss(worst):.2f} dB ({where})."
        )
    return [
        *notes,
        *(f"{LEFT} did not run: {reason}" for reason in dict.fromkeys(r.skipped for r in rows if r.skipped)),
    ]


def _loss(row: Row) -> float:
    """By how many dB the result is below the measured picture, at least 0."""
    return 0.0 if row.psnr is None or row.psnr_initial is None else max(0.0, row.psnr_initial - row.psnr)


class Table(ABC):
    """What a suite's rows are shown as.  kind: over the names of its lines."""

    kind: str

    @abstractmethod
    def title(self, suite: Suite) -> str:
        """What its numbers are."""

    @abstractmethod
    def heads(self, suite: Suite, rows: Sequence[Row]) -> list[str]:
        """The names over `lines`."""

    @abstractmethod
    def lines(self, suite: Suite, rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
        """(name, a text for each of `heads`)."""


class Means(Table):
    """A line for every method and published row, a column for every task at each level: mean scores."""

    kind = "method"

    def title(self, suite: Suite) -> str:
        return f"mean {', '.join(NAMES[score] for score in suite.scores)}"

    def heads(self, suite: Suite, rows: Sequence[Row]) -> list[str]:
        names = columns_of(suite, rows)
        scores = [name if score == "psnr" else f"{NAMES[score]}, {name}" for score in suite.scores for name in names]
        return [*scores, "s", *(["parameters"] if _learned(rows) else [])]

    def lines(self, suite: Suite, rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
        names, marked, learned = columns_of(suite, rows), marks(rows), _learned(rows)
        scores = {score: averages(suite, rows, score) for score in suite.scores}
        seconds = averages(suite, rows, "total")
        made = []
        for method in ("measured", *(m.name for m in suite.methods)):
            cells = [_cell(score, scores[score].get(method, {}).get(c), marked.get((method, c), ""))
                     for score in suite.scores for c in names]  # fmt: skip
            times = seconds.get(method)
            cells.append(f"{median(times.values()):.2g}" if times else "")
            cells += [f"{learned[method] / 1000:,.0f} k" if method in learned else ""] if learned else []
            if any(cells):
                made.append((method, cells))
        for paper in suite.published:
            values = published(paper)
            cells = [_cell(score, values.get(c) if score == "psnr" else None) for score in suite.scores for c in names]
            made.append((_called(paper), [*cells, *[""] * (2 if learned else 1)]))
        return made


class Differences(Table):
    """A line for every task at each level: the first method against the measured picture and against the others.

    Over the pictures that both have: the mean of its PSNR minus theirs, the least, and how many are below the measured
    picture by more than `SAME`.
    """

    kind = "task"

    def title(self, suite: Suite) -> str:
        return f"PSNR in dB of {suite.methods[0].name}, and its difference to others"

    def heads(self, suite: Suite, rows: Sequence[Row]) -> list[str]:
        others = ["measured", *(m.name for m in suite.methods[1:])]
        compared = [f"{what} − {name}" for name in others for what in ("mean", "worst")]
        return ["pictures", suite.methods[0].name, *compared, "below measured", "s"]

    def lines(self, suite: Suite, rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
        names = columns_of(suite, rows)
        mine = [(name, [row for row in rows if row.column == name]) for name in names]
        return [(name, self._line(suite, found)) for name, found in [*mine, *([("all", rows)] if mine[1:] else [])]]

    def _line(self, suite: Suite, rows: Sequence[Row]) -> list[str]:
        tested, *others = (m.name for m in suite.methods)
        scores = {(r.method, *_which(r)): r.psnr for r in rows if r.psnr is not None}
        ours = [r for r in rows if r.method == tested and r.psnr is not None]
        gains = [r.psnr - r.psnr_initial for r in ours if r.psnr is not None and r.psnr_initial is not None]
        compared = [gains, *([r.psnr - other for r in ours
                              if r.psnr is not None and (other := scores.get((name, *_which(r)))) is not None]
                             for name in others)]  # fmt: skip
        cells = [text for found in compared for text in _mean_and_worst(found)]
        seconds = [r.total for r in ours if r.total is not None]
        shown = f"{mean(r.psnr for r in ours if r.psnr is not None):.2f}" if ours else LEFT
        below = f"{sum(gain < -SAME for gain in gains)}" if gains else ""
        return [str(len(ours)), shown, *cells, below, f"{median(seconds):.2g}" if seconds else ""]


SAME = 0.005  # dB: what two decimals do not show
TABLES: dict[str, Table] = {"means": Means(), "differences": Differences()}


def _which(row: Row) -> tuple[Any, ...]:
    """What was restored, whoever did it."""
    return row.column, row.variant, row.picture, row.seed


def _mean_and_worst(differences: Sequence[float]) -> Iterator[str]:
    for of in (mean, min):
        yield f"{of(differences):+.2f}" if differences else ""


def _called(paper: Published) -> str:
    return f"{paper.name}, published{f' ({paper.note})' if paper.note else ''}"


def _cell(score: str, value: float | None, mark: str = "") -> str:
    if value is None:
        return mark
    return f"{value:.2f} {mark}".strip() if score == "psnr" else f"{value:.4f}"


def _learned(rows: Sequence[Row]) -> dict[str, int]:
    """method -> how many numbers its denoiser has learned."""
    return {row.method: row.parameters for row in rows if row.parameters is not None}


def markdown(suite: Suite, rows: Sequence[Row]) -> str:
    """The suite's table, with the median seconds of a picture, the published rows, and what the marks mean."""
    kind = TABLES[suite.table]
    names = kind.heads(suite, rows)
    head = [f"| {suite.title} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    body = [f"| {name} | {' | '.join(cells)} |" for name, cells in kind.lines(suite, rows)]
    notes = footnotes(rows)
    return "\n".join([*head, *body, *(["", "  \n".join(notes)] if notes else [])])


def table(suite: Suite, rows: Sequence[Row]) -> Any:
    """The same for a terminal."""
    from rich.table import Table as Shown

    kind = TABLES[suite.table]
    shown = Shown(title=f"{suite.title}: {kind.title(suite)}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in (kind.kind, *kind.heads(suite, rows)):
        shown.add_column(name, justify="left" if name == kind.kind else "right")
    papers = {_called(paper) for paper in suite.published}
    for name, cells in kind.lines(suite, rows):
        shown.add_row(name, *cells, style="dim" if name in papers else None)
    return shown


def html(suite: Suite, rows: Sequence[Row], machines: dict[str, dict[str, Any]], pictures: Path | None = None) -> str:
    """One page without outside links: tables, quality against time and against iterations, pictures side by side."""
    used = {row.machine for row in rows}
    return render(
        TEMPLATE,
        suite=suite,
        columns=columns_of(suite, rows),
        tables=[
            ("Mean PSNR, dB", averages(suite, rows), "%.2f"),
            ("Mean SSIM", averages(suite, rows, "ssim"), "%.4f"),
            ("Median seconds of a picture, with the choice of parameters", averages(suite, rows, "total"), "%.3g"),
        ],
        published=[(p, published(p)) for p in suite.published],
        marks=marks(rows),
        footnotes=footnotes(rows),
        figures=[
            _curves(suite, rows, c) for c in columns_of(suite, rows) if any(r.curve for r in rows if r.column == c)
        ],
        comparisons=[] if pictures is None else _pictures(suite, rows, pictures),
        rows=rows,
        machines={k: v for k, v in machines.items() if k in used},
    )


def _curves(suite: Suite, rows: Sequence[Row], where: str) -> tuple[str, list[str]]:
    """(title, drawings): PSNR of the first picture against seconds and against iterations, a line for each method."""
    mine = [r for r in rows if r.column == where and r.curve]
    first = [r for r in mine if r.picture == mine[0].picture]
    found = {row.method: row.curve for row in first[::-1]}
    each = {method.name: found.get(method.name, ()) for method in suite.methods}
    return f"{where}, {mine[0].picture}", [
        svg(
            [Line(name, [point[at] for point in curve], [point[2] for point in curve]) for name, curve in each.items()],
            Axis(axis, log=True),
            Axis("PSNR, dB"),
            f"PSNR against {axis}: {where}, {mine[0].picture}",
        )
        for at, axis in ((1, "seconds"), (0, "iterations"))
    ]


def _pictures(suite: Suite, rows: Sequence[Row], folder: Path) -> list[tuple[str, list[Shown]]]:
    """For each column the first picture: measured, every method's with its PSNR, and the truth."""
    found: list[tuple[str, list[tuple[str, Path]]]] = []
    for where in columns_of(suite, rows):
        mine = [r for r in rows if r.column == where and (folder / f"{r.key}-restored.png").is_file()]
        mine = [r for r in mine if r.picture == mine[0].picture and r.seed == mine[0].seed]
        if mine:
            named = [(f"measured, {mine[0].psnr_initial:.2f} dB", folder / f"{mine[0].key}-initial.png")]
            named += [(f"{r.method}, {r.psnr:.2f} dB", folder / f"{r.key}-restored.png") for r in mine]
            named.append(("truth", folder / f"{mine[0].key}-truth.png"))
            found.append((f"{where}, {mine[0].picture}", named))
    budget = BUDGET // max(1, sum(len(named) for _, named in found))
    return [
        (title, [shown(name, read(path).pixels[0], budget, exact=EXACT) for name, path in named])
        for title, named in found
    ]


def into_readme(path: Path, name: str, table: str) -> None:
    """Put a table between <!-- bench:NAME --> and <!-- /bench -->.  Raises ValueError where there is no such place."""
    before, after = around(path, name)
    atomic.write(path, f"{before}\n{table}\n{after}")


def around(path: Path, name: str) -> tuple[str, str]:
    """The text before and after the place of a table, with its marks.  Raises ValueError where there is none."""
    text = path.read_text(encoding="utf-8")
    begin, end = f"<!-- bench:{name} -->", "<!-- /bench -->"
    at = text.find(begin) + len(begin)
    to = text.find(end, at)
    if begin not in text or to < 0:
        raise ValueError(f"{path} has no place for the table: {begin} ... {end}.")
    return text[:at], text[to:]
