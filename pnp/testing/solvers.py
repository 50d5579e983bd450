"""Does a solver keep its contract?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..core.loop import solve
from ..core.problem import Problem
from ..core.recording import Snapshot
from ..core.result import Result, Status
from ..core.solver import Solver, State, fits
from ..core.stopping import StopRule, Tolerance
from ..noises.gaussian import Gaussian
from ..operators import Blur, Identity, Operator, Undescribed, kernels
from ..priors import Prior, Sum, Tikhonov
from .common import Kept, alike, copied, expect, gaussian, near, pictures, raises, run, same, settings, unchanged
from .declared import Declared, Plain

SHAPE = (1, 10, 12)
SIGMAS, LAMS = (0.05, 0.1, 0.2), (8.0, 2.0, 4.0)  # one for each image of the batch


def check_solver(
    solver: Solver,
    *,
    prior: Prior | None = None,
    device: str | torch.device = "cpu",
    reaches: float | None = 1e-5,
    iterations: int = 3000,
    rounding: float = 1e-9,
) -> None:
    """Examine a recursion by what `Solver` promises.

        settings   a frozen dataclass with `iterations`, which refuses iterations = 0
        needs      nothing is called on the prior that `needs` leaves out, nor on the noise that `needs_noise` does;
                   with just what they say it runs, for a blur and without one, and with `splits` for a sum
        init, step shapes, dtype and device of the image; a step changes neither the state it is given nor anything of
                   the problem, and of a state of tensors alone two steps are bitwise equal
        solve      two solves bitwise equal; float32 stays float32; each image of a batch as if alone, with its own
                   noise, weight and stop; an image that has stopped stays while the others move
        change     (B,) above 0 while the image moves; where it is at most 1e-4 the image is within 5 % of the answer
        reaches    x = (AᵀA + lam sigma² I)⁻¹ Aᵀy, the minimiser of f + lam ½‖x‖² (lam = 0 where needs is empty), up to
                   `reaches` within so many `iterations`, of a blur and of none; and there change is almost 0
        theorem    a sentence or None

    prior: what it is run with, ½‖x‖² (`Tikhonov`) by default, which has all that a solver may need; with another one
    nothing is said of the answer.  reaches: None for a solver that has another limit, as HQS does, or is short of it.
    rounding: by how much an image of a batch may differ from itself alone.
    Raises AssertionError for what is not so.
    """
    like = torch.empty(0, dtype=torch.float64, device=device)
    made = Tikhonov() if prior is None else prior
    run(_frozen, solver)
    operators: tuple[Operator, ...] = (_blur(like), Identity()) if solver.needs_operator else (Undescribed(),)
    for operator in operators:
        problem = _problem(operator, made, like)
        if not fits(solver, made, problem.offers()):
            continue
        own = settings(made)
        for part in (_steps, _declares, _repeats, _moves, _precision, _rests):
            run(part, solver, problem)
            unchanged(made, own, f"a step of {_name(solver)}")
        run(_batch, solver, problem, rounding)
        if prior is None and reaches is not None:
            run(_reaches, solver, problem, reaches, iterations)
    expect(
        any(fits(solver, made, _problem(a, made, like).offers()) for a in operators),
        f"{_name(solver)} does not fit {made.name} and Gaussian noise; give a prior that offers "
        f"{', '.join(solver.needs)}.",
    )


def _name(solver: Solver) -> str:
    return type(solver).__name__


def _blur(like: Tensor) -> Operator:
    return Blur(kernels.gaussian(0.6, 3)).to(like.device)


def _problem(operator: Operator, prior: Prior, like: Tensor) -> Problem:
    """Three different pictures with three noise levels and three weights."""
    sigma, lam = (torch.tensor(v, dtype=torch.float64).to(like).view(3, 1, 1, 1) for v in (SIGMAS, LAMS))
    y = operator(pictures(3, *SHAPE, like=like))
    return Problem(operator, y + sigma * gaussian(*y.shape, like=like), prior, Gaussian(sigma), lam)


def _alone(problem: Problem, i: int) -> Problem:
    return replace(
        problem, y=problem.y[i : i + 1], noise=Gaussian(SIGMAS[i]), lam=LAMS[i]
    )


# Settings and declarations


def _frozen(solver: Solver) -> None:
    """A solver is a frozen dataclass of settings."""
    expect(
        dataclasses.is_dataclass(solver) and type(solver).__dataclass_params__.frozen  # type: ignore[attr-defined]
        and any(f.name == "iterations" for f in dataclasses.fields(solver)),
        f"{_name(solver)} is not a frozen dataclass with the field `iterations`: write @dataclass(frozen=True) above "
        "it and `iterations: int = 100` as its last field.",
    )  # fmt: skip
    expect(
        replace(solver) == solver, f"{_name(solver)} is not equal to its copy; settings are numbers, text, schedules."
    )
    raises(ValueError, lambda: replace(solver, iterations=0), f"{_name(solver)} with iterations=0")  # type: ignore[call-arg]
    known = {"prox", "grad", "value", "split", "restore"}, {"prox", "slope", "pulls", "curvature", "step"}
    for name, these in zip(("needs", "needs_noise"), known, strict=True):
        said = getattr(solver, name)
        expect(
            isinstance(said, tuple) and set(said) <= these,
            f"{name} of {_name(solver)} is {said!r}; expected a tuple of some of {', '.join(sorted(these))}.",
        )


def _declares(solver: Solver, problem: Problem) -> None:
    """A solver runs with what it declares, and calls nothing else."""
    few, x0 = replace(solver, iterations=3), problem.initial()  # type: ignore[call-arg]
    terms: list[Prior] = [Declared(problem.prior, solver)]
    if solver.splits:
        terms.append(Sum([(0.5, Declared(problem.prior, solver)), (2.0, Declared(problem.prior, solver))]))
    assert isinstance(problem.noise, Gaussian)
    for prior in terms:
        for noise in (problem.noise, Plain(problem.noise, solver)):
            asked = replace(problem, prior=prior, noise=noise)
            if not fits(solver, prior, asked.offers()):
                continue
            found = solve(asked, few, x0=x0, stop=()).x
            alike(found, x0, x0.shape, f"the image of {_name(solver)} with {noise.name} noise")
            moved = solve(replace(asked, y=asked.y + 0.1), few, x0=x0, stop=()).x
            expect(
                not torch.equal(found, moved),
                f"{_name(solver)} makes the same of y and of y + 0.1 for a noise that offers {sorted(asked.offers())}; "
                "expected the data to count. A curvature that `needs_noise` leaves out is inf, and a step 0.",
            )


# One step, and a few


def _tensors_alone(state: Any) -> bool:
    if isinstance(state, tuple):
        return all(_tensors_alone(part) for part in state)
    return state is None or isinstance(state, Tensor | int | float | str)


def _steps(solver: Solver, problem: Problem) -> None:
    """init and step make a state whose image fits, and change nothing that they are given."""
    x0 = problem.initial()
    begun, kept = problem.begin(x0), Kept(x0=x0, y=problem.y, aty=problem.aty)
    state: State = solver.init(begun, x0)
    alike(solver.image(state), x0, x0.shape, f"image(init) of {_name(solver)}")
    expect(begun.prior is problem.prior or begun is not problem, "init changed the problem.")
    for k in range(3):
        before, tensors = copied(state) if _tensors_alone(state) else None, _parts(state)
        held = [t.detach().clone() for t in tensors]
        new = solver.step(begun, state, k)
        kept.unchanged(f"step of {_name(solver)}")
        same(held, tensors, f"step of {_name(solver)} changed the state that it was given",
             "Return a new state; look at methods that end in _ and at `+=`.")  # fmt: skip
        if before is not None and begun.prior is problem.prior:
            same(new, solver.step(begun, state, k), f"step {k} of {_name(solver)} from one state gives two results",
                 "What an iteration remembers belongs in its state, randomness in a seeded generator.")  # fmt: skip
        alike(solver.image(new), x0, x0.shape, f"image(step) of {_name(solver)}")
        alike(solver.drawn(new), x0, x0.shape, f"drawn(step) of {_name(solver)}")
        alike(solver.change(begun, new, state), x0, (len(x0),), f"change of {_name(solver)}")
        value = solver.objective(new)
        if value is not None:
            near(value, problem.objective(solver.image(new)), f"objective(state) of {_name(solver)} is not f + lam g",
                 1e-9 * (1 + float(value.abs().max())), "Give None where it is not at hand.")  # fmt: skip
        state = new
    said = solver.theorem(problem)
    expect(said is None or (isinstance(said, str) and bool(said)), f"theorem is {said!r}; expected a sentence or None.")


def _parts(state: Any) -> list[Tensor]:
    """The tensors of a state."""
    if isinstance(state, tuple):
        return [t for part in state for t in _parts(part)]
    return [state] if isinstance(state, Tensor) else []


def _repeats(solver: Solver, problem: Problem) -> None:
    """Two solves are bitwise equal and change nothing."""
    few, x0 = replace(solver, iterations=15), pictures(3, *SHAPE, seed=4, like=problem.y)  # type: ignore[call-arg]
    own, prior, twin = settings(few), settings(problem.prior), replace(few)
    kept = Kept(x0=x0, y=problem.y, sigma=problem.sigma, lam=problem.lam, **dict(problem.operator.named_buffers()))  # type: ignore[arg-type]
    first = solve(problem, few, x0=x0, stop=())
    kept.unchanged(f"a solve with {_name(solver)}")
    unchanged(problem.prior, prior, f"a solve with {_name(solver)}")
    unchanged(few, own, f"a solve with {_name(solver)}")
    expect(few == twin, f"a solve changed the settings of {_name(solver)}.")
    second = solve(problem, few, x0=x0, stop=())
    expect(
        torch.equal(first.x, second.x) and not first.x.requires_grad,
        f"two solves of {_name(solver)} differ by {float((first.x - second.x).abs().max()):.2g}; expected them bitwise "
        "equal, without a gradient. Look for state outside of the state, and for a draw without a seed.",
    )


def _precision(solver: Solver, problem: Problem) -> None:
    """A solve keeps the precision of the caller."""
    single = replace(problem, y=problem.y.float(), noise=Gaussian(problem.sigma.float()), lam=problem.lam.float())  # type: ignore[union-attr]
    result = solve(single, replace(solver, iterations=3), stop=())  # type: ignore[call-arg]
    alike(result.x, single.y, result.x.shape, f"the image of {_name(solver)} from float32")


@dataclass(frozen=True)
class _At(StopRule):
    """Stops image i at iteration ends[i]."""

    ends: tuple[int, ...]

    @property
    def reason(self) -> str:
        return "a number of iterations"

    def __call__(self, now: Snapshot) -> Tensor:
        return torch.tensor([now.k + 1 >= n for n in self.ends], device=now.x.device)


def _batch(solver: Solver, problem: Problem, rounding: float) -> None:
    """Each image of a batch is solved as if alone."""
    few = replace(solver, iterations=20)  # type: ignore[call-arg]
    rules: tuple[tuple[Callable[[int], StopRule], StopRule], ...] = (
        (lambda i: _At(((3, 12, 7)[i],)), _At((3, 12, 7))),
        (lambda i: Tolerance(1e-2), Tolerance(1e-2)),
    )
    for alone, all_of_them in rules:
        together = solve(problem, few, stop=(all_of_them,))
        for i in range(3):
            one = solve(_alone(problem, i), few, stop=(alone(i),))
            expect(
                one.iterations[0] == together.iterations[i],
                f"{_name(solver)} ends image {i} of a batch of 3 after {together.iterations[i]} iterations, alone "
                f"after {one.iterations[0]}; expected the same. Look for a maximum over the batch in step and change.",
            )
            near(together.x[i : i + 1], one.x, f"{_name(solver)}: image {i} of a batch of 3 is not what it is alone",
                 rounding * max(1.0, float(one.x.abs().max())),
                 "Look for a number where (B, 1, 1, 1) belongs: steps, weights, norms are of one image.")  # fmt: skip


def _rests(solver: Solver, problem: Problem) -> None:
    """An image that has stopped stays as it is."""
    few, seen = replace(solver, iterations=8), {}  # type: ignore[call-arg]

    def watch(now: Snapshot) -> None:
        seen[now.k + 1] = now.x[0].detach().clone()

    result = solve(problem, few, stop=(_At((2, 8, 5)),), callbacks=(watch,))
    expect(
        torch.equal(seen[2], result.x[0]),
        f"{_name(solver)} moves an image that has stopped by {float((seen[2] - result.x[0]).abs().max()):.2g}; "
        "expected it kept. The loop keeps tensors with the batch first; what else is in a state, `rest` keeps still.",
    )


def _moves(solver: Solver, problem: Problem) -> None:
    """change is above 0 while the image moves."""
    begun = problem.begin(problem.initial())
    state = solver.init(begun, problem.initial())
    for k in range(8):
        new = solver.step(begun, state, k)
        x, old = (solver.image(s).flatten(1) for s in (new, state))
        moved, said = (x - old).norm(dim=1) / x.norm(dim=1), solver.change(begun, new, state)
        expect(
            bool((said >= 0).all()) and not bool(((moved > 1e-3) & (said < 1e-6)).any()),
            f"change of {_name(solver)} is {said.tolist()} in step {k}, in which the images move by {moved.tolist()}; "
            "expected it above 0. A solve would end there as converged.",
        )
        state = new


# The answer


def _answer(solver: Solver, problem: Problem) -> Tensor:
    """(AᵀA + lam sigma² I)⁻¹ Aᵀy by a dense solve, image by image; lam = 0 for a solver without a prior."""
    n = prod(SHAPE)
    unit = torch.eye(n, dtype=torch.float64, device=problem.y.device)
    a = problem.operator(unit.view(n, *SHAPE)).flatten(1).T
    answers = []
    for i, y in enumerate(problem.y):
        weight = LAMS[i] * SIGMAS[i] ** 2 if solver.needs else 0.0
        answers.append(torch.linalg.solve(a.T @ a + weight * unit, a.T @ y.flatten()).view(1, *SHAPE))
    return torch.cat(answers)


def _reaches(solver: Solver, problem: Problem, accuracy: float, iterations: int) -> None:
    """The limit is the minimiser of f + lam g."""
    expected, long = _answer(solver, problem), replace(solver, iterations=iterations)  # type: ignore[call-arg]

    def error(result: Result) -> Tensor:
        return (result.x - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)

    result = solve(problem, long, stop=(Tolerance(1e-9),))
    gaps = error(result)
    where = f"({problem.operator.name}; relative, for sigma = {SIGMAS} and lam = {LAMS})"
    expect(
        bool((gaps <= accuracy).all()),
        f"{_name(solver)} is {_numbers(gaps)} from the minimiser of f + lam g after {result.iterations} iterations "
        f"{where}; expected at most {accuracy:.0e}. Look at where sigma², lam and tau enter, at a dropped term, at the "
        "step; give `reaches=None` if its limit is another one.",
    )
    last = result.convergence.residual
    expect(
        bool((last < max(1e-6, 0.1 * accuracy)).all()),
        f"change of {_name(solver)} is {last.tolist()} at the minimiser; expected 0 at a fixed point, up to rounding.",
    )
    for x0 in (problem.initial(), expected.roll(1, 0), 5 * torch.ones_like(expected)):
        early = solve(problem, long, x0=x0)
        far = torch.tensor([s is Status.CONVERGED for s in early.status]).to(gaps.device) & (error(early) > 0.05)
        expect(
            not bool(far.any()),
            f"{_name(solver)} has a change of at most 1e-4 after {early.iterations} iterations, "
            f"{_numbers(error(early))} from the answer {where}; expected at most 5 %. `change` has to count the "
            "multipliers, and a short step.",
        )


def _numbers(x: Tensor) -> str:
    return ", ".join(f"{v:.1e}" for v in x.tolist())
