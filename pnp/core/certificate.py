"""What is known about where a solve ended: the theorem that holds, or measurements in its place, and a verdict.

Everything measured is computed when it is first asked for: a solve pays for none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..linalg import norm
from .problem import Problem

LAGS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
SIDE = 256  # the Lipschitz constant is estimated on the central SIDE² pixels: its cost is bounded
LOOSE, TIGHT, COLOURED = 1.15, 0.8, 0.15  # of fit, fit and whiteness: beyond them the verdict says so


@dataclass(frozen=True)
class Convergence:
    """The end of a solve, image by image.

    theorem: the statement whose hypotheses hold, None where none does.  residual: relative change of the last step,
    (B,): how far from a fixed point the iteration is.  convex: whether the prior is closed and convex.
    tau: the variance that the solver last gave to prior.prox, before lam; None for a solver that calls no prox.
    """

    theorem: str | None
    residual: Tensor
    convex: bool
    problem: Problem
    x: Tensor
    tau: float | Tensor | None = None

    @cached_property
    def fit(self) -> Tensor:
        """‖Ax − y‖/(sigma √m), (B,): 1 when what is left is as large as the noise."""
        with torch.no_grad():
            return self.problem.residual(self.x) / self.problem.noise_norm()

    @cached_property
    def whiteness(self) -> Tensor | None:
        """The largest correlation, by size, of r = y − Ax with itself a pixel or two away, (B,): about 0 for noise.

        ρ(d) = Σ r(i) r(i + d)/√(Σ r(i)² Σ r(i + d)²), over pairs of measured pixels.  None where y is not a picture.
        The idea is Almeida & Figueiredo's (2013, parameter choice by whiteness); the statistic is the plainest one.
        """
        if not self.problem.operator.pictorial or min(self.problem.y.shape[-2:]) < 4:
            return None
        with torch.no_grad():
            r = -self.problem.misfit(self.x)
        known = self.problem.operator.known()
        r = r if known is None else r * known.to(r)
        found = torch.stack([_correlation(r, *lag) for lag in LAGS])  # (lags, B)
        return found.gather(0, found.abs().argmax(0, keepdim=True))[0]

    @cached_property
    def lipschitz(self) -> Tensor | None:
        """A lower estimate of the Lipschitz constant of D − Id at x, (B,), D the prior's step; below 1 is contractive.

        D(v) = prox(v, lam tau) of the last iteration, or v − ∇g(v)/L for a solver that calls the gradient.  Estimated
        by R(x + hv) − R(x), R = D − Id, repeated with its own direction as the next v (8 times, from random ones).
        None for a convex prior, whose constant is known to be at most 1.
        """
        if self.convex:
            return None
        rows, columns = (slice(max(0, (n - SIDE) // 2), max(0, (n - SIDE) // 2) + SIDE) for n in self.x.shape[-2:])
        x = self.x[..., rows, columns]
        found = self._step(x)
        if found is None:
            return None
        with torch.no_grad():
            return _lipschitz(lambda v: found[0](v) - v, x, found[1] / 10)

    def _step(self, x: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor] | None:
        """The prior's part of an iteration as a denoiser, and its strength; the same random draws at each call."""
        prior, lipschitz = self.problem.prior, self.problem.prior.lipschitz()
        if self.tau is not None and "prox" in prior.offers():
            tau = torch.as_tensor(self.problem.lam * self.tau).to(x)
            return lambda v: prior.begin(v).prox(v, tau), tau.sqrt()
        if "grad" in prior.offers() and lipschitz < float("inf"):
            return lambda v: v - prior.begin(x).grad(v) / lipschitz, x.new_tensor(lipschitz**-0.5)
        return None

    @property
    def verdict(self) -> tuple[str, ...]:
        """What the residual says, in words, for each image."""
        white = [None] * len(self.x) if self.whiteness is None else self.whiteness.tolist()
        cause = "" if self.problem.operator.pixelwise else self.problem.operator.called
        return tuple(_verdict(fit, rho, cause) for fit, rho in zip(self.fit.tolist(), white, strict=True))

    def __str__(self) -> str:
        reason = "with these settings" if self.convex else "(the prior is not a closed convex function)"
        parts = [
            self.theorem or f"no theorem applies {reason}",
            f"fixed-point residual {float(self.residual.max()):.1e}",
        ]
        if self.theorem is None and self.lipschitz is not None:
            parts.append(f"Lipschitz constant of D − Id about {float(self.lipschitz.max()):.2f}")
        return "; ".join(parts)


def _verdict(fit: float, rho: float | None, cause: str) -> str:
    """cause: what else may be wrong; empty where there is nothing else."""
    coloured = rho is not None and abs(rho) > COLOURED
    if fit > LOOSE:
        others = f", sigma too small, or the {cause} wrong" if cause else ", or sigma too small"
        return f"The residual is larger than the noise. lam may be too high{others}. Lower lam, or check sigma."
    if coloured:
        return "The residual still shows structure of the picture. lam may be too high" + (
            f", or the {cause} wrong. Lower lam, or check the {cause}." if cause else ". Lower lam."
        )
    if fit < TIGHT:
        return (
            "The residual is smaller than the noise, so noise is left in the picture. lam may be too low, or sigma too "
            "large. Raise lam, or check sigma."
        )
    if rho is None:
        return "The residual is as large as the noise. Its structure cannot be tested for this measurement."
    return "The residual looks like noise of the estimated level." + (
        f" This cannot rule out a wrong {cause}." if cause else ""
    )


def _correlation(r: Tensor, down: int, right: int) -> Tensor:
    """Correlation of r with itself `down` and `right` (possibly negative) further, (B,)."""
    h, w = r.shape[-2:]
    a = r[..., : h - down, max(0, -right) : w - max(0, right)]
    b = r[..., down:, max(0, right) : w + min(0, right)]
    both = (a != 0) & (b != 0)  # 0 exactly: a pixel that was not measured
    a, b = a * both, b * both
    return ((a * b).flatten(1).sum(1) / (norm(a) * norm(b)).flatten().clamp_min(1e-30)).clamp(-1, 1)


def _lipschitz(residual: Callable[[Tensor], Tensor], x: Tensor, h: Tensor, rounds: int = 8) -> Tensor:
    """max over v of ‖R(x + v) − R(x)‖/‖v‖ for v of h a pixel, (B,)."""
    at, size = residual(x), h * (x[0].numel() ** 0.5)
    v = torch.randn((1, *x.shape[1:]), generator=torch.Generator().manual_seed(0)).to(x).expand_as(x)
    best = x.new_zeros(len(x))
    for _ in range(rounds):
        v = v * (size / norm(v).clamp_min(1e-30))
        v = residual(x + v) - at
        best = torch.maximum(best, (norm(v) / size).flatten())
    return best
