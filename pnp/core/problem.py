"""What is solved: min_x f(Ax; y) + lam g(x)."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .. import checks
from ..linalg import norm
from ..noises.base import Noise, batched
from ..noises.gaussian import Gaussian
from ..operators.base import Operator
from ..priors.base import Prior

SHARE = 2.0  # variance of the copy of Ax in a split, in the noise's: the fastest of 1 to 100 on blurred photographs
SWEEPS = 5  # of a split, where a solver asks for the prox itself


class DataSplit(NamedTuple):
    """The copy w of Ax and its scaled multiplier d, for a noise that has no exact step together with A."""

    w: Tensor
    d: Tensor


@dataclass(frozen=True, init=False)
class Problem:
    """f(Ax; y) + lam g(x), with f the noise's minus log-likelihood.

    y: the measurement, batch first.  noise: a `Noise`; a number s, or sigma = s, is short for Gaussian(s), whose f is
    ‖Ax − y‖²/(2 s²).
    lam: weight of the prior, a number, or (B, 1, 1, 1) with one value an image.
    Raises ValueError for shapes that do not fit, a noise that y contradicts, and numbers that are not above 0;
    TypeError for parts of another kind.
    """

    operator: Operator
    y: Tensor
    prior: Prior
    noise: Noise
    lam: float | Tensor

    def __init__(
        self,
        operator: Operator,
        y: Tensor,
        prior: Prior,
        noise: Noise | float | Tensor | None = None,
        lam: float | Tensor = 1.0,
        *,
        sigma: float | Tensor | None = None,
    ) -> None:
        if noise is not None and sigma is not None:
            raise ValueError("noise and sigma are both given; sigma is short for noise=Gaussian(sigma).")
        if noise is None:
            noise = 1.0 if sigma is None else sigma
        if isinstance(noise, int | float | Tensor):
            noise = Gaussian(noise)
        checks.part(operator, "operator", (Operator,), "an Operator; pnp.interop and FromCallables make one of others")
        checks.part(prior, "prior", (Prior,), "a Prior; PnP(denoiser) makes one of a denoiser")
        checks.part(noise, "noise", (Noise,), "a Noise, or the sigma of Gaussian noise")
        checks.image(y, "y")
        if noise.bounded and not operator.pictorial:
            raise ValueError(
                f"{noise.name} noise keeps y between black and white, but {operator.name} does not measure a picture. "
                "Use gaussian noise."
            )
        checks.per_image(lam, "lam", len(y))
        operator.image_shape(tuple(y.shape[1:]))  # a wrong shape is an error here, not in the loop
        known = operator.known()
        if known is not None:
            y = y * known.to(y)  # what lies at missing pixels says nothing
        values = {
            "operator": operator,
            "y": y,
            "prior": prior,
            "noise": noise.begin(y, known),
            "lam": lam.to(y) if isinstance(lam, Tensor) else lam,  # the image's precision is the caller's choice
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @cached_property
    def aty(self) -> Tensor:
        """Aᵀy."""
        return self.operator.adjoint(self.y)

    @cached_property
    def norm(self) -> float:
        """‖A‖, the largest singular value."""
        return self.operator.norm(self.aty)

    @cached_property
    def sigma(self) -> float | Tensor:
        """The standard deviation of white noise that is as strong as this one: a number or (B, 1, 1, 1)."""
        return self.noise.level(self.y)

    @cached_property
    def exact(self) -> bool:
        """Whether prox_{tau f∘A} has a closed form or an exact linear solve: one `data_prox`, not a sequence."""
        if self.noise.quadratic or (self.operator.pixelwise and "prox" in self.noise.offers()):
            return True
        plain = self.noise.plain(self.y)
        return plain is not None and bool(plain.all())

    @property
    def smooth(self) -> bool:
        """Whether f is convex and `lipschitz` holds for every picture: what theorems on gradient steps ask of it."""
        return self.noise.convex and self.noise.everywhere and "curvature" in self.noise.offers()

    @property
    def convex(self) -> bool:
        """Whether f + lam g is known to be convex.

        Where g is, or where f is curved more than g may be bent down: A = I and lam rho <= 1/sigma², rho the weakness
        of the prior.
        """
        if not self.noise.convex:
            return False
        lam, sigma = (torch.as_tensor(v, dtype=torch.float64).cpu() for v in (self.lam, self.sigma))
        down = lam * self.prior.weakness() * sigma**2
        whole = self.noise.quadratic and self.operator.pixelwise and self.operator.known() is None
        return self.prior.closed_convex or (whole and bool((down <= 1 + 1e-9).all()))

    def offers(self) -> set[str]:
        """What the data term has: what the noise has (`Noise.offers`), and `step`, where f∘A has an exact prox."""
        return self.noise.offers() | ({"step"} if self.exact else set())

    def misfit(self, x: Tensor) -> Tensor:
        """What Ax leaves of y, in image units: Ax − y, or what the noise says; 0 where nothing was measured."""
        left, known = self.noise.misfit(self.operator(x), self.y), self.operator.known()
        return left if known is None else left * known.to(left)

    def data_prox(self, v: Tensor, tau: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """prox_{tau f∘A}(v), exact; x0: where to begin.  Raises ValueError where there is no exact step (`exact`).

        Gaussian noise: (AᵀA + rho I)⁻¹(Aᵀy + rho v), rho = sigma²/tau, kept above 1600 eps ‖A‖² (2e-4 in float32):
        below it rounding would lose rho v beside Aᵀy, and with it the picture where A sees nothing, while the fit to y
        differs by less than one part in 5000.  Other noise, A a mask or the identity: v + Aᵀ(prox(Av) − Av), the
        noise's prox where y was measured, v elsewhere.
        """
        if not self.exact:
            raise ValueError(f"{self.noise.name} noise has no exact step with {self.operator.name}; use data_step.")
        if self.noise.quadratic or not self.operator.pixelwise:
            return self._solve(self.aty, self.sigma**2 / tau, v, x0)
        u = self.operator(v)
        return v + self.operator.adjoint(self.noise.prox(u, self.y, tau) - u)  # y is some of the numbers of x

    def data_step(
        self, v: Tensor, tau: float | Tensor, split: DataSplit | None, x0: Tensor | None = None, sweeps: int = SWEEPS
    ) -> tuple[Tensor, DataSplit | None]:
        """prox_{tau f∘A}(v), and the split to go on from: `data_prox` where that is exact, and no split.

        Elsewhere `sweeps` times, each step exact, t the variance of the copy:

            x <- argmin ‖Ax − w + d‖²/(2 t) + ‖x − v‖²/(2 tau)
            w <- prox_{t f}(Ax + d);   d <- d + Ax − w

        whose fixed point is the prox.  One sweep for each step of ADMM is ADMM on both splits at once.
        Figueiredo & Bioucas-Dias 2010 (PIDAL).
        """
        if split is None:
            return self.data_prox(v, tau, x0), None
        t, (w, d), plain = SHARE * self.sigma**2, split, self.noise.plain(self.y)
        gaussian = None if plain is None else self._solve(self.aty, self.sigma**2 / tau, v, x0)
        for _ in range(sweeps):
            x0 = self._solve(self.operator.adjoint(w - d), t / tau, v, x0)
            if plain is not None and gaussian is not None:  # each image as if it were alone
                x0 = torch.where(plain.view(-1, 1, 1, 1), gaussian, x0)
            u = self.operator(x0)
            w = self.noise.prox(u + d, self.y, t)
            if plain is not None:
                w = torch.where(plain.view(-1, *[1] * (w.ndim - 1)), u, w)
            d = d + u - w
        assert x0 is not None
        return x0, DataSplit(w, d)

    def split(self, x0: Tensor) -> DataSplit | None:
        """Where a solve that begins with x0 begins its split; None where the data step is exact."""
        if self.exact:
            return None
        w = self.operator(x0)
        return DataSplit(w, torch.zeros_like(w))

    def data_move(
        self, v: Tensor, tau: float | Tensor, at: Tensor, split: DataSplit | None
    ) -> tuple[Tensor, DataSplit | None]:
        """The data step beside a denoiser: v moved towards y so that white noise is left, as a denoiser expects.

        Noise that has cut y, as clipping does: one step of the EM algorithm, ỹ what y would have been if the picture
        were `at` (`Noise.completed`),

            (AᵀA + rho I)⁻¹(Aᵀỹ + rho v),   rho = sigma²/tau.

        The exact prox would take a clipped pixel to its likeliest value, far beyond the mean.  Any other noise:
        `data_step`, its prox.
        Dempster, Laird & Rubin 1977.
        """
        if "completed" not in self.noise.offers():
            return self.data_step(v, tau, split, at)
        whole = self.noise.completed(self.operator(at), self.y)
        return self._solve(self.operator.adjoint(whole), self.sigma**2 / tau, v, at), split

    def _solve(self, aty: Tensor, rho: float | Tensor, v: Tensor, x0: Tensor | None) -> Tensor:
        """(AᵀA + rho I)⁻¹(aty + rho v), rho as large as rounding needs."""
        rho = torch.as_tensor(rho, dtype=v.dtype, device=v.device)
        rho = rho.clamp_min(1600 * torch.finfo(v.dtype).eps * self.norm**2)
        return self.operator.solve_normal(torch.addcmul(aty, rho, v), rho, x0)

    def data_grad(self, x: Tensor) -> Tensor:
        """∇(f∘A)(x) = Aᵀ f'(Ax), for Gaussian noise (AᵀA x − Aᵀy)/sigma²."""
        if self.noise.quadratic:
            return (self.operator.normal(x) - self.aty) / self.sigma**2
        return self.operator.adjoint(self.noise.slope(self.operator(x), self.y))

    def envelope_grad(self, x: Tensor, rho: float) -> Tensor:
        """rho (AᵀA + rho I)⁻¹ ∇(f∘A)(x): for Gaussian noise ∇f_t(x), f_t the Moreau envelope of f∘A, t = sigma²/rho.

        With rho well below ‖A‖² all that A sees is pulled at one pace, what a blur has weakened too.
        """
        if self.noise.quadratic:
            t = self.sigma**2 / rho
            return (x - self.data_prox(x, t, x)) / t
        return rho * self.operator.solve_normal(self.data_grad(x), rho)

    def data_value(self, x: Tensor) -> Tensor:
        """f(Ax), (B,)."""
        return self.noise.value(self.operator(x), self.y)

    def residual(self, x: Tensor) -> Tensor:
        """The length of the misfit, (B,): ‖Ax − y‖ for Gaussian noise."""
        return norm(self.misfit(x)).flatten()

    def noise_norm(self) -> Tensor | float:
        """The residual to expect at the truth, (B,) or a number: sigma √m for Gaussian noise; found once."""
        return self._noise_norm

    @cached_property
    def _noise_norm(self) -> Tensor | float:
        return self.noise.expected(self.y) * self.measurements() ** 0.5

    def measurements(self) -> float:
        """m, how many numbers of each y were measured; counted once."""
        return self._measurements

    @cached_property
    def _measurements(self) -> float:
        known = self.operator.known()
        return self.y[0].numel() if known is None else float(known.expand(1, *self.y.shape[1:]).sum())

    def objective(self, x: Tensor) -> Tensor:
        """f(Ax) + lam g(x), (B,); raises NotImplementedError for a prior without a value."""
        return self.data_value(x) + batched(self.lam) * self.prior.value(x)

    def lipschitz(self) -> float | Tensor:
        """Lipschitz constant of ∇(f∘A): ‖A‖² times the noise's curvature, ‖A‖²/sigma² for Gaussian noise."""
        return self.norm**2 * self.noise.curvature(self.y)

    def begin(self, x0: Tensor) -> Problem:
        """The same problem with the prior's state for one solve."""
        return self._with(prior=self.prior.begin(x0))

    def weighted(self, lam: float | Tensor) -> Problem:
        """The same problem with another weight of the prior."""
        checks.per_image(lam, "lam", len(self.y))
        return self._with(lam=lam.to(self.y) if isinstance(lam, Tensor) else lam)

    def beside(self, prior: Prior) -> Problem:
        """The same problem with another prior."""
        return self._with(prior=prior)

    def _with(self, **changes: object) -> Problem:
        """The same problem with another prior or lam, and with what was computed here of A, y and the noise."""
        other = copy(self)
        other.__dict__.update(changes)
        return other

    def initial(self) -> Tensor:
        """The operator's plain first guess, made once."""
        return self._initial

    @cached_property
    def _initial(self) -> Tensor:
        with torch.no_grad():
            return self.operator.initial(self.y)
