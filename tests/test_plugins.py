"""A person's own members: from a file, from a module, and from installed packages."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_cli import pnp, record

from pnp import plugins
from pnp.benchmark import keys, solving, suite
from pnp.benchmark.suite import Data
from pnp.operators import Operator
from pnp.priors import PnP, parse
from pnp.registry import DENOISERS, NOISES, OPERATORS, PRIORS, SOLVERS, STOPS, Registry, SpecError
from pnp.samples import photograph
from pnp.solvers import Solver

MINE = '''
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from pnp.noises import Gaussian, Noise
from pnp.operators import Operator
from pnp.priors import Denoiser, Prior, Tikhonov
from pnp.registry import DENOISERS
from pnp.solvers import ADMM


class Gain(Operator):
    """y = gain x."""

    def __init__(self, gain=2.0, times: int = 1):
        super().__init__()
        self.gain = gain * times

    def forward(self, x):
        return self.gain * x


class Shrink:
    """D(x, sigma) = x/(1 + strength sigma)."""

    def __init__(self, strength: float = 1.0):
        self.strength = strength

    def __call__(self, x, sigma):
        return x / (1 + self.strength * sigma)


class Twice:
    """A denoiser, two times."""

    def __init__(self, denoiser: Annotated[Denoiser, DENOISERS]):
        self.denoiser = denoiser

    def __call__(self, x, sigma):
        return self.denoiser(self.denoiser(x, sigma), sigma)


def again(denoiser: Annotated[Denoiser, DENOISERS] = "tv.0.5", nothing: Annotated[Denoiser, DENOISERS] | None = None):
    """A denoiser inside by default, and one that may be left out."""
    return denoiser if nothing is None else nothing


def ridge(weight: float = 3.0) -> Prior:
    """A prior from a function."""
    return Tikhonov()


class White(Gaussian):
    """Noise whose level has a default."""

    def __init__(self, sigma: float = 0.5):
        super().__init__(sigma)


class Flat(Noise):
    """Noise that is none: ‖u − y‖²/(2 s²) with a small s, and nothing drawn."""

    quadratic = True

    def __init__(self, level: float = 0.1):
        self.s = level

    def draw(self, u, generator):
        return u

    def value(self, u, y):
        return (u - y).flatten(1).square().sum(1) / (2 * self.s**2)

    def slope(self, u, y):
        return (u - y) / self.s**2

    def prox(self, v, y, tau):
        return (self.s**2 * v + tau * y) / (self.s**2 + tau)

    def curvature(self, y):
        return 1 / self.s**2

    def level(self, y):
        return self.s


@dataclass(frozen=True)
class Mine(ADMM):
    """ADMM under another name."""


def number():
    return 3


_hidden = Shrink
'''


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with mine.py and the package people_own, which is where we are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "people_own").mkdir()
    (tmp_path / "people_own" / "__init__.py").write_text("")
    (tmp_path / "people_own" / "nets.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("people_own", "people_own.nets"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_every_registry_takes_a_class_or_function_of_a_file_or_module(here: Path) -> None:
    for source in ("./mine.py", "people_own.nets", str(here / "mine.py"), f'"{here}/mine.py"'):
        operator = OPERATORS.build(f"{source}:Gain:3,times=2")
        assert isinstance(operator, Operator) and operator.gain == 6 and isinstance(operator.gain, float)
        assert DENOISERS.build(f"{source}:Shrink:strength=4").strength == 4
        assert type(SOLVERS.build(f"{source}:Mine:iterations=7")).__name__ == "Mine"
        assert NOISES.build(f"{source}:Flat") is not None
        assert PRIORS.build(f"{source}:ridge:weight=2").name == "Tikhonov"
    assert isinstance(SOLVERS.build("./mine.py:Mine"), Solver)


def test_a_denoiser_in_a_priors_place_is_plug_and_play(here: Path) -> None:
    prior = parse("./mine.py:Shrink:strength=4+tv").terms[0][1]
    assert isinstance(prior, PnP) and prior.denoiser.strength == 4
    x = torch.ones(1, 1, 4, 4)
    torch.testing.assert_close(prior.prox(x, 0.25), x / 3)
    red = PRIORS.build("red:denoiser=(./mine.py:Shrink:strength=4),sigma=0.5")
    torch.testing.assert_close(red.grad(x), (x - x / 3) / 0.25)
    twice = PRIORS.build("people_own.nets:Twice(./mine.py:Shrink:strength=4)")
    torch.testing.assert_close(twice.prox(x, 0.25), x / 9)
    assert DENOISERS.build("./mine.py:again").factor == DENOISERS.build("./mine.py:again:nothing=none").factor == 0.5
    assert DENOISERS.build("./mine.py:again:nothing=tv.0.7").factor == 0.7
    assert [e.name for _, e in PRIORS.members("people_own.nets:Twice(nlm)")] == ["people_own.nets:Twice", "nlm"]


@pytest.mark.parametrize(
    ("registry", "spec", "says"),
    [
        (OPERATORS, "./nothing.py:Gain", "file nothing.py does not exist"),
        (OPERATORS, "./mine.py:Gian", "unknown class or function of ./mine.py: 'Gian'. Did you mean 'Gain'"),
        (OPERATORS, "./mine.py:Gain:gian=3", "unknown option of operator './mine.py:Gain': 'gian'.* mean 'gain'"),
        (OPERATORS, "./mine.py:Gain:gain=x", "expected a number"),
        (OPERATORS, "./mine.py:Shrink", "makes a Shrink; expected pnp.operators.base.Operator"),
        (PRIORS, "./mine.py:number", "makes a int; expected pnp.priors.base.Prior"),
        (SOLVERS, "./mine.py:Gain", "makes a Gain; expected pnp.core.solver.Solver"),
        (STOPS, "./mine.py:Gain", "expected pnp.core.stopping.StopRule"),
        (PRIORS, "nobodys.nets:Gain", "cannot import nobodys.nets: No module named 'nobodys'"),
        (PRIORS, "./broken.py:Gain", "broken.py cannot be run: ZeroDivisionError"),
        (PRIORS, "./mine.py:Twice", "needs denoiser"),
    ],
)
def test_what_is_wrong_with_an_own_member_is_said(here: Path, registry: Registry, spec: str, says: str) -> None:
    (here / "broken.py").write_text("1 / 0")
    with pytest.raises(SpecError, match=says):
        registry.build(spec)


def test_own_members_solve(here: Path, capsys: pytest.CaptureFixture) -> None:
    from pnp.files import pictures

    pictures.write(here / "photo.png", photograph("camera")[..., 100:132, 200:232])
    command = ("solve", "photo.png", "--simulate", "--iterations", "2", "--lam", "1")
    own = ("--op", "./mine.py:Gain:gain=0.5,times=1", "--prior", "people_own.nets:Shrink:strength=2+tv")
    assert pnp(*command, *own, "--solver", "./mine.py:Mine", "--noise", "./mine.py:Flat") == 0, capsys.readouterr().err
    assert record()["solver"]["name"] == "Mine" and record()["sigma"]["value"] == 0.1
    white = (*command, *own, "--noise", "./mine.py:White", "--sigma", "0.02")
    assert pnp(*white) == 0 and record()["sigma"] == {"value": 0.02, "source": "given"}
    assert pnp(*command, *own, "--noise", "./mine.py:Flat", "--sigma", "0.02") == 2
    assert "Flat noise is given with its level; leave --sigma out." in capsys.readouterr().err
    assert pnp(*command, "--op", "./mine.py:Gian", "--prior", "tv") == 2
    assert "Did you mean 'Gain'" in capsys.readouterr().err


def test_the_file_of_an_own_member_is_no_target(here: Path, capsys: pytest.CaptureFixture) -> None:
    from pnp.files import pictures

    pictures.write(here / "photo.png", photograph("camera")[..., 100:132, 200:232])
    pictures.write(here / "psf, 1.png", torch.ones(1, 1, 3, 3))
    before = (here / "psf, 1.png").read_bytes()
    assert pnp("solve", "photo.png", "--op", 'blur:kernel="psf, 1.png"', "--prior", "tv", "-o", "psf, 1.png") == 2
    assert (here / "psf, 1.png").read_bytes() == before


def test_show_and_list_tell_of_own_members(here: Path, capsys: pytest.CaptureFixture) -> None:
    assert pnp("show", "./mine.py:Gain:gain=3", "-o", "op.png") == 0 and Path("op.png").is_file()
    said = capsys.readouterr().out
    assert "./mine.py:Gain (operator)" in said and "y = gain x." in said and "gain=2.0, times=1" in said
    for name, kind in (("Shrink", "denoiser"), ("ridge", "prior"), ("Flat", "noise"), ("Mine", "solver")):
        assert pnp("show", f"people_own.nets:{name}") == 0
        assert f"({kind})" in capsys.readouterr().out
    assert pnp("show", "people_own.nets:Twice(nlm)") == 0 and "inside: nlm (denoiser)" in capsys.readouterr().out
    assert pnp("show", "./mine.py:number") == 2 and "Annotate its return type" in capsys.readouterr().err
    for source in ("./mine.py", "people_own.nets"):
        assert pnp("list", source) == 0
        said = capsys.readouterr().out
        assert all(f"{source}:{name}" in said for name in ("Gain", "Shrink", "Twice", "ridge", "Flat", "Mine"))
        assert "ADMM on" not in said and "number" not in said and "hidden" not in said  # what it only imports
    assert pnp("list", "./none.py") == 2 and pnp("list", "operator") == 2
    assert "Did you mean 'operators'" in capsys.readouterr().err


def test_own_members_take_part_in_a_benchmark_and_their_source_in_its_keys(here: Path) -> None:
    tasks = [{"name": "mine", "measure": f"{here}/mine.py:Gain:gain=0.5"}]
    methods = [{"name": "shrink", "prior": "people_own.nets:Shrink", "lam": 1.0, "iterations": 2}]
    made = suite.parse({"title": "own", "tasks": tasks, "methods": methods, "sigmas": [5], "crop": 32}, "own")
    cell = next(suite.cells(made, Data.of(made, None)))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:  # another process, as Dask's are
        assert "psnr" in workers.submit(solving.solve_cell, cell, 1, False).result().columns
    before = keys.key(cell)
    for file in (here / "mine.py", here / "people_own" / "nets.py"):
        file.write_text(MINE + "# another\n")
        assert keys.key(cell) != before
        file.write_text(MINE)
        assert keys.key(cell) == before
    broken = replace(cell, method=replace(cell.method, prior="people_own.nets:Shirnk"))
    assert "Did you mean 'Shrink'" in solving.solve_cell(broken, threads=1, keep=False).columns["skipped"]


# Entry points


class Dist:
    """What is installed."""

    def __init__(self, name: str) -> None:
        self.name = name


class Point:
    """An entry point of a package."""

    def __init__(self, name: str, made: object, package: str) -> None:
        self.name, self.made, self.dist, self.value, self.module = name, made, Dist(package), "home:made", "home"

    def load(self) -> object:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


def test_installed_packages_add_members_and_a_broken_one_is_one_note(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def shrink(strength: float = 1.0) -> object:
        """A denoiser of another package."""
        return lambda x, sigma: x / (1 + strength * sigma)

    points = {
        "pnp.priors": [Point("a-bad-one", ImportError("no such library"), "pnp-broken"),
                       Point("shrink", shrink, "pnp-good"), Point("tv", shrink, "pnp-greedy")],
        "pnp.denoisers": [Point("worse", ValueError("boom"), "pnp-broken"), Point("three", 3, "pnp-number"),
                          Point("shrink", shrink, "pnp-good")],
    }  # fmt: skip
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points.get(group, []))
    monkeypatch.setattr(plugins, "_left_out", set())
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        for registry in (PRIORS, DENOISERS):
            monkeypatch.setattr(registry, "_filled", False)
            monkeypatch.setattr(registry, "_entries", dict(registry._entries))
            assert len(registry) and list(registry)
    said = [str(note.message) for note in notes]
    assert [sum(package in note for note in said) for package in ("pnp-broken", "pnp-number")] == [1, 1]
    assert "no such library" in said[0] and len(said) == 3  # the third: tv is there already
    assert isinstance(PRIORS.build("shrink:strength=3"), PnP) and "shrink" in list(DENOISERS)
    assert "a-bad-one" not in PRIORS and type(PRIORS.build("tv")).__name__ == "TV"
    assert PRIORS.build("red:denoiser=(shrink:strength=3)").sigma == 0.03
    assert pnp("list", "denoisers") == 0 and "another package" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["operators", "priors", "solvers", "noises", "denoisers"])
def test_the_groups_of_entry_points_have_the_names_of_the_kinds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pnp.cli.catalogue import registries

    asked = []
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: asked.append(group) or [])
    registry = registries()[kind]
    monkeypatch.setattr(registry, "_filled", False)
    len(registry)
    assert asked == [f"pnp.{kind}"]
