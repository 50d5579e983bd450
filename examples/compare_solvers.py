"""
Four solvers, one minimum
=========================

The recursions differ, the picture at the end does not.  Drawn is how far the objective is above the least one::

    python examples/compare_solvers.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import curves

import pnp

side = 64 if "--quick" in sys.argv else 192
truth = pnp.samples.photograph("camera")[..., 128 : 128 + side, 200 : 200 + side]
blur = pnp.operators.Blur(pnp.operators.kernels.gaussian(1.2))
y = blur(truth) + 0.02 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
problem = pnp.Problem(blur, y, pnp.priors.TV(), sigma=0.02, lam=15.0)

lines: dict[str, list[float]] = {}
ends: dict[str, float] = {}
for solver in (pnp.solvers.ADMM(), pnp.solvers.ProximalGradient(), pnp.solvers.FISTA(), pnp.solvers.ChambollePock()):
    name = type(solver).__name__
    result = pnp.solve(problem, solver, iterations=120, stop=(), record=("objective",))
    values = result.history["objective"][:, 0].tolist()
    lines[name], ends[name] = values, values[-1]
print(", ".join(f"{name} {value:.1f}" for name, value in ends.items()))
# prints: ADMM 4536.9, ProximalGradient 4537.1, FISTA 4536.6, ChambollePock 4536.9 (--quick)
best = min(ends.values())
curves({name: [v - best for v in values] for name, values in lines.items()}, "iteration", "f + lam g, above the least")
