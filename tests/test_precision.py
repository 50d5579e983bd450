"""The number format of networks is the one that a measurement finds fastest, and the record says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pnp import machine, precision, priors
from pnp.cli import main
from pnp.precision import choose
from pnp.priors import Moreau
from pnp.priors.nets import Network
from pnp.priors.network import NetworkDenoiser

CPU = torch.device("cpu")
F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16


@pytest.fixture(autouse=True)
def _anew() -> Iterator[None]:
    """What one test has measured is not what another finds."""
    precision._fastest.cache_clear()
    yield
    precision._fastest.cache_clear()


def pretend(monkeypatch: pytest.MonkeyPatch, **milliseconds: float) -> list[bool]:
    """A device that offers these formats and takes so long; what comes back grows with each measurement."""
    took, measured = {getattr(torch, name): t / 1e3 for name, t in milliseconds.items()}, []
    monkeypatch.setattr(precision, "offered", lambda device, learning: tuple(took))
    monkeypatch.setattr(precision, "times", lambda dtypes, device, learning: measured.append(learning) or took)
    return measured


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ({"float32": 1.0, "bfloat16": 0.5, "float16": 0.48}, BF16),
        ({"float32": 1.0, "bfloat16": 0.9, "float16": 0.5}, F16),
        ({"float32": 1.0, "bfloat16": 1.6, "float16": 1.5}, F32),
        ({"float32": 1.0, "float16": 0.5}, F16),
        ({"float32": 1.0}, F32),
    ],
)
def test_the_fastest_format_is_taken(
    monkeypatch: pytest.MonkeyPatch, milliseconds: dict[str, float], expected: torch.dtype
) -> None:
    pretend(monkeypatch, **milliseconds)
    assert choose("auto", CPU).dtype == expected


def test_half_precision_must_win_by_a_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equally fast formats would take turns from run to run; planted: no margin."""
    for time_, found in ((0.79, BF16), (0.81, F32), (0.99, F32)):
        pretend(monkeypatch, float32=1.0, bfloat16=time_)
        precision._fastest.cache_clear()
        assert choose("auto", CPU).dtype == found
    monkeypatch.setattr(precision, "MARGIN", 1.0)
    precision._fastest.cache_clear()
    assert choose("auto", CPU).dtype == BF16


def test_a_format_that_is_offered_but_slower_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Xeon with avx512_bf16 and without AMX, by its times; planted: to go by the processor's flag."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    pretend(monkeypatch, float32=453.0, bfloat16=670.0, float16=699.0)

    def by_the_flag() -> torch.dtype:
        return BF16 if torch.cpu._is_avx512_bf16_supported() else F32

    assert choose("auto", CPU).dtype == F32 != by_the_flag()
    assert str(choose("auto", CPU)) == (
        "float32 (measured: 453.00 ms against 670.00 ms in bfloat16, 699.00 ms in float16)"
    )


def test_it_is_measured_once_for_each_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = pretend(monkeypatch, float32=1.0, bfloat16=0.5)
    for _ in range(3):
        choose("auto", CPU)
        choose("auto", CPU, learning=True)
        assert choose("float32", CPU) == (F32, "given")
    assert measured == [False, True]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    choose("auto", CPU)
    assert measured == [False, True, False]


@pytest.mark.parametrize("learning", [False, True])
def test_a_measurement_times_each_format_and_leaves_random_numbers_alone(
    learning: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "SECONDS", 60.0)  # also where the machine is busy
    before = torch.get_rng_state()
    with torch.inference_mode():
        took = precision.times((F32, BF16), CPU, learning)
    assert all(0 < t < float("inf") for t in took.values()) and set(took) == {F32, BF16}
    assert torch.equal(torch.get_rng_state(), before)


def test_the_least_time_counts_and_a_warm_up_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of our own: each call takes its format's time, every third one is held up, and the first are slow."""
    clock, calls = [0.0], {F32: 0, BF16: 0}

    def convolution(dtype: torch.dtype, *_: object):
        def call() -> None:
            calls[dtype] += 1
            slow = 50e-3 if calls[dtype] == 1 else 1e-3 if calls[dtype] % 3 == 0 else 0.0
            clock[0] += {F32: 2e-4, BF16: 1e-4}[dtype] + slow

        return call

    monkeypatch.setattr(precision, "_convolution", convolution)
    monkeypatch.setattr(precision, "SECONDS", 1.0)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    assert precision.times((F32, BF16), CPU, False) == pytest.approx({F32: 2e-4, BF16: 1e-4})
    calls.update({F32: 0, BF16: 0})
    monkeypatch.setattr(precision, "SECONDS", 0.0)
    precision.times((F32, BF16), CPU, False)
    assert calls == {F32: 1, BF16: 0}  # the first call has used it up
    calls.update({F32: 0, BF16: 0})
    monkeypatch.setattr(precision, "SECONDS", 0.04)  # the first call of a busy machine takes longer
    assert float("inf") in precision.times((F32, BF16), CPU, False).values()
    calls.update({F32: 0, BF16: 0})
    assert float("inf") not in precision.times((F32, BF16), CPU, True).values()  # training waits for it


def test_a_format_that_was_not_timed_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: to take what was timed for the fastest, though float32 was not."""
    for took in ({F32: 1e-3, BF16: float("inf")}, {F32: float("inf"), BF16: 1e-3}):
        precision._fastest.cache_clear()
        monkeypatch.setattr(precision, "offered", lambda device, learning: (F32, BF16))
        monkeypatch.setattr(precision, "times", lambda dtypes, device, learning, took=took: took)
        assert str(choose("auto", CPU)) == "float32 (not every format could be timed within 50 ms)"


def test_no_gradient_is_taken_in_float16() -> None:
    assert F16 not in precision.offered(CPU, learning=True) and precision.offered(CPU, learning=False)[0] == F32
    assert precision.offered(torch.device("meta"), learning=False) == (F32,)
    with pytest.raises(ValueError, match="precision"):
        priors.parse("dip:precision=float16")


class Seen(Network):
    """N(x) = gain x, by a convolution, whose number format is written down."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.layer, self.seen = nn.Conv2d(1, 1, 1, bias=False), []
        nn.init.constant_(self.layer.weight, gain)

    def receptive_radius(self) -> int:
        return 0

    def config(self) -> dict[str, object]:
        return {}

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        y = self.layer(x)
        self.seen.append(y.dtype)
        return y


def test_a_network_runs_in_the_format_that_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, float32=1.0, bfloat16=0.5)
    x, net = torch.rand(1, 1, 8, 8), Seen(0.5)
    for given, expected in (("auto", BF16), ("float32", F32), ("float16", F16)):
        denoiser = NetworkDenoiser(net, given)  # type: ignore[arg-type]
        with torch.autocast("cpu", torch.float16):  # what the caller's own context says does not count
            assert denoiser(x, 0.1).dtype == torch.float32
        assert net.seen[-1] == expected == denoiser.runs_in(CPU)[0].dtype


def test_what_leaves_the_range_of_float16_is_computed_in_float32() -> None:
    net, x = Seen(0.5), torch.full((1, 1, 8, 8), 3e5)
    assert torch.equal(NetworkDenoiser(net, "float16")(x, 0.1), x / 2) and net.seen == [F16, F32]


def test_priors_say_what_their_networks_run_in(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, float32=1.0, bfloat16=0.5)
    every = ("unet", "red", "projector", "dae", "dip", "unet+tv", "tv+2*dip")
    for spec in every:
        assert [c.name for c in priors.parse(spec).runs_in(CPU)] == ["bfloat16"], spec
    assert [c.name for c in Moreau(priors.parse("unet"), 0.1).runs_in(CPU)] == ["bfloat16"]
    assert {str(c) for c in priors.parse("trd").runs_in(CPU)} == {"float32 (given)"}
    assert priors.parse("tv+wavelet").runs_in(CPU) == ()


def test_the_record_of_a_solve_says_what_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, float32=4.0, bfloat16=1.5)
    for prior, expected in (
        ("unet", "bfloat16 (measured: 1.50 ms against 4.00 ms in float32)"),
        ("unet:precision=float32", "float32 (given)"),
        ("tv", None),
    ):
        command = ["pnp", "solve", "--op", "identity", "--prior", prior, "--sigma", "0.1", "--iterations", "1"]
        monkeypatch.setattr(sys, "argv", [*command, "--report", str(tmp_path)])
        main()
        record = json.loads((tmp_path / "result.json").read_text())
        assert record["precision"] == expected
        assert {"cpu", "amx", "threads"} <= set(record["environment"])


def test_a_machine_says_whether_it_has_amx(tmp_path: Path) -> None:
    """Planted: one of the two flags alone."""
    core = "processor\t: 0\nmodel name\t: Xeon {}\nflags\t\t: fpu avx512_bf16 {}\n\n"
    for flags, found in (("amx_tile amx_bf16", True), ("", False), ("amx_tile", False)):
        (tmp_path / "cpuinfo").write_text(core.format(1, flags) + core.format(2, ""))
        assert machine.processor(tmp_path / "cpuinfo") == {"cpu": "Xeon 1", "amx": found}
    there = machine.processor(tmp_path / "nowhere")
    assert there["cpu"] and there["amx"] is None
    assert {"cpu", "amx", "cpus", "threads", "torch", "pnp"} <= set(machine.environment())
