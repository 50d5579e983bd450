"""Noises: f, minus the log-likelihood of a measurement, and what simulates it."""

from .base import Noise
from .clipped import ClippedGaussian
from .gaussian import Gaussian
from .impulse import SaltPepper
from .level import PoissonGaussian, estimate_noise, estimate_sigma
from .poisson import Poisson

__all__ = [
    "ClippedGaussian",
    "Gaussian",
    "Noise",
    "Poisson",
    "PoissonGaussian",
    "SaltPepper",
    "estimate_noise",
    "estimate_sigma",
]
