"""Primal-dual splitting, for priors g = h ∘ K whose h is simple: no inner iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import Problem
from ..core.solver import Solver, relative, terms_of
from ..priors.base import Split
from ..registry import SOLVERS


class PrimalDualState(NamedTuple):
    """x the image, u the dual variable of each term."""

    x: Tensor
    u: tuple[Tensor, ...]


class _PrimalDual(Solver):
    """What Chambolle-Pock and Condat-Vu share: the dual half of the step.

        uᵢ <- prox_{s (lam wᵢ hᵢ)*}(uᵢ + s Kᵢ(2x⁺ − x)),   prox_{s φ*}(v) = v − s prox_{φ/s}(v/s)
    """

    needs: ClassVar[tuple[str, ...]] = ("split",)
    splits: ClassVar[bool] = True

    def init(self, problem: Problem, x0: Tensor) -> PrimalDualState:
        return PrimalDualState(x0, tuple(torch.zeros_like(k.map(x0)) for _, k in self._splits(problem)))

    def change(self, problem: Problem, state: PrimalDualState, before: PrimalDualState) -> Tensor:
        """max(‖x⁺ − x‖, tau Σᵢ ‖Kᵢ‖ ‖uᵢ⁺ − uᵢ‖)/‖x⁺‖: the image's change and a bound on what the duals' will make."""
        moves = [
            k.norm * torch.linalg.vector_norm((u - old).flatten(1), dim=1)
            for (_, k), u, old in zip(self._splits(problem), state.u, before.u, strict=True)
        ]
        ahead = self._steps(problem)[0] * torch.stack(moves).sum(0).view(-1, 1, 1, 1)
        return torch.maximum(super().change(problem, state, before), relative(ahead, state.x))

    def _steps(self, problem: Problem) -> tuple[float | Tensor, float | Tensor]:
        """(tau, s)."""
        raise NotImplementedError

    def _splits(self, problem: Problem) -> list[tuple[float, Split]]:
        return [(w, p.split()) for w, p in terms_of(self, problem.prior)]

    def _pull(self, problem: Problem, s: PrimalDualState) -> Tensor:
        """Σᵢ Kᵢᵀuᵢ."""
        return torch.stack([k.adjoint(u) for (_, k), u in zip(self._splits(problem), s.u, strict=True)]).sum(0)

    def _dual(self, problem: Problem, s: PrimalDualState, x: Tensor, size: float | Tensor) -> tuple[Tensor, ...]:
        ahead, u = 2 * x - s.x, []
        for (w, k), old in zip(self._splits(problem), s.u, strict=True):
            coefficients = k.map(ahead)
            step = _like(size, coefficients)
            v = old / step + coefficients
            u.append(step * (v - k.prox(v, _like(problem.lam, coefficients) * w / step)))
        return tuple(u)

    def _norm_squared(self, problem: Problem) -> float:
        """‖Σᵢ KᵢᵀKᵢ‖ is at most Σᵢ ‖Kᵢ‖²."""
        return sum(k.norm**2 for _, k in self._splits(problem))


@SOLVERS.register("chambolle-pock", rank=50, cite=("chambolle2011",))
@dataclass(frozen=True)
class ChambollePock(_PrimalDual):
    """Primal-dual hybrid gradient on f(x) + lam Σᵢ wᵢ hᵢ(Kᵢx).   Chambolle & Pock 2011, algorithm 1 (theta = 1).

        x⁺ <- prox_{tau f}(x − tau Σᵢ Kᵢᵀuᵢ)
        uᵢ <- prox_{s (lam wᵢ hᵢ)*}(uᵢ + s Kᵢ(2x⁺ − x))

    tau: a variance, by default 10 sigma²/‖A‖²;  s = 1/(tau Σᵢ‖Kᵢ‖²).
    """

    tau: float | None = None
    iterations: int = 300

    def step(self, problem: Problem, state: PrimalDualState, k: int) -> PrimalDualState:
        tau, s = self._steps(problem)
        x = problem.data_prox(state.x - tau * self._pull(problem, state), tau, x0=state.x)
        return PrimalDualState(x, self._dual(problem, state, x, s))

    def _steps(self, problem: Problem) -> tuple[float | Tensor, float | Tensor]:
        tau = 10 * problem.sigma**2 / problem.norm**2 if self.tau is None else self.tau
        return tau, 1 / (tau * self._norm_squared(problem))

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex:
            return None
        return "tau s ‖K‖² <= 1 and a closed convex prior: converges to a minimiser (Chambolle & Pock 2011, theorem 1)"


@SOLVERS.register("condat-vu", rank=60, cite=("condat2013", "vu2013"))
@dataclass(frozen=True)
class CondatVu(_PrimalDual):
    """Primal-dual splitting with a gradient step on f: no data prox is solved.   Condat 2013, algorithm 3.1; Vũ 2013.

        x⁺ <- x − tau (∇f(x) + Σᵢ Kᵢᵀuᵢ)
        uᵢ <- prox_{s (lam wᵢ hᵢ)*}(uᵢ + s Kᵢ(2x⁺ − x))

    tau = 1/L and s = L/(2 Σᵢ‖Kᵢ‖²), L = ‖A‖²/sigma², so that 1/tau − s Σᵢ‖Kᵢ‖² = L/2.
    """

    iterations: int = 500

    def step(self, problem: Problem, state: PrimalDualState, k: int) -> PrimalDualState:
        tau, s = self._steps(problem)
        x = state.x - tau * (problem.data_grad(state.x) + self._pull(problem, state))
        return PrimalDualState(x, self._dual(problem, state, x, s))

    def _steps(self, problem: Problem) -> tuple[float | Tensor, float | Tensor]:
        lipschitz = problem.lipschitz()
        return 1 / lipschitz, lipschitz / (2 * self._norm_squared(problem))

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex:
            return None
        return "1/tau − s ‖K‖² >= L/2 and a closed convex prior: converges to a minimiser (Condat 2013, theorem 3.1)"


def _like(value: float | Tensor, coefficients: Tensor) -> float | Tensor:
    """A (B, 1, 1, 1) value with as many axes as the coefficients."""
    return value.view(-1, *[1] * (coefficients.ndim - 1)) if isinstance(value, Tensor) else value
