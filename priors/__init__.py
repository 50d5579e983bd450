"""Priors: what pictures look like."""

from __future__ import annotations

from typing import Any

from ..registry import PRIORS, SpecError, number, terms
from .base import Denoiser, Moreau, Prior, Split, Sum
from .dae import DAE
from .denoiser import RED, NonLocalMeans, PnP, Projector
from .dip import DIP
from .network import NetworkDenoiser
from .quadratic import Smooth, Tikhonov
from .sparse import L1, InvariantWaveletL1, WaveletL1
from .tv import TV, SmoothTV, WeightedTV

__all__ = [
    "DAE",
    "DIP",
    "L1",
    "RED",
    "TV",
    "Denoiser",
    "InvariantWaveletL1",
    "Moreau",
    "NetworkDenoiser",
    "NonLocalMeans",
    "PnP",
    "Prior",
    "Projector",
    "Smooth",
    "SmoothTV",
    "Split",
    "Sum",
    "Tikhonov",
    "WaveletL1",
    "WeightedTV",
    "parse",
]


def parse(text: str, *, shape: tuple[int, int, int] | None = None, seed: int = 0) -> Prior:
    """A prior from a spec, or a sum of them: `tv`, `tv+haar`, `tv+0.5*haar:levels=2`.

    shape: (C, H, W) of the image, for priors that depend on it.  seed: of those that draw, unless the spec names one.
    Raises SpecError.
    """
    found = [_term(part, {"shape": shape, "seed": seed}) for part in terms(text)]
    return found[0][1] if len(found) == 1 and found[0][0] == 1 else Sum(found)


def _term(text: str, context: dict[str, Any]) -> tuple[float, Prior]:
    weight, star, spec = text.partition("*")
    if not star:
        return 1.0, PRIORS.build(text, **context)
    try:
        value = number(weight)
    except ValueError:
        raise SpecError(f"{weight!r} in {text!r} is no weight; expected number*prior.") from None
    return value, PRIORS.build(spec, **context)
