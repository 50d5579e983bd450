"""`pnp help`: commands, and topics that several commands share.  The texts are the files of `topics/`."""

from __future__ import annotations

from importlib import resources

import click
from click.shell_completion import CompletionItem

from ..registry import unknown


def topics() -> dict[str, str]:
    """Name -> text; the first line is what it is about."""
    found = resources.files(__package__).joinpath("topics").iterdir()
    texts = {path.name.removesuffix(".txt"): path.read_text(encoding="utf-8") for path in found}
    return dict(sorted(texts.items()))


def _suggest(context: click.Context, parameter: click.Parameter, typed: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in topics() if name.startswith(typed)]


@click.command("help")
@click.argument("topic", required=False, shell_complete=_suggest)
@click.pass_context
def help_(context: click.Context, topic: str | None) -> None:
    """Explain a topic or a command. Without a name, list the topics."""
    texts, root = topics(), context.find_root()
    group = root.command
    assert isinstance(group, click.Group)
    if topic is None:
        width = max(map(len, texts))
        rows = [f"  {name:{width}s}  {text.splitlines()[0]}" for name, text in texts.items()]
        click.echo("\n".join(["Topics:", *rows, "", "`pnp help TOPIC` or `pnp help COMMAND` says more."]))
    elif topic in texts:
        click.echo(texts[topic].rstrip())
    elif (command := group.get_command(root, topic)) is not None:
        click.echo(command.get_help(click.Context(command, root, topic)))
    else:
        raise click.UsageError(unknown("topic", topic, {**texts, **group.commands}))
