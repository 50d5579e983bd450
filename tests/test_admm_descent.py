"""ADMM by descent: the minimiser of other solvers, its constraint, and the deep image prior with a second prior."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import GaussianDenoiser, squares
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.recording import Snapshot
from pnp.core.result import Memory, Result
from pnp.core.solver import fits
from pnp.metrics import psnr
from pnp.noises import Gaussian
from pnp.operators import Blur, Identity, kernels
from pnp.operators.base import Operator
from pnp.parameters.rules import kind_of
from pnp.parameters.weight import fit_lam
from pnp.priors import DIP, TV, PnP, Prior, SmoothTV, Sum, WeightedTV, parse
from pnp.priors.nets import Hourglass
from pnp.registry import SOLVERS
from pnp.solvers import ADMM, ADMMDescent, GradientDescent

EXACT = ADMMDescent(lr=0.005, inner=15, average=0.9, iterations=70)


def problem(prior: Prior, operator: Operator, batch: int = 1, sigma: float = 0.1, lam: float = 5.0) -> Problem:
    x = squares(batch, 1, 16, 16)
    y = operator(x) + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    return Problem(operator, y, prior, sigma, lam)


@pytest.mark.parametrize("operator", [Identity(), Blur(kernels.gaussian(1.0, 5).double())], ids=["identity", "blur"])
@pytest.mark.parametrize("prior", [TV(), parse("tv+2*tikhonov")], ids=lambda p: p.name)
def test_it_reaches_the_minimum_that_admm_reaches(prior: Prior, operator: Operator) -> None:
    p = problem(prior, operator)
    best = solve(p, ADMM(iterations=200)).x
    found = solve(p, EXACT, stop=()).x
    start = p.objective(p.initial()) - p.objective(best)
    assert float((p.objective(found) - p.objective(best)) / start) < 0.02
    wrong = solve(p.weighted(20.0), EXACT, stop=()).x  # planted: another weight
    assert float((p.objective(wrong) - p.objective(best)) / start) > 0.02


@pytest.mark.parametrize("within", [0.8, 1.2])
def test_under_the_constraint_it_finds_the_lam_that_the_discrepancy_principle_finds(within: float) -> None:
    p = problem(TV(), Identity())
    lam, _ = fit_lam(p, ADMM(), c=within, precision=0.002)
    expected = solve(p.weighted(lam), ADMM(iterations=200)).x
    results = [solve(p.weighted(weight), replace(EXACT, within=within), stop=()) for weight in (3.0, 10.0)]
    for result in results:
        assert float(p.residual(result.x) / p.noise_norm()) == pytest.approx(within, rel=0.02)
        assert float((result.x - expected).norm() / expected.norm()) < 0.02
    without = solve(p.weighted(1.0), EXACT, stop=()).x
    assert abs(float(p.residual(without) / p.noise_norm()) - within) > 0.1


def test_a_picture_of_a_batch_gets_what_it_gets_alone() -> None:
    p = problem(TV(), Identity(), batch=2)
    p = replace(p, noise=Gaussian(torch.tensor([0.1, 0.05], dtype=torch.float64).view(2, 1, 1, 1)))
    solver = replace(EXACT, iterations=5, within=1.0)
    together = solve(p, solver, stop=()).x
    for i in range(2):
        alone = solve(replace(p, y=p.y[i : i + 1], noise=Gaussian((0.1, 0.05)[i])), solver, stop=()).x
        torch.testing.assert_close(together[i : i + 1], alone)


def network() -> DIP:
    return DIP(Hourglass(width=8, widest=8, depth=2), precision="float32")


@pytest.mark.parametrize(
    "second", [TV(), PnP(GaussianDenoiser(0.5)), WeightedTV(), parse("tv+0.5*haar")], ids=lambda p: p.name
)
@pytest.mark.parametrize("within", [None, 1.0])
def test_a_network_takes_any_second_prior(second: Prior, within: float | None) -> None:
    prior = Sum([(1.0, network()), *(second.terms or ((1.0, second),))])
    p = problem(prior, Identity())
    result = solve(p, ADMMDescent(within=within, inner=4, iterations=12), stop=())
    assert bool((p.residual(result.x) < 0.9 * p.residual(0 * p.y + 0.5)).all())
    assert kind_of(prior) == ("dip-denoiser" if isinstance(second, PnP) else "dip-split")
    assert torch.equal(result.x, solve(p, ADMMDescent(within=within, inner=4, iterations=12), stop=()).x)


@pytest.mark.parametrize("within", [None, 1.0])
@pytest.mark.parametrize("drawn", [True, False])
def test_a_solve_that_goes_on_is_a_longer_solve(within: float | None, drawn: bool) -> None:
    """Planted: without the multipliers and the average."""
    p = problem(Sum([(1.0, network()), (1.0, TV())]) if drawn else TV(), Identity())
    solver = ADMMDescent(within=within, lr=0.03, inner=10, iterations=40)

    def run(steps: int, after: Memory | None = None) -> Result:
        def interrupt(now: Snapshot) -> None:
            if now.k + 1 == steps:
                raise KeyboardInterrupt

        return solve(p, solver, stop=(), callbacks=[interrupt], after=after)

    first = run(19)
    assert bool(first.memory.solver["iterate"]["begun"].all())  # near the ball, long before half of the iterations
    on = run(20, first.memory)
    assert torch.equal(on.x, run(39).x)
    forgetful = run(20, replace(first.memory, y=None))
    assert not torch.allclose(on.x, forgetful.x, atol=1e-4)
    with pytest.raises(ValueError, match="from another operator or prior"):
        other = replace(p, prior=Sum([*p.prior.terms, (1.0, parse("haar"))]) if drawn else parse("tv+haar"))
        solve(other, solver, stop=(), after=first.memory)


def test_the_change_sees_each_multiplier() -> None:
    """The image and the copies stand still, and one multiplier moves; planted: none of them does."""
    p = problem(TV(), Identity())
    solver = replace(EXACT, within=1.0)
    state = solver.init(p, p.initial())
    size = float(state.x.norm())
    assert float(solver.change(p, state, state)) == 0
    moved = state._replace(v=state.v + 0.5)
    assert float(solver.change(p, moved, state)) == pytest.approx(0.5 * 16 / size)
    moved = state._replace(u=(state.u[0] + 0.5,))
    assert float(solver.change(p, moved, state)) == pytest.approx(0.5 * state.u[0].numel() ** 0.5 / size)


def test_a_first_image_that_fits_leads_the_network_until_the_data_are_near() -> None:
    net, blur = Hourglass(1, inputs=4, width=8, widest=8, depth=2), Blur(kernels.gaussian(2.0, 9).double())
    p = problem(Sum([(1.0, DIP(net)), (1.0, TV())]), blur, sigma=0.02)
    truth = squares(1, 1, 16, 16)
    solver = ADMMDescent(within=0.9, lr=0.05, inner=10, average=0.0, iterations=8)
    errors = [float((solve(p, solver, x0=x0, stop=()).x - truth).norm()) for x0 in (truth, torch.zeros_like(truth))]
    assert errors[0] < 0.8 * errors[1]


def test_a_first_image_that_fits_the_noise_leads_nobody() -> None:
    p = problem(Sum([(1.0, DIP(Hourglass(1, inputs=4, width=8, widest=8, depth=2))), (1.0, TV())]), Identity())
    solver = ADMMDescent(within=0.9, lr=0.02, inner=5, average=0.0, iterations=2)
    noisy, nothing = (solve(p, solver, x0=x0, stop=()).x for x0 in (p.y, torch.zeros_like(p.y)))
    assert torch.equal(noisy, nothing)


def test_tv_calms_what_a_network_draws() -> None:
    x = squares(1, 1, 32, 32, dtype=torch.float32)
    y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    net = Hourglass(width=16, widest=16, depth=2)
    solver = ADMMDescent(inner=5, iterations=24, lr=0.02, average=0.9)

    def drawn(*others: tuple[float, Prior]) -> Tensor:
        return solve(Problem(Identity(), y, Sum([(1.0, DIP(net)), *others]), sigma=0.2), solver, stop=()).x

    alone, calm = drawn((1e-6, TV())), drawn((3.0, TV()))
    assert TV().value(calm) < 0.8 * TV().value(alone) and psnr(calm, x) > psnr(alone, x)


# The priors that it comes with


def test_weights_choose_themselves_as_published() -> None:
    """q (1 − w tau/|q|)₊ with the published weight, from a residual of the noise's size: m = 64, sigma = 0.1."""
    q = torch.randn(1, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sigma, m, tau = 0.1, 64, 0.3
    length = q.square().sum(1, keepdim=True).sqrt()
    published = (sigma**2 * m) / (2 * m * length)  # beside ½‖Ax − y‖²
    expected = q * (1 - published / sigma**2 * tau / length).clamp_min(0)
    torch.testing.assert_close(WeightedTV().split().prox(q, tau), expected)
    assert not torch.allclose(TV().split().prox(q, tau), expected)


@pytest.mark.parametrize("prior", [SmoothTV(), WeightedTV(eps=0.1)], ids=lambda p: p.name)
def test_gradients_are_autograds(prior: Prior) -> None:
    x = squares(2, 3, 9, 8).requires_grad_(True)
    (expected,) = torch.autograd.grad(prior.value(x).sum(), x)
    torch.testing.assert_close(prior.grad(x.detach()), expected)
    assert float(expected.abs().max()) > 0.1


def test_smooth_tv_is_tv_but_for_its_corners() -> None:
    x = squares(1, 1, 16, 16)
    torch.testing.assert_close(SmoothTV(eps=1e-6).value(x), TV().value(x), rtol=1e-3, atol=0)
    p = problem(SmoothTV(eps=1e-3), Identity())
    found = solve(p, GradientDescent(iterations=2000), stop=()).x
    expected = solve(replace(p, prior=TV()), ADMM()).x
    assert float((found - expected).norm() / expected.norm()) < 0.03


def test_wrong_settings_are_refused() -> None:
    for spec in ("admm-descent:within=0", "admm-descent:lr=-1", "admm-descent:inner=0", "admm-descent:optimizer=LBFGS",
                 "admm-descent:average=1", "admm-descent:optimizer=Adm"):  # fmt: skip
        with pytest.raises(ValueError):
            SOLVERS.build(spec)
    assert not fits(ADMMDescent, network()) and fits(ADMMDescent, TV())
