"""The alternating direction method of multipliers, for one prior or a sum of priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import DataSplit, Problem
from ..core.schedules import Geometric, Schedule, as_schedule
from ..core.solver import Solver, falling_strength, relative, terms_of
from ..linalg import norm
from ..registry import SOLVERS


class ADMMState(NamedTuple):
    """x the data step's image; z and u the copy and the scaled multiplier of each term."""

    x: Tensor
    z: tuple[Tensor, ...]
    u: tuple[Tensor, ...]
    tau: Tensor  # (B, 1, 1, 1), kept because u is scaled by it
    split: DataSplit | None  # the copy of Ax, for a noise that needs one


@SOLVERS.register(
    "admm",
    rank=10,
    cite=("boyd2011", "venkatakrishnan2013", "figueiredo2010"),
    examples=("admm", "admm:tau=0.01"),
)
@dataclass(frozen=True)
class ADMM(Solver):
    """ADMM on f(x) + lam Σᵢ wᵢ gᵢ(zᵢ), x = zᵢ.   Boyd et al. 2011, sections 5, 7.2; Venkatakrishnan et al. 2013.

        x  <- prox_{(tau/n) f∘A}(mean_i(zᵢ − uᵢ))
        zᵢ <- prox_{lam wᵢ tau gᵢ}(x + uᵢ)
        uᵢ <- uᵢ + x − zᵢ

    A noise that has no exact step with A is split off as well, Ax = w, by one sweep of `Problem.data_step`: still ADMM,
    every step exact (Figueiredo & Bioucas-Dias 2010, PIDAL).  Beside a denoiser the first line is `Problem.data_move`.
    tau: a variance or a schedule (u is rescaled when tau changes).  None: for a convex prior tau starts where it
    balances the data term and is doubled or halved while one residual exceeds the other tenfold (Boyd et al. 3.4.1,
    in the first half of the iterations); for a denoiser its strength falls as in HQS.
    """

    tau: float | Geometric | Schedule | None = None
    iterations: int = 100
    splits: ClassVar[bool] = True

    def init(self, problem: Problem, x0: Tensor) -> ADMMState:
        n = len(terms_of(self, problem.prior))
        return ADMMState(x0, (x0,) * n, (torch.zeros_like(x0),) * n, self._tau(problem, x0, 0), problem.split(x0))

    def step(self, problem: Problem, s: ADMMState, k: int) -> ADMMState:
        terms = terms_of(self, problem.prior)
        kept = self._adapts(problem) or isinstance(self.tau, int | float)
        tau = s.tau if kept else self._tau(problem, s.x, k)
        u = s.u if tau is s.tau else tuple(ui * (tau / s.tau) for ui in s.u)
        towards = _mean([zi - ui for zi, ui in zip(s.z, u, strict=True)])
        if problem.prior.closed_convex:
            x, split = problem.data_step(towards, tau / len(terms), s.split, x0=s.x, sweeps=1)
        else:
            x, split = problem.data_move(towards, tau / len(terms), s.x, s.split)
        v = [x + ui for ui in u]
        z = tuple(p.prox(vi, problem.lam * w * tau) for (w, p), vi in zip(terms, v, strict=True))
        u = tuple(vi - zi for vi, zi in zip(v, z, strict=True))
        if self._adapts(problem) and k < self.iterations // 2:
            new = _balanced(tau, x, z, s.z)
            return ADMMState(x, z, tuple(ui * (new / tau) for ui in u), new, split)  # u changes scale with tau
        return ADMMState(x, z, u, tau, split)

    def image(self, state: ADMMState) -> Tensor:
        """The prior's copy: the mean of zᵢ."""
        return _mean(state.z)

    def change(self, problem: Problem, state: ADMMState, before: ADMMState) -> Tensor:
        """max(‖z − z_before‖, ‖x − zᵢ‖, ‖Ax − w‖)/‖z‖: the dual and the primal residuals."""
        gaps = [norm(state.x - zi) for zi in state.z]
        if state.split is not None and before.split is not None:
            gaps.append((state.split.d - before.split.d).flatten(1).norm(dim=1).view(-1, 1, 1, 1))
        apart = torch.stack(gaps).amax(0)
        return torch.maximum(super().change(problem, state, before), relative(apart, self.image(state)))

    def last_tau(self, problem: Problem, state: ADMMState, k: int) -> Tensor:
        return state.tau

    def theorem(self, problem: Problem) -> str | None:
        if not (problem.prior.closed_convex and problem.noise.convex):
            return None
        if not (self._adapts(problem) or isinstance(self.tau, int | float)):
            return None
        return "closed convex prior: converges to a minimiser of f + lam g (Boyd et al. 2011, section 3.2)"

    def _adapts(self, problem: Problem) -> bool:
        return self.tau is None and problem.prior.closed_convex

    def _tau(self, problem: Problem, x0: Tensor, k: int) -> Tensor:
        if self._adapts(problem):
            tau = 30 * problem.sigma**2 / problem.norm**2  # rho = ‖A‖²/30, for Gaussian noise
        else:
            tau = as_schedule(falling_strength(problem) if self.tau is None else self.tau, self.iterations)(k)
        return torch.as_tensor(tau, dtype=x0.dtype, device=x0.device).expand(x0.shape[0], 1, 1, 1)


def _balanced(tau: Tensor, x: Tensor, z: tuple[Tensor, ...], before: tuple[Tensor, ...]) -> Tensor:
    """tau halved where the primal residual ‖x − z‖ is tenfold the dual one ‖z⁺ − z‖, doubled in the opposite case.

    A larger tau couples x and z more weakly.  Residuals below 1e-4 ‖x‖ come from inexact proxes, and balancing
    them would run away.  Boyd et al. 2011, eq. 3.13, with tau = 1/rho.
    """
    primal = torch.stack([norm(x - zi) for zi in z]).square().sum(0).sqrt()
    dual = torch.stack([norm(zi - old) for zi, old in zip(z, before, strict=True)]).square().sum(0).sqrt()
    factor = torch.where(primal > 10 * dual, 0.5, torch.where(dual > 10 * primal, 2.0, 1.0))
    return tau * torch.where(torch.maximum(primal, dual) > 1e-4 * norm(x), factor, 1.0)


def _mean(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)
