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
    from . import interop, metrics, operators, priors, solvers
    from .core import stopping
    from .core.certificate import Convergence
    from .core.loop import Result, Status, solve
    from .core.problem import Problem
    from .core.recording import Snapshot
    from .core.schedules import Geometric
    from .noises.level import estimate_sigma
    from .operators import Operator, dot_test
    from .parameters.default import default_solver
    from .parameters.weight import fit_lam
    from .priors import Denoiser, Prior

_HOME = {
    "Convergence": "core.certificate",
    "Denoiser": "priors",
    "Geometric": "core.schedules",
    "Operator": "operators",
    "Prior": "priors",
    "Problem": "core.problem",
    "Result": "core.loop",
    "Snapshot": "core.recording",
    "Status": "core.loop",
    "default_solver": "parameters.default",
    "dot_test": "operators",
    "estimate_sigma": "noises.level",
    "fit_lam": "parameters.weight",
    "solve": "core.loop",
}
_MODULES = ("interop", "metrics", "noises", "operators", "priors", "registry", "solvers", "testing")

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
    if name == "stopping":
        return import_module(".core.stopping", __name__)
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
