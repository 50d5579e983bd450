"""Where nobody said what happened to a picture: what its file is, and the command to try."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from .progress import shown

if TYPE_CHECKING:
    from ..files.pictures import Picture
    from ..jobs.doctor import Diagnosis

WAYS = {
    "noisy": "--op identity",
    "out of focus": '--op "blur:kernel=disk,radius=?"',
    "moved or shaken": '--op "blur:kernel=motion,length=?,angle=?", or --op blur:kernel=estimate',
    "blurred, you have the kernel": "--op blur:kernel=psf.png",
    "too small": "--op downsample:factor=2",
    "scratches, painted red": "--op identity --mask red",
}


def lead_on(inputs: list[str], *, look: bool = True) -> NoReturn:
    """Say on stderr that --op is missing, what the first picture is, and what to type.  Exit code 2.

    look: whether the pictures are measured ones, which can be looked at.  Raises PictureError for a bad file.
    """
    from ..files import pictures

    path = next(iter(pictures.expand(inputs)), None) if look else None
    picture = None if path is None else pictures.read(path, "auto", holes=True)
    click.echo("pnp: error: say with --op what happened to the picture.", err=True)
    if path is not None and picture is not None:
        diagnosis = examined(path, picture)
        click.echo(told(path, diagnosis, completed(sys.argv[1:], diagnosis.options)), err=True)
    click.echo("The ways to say it:", err=True)
    for what, options in WAYS.items():
        click.echo(f"  {what + ':':30s}{options}", err=True)
    click.echo("`pnp help operators` has more, `pnp list operators` has all.", err=True)
    sys.exit(2)


def examined(path: Path, picture: Picture) -> Diagnosis:
    """What the picture of a file is; progress is shown while it is looked at."""
    from ..jobs.doctor import examine

    with shown(str(path)):
        return examine(picture, str(path))


def completed(arguments: list[str], options: str) -> str:
    """The command with the options that it lacks; '' where no options are known to help."""
    typed = arguments if arguments[:1] == ["solve"] else ["solve", *arguments]
    return f"pnp {shlex.join(typed)} {options}" if options else ""


def told(path: Path, diagnosis: Diagnosis, command: str) -> str:
    """A diagnosis as lines of text."""
    lines = {**diagnosis.lines, "try": command or "nothing: the file shows no noise, no blur and no paint"}
    return "\n".join([str(path), *(f"  {name + ':':9s} {text}" for name, text in lines.items())])
