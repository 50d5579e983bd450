"""Spec strings, registries, and what every registered member must have."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch

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
    Entry,
    Registry,
    Spec,
    SpecError,
    convert,
)
from pnp.samples import photograph

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


# Building


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


def test_a_registry_is_sorted_by_rank_and_name_and_refuses_a_name_twice() -> None:
    registry = toy()
    assert list(registry) == ["ball", "box"] and len(registry) == 2 and "ball" in registry and "bal" not in registry
    for name, rank in (("zebra", 1), ("yak", 2), ("ape", 2)):
        registry.register(name, rank=rank)(lambda: None)
    assert list(registry) == ["zebra", "ape", "yak", "ball", "box"]
    assert registry["ball"].examples == ("ball",) and registry["box"].summary == "A box."
    with pytest.raises(ValueError, match="'ball' is registered twice"):
        registry.register("ball")(lambda: None)


def test_the_order_of_choice_of_the_solvers_is_their_rank() -> None:
    assert list(SOLVERS) == ["admm", "hqs", "pgd", "fista", "chambolle-pock", "condat-vu", "gd", "descent",
                             "lbfgs", "mean-shift", "fixed-point", "accelerated", "rl", "anderson", "admm-descent",
                             "direct"]  # fmt: skip
    ranks = [entry.rank for entry in SOLVERS.values()]
    assert len(set(ranks)) == len(ranks)


# Members inside members


class Halve:
    """D(x, sigma) = x/2."""

    def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return x / 2


class Seeded(Halve):
    """A denoiser that draws."""

    def __init__(self, seed: int) -> None:
        self.seed = seed


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("red:denoiser=trd.7", "red:denoiser=(trd:size=7)"),
        ("red:trd:7", "red:denoiser=(trd:size=7,stages=5)"),
        ("red:denoiser='trd:size=7,stages=5'", "red(trd:7)"),
        ("pnp:denoiser=tv.0.5", "pnp(tv:factor=0.5)"),
        ("moreau(wavelet:levels=2):mu=0.02", "moreau:prior=(wavelet:levels=2),mu=0.02"),
    ],
)
def test_a_member_inside_is_the_same_however_it_is_written(short: str, long: str) -> None:
    x = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    one, other = (p.grad(x) if "grad" in p.offers() else p.prox(x, 0.01) for p in map(PRIORS.build, (short, long)))
    assert torch.equal(one, other)
    assert not torch.equal(one, PRIORS.build("tikhonov").prox(x, 0.01))


def test_a_member_inside_takes_several_options() -> None:
    assert len(PRIORS.build("red:denoiser=(trd:size=5,stages=8),sigma=0.04").denoiser._nearest(0.1).net.stages) == 8
    with pytest.raises(SpecError, match=r"unknown option of denoiser 'trd': 'sizes'\. Did you mean 'size'"):
        PRIORS.build("red:denoiser=(trd:sizes=7)")
    with pytest.raises(SpecError, match="cannot add denoisers"):
        PRIORS.build("red:denoiser=(tv+nlm)")
    with pytest.raises(SpecError, match=r"spec in brackets\. Put quotes around it"):
        OPERATORS.build("blur:kernel=(box)")


def test_a_built_object_is_taken_as_it_is() -> None:
    halve, tv = Halve(), TV()
    assert PRIORS.build("red:sigma=0.1", denoiser=halve).denoiser is halve
    assert PRIORS.build("moreau", prior=tv).prior is tv
    assert isinstance(PRIORS.build("moreau", prior="haar").prior, InvariantWaveletL1)
    assert PRIORS.build(Spec("red", {"denoiser": Spec("tv"), "sigma": "0.2"})).sigma == 0.2


def test_a_sum_inside_is_made_and_moreau_says_that_it_has_no_prox() -> None:
    with pytest.raises(SpecError, match=r"needs a prior with a prox; 0\.5\*TV \+ InvariantWaveletL1 has none"):
        PRIORS.build("moreau:prior=(0.5*tv+haar:levels=2),mu=0.01")


def test_the_context_reaches_the_members_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DENOISERS, "_entries", {**DENOISERS._known(), "dice": Entry("dice", Seeded)})
    assert PRIORS.build("moreau(pnp:dice)", seed=7).prior.denoiser.seed == 7


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ("red", ["red", "unet"]),
        ("tv+0.5*moreau:prior=(haar+pnp:trd.7)", ["tv", "moreau", "haar", "pnp", "trd"]),
        ("dae:denoiser=(dncnn:precision=float32)", ["dae", "dncnn"]),
        ("unet", ["unet"]),
    ],
)
def test_a_registry_tells_what_stands_inside_a_spec(spec: str, names: list[str]) -> None:
    found = list(PRIORS.members(spec))
    assert [entry.name for _, entry in found] == names
    assert all(registry is (DENOISERS if entry.name in ("trd", "dncnn") else registry) for registry, entry in found)


def test_a_network_is_chosen_when_the_picture_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the grey network, channel by channel, is worse on colour and must not be what is taken."""
    from pnp.metrics import psnr
    from pnp.priors.network import ByColour, shipped

    clean = photograph("astronaut")[..., 100:196, 180:276]
    sigma = 25 / 255
    y = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    late, at_once = DENOISERS.build("unet"), DENOISERS.build("unet", shape=(3, 96, 96))
    colour, grey = (float(psnr(shipped(f"unet-{shade}")(y, sigma), clean)) for shade in ("colour", "grey"))
    assert float(psnr(late(y, sigma), clean)) == float(psnr(at_once(y, sigma), clean)) == colour > grey + 0.5
    assert torch.equal(late(y[:, :1], sigma), shipped("unet-grey")(y[:, :1], sigma))
    assert torch.equal(PRIORS.build("pnp").prox(y, sigma**2), late(y, sigma))
    monkeypatch.setattr(ByColour, "network", lambda self, channels: shipped(f"{self.architecture}-grey"))
    assert float(psnr(late(y, sigma), clean)) == grey


def test_a_gradient_step_runs_its_network_in_full_precision() -> None:
    def precision(spec: str) -> str:
        return PRIORS.build(spec).denoiser.precision  # type: ignore[attr-defined]

    assert precision("dae:form=gradient-step") == precision("dae:form=gradient-step,denoiser=dncnn") == "float32"
    assert precision("dae:gradient-step,denoiser=unet.bfloat16") == "bfloat16" and precision("dae") == "auto"


# A first look fills a registry


@pytest.mark.parametrize(
    "code",
    [
        "from pnp.registry import DENOISERS; print(DENOISERS.build('trd:noise=poisson') is not None)",
        "import pnp; print('blur' in pnp.registry.OPERATORS)",
        "from pnp.registry import SOLVERS; print(next(iter(SOLVERS)) == 'admm')",
        "from pnp.registry import STOPS, NOISES; print(len(STOPS) >= 6 and len(NOISES) >= 3)",
        "from pnp.registry import PRIORS; print('deepinv' in PRIORS)",
        "from pnp.registry import PRIORS; import sys; print('torch' not in sys.modules)",
    ],
)
def test_a_registry_fills_itself_at_the_first_look(code: str) -> None:
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "True\n"


def test_a_home_that_fails_is_asked_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    registry: Registry = Registry("toy", homes=("late_home_of_toys",))
    for _ in range(2):
        with pytest.raises(ImportError):
            len(registry)
    (tmp_path / "late_home_of_toys.py").write_text("")
    importlib.invalidate_caches()
    assert len(registry) == 0


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
    [("tv+harr", "Did you mean 'haar'"), ("x*tv", "'x' .* not a weight"), ("tv+", "empty spec"), ("0*tv", "above 0"),
     ("-1*tv", "above 0"), ("1/0*tv", "not a weight")],
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
