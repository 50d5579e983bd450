"""`pnp list`, `pnp show` and `pnp cite`: what there is, in short and in full."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import one_line_errors, positive

if TYPE_CHECKING:
    from ..registry import Entry, Registry

KINDS = ("operators", "kernels", "priors", "solvers", "denoisers", "noises", "stops")


@click.command("list")
@click.argument("kind", required=False, type=click.Choice([*KINDS, "rules"]))
def list_(kind: str | None) -> None:
    """What there is: operators, kernels of blurs, priors, solvers, denoisers, noises, stop rules.

    `pnp list rules` is the table of default parameters: by the kind of the prior, the task of the operator, and the
    solver where one was asked for.
    """
    if kind == "rules":
        _print_rules()
        return
    for name, registry in registries().items():
        if kind in (None, name):
            rows = [[entry.name, entry.summary, ", ".join(options(entry))] for entry in registry.values()]
            _print(name, ("name", "what it is", "options"), rows)


def _print_rules() -> None:
    """A table for each kind of prior, with the columns that say something about it."""
    from itertools import groupby

    from ..parameters import rules

    for kind, group in groupby(rules.cells(rules.table()), key=lambda row: row[0]):
        rows = list(group)
        told = [i for i, column in enumerate(zip(*rows, strict=True)) if i > 0 and any(column)]
        _print(kind, [rules.COLUMNS[i] for i in told], [[row[i] for i in told] for row in rows])


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table, "")


@click.command()
@click.argument("spec")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw it: an operator or a denoiser at work, the "
              "filters and functions of a trained diffusion. PNG, PDF or SVG.")  # fmt: skip
@click.option("--window", is_flag=True, help="Draw it in a window.")
@click.option("--sigma", default="25/255", show_default=True, callback=positive, metavar="S", help="Noise level "
              "at which a denoiser is drawn; of trained diffusions, the nearest is.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show(spec: str, output: Path | None, window: bool, sigma: float, debug: bool) -> None:
    """One member in full: what it computes, its options and defaults, examples, and the record of its weights.

    SPEC is a name or a spec.
    """
    with one_line_errors(debug):
        from ..registry import Spec, SpecError, unknown

        name = Spec.parse(spec).name
        found = {kind: registry[name] for kind, registry in registries().items() if name in registry}
        if not found:
            known = {n for registry in registries().values() for n in registry}
            raise SpecError(unknown("member", name, sorted(known)))
        if not (taking := {kind for kind, entry in found.items() if _takes(entry, spec)}):
            registries()[next(iter(found))].build(spec)  # its own error says which option is wrong
        for kind, entry in found.items():
            click.echo(f"{name} ({kind[:-1]})\n")
            click.echo(documentation(entry.make) + "\n")
            click.echo("options: " + (", ".join(options(entry)) or "none"))
            click.echo("examples: " + "  ".join(entry.examples) + "\n")
        nets = _networks(spec) if "denoisers" in taking else []
        for net in nets:
            from ..jobs import figures
            from ..priors import store

            click.echo(f"weights: {net.title()}")
            for key, value in figures.facts(net, store.record_of(net)).items():
                click.echo(f"  {key}: {value}")
        if output is not None or window:
            _draw(spec, taking, nets, sigma, output)


def _takes(entry: Entry, spec: str) -> bool:
    """Whether the options in the spec are the member's."""
    from ..registry import Spec

    parsed = Spec.parse(spec)
    return set(parsed.options) <= set(entry.parameters()) and (parsed.first is None or bool(entry.parameters()))


def _networks(spec: str) -> list[Any]:
    """The networks behind a denoiser: of a file, or of the shipped weights for grey and for colour."""
    from ..registry import DENOISERS, Spec

    parsed = Spec.parse(spec)
    if parsed.name == "deepinv":
        return []
    shapes = [(1, 64, 64)] if "weights" in parsed.options else [(1, 64, 64), (3, 64, 64)]
    nets: list[Any] = []
    for shape in shapes:
        denoiser = DENOISERS.build(spec, shape=shape)
        members = getattr(denoiser, "members", {0: denoiser}).values()
        nets += [member.net for member in members if hasattr(member, "net") and member.net not in nets]
    return nets


def _draw(spec: str, kinds: set[str], nets: list[Any], sigma: float, output: Path | None) -> None:
    import math

    from ..jobs import figures
    from ..registry import SpecError

    if not kinds & {"operators", "denoisers"}:
        raise SpecError(f"{spec} is neither an operator nor a denoiser; only those are drawn.")
    if "operators" in kinds:
        figure = figures.operator_figure(spec)
    elif nets and hasattr(nets[0], "stages"):
        figure = figures.diffusion_figure(min(nets, key=lambda net: abs(math.log(net.sigma / sigma))))
    else:
        figure = figures.denoiser_figure(spec, sigma)
    if output is None:
        figures.show(figure)
    else:
        figures.save(figure, output)
        click.echo(f"wrote {output}")


@click.command()
@click.option("--op", metavar="SPEC")
@click.option("--prior", metavar="SPEC")
@click.option("--solver", metavar="SPEC")
@click.option("--stop", metavar="SPEC")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cite(debug: bool, op: str | None, prior: str | None, solver: str | None, stop: str | None) -> None:
    """BibTeX of the methods behind an operator, a prior, a solver and stop rules, and of pnp."""
    with one_line_errors(debug):
        from .. import citations
        from ..machine import environment
        from ..registry import terms

        parts = [("operators", op), ("solvers", solver)]
        parts += [("priors", term.rpartition("*")[2]) for term in terms(prior or "")]
        parts += [("stops", rule) for rule in terms(stop or "")]
        keys = [key for kind, spec in parts if spec for key in _cited(kind, spec)]
        click.echo("\n\n".join(filter(None, [citations.OURS % environment()["pnp"], citations.bibtex(keys)])))


def _cited(kind: str, spec: str) -> list[str]:
    """The papers of a member, and of the denoiser or prior that stands inside its spec."""
    from ..registry import Spec, terms

    known, parsed = registries(), Spec.parse(spec)
    entry = known[kind][parsed.name]
    keys = list(entry.cite)
    for option, inside in (("denoiser", "denoisers"), ("prior", "priors")):
        if option in entry.parameters():
            first = parsed.first if option == next(iter(entry.parameters())) else None
            value = parsed.options.get(option) or first or entry.parameters()[option].default
            for term in terms(value) if isinstance(value, str) else ():
                keys += _cited(inside, term.rpartition("*")[2].replace(".", ":", 1))
    return keys


def registries() -> dict[str, Registry]:
    from .. import operators as operators
    from .. import priors as priors
    from .. import registry
    from .. import solvers as solvers
    from ..core import stopping as stopping
    from ..noises import gaussian as gaussian
    from ..operators.kernels import KERNELS

    every = (registry.OPERATORS, KERNELS, registry.PRIORS, registry.SOLVERS, registry.DENOISERS, registry.NOISES,
             registry.STOPS)  # fmt: skip
    return dict(zip(KINDS, every, strict=True))


def options(entry: Any) -> list[str]:
    """`name=default` for each option that a spec can set; what the program fills in is left out."""
    shown = []
    for p in entry.parameters().values():
        if p.name not in ("shape", "seed"):
            shown.append(p.name if p.default is p.empty else f"{p.name}={p.default}".lower())
    return shown


def documentation(make: Any) -> str:
    import inspect

    return inspect.getdoc(make) or ""
