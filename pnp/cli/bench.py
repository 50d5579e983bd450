"""`pnp bench`: compare methods."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import one_line_errors
from .progress import shown

if TYPE_CHECKING:
    from ..benchmark.suite import Data, Suite


class _Suites(click.Group):
    """`pnp bench SUITE` is short for `pnp bench suite SUITE`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["suite", *args]
        return super().parse_args(context, args)


@click.group(cls=_Suites)
def bench() -> None:
    """Compare methods on pictures of known truth.

    `pnp bench SUITE` runs a suite. `pnp bench suites` lists the suites of the package.
    """


@bench.command()
def suites() -> None:
    """List the suites of the package, and what each compares."""
    from ..benchmark import suite as shipped

    for path in shipped.shipped():
        found = shipped.load(path.stem)
        click.echo(f"{found.name}: {found.title}\n    {found.about}")


@bench.command()
@click.argument("name", metavar="SUITE")
@click.option("--data", type=click.Path(path_type=Path), envvar="PNP_DATA", help="Folder of pictures. Default: bundled "
              "photographs.")  # fmt: skip
@click.option("--results", type=click.Path(path_type=Path), default=Path("pnp-bench"), show_default=True,
              help="Folder for SUITE.jsonl. What has a result there does not run again.")  # fmt: skip
@click.option("--report", type=click.Path(path_type=Path), help="Write one HTML page with tables, curves and pictures.")
@click.option("--readme", type=click.Path(path_type=Path, exists=True), help="Put the table into this Markdown file.")
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes on this machine.")
@click.option("--threads", type=click.IntRange(1), help="Threads of each process. Default: OMP_NUM_THREADS, or 1.")
@click.option("--scheduler", metavar="ADDRESS", help="Use the machines of this Dask scheduler, e.g. tcp://host:8786.")
@click.option("--limit", type=click.IntRange(1), help="Largest number of pictures.")
@click.option("--prune", is_flag=True, help="Run nothing. Delete the results that the suite no longer uses with "
              "this --data.")  # fmt: skip
@click.option("--verify", type=click.IntRange(1), metavar="N", help="Run N cells again that have a result, and say "
              "which differ by more than 0.01 dB (exit code 1). Change no file.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def suite(debug: bool, **options: Any) -> None:
    """Run a suite, or continue one. SUITE is a name or a .toml file."""
    with one_line_errors(debug):
        _suite(**options)


def _suite(
    name: str,
    data: Path | None,
    results: Path,
    report: Path | None,
    readme: Path | None,
    workers: int,
    threads: int | None,
    scheduler: str | None,
    limit: int | None,
    prune: bool,
    verify: int | None,
) -> None:
    from dataclasses import replace

    from rich.console import Console

    from ..benchmark import report as reports
    from ..benchmark import run as runner
    from ..benchmark.suite import Data, load
    from ..files import atomic
    from ..files.pictures import check_target

    wanted = load(name)
    wanted = wanted if limit is None else replace(wanted, limit=limit)
    if data is not None and not data.is_dir():
        raise ValueError(f"{data} is not a folder of pictures.")
    if report is not None:
        check_target(report)
    found = Data.of(wanted, data)
    if readme is not None and (limit is not None or (wanted.pictures and not found.own)):
        raise ValueError("--readme needs all pictures of the suite. Pass --data, and leave out --limit.")
    if readme is not None:
        reports.around(readme, wanted.name)  # before the run, not after it
    path, pictures = results / f"{wanted.name}.jsonl", results / "pictures"
    if prune:
        _prune(wanted, found, path)
    if verify is not None:
        _verify(wanted, found, path, verify, workers=workers, threads=threads, scheduler=scheduler)
    if prune or verify is not None:
        return
    with shown():
        places = {"workers": workers, "threads": threads, "scheduler": scheduler, "pictures": pictures}
        rows = runner.run(wanted, found, path, **places)  # type: ignore[arg-type]
    if not found.own or limit is not None:
        wanted = replace(wanted, published=())  # those figures are of other pictures
    Console(width=None if sys.stdout.isatty() else 200).print(reports.table(wanted, rows))
    for line in reports.footnotes(rows):
        click.echo(line, err=True)
    if all(row.skipped for row in rows):
        raise ValueError("nothing ran; the lines above say why.")
    if report is not None:
        atomic.write(report, reports.html(wanted, rows, runner.read(path)[0], pictures))
        click.echo(f"wrote {report}")
    if readme is not None:
        reports.into_readme(readme, wanted.name, reports.markdown(wanted, rows))


def _prune(wanted: Suite, found: Data, path: Path) -> None:
    from ..benchmark import run as runner

    done = runner.prune(wanted, found, path)
    away = f", {done.elsewhere} of them of pictures that are not here" if done.elsewhere else ""
    click.echo(f"{path}: dropped {done.rows} rows and {done.machines} machines; {done.kept} rows stay{away}")


def _verify(wanted: Suite, found: Data, path: Path, count: int, **places: Any) -> None:
    from ..benchmark import run as runner

    with shown():
        pairs = runner.verify(wanted, found, path, count, **places)
    other = [(row, now) for row, now in pairs if runner.differs(row, now)]
    for row, now in other:
        what = now.skipped or f"{now.psnr:.3f} dB"
        click.echo(f"{row.method}, {row.column}, {row.picture}: {row.psnr} dB in {path}, now {what}")
    click.echo(f"{path}: {len(pairs)} results run again, {len(other)} differ by more than {runner.AGREES} dB")
    if other:
        sys.exit(1)
