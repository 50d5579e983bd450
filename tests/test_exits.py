"""What a script can rely on: exit codes, JSON on standard output and nothing else there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_cli import FAST, pnp, record
from test_cli import folder as folder

from pnp.files import pictures
from pnp.priors import TV

TV5 = ("--op", "identity", "--prior", "tv", "--lam", "5", *FAST)


def strict(text: str) -> dict:
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_the_record_is_printed_as_json_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture) -> None:
    pictures.write("flat.png", torch.full((1, 1, 40, 40), 0.5))  # its scores against itself are infinite
    assert pnp("solve", "flat.png", "--truth", "flat.png", *TV5, "--json") == 0
    said = capsys.readouterr()
    found = strict(said.out)
    assert found == record("flat-restored-report") and found["input"] == "flat.png" and said.out.count("\n") == 1
    assert "verdict" in said.err and "wrote flat-restored.png" in said.err


def test_many_pictures_are_a_line_each(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("bad.png").write_bytes(b"nothing")
    assert pnp("solve", "photo.png", "bad.png", "clean.png", *TV5, "--json", "-o", "out") == 2
    said = capsys.readouterr()
    assert [strict(line)["input"] for line in said.out.splitlines()] == ["photo.png", "clean.png"]
    assert "bad.png: error:" in said.err and "2 of 3 pictures restored" in said.err


@pytest.mark.parametrize("arguments", [["nope.png", "--op", "identity"], ["photo.png", "--op", "x"], ["photo.png"]])
def test_an_error_leaves_standard_output_empty(
    folder: Path, capsys: pytest.CaptureFixture, arguments: list[str]
) -> None:
    assert pnp("solve", *arguments, "--json") == 2
    said = capsys.readouterr()
    assert said.out == "" and "pnp: error:" in said.err


FAILURES = {
    "what is not there": (ValueError("wrong"), 2, "pnp: error: wrong"),
    "a full disk": (OSError(28, "No space left on device"), 2, "No space left"),
    "memory": (MemoryError("too large"), 1, "pnp: error: too large"),
    "torch": (RuntimeError("it broke"), 1, "pnp: error: it broke"),
    "a fault of ours": (KeyError("x"), 1, "pnp: internal error: KeyError"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_the_exit_code_says_whose_fault_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, case: str
) -> None:
    error, code, says = FAILURES[case]

    def fail(self: TV, x0: torch.Tensor) -> TV:
        raise error

    monkeypatch.setattr(TV, "begin", fail)
    assert pnp("solve", "photo.png", *TV5) == code
    assert says in capsys.readouterr().err
    assert pnp("solve", "photo.png", "clean.png", *TV5, "-o", "out") == code


def test_a_failure_weighs_more_than_wrong_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TV, x0: torch.Tensor) -> TV:
        raise RuntimeError("it broke")

    Path("bad.png").write_bytes(b"nothing")
    monkeypatch.setattr(TV, "begin", fail)
    assert pnp("solve", "bad.png", "photo.png", *TV5, "-o", "out") == 1


def test_help_and_version_are_successes() -> None:
    assert pnp("--help") == pnp("--version") == pnp("solve", "--help") == pnp() == 0
