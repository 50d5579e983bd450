"""What is solved: min_x ‖Ax − y‖²/(2 sigma²) + lam g(x)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .. import checks
from ..linalg import norm
from ..noises import clipped
from ..operators.base import Operator
from ..priors.base import Prior


@dataclass(frozen=True)
class Problem:
    """f(x) + lam g(x) with f(x) = ‖Ax − y‖²/(2 sigma²).

    y: the measurement, batch first; sigma: standard deviation of its noise; lam: weight of the prior.
    sigma and lam are numbers, or (B, 1, 1, 1) with one value an image.  Where y was clipped to [0, 1], f is the
    negative log-likelihood of that (`Clipping`), with `misfit` in the place of Ax − y.
    """

    operator: Operator
    y: Tensor
    prior: Prior
    sigma: float | Tensor = 1.0
    lam: float | Tensor = 1.0

    def __post_init__(self) -> None:
        checks.image(self.y, "y")
        checks.per_image(self.sigma, "sigma", len(self.y))
        checks.per_image(self.lam, "lam", len(self.y))
        for name in ("sigma", "lam"):
            if isinstance(value := getattr(self, name), Tensor):
                object.__setattr__(self, name, value.to(self.y))  # the image's precision is the caller's choice
        self.operator.image_shape(tuple(self.y.shape[1:]))  # a wrong shape is an error here, not in the loop
        known = self.operator.known()
        if known is not None:
            object.__setattr__(self, "y", self.y * known.to(self.y))  # what lies at missing pixels says nothing

    @cached_property
    def aty(self) -> Tensor:
        """Aᵀy."""
        return self.operator.adjoint(self.y)

    @cached_property
    def norm(self) -> float:
        """‖A‖, the largest singular value."""
        return self.operator.norm(self.aty)

    @cached_property
    def clipping(self) -> clipped.Clipping | None:
        """How y was clipped, None where it was not."""
        return clipped.find(self.y, self.sigma, self.operator.known())

    def misfit(self, x: Tensor) -> Tensor:
        """Ax − y, or what `Clipping.misfit` says in its place."""
        u = self.operator(x)
        return u - self.y if self.clipping is None else self.clipping.misfit(u, self.y)

    def data_prox(self, v: Tensor, tau: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """prox_{tau f}(v) = (AᵀA + rho I)⁻¹(Aᵀy + rho v), rho = sigma²/tau; x0: where to begin.

        rho is kept above 1600 eps ‖A‖² (2e-4 in float32): below it rounding would lose rho v beside Aᵀy, and with it
        the picture where A sees nothing, while the fit to y differs by less than one part in 5000.  Of a clipped y it
        is the EM step from x0, or from v: y becomes Ax0 less the misfit, what it would have been without the clipping.
        """
        rho = torch.as_tensor(self.sigma**2 / tau, dtype=v.dtype, device=v.device)
        rho = rho.clamp_min(1600 * torch.finfo(v.dtype).eps * self.norm**2)
        aty = self.aty
        if self.clipping is not None:
            start = v if x0 is None else x0
            aty = self.operator.normal(start) - self.operator.adjoint(self.misfit(start))
        return self.operator.solve_normal(torch.addcmul(aty, rho, v), rho, x0)

    def data_grad(self, x: Tensor) -> Tensor:
        """∇f(x) = (AᵀA x − Aᵀy)/sigma²."""
        pull = self.operator.normal(x) - self.aty if self.clipping is None else self.operator.adjoint(self.misfit(x))
        return pull / self.sigma**2

    def data_value(self, x: Tensor) -> Tensor:
        """f(x), (B,)."""
        if self.clipping is not None:
            return self.clipping.value(self.operator(x), self.y)
        return self.residual(x) ** 2 / (2 * _per_image(self.sigma) ** 2)

    def residual(self, x: Tensor) -> Tensor:
        """‖Ax − y‖, (B,), of the misfit."""
        return norm(self.misfit(x)).flatten()

    def noise_norm(self) -> Tensor | float:
        """sigma √m, the expected residual at the truth; less where y was clipped."""
        left = 1.0 if self.clipping is None else self.clipping.share.sqrt()
        return _per_image(self.sigma) * self.measurements() ** 0.5 * left

    def measurements(self) -> float:
        """m, how many numbers of each y were measured."""
        known = self.operator.known()
        return self.y[0].numel() if known is None else float(known.expand(1, *self.y.shape[1:]).sum())

    def objective(self, x: Tensor) -> Tensor:
        """f(x) + lam g(x), (B,); raises NotImplementedError for a prior without a value."""
        return self.data_value(x) + _per_image(self.lam) * self.prior.value(x)

    def lipschitz(self) -> float | Tensor:
        """Lipschitz constant of ∇f: ‖A‖²/sigma²."""
        return self.norm**2 / self.sigma**2

    def begin(self, x0: Tensor) -> Problem:
        """The same problem with the prior's state for one solve."""
        return self._keeping(replace(self, prior=self.prior.begin(x0)))

    def weighted(self, lam: float | Tensor) -> Problem:
        """The same problem with another weight of the prior."""
        return self._keeping(replace(self, lam=lam))

    def _keeping(self, other: Problem) -> Problem:
        """`other` with what was computed here of A and y."""
        other.__dict__.update({k: v for k, v in self.__dict__.items() if k in ("aty", "norm", "clipping")})
        return other

    def initial(self) -> Tensor:
        """The operator's plain first guess."""
        with torch.no_grad():
            return self.operator.initial(self.y)


def _per_image(value: float | Tensor) -> float | Tensor:
    return value.flatten() if isinstance(value, Tensor) else value
