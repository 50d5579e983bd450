"""Total variation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import positive
from ..registry import PRIORS
from . import dual
from .base import Prior, Split


class Gradient:
    """Forward differences D of an image, zero beyond the last row and column, with the norm that makes TV of them.

    Coefficients: (B, 2, C, H, W), vertical then horizontal.  ‖D‖² <= 8 (Chambolle 2004).
    """

    bands, norm_squared = 2, 8.0

    def __init__(self, isotropic: bool) -> None:
        self.isotropic = isotropic

    def map(self, x: Tensor) -> Tensor:
        return self.add_map_(torch.zeros_like(x)[:, None].repeat(1, 2, 1, 1, 1), x, 1.0)

    def adjoint(self, p: Tensor) -> Tensor:
        p = p.clone()  # what lies beyond the last row and column is not read by `map`
        p[:, 0, :, -1], p[:, 1, ..., -1] = 0, 0
        return self.minus_adjoint(torch.zeros_like(p[:, 0]), p, torch.empty_like(p[:, 0])).neg_()

    def add_map_(self, q: Tensor, x: Tensor, step: float) -> Tensor:
        q[:, 0, :, :-1].add_(x[:, :, 1:], alpha=step).sub_(x[:, :, :-1], alpha=step)
        q[:, 1, :, :, :-1].add_(x[..., 1:], alpha=step).sub_(x[..., :-1], alpha=step)
        return q

    def minus_adjoint(self, v: Tensor, q: Tensor, out: Tensor) -> Tensor:
        """v − Dᵀq; the last row of q's vertical and the last column of its horizontal part are zero."""
        torch.add(v, q[:, 0], out=out).add_(q[:, 1])
        out[:, :, 1:].sub_(q[:, 0, :, :-1])
        out[..., 1:].sub_(q[:, 1, :, :, :-1])
        return out

    def project_(self, q: Tensor, radius: Tensor) -> Tensor:
        if not self.isotropic:
            return torch.clamp(q, -radius, radius, out=q)
        # radius/max(radius, |q|), written as min(1, radius/|q|); 1/0 = inf is cut to 1
        scale = (q[:, 0] * q[:, 0]).addcmul_(q[:, 1], q[:, 1]).rsqrt_().mul_(radius[:, 0]).clamp_max_(1)
        return q.mul_(scale[:, None])

    def size(self, p: Tensor) -> Tensor:
        return self._lengths(p).flatten(1).sum(1)

    def shrink(self, p: Tensor, tau: float | Tensor) -> Tensor:
        """prox of tau times the norm: the lengths (isotropic) or the entries shrink by tau."""
        if not self.isotropic:
            return p.sign() * (p.abs() - tau).clamp_min(0)
        length = self._lengths(p)[:, None]
        return p * (1 - tau / length.clamp_min(1e-30)).clamp_min_(0)

    def smoothed(self, p: Tensor, eps: float) -> Tensor:
        """√(|p|² + eps²) at each pixel, (B, C, H, W)."""
        return (p.square().sum(1) + eps**2).sqrt()

    def _lengths(self, p: Tensor) -> Tensor:
        """|p| at each pixel, (B, C, H, W); written out, because torch's norms are slow along a short axis."""
        if not self.isotropic:
            return p[:, 0].abs() + p[:, 1].abs()
        return (p[:, 0] * p[:, 0]).addcmul_(p[:, 1], p[:, 1]).sqrt_()


@PRIORS.register("tv", cite=("rudin1992", "beck2009tv"), examples=("tv", "tv:isotropic=false"))
class TV(dual.AnalysisPrior):
    """Total variation, g(x) = Σ_pixels |(Dx)_i|₂ (isotropic) or |(Dx)_i|₁ (anisotropic), each channel by itself.

    prox: to a relative duality gap `tol`, image by image, by accelerated dual projected gradient; inside one solve it
    starts from the dual point of the call before (`dual.Warm`).   Rudin, Osher & Fatemi 1992; Beck & Teboulle 2009b.
    """

    pause, most = 8, 24

    def __init__(self, isotropic: bool = True, tol: float = 1e-4, max_iter: int = 1000) -> None:
        gradient = Gradient(isotropic)
        super().__init__(gradient, gradient.shrink, tol, max_iter)


@PRIORS.register("tv-smooth", cite=("rudin1992",), examples=("tv-smooth", "tv-smooth:eps=0.001"))
class SmoothTV(Prior):
    """Total variation with rounded corners, g(x) = Σ_pixels √(|(Dx)_i|² + eps²) − eps; for descents: it has a gradient.

    ∇g(x) = Dᵀ(Dx/√(|Dx|² + eps²)), 8/eps-Lipschitz.   eps in image units.
    """

    closed_convex = True

    def __init__(self, eps: float = 0.01) -> None:
        self.gradient, self.eps = Gradient(isotropic=True), positive(eps, "eps")

    def value(self, x: Tensor) -> Tensor:
        return (self.gradient.smoothed(self.gradient.map(x), self.eps) - self.eps).flatten(1).sum(1)

    def grad(self, x: Tensor) -> Tensor:
        p = self.gradient.map(x)
        return self.gradient.adjoint(p / self.gradient.smoothed(p, self.eps)[:, None])

    def lipschitz(self) -> float:
        return self.gradient.norm_squared / self.eps


@PRIORS.register("wtv", cite=("cascarano2021",))
class WeightedTV(Prior):
    """Total variation whose weights choose themselves, Σ_i w_i |(Dx)_i| with w_i = 1/(2 |(Dx)_i|): edges cost little.

    Cascarano et al. 2021 set w_i = ‖Ax − y‖²/(2 m |q_i|) beside ½‖Ax − y‖², q_i the gradient that the prox is given.
    Beside our f, with ‖Ax − y‖² = m sigma², that is 1/(2 |q_i|), so that the weight is lam = 1 and nothing is left to
    choose:   prox: q_i <- q_i (1 − tau/(2 |q_i|²))₊.
    These weights come from g(x) = ¼ Σ log(|(Dx)_i|² + eps²), which is not convex; value and gradient are its.
    """

    lam = 1.0
    kind = "wtv"

    def __init__(self, eps: float = 0.001) -> None:
        self.gradient, self.eps = Gradient(isotropic=True), positive(eps, "eps")

    def value(self, x: Tensor) -> Tensor:
        return self.gradient.smoothed(self.gradient.map(x), self.eps).log().flatten(1).sum(1) / 2

    def grad(self, x: Tensor) -> Tensor:
        p = self.gradient.map(x)
        return self.gradient.adjoint(p / (2 * self.gradient.smoothed(p, self.eps)[:, None].square()))

    def lipschitz(self) -> float:
        return self.gradient.norm_squared / (2 * self.eps**2)

    def split(self) -> Split:
        return Split(self.gradient.map, self.gradient.adjoint, self.gradient.norm_squared**0.5, self._shrink)

    def _shrink(self, q: Tensor, tau: float | Tensor) -> Tensor:
        squared = q.square().sum(1, keepdim=True).clamp_min(1e-30)
        return q * (1 - tau / (2 * squared)).clamp_min(0)
