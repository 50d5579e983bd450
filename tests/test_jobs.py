"""A job of objects: what `pnp solve` does with specs, `pnp.restore` does with objects and arrays."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import pnp
from pnp import noises, operators, priors, solvers
from pnp.files import pictures
from pnp.jobs import Job, run, settle
from pnp.jobs.job import _operator as operator_of
from pnp.jobs.job import as_pixels
from pnp.jobs.record import objective_of
from pnp.registry import SOLVERS, Entry, SpecError
from pnp.samples import photograph

KERNEL = operators.kernels.gaussian(1.2, 7)


def camera(side: int = 64) -> Tensor:
    return photograph("camera")[..., 100 : 100 + side, 200 : 200 + side]


def blurred(sigma: float = 0.02) -> tuple[Tensor, Tensor]:
    """(measured, truth): the valid part of a blurred photograph, with noise."""
    truth, a = camera(), operators.ValidBlur(KERNEL)
    return noises.Gaussian(sigma).draw(a(truth), torch.Generator().manual_seed(0)), truth


def test_objects_and_specs_restore_alike() -> None:
    y, truth = blurred()
    by_specs = pnp.restore(y, operator="blur:kernel=gaussian,std=1.2,size=7", prior="tv", truth=truth)
    by_objects = pnp.restore(y, operator=operators.ValidBlur(KERNEL), prior=priors.TV(), solver=solvers.ADMM(),
                             truth=truth)  # fmt: skip
    torch.testing.assert_close(by_objects.restored, by_specs.restored)
    for done in (by_specs, by_objects):
        record = done.record
        assert record.sigma.source == "estimated" and float(record.sigma.value) == pytest.approx(0.02, rel=0.1)  # type: ignore[arg-type]
        assert record.lam.source.startswith("discrepancy") and record.noise == "white Gaussian"
        assert record.metrics is not None and record.metrics["psnr"][0] > record.metrics["psnr_initial"][0] + 0.5
        assert record.residual_over_noise is not None and record.residual_over_noise[0] == pytest.approx(0.97, abs=0.02)
    assert by_specs.record.job["operator"] == "blur:kernel=gaussian,std=1.2,size=7"
    assert by_objects.record.job["operator"] == "ValidBlur" and by_objects.record.job["prior"] == "TV"


def test_any_denoiser_is_a_prior_and_a_network_is_the_one_for_the_picture() -> None:
    y, _ = blurred()
    own = pnp.restore(y, operator=operators.ValidBlur(KERNEL), prior=lambda x, sigma: x / (1 + sigma), sigma=0.02)
    assert own.record.job["prior"] == "<lambda>" and own.restored.shape == y.shape
    assert float((own.restored - y).abs().mean()) > 0.01
    colour = photograph("astronaut")[..., 100:164, 180:244]
    noisy = colour + 0.1 * torch.randn(colour.shape, generator=torch.Generator().manual_seed(0))
    grey = priors.PnP(priors.network.shipped("unet-grey"))  # type: ignore[attr-defined]
    scores = {}
    for name, prior in (("unet", "unet"), ("grey", grey)):
        record = pnp.restore(noisy, operator="identity", prior=prior, sigma=0.1, truth=colour).record
        assert record.metrics is not None
        scores[name] = record.metrics["psnr"][0]
    assert scores["unet"] > scores["grey"] + 1


def test_a_picture_comes_back_in_the_kind_it_came_in() -> None:
    x = camera(40)[0, 0].double()
    colour = photograph("astronaut")[0, :, 100:140, 180:220]
    kinds: dict[str, Any] = {
        "uint8": (x * 255).round().to(torch.uint8).numpy(),
        "uint16": (x * 65535).round().numpy().astype(np.uint16),
        "float32": x.float().numpy(),
        "float64": x.numpy(),
        "colour": (colour * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(),
        "one channel": x.float().numpy()[..., None],
        "tensor": x.float(),
        "CHW": colour,
        "bytes": (x * 255).round().to(torch.uint8),
    }
    for name, picture in kinds.items():
        before = picture.copy() if isinstance(picture, np.ndarray) else picture.clone()
        made = pnp.restore(picture, operator="identity", prior="tv", sigma=0.05, lam=8).picture
        assert type(made) is type(picture) and made.dtype == picture.dtype and made.shape == picture.shape, name
        assert bool((picture == before).all()), name
        scale = {"uint8": 255, "colour": 255, "bytes": 255, "uint16": 65535}.get(name, 1)
        as_float = np.asarray(made, dtype=float) / scale
        assert 0.005 < np.abs(as_float - np.asarray(picture, dtype=float) / scale).mean() < 0.1, name


@pytest.mark.parametrize(("picture", "error"), [
    (np.zeros((4, 5, 7), np.uint8), ValueError), (np.zeros(5, np.float32), ValueError), ([[1.0]], TypeError),
    (np.zeros((8, 8), bool), TypeError), (torch.zeros(5), ValueError),
    (torch.zeros(8, 8, dtype=torch.complex64), TypeError), (np.full((8, 8), np.nan), ValueError),
])  # fmt: skip
def test_what_is_no_picture_is_refused(picture: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        pnp.restore(picture, operator="identity", prior="tv", sigma=0.1)


def test_the_way_to_pixels_and_back_is_one_affine_map() -> None:
    for picture in (np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.random.default_rng(0).random((3, 4, 3))):
        pixels, back = as_pixels(picture)[:2]
        assert pixels.shape == (1, 1 if picture.ndim == 2 else 3, 3, 4)
        assert np.array_equal(back(pixels), picture)


def test_the_rise_of_the_objective_is_the_largest_as_a_share_of_the_fall() -> None:
    y, _ = blurred()
    result = run(Job(operators.ValidBlur(KERNEL), "tv", sigma=0.02, lam=5.0, iterations=2), y).result
    values = torch.tensor([[10.0, 7.0], [4.0, 5.0], [5.0, 4.0], [2.0, 3.0]])  # (iterations, images)
    assert objective_of(replace(result, history={"objective": values})) == {
        "first": [10.0, 7.0], "last": [2.0, 3.0], "rise": [0.125, 0.0]
    }  # fmt: skip


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_the_largest_integer_is_white(dtype: str) -> None:
    white = np.full((2, 3), np.iinfo(dtype).max, dtype)
    for picture in (white, torch.from_numpy(white)):
        assert bool((as_pixels(picture)[0] == 1).all())


def test_clipping_is_named_in_the_record_and_can_be_switched_off() -> None:
    truth = (camera(96) - 0.2).clamp(0, 1)
    y = noises.ClippedGaussian(0.15).draw(truth, torch.Generator().manual_seed(0))
    found: dict[str, Any] = {
        str(noise): pnp.restore(y, operator="identity", prior="tv", noise=noise, sigma=0.15, lam=6)
        for noise in (None, "clipped", "gaussian")
    }
    assert "clipped to black or white in" in found["None"].record.noise
    assert torch.equal(found["None"].restored, found["clipped"].restored)
    assert found["gaussian"].record.noise == "white Gaussian"
    dark = truth == 0
    bias = {name: float((done.restored - truth)[dark].mean()) for name, done in found.items()}
    assert bias["clipped"] < 0.6 * bias["gaussian"]


def test_photons_that_are_told_are_the_data_term() -> None:
    truth = 0.02 + 0.9 * camera(96)
    noise = noises.Poisson(gain=0.05)
    y = noise.draw(operators.Blur(KERNEL)(truth), torch.Generator().manual_seed(0))
    told = pnp.restore(y, operator=operators.Blur(KERNEL), prior="tv", noise="poisson:gain=0.05", truth=truth)
    white = pnp.restore(y, operator=operators.Blur(KERNEL), prior="tv", truth=truth)
    assert told.record.noise == "Poisson, gain 0.05" and told.record.sigma.source == "of the noise that was given"
    assert told.record.metrics is not None and white.record.metrics is not None
    assert told.record.metrics["psnr"][0] > told.record.metrics["psnr_initial"][0] + 1
    assert told.record.metrics["psnr"][0] > white.record.metrics["psnr"][0] + 0.1
    assert told.record.residual_over_noise is not None
    assert told.record.residual_over_noise[0] == pytest.approx(settle.DISCREPANCY, abs=0.05)
    learned = pnp.restore(y, operator=operators.Blur(KERNEL), prior="unet", noise=noise, truth=truth)
    assert learned.record.metrics is not None
    assert learned.record.metrics["psnr"][0] > learned.record.metrics["psnr_initial"][0] + 2
    gain = pnp.restore(y, operator=operators.Blur(KERNEL), prior="tv", noise="poisson", lam=1.0).record.noise
    assert float(gain.removeprefix("Poisson, gain ")) == pytest.approx(0.05, rel=0.25)
    with pytest.raises(ValueError, match="does not grow with its brightness"):
        pnp.restore(blurred()[0], operator="identity", prior="tv", noise="poisson")
    with pytest.raises(SpecError, match="leave --sigma out"):
        pnp.restore(y, operator="identity", prior="tv", noise=noise, sigma=0.1)


def test_a_simulation_adds_the_noise_that_is_named_and_the_solver_knows_it() -> None:
    done = pnp.restore(camera(), operator="blur", prior="tv", noise="saltpepper:fraction=0.1", simulate=True, lam=10)
    assert done.record.noise.startswith("salt and pepper") and done.truth is not None
    scores = done.record.metrics
    assert scores is not None and scores["psnr"][0] > 24 > scores["psnr_initial"][0]


def test_the_first_guess_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    made = operators.OrthonormalSensing.initial
    monkeypatch.setattr(operators.OrthonormalSensing, "initial", lambda self, y: calls.append(1) or made(self, y))
    pnp.restore(camera(24), operator="sensing", prior="tv", simulate=True)
    assert len(calls) == 1


@pytest.mark.parametrize("limit", [1, 7])
def test_iterations_bound_the_search_for_lam_as_well(limit: int) -> None:
    class Counted(priors.TV):
        calls = 0

        def begin(self, x0: Tensor) -> priors.TV:
            begun, prox = super().begin(x0), priors.TV.prox

            def counted(v: Tensor, tau: Any) -> Tensor:
                Counted.calls += 1
                return prox(begun, v, tau)

            begun.prox = counted  # type: ignore[method-assign]
            return begun

    y, _ = blurred()
    done = pnp.restore(y, operator=operators.ValidBlur(KERNEL), prior=Counted(), iterations=limit)
    assert done.record.iterations == [limit] and Counted.calls <= 11 * limit


def test_a_record_is_frozen_and_ready_for_json() -> None:
    y, _ = blurred()
    record = pnp.restore(torch.cat([y, y]), operator=operators.ValidBlur(KERNEL), prior="tv", iterations=3).record
    said = json.loads(json.dumps(record.to_json()))
    assert said["sigma"]["source"] == "estimated" and len(said["sigma"]["value"]) == 2 == len(said["verdict"])
    assert "metrics" not in said and said["solver"]["name"] == "ADMM" and said["solver"]["iterations"] == 3
    assert len(said["history"]["residual"]) == 3
    with pytest.raises(AttributeError):
        record.noise = "other"  # type: ignore[misc]


@pytest.mark.parametrize(("make", "says"), [
    (lambda y: pnp.restore(y, operator="identity", prior="tv", sigma=0.1, truth=torch.zeros(5, 5)), "truth has shape"),
    (lambda y: pnp.restore(y, operator="sensing", prior="tv", sigma=0.1), "not a picture but a row of numbers"),
    (
        lambda y: pnp.restore(y, operator="blur:std=1", prior="tv", sigma=0.1, size=(1, 9, 9)),
        "--size is for compressive",
    ),
    (lambda y: pnp.restore(y.clamp(0, 1), operator="identity", prior="tv", sigma=25), "in units of 8 bits is 25/255"),
    (lambda y: pnp.restore(y, operator="identity", prior="tv", noise="gausian"), "Did you mean 'gaussian'"),
    (lambda y: pnp.restore(y, operator="sensing", prior="tv", noise="clipped", simulate=True, sigma=0.01),
     "between black and white"),
])  # fmt: skip
def test_what_makes_no_sense_is_said_before_the_solve(make: Callable[[Tensor], Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(blurred()[0])


def test_a_solver_of_ones_own_keeps_its_settings_and_takes_the_rules_weight() -> None:
    y, _ = blurred()
    own = solvers.HQS(tau=0.01, iterations=4)
    done = run(Job(operators.ValidBlur(KERNEL), "unet", solver=own, sigma=0.02), y)
    assert done.solver is own and done.record.solver["iterations"] == 4
    assert done.record.lam.source == "default of the prior"  # the row's weight goes with a strength that falls


def test_choices_are_said_with_their_reasons() -> None:
    lines: list[str] = []
    y, _ = blurred()
    pnp.restore(y, operator=operators.ValidBlur(KERNEL), prior="unet", say=lines.append)
    assert [line.split(":")[0] for line in lines] == ["sigma", "solver", "lam"]
    assert "estimated from the measurement" in lines[0] and "√(lam tau) from" in lines[1] and "the rule for" in lines[2]


def test_photons_of_each_picture_of_a_batch_have_the_gain_that_it_has_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([noises.Poisson(gain).draw(camera(), generator) for gain in (0.03, 0.002)])
    settings: dict[str, Any] = {"operator": "identity", "prior": "tv", "noise": "poisson", "lam": 5.0, "iterations": 5}
    both = pnp.restore(y, **settings)
    for i in range(2):
        alone = pnp.restore(y[i : i + 1], **settings)
        torch.testing.assert_close(both.restored[i : i + 1], alone.restored)
        assert both.record.sigma.value[i] == pytest.approx(alone.record.sigma.value)  # type: ignore[index]
    with pytest.raises(ValueError, match="noise of page 2 does not grow"):
        pnp.restore(torch.cat([y[:1], blurred()[1] + 0.05 * torch.randn(y[:1].shape, generator=generator)]), **settings)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, "learns"])
@pytest.mark.parametrize("prior", ["tv", "unet"])
def test_tensors_of_half_precision_and_tensors_that_learn_are_pictures(kind: Any, prior: str) -> None:
    y = (camera() + 0.1 * torch.randn(camera().shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    given = y.requires_grad_() if kind == "learns" else y.to(kind)
    done = pnp.restore(given, operator="identity", prior=prior, lam=1.0, iterations=2)
    assert done.picture.dtype == given.dtype and not done.picture.requires_grad
    assert given.requires_grad == (kind == "learns")


@pytest.mark.parametrize("prior", ["dip:width=8", "dae:denoiser=nlm", "tv"])
def test_inference_mode_is_no_hindrance(prior: str) -> None:
    with torch.inference_mode():
        picture = camera().clone()
        inside = pnp.restore(picture, operator="identity", prior=prior, sigma=0.1, iterations=2)
    outside = pnp.restore(picture, operator="identity", prior=prior, sigma=0.1, iterations=2)
    torch.testing.assert_close(inside.restored, outside.restored)


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"operator": None}, TypeError, "operator is a NoneType; expected a spec"),
        ({"operator": operators.Identity}, TypeError, "operator is the class Identity; expected an object"),
        ({"prior": priors.TV}, TypeError, "prior is the class TV"),
        ({"prior": 3}, TypeError, "prior is a int"),
        ({"solver": solvers.ADMM}, TypeError, "solver is the class ADMM"),
        ({"noise": 0.03}, TypeError, "noise is a float; .* a number is sigma"),
        ({"sigma": "much"}, TypeError, "sigma is 'much'; expected a number"),
        ({"seconds": -1}, ValueError, "seconds is -1"),
        ({"seed": 10**30}, ValueError, "seed is 1000"),
        ({"picture": torch.eye(8).to_sparse()}, TypeError, "expected a dense one"),
        ({"picture": torch.eye(8, device="meta")}, TypeError, "expected a dense one"),
    ],
)
def test_parts_of_another_kind_are_named(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    settings = {"picture": camera(), "operator": "identity", "prior": "tv", **settings}
    with pytest.raises(error, match=says):
        pnp.restore(settings.pop("picture"), **settings)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda y: pnp.Problem("identity", y, priors.TV()), "operator is a str"),  # type: ignore[arg-type]
        (lambda y: pnp.Problem(operators.Identity(), y, lambda x, sigma: x), "prior is a function; .* PnP"),  # type: ignore[arg-type]
        (lambda y: pnp.solve(pnp.Problem(operators.Identity(), y, priors.TV()), "admm"), "solver is a str"),  # type: ignore[arg-type]
    ],
)
def test_parts_of_a_problem_of_another_kind_are_named(make: Callable[[Tensor], Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        make(camera())


def test_the_first_value_of_a_solver_counts_as_given_and_its_spec_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    build = SOLVERS.build

    def counted(spec: Any, **context: Any) -> solvers.Solver:
        read.append(str(spec))
        return build(spec, **context)

    monkeypatch.setattr(SOLVERS, "build", counted)
    y, _ = blurred()
    record = pnp.restore(y, operator=operators.ValidBlur(KERNEL), prior="unet", sigma=0.02, solver="hqs:0.005").record
    assert record.solver["tau"] == 0.005 and record.solver["iterations"] == 8  # the row's
    assert read.count("hqs:0.005") == 1


def test_a_rule_whose_solver_does_not_fit_the_noise_leaves_the_choice() -> None:
    class Smooth(noises.Noise):
        """‖u − y‖²/(2 · 0.05²), of which no prox is known."""

        def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
            return noises.Gaussian(0.05).draw(u, generator)

        def value(self, u: Tensor, y: Tensor) -> Tensor:
            return noises.Gaussian(0.05).value(u, y)

        def slope(self, u: Tensor, y: Tensor) -> Tensor:
            return noises.Gaussian(0.05).slope(u, y)

        def curvature(self, y: Tensor) -> float:
            return 1 / 0.05**2

        def level(self, y: Tensor) -> float:
            return 0.05

    done = pnp.restore(camera(32), operator="blur", prior="unet", noise=Smooth(), simulate=True, iterations=2)
    assert done.record.solver["name"] == "ProximalGradient"


def test_a_simulation_knows_the_level_of_the_noise_that_is_named_without_one() -> None:
    for noise in (None, "gaussian"):
        done = pnp.restore(camera(24), operator="sensing", prior="tv", noise=noise, simulate=True, iterations=1)
        assert done.record.sigma == (0.01, "simulated")
    with pytest.raises(SpecError, match="leave --sigma out"):  # it would change nothing
        pnp.restore(camera(24), operator="identity", prior="tv", noise="gaussian:sigma=0.05", sigma=0.1, simulate=True)


def test_the_operator_that_is_given_stays_where_it_was() -> None:
    own = operators.Blur(KERNEL)
    there = torch.zeros(1, 1, 8, 8, device="meta")
    made = operator_of(Job(own, "tv"), there)
    assert made is not own and {b.device for b in made.buffers()} == {there.device}
    assert {b.device for b in own.buffers()} == {torch.device("cpu")}
    assert operator_of(Job(own, "tv"), there.new_zeros(there.shape, device="cpu")) is own


def test_half_precision_and_gradients_stay_with_the_caller() -> None:
    for picture in (camera(24)[0, 0].half(), camera(24).bfloat16(), camera(24).requires_grad_()):
        made = pnp.restore(picture, operator="identity", prior="tv", sigma=0.05, lam=8, iterations=3).picture
        assert made.dtype == picture.dtype and made.shape == picture.shape and not made.requires_grad


def test_a_solver_that_needs_settings_is_no_choice_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Needy(solvers.HQS):
        speed: float = field(kw_only=True)

    pnp.default_solver(priors.TV())  # the registry is full
    monkeypatch.setitem(SOLVERS._entries, "needy", Entry("needy", Needy, rank=0))
    assert pnp.default_solver(priors.TV()) == "admm"
    y, _ = blurred()
    with pytest.raises(TypeError, match="Solvers that fit: admm"):
        pnp.solve(pnp.Problem(operators.ValidBlur(KERNEL), y, priors.TV()), solvers.GradientDescent())


def test_a_problem_with_another_prior_keeps_what_is_known_of_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    made = operators.ValidBlur.initial

    def initial(self: operators.ValidBlur, y: Tensor) -> Tensor:
        calls.append(1)
        return made(self, y)

    monkeypatch.setattr(operators.ValidBlur, "initial", initial)
    y, _ = blurred()
    first = pnp.restore(y, operator=operators.ValidBlur(KERNEL), prior="dip+tv", sigma=0.02, iterations=1)
    assert len(calls) == 1  # beside the first guess by tv alone
    pnp.solve(first.result.problem, first.solver, iterations=1, after=first.result.memory)
    assert len(calls) == 1
    weighted = first.result.problem.weighted(torch.ones(1, 1, 1, 1, dtype=torch.float64))
    assert isinstance(weighted.lam, Tensor) and weighted.lam.dtype == y.dtype


def test_an_array_of_integers_has_the_noise_of_its_file(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(60, 90, 224).round().astype(np.uint8), (224, 1))
    pictures.write(tmp_path / "ramp.png", torch.from_numpy(ramp / 255)[None])
    filed = pictures.read(tmp_path / "ramp.png")
    settings: dict[str, Any] = {"operator": "identity", "prior": "unet", "iterations": 1}
    by_file = run(Job(**settings, floor=filed.rounding), filed.pixels).record
    for array in (ramp, torch.from_numpy(ramp)):
        record = pnp.restore(array, **settings).record
        assert record.sigma == by_file.sigma and record.job["floor"] == filed.rounding > 0
    planted = pnp.restore((ramp / 255).astype(np.float32), **settings).record
    assert planted.sigma.value < by_file.sigma.value  # type: ignore[operator]


def test_pages_of_one_file_have_one_noise_and_one_weight_and_none_is_worse() -> None:
    """Alike pages, a smooth one among them.  Planted: each page by itself, whose weights lie far apart."""
    x = torch.cat([photograph("camera")[..., r : r + 48, c : c + 48] for r, c in ((100, 200), (0, 40), (250, 150))])
    y = x + 0.04 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    lines: list[str] = []
    stack = run(Job("identity", "tv", each_page=False), y, truth=x, say=lines.append).record
    assert isinstance(stack.sigma.value, float) and isinstance(stack.lam.value, float)
    assert sum("one for all 3 pages" in line for line in lines) == 2
    assert stack.metrics is not None
    assert all(b > a for a, b in zip(stack.metrics["psnr_initial"], stack.metrics["psnr"], strict=True))
    alone = run(Job("identity", "tv"), y).record
    assert isinstance(alone.lam.value, list) and max(alone.lam.value) > 1.5 * min(alone.lam.value)


def test_a_page_alone_is_the_same_as_a_stack_of_one() -> None:
    y = photograph("camera")[..., 100:132, 200:232] + 0.05 * torch.randn(1, 1, 32, 32)
    one, alone = (run(Job("identity", "tv", each_page=each), y) for each in (False, True))
    assert torch.equal(one.restored, alone.restored)


def test_a_batch_of_numpy_pictures_with_colours_last_is_refused() -> None:
    with pytest.raises(ValueError, match=r"looks like \(B, H, W, C\); expected \(B, C, H, W\)"):
        as_pixels(np.zeros((2, 20, 30, 3), np.uint8))
    assert as_pixels(np.zeros((2, 3, 20, 30), np.uint8)).x.shape == (2, 3, 20, 30)
