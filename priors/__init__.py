"""Priors: what pictures look like."""

from __future__ import annotations

from ..registry import PRIORS
from .base import Denoiser, Prior, Split
from .bounds import AtLeast, Simplex
from .classical import NonLocalMeans
from .dae import DAE
from .dip import DIP
from .direct import Direct
from .moreau import Moreau
from .network import NetworkDenoiser
from .none import NoPrior
from .patches import EPLL, PatchPrior
from .pnp import PnP
from .projector import Projector
from .quadratic import Smooth, Tikhonov
from .red import RED
from .ridge import Ridges
from .sparse import L0, L1, InvariantWaveletL1, WaveletL1
from .sum import Sum
from .tv import TV, SmoothTV, WeightedTV

__all__ = [
    "DAE",
    "DIP",
    "EPLL",
    "L0",
    "L1",
    "RED",
    "TV",
    "AtLeast",
    "Denoiser",
    "Direct",
    "InvariantWaveletL1",
    "Moreau",
    "NetworkDenoiser",
    "NoPrior",
    "NonLocalMeans",
    "PatchPrior",
    "PnP",
    "Prior",
    "Projector",
    "Ridges",
    "Simplex",
    "Smooth",
    "SmoothTV",
    "Split",
    "Sum",
    "Tikhonov",
    "WaveletL1",
    "WeightedTV",
    "parse",
]


PRIORS.add, PRIORS.adopt = Sum, PnP  # a denoiser in a prior's place is plug-and-play


def parse(text: str, *, shape: tuple[int, int, int] | None = None, seed: int = 0) -> Prior:
    """A prior from a spec, or a sum of them: `tv`, `tv+haar`, `tv+0.5*haar:levels=2`.

    shape: (C, H, W) of the image, for priors that depend on it.  seed: of those that draw, unless the spec names one.
    Raises SpecError.
    """
    return PRIORS.build(text, shape=shape, seed=seed)
