"""pnp: restore images with any linear operator, any prior and one loop.

    import pnp
    restored = pnp.restore(y, operator="blur:kernel=psf.png", prior="unet").picture

    problem = pnp.Problem(pnp.operators.Blur(kernel), y, pnp.priors.TV(), sigma=0.01, lam=20)
    print(pnp.solve(problem, pnp.solvers.ADMM()))

Names are imported when they are first used, so that `import pnp` costs little.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import interop, metrics, noises, operators, priors, progress, registry, samples, solvers, testing
    from .core import stopping
    from .core.certificate import Convergence
    from .core.loop import solve
    from .core.problem import Problem
    from .core.recording import Snapshot
    from .core.result import Result, Status
    from .core.schedules import Geometric
    from .core.solver import Solver
    from .jobs.job import Job
    from .jobs.record import Record
    from .jobs.restore import Restoration, restore
    from .jobs.unknown import estimate_kernel
    from .noises import Noise, estimate_sigma
    from .operators import Operator, dot_test
    from .parameters.default import default_solver
    from .parameters.weight import fit_lam
    from .priors import Denoiser, Prior

# public name -> the module that holds it
_HOME = {
    "Convergence": "core.certificate",
    "Denoiser": "priors",
    "Geometric": "core.schedules",
    "Job": "jobs",
    "Noise": "noises",
    "Operator": "operators",
    "Prior": "priors",
    "Problem": "core.problem",
    "Record": "jobs",
    "Restoration": "jobs",
    "Result": "core.result",
    "Snapshot": "core.recording",
    "Solver": "core.solver",
    "Status": "core.result",
    "default_solver": "parameters.default",
    "dot_test": "operators",
    "estimate_kernel": "jobs.unknown",
    "estimate_sigma": "noises",
    "fit_lam": "parameters.weight",
    "restore": "jobs",
    "solve": "core.loop",
}
_MODULES = (
    "interop",
    "metrics",
    "noises",
    "operators",
    "priors",
    "progress",
    "registry",
    "samples",
    "solvers",
    "testing",
)

__all__ = [
    "Convergence",
    "Denoiser",
    "Geometric",
    "Job",
    "Noise",
    "Operator",
    "Prior",
    "Problem",
    "Record",
    "Restoration",
    "Result",
    "Snapshot",
    "Solver",
    "Status",
    "default_solver",
    "dot_test",
    "estimate_kernel",
    "estimate_sigma",
    "fit_lam",
    "interop",
    "metrics",
    "noises",
    "operators",
    "priors",
    "progress",
    "registry",
    "restore",
    "samples",
    "solve",
    "solvers",
    "stopping",
    "testing",
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
