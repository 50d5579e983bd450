"""Where nobody said what happened to a picture: what its file is, and the command to try."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from .progress import shown

if TYPE_CHECKING:
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

    files = pictures.expand(inputs)
    click.echo("pnp: error: say with --op what happened to the picture.", err=True)
    if files and look:
        click.echo(found(files[0]), err=True)
    click.echo("The ways to say it:", err=True)
    for what, options in WAYS.items():
        click.echo(f"  {what + ':':30s}{options}", err=True)
    click.echo("`pnp help operators` has more, `pnp list operators` has all.", err=True)
    sys.exit(2)


def found(path: Path) -> str:
    """What `pnp doctor` finds in a file, with the command that was typed, completed."""
    diagnosis = examined(path)
    return told(path, diagnosis, completed(sys.argv[1:], diagnosis.options))


def examined(path: Path) -> Diagnosis:
    """What a file is, told while it is looked at."""
    from ..files import pictures
    from ..jobs.doctor import examine

    with shown(str(path)):
        return examine(pictures.read(path, "auto", holes=True), str(path))


def completed(arguments: list[str], options: str) -> str:
    """The command with the options that it lacks; '' where no options are known to help."""
    typed = arguments if arguments[:1] == ["solve"] else ["solve", *arguments]
    return f"pnp {shlex.join(typed)} {options}" if options else ""


def told(path: Path, diagnosis: Diagnosis, command: str) -> str:
    """A diagnosis as lines of text."""
    lines = {**diagnosis.lines, "try": command or "nothing: the picture looks as it should"}
    return "\n".join([str(path), *(f"  {name + ':':9s} {text}" for name, text in lines.items())])
