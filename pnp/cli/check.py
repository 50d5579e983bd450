"""`pnp check`: whether the files of a result belong together."""

from __future__ import annotations

from pathlib import Path

import click

from .options import one_line_errors


@click.command()
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="REPORT...")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def check(reports: tuple[Path, ...], debug: bool) -> None:
    """Check that a picture and its report match.

    REPORT is the folder of a result.json. Picture and report match if they come from the same run. A run that is killed
    while it replaces an older result may leave files of both runs. Then this command prints one line and exits with
    code 2.
    """
    with one_line_errors(debug):
        from ..jobs import report

        for folder in reports:
            report.check(folder)
            click.echo(f"{folder}: picture and report come from the same run")
