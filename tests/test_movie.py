"""Movies: the recursion over frames, cells whose tracks are known, and going on from a checkpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from cells import Movie, cells, centres, miss
from test_cli import pnp
from torch import Tensor

from pnp import priors
from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.result import Memory, Result
from pnp.core.stopping import Discrepancy, ExponentialVariance, Plateau, WindowedVariance
from pnp.files import pictures
from pnp.jobs import Job, Restoration, checkpoint, run
from pnp.jobs.movie import restore_movie
from pnp.metrics import psnr
from pnp.parameters import rules
from pnp.registry import OPERATORS
from pnp.solvers import Descent

SPEC = "dip:width=32,depth=3,precision=float32"
SOLVER = "gd:optimizer=Adam,lr=0.02,average=0.9"
HALF = OPERATORS.build("downsample:factor=2")


@pytest.fixture(scope="module")
def movie() -> Movie:
    return cells(frames=16, side=40, count=4)


def measured(movie: Movie, sigma: float) -> Tensor:
    y = HALF(movie.frames)
    return y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))


# The movie of cells


def test_the_cells_are_where_their_tracks_say(movie: Movie) -> None:
    for t in (0, 7, 15):
        found = centres(movie.frames[t, 0])
        assert len(found) == 4 and miss(found, movie.tracks[t]) < 0.1
        assert miss(found, movie.tracks[(t + 8) % 16]) > 0.5  # planted: the tracks of another frame
    moved = (movie.tracks[1:] - movie.tracks[:-1]).norm(dim=2)
    assert 0 < float(moved.max()) < 2 and movie.frames.shape == (16, 1, 40, 40)


def test_a_movie_is_its_seed() -> None:
    one, same, other = (cells(frames=2, side=24, count=2, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.frames, same.frames) and torch.equal(one.tracks, same.tracks)
    assert not torch.equal(one.frames, other.frames)


# The recursion


def test_a_frame_after_another_takes_a_third_of_the_iterations_from_scratch(movie: Movie) -> None:
    y, prior = measured(movie, 0.02), priors.parse(SPEC, shape=(1, 40, 40))

    def run(t: int, iterations: int, after: Memory | None = None) -> Result:
        solver = Descent(optimizer="Adam", lr=0.02, average=0.9, iterations=iterations)
        return solve(Problem(HALF, y[t : t + 1], prior, sigma=0.02), solver, stop=(), record=(), after=after)

    first = run(0, 240)
    scratch, recursive = run(1, 180), run(1, 60, first.memory)
    reached = [float(psnr(result.x, movie.frames[1:2])) for result in (scratch, recursive)]
    assert reached[1] >= reached[0] > 25
    forgetful = run(1, 60)  # planted: the same iterations from nothing
    assert float(psnr(forgetful.x, movie.frames[1:2])) < reached[0] - 1


def test_tracks_on_the_restored_movie_are_nearer_the_truth(movie: Movie) -> None:
    y = measured(movie, 0.1)[:3]
    job = Job(operator="downsample:factor=2", prior=SPEC, solver=SOLVER, sigma=0.1, iterations=80)
    done = restore_movie(job, y, truth=movie.frames[:3])
    small = [miss(2 * centres(frame[0]) + 0.5, track) for frame, track in zip(y, movie.tracks[:3], strict=True)]
    restored = [miss(centres(x[0]), track) for x, track in zip(done.restored, movie.tracks[:3], strict=True)]
    assert sum(restored) < 0.85 * sum(small)
    assert len(done.record.iterations) == 3 and done.record.iterations[2] < done.record.iterations[0]
    assert all(psnr > before for psnr, before in zip(*(done.record.metrics[k] for k in ("psnr", "psnr_initial")),
                                                     strict=True))  # fmt: skip


def test_the_moments_keep_a_descent_from_leaping(movie: Movie) -> None:
    y = measured(movie, 0.02)[:1]
    problem = Problem(HALF, y, priors.parse(f"{SPEC},noise=0", shape=(1, 40, 40)), sigma=0.02)
    solver = Descent(optimizer="Adam", lr=0.02, iterations=40)
    first = solve(problem, solver, stop=())
    on, leaping = (
        solve(problem, solver, iterations=1, stop=(), after=Memory(first.memory.learned, carried))
        for carried in (first.memory.solver, {})
    )
    assert problem.residual(on.x) < 1.2 * problem.residual(first.x)
    assert problem.residual(leaping.x) > 1.5 * problem.residual(first.x)


@pytest.mark.parametrize("simulate", [False, True])
def test_the_operator_of_a_movie_is_one_and_its_simulated_noise_is_not(
    movie: Movie, simulate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the seed that each frame had, with which a random matrix is another one in each."""
    done: list[Restoration] = []
    monkeypatch.setattr("pnp.jobs.movie.run", lambda *a, **k: done.append(run(*a, **k)) or done[-1])
    frames = movie.frames[:1].expand(3, -1, -1, -1)[..., :16, :16]
    op = "sensing:ratio=0.5"
    job = Job(operator=op, prior="dip:width=8,depth=2", sigma=0.01, seed=3, iterations=2, simulate=simulate)
    if not simulate:
        frames = OPERATORS.build(op, shape=(1, 16, 16), seed=3)(frames)
        job = replace(job, size=(1, 16, 16))
    joined = restore_movie(job, frames)
    problems = [d.result.problem for d in done]
    x = movie.frames[:1, :, :16, :16]
    assert all(torch.equal(p.operator(x), problems[0].operator(x)) for p in problems)
    assert torch.equal(problems[1].y, problems[2].y) != simulate
    assert joined.record.job["seed"] == 3 and joined.record.job["operator"] == op
    other = OPERATORS.build(op, shape=(1, 16, 16), seed=4)
    assert not torch.allclose(other(x), problems[0].operator(x), atol=1e-3)


def test_a_time_limit_is_of_the_whole_movie(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three frames that take 1, 5 and 2 of 9 seconds; planted: the same limit for each would be 9, 9, 9."""
    limits: list[float | None] = []

    def timed(job: Job, *rest: Any, **settings: Any) -> Restoration:
        limits.append(job.seconds)
        return run(replace(job, seconds=None), *rest, **settings)

    now = iter([0.0, 0.0, 1.0, 6.0])
    monkeypatch.setattr("pnp.jobs.movie.time", SimpleNamespace(perf_counter=lambda: next(now)))
    monkeypatch.setattr("pnp.jobs.movie.run", timed)
    job = Job("downsample:factor=2", "dip:width=8,depth=2", sigma=0.02, seconds=9, iterations=2)
    done = restore_movie(job, measured(movie, 0.02)[:3])
    assert limits == [3, 4, 3] and done.record.job["seconds"] == 9 and done.record.iterations == [2, 2, 2]


def test_frames_that_no_time_is_left_for_stay_the_plain_guess(movie: Movie, monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 0.0, 50.0])
    monkeypatch.setattr("pnp.jobs.movie.time", SimpleNamespace(perf_counter=lambda: next(now)))
    y = measured(movie, 0.02)[:3]
    job = Job("downsample:factor=2", "dip:width=8,depth=2", sigma=0.02, seconds=40, iterations=3)
    done = restore_movie(job, y, truth=movie.frames[:3])
    assert done.record.iterations == [3, 0, 0] and done.record.status == ["limit"] * 3
    assert done.record.reason[1:] == ["time limit of 40 s for the movie"] * 2
    assert torch.equal(done.restored[1:], done.initial[1:]) and not torch.equal(done.restored[:1], done.initial[:1])
    assert done.record.metrics["psnr"][1:] == done.record.metrics["psnr_initial"][1:]
    monkeypatch.undo()
    expected = restore_movie(replace(job, seconds=None), y, truth=movie.frames[:3])
    assert torch.equal(done.initial, expected.initial) and done.truth is not None and expected.truth is not None
    assert torch.equal(done.truth, expected.truth)
    assert done.record.metrics["ssim_initial"] == pytest.approx(expected.record.metrics["ssim_initial"])


def test_the_memory_of_a_movie_is_that_of_its_last_frame(movie: Movie) -> None:
    y = measured(movie, 0.02)[:2]
    job = Job("downsample:factor=2", "dip:width=8,depth=2", sigma=0.02, iterations=5)
    memory = restore_movie(job, y).result.memory
    assert memory.y is not None and torch.equal(memory.y, y[1:])
    first = run(job, y[:1])
    last = run(job, y[1:], after=first.result.memory).result.memory
    assert all(torch.equal(v, last.learned[k]) for k, v in memory.learned.items())
    assert any(not torch.equal(v, first.result.memory.learned[k]) for k, v in memory.learned.items())  # planted


def test_the_average_of_a_movie_begins_anew_in_each_frame(movie: Movie) -> None:
    """Planted: the average that goes on, as it does for the same frame, shows the frame before."""
    y, prior = measured(movie, 0.02), priors.parse(SPEC, shape=(1, 40, 40))
    solver = Descent(optimizer="Adam", lr=0.02, average=0.99, iterations=60)

    def run(t: int, after: Memory | None = None) -> Result:
        return solve(Problem(HALF, y[t : t + 1], prior, sigma=0.02), solver, stop=(), record=(), after=after)

    first = run(0)
    anew = run(4, first.memory)
    old = run(4, replace(first.memory, y=y[4:5]))
    scores = [float(psnr(result.x, movie.frames[4:5])) for result in (anew, old)]
    assert scores[0] > scores[1]


def test_rules_wait_less_where_a_solve_starts_near_its_end() -> None:
    assert WindowedVariance(40, 100).sooner(4) == WindowedVariance(10, 25)
    assert ExponentialVariance(0.1, 100).sooner(4) == ExponentialVariance(0.4, 25)
    assert ExponentialVariance(0.8, 100).sooner(1) == ExponentialVariance(0.8, 100)
    assert Plateau("residual", 20).sooner(4) == Plateau("residual", 5)
    assert Discrepancy(0.9).sooner(4) == Discrepancy(0.9)


FEW = "admm-descent:within=0.975,inner=1"


def test_later_frames_have_fewer_iterations_where_nothing_else_ends_them(
    movie: Movie, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(operator="downsample:factor=2", prior="dip:width=8,depth=2+nlm", sigma=0.02)
    rule = rules.find(priors.parse(job.prior, shape=(1, 40, 40)), HALF)
    assert rule is not None and not rule.stop
    monkeypatch.setattr(rules, "find", lambda prior, *rest: replace(rule, solver=FEW, iterations=8))
    assert restore_movie(job, measured(movie, 0.02)[:3]).record.iterations == [8, 2, 2]
    for given in (replace(job, iterations=3), replace(job, solver=f"{FEW},iterations=3")):
        assert restore_movie(given, measured(movie, 0.02)[:2]).record.iterations == [3, 3]


# The command


FAST = ("--op", "downsample:factor=2", "--prior", "dip:width=8,depth=2", "--sigma", "0.02", "--iterations", "4")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, movie: Movie) -> Path:
    monkeypatch.chdir(tmp_path)
    pictures.write("movie.tif", measured(movie, 0.02)[:3])
    pictures.write("one.tif", measured(movie, 0.02)[:1])
    return tmp_path


def test_a_movie_comes_back_as_a_movie(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert pnp("solve", "movie.tif", *FAST, "--recursive") == 0
    assert pictures.read("movie-restored.tif").pixels.shape == (3, 1, 40, 40)
    record = json.loads(Path("movie-restored-report/result.json").read_text())
    assert record["iterations"] == [4, 4, 4] and record["job"]["recursive"] is True
    assert "page 3" in capsys.readouterr().out
    same = ("solve", "movie.tif", *FAST, "--op", "identity")  # alone or in a batch the same bits on every machine
    assert pnp(*same, "--recursive", "-o", "recursive.tif") == pnp(*same, "-o", "apart.tif") == 0
    apart, recursive = pictures.read("apart.tif").pixels, pictures.read("recursive.tif").pixels
    assert torch.equal(apart[0], recursive[0]) and not torch.allclose(apart[1], recursive[1], atol=1e-3)


@pytest.mark.parametrize("where", ["step", "between"])
@pytest.mark.parametrize("simulate", [False, True])
def test_an_interrupt_keeps_the_frames_that_are_done(
    folder: Path, where: str, simulate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the steps of the second frame, or before them; the movie has an alpha channel, one for each frame."""
    pixels = measured(cells(frames=16, side=40, count=4), 0.02)[:3]
    stored = (torch.cat([pixels, torch.ones_like(pixels)], 1).clamp(0, 1) * 65535).permute(0, 2, 3, 1).numpy()
    kind = {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]}
    tifffile.imwrite("alpha.tif", stored.astype(np.uint16), **kind)
    assert pictures.read("alpha.tif").alpha is not None
    arguments = ["solve", "alpha.tif", *FAST, "--recursive", *(["--simulate"] if simulate else [])]
    calls = []

    def interrupted(self: Descent, problem: Problem, *rest: object) -> object:
        calls.append(1)
        if len(calls) == (7 if where == "step" else 5):
            raise KeyboardInterrupt
        return original(self, problem, *rest)

    name = "step" if where == "step" else "init"
    original = getattr(Descent, name)
    if where == "between":
        calls = [1] * 3  # the second call of init
    monkeypatch.setattr(Descent, name, interrupted)
    assert pnp(*arguments) == 130
    record = json.loads(Path("alpha-restored-report/result.json").read_text())
    reached = 2 if where == "step" else 1
    assert record["iterations"] == ([4, 2, 0] if where == "step" else [4, 0, 0])
    assert record["status"] == ["limit", *["interrupted"] * 2]
    cut = pictures.read("alpha-restored.tif")
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    saved = torch.load("alpha-restored-report/checkpoint.pt", weights_only=True)
    assert pnp(*arguments) == 0
    whole = pictures.read("alpha-restored.tif")
    assert cut.pixels.shape == whole.pixels.shape and cut.alpha is not None
    assert torch.equal(cut.pixels[0], whole.pixels[0]) and not torch.equal(cut.pixels[2], whole.pixels[2])
    if not simulate:
        assert torch.equal(saved["memory"]["y"], pictures.read("alpha.tif").pixels[reached - 1 : reached])


def test_a_wrong_movie_is_one_clear_line(folder: Path, capsys: pytest.CaptureFixture) -> None:
    with tifffile.TiffWriter("odd.tif") as tif:
        for side in (24, 20):
            tif.write(np.zeros((side, side), np.float32))
    for arguments, says in [
        (("odd.tif", *FAST, "--recursive"), "pages differ in size"),
        (("one.tif", *FAST, "--recursive"), "two frames or more"),
        (("movie.tif", "--op", "identity", "--prior", "tv", "--recursive"), "a prior that learns"),
        (("movie.tif", *FAST, "--recursive", "--resume"), "--resume works with one picture"),
        (("one.tif", *FAST, "--resume"), "there is no checkpoint"),
    ]:
        assert pnp("solve", *arguments) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert says in error[-1], error


def test_a_run_is_resumed_from_its_checkpoint(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def residual() -> float:
        return json.loads(Path("one-restored-report/result.json").read_text())["residual_over_noise"][0]

    long = ("one.tif", *FAST[:-1], "40", "--solver", "gd:optimizer=Adam,lr=0.01,average=0.8")
    assert pnp("solve", *long) == 0
    first = residual()
    assert pnp("solve", *long, "--resume") == 0
    assert residual() < 0.93 * first
    assert pnp("solve", *long) == 0  # planted: without it the run starts over
    assert residual() == pytest.approx(first)
    for option, was, given, says in [
        ("--prior", "dip:width=8,depth=2", "dip:width=8,depth=3", "of prior dip:width=8,depth=2, not of dip:"),
        ("--op", "downsample:factor=2", "identity", "of operator downsample:factor=2, not of identity"),
        ("--sigma", "0.02", "0.03", "of sigma 0.02, not of 0.03"),
        ("--solver", long[-1], "gd:optimizer=RMSprop,lr=0.01", "from optimizer Adam, not RMSprop"),
    ]:  # fmt: skip
        other = [*long]
        assert other[other.index(option) + 1] == was
        other[other.index(option) + 1] = given
        assert pnp("solve", *other, "--resume") == 2
        assert says in capsys.readouterr().err.strip().splitlines()[-1]
    assert pnp("solve", *long, "--lam", "2", "--resume") == 2
    assert "of lam None, not of 2.0" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "OPTIONS", (*checkpoint.OPTIONS, "tol"))
        assert pnp("solve", *long, "--resume") == 2
    assert "another version" in capsys.readouterr().err
    pictures.write("one.tif", pictures.read("movie.tif").pixels[1:2])
    assert pnp("solve", *long, "--resume") == 2
    assert "is of another picture" in capsys.readouterr().err
    assert pnp("solve", *long) == 0
    assert pnp("solve", *long, "--solver", "gd:optimizer=Adam,lr=0.002,average=0.8", "--resume") == 0
    Path("one-restored-report/checkpoint.pt").write_bytes(b"nothing")
    assert pnp("solve", *long, "--resume") == 2
    assert "it is not a checkpoint" in capsys.readouterr().err


def test_a_solve_that_could_not_be_gone_on_with_leaves_no_checkpoint(folder: Path) -> None:
    once = ("solve", "one.tif", "--op", "identity", "--prior", "red:denoiser=nlm", "--iterations", "2")
    assert pnp(*once) == 0 and not Path("one-restored-report/checkpoint.pt").exists()
    assert pnp(*once, "--resume") == 2
