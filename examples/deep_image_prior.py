"""
No training set
===============

A network is fitted to this one picture, and stops before it learns the noise::

    python examples/deep_image_prior.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 64 if "--quick" in sys.argv else 192
truth = pnp.samples.photograph("astronaut")[..., 20 : 20 + side, 160 : 160 + side]
y = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

done = pnp.restore(y, operator="identity", prior="dip", sigma=0.1, noise="gaussian", truth=truth)

scores = done.record.metrics
print(done.record.reason[0])
print(f"noisy {scores['psnr_initial'][0]:.1f} dB, restored {scores['psnr'][0]:.1f} dB")
# prints: noisy 20.1 dB, restored 28.2 dB (--quick)
side_by_side({"noisy": y, "restored": done.restored, "truth": truth})
