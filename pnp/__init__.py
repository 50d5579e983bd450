"""pnp: restore images with any linear operator, any prior and one loop.

    from pnp import Problem, operators, priors, solve, solvers
    problem = Problem(operators.Blur(kernel), y, priors.TV(), sigma=0.01, lam=20)
    print(solve(problem, solvers.ADMM()))

Names are imported when they are first used, so that `import pnp` costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import interop, metrics, operators, priors, solvers, stopping
    from .choose import default_solver, fit_lam
    from .convergence import Convergence
    from .loop import Result, Status, solve
    from .noise_level import estimate_sigma
    from .operators import Operator, dot_test
    from .priors import Denoiser, Prior
    from .problem import Problem
    from .recording import Snapshot
    from .schedules import Geometric

_HOME = {
    "Convergence": "convergence",
    "Denoiser": "priors",
    "Geometric": "schedules",
    "Operator": "operators",
    "Prior": "priors",
    "Problem": "problem",
    "Result": "loop",
    "Snapshot": "recording",
    "Status": "loop",
    "default_solver": "choose",
    "dot_test": "operators",
    "estimate_sigma": "noise_level",
    "fit_lam": "choose",
    "solve": "loop",
}
_MODULES = ("interop", "metrics", "operators", "priors", "solvers", "stopping")

__all__ = [
    "Convergence",
    "Denoiser",
    "Geometric",
    "Operator",
    "Prior",
    "Problem",
    "Result",
    "Snapshot",
    "Status",
    "default_solver",
    "dot_test",
    "estimate_sigma",
    "fit_lam",
    "interop",
    "metrics",
    "operators",
    "priors",
    "solve",
    "solvers",
    "stopping",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
