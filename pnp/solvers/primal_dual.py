"""Primal-dual splitting, for priors g = h ∘ K whose h is simple: no inner iterations."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import Problem
from ..core.solver import Solver, relative, splits_of
from ..linalg import norm, per_image
from ..priors.base import Split
from ..registry import SOLVERS

PRODUCT = 0.99  # of tau s ‖K‖², where tau changes
SHARE, DECAY, APART = 0.5, 0.95, 1.5  # alpha_0, eta and Delta of the balancing


class PrimalDualState(NamedTuple):
    """x the image, u the dual variable of each term; kx: Kᵢx; pull: Σᵢ Kᵢᵀuᵢ; x0: the first image; tau: the step;
    alpha: the share by which tau may change next."""

    x: Tensor
    u: tuple[Tensor, ...]
    kx: tuple[Tensor, ...]
    pull: Tensor
    x0: Tensor
    tau: Tensor  # (B, 1, 1, 1)
    alpha: Tensor  # (B, 1, 1, 1)


class _PrimalDual(Solver):
    """What Chambolle-Pock and Condat-Vu share: the dual half of the step.

        uᵢ <- prox_{s (lam wᵢ hᵢ)*}(uᵢ + s Kᵢ(2x⁺ − x)),   prox_{s φ*}(v) = v − s prox_{φ/s}(v/s)
    """

    needs: ClassVar[tuple[str, ...]] = ("split",)
    splits: ClassVar[bool] = True

    def init(self, problem: Problem, x0: Tensor) -> PrimalDualState:
        kx = tuple(k.map(x0) for _, k in self._terms(problem))
        tau = torch.as_tensor(self._tau(problem), dtype=x0.dtype, device=x0.device).expand(len(x0), 1, 1, 1)
        u = tuple(torch.zeros_like(v) for v in kx)
        return PrimalDualState(x0, u, kx, torch.zeros_like(x0), x0, tau, torch.full_like(tau, SHARE))

    def change(self, problem: Problem, state: PrimalDualState, before: PrimalDualState) -> Tensor:
        """max(‖x⁺ − x‖ max(1, 1/(tau L)), tau Σᵢ ‖Kᵢ‖ ‖uᵢ⁺ − uᵢ‖)/‖x⁺‖, L the Lipschitz constant of ∇f.

        The image's change, or what a step of 1/L would make of it where tau is shorter; and a bound on what the duals'
        will make.
        """
        moves = [
            k.norm * torch.linalg.vector_norm((u - old).flatten(1), dim=1)
            for (_, k), u, old in zip(self._terms(problem), state.u, before.u, strict=True)
        ]
        ahead = before.tau * torch.stack(moves).sum(0).view(-1, 1, 1, 1)
        short = (1 / (before.tau * problem.lipschitz())).clamp_min(1).flatten()
        return torch.maximum(short * super().change(problem, state, before), relative(ahead, state.x))

    def _tau(self, problem: Problem) -> float | Tensor:
        raise NotImplementedError

    def _terms(self, problem: Problem) -> list[tuple[float | Tensor, Split]]:
        """(lam wᵢ, hᵢ ∘ Kᵢ) of the prior."""
        return [(problem.lam * w, k) for w, k in splits_of(self, problem.prior)]

    def _dual(self, problem: Problem, s: PrimalDualState, x: Tensor, size: float | Tensor) -> PrimalDualState:
        kx, u, pulls = [], [], []
        for (w, k), old, was in zip(self._terms(problem), s.u, s.kx, strict=True):
            now = k.map(x)
            step = per_image(size, now)
            v = old / step + 2 * now - was
            kx.append(now)
            u.append(step * (v - k.prox(v, per_image(w, now) / step)))
            pulls.append(k.adjoint(u[-1]))
        return s._replace(x=x, u=tuple(u), kx=tuple(kx), pull=torch.stack(pulls).sum(0))

    def _norm_squared(self, problem: Problem) -> float:
        """‖Σᵢ KᵢᵀKᵢ‖ is at most Σᵢ ‖Kᵢ‖²."""
        return sum(k.norm**2 for _, k in self._terms(problem))


@SOLVERS.register("chambolle-pock", rank=50, cite=("chambolle2011", "goldstein2013"))
@dataclass(frozen=True)
class ChambollePock(_PrimalDual):
    """Primal-dual hybrid gradient on f(x) + lam Σᵢ wᵢ hᵢ(Kᵢx).   Chambolle & Pock 2011, algorithm 1 (theta = 1).

        x⁺ <- prox_{tau f}(x − tau Σᵢ Kᵢᵀuᵢ)
        uᵢ <- prox_{s (lam wᵢ hᵢ)*}(uᵢ + s Kᵢ(2x⁺ − x))

    tau: the step, in units of a variance, with tau s Σᵢ‖Kᵢ‖² = 1.  None: it begins at 10 sigma²/‖A‖² and is balanced
    image by image, with tau s Σᵢ‖Kᵢ‖² = 0.99 (Goldstein et al. 2013): the residuals of the step are

        p = (x − x⁺)/tau − Kᵀ(u − u⁺),   d = (u − u⁺)/s − K(x − x⁺),

    each compared with how far its variable has come, ‖u⁺‖ and ‖x⁺ − x0‖ (u0 = 0), for which tau s has the least bound.
    Where one exceeds the other 1.5 times, tau becomes tau/(1 − alpha) or (1 − alpha) tau, and alpha 0.95 alpha.
    Noise that has no exact step with A is one more term, K = A and h = f, and the first line x − tau Σᵢ Kᵢᵀuᵢ.
    """

    tau: float | None = None
    iterations: int = 300

    def step(self, problem: Problem, s: PrimalDualState, k: int) -> PrimalDualState:
        x = s.x - s.tau * s.pull
        x = problem.data_prox(x, s.tau, x0=s.x) if problem.exact else x
        size = (PRODUCT if self.tau is None else 1.0) / (s.tau * self._norm_squared(problem))
        new = self._dual(problem, s, x, size)
        return new if self.tau is not None else _balanced(s, new, size)

    def _tau(self, problem: Problem) -> float | Tensor:
        return 10 * problem.sigma**2 / problem.norm**2 if self.tau is None else self.tau

    def _terms(self, problem: Problem) -> list[tuple[float | Tensor, Split]]:
        terms = super()._terms(problem)
        if not problem.exact:
            a, noise, y = problem.operator, problem.noise, problem.y
            terms.append((1.0, Split(a.forward, a.adjoint, problem.norm, lambda v, tau: noise.prox(v, y, tau))))
        return terms

    def theorem(self, problem: Problem) -> str | None:
        if not (problem.prior.closed_convex and problem.noise.convex):
            return None
        if self.tau is None:
            return (
                "tau s ‖K‖² < 1, steps whose changes are summable, and a closed convex prior: converges to a minimiser "
                "(Goldstein et al. 2013; with a constant step Chambolle & Pock 2011, theorem 1)"
            )
        return "tau s ‖K‖² <= 1 and a closed convex prior: converges to a minimiser (Chambolle & Pock 2011, theorem 1)"


def _balanced(old: PrimalDualState, new: PrimalDualState, size: Tensor) -> PrimalDualState:
    """tau and alpha after the step from `old` to `new`, image by image."""
    p = norm((old.x - new.x) / old.tau - (old.pull - new.pull))
    d = _length(
        (u - v) / per_image(size, u) - (a - b) for u, v, a, b in zip(old.u, new.u, old.kx, new.kx, strict=True)
    )
    primal, dual = p * norm(new.x - new.x0), d * _length(new.u)
    up, down = primal > APART * dual, dual > APART * primal
    factor = torch.where(up, 1 / (1 - old.alpha), torch.where(down, 1 - old.alpha, 1.0))
    return new._replace(tau=old.tau * factor, alpha=torch.where(up | down, DECAY * old.alpha, old.alpha))


def _length(parts: Iterable[Tensor]) -> Tensor:
    """√(Σᵢ ‖partᵢ‖²), (B, 1, 1, 1)."""
    return torch.stack([part.flatten(1).square().sum(1) for part in parts]).sum(0).sqrt().view(-1, 1, 1, 1)


@SOLVERS.register("condat-vu", rank=60, cite=("condat2013", "vu2013"))
@dataclass(frozen=True)
class CondatVu(_PrimalDual):
    """Primal-dual splitting with a gradient step on f: no data prox is solved.   Condat 2013, algorithm 3.1; Vũ 2013.

        x⁺ <- x − tau (∇f(x) + Σᵢ Kᵢᵀuᵢ)
        uᵢ <- prox_{s (lam wᵢ hᵢ)*}(uᵢ + s Kᵢ(2x⁺ − x))

    tau = 1/L and s = L/(2 Σᵢ‖Kᵢ‖²), L = ‖A‖²/sigma², so that 1/tau − s Σᵢ‖Kᵢ‖² = L/2.
    """

    iterations: int = 500
    needs_noise: ClassVar[tuple[str, ...]] = ("curvature",)

    def step(self, problem: Problem, s: PrimalDualState, k: int) -> PrimalDualState:
        x = s.x - s.tau * (problem.data_grad(s.x) + s.pull)
        return self._dual(problem, s, x, 1 / (2 * s.tau * self._norm_squared(problem)))

    def _tau(self, problem: Problem) -> float | Tensor:
        return 1 / problem.lipschitz()

    def theorem(self, problem: Problem) -> str | None:
        if not (problem.prior.closed_convex and problem.smooth):
            return None
        return "1/tau − s ‖K‖² >= L/2 and a closed convex prior: converges to a minimiser (Condat 2013, theorem 3.1)"
