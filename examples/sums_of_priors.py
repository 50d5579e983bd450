"""
Sums of priors
==============

Total variation, wavelets, and both with weights::

    python examples/sums_of_priors.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 96 if "--quick" in sys.argv else 192
truth = pnp.samples.photograph("camera")[..., 100 : 100 + side, 150 : 150 + side]
blur = pnp.operators.Blur(pnp.operators.kernels.gaussian(1.6))
y = blur(truth) + 0.01 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

pictures = {"blurred": y}
for prior in ("tv", "haar", "tv+0.5*haar"):
    done = pnp.restore(y, operator=blur, prior=prior, sigma=0.01, truth=truth)
    pictures[prior] = done.restored
    weight = done.record.lam
    print(f"{prior}: {done.record.metrics['psnr'][0]:.2f} dB, lam {weight.value:.3g} ({weight.source})")
# prints: tv: 30.05 dB, lam 12.5; haar: 28.62 dB, lam 23.3; tv+0.5*haar: 30.01 dB, lam 12.5 (--quick)
side_by_side(pictures)
