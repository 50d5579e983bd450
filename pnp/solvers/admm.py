"""The alternating direction method of multipliers, for one prior or a sum of priors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..linalg import norm
from ..problem import Problem
from ..registry import SOLVERS
from ..schedules import Geometric, Schedule, as_schedule
from .base import Solver, falling_strength, terms_of


class ADMMState(NamedTuple):
    """x the data step's image; z and u stack the copies and scaled multipliers of the terms: (B, n, C, H, W)."""

    x: Tensor
    z: Tensor
    u: Tensor
    tau: Tensor  # (B, 1, 1, 1), kept because u is scaled by it


@SOLVERS.register("admm", cite=("boyd2011", "venkatakrishnan2013"), examples=("admm", "admm:tau=0.01"))
@dataclass(frozen=True)
class ADMM(Solver):
    """ADMM on f(x) + lam Σᵢ wᵢ gᵢ(zᵢ), x = zᵢ.   Boyd et al. 2011, sections 5, 7.2; Venkatakrishnan et al. 2013.

        x  <- prox_{(tau/n) f}(mean_i(zᵢ − uᵢ))
        zᵢ <- prox_{lam wᵢ tau gᵢ}(x + uᵢ)
        uᵢ <- uᵢ + x − zᵢ

    tau: a variance or a schedule (u is rescaled when tau changes).  None: for a convex prior tau starts where it
    balances the data term and is doubled or halved while one residual exceeds the other tenfold (Boyd et al. 3.4.1,
    in the first half of the iterations); for a denoiser its strength falls as in HQS.
    """

    tau: float | Geometric | Schedule | None = None
    iterations: int = 100
    splits: ClassVar[bool] = True

    def init(self, problem: Problem, x0: Tensor) -> ADMMState:
        n = len(terms_of(self, problem.prior))
        z = x0[:, None].expand(-1, n, -1, -1, -1).clone()
        return ADMMState(x0, z, torch.zeros_like(z), self._tau(problem, x0, 0))

    def step(self, problem: Problem, s: ADMMState, k: int) -> ADMMState:
        terms = terms_of(self, problem.prior)
        tau = s.tau if self._adapts(problem) else self._tau(problem, s.x, k)
        u = s.u * (tau / s.tau)[:, None]
        x = problem.data_prox((s.z - u).mean(1), tau / len(terms), x0=s.x)
        v = x[:, None] + u
        z = torch.stack([p.prox(v[:, i], problem.lam * w * tau) for i, (w, p) in enumerate(terms)], 1)
        if self._adapts(problem) and k < self.iterations // 2:
            tau = balanced(tau, primal=norm(x[:, None] - z)[:, 0], dual=norm(z - s.z)[:, 0])
            v = x[:, None] + u  # the multiplier changes scale with tau
            return ADMMState(x, z, (v - z) * (tau / s.tau)[:, None], tau)
        return ADMMState(x, z, v - z, tau)

    def image(self, state: ADMMState) -> Tensor:
        """The prior's copy: the mean of zᵢ."""
        return state.z.mean(1)

    def theorem(self, problem: Problem) -> str | None:
        if not problem.prior.closed_convex or not (self._adapts(problem) or isinstance(self.tau, float)):
            return None
        return "closed convex prior: converges to a minimiser of f + lam g (Boyd et al. 2011, section 3.2)"

    def _adapts(self, problem: Problem) -> bool:
        return self.tau is None and problem.prior.closed_convex

    def _tau(self, problem: Problem, x0: Tensor, k: int) -> Tensor:
        if self._adapts(problem):
            tau = 30 * problem.sigma**2 / problem.norm**2  # rho = ‖A‖²/30
        else:
            tau = as_schedule(falling_strength(problem) if self.tau is None else self.tau, self.iterations)(k)
        return torch.as_tensor(tau, dtype=x0.dtype, device=x0.device).expand(x0.shape[0], 1, 1, 1)


def balanced(tau: Tensor, primal: Tensor, dual: Tensor, ratio: float = 10.0, factor: float = 2.0) -> Tensor:
    """tau halved where the primal residual exceeds `ratio` times the dual one, doubled in the opposite case.

    A larger tau couples x and z more weakly.  Boyd et al. 2011, eq. 3.13, with tau = 1/rho.
    """
    down = torch.where(primal > ratio * dual, 1 / factor, 1.0)
    return tau * torch.where(dual > ratio * primal, factor, down)
