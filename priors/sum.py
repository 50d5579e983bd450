"""The sum of priors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..checks import positive
from ..precision import Choice
from .base import Drawing, Prior


class Sum(Prior):
    """g(x) = Σᵢ wᵢ gᵢ(x).

    Its gradient and value add up.  Its prox does not (the prox of a sum is not a sum of proxes): solvers that
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
            raise ValueError(f"{' and '.join(p.name for p in drawing)} both draw the picture; a sum takes one.")
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

    def weakness(self) -> float:
        return sum(w * p.weakness() for w, p in self.terms)

    def tuned(self, strength: float | Tensor) -> Sum:
        return Sum([(w, p.tuned(strength)) for w, p in self.terms])

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
