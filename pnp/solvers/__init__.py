"""Solvers: one recursion each.  The order of import is the order in which `pnp solve` looks for one that fits."""

# ruff: noqa: I001

from .admm import ADMM
from .hqs import HQS
from .proximal import FISTA, ProximalGradient
from .primal_dual import ChambollePock, CondatVu
from .gradient import GradientDescent
from .gd import gd
from .descent import Descent
from .lbfgs import LBFGS
from .mean_shift import MeanShift
from .fixed_point import FixedPoint
from .anderson import Anderson
from .admm_descent import ADMMDescent
from ..core.solver import Solver, fits, require

__all__ = [
    "ADMM",
    "FISTA",
    "HQS",
    "LBFGS",
    "ADMMDescent",
    "Anderson",
    "ChambollePock",
    "CondatVu",
    "Descent",
    "FixedPoint",
    "GradientDescent",
    "MeanShift",
    "ProximalGradient",
    "Solver",
    "fits",
    "gd",
    "require",
]
