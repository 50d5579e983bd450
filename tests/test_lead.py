"""A command line that lacks something leads on: to what the file is, to the command to try, to the near name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from test_cli import pnp
from test_doctor import samples as samples

from pnp.cli.lead import completed


@pytest.fixture
def inside(samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(samples)
    return samples


@pytest.mark.parametrize("command", ["solve scratched.png --prior tv", "scratched.png --prior tv"])
def test_a_picture_without_an_operator_leads_on(inside: Path, capsys: pytest.CaptureFixture, command: str) -> None:
    before = sorted(inside.rglob("*"))
    assert pnp(*command.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and sorted(inside.rglob("*")) == before
    assert "paint:    part of the picture is pure red" in said.err  # what `pnp doctor` finds
    (line,) = [line for line in said.err.splitlines() if line.strip().startswith("try:")]
    typed = line.split("try:")[1].strip()
    assert typed == "pnp solve scratched.png --prior tv --op identity --mask red"
    assert pnp(*shlex.split(typed)[1:], "--iterations", "1") == 0


def test_the_command_that_was_typed_is_completed() -> None:
    op = '--op "blur:kernel=disk,radius=?"'
    assert completed(["solve", "my photo.jpg"], op) == f"pnp solve 'my photo.jpg' {op}"
    assert completed(["a.png", "-o", "b.png"], op) == f"pnp solve a.png -o b.png {op}"
    assert completed(["a.png"], "") == ""


def test_a_simulation_and_a_row_of_numbers_are_not_looked_at(inside: Path, capsys: pytest.CaptureFixture) -> None:
    for command in ("solve --simulate clean.png", "solve measured.npy --size 64x64", "solve"):
        assert pnp(*command.split()) == 2
        said = capsys.readouterr().err
        assert "--op identity" in said and "try:" not in said


def test_a_picture_before_its_options_is_solved(inside: Path) -> None:
    assert pnp("noisy.png", "--op", "identity", "--prior", "tv", "--iterations", "1", "-o", "out.png") == 0
    assert Path("out.png").is_file()


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("nosy.png", "nosy.png does not exist. Did you mean noisy.png?"),
        ("solve nosy.png --op identity", "nosy.png does not exist. Did you mean noisy.png?"),
        ("solve truth/nosy.png", "truth/nosy.png does not exist."),
        ("solve *.xyz --op identity", "no picture found at *.xyz"),
        ("broken.png", "cannot read broken.png"),
        ("slove noisy.png", "unknown command 'slove'. Did you mean 'solve'?"),
    ],
)
def test_a_name_that_is_not_there_is_one_line(
    inside: Path, capsys: pytest.CaptureFixture, command: str, says: str
) -> None:
    Path("broken.png").write_bytes(b"no picture")
    assert pnp(*command.split()) == 2
    said = capsys.readouterr()
    assert said.out == "" and says in said.err and len(said.err.splitlines()) == 1
