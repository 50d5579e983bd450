"""The prox of g(x) = h(Kx), h a norm, to a duality gap: what TV and translation-invariant wavelets share."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from ..checks import positive
from .base import Prior, Split


class Analysis(Protocol):
    """K and h of g(x) = h(Kx), h(p) = max of ⟨p, q⟩ over a dual ball; the in-place forms spare memory traffic.

    coefficients p: (B, n, C, H, W), n bands of an image x: (B, C, H, W).
    """

    bands: int
    norm_squared: float  # ‖K‖²

    def map(self, x: Tensor) -> Tensor: ...  # K x
    def adjoint(self, p: Tensor) -> Tensor: ...  # Kᵀp
    def add_map_(self, q: Tensor, x: Tensor, step: float) -> Tensor: ...  # q += step K x
    def minus_adjoint(self, v: Tensor, q: Tensor, out: Tensor) -> Tensor: ...  # out = v − Kᵀq
    def project_(self, q: Tensor, radius: Tensor) -> Tensor: ...  # q onto the dual ball of `radius`
    def size(self, p: Tensor) -> Tensor: ...  # h(p), (B,)


class DualState(NamedTuple):
    """A dual point for tau, scaled so that it fits another tau."""

    p: Tensor  # (B, n, C, H, W), dual point divided by tau


class Warm:
    """The prox inside one solve: each call starts from the dual point of the call before.

    A call ends at the gap `tol`, looked at every `pause` steps, or after `max_iter` steps: outer iterations that change
    little leave little to do, so the inner error falls with the outer one.
    """

    def __init__(self, k: Analysis, tol: float, pause: int, max_iter: int) -> None:
        self.k, self.tol, self.pause, self.max_iter = k, tol, pause, max_iter
        self.state: DualState | None = None

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        start = DualState(_zeros(self.k, v)) if self.state is None else self.state
        x, self.state = prox(self.k, v, tau, start, tol=self.tol, max_iter=self.max_iter, pause=self.pause)
        return x


class AnalysisPrior(Prior):
    """g(x) = h(Kx), closed and convex.  prox: to a relative duality gap `tol`, image by image, or `max_iter` steps.

    Inside one solve the prox starts from the dual point of the call before, looks at the gap every `pause` steps and
    takes `most` at the most (`Warm`).  shrink: the prox of h.
    """

    closed_convex = True
    pause: int
    most: int

    def __init__(self, analysis: Analysis, shrink: Callable[[Tensor, Any], Tensor], tol: float, max_iter: int) -> None:
        self.analysis, self.shrink = analysis, shrink
        self.tol, self.max_iter = positive(tol, "tol"), int(positive(max_iter, "max_iter"))
        self._warm: Warm | None = None

    def begin(self, x0: Tensor) -> Self:
        begun = copy.copy(self)
        begun._warm = Warm(self.analysis, self.tol, self.pause, min(self.most, self.max_iter))
        return begun

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        with torch.no_grad():
            if self._warm is not None:
                return self._warm.prox(v, tau)
            return prox(self.analysis, v, tau, None, tol=self.tol, max_iter=self.max_iter)[0]

    def value(self, x: Tensor) -> Tensor:
        return self.analysis.size(self.analysis.map(x))

    def split(self) -> Split:
        return Split(self.analysis.map, self.analysis.adjoint, self.analysis.norm_squared**0.5, self.shrink)


def prox(
    k: Analysis, v: Tensor, tau: float | Tensor, start: DualState | None, *, tol: float, max_iter: int, pause: int = 16
) -> tuple[Tensor, DualState]:
    """argmin_x h(Kx) + ‖x − v‖²/(2 tau), each image to a relative duality gap `tol`, and its dual point.

    Accelerated projected gradient on the dual, min over ‖q‖* <= tau of ½‖v − Kᵀq‖², with x = v − Kᵀq and
    gap(q) = tau h(Kx) − ⟨Kx, q⟩, relative to ½‖x − v‖² + tau h(Kx), looked at every `pause` steps.  The momentum of an
    image restarts when its gap rises; an image that has reached `tol` leaves the batch.
    Beck & Teboulle 2009b, section 4; Chambolle 2004.
    """
    radius = _radius(v, tau)
    p = _zeros(k, v) if start is None else start.p * radius
    x, dual = torch.empty_like(v), torch.empty_like(p)
    alive, work = torch.arange(v.shape[0], device=v.device), _Descent(k, v, p, radius)
    done = 0
    while True:
        gap = work.gap()
        finished = (gap <= tol) | (done >= max_iter)
        if bool(finished.any()):
            x[alive[finished]], dual[alive[finished]] = work.x[finished], work.p[finished]
            if start is None and float(gap[finished].max()) > 100 * tol:
                warnings.warn(f"prox stopped at relative gap {float(gap.max()):.1e}, not {tol:.1e}", stacklevel=2)
            alive = alive[~finished]
            if not len(alive):
                return x, DualState(dual / radius)
            work = work.subset(~finished)
        steps = min(pause, max_iter - done)
        for _ in range(steps):
            work.step()
        done += steps


class _Descent:
    """Accelerated projected gradient on the dual of those images that still iterate; three buffers take turns."""

    def __init__(self, k: Analysis, v: Tensor, p: Tensor, radius: Tensor) -> None:
        self.k, self.v, self.p, self.radius = k, v, p, radius
        self.x, self.q, self.spare = torch.empty_like(v), p.clone(), torch.empty_like(p)
        self.t = torch.ones_like(radius)
        self.last = torch.full((v.shape[0],), float("inf"), dtype=v.dtype, device=v.device)
        self.rounding = 4 * torch.finfo(v.dtype).eps * radius.flatten() * v.abs().flatten(1).sum(1)

    def step(self) -> None:
        """q <- P(q + K(v − Kᵀq)/‖K‖²), then extrapolation from p to the new point."""
        self.k.minus_adjoint(self.v, self.q, self.x)
        new = self.k.project_(self.k.add_map_(self.q, self.x, 1 / self.k.norm_squared), self.radius)
        t = (1 + (1 + 4 * self.t**2).sqrt()) / 2
        torch.lerp(self.p, new, 1 + (self.t - 1) / t, out=self.spare)
        self.t, self.p, self.q, self.spare = t, new, self.spare, self.p

    def gap(self) -> Tensor:
        """Relative duality gap at p, (B,); leaves x = v − Kᵀp, and restarts the momentum where the gap has risen."""
        self.k.minus_adjoint(self.v, self.p, self.x)
        kx = self.k.map(self.x)
        tau = self.radius.flatten()
        primal = tau * self.k.size(kx)
        gap = primal - (kx * self.p).flatten(1).sum(1)
        gap = torch.where(gap <= self.rounding, 0.0, gap)  # a flat picture has no other
        relative = gap / ((self.x - self.v).flatten(1).square().sum(1) / 2 + primal).clamp_min(1e-30)
        risen = (relative > self.last).view(-1, 1, 1, 1, 1)
        self.t = torch.where(risen, 1.0, self.t)
        self.q = torch.where(risen, self.p, self.q)
        self.last = relative
        return relative

    def subset(self, keep: Tensor) -> _Descent:
        part = _Descent(self.k, self.v[keep], self.p[keep], self.radius[keep])
        part.q, part.t, part.last = self.q[keep], self.t[keep], self.last[keep]
        return part


def _radius(v: Tensor, tau: float | Tensor) -> Tensor:
    """tau as (B, 1, 1, 1, 1)."""
    return torch.as_tensor(tau, dtype=v.dtype, device=v.device).expand(v.shape[0], 1, 1, 1)[:, None]


def _zeros(k: Analysis, v: Tensor) -> Tensor:
    """Coefficients of a black image."""
    return torch.zeros_like(v)[:, None].repeat(1, k.bands, 1, 1, 1)
