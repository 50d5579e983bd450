"""Every solver against solutions known in closed form, against the others, and against itself in a batch."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from math import prod
from typing import NamedTuple

import pytest
import skimage.data
import torch
from conftest import GaussianDenoiser, images, squares
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.result import Status
from pnp.core.schedules import Geometric, as_schedule
from pnp.core.solver import ImageState
from pnp.core.stopping import Objective, Tolerance, WindowedVariance
from pnp.noises import Gaussian
from pnp.operators import Identity, Operator
from pnp.priors import RED, TV, PnP, Prior, Projector, Sum, Tikhonov, parse
from pnp.registry import OPERATORS, SOLVERS, SpecError
from pnp.solvers import (
    ADMM,
    FISTA,
    HQS,
    Anderson,
    ChambollePock,
    FixedPoint,
    GradientDescent,
    MeanShift,
    ProximalGradient,
    Solver,
    fits,
    require,
)
from pnp.testing import check_solver

SHAPE = (1, 10, 12)
OPS = [
    "identity",
    "blur:std=1,size=5",
    "downsample:factor=2",
    "mask",
    "sensing:ratio=0.4",
    "blur:kernel=box,size=3,border=valid",
]
S, SIGMA = 0.3, 0.2  # of the Gaussian denoiser, and of the noise
SOLVER_SPECS = {  # to the closed-form solution; hqs has its own test
    "admm": 300, "admm:tau=0.1": 300, "fista": 600, "pgd": 1500, "chambolle-pock": 600, "condat-vu": 1500, "gd": 1500,
    "gd:momentum=0.5": 800, "gd:momentum=0.7,nesterov=true": 500, "mean-shift": 1500, "fixed-point": 300,
    "anderson": 100,
}  # fmt: skip


@functools.cache
def setting(spec: str) -> tuple[Operator, Tensor, Tensor]:
    """Operator, its dense matrix, and a noisy measurement of two pictures."""
    op = OPERATORS.build(spec, shape=SHAPE, seed=0)
    matrix = op(torch.eye(prod(SHAPE), dtype=torch.float64).view(-1, *SHAPE)).flatten(1).T
    y = op(images(2, *SHAPE))
    return op, matrix, y + 0.05 * torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=y.dtype)


def tikhonov(spec: str, weight: float, stretch: float = 0.0) -> Tensor:
    """((1 + stretch) AᵀA + sigma² weight I)⁻¹ Aᵀy, dense."""
    _, matrix, y = setting(spec)
    normal = (1 + stretch) * matrix.T @ matrix + SIGMA**2 * weight * torch.eye(matrix.shape[1], dtype=torch.float64)
    return torch.linalg.solve(normal, matrix.T @ y.flatten(1).T).T.view(-1, *SHAPE)


def check_solution(problem: Problem, solver: Solver, expected: Tensor, accuracy: float = 1e-6) -> None:
    result = solve(problem, solver, stop=(Tolerance(1e-10),))
    torch.testing.assert_close(result.x, expected, rtol=0, atol=accuracy)


# Known solutions


@pytest.mark.parametrize("solver", SOLVER_SPECS)
@pytest.mark.parametrize("op", OPS)
def test_solver_reaches_the_tikhonov_solution(op: str, solver: str) -> None:
    operator, _, y = setting(op)
    problem = Problem(operator, y, Tikhonov(), SIGMA, lam=5.0)
    check_solution(
        problem,
        SOLVERS.build(f"{solver}{',' if ':' in solver else ':'}iterations={SOLVER_SPECS[solver]}"),
        tikhonov(op, 5.0),
    )


@pytest.mark.parametrize("solver", [s for s in SOLVER_SPECS if "prox" in SOLVERS.build(s).needs])
@pytest.mark.parametrize("op", OPS)
def test_plug_and_play_with_the_gaussian_denoiser_reaches_the_solution_of_its_prior(op: str, solver: str) -> None:
    """D(v, √(lam tau)) = prox of lam tau ‖x‖²/(2 s²): so the limit minimises f + lam ‖x‖²/(2 s²), whatever tau."""
    operator, _, y = setting(op)
    problem, lam = Problem(operator, y, PnP(GaussianDenoiser(S)), SIGMA, lam=0.5), 0.5
    if solver == "admm":  # its tau falls for a denoiser: the limit is the same, and reached where tau rests
        solver = "admm:tau=0.1..0.05@50"
    count = SOLVER_SPECS.get(solver, 300)
    check_solution(problem, replace(SOLVERS.build(solver), iterations=count), tikhonov(op, lam / S**2))


@pytest.mark.parametrize("prior", [Tikhonov(), PnP(GaussianDenoiser(S))], ids=["tikhonov", "pnp"])
@pytest.mark.parametrize("tau", [0.02, 0.3])
@pytest.mark.parametrize("op", OPS)
def test_hqs_minimises_the_moreau_envelope_of_the_data_term(op: str, tau: float, prior: Prior) -> None:
    """(1 + c) z = x = prox_{tau f}(z), c = lam tau w: ((1 + c) AᵀA + lam sigma² w) z = Aᵀy."""
    operator, _, y = setting(op)
    lam, w = 1.2, 1.0 if isinstance(prior, Tikhonov) else 1 / S**2
    expected = tikhonov(op, lam * w, stretch=lam * tau * w)
    check_solution(Problem(operator, y, prior, SIGMA, lam), HQS(tau=tau, iterations=1500), expected, 1e-5)
    assert float((expected - tikhonov(op, lam * w)).abs().max()) > 1e-3  # and not f + lam g itself


def test_projector_and_red_reach_their_own_fixed_points() -> None:
    op, sigma_d, tau = "blur:std=1,size=5", 0.15, 0.1
    operator, _, y = setting(op)
    projector = Problem(operator, y, Projector(GaussianDenoiser(S), sigma_d), SIGMA)
    check_solution(projector, ADMM(tau=tau, iterations=400), tikhonov(op, sigma_d**2 / (tau * S**2)))


RED_SOLVERS = [
    GradientDescent(iterations=1500), ADMM(tau=0.1, iterations=400), FISTA(iterations=500), FixedPoint(iterations=400),
    MeanShift(iterations=1500), MeanShift(iterations=400, momentum=0.0, step_size=1.0),
    Anderson(iterations=60),
]  # fmt: skip


@pytest.mark.parametrize("solver", RED_SOLVERS, ids=lambda s: f"{type(s).__name__}-{s.iterations}")
@pytest.mark.parametrize("op", OPS)
def test_regularisation_by_denoising_reaches_its_fixed_point_by_every_solver(op: str, solver: Solver) -> None:
    """(x − D(x))/s_d² = x/(s² + s_d²) for the Gaussian denoiser."""
    operator, _, y = setting(op)
    red = Problem(operator, y, RED(GaussianDenoiser(S), 0.15), SIGMA, lam=0.7)
    check_solution(red, solver, tikhonov(op, 0.7 / (S**2 + 0.15**2)))


def test_each_slip_of_sigma_and_tau_is_caught() -> None:
    op = "blur:std=1,size=5"
    operator, _, y = setting(op)
    denoiser, expected = GaussianDenoiser(S), tikhonov(op, 0.5 / S**2)

    class NoRoot(PnP):
        def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
            return self.denoiser(v, tau)

    class TwoRoots(PnP):
        def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
            return self.denoiser(v, tau**0.25)

    class NoLam(ADMM):
        def step(self, problem: Problem, s: object, k: int) -> object:
            return super().step(replace(problem, lam=1.0), s, k)

    class NoMultiplier(ADMM):
        def step(self, problem: Problem, s: object, k: int) -> object:
            new = super().step(problem, s, k)
            return new._replace(u=tuple(torch.zeros_like(u) for u in new.u))

    class Swapped(ADMM):
        def step(self, problem: Problem, s: object, k: int) -> object:
            return super().step(replace(problem, noise=Gaussian(problem.sigma**2)), s, k)

    right = Problem(operator, y, PnP(denoiser), SIGMA, 0.5)
    check_solution(right, ADMM(tau=0.1, iterations=300), expected)
    for prior in (NoRoot(denoiser), TwoRoots(denoiser), PnP(lambda x, sigma: denoiser(x, 2 * sigma))):
        with pytest.raises(AssertionError):
            check_solution(replace(right, prior=prior), ADMM(tau=0.1, iterations=300), expected)
    for solver in (NoLam, NoMultiplier, Swapped):
        with pytest.raises(AssertionError):
            check_solution(right, solver(tau=0.1, iterations=300), expected)
    with pytest.raises(AssertionError):  # a step beyond 2/L
        check_solution(right, ProximalGradient(tau=3 * SIGMA**2, iterations=300), expected)


# The same minimum by different ways


def blurred(sigma: float = 0.02) -> tuple[Operator, Tensor]:
    op, x = OPERATORS.build("blur:std=1,size=5"), squares(1, 1, 16, 16)
    return op, op(x) + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=x.dtype)


def lowest(problem: Problem) -> float:
    """f + lam g at its minimum, by a long run."""
    return float(problem.objective(solve(problem, ADMM(iterations=400), stop=(Tolerance(1e-9),)).x))


def check_minimum(problem: Problem, solver: Solver, best: float, accuracy: float) -> Tensor:
    """The solver comes down to the minimum."""
    result = solve(problem, solver, stop=(Objective(best * (1 + accuracy)),))
    above = float(problem.objective(result.x)) / best - 1
    assert result.status == (Status.CONVERGED,), f"{solver} is {above:.1e} above the minimum"
    return result.x


WAYS = {
    "fista:iterations=400": 1e-5, "fista:restart=false,iterations=600": 1e-5, "pgd:iterations=1500": 1e-4,
    "admm:iterations=200": 1e-4, "admm:tau=0.003,iterations=400": 1e-4, "chambolle-pock:iterations=1500": 1e-3,
    "condat-vu:iterations=3000": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("op", ["blur", "mask"])
def test_all_solvers_reach_the_same_minimum_with_tv(op: str) -> None:
    operator, y = blurred()
    if op == "mask":
        operator = OPERATORS.build("mask", shape=(1, 16, 16), seed=0)
        y = operator(squares(1, 1, 16, 16))
    problem = Problem(operator, y, TV(tol=1e-8), 0.02, 30.0)
    best = lowest(problem)
    for spec, accuracy in WAYS.items():
        check_minimum(problem, SOLVERS.build(spec), best, accuracy)
    assert float(problem.objective(solve(problem, FISTA(iterations=300), stop=(Tolerance(1e-8),)).x)) >= best * (
        1 - 1e-5
    )
    with pytest.raises(AssertionError):  # of another weight
        check_minimum(replace(problem, lam=33.0), FISTA(iterations=100), best, 1e-3)


@pytest.mark.parametrize(
    ("op", "prior", "planted"),
    [
        ("identity", "tv", True), ("mask:keep=0.4", "tv", True), ("downsample:factor=2", "tv", True),
        ("blur:std=1", "tv", True), ("blur:std=1", "haar:levels=2,invariant=false", False),
        ("sensing:ratio=0.4", "l1", False), ("mask:keep=0.4", "tv+haar:levels=2,invariant=false", True),
    ],
)  # fmt: skip
def test_chambolle_pock_balances_itself_to_a_thousandth_of_the_minimum(op: str, prior: str, planted: bool) -> None:
    """As it comes, on a photograph; planted: the step where it begins, kept."""
    x = torch.from_numpy(skimage.data.camera()[100:420, 100:420] / 255.0)[None, None]
    x = torch.nn.functional.avg_pool2d(x, 8)
    operator, sigma = OPERATORS.build(op, shape=(1, 40, 40), seed=0), 0.05
    y = operator(x)
    y = y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
    problem = Problem(operator, y, parse(prior), sigma, 1 / sigma)
    best = lowest(problem)

    def above(solver: Solver) -> float:
        return float(problem.objective(solve(problem, solver).x)) / best - 1

    assert above(ChambollePock()) < 1e-3
    assert (above(ChambollePock(tau=10 / float(problem.lipschitz()))) > 1e-3) == planted


def test_a_step_that_is_short_by_choice_is_no_convergence() -> None:
    """Planted: the change of the image alone, which such a step keeps small."""
    operator, y = blurred()
    problem = Problem(operator, y, TV(), 0.02, 30.0)
    solver = ChambollePock(tau=1e-5 / float(problem.lipschitz()))
    first = solver.init(problem, problem.initial())
    second = solver.step(problem, first, 0)
    assert float(Solver.change(solver, problem, second, first)) < 1e-4 < float(solver.change(problem, second, first))
    assert solve(problem, solver, iterations=20).status == (Status.LIMIT,)


def test_the_balanced_step_does_not_run_away_when_its_residuals_vanish() -> None:
    operator, y = blurred()
    problem = Problem(operator, y, TV(), 0.05, 5.0)
    best = problem.objective(solve(problem, FISTA(iterations=300), stop=(Tolerance(1e-7),)).x)
    reached = problem.objective(solve(problem, ADMM(iterations=600), stop=(Tolerance(1e-9),)).x)
    assert float(reached / best) < 1.001


@pytest.mark.parametrize("lam", [2.0, 20.0, 60.0])
@pytest.mark.parametrize("prior", ["haar:levels=2,invariant=false", "tv", "l1"])
@pytest.mark.parametrize("solver", ["admm", "admm:tau=0.01", "fista", "pgd", "chambolle-pock", "condat-vu"])
def test_denoising_is_one_prox_and_a_standstill_on_the_way_is_no_convergence(
    solver: str, prior: str, lam: float
) -> None:
    """f = ‖x − y‖²/(2 sigma²): the answer is prox(y, lam sigma²), though the first guess y explains y already."""
    y, sigma = squares(1, 1, 16, 16) + 0.1 * images(1, 1, 16, 16), 0.1
    problem = Problem(OPERATORS.build("identity"), y, parse(prior), sigma, lam)
    result = solve(problem, SOLVERS.build(solver))
    error = (result.x - parse(prior).prox(y, lam * sigma**2)).norm() / y.norm()
    assert result.status == (Status.LIMIT,) or float(error) < 0.1, f"{result}: {float(error):.0%} from the answer"


@pytest.mark.parametrize("solver", ["chambolle-pock", "condat-vu", "admm", "fista", "hqs:tau=0.01", "pgd"])
def test_a_first_guess_that_explains_the_measurement_is_not_taken_for_the_answer(solver: str) -> None:
    operator = OPERATORS.build("mask", shape=(1, 16, 16), seed=0)
    y = operator(squares(1, 1, 16, 16) + 0.1 * images(1, 1, 16, 16))
    result = solve(Problem(operator, y, TV(), 0.1, 20.0), SOLVERS.build(solver))
    assert result.iterations[0] > 3 and float((result.x - operator.initial(y)).abs().max()) > 0.01


def test_a_sum_of_priors_is_split_by_admm_and_by_primal_dual_methods_to_the_same_minimum() -> None:
    operator, y = blurred()
    problem = Problem(operator, y, parse("tv+0.5*haar:levels=2,invariant=false"), 0.02, 15.0)
    best = lowest(problem)
    ways = (
        "admm:iterations=300",
        "admm:tau=0.003,iterations=300",
        "chambolle-pock:iterations=1500",
        "condat-vu:iterations=3000",
    )
    found = [check_minimum(problem, SOLVERS.build(spec), best, 1e-3) for spec in ways]
    assert max(float((x - found[0]).square().mean().sqrt()) for x in found) < 0.01
    heavier = replace(problem, prior=parse("tv+5*haar:levels=2,invariant=false"))  # the weights count
    assert float(problem.objective(solve(heavier, ADMM(iterations=200)).x)) > best * 1.01


@pytest.mark.parametrize("text", ["tikhonov", "tv"])
def test_one_prior_in_two_halves_is_the_prior(text: str) -> None:
    operator, y = blurred()
    best = lowest(Problem(operator, y, parse(text), 0.05, 5.0))
    halves = Problem(operator, y, Sum([(0.25, parse(text)), (0.75, parse(text))]), 0.05, 5.0)
    for spec in ("admm:iterations=400", "chambolle-pock:iterations=1500"):
        check_minimum(halves, SOLVERS.build(spec), best, 1e-3)


# Gradient descent in its variants


@pytest.mark.parametrize(
    ("spec", "iterations", "accuracy"),
    [
        ("gd:optimizer=Adam,lr=0.02", 2000, 1e-4),
        ("gd:optimizer=LBFGS,lr=1", 60, 1e-5),
        ("gd:optimizer=RMSprop,lr=0.0003", 4000, 2e-3),
    ],
)
def test_torchs_optimizers_reach_the_tikhonov_solution(spec: str, iterations: int, accuracy: float) -> None:
    op = "blur:std=1,size=5"
    operator, _, y = setting(op)
    problem = Problem(operator, y[:1], Tikhonov(), SIGMA, 5.0)
    check_solution(problem, replace(SOLVERS.build(spec), iterations=iterations), tikhonov(op, 5.0)[:1], accuracy)


def test_momentum_follows_its_recursion() -> None:
    operator, _, y = setting("blur:std=1,size=5")
    problem, tau, beta = Problem(operator, y, Tikhonov(), SIGMA, 5.0), 0.004, 0.8
    for nesterov in (False, True):
        x, m = problem.initial(), torch.zeros(2, *SHAPE, dtype=torch.float64)
        for _ in range(6):
            g = problem.data_grad(x) + 5.0 * x
            m = beta * m + g
            x = x - tau * (g + beta * m if nesterov else m)
        solver = GradientDescent(tau=tau, momentum=beta, nesterov=nesterov, iterations=6)
        torch.testing.assert_close(solve(problem, solver, stop=()).x, x)


def test_momentum_is_faster() -> None:
    operator, _, y = setting("mask")
    problem = Problem(operator, y, Tikhonov(), SIGMA, 0.5)
    counts = [
        solve(problem, GradientDescent(momentum=b, iterations=3000), stop=(Tolerance(1e-8),)).iterations
        for b in (0.0, 0.8)
    ]
    assert max(counts[1]) < min(counts[0]) / 2


def test_on_the_envelope_of_the_data_a_descent_learns_what_a_blur_weakened_as_fast_as_the_rest() -> None:
    """Its gradient is rho (AᵀA + rho I)⁻¹ of f's, so weak frequencies have steps of about the strong ones' size."""
    (operator, _, y), x = setting("blur:std=1,size=5"), images(2, *SHAPE)
    problem, rho = Problem(operator, y, Tikhonov(), SIGMA, 1e-6), 1e-3
    x0 = problem.initial()
    once = solve(problem, GradientDescent(tau=0.01, envelope=rho, iterations=1), stop=()).x
    gradient = problem.data_grad(x0)
    full = operator.solve_normal(rho * gradient, torch.tensor(rho, dtype=x.dtype), torch.zeros_like(x)) + 1e-6 * x0
    torch.testing.assert_close(once, x0 - 0.01 * full)
    clean = Problem(operator, operator(x), Tikhonov(), SIGMA, 1e-6)
    apart = [
        float((solve(clean, GradientDescent(envelope=e, iterations=40), stop=()).x - x).norm()) for e in (None, rho)
    ]
    assert apart[1] < apart[0] / 2


def test_gradient_descent_refuses_what_it_cannot_do() -> None:
    with pytest.raises(SpecError, match="Did you mean 'Adam'"):
        SOLVERS.build("gd:optimizer=Adamm,lr=0.1")
    for spec in ("gd:optimizer=Adam", "gd:lr=0.1", "gd:nesterov=true", "gd:optimizer=LBFGS,lr=1,envelope=0.1"):
        with pytest.raises(SpecError, match=r"lr|momentum|envelope"):
            SOLVERS.build(spec)
    with pytest.raises(ValueError, match="envelope"):
        GradientDescent(envelope=0.0)
    operator, _, y = setting("identity")

    class Rough(Tikhonov):
        def lipschitz(self) -> float:
            return float("inf")

    with pytest.raises(ValueError, match="gd:tau="):
        solve(Problem(operator, y, Rough()), GradientDescent())


# Batches, repeatability, purity

EVERY = [
    "admm", "admm:tau=0.01", "hqs", "hqs:tau=0.1..0.001", "fista", "pgd", "chambolle-pock", "condat-vu", "gd",
    "gd:momentum=0.9", "descent:lr=0.02", "lbfgs:lr=0.5", "mean-shift", "fixed-point",
    "fixed-point:backtrack=false", "accelerated", "rl", "anderson:memory=3", "admm-descent:inner=2", "direct",
]  # fmt: skip


ACCURACY = {"lbfgs:lr=0.5": 1e-4}  # a change of y by 1e-15 makes 3e-5 of it


def test_every_solver_is_in_the_list() -> None:
    assert {spec.partition(":")[0] for spec in EVERY} == set(SOLVERS)


def batch_problem(prior: Prior, op: str = "blur:std=1,size=5") -> Problem:
    """Three different pictures with three noise levels and three weights."""
    operator = OPERATORS.build(op, shape=(1, 16, 16), seed=0)
    sigma = torch.tensor([0.01, 0.05, 0.2], dtype=torch.float64).view(3, 1, 1, 1)
    y = operator(squares(3, 1, 16, 16))
    y = y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(6), dtype=y.dtype)
    return Problem(operator, y, prior, sigma, torch.tensor([20.0, 2.0, 8.0], dtype=torch.float64).view(3, 1, 1, 1))


def alone(problem: Problem, i: int) -> Problem:
    return replace(problem, y=problem.y[i : i + 1], noise=Gaussian(float(problem.sigma[i])), lam=float(problem.lam[i]))


@pytest.mark.parametrize("prior", ["tv", "pnp", "tv+haar:levels=2,invariant=false", "smooth"])
@pytest.mark.parametrize("spec", EVERY)
def test_each_picture_of_a_batch_is_solved_as_if_alone(spec: str, prior: str) -> None:
    problem = batch_problem(PnP(GaussianDenoiser(S)) if prior == "pnp" else parse(prior))
    solver = replace(SOLVERS.build(spec), iterations=40)
    if not fits(solver, problem.prior):
        pytest.skip("the solver needs what the prior lacks")
    together = solve(problem, solver, stop=(Tolerance(1e-3),))
    assert len(set(together.iterations)) > 1 or spec not in ("admm", "fista", "pgd") or prior != "tv"
    for i in range(3):
        one = solve(alone(problem, i), solver, stop=(Tolerance(1e-3),))
        assert one.iterations == together.iterations[i : i + 1] and one.status == together.status[i : i + 1]
        torch.testing.assert_close(together.x[i : i + 1], one.x, rtol=0, atol=ACCURACY.get(spec, 1e-9))


@pytest.mark.parametrize("spec", ["mean-shift:blind=true", "anderson", "fixed-point"])
def test_each_picture_is_regularised_by_denoising_as_if_alone(spec: str) -> None:
    problem = batch_problem(RED(GaussianDenoiser(S), 0.15))
    solver = replace(SOLVERS.build(spec), iterations=40)
    counts = set()
    for tol in (0.1, 0.03, 0.003):
        together = solve(problem, solver, stop=(Tolerance(tol),))
        counts.add(len(set(together.iterations)))
        for i in range(3):
            one = solve(alone(problem, i), solver, stop=(Tolerance(tol),))
            assert one.iterations == together.iterations[i : i + 1]
            torch.testing.assert_close(together.x[i : i + 1], one.x, rtol=0, atol=1e-9)
    assert max(counts) > 1  # some stop while others go on


def test_the_answer_of_a_picture_that_has_ended_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a prior that is not told who has ended."""
    problem = batch_problem(RED(GaussianDenoiser(S), 0.15))
    solver = ADMM(tau=0.1, iterations=40)

    def answers(problem: Problem) -> Tensor:
        return solve(problem, solver, stop=(Tolerance(0.01),)).memory.learned["answer"]

    singles = torch.cat([answers(alone(problem, i)) for i in range(3)])
    torch.testing.assert_close(answers(problem), singles, rtol=0, atol=1e-9)
    monkeypatch.setattr(RED, "rest", lambda *_: None)
    assert not torch.allclose(answers(problem), singles, atol=1e-5)


@pytest.mark.parametrize(
    "op", ["blur:kernel=box,size=3,border=valid", "downsample:factor=3", "sensing:ratio=0.4", "mask"]
)
def test_each_measurement_of_a_batch_is_solved_as_if_alone(op: str) -> None:
    problem = batch_problem(TV(), op)
    together = solve(problem, ADMM(iterations=40), stop=(Tolerance(1e-3),))
    for i in range(3):
        one = solve(alone(problem, i), ADMM(iterations=40), stop=(Tolerance(1e-3),))
        assert one.iterations == together.iterations[i : i + 1]
        torch.testing.assert_close(together.x[i : i + 1], one.x, rtol=0, atol=1e-8)


EXAMPLES = list(dict.fromkeys([*EVERY, *(spec for entry in SOLVERS.values() for spec in entry.examples)]))
assert len(EXAMPLES) > len(EVERY) > 15


class Halving(Prior):
    """A picture in one call: half of the measurement."""

    def restore(self, y: torch.Tensor) -> torch.Tensor:
        return y / 2


def elsewhere(spec: str) -> bool:
    """Whether its limit is another one (HQS, RL of x >= 0), or it is a descent that comes near alone."""
    return spec.startswith(("hqs", "descent", "admm-descent", "rl")) or "optimizer" in spec


@pytest.mark.parametrize("spec", EXAMPLES)
def test_every_solver_keeps_its_contract(spec: str) -> None:
    prior: Prior | None = RED(GaussianDenoiser(S), 0.15) if "blind" in spec else None  # it needs a prior that smooths
    prior = Halving() if spec == "direct" else prior
    reaches = None if elsewhere(spec) else 1e-3 if spec == "fixed-point:tau=0.001" else 1e-5  # that step is short
    # at the minimum the pairs that LBFGS divides by are rounding, and a batch rounds otherwise than one picture
    rounding = 1e-4 if spec.startswith("lbfgs") else 1e-9
    check_solver(SOLVERS.build(spec), prior=prior, reaches=reaches, iterations=1500, rounding=rounding)


@pytest.mark.parametrize("spec", EVERY)
def test_every_solver_keeps_its_contract_with_a_prior_that_remembers(spec: str) -> None:
    solver = SOLVERS.build(spec)
    known = (parse("tv"), RED(GaussianDenoiser(S), 0.15), parse("smooth"), Halving())
    prior = next(p for p in known if fits(solver, p))
    check_solver(solver, prior=prior, rounding=1e-4 if spec.startswith("lbfgs") else 1e-9)


def test_a_solve_works_in_inference_mode() -> None:
    problem = batch_problem(TV(), "blur:kernel=box,size=3,border=replicate")
    expected = solve(problem, ADMM(iterations=3)).x
    with torch.inference_mode():
        torch.testing.assert_close(solve(problem, ADMM(iterations=3)).x, expected)


# Schedules


def test_a_schedule_without_a_length_is_spread_over_the_iterations() -> None:
    assert as_schedule(Geometric(1.0, 0.01), 3)(1) == pytest.approx(0.1)
    assert as_schedule(Geometric(1.0, 0.01, 5), 3)(2) == pytest.approx(0.1)
    assert as_schedule(0.3, 10)(7) == 0.3 and as_schedule(lambda k: k + 1, 10)(7) == 8


class Recording(PnP):
    """Keeps the levels that the denoiser is asked for."""

    def __init__(self) -> None:
        self.levels: list[Tensor] = []
        super().__init__(self.keep)

    def keep(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        self.levels.append(torch.as_tensor(sigma).flatten()[:1].double())
        return GaussianDenoiser(S)(x, sigma)


@pytest.mark.parametrize("spec", ["hqs", "admm"])
def test_the_strength_of_a_denoiser_falls_from_49_to_sigma(spec: str) -> None:
    operator, _, y = setting("identity")
    prior = Recording()
    solve(Problem(operator, y, prior, 0.02, 0.23), replace(SOLVERS.build(spec), iterations=9), stop=())
    expected = torch.logspace(*torch.tensor([49 / 255, 0.02]).log10().tolist(), 9, dtype=torch.float64)
    torch.testing.assert_close(torch.cat(prior.levels), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "spec", ["hqs:tau=0.1..0.001", "admm:tau=0.1..0.001", "pgd:tau=0.1..0.001", "fista:tau=0.1..0.001"]
)
def test_a_schedule_in_a_spec_sets_tau(spec: str) -> None:
    operator, _, y = setting("identity")
    prior = Recording()
    solve(Problem(operator, y, prior, 1.0, 0.5), replace(SOLVERS.build(spec), iterations=3), stop=())
    expected = (0.5 * torch.tensor([0.1, 0.01, 0.001], dtype=torch.float64)).sqrt()
    torch.testing.assert_close(torch.cat(prior.levels), expected, rtol=1e-5, atol=0)


def test_a_changing_tau_keeps_the_multipliers_right() -> None:
    op = "blur:std=1,size=5"
    operator, _, y = setting(op)
    problem = Problem(operator, y, PnP(GaussianDenoiser(S)), SIGMA, 0.5)
    zigzag = ADMM(tau=lambda k: 0.3 if k % 2 else 0.05, iterations=400)
    check_solution(problem, zigzag, tikhonov(op, 0.5 / S**2))


# What fits


def test_typos_in_solver_specs_are_one_clear_error() -> None:
    for spec, says in {
        "admmm": "unknown solver 'admmm'. Did you mean 'admm'",
        "admm:taw=1": "unknown option of solver 'admm': 'taw'. Did you mean 'tau'",
        "admm:tau=big": "admm:tau='big': expected a number or start..end",
        "fista:restart=perhaps": "fista:restart='perhaps': expected true or false",
    }.items():
        with pytest.raises(SpecError, match=says):
            SOLVERS.build(spec)


def test_a_bare_value_is_the_step() -> None:
    for name in ("admm", "hqs", "pgd", "fista", "chambolle-pock", "gd"):
        assert SOLVERS.build(f"{name}:0.25").tau == 0.25


WRONG = [
    "admm:tau=-1", "hqs:tau=0", "pgd:tau=-0.1", "fista:tau=-1", "chambolle-pock:tau=-1", "gd:tau=-1",
    "admm:iterations=-1", "condat-vu:iterations=0", "gd:momentum=-1",
]  # fmt: skip


@pytest.mark.parametrize("spec", WRONG)
def test_wrong_settings_are_refused_where_they_are_made(spec: str) -> None:
    with pytest.raises(ValueError):
        SOLVERS.build(spec)


def test_the_error_of_a_misfit_names_the_solvers_that_fit() -> None:
    with pytest.raises(TypeError) as error:
        require(GradientDescent(), Problem(Identity(), images(1, 1, 4, 4), TV()))
    others = ", ".join(name for name in SOLVERS if not {"grad", "restore"} & set(SOLVERS.build(name).needs))
    assert (
        str(error.value)
        == f"GradientDescent needs grad; prior TV offers prox, split, value. Solvers that fit: {others}."
    )
    with pytest.raises(
        TypeError,
        match=r"prior TV \+ InvariantWaveletL1 offers value. Solvers that fit: admm, chambolle-pock, condat-vu",
    ):
        require(FISTA(), Problem(Identity(), images(1, 1, 4, 4), parse("tv+haar")))
    with pytest.raises(TypeError, match=r"offers nothing\. Solvers that fit: none"):
        solve(Problem(OPERATORS.build("identity"), images(1, 1, 4, 4), Prior()), ADMM())


def test_what_fits_is_what_runs() -> None:
    """`fits` says yes exactly where a step raises no NotImplementedError."""
    seen = set()
    for text in (
        "tv",
        "tikhonov",
        "l1",
        "smooth",
        "moreau:prior=tv",
        "tikhonov+smooth",
        "tv+haar:levels=2",
        "tv+smooth",
    ):
        problem = batch_problem(parse(text, shape=(1, 16, 16)))
        for name in SOLVERS:
            solver, runs = SOLVERS.build("gd:tau=0.001" if name == "gd" else name), True
            try:
                begun = problem.begin(problem.initial())
                solver.step(begun, solver.init(begun, problem.initial()), 0)
            except (NotImplementedError, ValueError):  # the latter: no smoothness constant, of what has no gradient
                runs = False
            assert fits(solver, problem.prior) == runs, (text, name)
            seen.add(runs)
    assert seen == {True, False}


def test_the_interface_of_a_new_solver_is_two_methods() -> None:
    class Landweber(Solver):
        needs = ()
        iterations = 50

        def init(self, problem: Problem, x0: Tensor) -> ImageState:
            return ImageState(x0)

        def step(self, problem: Problem, state: ImageState, k: int) -> ImageState:
            return ImageState(state.x - problem.data_grad(state.x) / problem.lipschitz())

    operator, _, y = setting("blur:std=1,size=5")
    result = solve(Problem(operator, y, Prior()), Landweber(), stop=())
    assert result.status == (Status.LIMIT,) * 2 and result.convergence.theorem is None

    class Half(NamedTuple):
        half: Tensor

    class Halved(Landweber):  # a state of its own, and where the image is in it
        def init(self, problem: Problem, x0: Tensor) -> Half:  # type: ignore[override]
            return Half(x0 / 2)

        def step(self, problem: Problem, state: Half, k: int) -> Half:  # type: ignore[override]
            return Half(super().step(problem, ImageState(2 * state.half), k).x / 2)

        def image(self, state: Half) -> Tensor:
            return 2 * state.half

    same = solve(Problem(operator, y, Prior()), Halved(), stop=[WindowedVariance(window=5, fit=math.inf)])
    torch.testing.assert_close(same.x, result.x)
