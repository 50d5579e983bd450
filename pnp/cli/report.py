"""`pnp report`: the page of a result, made once more."""

from __future__ import annotations

from pathlib import Path

import click

from .options import one_line_errors


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RESULT...")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def report(paths: tuple[Path, ...], debug: bool) -> None:
    """Make the page of a result once more, from its record and pictures.

    RESULT is a result.json, its folder, or a folder that holds many. The command writes report.html beside each
    result.json. A folder of many gets a page of thumbnails, too (reports.html). The command says what is missing.
    """
    with one_line_errors(debug):
        from ..files import atomic
        from ..jobs import page, reread

        for path in paths:
            entries = []
            folders = reread.results(path)
            for folder in folders:
                found = reread.reread(folder)
                for line in found.missing:
                    click.echo(f"note: {folder}: {line}", err=True)
                made = reread.write(folder, found)
                click.echo(f"wrote {made}")
                entries.append(page.entry(found.record, found.seen, made))
            if folders != [path] and path.is_dir():
                atomic.write(path / page.SHEET, page.sheet(path, entries))
                click.echo(f"wrote {path / page.SHEET}")
