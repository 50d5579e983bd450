"""The contract of every registered noise, and solvers reach known answers whatever the noise."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import images
from scipy.optimize import minimize
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.solver import Solver
from pnp.noises import ClippedGaussian, Gaussian, Noise, Poisson, SaltPepper
from pnp.operators import Blur, Identity, Mask, kernels
from pnp.priors import TV, Prior, Tikhonov
from pnp.registry import NOISES
from pnp.solvers import ADMM, FISTA, HQS, Anderson, ChambollePock, ProximalGradient
from pnp.testing import check_noise

BLUR = Blur(kernels.gaussian(0.8, 5).double())
MILD = Blur(kernels.gaussian(0.5, 3).double())  # one whose inverse leaves a picture positive


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


EVERY = [spec for entry in NOISES.values() for spec in entry.examples]


def test_there_are_noises() -> None:
    assert len(EVERY) >= 5


@pytest.mark.parametrize("spec", EVERY)
def test_every_noise_keeps_its_contract(spec: str) -> None:
    check_noise(NOISES.build(spec))


@pytest.mark.parametrize("peak", [0.5, 3.0, 30.0])
def test_few_photons_leave_less_than_many_and_it_is_known(peak: float) -> None:
    u = images(1, 1, 160, 160)
    noise = Poisson(gain=1 / peak)
    y = noise.draw(u, seeded(1))
    begun = noise.begin(y)
    length = float(begun.misfit(u, y).square().mean().sqrt())
    assert length == pytest.approx(float(begun.expected(y)), rel=0.07)
    if peak == 0.5:
        assert length < 0.9 * float(begun.level(y))  # planted: the level itself


class Nothing(Prior):
    """g = 0."""

    closed_convex = True

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return v

    def value(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))


def test_photons_alone_have_the_closed_form() -> None:
    """A = Id and g = ½‖x‖²: lam x + (1 − y/x)/gain = 0."""
    noise, lam = Poisson(gain=0.05), 3.0
    y = noise.draw(images(1, 1, 16, 16), seeded(1))
    problem = Problem(Identity(), y, Tikhonov(), noise, lam=lam)
    expected = (-1 + (1 + 4 * lam * noise.gain * y).sqrt()) / (2 * lam * noise.gain)
    assert problem.exact
    for solver in (ADMM(tau=0.05, iterations=400), HQS(tau=1e-7, iterations=2)):
        close = 1e-8 if isinstance(solver, ADMM) else 1.0  # HQS with a constant tau minimises the envelope
        torch.testing.assert_close(solve(problem, solver, stop=()).x, expected, atol=close, rtol=0)
    assert float((solve(replace(problem, noise=Gaussian(0.2)), ADMM(), stop=()).x - expected).abs().max()) > 0.05


def reference(problem: Problem) -> Tensor:
    """The minimum of f + lam g over x > 0 by L-BFGS-B, in float64; where it is inside, also the one over all x."""
    shape = (1, *problem.operator.image_shape(tuple(problem.y.shape[1:])))

    def both(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(flat).view(shape).requires_grad_()
        value = problem.objective(x).sum()
        (slope,) = torch.autograd.grad(value, x)
        return value.item(), slope.flatten().numpy().copy()

    start = torch.full(shape, 0.5, dtype=torch.float64).flatten().numpy()
    found = minimize(both, start, jac=True, method="L-BFGS-B", bounds=[(1e-6, None)] * start.size,
                     options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-16, "gtol": 1e-9})  # fmt: skip
    assert found.x.min() > 1e-3
    return torch.from_numpy(found.x).view(shape)


@pytest.mark.parametrize("noise", [Poisson(0.02), Poisson(0.02, background=0.1), ClippedGaussian(0.3)], ids=repr)
def test_a_split_reaches_the_minimum_that_another_route_finds(noise: Noise) -> None:
    y = noise.draw(BLUR(0.5 + 0.3 * images(1, 1, 16, 16)), seeded(1))
    problem = Problem(BLUR, y, Tikhonov(), noise, lam=10.0)
    assert not problem.exact
    expected = reference(problem)
    result = solve(problem, ADMM(tau=0.1, iterations=3000), stop=())
    torch.testing.assert_close(result.x, expected, atol=2e-4, rtol=0)
    assert result.convergence.theorem is not None
    for solver in (ADMM(iterations=2000), ChambollePock(iterations=4000), ChambollePock(tau=0.02, iterations=6000)):
        found = solve(problem, solver, stop=())
        torch.testing.assert_close(found.x, expected, atol=2e-4, rtol=0)
        assert found.convergence.theorem is not None
    other = solve(replace(problem, noise=Gaussian(float(problem.sigma))), ADMM(iterations=500), stop=()).x
    assert float((other - expected).abs().max()) > 5e-3  # planted: the noise taken for Gaussian


def test_a_background_gives_photons_a_slope_for_gradient_steps() -> None:
    noise = Poisson(0.02, background=0.3)
    y = noise.draw(BLUR(0.5 + 0.3 * images(1, 1, 16, 16)), seeded(1))
    problem = Problem(BLUR, y, Tikhonov(), noise, lam=10.0)
    expected = reference(problem)
    for solver in (FISTA(iterations=1500), ProximalGradient(iterations=4000)):
        torch.testing.assert_close(solve(problem, solver, stop=()).x, expected, atol=1e-4, rtol=0)
    with pytest.raises(TypeError, match="FISTA needs the curvature of the noise; Poisson offers prox, pulls, slope"):
        solve(replace(problem, noise=Poisson(0.02)), FISTA())
    with pytest.raises(TypeError, match="Anderson needs the step of the noise"):
        solve(problem.weighted(1.0), Anderson())


def richardson_lucy(y: Tensor, iterations: int) -> Tensor:
    """x <- x Aᵀ(y/Ax), the kernel being symmetric with sum 1."""
    x = torch.full_like(y, float(y.mean()))
    for _ in range(iterations):
        x = x * MILD.adjoint(y / MILD(x))
    return x


def test_without_a_prior_photons_lead_where_richardson_and_lucy_do() -> None:
    noise = Poisson(1e-4)
    y = noise.draw(MILD(0.3 + 0.4 * images(1, 1, 16, 16)), seeded(1))
    problem = Problem(MILD, y, Nothing(), noise)
    ours = solve(problem, ADMM(tau=1.0, iterations=4000), stop=()).x
    theirs = richardson_lucy(y, 3000)
    assert float(theirs.min()) > 0.05  # positivity, which RL has built in, binds nowhere
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)
    torch.testing.assert_close(problem.data_value(ours), problem.data_value(theirs), atol=1e-2, rtol=0)
    assert float(problem.data_value(richardson_lucy(y, 20))) > 10 * float(problem.data_value(ours)) + 1  # planted


@pytest.mark.parametrize("operator", [Identity(), BLUR], ids=["identity", "blur"])
def test_impulses_cost_an_absolute_value_little(operator: Blur | Identity) -> None:
    x = torch.full((1, 1, 32, 32), 0.3, dtype=torch.float64)
    x[..., 10:20, 8:24] = 0.7
    noise = SaltPepper(0.2)
    y = noise.draw(operator(x), seeded(1))
    ours = solve(Problem(operator, y, TV(), noise, lam=8.0), ADMM(iterations=300), stop=()).x
    plain = solve(Problem(operator, y, TV(), Gaussian(0.3), lam=8.0), ADMM(iterations=300), stop=()).x
    assert float((ours - x).abs().mean()) < 0.02 < 3 * 0.02 < float((plain - x).abs().mean())


@pytest.mark.parametrize("spec", EVERY)
def test_missing_samples_say_nothing_whatever_the_noise(spec: str) -> None:
    x = 0.1 + 0.8 * images(1, 1, 16, 16)
    mask = Mask((torch.rand(1, 16, 16, generator=seeded(3)) > 0.3).double())
    noise = NOISES.build(spec)
    if noise.block > 1:
        pytest.skip("a block with holes tells nothing: refused, as test_jpeg_noise has it")
    y = noise.draw(x, seeded(1))
    other = torch.where(mask.mask.bool(), y, 0.77)
    first, second = (solve(Problem(mask, v, TV(), noise, lam=5.0), ADMM(iterations=20)).x for v in (y, other))
    assert torch.equal(first, second) and bool(first.isfinite().all())


@pytest.mark.parametrize("channels", [1, 3])
def test_the_residual_to_expect_counts_what_was_measured(channels: int) -> None:
    mask = Mask((torch.rand(1, 16, 16, generator=seeded(3)) > 0.7).double())
    y = images(1, channels, 16, 16)
    measured = int(mask.mask.sum()) * channels
    assert float(Problem(mask, y, TV(), 0.1).noise_norm()) == pytest.approx(0.1 * measured**0.5)
    assert 0 < measured < 0.5 * y.numel()  # planted: all samples counted


def test_few_photons_are_as_few_between_holes_as_without() -> None:
    """Planted: a hole counted as no photon, by which the noise would be 0.84 of this."""
    noise = Poisson(gain=1.0)
    y = noise.draw(torch.ones(1, 1, 96, 96, dtype=torch.float64), seeded(1))
    known = (torch.rand(1, 1, 96, 96, generator=seeded(2)) < 0.5).double()
    whole, holes = noise.begin(y).expected(y), noise.begin(y * known, known).expected(y * known)
    assert float(holes) == pytest.approx(float(whole), rel=0.05)


@pytest.mark.parametrize("noise", [Gaussian(0.1), Poisson(0.02, background=0.1), ClippedGaussian(0.3)], ids=repr)
def test_the_gradient_of_the_envelope_is_that_of_f_with_every_frequency_at_one_pace(noise: Noise) -> None:
    """(AᵀA + rho I) of it is rho ∇(f∘A)."""
    x, rho = 0.5 + 0.3 * images(1, 1, 16, 16), 0.1
    problem = Problem(BLUR, noise.draw(BLUR(x), seeded(1)), TV(), noise)
    found = problem.envelope_grad(x, rho)
    torch.testing.assert_close(BLUR.normal(found) + rho * found, rho * problem.data_grad(x), atol=1e-8, rtol=1e-8)


def test_splitting_with_a_constant_step_ends_where_both_proxes_agree_whatever_the_noise() -> None:
    """x = prox_{lam tau g}(prox_{tau f∘A}(x)), with a split that goes on from step to step."""
    noise, tau = Poisson(0.02), 0.05
    y = noise.draw(BLUR(0.5 + 0.3 * images(1, 1, 16, 16)), seeded(1))
    problem = Problem(BLUR, y, Tikhonov(), noise, lam=2.0)
    x = solve(problem, HQS(tau=tau, iterations=200), stop=()).x
    exact, _ = problem.data_step(x, tau, problem.split(x), sweeps=1000)
    torch.testing.assert_close(problem.prior.prox(exact, 2.0 * tau), x, atol=1e-6, rtol=0)


def test_the_copy_of_the_blurred_picture_counts_as_change_too() -> None:
    """Planted: the picture and its copies at rest, while Ax and w are apart."""
    noise = Poisson(0.05)
    y = noise.draw(BLUR(0.5 + 0.3 * images(1, 1, 16, 16)), seeded(1))
    problem, solver = Problem(BLUR, y, TV(), noise), ADMM()
    before = solver.init(problem, y)
    assert before.split is not None and float(solver.change(problem, before, before)) == 0
    after = before._replace(split=before.split._replace(d=before.split.d + 0.01))
    assert float(solver.change(problem, after, before)) == pytest.approx(0.16 / float(y.norm()))  # 0.01 √256


def test_a_theorem_is_stated_where_the_data_step_is_exact() -> None:
    noise = ClippedGaussian(0.2)
    y = noise.draw(images(1, 1, 16, 16), seeded(1))
    for operator in (Identity(), BLUR):
        clipped = Problem(operator, y, TV(), noise, lam=3.0)
        assert solve(clipped, ADMM(iterations=3)).convergence.theorem
        assert solve(clipped, HQS(tau=0.01, iterations=3)).convergence.theorem is None
        plain = replace(clipped, noise=Gaussian(0.2))
        assert all(solve(plain, s).convergence.theorem for s in (ADMM(iterations=3), HQS(tau=0.01, iterations=3)))


def test_the_step_beside_a_denoiser_majorises() -> None:
    """data_move from `at` lowers f∘A + ‖x − v‖²/(2 tau), and repeated it ends at the prox."""
    noise = ClippedGaussian(0.2)
    y = noise.draw(BLUR(images(1, 1, 16, 16)), seeded(1))
    problem, v, tau = Problem(BLUR, y, TV(), noise), images(1, 1, 16, 16, seed=4), 0.02
    x, values = v, []
    for _ in range(80):
        values.append(float(problem.data_value(x) + (x - v).square().sum() / (2 * tau)))
        x, split = problem.data_move(v, tau, x, None)
        assert split is None
    assert all(b <= a + 1e-9 for a, b in pairwise(values)) and values[0] > values[-1] + 1
    assert float((problem.data_grad(x) + (x - v) / tau).abs().max()) < 1e-5


def test_one_call_of_an_exact_prox_is_the_prox() -> None:
    """A clipped picture without blur: iterating the data step changes nothing."""
    noise = ClippedGaussian(0.1)
    y = noise.draw(images(1, 1, 32, 32), seeded(1))
    problem, v = Problem(Identity(), y, TV(), noise), images(1, 1, 32, 32, seed=4)
    once = problem.data_prox(v, 0.02)
    torch.testing.assert_close(problem.data_prox(v, 0.02, x0=once), once, atol=0, rtol=0)
    assert float((problem.data_grad(once) + (once - v) / 0.02).abs().max()) < 1e-10
    em = (noise.sigma**2 * v + 0.02 * (v - problem.misfit(v))) / (noise.sigma**2 + 0.02)  # planted: one EM step
    assert float((em - once).abs().max()) > 1e-4


def test_a_solver_that_takes_the_noise_is_found(noise: Noise = Poisson(0.05)) -> None:  # noqa: B008
    from pnp.parameters.weight import default_solver

    problem = Problem(BLUR, images(1, 1, 8, 8), TV(), noise)
    assert default_solver(TV(), problem.offers()) == "admm"

    class Steep(ADMM):
        needs_noise = ("curvature",)

    with pytest.raises(TypeError, match="Solvers that fit: admm"):
        solve(problem, Steep())


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Poisson(0.0), "gain"), (lambda: Poisson(0.1, background=-1.0), "background"),
    (lambda: Gaussian(-1.0), "sigma"), (lambda: ClippedGaussian(math.nan), "sigma"),
    (lambda: SaltPepper(1.5), "fraction"),
    (lambda: Problem(Identity(), -images(1, 1, 4, 4), TV(), Poisson(0.1)), "never negative"),
    (lambda: Problem(Identity(), images(1, 1, 4, 4), TV(), Poisson(0.1), sigma=0.1), "both given"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]


def test_solvers_declare_what_they_need_of_the_noise() -> None:
    assert Solver.needs_noise == ("prox",) and FISTA.needs_noise == ("curvature",)
    assert Poisson(0.1).offers() == {"slope", "prox", "pulls"}
    assert Poisson(0.1, 0.1).offers() == {"slope", "prox", "pulls", "curvature"}
