"""The denoising auto-encoder in its three forms, the descents that were made for it, and turned denoisers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import GaussianDenoiser, images, squares
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.result import Status
from pnp.core.stopping import Tolerance
from pnp.jobs import Job, run
from pnp.linalg import trace
from pnp.operators import Blur, Identity, Mask, kernels
from pnp.priors import DAE, PnP, Tikhonov, parse
from pnp.priors.pnp import Turning
from pnp.registry import OPERATORS
from pnp.solvers import HQS, FixedPoint, MeanShift

S, SD = 0.3, 0.15  # of the Gaussian denoiser; of the auto-encoder
BLUR = Blur(kernels.gaussian(1.0, 5))


def blurred(sigma: float = 0.02) -> tuple[Tensor, Tensor]:
    x = squares(1, 1, 16, 16)
    return x, BLUR(x) + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=x.dtype)


def bent(x: Tensor, sigma: float | Tensor) -> Tensor:
    """A denoiser that is no linear map: a smooth shrinkage of what differs from the mean of the neighbours."""
    near = (x + x.roll(1, -1) + x.roll(-1, -1)) / 3
    return near + (x - near) * 0.5 * torch.tanh((x - near) / sigma) ** 2


def test_the_mean_shift_is_on_average_the_gradient_of_the_smoothed_density() -> None:
    x = images(1, 1, 8, 8)
    prior = DAE(GaussianDenoiser(S), SD).begin(x)
    mean = torch.stack([prior.grad(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, x / (S**2 + SD**2), rtol=0, atol=0.6)
    assert float((mean - x / S**2).abs().max()) > 1.5


def test_the_autoencoder_form_is_the_gradient_of_its_error_for_the_same_noise() -> None:
    x, d = images(1, 1, 8, 8), torch.randn(1, 1, 8, 8, dtype=torch.float64)

    def error(at: Tensor) -> Tensor:
        noise = torch.randn((1, 1, 8, 8), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        return (at - bent(at + SD * noise, SD)).square().sum() / (2 * SD**2)

    slope = (error(x + 1e-6 * d) - error(x - 1e-6 * d)) / 2e-6
    grad = DAE(bent, SD, "autoencoder", seed=5).begin(x).grad(x)
    torch.testing.assert_close((grad * d).sum(), slope, rtol=1e-5, atol=1e-5)
    assert abs(float((DAE(bent, SD, "mean-shift", seed=5).begin(x).grad(x) * d).sum() - slope)) > 0.1


def test_the_gradient_step_form_is_the_gradient_of_its_value() -> None:
    x, d = images(1, 1, 8, 8), torch.randn(1, 1, 8, 8, dtype=torch.float64)
    prior = DAE(bent, SD, "gradient-step")
    slope = (prior.value(x + 1e-6 * d) - prior.value(x - 1e-6 * d)) / 2e-6
    torch.testing.assert_close((prior.grad(x) * d).sum().view(1), slope, rtol=1e-5, atol=1e-5)
    assert prior.offers() == {"grad", "value"} and DAE(bent, SD).offers() == {"grad"}
    with pytest.raises(NotImplementedError, match="Use form=gradient-step"):
        DAE(bent, SD).value(x)


@pytest.mark.parametrize("size", [0.01, 30.0])
def test_backtracking_takes_the_first_step_that_lowers_the_objective_enough(size: float) -> None:
    """F(x⁺) <= F(x) − 0.1 ‖x⁺ − x‖²/tau, a quadratic problem at any scale.  Planted: ‖x⁺ − x‖ without its square."""
    x, tau = size * images(1, 1, 12, 12), 1.0
    problem, solver = Problem(Identity(), x, Tikhonov(), sigma=0.5, lam=20.0), FixedPoint(tau=1.0)
    found = solver.step(problem, solver.init(problem, x), 0)

    def trial(tau: float) -> Tensor:
        return problem.data_prox(x - tau * 20 * x, tau)

    def gain(tau: float) -> float:
        return float(problem.objective(x) - problem.objective(trial(tau)))

    while gain(tau) < 0.1 * float((trial(tau) - x).square().sum()) / tau:
        tau /= 2
    assert 0.01 < tau < 1 and float(found.tau) == tau and torch.equal(found.x, trial(tau))


@pytest.mark.parametrize("tau", [None, 1.0])
def test_backtracking_never_raises_the_objective_and_says_which_theorem_holds(tau: float | None) -> None:
    _, y = blurred()
    problem = Problem(BLUR, y, DAE(bent, SD, "gradient-step"), sigma=0.02, lam=0.5)
    result = solve(problem, FixedPoint(tau=tau, iterations=60), stop=(), record=("objective",))
    values = result.history["objective"][:, 0]
    assert bool((values.diff() <= 0).all()) and float(values[-1]) < 0.9 * float(problem.objective(problem.initial()))
    assert "never rises" in str(result.convergence.theorem)
    free = solve(problem, FixedPoint(tau=1.0, backtrack=False, iterations=60), stop=(), record=("objective",))
    assert bool((free.history["objective"].diff(dim=0) > 0).any()) and free.convergence.theorem is None


@pytest.mark.parametrize("form", ["mean-shift", "autoencoder"])
def test_the_draws_of_a_solve_come_from_its_seed(form: str) -> None:
    _, y = blurred()
    problems = [Problem(BLUR, y, DAE(bent, SD, form, seed=seed), sigma=0.02) for seed in (0, 0, 1)]  # type: ignore[arg-type]
    a, b, c = (solve(p, MeanShift(iterations=5), stop=()).x for p in problems)
    assert torch.equal(a, b) and not torch.equal(a, c)
    again = solve(problems[0], MeanShift(iterations=5), stop=()).x  # the prior itself has drawn nothing
    assert torch.equal(a, again)


def test_blind_descent_rests_where_its_noise_level_explains_what_is_left() -> None:
    """At rest: AᵀAx + v x/(s² + s_d²) = Aᵀy with v = (‖Ax − y‖² + s_d² tr(AᵀA))/m."""
    _, y = blurred(0.1)
    quiet = parse("red:denoiser=nlm,sigma=0.15")
    quiet.denoiser = GaussianDenoiser(S)  # type: ignore[attr-defined]
    solver = MeanShift(blind=True, iterations=3000)
    x = solve(Problem(BLUR, y, quiet, sigma=1e-3), solver, stop=(Tolerance(1e-12),)).x
    m, tr = y.numel(), trace(BLUR.normal, x)
    variance = (float((BLUR(x) - y).square().sum()) + SD**2 * tr) / m
    expected = BLUR.solve_normal(BLUR.adjoint(y), variance / (S**2 + SD**2))
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-6)
    other = solve(Problem(BLUR, y, quiet, sigma=7.0), solver, stop=(Tolerance(1e-12),)).x
    assert torch.equal(x, other)  # what it is told of sigma does not matter


def test_the_trace_is_that_of_the_matrix() -> None:
    mask = Mask((images(1, 1, 32, 32)[0] > 0.4).float())
    assert trace(mask.normal, images(1, 1, 32, 32)) == float(mask.mask.sum())
    k = kernels.gaussian(1.0, 5)
    assert trace(BLUR.normal, images(1, 3, 64, 64)) == pytest.approx(3 * 64 * 64 * float(k.square().sum()), rel=0.05)


def test_a_turned_denoiser_sees_eight_orientations_and_turns_its_answer_back() -> None:
    seen: list[Tensor] = []

    def left(x: Tensor, sigma: float | Tensor) -> Tensor:
        seen.append(x)
        return x.roll(1, -1)

    x = images(1, 1, 6, 9)
    turning = Turning(left)
    answers = [turning(x, 0.1) for _ in range(9)]
    assert all(a.shape == x.shape for a in answers) and torch.equal(answers[0], x.roll(1, -1))
    assert len({tuple(s.flatten().tolist()) for s in seen[:8]}) == 8 and torch.equal(seen[8], seen[0])
    moves = [x.roll(1, -1), x.roll(-1, -1), x.roll(1, -2), x.roll(-1, -2)]
    assert all(any(torch.equal(a, m) for m in moves) for a in answers)
    assert all(any(torch.equal(a, m) for a in answers) for m in moves)


def test_each_solve_begins_with_the_picture_upright() -> None:
    _, y = blurred()
    problem = Problem(BLUR, y, PnP(lambda x, s: (x + x.roll(1, -1)) / 2, turns=True), sigma=0.02, lam=0.23)
    first, second = (solve(problem, HQS(iterations=3), stop=()).x for _ in range(2))
    still = solve(replace(problem, prior=PnP(lambda x, s: (x + x.roll(1, -1)) / 2)), HQS(iterations=3), stop=()).x
    assert torch.equal(first, second) and not torch.equal(first, still)


def test_bad_settings_of_the_auto_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        DAE(bent, 0.0)
    with pytest.raises(ValueError, match="Did you mean 'mean-shift'"):
        DAE(bent, SD, "meanshift")  # type: ignore[arg-type]


def test_a_line_search_that_finds_no_descent_is_no_convergence() -> None:
    class Wrong(DAE):
        def begin(self, x0: Tensor) -> DAE:
            return self

        def grad(self, x: Tensor) -> Tensor:
            return -super().grad(x)

    _, y = blurred()
    problem = Problem(BLUR, y, Wrong(bent, SD, "gradient-step"), sigma=1.0, lam=50.0)
    result = solve(problem, FixedPoint(iterations=4), stop=(Tolerance(1e-3),))
    assert result.status == (Status.LIMIT,) and torch.equal(result.x, problem.initial())
    assert float(result.convergence.residual) > 1e-3


def test_a_descent_of_short_steps_does_not_stop_before_it_has_moved() -> None:
    mask = Mask((images(1, 1, 24, 24)[0] > 0.5).float())
    x = squares(1, 1, 24, 24)
    problem = Problem(mask, mask(x), DAE(bent, SD), sigma=0.0004)
    assert solve(problem, MeanShift(iterations=30)).iterations == (30,)


def test_a_blind_descent_needs_a_prior_that_says_how_much_it_smooths() -> None:
    with pytest.raises(ValueError, match="needs a prior that smooths: dae or red"):
        solve(Problem(BLUR, blurred()[1], parse("tikhonov"), sigma=0.1), MeanShift(blind=True))


def test_a_blind_descent_needs_no_noise_level() -> None:
    spec = "sensing:kind=structured,ratio=0.6"
    operator, x = OPERATORS.build(spec, shape=(1, 24, 24), seed=0), squares(1, 1, 24, 24)
    y = operator(x)
    y = y + 0.05 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    job = Job(spec, "dae:denoiser=nlm", solver="mean-shift:blind=true", iterations=5, size=(1, 24, 24))
    told, not_told = run(replace(job, sigma=0.01), y), run(job, y)
    assert torch.equal(told.restored, not_told.restored)
    assert told.record.sigma.value == 0.01 and told.record.residual_over_noise
    assert not_told.record.sigma.value is None and not_told.record.residual_over_noise is None
    assert "not judged" in not_told.record.verdict[0]
    with pytest.raises(ValueError, match="mean-shift:blind=true"):
        run(replace(job, solver="mean-shift"), y)
