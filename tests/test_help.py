"""Help topics and completion: what they show exists, and none of it waits for torch."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from test_cli import pnp
from test_doctor import samples as samples

from pnp import registry
from pnp.cli import cli
from pnp.cli.completion import names
from pnp.cli.help import topics

COMMANDS = sorted(
    {command for text in topics().values() for command in re.findall(r"^  (pnp .*?)(?:   |$)", text, re.M)}
)
TOLD = ("solve", "doctor", "check", "report", "list", "show", "cite", "completion")
assert len(topics()) >= 8 and len(COMMANDS) > 30
VARIABLES = ("OPERATORS", "PRIORS", "SOLVERS", "NOISES", "STOPS", "DENOISERS")


def parsed(command: str) -> tuple[str, dict]:
    """The command of a line and its values by click, whose callbacks have read them."""
    _, name, *arguments = shlex.split(command)
    return name, cli.commands[name].make_context(name, arguments).params


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_a_topic_can_be_typed(samples: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(samples)
    name, values = parsed(command)
    assert name in TOLD
    every = {"operator": "OPERATORS", "prior": "PRIORS", "solver": "SOLVERS", "noise": "NOISES", "stop": "STOPS"}
    for option, variable in every.items():
        if values.get(option) is not None:
            assert list(getattr(registry, variable).members(values[option]))
    for path in re.findall(r"[\w-]+\.(?:png|jpg|tif)", command):
        assert path == "restored.tif" or Path(path).is_file()


def test_a_wrong_command_in_a_topic_is_found(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.UsageError):
        parsed("pnp solve noisy.png --opp identity")
    with pytest.raises(registry.SpecError):
        list(registry.OPERATORS.members("blur:kernell=psf.png"))


QUICK = ["pnp check run/", "pnp report run/", "pnp list priors", "pnp show blur:std=2",
         "pnp cite --op blur --prior unet", "pnp solve stack.tif --op identity --range full",
         "pnp solve noisy.png --op identity --json"]  # fmt: skip


def test_some_commands_of_topics_run(samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert pnp("solve", "noisy.png", "--op", "identity", "--iterations", "1", "--report", "run/") == 0
    for command in QUICK:
        assert command in COMMANDS
        few = ["--iterations", "1"] if "solve" in command else []
        assert pnp(*shlex.split(command)[1:], *few) == 0


def test_help_lists_topics_and_shows_one(capsys: pytest.CaptureFixture) -> None:
    assert pnp("help") == 0
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in topics())
    assert pnp("help", "kernels") == 0 and "radius=?" in capsys.readouterr().out
    assert pnp("help", "check") == 0 and "REPORT..." in capsys.readouterr().out
    assert pnp("help", "kernel") == 2 and "Did you mean 'kernels'" in capsys.readouterr().err


def test_the_texts_are_short_and_in_the_package() -> None:
    for name, text in topics().items():
        lines = text.splitlines()
        assert len(lines) < 45 and max(map(len, lines)) <= 121, name
    settings = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"pnp.cli" = ["topics/*.txt"]' in settings


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_names_that_are_suggested_are_those_of_the_registry(variable: str) -> None:
    assert set(names(variable)) == set(getattr(registry, variable))


def suggested(*arguments: str, typed: str) -> list[str]:
    return [item.value for item in ShellComplete(cli, {}, "pnp", "_PNP_COMPLETE").get_completions([*arguments], typed)]


def test_names_are_suggested_where_they_fit() -> None:
    assert suggested("solve", "--op", typed="bl") == ["blur"]
    assert suggested("solve", "x.png", "--prior", typed="tv+0.5*ha") == ["tv+0.5*haar"]
    assert suggested("cite", "--solver", typed="adm") == ["admm", "admm-descent"]
    assert suggested(typed="doc") == ["doctor"] and suggested("help", typed="exit") == ["exit-codes"]
    found = ShellComplete(cli, {}, "pnp", "_PNP_COMPLETE").get_completions(["solve"], "ph")
    assert [item.type for item in found] == ["file"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture) -> None:
    assert pnp("completion", shell) == 0
    assert "_PNP_COMPLETE" in capsys.readouterr().out


def test_completion_imports_no_torch() -> None:
    code = """
import sys
from click.shell_completion import ShellComplete
from pnp.cli import cli
found = ShellComplete(cli, {}, "pnp", "_PNP_COMPLETE").get_completions(["solve", "--op"], "bl")
print(found[0].value, [m for m in ("torch", "scipy", "rich") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "blur []\n"
