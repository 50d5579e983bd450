"""The command `pnp`: one module for each job.  Heavy imports stand inside the commands, so that --help and mistyped
options answer at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .. import interrupts
from .bench import bench
from .catalogue import cite, list_, show
from .check import check
from .doctor import doctor
from .report import report
from .solve import WAYS, solve
from .train import train
from .tune import tune


class _Commands(click.Group):
    """A picture in the place of a command leads on to `pnp solve`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and ("." in name or Path(name).exists()):
            raise click.UsageError(f"{name} is not a command. To restore a picture: pnp solve {name} --op ... ({WAYS})")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pnp-restoration", prog_name="pnp")
def cli() -> None:
    """Restore pictures: any linear operator, any prior, one loop.

    \b
    pnp solve --op blur --prior tv                                         try it on a bundled photograph
    pnp solve photo.png --op blur:kernel=psf.png --prior tv -o out.png     restore a measured picture
    pnp doctor photo.png                                                   what the file is, and what to try
    pnp list                                                               what there is
    """


for _command in (solve, report, check, doctor, list_, show, cite, train, tune, bench):
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
