"""
Parts of other libraries
========================

A linear operator of scipy restores like our own.  deepinv's physics and denoisers do, too (`pnp.interop.deepinv`)::

    python examples/from_scipy.py          (--quick: a smaller picture)
"""

import sys

import numpy as np
import torch
from panels import side_by_side
from scipy.sparse import random as sparse_random
from scipy.sparse.linalg import aslinearoperator

import pnp
from pnp.interop.scipy import from_scipy

side = 32 if "--quick" in sys.argv else 64
truth = torch.nn.functional.avg_pool2d(pnp.samples.photograph("camera"), 512 // side)
rows = sparse_random(side**2 // 2, side**2, density=0.02, rng=np.random.default_rng(0), dtype=np.float64)
operator = from_scipy(aslinearoperator(rows), (1, side, side))
y = operator(truth) + 0.01 * torch.randn(1, 1, 1, side**2 // 2, generator=torch.Generator().manual_seed(0))

result = pnp.solve(pnp.Problem(operator, y, pnp.priors.TV(), sigma=0.01, lam=5.0), pnp.solvers.ADMM(iterations=60))

print(f"half as many numbers as pixels: {pnp.metrics.psnr(result.x, truth).item():.1f} dB")
# prints: half as many numbers as pixels: 33.0 dB (--quick)
side_by_side({"restored": result.x, "truth": truth})
