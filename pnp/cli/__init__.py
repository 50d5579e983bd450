"""The command `pnp`: one module for each job.  Heavy imports stand inside the commands, so that --help and mistyped
options answer at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .. import interrupts
from ..registry import unknown
from .bench import bench
from .catalogue import cite, list_, show
from .check import check
from .completion import completion
from .doctor import doctor
from .help import help_
from .report import report
from .solve import solve
from .train import train
from .tune import tune


class _Commands(click.Group):
    """A picture in the place of a command is for `pnp solve`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None:
            if "." in name or "/" in name or Path(name).exists():
                return "solve", solve, args
            raise click.UsageError(f"{unknown('command', name, self.list_commands(ctx))}. `pnp --help` says more.")
        return super().resolve_command(ctx, args)


EXITS = "Exit codes: 0 done, 1 failed while it ran, 2 wrong input, 130 interrupted (`pnp help exit-codes`)."


@click.group(
    cls=_Commands,
    epilog=EXITS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="pnp-restoration", prog_name="pnp")
def cli() -> None:
    """Restore pictures: any linear operator, any prior, one loop.

    \b
    pnp doctor photo.jpg                             say what a picture is, and what to try
    pnp solve noisy.png --op identity                remove noise
    pnp solve photo.jpg --op blur:kernel=psf.png     remove a blur
    pnp solve --op blur                              try it on a bundled photograph
    pnp help                                         list the topics that are explained
    """


for _command in (solve, report, check, doctor, list_, show, cite, train, tune, bench, help_, completion):
    cli.add_command(_command)


def main() -> None:
    """Run the command line: a mistyped command is one line and exit code 2, like every other mistake."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        click.echo(f"pnp: error: {' '.join(error.format_message().split())}", err=True)
        sys.exit(2)
    except click.Abort:
        interrupts.leave()
