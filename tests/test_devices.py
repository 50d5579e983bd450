"""Everything is made where the picture is: on the CPU, on a device that is played, and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from conftest import GaussianDenoiser, images
from elsewhere import played
from torch import Tensor

from pnp import priors, solve
from pnp.core import stopping
from pnp.core.problem import Problem
from pnp.core.solver import fits
from pnp.noises import ClippedGaussian, Gaussian, Noise, estimate_noise
from pnp.priors.nets import DnCNN
from pnp.priors.network import NetworkDenoiser, shipped
from pnp.registry import NOISES, OPERATORS, PRIORS, SOLVERS, STOPS

EXAMPLES = [spec for entry in NOISES.values() for spec in entry.examples]


def check(work: Callable[[Tensor], Tensor], x: Tensor, device: torch.device) -> None:
    """It runs there, what comes out is there, and it is what comes out on the CPU."""
    found = work(x.to(device))
    assert found.device.type == device.type
    if device.type != "cpu":
        torch.testing.assert_close(found.cpu(), work(x), rtol=1e-4, atol=1e-4)
    assert bool(found.cpu().isfinite().all())


def operate(spec: str) -> Callable[[Tensor], Tensor]:
    """What an operator does, all of it, beside a picture that is somewhere."""

    def work(x: Tensor) -> Tensor:
        operator = OPERATORS.build(spec, shape=tuple(x.shape[1:]), seed=0).to(x.device)
        y = operator(x)
        operator.norm(operator.adjoint(y))
        return operator.solve_normal(operator.adjoint(y), 0.5) + operator.initial(y)

    return work


def restore(prior: str, solver: str) -> Callable[[Tensor], Tensor]:
    def work(x: Tensor) -> Tensor:
        shape = tuple(x.shape[1:])
        name = "blur" if SOLVERS.build(solver).needs_operator else "unknown"
        operator = OPERATORS.build(name, shape=shape, seed=0).to(x.device)
        problem = Problem(operator, operator(x), priors.parse(prior, shape=shape, seed=0), sigma=0.05)  # type: ignore[arg-type]
        return solve(problem, SOLVERS.build(solver), iterations=2).x

    return work


def first_solver(spec: str) -> str:
    prior = priors.parse(spec, shape=(1, 32, 32))
    if "parametrise" in prior.offers():
        return "gd:optimizer=Adam,lr=0.01"  # a network has no step of its own
    return next(name for name in SOLVERS if fits(SOLVERS.build(name), prior))


def test_a_tensor_that_is_made_without_the_pictures_device_is_found() -> None:
    x = images(1, 1, 16, 16)
    with played() as device:
        check(lambda x: x * torch.arange(16.0, device=x.device), x, device)
        for fault in (lambda x: x * torch.arange(16.0), lambda x: x + torch.zeros(1), lambda x: x.cpu()):
            with pytest.raises((RuntimeError, AssertionError)):
                check(fault, x, device)
        with pytest.raises(AssertionError, match="not close"):
            check(lambda x: x + (x.device == device), x, device)


@pytest.mark.filterwarnings("ignore:conjugate gradients")
@pytest.mark.parametrize("spec", [spec for name in OPERATORS for spec in OPERATORS[name].examples])
def test_an_operator_works_where_the_picture_is(spec: str, device: torch.device) -> None:
    check(operate(spec), images(1, 1, 16, 16), device)


@pytest.mark.parametrize("prior", sorted({s for name in PRIORS for s in PRIORS[name].examples or (name,)}))
def test_a_prior_works_where_the_picture_is(prior: str, device: torch.device) -> None:
    check(restore(prior, first_solver(prior)), images(1, 1, 32, 32, dtype=torch.float32), device)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_works_where_the_picture_is(solver: str, device: torch.device) -> None:
    some = ("tikhonov", "tv", "red", "dip:depth=2", "dip:depth=2+tv", "text")
    prior = next(p for p in some if fits(SOLVERS.build(solver), priors.parse(p)))
    check(restore(prior, solver), images(1, 1, 16, 16, dtype=torch.float32), device)


def bright(size: int = 16) -> Tensor:
    """Two pictures of brightness that every noise knows, with a black and a white corner."""
    x = 0.1 + 0.8 * images(2, 1, size, size)
    x[..., :4, :4], x[..., -4:, -4:] = 0.0, 1.0
    return x


def simulated(noise: Noise, u: Tensor) -> Tensor:
    return noise.draw(u, torch.Generator().manual_seed(1))


@pytest.mark.parametrize("spec", EXAMPLES)
def test_a_noise_is_drawn_where_the_picture_is(spec: str, device: torch.device) -> None:
    check(lambda u: simulated(NOISES.build(spec), u), bright(), device)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("spec", EXAMPLES)
def test_a_noise_is_known_where_the_picture_is(spec: str, each: bool, device: torch.device) -> None:
    """All that a noise says of a measurement, beside a mask; each: with a level of its own for each image."""
    known = (images(1, 16, 16, seed=2) > 0.3).double()

    def work(u: Tensor) -> Tensor:
        noise = NOISES.build(spec)
        if each and isinstance(noise, Gaussian | ClippedGaussian):
            noise = type(noise)(torch.tensor([0.1, 0.2], dtype=u.dtype).view(2, 1, 1, 1))
        y = simulated(NOISES.build(spec), u) * (known.to(u) if noise.block == 1 else 1)
        noise = noise.begin(y, known.to(u) if noise.block == 1 else None)  # a block with holes tells nothing
        numbers = [noise.value(u + 0.01, y), noise.level(y), noise.expected(y), noise.slope(u, y), noise.misfit(u, y)]
        numbers += [noise.prox(u, y, 0.01), *([noise.curvature(y)] if "curvature" in noise.offers() else [])]
        return sum((n.view(2, -1).sum(1) if isinstance(n, Tensor) and n.numel() > 2 else n) for n in numbers).flatten()

    check(work, bright(), device)


@pytest.mark.filterwarnings("ignore:conjugate gradients")
@pytest.mark.parametrize("solver", ["admm", "hqs", "chambolle-pock"])
@pytest.mark.parametrize("spec", [spec for spec in EXAMPLES if not NOISES.build(spec).quadratic])
def test_a_noise_without_an_exact_step_is_split_where_the_picture_is(
    spec: str, solver: str, device: torch.device
) -> None:
    def work(u: Tensor) -> Tensor:
        operator = OPERATORS.build("blur").to(u.device)
        noise = NOISES.build(spec)
        problem = Problem(operator, simulated(noise, (4 * operator(u) - 2).clamp(0, 1)), priors.TV(), noise, lam=5.0)
        assert not problem.exact
        return solve(problem, SOLVERS.build(solver), iterations=3).x

    check(work, bright(), device)


@pytest.mark.parametrize("holes", [False, True])
def test_noise_is_estimated_where_the_picture_is(holes: bool, device: torch.device) -> None:
    known = (images(1, 48, 48, seed=2) > 0.1).double() if holes else None

    def work(y: Tensor) -> Tensor:
        sigma, photons = estimate_noise(y, None if known is None else known.to(y))
        worse = photons.dominates(sigma)
        return torch.stack([sigma, photons.sigma(), photons.gain, photons.offset, photons.fit, worse.to(sigma)])

    check(work, images(1, 1, 48, 48), device)


SHORT = ("wmv:window=2,patience=1,fit=inf", "emv:rate=0.9,patience=1,fit=inf", "plateau:quantity=residual,window=1")


@pytest.mark.parametrize(
    "spec", [*SHORT, "discrepancy:c=1.5", *(s for e in STOPS.values() for s in e.examples or (e.name,))]
)
def test_a_stop_rule_looks_at_pictures_where_they_are(spec: str, device: torch.device) -> None:
    """With its reason and its best image; of two pictures one is easy."""

    def work(x: Tensor) -> Tensor:
        y = torch.stack([x[0], x[0].flip(-1) / 100])
        problem = Problem(OPERATORS.build("identity"), y, priors.Tikhonov(), sigma=0.1)
        result = solve(problem, SOLVERS.build("gd"), iterations=8, stop=stopping.parse(spec), x0=0 * y)
        said.append(result.reason)
        return result.x

    said: list[object] = []
    check(work, images(1, 1, 16, 16), device)
    assert said and all(reason == said[0] for reason in said)


def test_a_time_limit_ends_pictures_where_they_are(device: torch.device) -> None:
    def work(x: Tensor) -> Tensor:
        problem = Problem(OPERATORS.build("identity"), x, priors.Tikhonov(), sigma=0.1)
        return solve(problem, SOLVERS.build("gd"), stop=[stopping.Seconds(1e-9)]).x

    check(work, images(2, 1, 16, 16), device)


def test_the_blind_descent_finds_its_noise_where_the_picture_is(device: torch.device) -> None:
    def work(x: Tensor) -> Tensor:
        operator = OPERATORS.build("blur").to(x.device)
        y = simulated(Gaussian(0.05), operator(x))
        prior = priors.DAE(GaussianDenoiser(0.3), 0.05)
        return solve(Problem(operator, y, prior), SOLVERS.build("mean-shift:blind=true"), iterations=3).x

    check(work, images(2, 1, 16, 16), device)


def test_a_network_follows_the_picture_and_stays_where_it_is_for_others() -> None:
    """Two devices in one process share a shipped network; planted: one that is moved."""
    denoiser, x = NetworkDenoiser(shipped("unet-grey").net, "float32"), images(1, 1, 16, 16, dtype=torch.float32)
    before = [p.data_ptr() for p in denoiser.net.parameters()]
    with played() as device:
        check(lambda x: denoiser(x, 0.1), x, device)
        copies = dict(denoiser.copies)
        check(lambda x: denoiser(x, 0.1), x, device)
    assert denoiser.copies == copies and set(copies) == {device}
    assert [p.data_ptr() for p in denoiser.net.parameters()] == before and torch.isfinite(denoiser(x, 0.1)).all()
    denoiser._net_on = lambda device: denoiser.net  # type: ignore[method-assign]
    with played() as device, pytest.raises(RuntimeError, match="beside one of the device"):
        check(lambda x: denoiser(x, 0.1), x, device)


def test_what_learns_is_not_copied_behind_its_owners_back() -> None:
    net = DnCNN(depth=3, width=4)
    with played() as device, pytest.raises(ValueError, match="the network that learns is not"):
        NetworkDenoiser(net, "float32")(images(1, 1, 8, 8).to(device).requires_grad_(True), 0.1)
