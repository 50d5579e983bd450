"""Solvers: one recursion each.  `pnp solve` looks for one that fits in the order of their `rank`."""

from ..core.solver import Solver, fits, require
from .accelerated import Accelerated
from .admm import ADMM
from .admm_descent import ADMMDescent
from .anderson import Anderson
from .descent import Descent
from .direct import DirectCall
from .fixed_point import FixedPoint
from .gd import gd
from .gradient import GradientDescent
from .hqs import HQS
from .lbfgs import LBFGS
from .mean_shift import MeanShift
from .primal_dual import ChambollePock, CondatVu
from .proximal import FISTA, ProximalGradient
from .richardson_lucy import RichardsonLucy

__all__ = [
    "ADMM",
    "FISTA",
    "HQS",
    "LBFGS",
    "ADMMDescent",
    "Accelerated",
    "Anderson",
    "ChambollePock",
    "CondatVu",
    "Descent",
    "DirectCall",
    "FixedPoint",
    "GradientDescent",
    "MeanShift",
    "ProximalGradient",
    "RichardsonLucy",
    "Solver",
    "fits",
    "gd",
    "require",
]
