"""Anderson acceleration of plug-and-play and RED iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..problem import Problem
from ..registry import SOLVERS, SpecError
from .base import Solver
from .fixed_point import FixedPoint


class AndersonState(NamedTuple):
    """x the image; points and residuals: the last few x and T(x) − x, (B, kept, C, H, W)."""

    x: Tensor
    points: Tensor
    residuals: Tensor


@SOLVERS.register("anderson", cite=("walker2011", "romano2017"), examples=("anderson", "anderson:memory=3"))
@dataclass(frozen=True)
class Anderson(Solver):
    """Anderson acceleration of x <- T(x) = prox_{tau f}(x − tau lam ∇g(x)), the map of `fixed-point`.

        x⁺ = Σᵢ αᵢ T(xᵢ) over the last `memory` + 1 iterates, Σᵢ αᵢ = 1, with ‖Σᵢ αᵢ (T(xᵢ) − xᵢ)‖ least.

    Image by image, with the Gram matrix of the residuals regularised by 1e-8 of its trace.
    Walker & Ni 2011, algorithm AA.  tau: as for `fixed-point`, 1/(lam L) when not given.
    """

    memory: int = 5
    tau: float | None = None
    iterations: int = 100
    needs: ClassVar[tuple[str, ...]] = ("grad",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < 1:
            raise SpecError(f"memory={self.memory}; expected 1 or more iterates.")

    def init(self, problem: Problem, x0: Tensor) -> AndersonState:
        none = x0.new_zeros((len(x0), 0, *x0.shape[1:]))
        return AndersonState(x0, none, none)

    def step(self, problem: Problem, s: AndersonState, k: int) -> AndersonState:
        plain = FixedPoint(tau=self.tau, backtrack=False)
        image = plain.step(problem, plain.init(problem, s.x), k).x
        points = torch.cat([s.points, s.x[:, None]], 1)[:, -self.memory - 1 :]
        residuals = torch.cat([s.residuals, (image - s.x)[:, None]], 1)[:, -self.memory - 1 :]
        weights = _weights(residuals)[..., None, None, None]
        return AndersonState((weights * (points + residuals)).sum(1), points, residuals)


def _weights(residuals: Tensor) -> Tensor:
    """α of each image, (B, kept): Σ α = 1, ‖Σ αᵢ rᵢ‖ least.  Solves G β = 1 and scales, G the Gram matrix."""
    r = residuals.flatten(2).double()
    gram = r @ r.mT  # (B, kept, kept)
    size = gram.diagonal(dim1=1, dim2=2).sum(1).clamp_min(torch.finfo(r.dtype).tiny)
    regular = gram / size[:, None, None] + 1e-8 * torch.eye(gram.shape[1], dtype=r.dtype, device=r.device)
    beta = torch.linalg.solve(regular, r.new_ones(gram.shape[:2]))
    return (beta / beta.sum(1, keepdim=True)).to(residuals.dtype)
