"""Anderson acceleration of plug-and-play and RED iterations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..core.problem import Problem
from ..core.solver import Solver
from ..registry import SOLVERS, SpecError
from .fixed_point import FixedPoint


class AndersonState(NamedTuple):
    """x the image; points and residuals: earlier x and T(x) − x, (B, memory + 1, C, H, W); filled: which there are."""

    x: Tensor
    points: Tensor
    residuals: Tensor
    filled: Tensor  # (B, memory + 1)


@SOLVERS.register("anderson", rank=100, cite=("walker2011", "romano2017"), examples=("anderson", "anderson:memory=3"))
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
    needs_noise: ClassVar[tuple[str, ...]] = ("step",)  # its map must be the same at each iteration

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < 1:
            raise SpecError(f"memory={self.memory}; expected 1 or more iterates.")

    def init(self, problem: Problem, x0: Tensor) -> AndersonState:
        none = x0.new_zeros((len(x0), self.memory + 1, *x0.shape[1:]))
        return AndersonState(x0, none, none, torch.zeros(none.shape[:2], dtype=torch.bool, device=x0.device))

    def step(self, problem: Problem, s: AndersonState, k: int) -> AndersonState:
        plain = FixedPoint(tau=self.tau, backtrack=False)
        image = plain.step(problem, plain.init(problem, s.x), k).x
        points = torch.cat([s.points[:, 1:], s.x[:, None]], 1)
        residuals = torch.cat([s.residuals[:, 1:], (image - s.x)[:, None]], 1)
        filled = torch.cat([s.filled[:, 1:], torch.ones_like(s.filled[:, :1])], 1)
        weights = _weights(residuals, filled)[..., None, None, None]
        return AndersonState((weights * (points + residuals)).sum(1), points, residuals, filled)


def _weights(residuals: Tensor, filled: Tensor) -> Tensor:
    """α of each image, (B, kept): Σ α = 1, ‖Σ αᵢ rᵢ‖ least, 0 where nothing is kept.

    Solves G β = 1 and scales, G the Gram matrix with a 1 on the diagonal of what is empty.
    """
    r = residuals.flatten(2).double()
    gram = r @ r.mT  # (B, kept, kept)
    size = gram.diagonal(dim1=1, dim2=2).sum(1).clamp_min(torch.finfo(r.dtype).tiny)
    there = filled.to(r.dtype)
    regular = gram / size[:, None, None] + torch.diag_embed(1e-8 + (1 - there))
    beta = torch.linalg.solve(regular, there) * there
    return (beta / beta.sum(1, keepdim=True)).to(residuals.dtype)
