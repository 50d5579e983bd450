"""`pnp doctor`: what a picture file is, and the command to try."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .lead import examined, told
from .options import one_line_errors


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PICTURE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line for each picture.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def doctor(files: tuple[Path, ...], as_json: bool, debug: bool) -> None:
    """Say what a picture is, and what to try.

    It looks for size, range, noise, JPEG quality, stripes, clipped pixels, paint and blur. It writes nothing. A blur is
    a suspicion: a soft picture looks blurred, and a short motion is not seen.
    """
    with one_line_errors(debug):
        from ..files import pictures

        for path in files:
            found = examined(path, pictures.read(path, "auto", holes=True))
            if as_json:
                click.echo(json.dumps({"picture": str(path), **found.to_json()}))
            else:
                click.echo(told(path, found, found.command))
