"""The contract of every solver: a recursion, with what it needs and what is known about its limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from .. import checks
from ..linalg import norm
from ..priors.base import Prior, Split
from ..registry import SOLVERS
from .problem import Problem
from .schedules import Geometric

State = Any  # a NamedTuple whose tensors have the batch first


class ImageState(NamedTuple):
    """A state that is the image alone."""

    x: Tensor


@dataclass(frozen=True)
class Solver:
    """A frozen dataclass of settings with one step of a recursion; the loop is elsewhere.

    needs: what is called on the prior, any of prox, grad, value, split, restore.
    needs_noise: what is called on the data term (`Problem.offers`): prox (of the noise, split from A where f∘A has no
    exact one), slope, pulls, curvature (its step goes by a Lipschitz constant), step (an exact prox of f∘A, no split).
    splits: a sum is taken term by term, so each term needs what `needs` says rather than the sum.
    descends: it moves what `Prior.parametrise` gives, so that it fits a prior that says what draws the picture.
    needs_operator: False for one that makes a picture of the measurement alone.
    assumes: the noise to take, by its name, where nobody told one; None: what the picture shows.
    """

    needs: ClassVar[tuple[str, ...]] = ("prox",)
    needs_noise: ClassVar[tuple[str, ...]] = ("prox",)
    splits: ClassVar[bool] = False
    descends: ClassVar[bool] = False
    needs_operator: ClassVar[bool] = True
    assumes: ClassVar[str | None] = None

    @property
    def constrained(self) -> bool:
        """Whether the data are a constraint, so that lam weighs nothing against them."""
        return False

    @property
    def blindly(self) -> bool:
        """Whether it needs no noise level."""
        return False

    @property
    def iterations(self) -> int:
        """How many steps at most; each solver has it as its last field, after those that lead its spec."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        """ValueError for settings that make no sense."""
        checks.positive(self.iterations, "iterations")
        step = getattr(self, "tau", None)
        if isinstance(step, int | float):
            checks.positive(step, "tau")

    def init(self, problem: Problem, x0: Tensor) -> State:
        raise NotImplementedError

    def step(self, problem: Problem, state: State, k: int) -> State:
        raise NotImplementedError

    def image(self, state: State) -> Tensor:
        """The image in a state."""
        return state.x

    def drawn(self, state: State) -> Tensor:
        """The image of the last step alone, where `image` is an average."""
        return self.image(state)

    def change(self, problem: Problem, state: State, before: State) -> Tensor:
        """How far the iteration still moves, relative to the image, (B,): 0 at a fixed point and only there.

        Default: how far the image moves.  A solver whose multipliers can move while its image stands still adds them.
        """
        x = self.image(state)
        return relative(norm(x - self.image(before)), x)

    def objective(self, state: State) -> Tensor | None:
        """f + lam g at the image, (B,), where the solver has it anyway; None where it would have to be computed."""
        return None

    def rest(self, state: State, active: Tensor) -> None:
        """From here on only the `active` pictures, (B,), move.

        The loop keeps a state's tensors still; a state that has anything else which `step` changes in place, as torch's
        optimisers are, keeps it still for the others.
        """

    def carried(self, state: State) -> dict[str, Any]:
        """What the next solve of a similar problem can use beside what the prior has learned; empty: nothing."""
        return {}

    def elsewhere(self, memory: dict[str, Any]) -> dict[str, Any]:
        """What a solve of another picture can use, of what one has `carried`; by default all of it."""
        return memory

    def recall(self, state: State, memory: dict[str, Any]) -> State:
        """The first state of a solve with what another has `carried`; of nothing: the state itself."""
        return state

    def last_tau(self, problem: Problem, state: State, k: int) -> float | Tensor | None:
        """tau of iteration k's call of prior.prox(v, lam tau); None for a solver that makes none."""
        return None

    def theorem(self, problem: Problem) -> str | None:
        """The convergence statement whose hypotheses hold for this problem, in words; None where none does."""
        return None


def relative(length: Tensor, x: Tensor) -> Tensor:
    """length / ‖x‖, (B,)."""
    return (length / norm(x).clamp_min(1e-12)).flatten()


def terms_of(solver: type[Solver] | Solver, prior: Prior) -> tuple[tuple[float, Prior], ...]:
    """(weight, prior) pairs that the solver calls on: of a sum, the terms that do more than draw the picture."""
    functions = tuple((w, p) for w, p in prior.terms if "parametrise" not in p.offers())
    return functions if solver.splits and functions else ((1.0, prior),)


def splits_of(solver: type[Solver] | Solver, prior: Prior) -> list[tuple[float, Split]]:
    """(w, h ∘ K) of each of the `terms_of`."""
    return [(w, p.split()) for w, p in terms_of(solver, prior)]


def fits(solver: type[Solver] | Solver, prior: Prior, data: set[str] | None = None) -> bool:
    """Whether the prior offers all that the solver needs, and the solver moves what draws the picture.

    data: what the data term offers (`Problem.offers`); None: all, as with Gaussian noise.
    """
    if data is not None and not set(solver.needs_noise) <= data:
        return False
    if "parametrise" in prior.offers() and not solver.descends:
        return False
    return all(set(solver.needs) <= term.offers() for _, term in terms_of(solver, prior))


def fitting(prior: Prior, data: set[str] | None = None) -> list[str]:
    """The names of the registered solvers that fit as they are, in the order of choice; data: as for `fits`."""
    ready = (name for name, entry in SOLVERS.items() if not entry.missing({}))
    return [name for name in ready if fits(SOLVERS[name].make(), prior, data)]


def require(solver: Solver, problem: Problem) -> None:
    """TypeError unless the solver `fits` the problem's prior and noise; it names the solvers that do.

    And where the operator is not known and the solver needs one, or is known and the solver takes none.
    """
    checks.part(solver, "solver", (Solver,), "a Solver, e.g. ADMM()")
    prior, data = problem.prior, problem.offers()
    if solver.needs_operator and not problem.operator.described:
        raise TypeError(
            f"The operator is not known, and {prior.name} needs it. Use a network that needs none (--prior text), or "
            "name what was done to the picture: --op blur:kernel=estimate, --op identity."
        )
    if problem.operator.described and not solver.needs_operator and fits(solver, prior, data):
        raise TypeError(
            f"{prior.name} finds out by itself what was done to the picture, so {problem.operator.name} would be left "
            "aside. Use --op unknown (operators.Undescribed())."
        )
    if fits(solver, prior, data):
        return
    others = ", ".join(fitting(prior, data)) or "none"
    name = type(solver).__name__
    if not fits(solver, prior):
        raise TypeError(
            f"{name} needs {' and '.join(solver.needs)}; prior {prior.name} offers "
            f"{', '.join(sorted(prior.offers())) or 'nothing'}. Solvers that fit: {others}."
        )
    raise TypeError(
        f"{name} needs the {' and '.join(solver.needs_noise)} of the noise; {problem.noise.name} offers "
        f"{', '.join(sorted(data)) or 'nothing'}. Solvers that fit: {others}."
    )


def falling_strength(problem: Problem) -> Geometric:
    """k -> tau_k such that the prior's strength √(lam tau_k) falls log-spaced from 49/255 to sigma.

    Zhang et al. 2021 (DPIR), section 4.2; their rho_k = lam sigma²/sigma_k² is our sigma²/tau_k.
    """
    return Geometric((49 / 255) ** 2 / problem.lam, problem.sigma**2 / problem.lam)
