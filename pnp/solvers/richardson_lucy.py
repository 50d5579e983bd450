"""Richardson-Lucy: the multiplicative descent for photon counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import Problem
from ..core.solver import Solver
from ..linalg import dot
from ..registry import SOLVERS

LEAST = 0.1  # of Aᵀa: where a prior of no known L pulls up harder, the step is shorter
SEEN = 0.05  # of the largest Aᵀ1: what y shows less of, beyond its borders, would grow without end
NEGATIVE = 1e-3  # of the largest Aᵀ1: FFTs leave less
FASTEST = 0.999  # t of the acceleration, at most


class RichardsonLucyState(NamedTuple):
    """x the image; before, the image before it; step, from where x was made to x; earlier, the step before that;
    seen, where Aᵀ1 is not small."""

    x: Tensor
    before: Tensor
    step: Tensor
    earlier: Tensor
    seen: Tensor


@SOLVERS.register(
    "rl",
    rank=95,
    cite=("richardson1972", "lucy1974", "biggs1997", "green1990", "dey2006", "shepp1982", "daube1986", "depierro1995",
          "bertero2005"),
    examples=("rl", "rl:accelerate=true,iterations=20"),
)  # fmt: skip
@dataclass(frozen=True)
class RichardsonLucy(Solver):
    """Richardson-Lucy, with or without a prior: x >= 0 throughout, for an A without negative numbers.

        lam L x⁺² + (Aᵀa + lam ∇g(x) − lam L x) x⁺ = x ⊙ Aᵀb,   a, b the two pulls of the noise at Ax (`Noise.pulls`)

    x⁺ is the positive root, pixel by pixel, L the prior's lipschitz().  Of Poisson noise of gain s and background c
    that minimises a bound of f + lam g that touches it at x, so the objective never rises (De Pierro 1995).  Where the
    prior has no say (`--prior none`) it is the EM algorithm of Richardson 1972 and Lucy 1974, as it is known:

        x <- x ⊙ Aᵀ(y/(Ax + c)) / Aᵀ1

    Its limit is noise, so end it where the residual is as large as the noise is (`--stop discrepancy`).  For L = ∞ the
    terms with L are left out: x ⊙ Aᵀb/(Aᵀa + lam ∇g(x)), one step late (Green 1990), with total variation Dey et al.
    2006.  Of Gaussian noise: x ⊙ Aᵀy/(AᵀAx), Daube-Witherspoon & Muehllehner 1986.
    Where y shows next to nothing, beyond its borders, x stays as it is (Bertero & Boccacci 2005).  The solve begins
    with a flat picture, each channel the mean of the first guess: what x has of noise at the start it keeps.
    accelerate: each step begins at x + t (x − the image before), t in [0, 1) from the last two steps: as far in half
    of the iterations or less, and the objective may rise.   Biggs & Andrews 1997.
    """

    accelerate: bool = False
    iterations: int = 100
    needs: ClassVar[tuple[str, ...]] = ("grad",)
    needs_noise: ClassVar[tuple[str, ...]] = ("pulls",)
    assumes: ClassVar[str | None] = "poisson"

    def init(self, problem: Problem, x0: Tensor) -> RichardsonLucyState:
        x = x0.clamp_min(0).mean((-2, -1), keepdim=True).clamp_min(torch.finfo(x0.dtype).tiny).expand_as(x0).clone()
        often = problem.operator.adjoint(torch.ones_like(problem.y))
        if float(often.min()) < -NEGATIVE * float(often.abs().max()):
            raise ValueError(f"rl needs an operator without negative numbers, and {problem.operator.name} has some. "
                             "Use another solver, e.g. admm.")  # fmt: skip
        seen = often > SEEN * often.flatten(1).amax(1).view(-1, 1, 1, 1)
        return RichardsonLucyState(x, x, torch.zeros_like(x), torch.zeros_like(x), seen)

    def step(self, problem: Problem, s: RichardsonLucyState, k: int) -> RichardsonLucyState:
        tiny, at = torch.finfo(s.x.dtype).tiny, s.x
        if self.accelerate:
            pace = dot(s.step, s.earlier) / dot(s.earlier, s.earlier).clamp_min(tiny)
            at = (s.x + pace.clamp(0, FASTEST) * (s.x - s.before)).clamp_min(0)
        down, up = (
            problem.operator.adjoint(pull) for pull in problem.noise.pulls(problem.operator(at).clamp_min(0), problem.y)
        )
        lam, steepest = problem.lam, problem.prior.lipschitz()
        curved = 0.0 if steepest == float("inf") else lam * steepest
        against = down + lam * problem.prior.grad(at) - curved * at
        if steepest == float("inf"):
            against = torch.maximum(against, LEAST * down)
        lift = at * up.clamp_min(0)  # FFTs leave -1e-8 of 0
        root = (against.square() + 4 * curved * lift).sqrt()
        # the same number twice: of each pixel the one whose sum does not cancel
        below, above = 2 * lift / (against + root).clamp_min(tiny), (root - against) / (2 * curved + tiny)
        moved = torch.where(against > 0, below, above)
        x = torch.where(s.seen & (root > 0), moved, at)
        return RichardsonLucyState(x, s.x, x - at, s.step, s.seen)

    def theorem(self, problem: Problem) -> str | None:
        if self.accelerate or problem.noise.quadratic or problem.prior.lipschitz() == float("inf"):
            return None
        if bool(problem.prior.grad(problem.aty).any()):
            return "a smooth prior: f + lam g never rises (De Pierro 1995)"
        return "no prior: the likelihood never falls (Shepp & Vardi 1982)"
