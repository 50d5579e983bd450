"""Noises: f, minus the log-likelihood of a measurement, and what simulates it."""

from .base import Noise
from .clipped import ClippedGaussian
from .gaussian import Gaussian
from .impulse import SaltPepper
from .jpeg import Jpeg, Quantised
from .level import PoissonGaussian, estimate_noise, estimate_sigma
from .poisson import Poisson
from .stripes import Stripes, find_stripes

__all__ = [
    "ClippedGaussian",
    "Gaussian",
    "Jpeg",
    "Noise",
    "Poisson",
    "PoissonGaussian",
    "Quantised",
    "SaltPepper",
    "Stripes",
    "estimate_noise",
    "estimate_sigma",
    "find_stripes",
]
