"""What a long run tells a person who waits: which part, how far, and nothing where the run is short."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
from test_cli import FAST, pnp
from test_cli import folder as folder

import pnp as package
from pnp import progress
from pnp.cli import progress as outputs
from pnp.cli.progress import EVERY, Lines
from pnp.progress import Doing, doing, heard, part


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_every_few_seconds_and_not_before() -> None:
    clock, to = Clock(), io.StringIO()
    lines = Lines(to, clock)
    lines.show(Doing("iteration", 1, 9))
    clock.now += EVERY - 0.1
    lines.show(Doing("iteration", 2, 9))
    assert to.getvalue() == ""
    clock.now += 0.2
    lines.show(Doing("iteration", 3, 9, lambda: "change 1.0e-03"))
    lines.show(Doing("iteration", 4, 9))
    assert to.getvalue() == "[5 s] iteration 3 of 9  change 1.0e-03\n"
    clock.now += EVERY
    lines.tick()  # nothing new came: a long step is told again
    assert to.getvalue().splitlines()[1:] == ["[10 s] iteration 4 of 9"]


def test_a_choice_is_told_at_once() -> None:
    to = io.StringIO()
    Lines(to, Clock()).say("lam: 3")
    assert to.getvalue() == "lam: 3\n"


def test_parts_stand_before_what_is_done_in_them() -> None:
    told: list[str] = []
    with heard(lambda now: told.append(str(now))):
        with part("picture", 1, 1):
            doing("reading")
        with part("picture", 2, 5), part("choosing lam, trial", 1, 10):
            doing("iteration", 3, 60)
        doing("estimating the noise")
    doing("nobody hears this")
    assert told == [
        "reading",
        "picture 2 of 5: begun",
        "picture 2 of 5: choosing lam, trial 1 of 10: begun",
        "picture 2 of 5: choosing lam, trial 1 of 10: iteration 3 of 60",
        "estimating the noise",
    ]


def test_a_run_tells_its_noise_its_weight_and_its_iterations() -> None:
    told: list[Doing] = []
    y = package.samples.photograph("camera")[..., 100:140, 100:140]
    y = y + 0.05 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    with heard(told.append):
        done = package.restore(y, operator="identity", prior="tv", iterations=4)
    said = [str(now) for now in told]
    assert (
        "estimating the noise" in said
        and said[-1] == "checking the result"
        and any(s.startswith("choosing lam, trial 2 of 10: iter") for s in said)
    )
    steps = [now for now in told if now.what == "iteration"]
    assert [now.done for now in steps] == list(range(1, done.record.iterations[0] + 1)) and steps[0].total == 4
    assert "change" in steps[0].told() and "x noise" in steps[0].told()


def test_an_unknown_kernel_tells_what_is_tried() -> None:
    told: list[str] = []
    photo = package.samples.photograph("camera")[..., 60:260, 60:260]
    y = package.operators.ValidBlur(package.operators.kernels.motion(7, 20))(photo)
    with heard(lambda now: told.append(str(now))):
        package.estimate_kernel(y, largest=9)
    assert sum("estimating the kernel" in line and ": iteration" in line for line in told) > 10


def test_a_listener_ends_a_run_as_ctrl_c_does() -> None:
    y = package.samples.photograph("camera")[..., 100:140, 100:140]

    def enough(now: Doing) -> None:
        if now.what == "iteration" and now.done == 3:
            raise KeyboardInterrupt

    with heard(enough):
        done = package.restore(y, operator="identity", prior="tv", sigma=0.05, lam=5.0, tol=1e-12)
    assert done.record.status == ["interrupted"] and done.record.iterations == [3]


def test_a_log_has_lines_for_a_long_run_and_none_for_a_short_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("solve", "photo.png", "clean.png", "--op", "identity", "--prior", "tv", "--lam", "5", *FAST, "-o", "o")
    monkeypatch.setattr(outputs, "clock", lambda: 7.0)  # no time passes
    assert pnp(*arguments) == 0 and "iteration 2 of 3" not in capsys.readouterr().err
    ticks = iter(range(0, 10**9, 20))
    monkeypatch.setattr(outputs, "clock", lambda: float(next(ticks)))  # each look is 20 s later
    assert pnp(*arguments) == 0
    said = capsys.readouterr()
    assert "picture 2 of 2: iteration 2 of 3  change" in said.err and "iteration 2 of 3" not in said.out
    assert not sys.stderr.isatty() and progress._listener.get() is None
