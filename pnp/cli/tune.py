"""`pnp tune`: write the table of default parameters."""

from __future__ import annotations

from pathlib import Path

import click

from .options import one_line_errors


@click.command()
@click.argument("prior", metavar="PRIOR")
@click.option("--task", "tasks", multiple=True, help="blur, downsample, mask, sensing, identity; default: all.")
@click.option("--data", required=True, multiple=True, metavar="PATH", help="Training pictures: folder or glob.")
@click.option("--count", type=click.IntRange(1), default=8, show_default=True, help="How many crops.")
@click.option("--side", type=click.IntRange(16), default=128, show_default=True, help="Their side in pixels.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option("--iterations", type=click.IntRange(1), help="Of the solver; default: as the table has it.")
@click.option("--solver", metavar="NAME", help="Tune the row of this solver. Default: the task's own.")
@click.option("--out", type=click.Path(path_type=Path), help="Table to change. Default: the one in use.")
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
    out: Path | None,
    debug: bool,
) -> None:
    """Find the default parameters of a prior on training pictures, and write them into the table.

    The search starts from the row that is there, of the prior's kind, and prints each better one.
    """
    with one_line_errors(debug):
        from dataclasses import replace

        from .. import priors
        from ..files import pictures
        from ..parameters import rules, tuning
        from ..registry import unknown

        path = out or rules.TABLE
        pictures.check_target(path)
        truth = tuning.crops(pictures.expand(list(data)), count, side, int(channels))
        kind = priors.parse(prior, shape=(int(channels), side, side)).kind
        for task in tasks or tuning.TASKS:
            if task not in tuning.TASKS:
                raise ValueError(unknown("task", task, list(tuning.TASKS)))
            rows = dict(rules.table(path if path.is_file() else rules.TABLE))
            own = rows.get((kind, task))
            name = task if solver is None or (own is not None and own.solver == solver) else f"{task}-{solver}"
            start = rows.get((kind, name)) or own or rows.get((kind, "other"))
            if start is None:
                raise ValueError(f"the table has no row for priors of kind {kind!r} to start from; known kinds: "
                                 f"{', '.join(sorted({k for k, _ in rows}))}.")  # fmt: skip
            start = replace(start, iterations=iterations or start.iterations, solver=solver or start.solver)
            for row, value in tuning.tune(prior, task, start, truth):
                best = row
                click.echo(f"{kind} {name}: {value:.3f} dB  lam={row.lam:.4g} start={row.start:.4g} "
                           f"end={row.end:.4g} floor={row.floor:.4g} iterations={row.iterations}")  # fmt: skip
            rules.write({**rows, (kind, name): best}, path)
