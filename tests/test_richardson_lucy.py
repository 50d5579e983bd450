"""Richardson-Lucy: the published recursion, what it keeps, and what `pnp solve` makes of it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import images
from torch import Tensor

import pnp
from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.noises.gaussian import Gaussian
from pnp.noises.poisson import Poisson
from pnp.operators import Blur, Operator, ValidBlur, kernels
from pnp.priors import NoPrior, SmoothTV
from pnp.solvers import RichardsonLucy

GAIN, BACKGROUND = 0.02, 0.1
CIRCULAR = Blur(kernels.gaussian(1.0, 5))


class Unbounded(SmoothTV):
    """Smooth total variation that does not know its Lipschitz constant."""

    def lipschitz(self) -> float:
        return float("inf")


def photons(operator: Operator = CIRCULAR, side: int = 16, background: float = BACKGROUND) -> Problem:
    noise = Poisson(GAIN, background)
    u = operator(0.1 + images(1, 1, side, side)).clamp_min(0)
    return Problem(operator, noise.draw(u, torch.Generator().manual_seed(3)), NoPrior(), noise)


def dense(operator: Operator, side: int) -> np.ndarray:
    unit = torch.eye(side * side, dtype=torch.float64).view(-1, 1, side, side)
    return operator(unit).flatten(1).T.numpy()


def iterates(problem: Problem, solver: RichardsonLucy) -> list[Tensor]:
    found: list[Tensor] = []
    solve(problem, solver, stop=(), callbacks=(lambda now: found.append(now.x.clone()),))
    return found


def test_the_first_iterates_are_those_of_the_published_recursion() -> None:
    """x <- x ⊙ Aᵀ(y/(Ax + b))/Aᵀ1 from a flat picture, written down with dense matrices."""
    problem = photons()
    a, y = dense(CIRCULAR, 16), problem.y.flatten().numpy()
    x = np.full(256, float(problem.initial().mean()))
    for found in iterates(problem, RichardsonLucy(iterations=6)):
        x = x * (a.T @ (y / (a @ x + BACKGROUND))) / a.sum(0)
        np.testing.assert_allclose(found.flatten().numpy(), x, rtol=1e-8)
    forgotten = x * (a.T @ (y / (a @ x))) / a.sum(0)  # the fault to be caught: no background
    assert np.abs(forgotten - x).max() > 1e-3


def test_acceleration_is_the_published_extrapolation() -> None:
    """Biggs & Andrews 1997, eq. 6 to 8: t = g(k − 1)·g(k − 2)/‖g(k − 2)‖², within [0, 1)."""
    problem = photons()
    a, y = dense(CIRCULAR, 16), problem.y.flatten().numpy()
    x = last = np.full(256, float(problem.initial().mean()))
    steps = [np.zeros(256), np.zeros(256)]
    for found in iterates(problem, RichardsonLucy(accelerate=True, iterations=8)):
        t = min(max(steps[-1] @ steps[-2] / max(steps[-2] @ steps[-2], 1e-300), 0), 0.999)
        at = np.maximum(x + t * (x - last), 0)
        last, x = x, at * (a.T @ (y / (a @ at + BACKGROUND))) / a.sum(0)
        steps.append(x - at)
        np.testing.assert_allclose(found.flatten().numpy(), x, rtol=1e-7)


def test_the_likelihood_never_falls_and_the_flux_is_kept() -> None:
    problem = photons(background=0.0)
    found = iterates(problem, RichardsonLucy(iterations=40))
    values = [float(problem.noise.value(CIRCULAR(x), problem.y)) for x in found]
    assert all(b <= a + 1e-9 * abs(a) for a, b in pairwise(values)) and values[-1] < 0.7 * values[0]
    for x in found:
        torch.testing.assert_close(x.sum(), problem.y.sum(), rtol=1e-6, atol=0)
    assert min(float(x.min()) for x in found) >= 0
    assert solve(problem, RichardsonLucy(iterations=3)).convergence.theorem is not None


def test_acceleration_gets_as_far_in_half_of_the_iterations() -> None:
    problem = photons()
    plain, fast = (
        float(problem.noise.value(CIRCULAR(iterates(problem, solver)[-1]), problem.y))
        for solver in (RichardsonLucy(iterations=60), RichardsonLucy(accelerate=True, iterations=30))
    )
    assert fast < plain


def test_with_a_smooth_prior_the_objective_never_rises_and_ends_at_its_minimum() -> None:
    problem = Problem(CIRCULAR, photons().y, SmoothTV(0.05), Poisson(GAIN, BACKGROUND), lam=3.0)
    found = iterates(problem, RichardsonLucy(iterations=1500))
    values = [float(problem.objective(x)) for x in found]
    assert all(b <= a + 1e-9 * abs(a) for a, b in pairwise(values))
    x = found[-1]
    pull, alone = problem.data_grad(x) + problem.lam * problem.prior.grad(x), problem.data_grad(x)
    assert float((x * pull).abs().max()) < 1e-3 * float((x * alone).abs().max())
    assert "never rises" in str(solve(problem, RichardsonLucy(iterations=3)).convergence.theorem)
    late = Problem(CIRCULAR, problem.y, Unbounded(0.05), problem.noise, lam=3.0)  # the fault: steps of no known length
    values = [float(problem.objective(x)) for x in iterates(late, RichardsonLucy(iterations=50))]
    assert any(b > a for a, b in pairwise(values))


def test_what_lies_beyond_the_borders_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = photons(ValidBlur(kernels.gaussian(2.0, 11)), side=32)
    x = iterates(problem, RichardsonLucy(iterations=60))[-1]
    torch.testing.assert_close(x[0, 0, 0, 0], problem.initial().mean())  # next to nothing of it is seen
    assert float(x.max()) < 10 * float(problem.y.max())
    monkeypatch.setattr("pnp.solvers.richardson_lucy.SEEN", 0.0)
    assert float(iterates(problem, RichardsonLucy(iterations=60))[-1].max()) > 1.5 * float(x.max())


def test_gaussian_noise_has_its_own_multiplicative_step() -> None:
    """x ⊙ Aᵀy/(AᵀAx), Daube-Witherspoon & Muehllehner 1986."""
    problem = Problem(CIRCULAR, photons().y, NoPrior(), Gaussian(0.05))
    a, y = dense(CIRCULAR, 16), problem.y.flatten().numpy()
    x = np.full(256, float(problem.initial().mean()))
    for found in iterates(problem, RichardsonLucy(iterations=4)):
        x = x * (a.T @ y) / (a.T @ a @ x)
        np.testing.assert_allclose(found.flatten().numpy(), x, rtol=1e-8)


@pytest.mark.parametrize("wish", [{"prior": "none"}, {"prior": "tv-smooth", "solver": "rl"}])
def test_a_job_takes_photons_where_nobody_told_a_noise(wish: dict[str, str]) -> None:
    x = torch.full((1, 1, 64, 64), 0.15)
    x[..., 20:40, 15:50], x[..., 28:34, 25:35] = 0.4, 0.9
    blur = Blur(kernels.gaussian(1.5, 9))
    counts = torch.poisson(300 * blur(x).clamp_min(0), generator=torch.Generator().manual_seed(1))
    said: list[str] = []
    y = counts[0, 0].numpy().astype(np.uint16)
    truth = (300 * x)[0, 0].numpy().astype(np.uint16)
    done = pnp.restore(y, operator="blur:std=1.5,border=circular", range=(0, 300), truth=truth, say=said.append,
                       iterations=60, **wish)  # fmt: skip
    assert "Poisson" in done.record.noise and any("assumes" in line for line in said)
    scores = done.record.metrics
    assert scores is not None and scores["psnr"][0] > scores["psnr_initial"][0] + 1
