"""The loop: why and when it stops, image by image, what it records, what it promises, and the choice of lam."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from conftest import GaussianDenoiser, images, squares
from torch import Tensor

from pnp.core.loop import freeze, solve
from pnp.core.problem import Problem
from pnp.core.recording import Snapshot
from pnp.core.result import Result, Status
from pnp.core.solver import ImageState
from pnp.core.stopping import Discrepancy, Objective, Plateau, Seconds, StopRule, Tolerance
from pnp.metrics import psnr, ssim
from pnp.noises import Gaussian
from pnp.operators import Identity
from pnp.parameters.default import default_solver
from pnp.parameters.weight import _Search, fit_lam, visible_noise
from pnp.priors import L1, RED, TV, PnP, Prior, Projector, Tikhonov, WaveletL1, parse
from pnp.registry import OPERATORS, SOLVERS
from pnp.solvers import ADMM, FISTA, HQS, ChambollePock, CondatVu, Descent, GradientDescent, ProximalGradient, Solver


@dataclass(frozen=True)
class Scripted(Solver):
    """x_k = the k-th entry of a script, one number an image: a loop whose every step is known."""

    script: tuple[tuple[float, ...], ...] = ()
    iterations: int = 100
    pause: float = 0.0
    needs: ClassVar[tuple[str, ...]] = ()

    def init(self, problem: Problem, x0: Tensor) -> ImageState:
        return ImageState(x0)

    def step(self, problem: Problem, state: ImageState, k: int) -> ImageState:
        time.sleep(self.pause)
        values = torch.tensor(self.script[min(k, len(self.script) - 1)], dtype=state.x.dtype)
        return ImageState(values.view(-1, 1, 1, 1).expand(state.x.shape).clone())


def problem(batch: int = 1, prior: Prior | None = None, sigma: float = 0.1, lam: float = 5.0) -> Problem:
    """Denoising of `batch` pictures whose truth is at hand."""
    x = squares(batch, 1, 16, 16)
    y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    return Problem(Identity(), y, prior or TV(), sigma, lam)


def scripted(*rows: tuple[float, ...], **settings: float) -> tuple[Problem, Scripted]:
    zero = torch.zeros(len(rows[0]), 1, 4, 4, dtype=torch.float64)
    return Problem(Identity(), zero, Tikhonov()), Scripted(
        script=rows, iterations=int(settings.pop("iterations", len(rows))), **settings
    )


# Stop rules


def test_tolerance_stops_each_picture_where_its_change_is_small() -> None:
    rows = [(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (2.0, 4.0), (2.0, 4.0), (7.0, 4.0), (8.0, 4.0)]
    result = solve(*scripted(*rows), stop=(Tolerance(1e-3),))
    assert result.status == (Status.CONVERGED,) * 2 and result.reason == ("relative change at most 0.001",) * 2
    assert 3 <= result.iterations[0] <= 5 <= result.iterations[1] <= 7 and result.iterations[0] < result.iterations[1]
    assert result.x.mean((1, 2, 3)).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("rule", "count", "status", "reason"),
    [
        (Objective(4.5), 3, Status.CONVERGED, "objective at most 4.5"),
        (Discrepancy(0.5), 3, Status.CONVERGED, "residual at most 0.5 sigma √m (discrepancy)"),
        (Plateau("residual", window=2), 8, Status.CONVERGED, "residual on a plateau for 2 iterations"),
        (Plateau("objective", window=3, tol=1e-6), 9, Status.CONVERGED, "objective on a plateau for 3 iterations"),
    ],
)
def test_each_rule_fires_with_its_reason(rule: StopRule, count: int, status: Status, reason: str) -> None:
    # f = 16 x²/2, g = 16 x²/2, ‖Ax − y‖ = 4 |x|, sigma √m = 4
    rows = [(v,) for v in (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625)]
    result = solve(*scripted(*rows), stop=(rule,))
    assert (result.iterations, result.status, result.reason) == ((count,), (status,), (reason,))


def test_the_limits_fire_with_their_reasons() -> None:
    rows = [(float(k),) for k in range(1, 6)]
    result = solve(*scripted(*rows), stop=(Tolerance(1e-9),))
    assert (result.status, result.reason, result.iterations) == ((Status.LIMIT,), ("5 iterations",), (5,))
    assert solve(*scripted(*rows), iterations=2, stop=()).reason == ("2 iterations",)
    slow = solve(*scripted(*rows, pause=0.02), stop=(Seconds(0.05),))
    assert (slow.status, slow.reason) == ((Status.LIMIT,), ("time limit of 0.05 s",)) and 2 <= slow.iterations[0] <= 3
    assert all(len(s.value) > 15 for s in Status) and "more iterations" in slow.status[0].value


def test_the_first_rule_that_fires_gives_the_reason() -> None:
    rows = [(2.0,), (1.0,), (0.5,), (0.25,), (0.1,)]
    rules = (Objective(16.5), Discrepancy(0.5))
    assert solve(*scripted(*rows), stop=rules).reason == ("objective at most 16.5",)
    assert solve(*scripted(*rows), stop=rules[::-1]).iterations == (2,)


@pytest.mark.parametrize("make", [lambda: Tolerance(0), lambda: Tolerance(float("nan")), lambda: Seconds(-1.0)])
def test_wrong_limits_are_refused(make) -> None:
    with pytest.raises(ValueError, match="above 0"):
        make()


def test_discrepancy_stops_at_the_noise() -> None:
    p = problem(lam=50.0)
    result = solve(p, ProximalGradient(tau=0.001, iterations=200), x0=torch.zeros_like(p.y), stop=(Discrepancy(2.0),))
    assert result.status == (Status.CONVERGED,)
    assert 0.9 * 2 < float(p.residual(result.x) / p.noise_norm()) <= 2


# Per-image stopping


def test_a_stopped_picture_no_longer_changes_and_its_rows_repeat() -> None:
    rows = [(4.0, 4.0), (1.0, 3.0), (0.3, 2.0), (7.0, 1.0), (8.0, 0.3), (9.0, 9.0)]
    seen: list[Tensor] = []
    result = solve(
        *scripted(*rows),
        stop=(Discrepancy(0.5),),
        record=("change", "residual", "objective"),
        metrics={"mean": lambda x: x.mean((1, 2, 3))},
        callbacks=[lambda now: seen.append(now.x.clone())],
    )
    assert result.iterations == (3, 5) and len(seen) == 5
    assert result.x.mean((1, 2, 3)).tolist() == [0.3, 0.3]
    assert [float(x[0].mean()) for x in seen] == [4, 1, 0.3, 0.3, 0.3]
    for name in ("change", "residual", "objective", "mean"):
        values = result.history[name]
        assert values.shape == (5, 2) and values[2:, 0].eq(values[2, 0]).all(), name
        assert len(values[:, 1].unique()) > 3, name
    torch.testing.assert_close(result.convergence.residual, result.history["change"][-1])


def test_the_history_of_a_picture_is_that_of_its_own_solve() -> None:
    p = problem(2)
    p = replace(p, noise=Gaussian(torch.tensor([0.1, 0.02], dtype=torch.float64).view(2, 1, 1, 1)))
    together = solve(p, FISTA(), record=("change", "objective"))
    for i in range(2):
        alone = replace(p, y=p.y[i : i + 1], noise=Gaussian(float(p.sigma[i])))
        one = solve(alone, FISTA(), record=("change", "objective"))
        n = one.iterations[0]
        for name in ("change", "objective"):
            torch.testing.assert_close(together.history[name][:n, i], one.history[name][:, 0], rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(together.convergence.residual[i : i + 1], one.convergence.residual)


def test_freeze_reaches_into_tuples() -> None:
    active = torch.tensor([True, False])
    old, new = (torch.zeros(2, 3), (torch.zeros(2, 1, 4),), 7), (torch.ones(2, 3), (torch.ones(2, 1, 4),), 8)
    frozen = freeze(active, new, old)
    assert frozen[0].tolist() == [[1] * 3, [0] * 3] and frozen[1][0].flatten(1).tolist() == [[1] * 4, [0] * 4]
    assert frozen[2] == 8 and isinstance(freeze(active, ImageState(old[0]), ImageState(new[0])), ImageState)


# When it goes wrong


def test_a_diverging_picture_returns_the_iterate_that_moved_least_and_spares_the_others() -> None:
    rows = [(1.0, 1.0), (2.0, 2.0), (float("nan"), 3.0), (5.0, 4.0)]
    result = solve(*scripted(*rows), stop=(), record=("change", "residual"))
    assert result.status == (Status.DIVERGED, Status.LIMIT) and result.reason[0] == "not finite at iteration 3"
    assert result.x.mean((1, 2, 3)).tolist() == [1, 4] and result.iterations == (2, 4)
    assert all(bool(torch.isfinite(v).all()) for v in result.history.values())
    assert "Lower tau" in result.status[0].value


@pytest.mark.parametrize("solver", [ProximalGradient(tau=10.0), FISTA(tau=10.0), GradientDescent(tau=10.0)])
def test_a_solver_with_too_long_a_step_diverges_and_says_so(solver: Solver) -> None:
    p = problem(prior=Tikhonov(), lam=1e-3)
    p = replace(p, y=p.y.float())
    result = solve(p, replace(solver, iterations=300), stop=())
    assert result.status == (Status.DIVERGED,) and bool(torch.isfinite(result.x).all())


def test_an_interrupt_in_a_callback_returns_the_last_iterate() -> None:
    seen: list[Snapshot] = []

    def interrupt(now: Snapshot) -> None:
        seen.append(now)
        if now.k == 3:
            raise KeyboardInterrupt

    result = solve(problem(2), FISTA(), stop=(), callbacks=[interrupt])
    assert result.status == (Status.INTERRUPTED,) * 2 and result.reason == ("interrupted",) * 2
    assert result.iterations == (4, 4) and result.history["change"].shape == (4, 2)
    assert torch.equal(result.x, seen[-1].x)


def test_an_interrupt_in_a_step_returns_the_iterate_before() -> None:
    class Interrupted(FISTA):
        def step(self, problem: Problem, state: object, k: int) -> object:
            if k == 2:
                raise KeyboardInterrupt
            return super().step(problem, state, k)

    result = solve(problem(), Interrupted(), stop=())
    assert result.status == (Status.INTERRUPTED,) and result.iterations == (2,)
    torch.testing.assert_close(result.x, solve(problem(), FISTA(), iterations=2, stop=()).x)


@pytest.mark.parametrize(
    "x0", [torch.zeros(1, 1, 15, 16), torch.zeros(2, 1, 16, 16), torch.zeros(1, 3, 16, 16), torch.zeros(16, 16)]
)
def test_a_first_image_of_the_wrong_shape_is_refused_at_the_door(x0: Tensor) -> None:
    with pytest.raises(ValueError, match="x0 has shape"):
        solve(problem(), FISTA(), x0=x0.double())


def test_wrong_input_is_refused_at_the_door() -> None:
    y = torch.rand(2, 1, 8, 8)
    for wrong, error, says in [
        (y[0], ValueError, r"y has shape \(1, 8, 8\); expected \(B, C, H, W\)"),
        (y.int(), TypeError, "y has dtype torch.int32"),
        (y.numpy(), TypeError, "y is a ndarray"),
        (y / 0 * 0, ValueError, "y has 128 values that are NaN or infinite"),
        (y[:, :0], ValueError, "it is empty"),
    ]:
        with pytest.raises(error, match=says):
            Problem(Identity(), wrong, TV())
    for settings in (
        {"sigma": 0},
        {"sigma": -1.0},
        {"lam": float("nan")},
        {"lam": torch.tensor([[[[1.0]]], [[[0.0]]]])},
    ):
        with pytest.raises(ValueError, match="above 0"):
            Problem(Identity(), y, TV(), **settings)
    with pytest.raises(ValueError, match="x0 has 4 values that are NaN"):
        x0 = torch.where(torch.arange(128).view(2, 1, 8, 8) < 4, float("nan"), 0.5)
        solve(Problem(Identity(), y, TV()), FISTA(), x0=x0)
    with pytest.raises(ValueError, match=r"sigma has shape \(2,\); expected a number or \(2, 1, 1, 1\)"):
        Problem(Identity(), y, TV(), sigma=torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match="iterations"):
        solve(Problem(Identity(), y, TV()), FISTA(), iterations=0)
    with pytest.raises(ValueError, match="Did you mean 'residual'"):
        solve(Problem(Identity(), y, TV()), FISTA(), record=("residuum",))


# What is recorded


def test_the_history_has_a_row_for_each_iteration_and_a_column_for_each_picture() -> None:
    result = solve(
        problem(3),
        FISTA(iterations=6),
        stop=(),
        record=("objective", "residual"),
        metrics={"psnr": lambda x: psnr(x, x)},
    )
    assert {k: tuple(v.shape) for k, v in result.history.items()} == {
        "objective": (6, 3), "residual": (6, 3), "psnr": (6, 3), "seconds": (6,)}  # fmt: skip
    assert bool((result.history["seconds"].diff() > 0).all())
    last = problem(3).objective(result.x)
    torch.testing.assert_close(result.history["objective"][-1], last)


def test_what_a_rule_looks_back_at_is_recorded_for_it() -> None:
    result = solve(problem(), FISTA(iterations=5), stop=(Plateau("residual"),), record=())
    assert set(result.history) == {"residual", "seconds"}


def test_metrics_and_callbacks_are_not_on_the_clock() -> None:
    def slow(now: Snapshot | Tensor) -> Tensor:
        time.sleep(0.05)
        return torch.zeros(1)

    begun = time.perf_counter()
    result = solve(
        problem(prior=Tikhonov()), ProximalGradient(iterations=4), stop=(), metrics={"slow": slow}, callbacks=[slow]
    )
    assert time.perf_counter() - begun > 0.4 > 0.2 > result.seconds > 0
    assert result.seconds == pytest.approx(float(result.history["seconds"][-1]))
    pausing = solve(*scripted((1.0,), (2.0,), (3.0,), pause=0.02), stop=())
    assert pausing.seconds > 0.06


def test_a_snapshot_shows_the_iteration() -> None:
    p, seen = problem(2), []
    solve(p, FISTA(iterations=3), stop=(), callbacks=[seen.append])
    assert [now.k for now in seen] == [0, 1, 2]
    torch.testing.assert_close(seen[1].objective, p.objective(seen[1].x))
    torch.testing.assert_close(seen[1].get("residual"), (seen[1].x - p.y).flatten(1).norm(dim=1))
    change = (seen[1].x - seen[0].x).flatten(1).norm(dim=1) / seen[1].x.flatten(1).norm(dim=1)
    torch.testing.assert_close(seen[1].change, change)
    assert not seen[1].x.requires_grad and seen[0].seconds <= seen[1].seconds


def test_a_result_tells_its_story() -> None:
    text = str(solve(problem(2), FISTA(iterations=3), stop=()))
    assert text.splitlines()[1] == "image 1: limit after 3 iterations (3 iterations)" and "fixed-point residual" in text
    result = solve(problem(2), FISTA(iterations=3))
    assert result.problem.sigma == 0.1 and result.x.shape == (2, 1, 16, 16) and len(result.status) == 2


# Theorems


PNP = PnP(GaussianDenoiser(0.3))


@pytest.mark.parametrize(
    ("solver", "prior", "holds"),
    [
        (ADMM(), TV(), "Boyd"), (ADMM(tau=0.1), TV(), "Boyd"), (ADMM(), PNP, None),
        (ADMM(), parse("tv+haar:levels=2"), "Boyd"),
        (ADMM(tau=lambda k: 1 / (k + 1)), TV(), None), (HQS(tau=0.1), TV(), "f_tau"), (HQS(), TV(), None),
        (HQS(tau=0.1), PNP, None), (ProximalGradient(), L1(), "minimiser"), (ProximalGradient(), PNP, None),
        (ProximalGradient(tau=1.0), TV(), None), (FISTA(restart=False), TV(), "Beck"),
        (FISTA(restart=False), PNP, None),
        (FISTA(), TV(), None), (FISTA(restart=False, tau=1.0), TV(), None), (ChambollePock(), TV(), "Chambolle"),
        (ChambollePock(), PNP, None), (CondatVu(), TV(), "Condat"), (CondatVu(), PNP, None),
        (GradientDescent(), Tikhonov(), "Nesterov"), (GradientDescent(momentum=0.9), Tikhonov(), None),
        (GradientDescent(tau=0.1), Tikhonov(), None), (Descent(optimizer="Adam", lr=0.1), Tikhonov(), None),
        (GradientDescent(), RED(GaussianDenoiser(0.3), 0.1), None),
        (ADMM(), Projector(GaussianDenoiser(0.3), 0.1), None),
        (ADMM(), WaveletL1("haar", 2), "Boyd"), (ADMM(), WaveletL1("haar", 5), None),
    ],
)  # fmt: skip
def test_a_theorem_is_claimed_only_where_its_hypotheses_hold(solver: Solver, prior: Prior, holds: str | None) -> None:
    result = solve(problem(prior=prior), replace(solver, iterations=2), stop=())
    theorem = result.convergence.theorem
    assert (theorem is None) == (holds is None) and (holds is None or holds in str(theorem))
    assert ("no theorem applies" in str(result.convergence)) == (holds is None)
    assert f"fixed-point residual {float(result.convergence.residual.max()):.1e}" in str(result.convergence)


def test_without_a_theorem_the_reason_is_not_put_on_a_convex_prior() -> None:
    text = str(solve(problem(), ProximalGradient(tau=0.001, iterations=2), stop=()).convergence)
    assert "not a closed convex function" not in text  # TV is one: it is the step that was chosen by hand


def test_no_step_keeps_the_graph_of_a_trainable_denoiser() -> None:
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    graphs = []

    def denoiser(x: Tensor, sigma: float | Tensor) -> Tensor:
        graphs.append(x.requires_grad)
        return 0.9 * weight * x

    solve(problem(1, PnP(denoiser)), ADMM(tau=0.1, iterations=3))
    solve(problem(1, RED(denoiser, 0.1)), GradientDescent(tau=1e-3, iterations=3))
    assert len(graphs) >= 6 and not any(graphs)


# The choice of lam and of the solver


@pytest.mark.parametrize("prior", ["tv", "haar:levels=2,invariant=false", "tikhonov"])
def test_fit_lam_brings_the_residual_to_the_noise(prior: str) -> None:
    p = problem(2, parse(prior))
    p = replace(p, noise=Gaussian(torch.tensor([0.1, 0.05], dtype=torch.float64).view(2, 1, 1, 1)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lam, x = fit_lam(p, ADMM(iterations=60))
    assert lam.shape == (2, 1, 1, 1) and bool((lam > 0).all())
    torch.testing.assert_close(p.residual(x), p.noise_norm().double().expand(2), rtol=0.02, atol=0)
    again = solve(replace(p, lam=lam), ADMM(iterations=200), stop=(Tolerance(1e-5),)).x
    torch.testing.assert_close(p.residual(again), p.noise_norm().double().expand(2), rtol=0.03, atol=0)


def test_fit_lam_meets_the_discrepancy_on_a_blurred_picture() -> None:
    op, x = OPERATORS.build("blur:std=1,size=5"), squares(1, 1, 24, 24)
    y = op(x) + 0.02 * torch.randn(x.shape, dtype=torch.float64)
    p = Problem(op, y, TV(), 0.02)
    _, restored = fit_lam(p, ADMM(iterations=60))
    assert float(p.residual(restored) / p.noise_norm()) == pytest.approx(1, abs=0.02)
    assert float(psnr(restored, x)) > float(psnr(y, x)) + 2
    _, smoother = fit_lam(p, ADMM(iterations=60), c=1.2)
    assert float(p.residual(smoother) / p.noise_norm()) == pytest.approx(1.2, rel=0.02)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_search_for_lam_does_not_creep_where_one_side_is_steep(side: float) -> None:
    """Ten evaluations do.  Planted: regula falsi whose standing end keeps its weight, which takes seventeen."""
    search = _Search(torch.zeros(1, dtype=torch.float64), 0.015, lambda: torch.zeros(1))
    while not bool(search.done):
        far = side * search.log_lam - 1.2
        search.judge(side * torch.where(far < 0, 0.2 * far, 6 * far))
    assert len(search.tried) <= 10 and float(search.nearest()[1].abs()) < 0.015


def test_fit_lam_of_one_picture_is_the_same_in_a_batch() -> None:
    p = problem(2)
    together, x = fit_lam(p, ADMM(iterations=60))
    for i in range(2):
        one, alone = fit_lam(replace(p, y=p.y[i : i + 1]), ADMM(iterations=60))
        torch.testing.assert_close(together[i : i + 1], one, rtol=1e-6, atol=0)
        torch.testing.assert_close(x[i : i + 1], alone, rtol=0, atol=1e-6)


def test_fit_lam_does_not_depend_on_a_slow_solver() -> None:
    op, x = OPERATORS.build("blur:kernel=box,size=9"), squares(1, 1, 48, 48)
    p = Problem(op, op(x) + 0.004 * torch.randn(x.shape, dtype=torch.float64), TV(), 0.004)
    lam, _ = fit_lam(p, FISTA())
    torch.testing.assert_close(lam, fit_lam(p, ADMM())[0], rtol=1e-9, atol=0)
    assert float(psnr(solve(p.weighted(lam), ADMM()).x, x)) > float(psnr(p.y, x)) + 3


def test_fit_lam_stays_sensible_where_sigma_is_far_too_small() -> None:
    op, x = OPERATORS.build("blur:std=1.6"), squares(1, 1, 48, 48)
    p = Problem(op, op(x) + 0.1 * torch.randn(x.shape, dtype=torch.float64), TV(), 0.01)
    with pytest.warns(UserWarning, match="sigma too small"):
        lam, _ = fit_lam(p, ADMM())
    assert float(psnr(solve(p.weighted(lam), ADMM()).x, x)) > float(psnr(p.y, x)) + 2


@pytest.mark.parametrize("blur", ["blur:std=1", "blur:std=2", "blur:kernel=disk,radius=3"])
def test_what_a_blur_leaves_nothing_of_shows_the_noise(blur: str) -> None:
    """Planted: what is unfitted over √m, as if the blur had left nothing at all."""
    op, x = OPERATORS.build(blur), squares(2, 1, 48, 48)
    y = op(x) + torch.tensor([0.02, 0.06], dtype=torch.float64).view(2, 1, 1, 1) * torch.randn_like(x)
    found = visible_noise(Problem(op, y, TV(), 0.01))
    torch.testing.assert_close(found, torch.tensor([0.02, 0.06], dtype=torch.float64), rtol=0.06, atol=0)


def test_fit_lam_goes_by_the_noise_that_is_seen_where_sigma_is_a_little_too_small() -> None:
    """Planted: 1.2 times what the smallest lam leaves, which smooths three times as much and more."""
    op, x = OPERATORS.build("blur:std=2"), squares(1, 1, 64, 64)
    y = op(x) + 0.04 * torch.randn_like(x)
    right = Problem(op, y, TV(), 0.04)
    told = replace(right, noise=Gaussian(0.036))
    weight = float(fit_lam(right, ADMM(), c=0.97)[0]) * 0.04**2
    with pytest.warns(UserWarning, match="This lam fits the noise that the measurement shows"):
        lam, x_lam = fit_lam(told, ADMM(), c=0.97)
    assert 0.5 < float(lam) * 0.036**2 / weight < 2
    assert float(right.residual(x_lam) / right.noise_norm()) == pytest.approx(0.97, abs=0.03)


def test_images_together_have_one_lam_that_brings_their_mean_square_to_the_noise() -> None:
    p = problem(2)
    lam, x = fit_lam(p, ADMM(), together=True)
    assert lam.shape == (1, 1, 1, 1)
    each = p.residual(x) / p.noise_norm()
    assert float(each.square().mean().sqrt()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(fit_lam(replace(p, y=p.y[:1]), ADMM(), together=True)[0],
                               fit_lam(replace(p, y=p.y[:1]), ADMM())[0])  # fmt: skip


def test_fit_lam_spends_no_more_time_than_it_is_given() -> None:
    calls = []

    class Counted(TV):
        def begin(self, x0: Tensor) -> Prior:
            calls.append(1)
            return super().begin(x0)

    with pytest.warns(UserWarning, match="the time ended before a fitting lam"):
        fit_lam(problem(1, Counted()), ADMM(), seconds=0)
    assert len(calls) == 1


def test_each_trial_of_lam_ends_when_the_time_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from pnp.parameters import weight

    rules: list[tuple[StopRule, ...]] = []

    def overheard(*args: object, stop: tuple[StopRule, ...], **options: object) -> Result:
        rules.append(tuple(stop))
        return solve(*args, stop=stop, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(weight, "solve", overheard)
    fit_lam(problem(1, TV()), ADMM(), seconds=1000)
    left = [rule.limit for asked in rules for rule in asked if isinstance(rule, Seconds)]
    assert len(left) == len(rules) and left == sorted(left, reverse=True) and left[0] <= 1000


def test_an_interrupted_search_for_lam_is_not_taken_for_an_answer() -> None:
    class Interrupted(TV):
        def begin(self, x0: Tensor) -> Prior:
            return self

        def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_lam(problem(1, Interrupted()), ADMM())


def test_fit_lam_warns_where_no_weight_meets_the_noise() -> None:
    constant = torch.full((1, 1, 16, 16), 0.5, dtype=torch.float64)
    noisy = constant + 0.01 * torch.randn(constant.shape, dtype=torch.float64)
    with pytest.warns(UserWarning, match="no lam brings it up to the noise. Sigma may be too large"):
        fit_lam(Problem(Identity(), noisy, TV(), sigma=0.3), ADMM(iterations=30))
    op = OPERATORS.build("blur:std=2,size=9")  # no picture, blurred, is this rough
    with pytest.warns(UserWarning, match="no lam brings it down .*kernel may be wrong, or sigma too small"):
        fit_lam(Problem(op, images(1, 1, 16, 16), TV(), sigma=0.005), FISTA(iterations=30))


def test_the_first_solver_that_fits_is_the_default() -> None:
    assert default_solver(TV()) == default_solver(parse("tv+haar")) == next(iter(SOLVERS)) == "admm"

    class Smooth(Prior):
        def grad(self, x: Tensor) -> Tensor:
            return x

    assert default_solver(Smooth()) == "gd"
    with pytest.raises(ValueError, match="no solver fits prior Prior, which offers nothing"):
        default_solver(Prior())


# Metrics


def test_psnr_and_ssim_are_scikit_images() -> None:
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    x, truth = squares(2, 3, 24, 24) + 0.1 * torch.randn(2, 3, 24, 24, dtype=torch.float64), squares(2, 3, 24, 24)
    for i in range(2):
        a, b = x[i].clamp(0, 1).numpy(), truth[i].numpy()
        assert float(psnr(x, truth)[i]) == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1))
        expected = structural_similarity(
            a, b, data_range=1, channel_axis=0, gaussian_weights=True, use_sample_covariance=False
        )
        assert float(ssim(x, truth)[i]) == pytest.approx(expected, abs=1e-6)
    assert bool(ssim(x[..., :8], truth[..., :8]).isnan().all()) and float(psnr(truth, truth).min()) >= 100
