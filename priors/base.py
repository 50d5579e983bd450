"""The contract of every prior, and the two ways of combining them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice

Denoiser = Callable[[Tensor, Any], Tensor]  # D(x, sigma): deepinv's convention; sigma a number or (B, 1, 1, 1)


@runtime_checkable
class Network(Protocol):
    """A denoiser that says in which number format it runs."""

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]: ...


def runs_in(denoiser: Denoiser, device: torch.device) -> tuple[Choice, ...]:
    """What a denoiser says of its number format; nothing for one that is a plain function."""
    return denoiser.runs_in(device) if isinstance(denoiser, Network) else ()


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

    One that overrides `parametrise` holds for the pictures that it draws alone: x = x(θ), and a descent moves θ.
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
        raise NotImplementedError(f"{self.name} has no value: there is no objective to minimise.")

    def lipschitz(self) -> float:
        """A Lipschitz constant of `grad`; inf when there is none or none is known."""
        return float("inf")

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
        """Which of prox, grad, value, split and parametrise this prior has."""
        every = ("prox", "grad", "value", "split", "parametrise")
        have = {m for m in every if getattr(type(self), m) is not getattr(Prior, m)}
        return have | ({"split"} if "prox" in have else set())

    @property
    def name(self) -> str:
        return type(self).__name__


class Sum(Prior):
    """g(x) = Σᵢ wᵢ gᵢ(x).

    Its gradient and value are those of the terms.  Its prox is not (prox of a sum is no sum of proxes): solvers that
    split take `terms` one by one.  One term may say what draws the picture (`parametrise`); it does so for the sum.
    Raises ValueError for no terms, a weight that is not above 0, or two terms that draw.
    """

    def __init__(self, terms: Sequence[tuple[float, Prior]]) -> None:
        if not terms:
            raise ValueError("a sum of priors needs at least one term.")
        self.terms = tuple((positive(w, "weight of a prior"), p) for w, p in terms)
        self.closed_convex = all(p.closed_convex for _, p in self.terms)
        drawing = [p for _, p in self.terms if "parametrise" in p.offers()]
        if len(drawing) > 1:
            raise ValueError(f"{' and '.join(p.name for p in drawing)} would both draw the picture; expected one.")
        self.drawing = drawing[0] if drawing else None
        if self.drawing is not None:
            self.lam = self.drawing.lam

    @property
    def name(self) -> str:
        return " + ".join(p.name if w == 1 else f"{w:g}*{p.name}" for w, p in self.terms)

    def offers(self) -> set[str]:
        shared = set.intersection(*(p.offers() for _, p in self.terms)) - {"prox", "split", "parametrise"}
        return shared if self.drawing is None else {*shared, "parametrise"}

    def grad(self, x: Tensor) -> Tensor:
        return torch.stack([w * p.grad(x) for w, p in self.terms]).sum(0)

    def value(self, x: Tensor) -> Tensor:
        return torch.stack([w * p.value(x) for w, p in self.terms]).sum(0)

    def lipschitz(self) -> float:
        return sum(w * p.lipschitz() for w, p in self.terms)

    def begin(self, x0: Tensor) -> Sum:
        return Sum([(w, p.begin(x0)) for w, p in self.terms])

    def parametrise(self, x0: Tensor) -> list[Drawing]:
        return super().parametrise(x0) if self.drawing is None else self.drawing.parametrise(x0)

    def rest(self, active: Tensor) -> None:
        for _, p in self.terms:
            p.rest(active)

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return tuple(choice for _, p in self.terms for choice in p.runs_in(device))

    def learned(self) -> dict[str, Tensor]:
        return _joined(p.learned() for _, p in self.terms)

    def elsewhere(self, learned: dict[str, Tensor]) -> dict[str, Tensor]:
        return _joined(p.elsewhere(_part(learned, i)) for i, (_, p) in enumerate(self.terms))

    def starting(self, learned: dict[str, Tensor]) -> Sum:
        return Sum([(w, p.starting(_part(learned, i))) for i, (w, p) in enumerate(self.terms)])


def _joined(parts: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What each term has learned, under the number of the term."""
    return {f"{i}/{name}": value for i, part in enumerate(parts) for name, value in part.items()}


def _part(learned: dict[str, Tensor], i: int) -> dict[str, Tensor]:
    return {name.partition("/")[2]: v for name, v in learned.items() if name.partition("/")[0] == str(i)}


class Moreau(Prior):
    """The Moreau envelope g_mu(x) = min_z g(z) + ‖x − z‖²/(2 mu): smooth, with the minimisers of g.

    ∇g_mu(x) = (x − prox(x, mu)) / mu, 1/mu-Lipschitz for convex g;
    prox of g_mu: v + tau/(tau + mu) (prox_g(v, tau + mu) − v).   Bauschke & Combettes 2017, propositions 12.29, 24.8.
    """

    def __init__(self, prior: Prior, mu: float) -> None:
        self.prior, self.mu = prior, positive(mu, "mu")
        self.closed_convex = prior.closed_convex

    @property
    def name(self) -> str:
        return f"Moreau({self.prior.name})"

    def offers(self) -> set[str]:
        return {"prox", "grad", "split"} | (self.prior.offers() & {"value"})

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return v + tau / (tau + self.mu) * (self.prior.prox(v, tau + self.mu) - v)

    def grad(self, x: Tensor) -> Tensor:
        return (x - self.prior.prox(x, self.mu)) / self.mu

    def value(self, x: Tensor) -> Tensor:
        z = self.prior.prox(x, self.mu)
        return self.prior.value(z) + (x - z).flatten(1).square().sum(1) / (2 * self.mu)

    def lipschitz(self) -> float:
        return 1 / self.mu

    def begin(self, x0: Tensor) -> Moreau:
        return Moreau(self.prior.begin(x0), self.mu)

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return self.prior.runs_in(device)
