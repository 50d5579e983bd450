"""`pnp tune`: write a table of default parameters."""

from __future__ import annotations

from pathlib import Path

import click

from .options import one_line_errors


@click.command()
@click.argument("prior", metavar="PRIOR")
@click.option("--task", "tasks", multiple=True, help="blur, downsample, mask, sensing, identity; default: all.")
@click.option("--data", required=True, multiple=True, metavar="PATH", help="Training pictures: folder or glob.")
@click.option("--count", type=click.IntRange(1), default=8, show_default=True, help="Number of crops.")
@click.option("--side", type=click.IntRange(16), default=128, show_default=True, help="Side of a crop in pixels.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option("--iterations", type=click.IntRange(1), help="Iterations of the solver. Default: from the table.")
@click.option("--solver", metavar="NAME", help="Tune the row of this solver. Default: the one of the task.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default="rules.tsv", show_default=True,
              help="Table to write. Its other rows stay.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def tune(
    prior: str,
    tasks: tuple[str, ...],
    data: tuple[str, ...],
    count: int,
    side: int,
    channels: str,
    iterations: int | None,
    solver: str | None,
    output: Path,
    debug: bool,
) -> None:
    """Find default parameters for your pictures.

    The command finds those of a prior on training pictures, and writes them into a table of your own.
    `pnp solve --rules TABLE` uses the table. The search starts from the row for this kind of prior, in your table or in
    the one of the package. It prints each better row.
    """
    with one_line_errors(debug):
        from .. import priors
        from ..files import pictures
        from ..parameters import rules, tuning
        from ..registry import unknown

        for task in tasks:
            if task not in tuning.TASKS:
                raise ValueError(unknown("task", task, list(tuning.TASKS)))
        pictures.check_target(output)
        rows = rules.table(output) if output.exists() else {}
        truth = tuning.crops(pictures.expand(list(data)), count, side, int(channels))
        kind = rules.kind_of(priors.parse(prior, shape=(int(channels), side, side)))
        for task in tasks or tuning.TASKS:
            at, start = tuning.start({**rules.table(), **rows}, kind, task, solver, iterations)
            for row, value in tuning.tune(prior, task, start, truth):
                rows[at] = row
                click.echo(f"{' '.join(at)}: {value:.3f} dB  lam={row.lam:.4g} start={row.start:.4g} "
                           f"end={row.end:.4g} floor={row.floor:.4g} iterations={row.iterations}")  # fmt: skip
            tuning.write(rows, output)
        click.echo(f"wrote {output}. Use it with: pnp solve --rules {output} ...")
