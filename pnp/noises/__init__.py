"""Noises: how a measurement differs from A x."""

from .gaussian import Gaussian, Noise, Poisson, SaltPepper

__all__ = ["Gaussian", "Noise", "Poisson", "SaltPepper"]
