"""
Bring your own denoiser
=======================

Plug-and-play with your own denoiser: any function of (x, sigma) is a prior.::

    python examples/bring_your_own_denoiser.py          (--quick: a quarter of the picture)
"""

import sys

import torch
from panels import side_by_side
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from pnp import Problem, metrics, operators, priors, solve, solvers
from pnp.operators import kernels
from pnp.samples import photograph


def local_wiener(x: Tensor, sigma: float | Tensor) -> Tensor:
    """The local Wiener filter: mean + max(variance − sigma², 0)/variance (x − mean) over 5 × 5 windows."""
    mean = avg_pool2d(pad(x, (2, 2, 2, 2), "reflect"), 5, 1)
    variance = avg_pool2d(pad((x - mean) ** 2, (2, 2, 2, 2), "reflect"), 5, 1)
    return mean + (variance - sigma**2).clamp_min(0) / variance.clamp_min(1e-9) * (x - mean)


truth = photograph("camera")
if "--quick" in sys.argv:
    truth = truth[..., 128:384, 128:384]

operator = operators.Blur(kernels.gaussian(1.6))
y = operator(truth)
y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))

problem = Problem(operator, y, priors.PnP(local_wiener), sigma=0.01, lam=0.5)
result = solve(problem, solvers.HQS(iterations=30))

print(result)
print(f"blurred {metrics.psnr(y, truth).item():.1f} dB, plug-and-play {metrics.psnr(result.x, truth).item():.1f} dB")
# prints: blurred 26.5 dB, plug-and-play 28.8 dB (2 s on two cores; --quick: 24.0 and 28.0)
side_by_side({"blurred": y, "restored": result.x, "truth": truth})
