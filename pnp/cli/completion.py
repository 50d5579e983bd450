"""`pnp completion`, and what options of several commands suggest: names of members, and files."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from click.shell_completion import CompletionItem, get_completion_class

from .. import registry

Suggest = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for your shell.

    With it the TAB key completes commands, options, names and files.
    `pnp help completion` says which line to add to the start-up file of your shell.
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(context.find_root().command, {}, "pnp", "_PNP_COMPLETE").source())


def members(variable: str) -> Suggest:
    """Suggests the names of a registry, by its variable in `pnp.registry`; of a sum, for its last term."""

    def suggest(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
        start = 1 + max(typed.rfind(char) for char in "+*")
        before, last = typed[:start], typed[start:]
        return [CompletionItem(before + name) for name in sorted(set(names(variable))) if name.startswith(last)]

    return suggest


def files(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    """Suggests files."""
    return [CompletionItem(typed, type="file")]


def names(variable: str) -> Iterator[str]:
    """The names of a registry's members as its source has them: importing them takes seconds, which nobody waits for
    at the touch of a key."""
    entries: registry.Registry = getattr(registry, variable)
    written = re.compile(rf"\b{variable}\.register\(\s*\"([^\"]+)\"")
    for source in _sources(entries.homes):
        yield from written.findall(source.read_text(encoding="utf-8"))
    if entries.group:
        yield from (entry.name for entry in importlib.metadata.entry_points(group=entries.group))


def _sources(homes: tuple[str, ...]) -> Iterator[Path]:
    """The source files of these modules, of a package those in its folder."""
    for home in homes:
        found = importlib.util.find_spec(home)
        if found is not None and found.submodule_search_locations:
            yield from (path for place in found.submodule_search_locations for path in Path(place).glob("*.py"))
        elif found is not None and found.origin:
            yield Path(found.origin)
