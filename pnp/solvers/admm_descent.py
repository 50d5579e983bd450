"""ADMM whose image is drawn by variables that a descent moves, with a linear map in each constraint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..core.problem import Problem
from ..core.solver import relative, splits_of
from ..linalg import per_image
from ..registry import SOLVERS
from .average import averaged
from .descent import Drawn
from .drawing import Pictures, check_optimizer, make_optimizer

NEAR = 1.1  # of the radius of the ball
FAR = 0.5  # of it: a first image that fits the data better has fitted their noise


class ADMMDescentState(NamedTuple):
    """x, mean, weight: the image drawn last and the average of all so far, as in `gd`; t and u: copy and multiplier of
    each Kᵢx; r and v: of Ax − y, used under a constraint alone; led: whether the first image is worth going by; begun:
    whether the multipliers move; pictures: what draws them, which changes in place."""

    x: Tensor
    mean: Tensor
    weight: Tensor  # (B, 1, 1, 1)
    t: tuple[Tensor, ...]
    u: tuple[Tensor, ...]
    r: Tensor
    v: Tensor
    led: Tensor  # (B, 1, 1, 1)
    begun: Tensor  # (B, 1, 1, 1)
    pictures: Pictures


@SOLVERS.register(
    "admm-descent",
    rank=110,
    cite=("cascarano2021", "cascarano2022", "mataev2019"),
    examples=("admm-descent", "admm-descent:within=1,inner=20"),
)
@dataclass(frozen=True)
class ADMMDescent(Drawn):
    """ADMM on min_θ f(x(θ)) + lam Σᵢ wᵢ hᵢ(tᵢ), tᵢ = Kᵢ x(θ), with `inner` steps of a descent for θ.

        θ  <- steps along ∇f(x) + Σᵢ Kᵢᵀ(Kᵢx − tᵢ + uᵢ)/tau
        tᵢ <- prox_{lam wᵢ tau hᵢ}(Kᵢx + uᵢ)
        uᵢ <- uᵢ + Kᵢx − tᵢ

    x(θ) is what the prior draws (`parametrise`), the image itself where none does; hᵢ, Kᵢ are those of `split`.  With
    `within` = c the data are a constraint instead, ‖Ax − y‖ <= c sigma √m, and no weight lam matters: ∇f becomes
    Aᵀ(Ax − y − r + v)/sigma², with r <- the projection of Ax − y + v on the ball and v <- v + Ax − y − r.  It
    begins with u = v = r = 0 and tᵢ = Kᵢx0, or where ‖Ax0 − y‖ has not that size with the data alone, until ‖Ax − y‖ is
    within NEAR of the ball, for half of the iterations at most: what the multipliers gather while a network still
    learns would drive it past the ball, into the noise.

    DIP with TV is ADMM-DIPTV (Cascarano et al. 2021: lr = 0.001, 100 times 50 steps, weight 0.1 and beta = 10 beside
    ½‖Ax − y‖², so lam = 0.1/sigma², tau = sigma²/10), with a denoiser DeepRED (Mataev et al. 2019), constrained
    cDIP-RED (Cascarano et al. 2022).  tau: a variance, None is sigma².  average: the image is the mean of all drawn
    with weights average^age.
    """

    tau: float | None = None
    within: float | None = None
    optimizer: str = "Adam"
    lr: float = 0.01
    inner: int = 10
    average: float = 0.98
    iterations: int = 200
    needs: ClassVar[tuple[str, ...]] = ("split",)
    needs_noise: ClassVar[tuple[str, ...]] = ("slope",)
    splits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_optimizer(self.optimizer)
        checks.share(self.average, "average")
        checks.positive(self.lr, "lr")
        checks.positive(self.inner, "inner")
        if self.within is not None:
            checks.positive(self.within, "within")

    @property
    def constrained(self) -> bool:
        return self.within is not None

    def init(self, problem: Problem, x0: Tensor) -> ADMMDescentState:
        pictures = Pictures(problem.prior.parametrise(x0), partial(make_optimizer, self.optimizer, lr=self.lr))
        x = pictures.image
        share = self._share(problem, problem.misfit(x0))
        led = (share >= FAR) & (share <= NEAR)
        guess = torch.where(led, x0, x)
        t = tuple(k.map(guess) for _, k in splits_of(self, problem.prior))
        r = self._within_ball(problem, problem.misfit(x))
        zeros = tuple(torch.zeros_like(ti) for ti in t)
        weight = x.new_zeros(len(x), 1, 1, 1)
        begun = torch.full_like(weight, self.within is None, dtype=torch.bool)
        return ADMMDescentState(x, torch.zeros_like(x), weight, t, zeros, r, torch.zeros_like(r), led, begun, pictures)

    def step(self, problem: Problem, s: ADMMDescentState, k: int) -> ADMMDescentState:
        x, mean, weight = s.x, s.mean, s.weight
        for _ in range(self.inner):
            x = s.pictures.step(self._pull(problem, s, x))
            mean, weight = averaged(mean, weight, x, self.average)
        tau, apart = self._tau(problem), problem.misfit(x)
        begun = s.begun | (self._share(problem, apart) <= NEAR) | (2 * k >= self.iterations)
        splits = splits_of(self, problem.prior)
        seen = [split.map(x) + ui for (_, split), ui in zip(splits, s.u, strict=True)]
        t = tuple(
            torch.where(per_image(begun, vi), split.prox(vi, per_image(problem.lam * w * tau, vi)), ti)
            for (w, split), vi, ti in zip(splits, seen, s.t, strict=True)
        )
        u = tuple((vi - ti) * per_image(begun, vi) for vi, ti in zip(seen, t, strict=True))
        r = self._within_ball(problem, apart + s.v)
        v = (apart + s.v - r) * begun
        return ADMMDescentState(x, mean, weight, t, u, r, v, s.led, begun, s.pictures)

    def change(self, problem: Problem, state: ADMMDescentState, before: ADMMDescentState) -> Tensor:
        """max(‖x⁺ − x‖, ‖u⁺ − u‖, ‖v⁺ − v‖)/‖x‖: the image's change and how far Kx, Ax − y are from their copies."""
        multipliers = zip((*state.u, state.v), (*before.u, before.v), strict=True)
        apart = torch.stack([(now - old).flatten(1).norm(dim=1) for now, old in multipliers])
        moved = relative(apart.amax(0).view(-1, 1, 1, 1), self.image(state))
        return torch.maximum(super().change(problem, state, before), moved)

    def _pull(self, problem: Problem, s: ADMMDescentState, x: Tensor) -> Tensor:
        """∇f(x) + Σᵢ Kᵢᵀ(Kᵢx − tᵢ + uᵢ)/tau, or what it begins with."""
        pull = problem.data_grad(x)
        if self.within is not None:
            pull = pull - s.begun * problem.operator.adjoint(s.r - s.v) / problem.sigma**2
        for (_, split), ti, ui in zip(splits_of(self, problem.prior), s.t, s.u, strict=True):
            pull = pull + (s.led | s.begun) * split.adjoint(split.map(x) - ti + ui) / self._tau(problem)
        return pull

    def _share(self, problem: Problem, apart: Tensor) -> Tensor:
        """The length of Ax − y in radii of the ball, (B, 1, 1, 1); 0 where there is no constraint."""
        length = apart.flatten(1).norm(dim=1)
        return (length / ((self.within or math.inf) * problem.noise_norm())).view(-1, 1, 1, 1)

    def _within_ball(self, problem: Problem, v: Tensor) -> Tensor:
        """v shortened to c sigma √m where it is longer; without a constraint v itself, so that its multiplier is 0."""
        if self.within is None:
            return v
        length = v.flatten(1).norm(dim=1).clamp_min(1e-30)
        share = (self.within * problem.noise_norm() / length).clamp_max(1)
        return v * per_image(share, v)

    def _tau(self, problem: Problem) -> float | Tensor:
        return problem.sigma**2 if self.tau is None else self.tau
