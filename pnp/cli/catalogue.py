"""`pnp list`, `pnp show` and `pnp cite`: what there is, in short and in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .completion import members
from .options import one_line_errors, positive

if TYPE_CHECKING:
    from ..priors.nets import Network
    from ..registry import Entry, Registry

KINDS = ("operators", "kernels", "priors", "solvers", "denoisers", "noises", "stops")


@click.command("list")
@click.argument("what", required=False, metavar="[KIND|rules|FILE.py|MODULE]")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def list_(what: str | None, debug: bool) -> None:
    """List operators, priors, solvers and the rest.

    The kinds are operators, kernels, priors, solvers, denoisers, noises and stops. Name one kind to list it alone. Name
    a file or module of yours to list what it defines. `pnp list rules` prints the table of default parameters: a row
    for each kind of prior, task of an operator, and solver.
    """
    with one_line_errors(debug):
        from ..registry import SpecError, unknown

        if what == "rules":
            _print_rules()
            return
        if what is None or what in KINDS:
            shown = {kind: list(registry.values()) for kind, registry in registries().items() if what in (None, kind)}
        elif "." in what:
            shown = _own(what)
        else:
            raise SpecError(unknown("kind", what, [*KINDS, "rules"]) + ", FILE.py, package.module")
        for kind, entries in shown.items():
            if entries:
                rows = [[entry.name, entry.summary, ", ".join(options(entry))] for entry in entries]
                _print(kind, ("name", "what it is", "options"), rows)


def _own(source: str) -> dict[str, list[Entry[Any]]]:
    """Kind -> what a person's file or module defines of it."""
    from ..plugins import module
    from ..registry import SpecError

    home = module(source)
    found: dict[str, list[Entry[Any]]] = {kind: [] for kind in KINDS}
    for name, made in vars(home).items():
        if not name.startswith("_") and getattr(made, "__module__", None) == home.__name__ and callable(made):
            for kind in claimed(made):
                found[kind].append(registries()[kind][f"{source}:{name}"])
    if not any(found.values()):
        raise SpecError(f"{source} does not define an operator, prior, solver, denoiser, noise or stop rule.")
    return found


def claimed(make: Callable[..., Any]) -> list[str]:
    """The kind of member that a class or function makes: the first whose contract it meets."""
    return [kind for kind, registry in registries().items() if registry.claims(make)][:1]


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
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw an operator or a denoiser at work, or the "
              "filters and functions of trd and wcrr. PNG, PDF or SVG.")  # fmt: skip
@click.option("--window", is_flag=True, help="Draw it in a window.")
@click.option("--sigma", default="25/255", show_default=True, callback=positive, metavar="S", help="Noise level "
              "at which a denoiser is drawn. Of trained diffusions, the nearest one is drawn.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show(spec: str, output: Path | None, window: bool, sigma: float, debug: bool) -> None:
    """Explain one member of `pnp list`.

    It prints what the member computes, its options with their defaults, examples, and the record of its weights. SPEC
    is a name, or a name with options (pnp help specs).
    """
    with one_line_errors(debug):
        from ..registry import Spec, SpecError, unknown
        from ..specs import own_member

        name = Spec.parse(spec).name
        found = {kind: registry[name] for kind, registry in registries().items() if name in registry}
        if own_member(name) is not None:
            found = {kind: registries()[kind][name] for kind in claimed(registries()["operators"][name].make)}
            if not found:
                raise SpecError(f"cannot tell what {name} makes. Annotate its return type, e.g. -> Operator.")
        if not found:
            known = {n for registry in registries().values() for n in registry}
            raise SpecError(unknown("member", name, sorted(known)))
        if not (taking := {kind for kind in found if _takes(registries()[kind], spec)}):
            list(registries()[next(iter(found))].members(spec))  # its own error says which option is wrong
        for kind, entry in found.items():
            click.echo(f"{name} ({kind[:-1]})\n")
            click.echo(documentation(entry.make) + "\n")
            click.echo("options: " + (", ".join(options(entry)) or "none"))
            click.echo("examples: " + "  ".join(entry.examples))
            inside = list(registries()[kind].members(spec))[1:] if kind in taking else []
            click.echo("".join(f"inside: {e.name} ({r.kind}): {e.summary}\n" for r, e in inside))
        nets = _networks(spec) if "denoisers" in taking else []
        for net in nets:
            from ..jobs import figures
            from ..priors import store

            click.echo(f"weights: {net.title()}")
            for key, value in figures.facts(net, store.record_of(net)).items():
                click.echo(f"  {key}: {value}")
        if output is not None or window:
            _draw(spec, taking, nets, sigma, output)


def _takes(registry: Registry[Any], spec: str) -> bool:
    """Whether the options in the spec, and in those that stand inside it, are the members'."""
    from ..registry import SpecError

    try:
        return bool(list(registry.members(spec)))
    except SpecError:
        return False


def _networks(spec: str) -> list[Network]:
    """The networks behind a denoiser: of a file, or of the shipped weights for grey and for colour.

    None of one whose spec leaves out what it needs.
    """
    from ..priors.network import networks
    from ..registry import DENOISERS

    parsed = DENOISERS.parse(spec)
    entry = DENOISERS[parsed.name]
    if entry.missing(entry.values(parsed)):
        return []
    return networks(DENOISERS.build(parsed))


def _draw(spec: str, kinds: set[str], nets: list[Network], sigma: float, output: Path | None) -> None:
    import math

    from ..jobs import figures
    from ..registry import SpecError

    read = [net for net in nets if net.parts(sigma)[1]]
    if not kinds & {"operators", "denoisers"}:
        raise SpecError(f"cannot draw {spec}. Only operators and denoisers can be drawn.")
    if "operators" in kinds:
        figure = figures.operator_figure(spec)
    elif read:
        nearest = min(read, key=lambda net: abs(math.log((net.level or sigma) / sigma)))
        figure = figures.parts_figure(nearest, sigma)
    else:
        figure = figures.denoiser_figure(spec, sigma)
    if output is None:
        figures.show(figure)
    else:
        figures.save(figure, output)
        click.echo(f"wrote {output}")


@click.command()
@click.option("--op", metavar="SPEC", shell_complete=members("OPERATORS"))
@click.option("--prior", metavar="SPEC", shell_complete=members("PRIORS"))
@click.option("--solver", metavar="SPEC", shell_complete=members("SOLVERS"))
@click.option("--noise", metavar="SPEC", shell_complete=members("NOISES"))
@click.option("--stop", metavar="SPEC", shell_complete=members("STOPS"))
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cite(
    debug: bool, op: str | None, prior: str | None, solver: str | None, noise: str | None, stop: str | None
) -> None:
    """Print the papers behind a run, as BibTeX.

    They are those of each part that you name, and of pnp itself.
    """
    with one_line_errors(debug):
        from .. import citations
        from ..machine import environment

        parts = {"operators": op, "solvers": solver, "priors": prior, "noises": noise, "stops": stop}
        keys = [key for kind, spec in parts.items() if spec for key in _cited(registries()[kind], spec)]
        click.echo("\n\n".join(filter(None, [citations.OURS % environment()["pnp"], citations.bibtex(keys)])))


def _cited(registry: Registry[Any], spec: str) -> list[str]:
    """The papers of a member or of the terms of a sum, and of the members that stand inside."""
    return [key for _, entry in registry.members(spec) for key in entry.cite]


def registries() -> dict[str, Registry[Any]]:
    from .. import registry
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
