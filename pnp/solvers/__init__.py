"""Solvers: one recursion each.  `pnp solve` looks for one that fits in the order of their `rank`."""

from ..core.solver import Solver, fits, require
from .admm import ADMM
from .admm_descent import ADMMDescent
from .anderson import Anderson
from .fixed_point import FixedPoint
from .gradient import GradientDescent
from .hqs import HQS
from .mean_shift import MeanShift
from .primal_dual import ChambollePock, CondatVu
from .proximal import FISTA, ProximalGradient

__all__ = [
    "ADMM",
    "FISTA",
    "HQS",
    "ADMMDescent",
    "Anderson",
    "ChambollePock",
    "CondatVu",
    "FixedPoint",
    "GradientDescent",
    "MeanShift",
    "ProximalGradient",
    "Solver",
    "fits",
    "require",
]
