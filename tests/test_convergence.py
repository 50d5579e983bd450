"""What a result says about where it ended: fit, whiteness, the Lipschitz constant, the verdict, and the guard."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from conftest import GaussianDenoiser, images
from torch import Tensor

from pnp.core.certificate import Convergence
from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.recording import Snapshot
from pnp.core.result import Status
from pnp.core.schedules import Geometric
from pnp.core.solver import ImageState, Solver
from pnp.core.stopping import StopRule
from pnp.operators import BlockSensing, Blur, Identity, Mask, kernels
from pnp.priors import RED, PnP, Tikhonov
from pnp.priors.base import Prior
from pnp.solvers import FISTA, HQS, GradientDescent

SIGMA = 0.05


def ended(r: Tensor, operator: object = None, sigma: float = SIGMA, prior: Prior | None = None) -> Convergence:
    """A solve that left the residual r = y − Ax."""
    problem = Problem(operator or Identity(), r, prior or Tikhonov(), sigma=sigma)  # type: ignore[arg-type]
    return Convergence(None, torch.zeros(len(r)), True, problem, torch.zeros_like(problem.aty))


def noise(*shape: int) -> Tensor:
    return SIGMA * torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_white_noise_of_the_right_size_looks_like_the_noise() -> None:
    end, blurred = ended(noise(2, 1, 64, 64)), ended(noise(2, 1, 64, 64), Blur(kernels.gaussian(0.8, 5)))
    torch.testing.assert_close(end.fit, torch.ones(2, dtype=torch.float64), rtol=0, atol=0.03)
    assert end.whiteness is not None and float(end.whiteness.abs().max()) < 0.06
    said = "The residual looks like noise of the estimated level."
    assert end.verdict == (said, said)  # the identity has no kernel
    assert blurred.verdict == (f"{said} This cannot rule out a wrong kernel.",) * 2


CHECKS = (torch.arange(64)[:, None] + torch.arange(64)).remainder(2).double()[None, None]


@pytest.mark.parametrize(
    ("residual", "verdict"),
    [
        (SIGMA * (2 * CHECKS - 1), "structure of the picture"),
        (2 * noise(1, 1, 64, 64), "larger than the noise"),
        (0.5 * noise(1, 1, 64, 64), "smaller than the noise"),
        (2.5 * Blur(kernels.gaussian(0.8, 5))(noise(1, 1, 64, 64)), "structure of the picture"),
    ],
)
def test_the_verdict_names_what_is_wrong(residual: Tensor, verdict: str) -> None:
    assert verdict in ended(residual).verdict[0]


def test_missing_pixels_say_nothing_about_whiteness() -> None:
    mask = Mask((images(1, 1, 64, 64)[0] > 0.5).float())
    smooth = Blur(kernels.gaussian(2.0, 9))(noise(1, 1, 64, 64))
    whole, holed = ended(smooth).whiteness, ended(smooth * mask.mask, mask).whiteness
    assert whole is not None and holed is not None
    torch.testing.assert_close(holed, whole, rtol=0, atol=0.05)


def test_measurements_that_are_no_picture_have_no_whiteness() -> None:
    sensing = BlockSensing(torch.eye(16, dtype=torch.float64)[:8], (1, 8, 8), 4)
    end = ended(sensing(images(1, 1, 8, 8)), sensing)
    assert end.whiteness is None and "larger than the noise" in end.verdict[0]


@pytest.mark.parametrize("s", [0.1, 0.3])
def test_the_lipschitz_constant_is_that_of_the_gaussian_denoiser(s: float) -> None:
    """D − Id = −x t/(s² + t), t = lam tau."""
    problem = Problem(Identity(), images(2, 1, 12, 12), PnP(GaussianDenoiser(s)), sigma=SIGMA, lam=0.5)
    found = solve(problem, HQS(tau=0.04, iterations=3)).convergence.lipschitz
    expected = torch.full((2,), 0.02 / (s**2 + 0.02), dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    red = Problem(Identity(), images(2, 1, 12, 12), RED(GaussianDenoiser(s), 0.2), sigma=SIGMA)
    found = solve(red, GradientDescent(iterations=3)).convergence.lipschitz
    torch.testing.assert_close(found, torch.full((2,), 0.2**2 / (s**2 + 0.2**2), dtype=torch.float64))


def test_an_expansive_denoiser_shows_in_the_prox_of_red() -> None:
    """(v + t 3v)/(1 + t) − v = v 2t/(1 + t), t = lam tau/sigma² = 3."""
    problem = Problem(Identity(), images(2, 1, 12, 12), RED(lambda x, sigma: 3 * x, 0.2), sigma=SIGMA, lam=1.0)
    found = solve(problem, HQS(tau=0.12, iterations=2)).convergence.lipschitz
    torch.testing.assert_close(found, torch.full((2,), 1.5, dtype=torch.float64))


def test_the_lipschitz_constant_finds_the_steepest_direction() -> None:
    gain = torch.ones(12, 12, dtype=torch.float64)
    gain[3, 4] = 2.5
    steep = PnP(lambda x, sigma: x - gain * x)
    problem = Problem(Identity(), images(1, 1, 12, 12), steep, sigma=SIGMA)
    end = Convergence(None, torch.zeros(1), False, problem, problem.y, tau=0.01)
    assert 2.0 < float(end.lipschitz) <= 2.5 + 1e-9  # type: ignore[arg-type]
    assert "Lipschitz constant of D − Id about" in str(end)
    assert Convergence(None, torch.zeros(1), True, problem, problem.y, tau=0.01).lipschitz is None  # convex: known


@dataclass(frozen=True)
class Wild(Solver):
    """Halves the picture for five steps, then doubles its distance from there at every step."""

    iterations: int = 60

    def init(self, problem: Problem, x0: Tensor) -> ImageState:
        return ImageState(x0)

    def step(self, problem: Problem, state: ImageState, k: int) -> ImageState:
        return ImageState(state.x * (0.5 if k < 5 else 3.0))


def test_the_guard_returns_the_iterate_that_moved_least_long_before_anything_overflows() -> None:
    problem = Problem(Identity(), images(2, 1, 8, 8), Tikhonov(), sigma=SIGMA)
    result = solve(problem, Wild())
    assert result.status == (Status.DIVERGED,) * 2 and max(result.iterations) < 15
    torch.testing.assert_close(result.x, problem.initial() * 0.5**5)
    assert "ran away" in result.reason[0] and "moved least" in result.status[0].value


def test_the_lipschitz_constant_compares_like_with_like_where_the_picture_is_turned() -> None:
    """D = (x + x moved)/2: D − Id has norm 1, in whatever orientation it is seen."""
    prior = PnP(lambda x, sigma: (x + x.roll(1, -1)) / 2, turns=True)
    problem = Problem(Identity(), images(1, 1, 12, 12), prior, sigma=SIGMA)
    found = solve(problem, HQS(iterations=3)).convergence.lipschitz
    assert found is not None and 0.8 < float(found) <= 1 + 1e-9


def test_the_lipschitz_constant_of_each_picture_is_that_at_its_own_last_step() -> None:
    problem = Problem(Identity(), images(2, 1, 12, 12), PnP(GaussianDenoiser(0.3)), sigma=SIGMA, lam=0.5)

    class First(StopRule):
        reason = "the first picture after two steps"

        def __call__(self, now: Snapshot) -> Tensor:
            return torch.tensor([now.k == 1, False])

    end = solve(problem, HQS(tau=Geometric(0.1, 0.001), iterations=4), stop=(First(),))
    taus = torch.tensor([Geometric(0.1, 0.001, 4)(1), 0.001], dtype=torch.float64) * 0.5
    torch.testing.assert_close(end.convergence.lipschitz, taus / (0.3**2 + taus))


def test_a_start_from_black_is_no_run_away() -> None:
    problem = Problem(Blur(kernels.gaussian(1.0, 5)), images(1, 1, 24, 24), Tikhonov(), sigma=0.01, lam=1e-3)
    black = torch.zeros(1, 1, 24, 24, dtype=torch.float64)
    result = solve(problem, FISTA(tau=1e-7, iterations=60), x0=black)
    assert result.status == (Status.LIMIT,)
