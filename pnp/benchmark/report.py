"""What is made of a suite's rows: tables for the terminal and for Markdown, and one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from ..files import atomic
from .run import Row
from .suite import Published, Suite, levels

TEMPLATE = Path(__file__).parent / "report.html.j2"


def cells_of(suite: Suite, rows: Sequence[Row]) -> list[tuple[str, float]]:
    """(task, sigma) of those that were run: the columns of every table."""
    there = {(row.task, row.sigma) for row in rows}
    return [(task.name, sigma) for task, sigma in levels(suite) if (task.name, sigma) in there]


def column(task: str, sigma: float) -> str:
    return f"{task} @ {sigma:g}"


def averages(suite: Suite, rows: Sequence[Row], quantity: str = "psnr") -> dict[str, dict[str, float]]:
    """method -> column -> mean over pictures and seeds (median for times); "measured" is what the person has."""
    found: dict[str, dict[str, float]] = {}
    for name in ("measured", *(m.name for m in suite.methods)):
        for task, sigma in cells_of(suite, rows):
            mine = [r for r in rows if (r.task, r.sigma) == (task, sigma) and (name in ("measured", r.method))]
            which = "psnr_initial" if name == "measured" and quantity == "psnr" else quantity
            values = [v for r in mine if (v := getattr(r, which)) is not None]
            if values and not (name == "measured" and quantity != "psnr"):
                found.setdefault(name, {})[column(task, sigma)] = (
                    median(values) if quantity == "total" else mean(values)
                )
    return found


def published(row: Published) -> dict[str, float]:
    """column -> mean of the published values."""
    return {k: mean(v) if isinstance(v, list) else v for k, v in row.values.items()}


def skipped(rows: Sequence[Row]) -> list[str]:
    """One line for each reason why something did not run, or made nothing better."""
    reasons = dict.fromkeys(f"{r.method}, {r.task}: {r.skipped}" for r in rows if r.skipped)
    worse = [r for r in rows if r.psnr is not None and r.psnr_initial is not None and r.psnr < r.psnr_initial]
    for method, where in dict.fromkeys((r.method, column(r.task, r.sigma)) for r in worse):
        mine = [r for r in worse if (r.method, column(r.task, r.sigma)) == (method, where)]
        loss = max((r.psnr_initial or 0) - (r.psnr or 0) for r in mine)
        of = sum((r.method, column(r.task, r.sigma)) == (method, where) for r in rows)
        reasons[f"{method}, {where}: below the measured picture on {len(mine)} of {of} by up to {loss:.2f} dB"] = None
    return list(reasons)


def lines(suite: Suite, rows: Sequence[Row]) -> list[tuple[str, list[str]]]:
    """(name, one text a column and the median seconds): every method, then the published rows."""
    columns = [column(*c) for c in cells_of(suite, rows)]
    scores, seconds = averages(suite, rows), averages(suite, rows, "total")
    papers = {f"{p.name}, published{f' ({p.note})' if p.note else ''}": published(p) for p in suite.published}
    made = []
    for name, row in (scores | papers).items():
        times = seconds.get(name)
        cells = [f"{row[c]:.2f}" if c in row else "" for c in columns]
        made.append((name, [*cells, f"{median(times.values()):.2g}" if times else ""]))
    return made


def markdown(suite: Suite, rows: Sequence[Row]) -> str:
    """A table of mean PSNR in dB with the median seconds of a picture, the published rows, and what was not better."""
    columns = [column(*c) for c in cells_of(suite, rows)]
    head = [f"| {suite.title} | {' | '.join(columns)} | s |", f"|---|{'---|' * (len(columns) + 1)}"]
    worse = skipped(rows)
    remarks = ["", "; ".join(worse) + "."] if worse else []
    return "\n".join([*head, *(f"| {name} | {' | '.join(cells)} |" for name, cells in lines(suite, rows)), *remarks])


def table(suite: Suite, rows: Sequence[Row]) -> Any:
    """The same for a terminal."""
    from rich.table import Table

    shown = Table(title=f"{suite.title}: mean PSNR in dB", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("method", *(column(*c) for c in cells_of(suite, rows)), "seconds"):
        shown.add_column(name, justify="left" if name == "method" else "right")
    for name, cells in lines(suite, rows):
        shown.add_row(name, *cells, style="dim" if ", published" in name else None)
    return shown


def html(suite: Suite, rows: Sequence[Row], machines: dict[str, dict[str, Any]], pictures: Path | None = None) -> str:
    """One page without outside links: tables, quality against time and against iterations, pictures side by side."""
    from jinja2 import Environment

    columns = [column(*c) for c in cells_of(suite, rows)]
    used = {row.machine for row in rows}
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(TEMPLATE.read_text("utf-8"))
    return page.render(
        suite=suite,
        columns=columns,
        tables=[
            ("Mean PSNR, dB", averages(suite, rows), "%.2f"),
            ("Mean SSIM", averages(suite, rows, "ssim"), "%.4f"),
            ("Median seconds of a picture, with the choice of parameters", averages(suite, rows, "total"), "%.3g"),
        ],
        published=[(p, published(p)) for p in suite.published],
        remarks=skipped(rows),
        figures=[_curves(suite, rows, *cell) for cell in cells_of(suite, rows)],
        comparisons=[] if pictures is None else _pictures(suite, rows, pictures),
        rows=rows,
        machines={k: v for k, v in machines.items() if k in used},
    )


def _curves(suite: Suite, rows: Sequence[Row], task: str, sigma: float) -> tuple[str, str]:
    """(title, data URI): PSNR of the first picture against seconds and against iterations, a line for each method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    mine = [r for r in rows if (r.task, r.sigma) == (task, sigma) and r.curve]
    first = mine[0].picture if mine else ""
    for i, method in enumerate(suite.methods):
        for row in [r for r in mine if r.method == method.name and r.picture == first][:1]:
            steps, seconds, values = zip(*row.curve, strict=True)
            for axis, at in zip(axes, (seconds, steps), strict=True):
                axis.plot(at, values, color=f"C{i % 10}", marker=".", label=method.name)
                axis.set_xscale("log")
    axes[0].set_xlabel("seconds")
    axes[1].set_xlabel("iterations")
    axes[0].set_ylabel("PSNR, dB")
    if mine:
        axes[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return f"{column(task, sigma)}, {first}", _drawn(figure)


def _drawn(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return _uri(buffer.getvalue())


def _pictures(suite: Suite, rows: Sequence[Row], folder: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each column the first picture: truth, measured, and every method's, as data URIs with their PSNR."""
    found = []
    for task, sigma in cells_of(suite, rows):
        mine = [r for r in rows if (r.task, r.sigma) == (task, sigma) and (folder / f"{r.key}-restored.png").is_file()]
        mine = [r for r in mine if r.picture == mine[0].picture and r.seed == mine[0].seed]
        if mine:
            shown = [("truth", folder / f"{mine[0].key}-truth.png")]
            shown.append((f"measured, {mine[0].psnr_initial:.2f} dB", folder / f"{mine[0].key}-initial.png"))
            shown += [(f"{r.method}, {r.psnr:.2f} dB", folder / f"{r.key}-restored.png") for r in mine]
            found.append((f"{column(task, sigma)}, {mine[0].picture}", [(t, _uri(p.read_bytes())) for t, p in shown]))
    return found


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


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
