"""Spec strings, registries, and what every registered member must have."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Literal

import pytest
import torch

import pnp.core.stopping  # noqa: F401
from pnp.citations import bibtex
from pnp.core.schedules import Geometric
from pnp.operators.kernels import KERNELS
from pnp.priors import TV, InvariantWaveletL1, Sum, parse
from pnp.registry import (
    DENOISERS,
    NOISES,
    OPERATORS,
    PRIORS,
    SOLVERS,
    STOPS,
    Registry,
    Spec,
    SpecError,
    convert,
    number,
)

ALL = {"operator": OPERATORS, "kernel": KERNELS, "prior": PRIORS, "denoiser": DENOISERS, "solver": SOLVERS,
       "noise": NOISES, "stop rule": STOPS}  # fmt: skip
MEMBERS = [(kind, name) for kind, registry in ALL.items() for name in registry]
EXAMPLES = [(kind, spec) for kind, registry in ALL.items() for name in registry for spec in registry[name].examples]
CONTEXT = {"shape": (3, 18, 17), "seed": 0, "factor": 2}


def toy() -> Registry:
    registry = Registry("toy")

    @registry.register("ball", cite=("tikhonov1963",))
    @dataclasses.dataclass
    class Ball:
        """A ball."""

        radius: float = 1.0
        colour: Literal["red", "blue"] = "red"
        bounces: int | None = None
        hollow: bool = False
        label: str = ""
        shape: tuple[int, int, int] | None = None

    @registry.register("box", examples=("box:width=2",))
    def box(width: int, seed: int = 0) -> tuple[int, int]:
        """A box."""
        return width, seed

    return registry


# Spec strings


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("tv", Spec("tv", {})),
        (" tv ", Spec("tv", {})),
        ("tv:", Spec("tv", {})),
        ("tv:tol=1e-3,isotropic = false", Spec("tv", {"tol": "1e-3", "isotropic": "false"})),
        ("deepinv:TVDenoiser", Spec("deepinv", {}, "TVDenoiser")),
        ("mask:a/b.png,keep=0.5", Spec("mask", {"keep": "0.5"}, "a/b.png")),
        ("blur:kernel=C:/psf=1.png", Spec("blur", {"kernel": "C:/psf=1.png"})),
    ],
)
def test_a_spec_is_a_name_and_options(text: str, spec: Spec) -> None:
    assert Spec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "says"), [("", "empty spec"), (":a=1", "empty spec"), ("tv:a=1,b", "'b' .* no value")]
)
def test_a_spec_that_cannot_be_read_is_refused(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Spec.parse(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bal", "unknown toy 'bal'. Did you mean 'ball'. Known: ball, box"),
        ("zzz", "unknown toy 'zzz'. Known: ball, box"),
        ("ball:radios=1", "unknown option of toy 'ball': 'radios'. Did you mean 'radius'"),
        ("ball:radius=big", "ball:radius='big': expected a number"),
        ("ball:radius=1/0", "ball:radius='1/0': expected a number"),
        ("ball:bounces=1.5", "ball:bounces='1.5': expected a whole number or none"),
        ("ball:hollow=perhaps", "ball:hollow='perhaps': expected true or false"),
        ("ball:colour=rad", "ball:colour: 'rad'. Did you mean 'red'. Known: blue, red"),
        ("box", "toy 'box' needs width: box:width=..."),
        ("ball:radius=1,radius=2", "radius.* twice"),
        ("ball:1,radius=2", "radius.* twice"),
    ],
)
def test_a_wrong_spec_is_one_clear_error(text: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        toy().build(text)


def test_an_unknown_value_of_an_optional_choice_names_the_known_ones() -> None:
    with pytest.raises(SpecError, match=r"center.*corner"):
        OPERATORS.build("downsample:align=centre", **CONTEXT)


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("25/255", float, 25 / 255),
        ("1e-3", float, 1e-3),
        ("7", float, 7.0),
        ("7", int, 7),
        ("none", int | None, None),
        ("None", str | None, None),
        ("7", str, "7"),
        ("7", str | int, 7),
        ("yes", bool, True),
        ("ON", bool, True),
        ("1", bool, True),
        ("False", bool, False),
        ("off", bool, False),
        ("b", Literal["a", "b"], "b"),
        ("b", Literal["a", "b"] | None, "b"),
        ("0.1..0.001", float | Geometric, Geometric(0.1, 0.001)),
        ("25/255..1/255@8", float | Geometric | None, Geometric(25 / 255, 1 / 255, 8)),
    ],
)
def test_text_becomes_the_value_that_its_hint_wants(text: str, hint: object, value: object) -> None:
    got = convert(text, hint, "here")
    assert got == value and type(got) is type(value)


def test_numbers_and_their_ratios() -> None:
    assert number("25/255") == 25 / 255 and number("-2") == -2
    with pytest.raises(ValueError):
        number("a/b")


def test_the_first_value_needs_no_key() -> None:
    registry = toy()
    assert registry.build("ball:2,colour=blue") == registry.build("ball:radius=2,colour=blue")
    with pytest.raises(SpecError, match="takes no options"):
        OPERATORS.build("identity:3")


def test_context_goes_to_the_parameters_of_that_name_and_a_spec_overrides_it() -> None:
    registry = toy()
    assert registry.build("ball", shape=(1, 2, 3), seed=5).shape == (1, 2, 3)
    assert registry.build("box:width=2", shape=(1, 2, 3), seed=5) == (2, 5)
    assert registry.build("box:width=2,seed=6", seed=5) == (2, 6)
    assert registry.build("box", width=4, nobody="asks") == (4, 0)


def test_a_value_that_only_the_caller_knows_is_no_option() -> None:
    with pytest.raises(SpecError, match="shape"):
        OPERATORS.build("mask:shape=3", **CONTEXT)


def test_a_registry_keeps_its_order_and_refuses_a_name_twice() -> None:
    registry = toy()
    assert list(registry) == ["ball", "box"] and len(registry) == 2 and "ball" in registry and "bal" not in registry
    assert registry["ball"].examples == ("ball",) and registry["box"].summary == "A box."
    with pytest.raises(ValueError, match="'ball' is registered twice"):
        registry.register("ball")(lambda: None)


# Sums of priors


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("tv+haar", (1, 1)),
        ("tv+0.5*haar:levels=2", (1, 0.5)),
        ("1/4*tv + 2*haar:levels=2", (0.25, 2)),
        ("1e+3*tv+1E+1*haar", (1000, 10)),
        ("1e-3*tv+haar:levels=2+l1", (1e-3, 1, 1)),
        ("0.5*tv", (0.5,)),
    ],
)
def test_a_sum_of_priors_has_its_weights(text: str, weights: tuple[float, ...]) -> None:
    prior = parse(text)
    assert isinstance(prior, Sum) and tuple(w for w, _ in prior.terms) == weights
    assert isinstance(prior.terms[0][1], TV)
    if "haar" in text:
        assert isinstance(haar := prior.terms[1][1], InvariantWaveletL1) and haar.levels == (
            2 if "levels" in text else 3
        )


def test_one_prior_is_no_sum_even_with_a_plus_in_a_number() -> None:
    assert isinstance(parse("tv"), TV) and parse("moreau:mu=1e+2").mu == 100


@pytest.mark.parametrize(
    ("text", "says"),
    [("tv+harr", "Did you mean 'haar'"), ("x*tv", "'x' .* no weight"), ("tv+", "empty spec"), ("0*tv", "above 0"),
     ("-1*tv", "above 0"), ("1/0*tv", "no weight")],
)  # fmt: skip
def test_a_wrong_sum_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(text)


# Every member


def test_no_registry_is_empty() -> None:
    assert all(len(registry) >= 2 for registry in ALL.values()) and len(EXAMPLES) >= len(MEMBERS) > 20


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_every_member_has_a_summary_and_known_citations(kind: str, name: str) -> None:
    entry = ALL[kind][name]
    assert len(entry.summary) > 10 and not entry.summary.startswith(f"{entry.make.__name__}(")  # no generated docstring
    assert bibtex(entry.cite).count("@") == len(entry.cite)
    assert entry.examples


def test_an_unknown_citation_is_refused_and_each_is_given_once() -> None:
    with pytest.raises(KeyError):
        bibtex(["nobody1900"])
    assert bibtex(["beck2009", "vu2013", "beck2009"]).count("@article") == 2


@pytest.mark.parametrize(("kind", "spec"), EXAMPLES)
def test_every_example_is_buildable(kind: str, spec: str) -> None:
    if "deepinv" in spec:
        pytest.importorskip("deepinv")
    assert Spec.parse(spec).name in ALL[kind]
    assert ALL[kind].build(spec, **CONTEXT) is not None


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_settings_are_frozen_and_refuse_unknown_names(name: str) -> None:
    solver = SOLVERS.build(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        solver.iterations = 3
    with pytest.raises(TypeError):
        SOLVERS[name].make(taw=1.0)


def test_the_registry_alone_imports_no_torch() -> None:
    code = "import sys, pnp.registry; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# Schedules


def test_a_geometric_schedule_is_log_spaced_and_then_constant() -> None:
    schedule = Geometric(1.0, 0.01, 3)
    assert [schedule(k) for k in range(5)] == pytest.approx([1, 0.1, 0.01, 0.01, 0.01])


def test_a_schedule_of_tensors_has_one_value_for_each_image() -> None:
    ends = torch.tensor([1.0, 0.25]).view(2, 1, 1, 1), torch.tensor([0.01, 1.0]).view(2, 1, 1, 1)
    torch.testing.assert_close(Geometric(*ends, 3)(1).flatten(), torch.tensor([0.1, 0.5]))


@pytest.mark.parametrize("text", ["0.1", "..1", "1..", "0..1", "1..-1", "1..2@", "1..2@x"])
def test_a_wrong_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Geometric.from_text(text)
