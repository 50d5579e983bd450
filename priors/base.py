"""The contracts of priors and of denoisers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..precision import Choice
from ..registry import DENOISERS

Denoiser = Callable[[Tensor, Any], Tensor]  # D(x, sigma): deepinv's convention; sigma a number or (B, 1, 1, 1)
Member = Annotated[Denoiser, DENOISERS]  # a parameter that a spec of a denoiser fills
UNET: Any = DENOISERS.part("unet")


@runtime_checkable
class SaysFormat(Protocol):
    """A denoiser that says in which number format it runs."""

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]: ...


def runs_in(denoiser: Denoiser, device: torch.device) -> tuple[Choice, ...]:
    """What a denoiser says of its number format; nothing for one that is a plain function."""
    return denoiser.runs_in(device) if isinstance(denoiser, SaysFormat) else ()


def label(denoiser: Denoiser) -> str:
    """What a denoiser is called in the name of a prior."""
    return getattr(denoiser, "__name__", type(denoiser).__name__)


class Split(NamedTuple):
    """g(x) = h(Kx): K, Kᵀ, ‖K‖, and prox of h as (coefficients, tau) -> coefficients."""

    map: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]
    norm: float
    prox: Callable[[Tensor, Any], Tensor]


class Drawing(NamedTuple):
    """How one picture is drawn: the variables that a descent moves, and draw() -> (1, C, H, W) from what they are."""

    variables: list[Tensor]
    draw: Callable[[], Tensor]


class Prior:
    """g in `min_x f(x) + lam g(x)`.  A prior offers any of `prox`, `grad` and `value`.

    prox(v, tau) = argmin_x g(x) + ‖x − v‖²/(2 tau), tau a variance: a number or (B, 1, 1, 1)
    grad(x)      = ∇g(x), (B, C, H, W)
    value(x)     = g(x), (B,)

    One that overrides `parametrise` holds for the pictures that it draws alone: x = x(θ), and a descent moves θ.  One
    that overrides `restore` is not a function of x at all: it makes a picture of the measurement alone.
    """

    kind: str = "other"  # which rows of the default parameters are its own
    denoises: bool = False  # its prox is made of a denoiser: no function is known that it lowers
    closed_convex: bool = False  # the hypothesis of the convergence theorems
    lam: float | None = None  # the weight to take when nobody chooses one; None: fit the residual to the noise
    terms: tuple[tuple[float, Prior], ...] = ()  # (weight, prior) of a sum; empty for a prior of one term

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name} has no prox.")

    def grad(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name} has no gradient.")

    def value(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name} does not have a value, so there is no objective to minimise.")

    def restore(self, y: Tensor) -> Tensor:
        """A picture (B, C, H, W) from a measurement of the same shape, of which nothing else is told."""
        raise NotImplementedError(f"{self.name} needs to know the operator.")

    def lipschitz(self) -> float:
        """A Lipschitz constant of `grad`; inf when there is none or none is known."""
        return float("inf")

    def weakness(self) -> float:
        """rho for which g + rho/2 ‖x‖² is convex: 0 of a convex g; inf where none is known."""
        return 0.0 if self.closed_convex else float("inf")

    def tuned(self, strength: float | Tensor) -> Prior:
        """The same prior at this strength, in image units, where nobody has chosen one; by default as it is."""
        return self

    def smoothing(self) -> float:
        """s of a g that is the negative log-density of pictures blurred by Gaussian noise of std s; 0 for any other."""
        return 0.0

    def split(self) -> Split:
        """g = h ∘ K with a cheap prox of h; by default K is the identity and h is g."""
        return Split(lambda x: x, lambda p: p, 1.0, self.prox)

    def begin(self, x0: Tensor) -> Prior:
        """The prior to use in one solve; all state of that solve lives in what this returns."""
        return self

    def parametrise(self, x0: Tensor) -> list[Drawing]:
        """How each picture is drawn; by default it is its own variable."""
        pictures = [x.detach().clone().requires_grad_(True) for x in x0.split(1)]
        return [Drawing([x], lambda x=x: x) for x in pictures]  # type: ignore[misc]

    def rest(self, active: Tensor) -> None:
        """From here on only the `active` pictures, (B,), move: what this solve knows of the others stays as it is."""

    def learned(self) -> dict[str, Tensor]:
        """What the solve that this prior has `begun` has learned so far, by name; empty for one that learns nothing."""
        return {}

    def elsewhere(self, learned: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a solve of another picture can begin with, of what one has `learned`; by default all of it."""
        return learned

    def starting(self, learned: dict[str, Tensor]) -> Prior:
        """The same prior, whose next solve starts from what another has learned instead of from nothing."""
        return self

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        """The number format of each of its networks on that device, and why, for the record."""
        return ()

    def offers(self) -> set[str]:
        """Which of prox, grad, value, split, parametrise and restore this prior has."""
        every = ("prox", "grad", "value", "split", "parametrise", "restore")
        have = {m for m in every if getattr(type(self), m) is not getattr(Prior, m)}
        return have | ({"split"} if "prox" in have else set())

    @property
    def name(self) -> str:
        return type(self).__name__
