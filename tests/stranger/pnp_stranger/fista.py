"""FISTA with its two steps exchanged."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from pnp.core.problem import DataSplit, Problem
from pnp.solvers import Solver


class DataFISTAState(NamedTuple):
    """x the image, w the extrapolated point; split: the copy of Ax, for a noise that needs one."""

    x: Tensor
    w: Tensor
    split: DataSplit | None


@dataclass(frozen=True)
class DataFISTA(Solver):
    """FISTA with the gradient of a smooth prior and the prox of the data.   Beck & Teboulle 2009, f and g exchanged.

        x⁺ <- prox_{tau f∘A}(w − tau lam ∇g(w)),   tau = 1/(lam L)
        w⁺ <- x⁺ + k/(k + 3) (x⁺ − x)

    L: the prior's lipschitz().  Momentum: Chambolle & Dossal 2015, for which the images converge, too.
    """

    iterations: int = 200
    needs: ClassVar[tuple[str, ...]] = ("grad",)

    def init(self, problem: Problem, x0: Tensor) -> DataFISTAState:
        if problem.prior.lipschitz() == float("inf"):
            raise ValueError(f"no smoothness constant is known for {problem.prior.name}; data-fista needs one.")
        return DataFISTAState(x0, x0, problem.split(x0))

    def step(self, problem: Problem, s: DataFISTAState, k: int) -> DataFISTAState:
        tau = 1 / (problem.lam * problem.prior.lipschitz())
        forward = s.w - tau * problem.lam * problem.prior.grad(s.w)
        x, split = problem.data_step(forward, tau, s.split, x0=s.w)
        return DataFISTAState(x, x + k / (k + 3) * (x - s.x), split)

    def theorem(self, problem: Problem) -> str | None:
        if not (problem.prior.closed_convex and problem.noise.convex and problem.exact):
            return None
        return "step 1/L and a smooth convex prior: converges to a minimiser of f + lam g (Chambolle & Dossal 2015)"
