"""What a picture that was clipped to [0, 1] says: its likelihood, its noise, and what every solver gains by them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_noise import photo, seeded
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.solver import Solver
from pnp.metrics import psnr
from pnp.noises import ClippedGaussian, Gaussian
from pnp.noises.clipped import find
from pnp.operators import Blur, Identity, Mask, kernels
from pnp.operators.base import Operator
from pnp.priors import TV, parse
from pnp.solvers import ADMM, FISTA, HQS


def found(y: Tensor, sigma: float | Tensor, known: Tensor | None = None) -> ClippedGaussian:
    there = ClippedGaussian(sigma).begin(y, known)
    assert isinstance(there, ClippedGaussian) and there.ends is not None
    return there


def measured(sigma: float = 0.2, operator: Operator | None = None, size: int = 64) -> tuple[Problem, Tensor]:
    x = photo("camera", size).clamp(0.02, 1)
    operator = Identity() if operator is None else operator
    y = Gaussian(sigma).draw(operator(x), seeded(1)).clamp(0, 1)
    return Problem(operator, y, TV(), ClippedGaussian(sigma), lam=3.0), x


@pytest.mark.parametrize("sigma", [25 / 255, 50 / 255])
def test_the_noise_that_is_left_is_known_from_the_picture(sigma: float) -> None:
    x = photo("astronaut")
    y = Gaussian(sigma).draw(x, seeded()).clamp(0, 1)
    problem = Problem(Identity(), y, TV(), ClippedGaussian(sigma))
    assert float(problem.noise_norm()) == pytest.approx(float(problem.residual(x)), rel=0.01)
    assert sigma * y[0].numel() ** 0.5 > 1.01 * float(problem.residual(x))  # planted: before it was clipped


def test_the_misfit_at_the_truth_has_mean_zero_where_the_residual_has_not() -> None:
    x = torch.full((1, 1, 200, 200), 0.05, dtype=torch.float64)
    y = Gaussian(0.2).draw(x, seeded()).clamp(0, 1)
    assert abs(float(found(y, 0.2).misfit(x, y).mean())) < 0.003
    assert float((x - y).mean()) < -0.05


@pytest.mark.parametrize("operator", [Identity(), Blur(kernels.gaussian(1.0, 5).double())], ids=["identity", "blur"])
def test_the_gradient_is_that_of_the_value_and_grows_no_faster_than_without_clipping(operator: Operator) -> None:
    problem, x = measured(operator=operator)
    x = (x + 0.1 * torch.randn(x.shape, generator=seeded(3), dtype=x.dtype)).requires_grad_()
    (expected,) = torch.autograd.grad(problem.data_value(x).sum(), x)
    torch.testing.assert_close(problem.data_grad(x.detach()), expected)
    other = torch.randn(x.shape, generator=seeded(4), dtype=x.dtype)
    apart = problem.data_grad(x.detach() + other) - problem.data_grad(x.detach())
    assert float(apart.norm()) <= float(problem.lipschitz()) * float(other.norm()) and float((apart * other).sum()) > 0


def test_the_sweeps_of_a_split_end_at_the_proximal_map() -> None:
    problem, x = measured(operator=Blur(kernels.gaussian(1.0, 5).double()))
    assert not problem.exact and replace(problem, noise=Gaussian(0.2)).exact
    v, tau = x + 0.1, 0.02
    z, split = problem.data_step(v, tau, problem.split(x), sweeps=300)
    assert split is not None
    assert float((problem.data_grad(z) + (z - v) / tau).abs().max()) < 1e-5
    same, _ = problem.data_step(v, tau, split, sweeps=1)
    torch.testing.assert_close(same, z, atol=1e-7, rtol=0)


@pytest.mark.parametrize("solver", [ADMM(iterations=150), FISTA(iterations=150)], ids=lambda s: type(s).__name__)
def test_solvers_agree_and_black_is_no_grey(solver: Solver) -> None:
    x = torch.full((1, 1, 48, 48), 0.02, dtype=torch.float64)
    x[..., 16:32, 16:32] = 0.6
    y = Gaussian(0.2).draw(x, seeded(1)).clamp(0, 1)
    problem = Problem(Identity(), y, TV(), ClippedGaussian(0.2), lam=5.0)
    result = solve(problem, solver, stop=())
    assert abs(float((result.x - x)[..., :12].mean())) < 0.02
    plain = replace(problem, noise=Gaussian(0.2))  # planted: the clipping is not known
    assert float((solve(plain, solver, stop=()).x - x)[..., :12].mean()) > 0.05
    best = problem.objective(solve(problem, FISTA(iterations=600), stop=()).x)
    assert float(problem.objective(result.x) / best) == pytest.approx(1, abs=1e-3)


def test_a_network_gains_by_it() -> None:
    x = photo("camera", 128).float()
    y = Gaussian(50 / 255).draw(x, seeded(1)).clamp(0, 1)
    prior = parse("unet", shape=(1, 128, 128))
    known, unknown = (
        psnr(solve(Problem(Identity(), y, prior, noise(50 / 255), lam=0.23), HQS(iterations=8), stop=()).x, x)
        for noise in (ClippedGaussian, Gaussian)
    )
    assert float(known) > float(unknown) + 0.3


def test_it_is_looked_for_image_by_image_and_where_pixels_are_known() -> None:
    x = photo("camera", 64).expand(2, 1, 64, 64)
    y = Gaussian(0.2).draw(x, seeded(1))
    y[1] = y[1].clamp(0, 1)
    both = found(y, torch.tensor([0.3, 0.2]).view(2, 1, 1, 1))
    assert both.ends is not None and both.ends.share[0] == 1 and 0.4 < both.ends.share[1] < 0.98
    assert int(both.ends.at.min()) >= 64 * 64 and 0 < both.ends.fraction < 0.5
    alone = found(y[1:], 0.2)
    torch.testing.assert_close(both.misfit(x, y)[1:], alone.misfit(x[1:], y[1:]))
    torch.testing.assert_close(both.value(x, y)[1:], alone.value(x[1:], y[1:]))
    inside = 0.2 + 0.6 * x[1:]  # no pixel at an end but those that were not measured
    known = (torch.rand(1, 1, 64, 64, generator=seeded(2)) > 0.5).double()
    assert find(inside * known, 0.05, known) is None
    assert find(inside * known, 0.05) is not None  # planted: as if they had been
    noise = Problem(Mask(known[0]), inside, TV(), ClippedGaussian(0.05)).noise
    assert isinstance(noise, ClippedGaussian) and noise.ends is None


def test_the_noise_that_is_left_is_that_of_the_measured_pixels() -> None:
    """Planted: what the holes hold counted with it."""
    x = torch.full((1, 1, 96, 96), 0.05, dtype=torch.float64)
    y = Gaussian(0.2).draw(x, seeded(1)).clamp(0, 1)
    known = torch.ones_like(x)
    known[..., 40:] = 0
    whole, part = found(y, 0.2).ends, found(y * known, 0.2, known).ends
    assert whole is not None and part is not None
    assert float(part.share) == pytest.approx(float(whole.share), rel=0.03)


def test_black_that_is_black_all_around_is_taken_at_its_word() -> None:
    x = torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    x[..., 5:27, 5:27] = 0.5
    there = found(x, 0.1)
    near = torch.nn.functional.max_pool2d(x, 3, stride=1, padding=1) > 0
    assert there.ends is not None
    assert torch.equal(there.ends.at, (near & (x == 0)).flatten().nonzero()[:, 0]) and not bool(there.ends.above.any())
    assert float(there.ends.share) == pytest.approx(float(near.double().mean()), abs=0.05)


def test_a_picture_of_a_batch_that_is_not_clipped_is_solved_as_if_alone() -> None:
    blur = Blur(kernels.gaussian(1.0, 5).double())
    x = photo("camera", 64).clamp(0.02, 1).expand(2, 1, 64, 64)
    y = Gaussian(0.2).draw(blur(x), seeded(1))
    y[0] = y[0].clamp(0, 1)
    both = solve(Problem(blur, y, TV(), ClippedGaussian(0.2), lam=4.0), ADMM())
    for i, noise in enumerate((ClippedGaussian(0.2), Gaussian(0.2))):
        alone = solve(Problem(blur, y[i : i + 1], TV(), noise, lam=4.0), ADMM())
        assert alone.iterations[0] == both.iterations[i]
        torch.testing.assert_close(both.x[i : i + 1], alone.x, atol=1e-9, rtol=0)
    unclipped = Problem(blur, y[1:], TV(), ClippedGaussian(0.2), lam=4.0)
    assert unclipped.exact and torch.equal(solve(unclipped, ADMM()).x, alone.x)
