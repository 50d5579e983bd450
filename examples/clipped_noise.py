"""
Black is 0 or less
==================

A file of 8 bits cuts off noise below black and above white.  A solver that does not know it makes black grey::

    python examples/clipped_noise.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 96 if "--quick" in sys.argv else 256
truth = pnp.samples.photograph("camera")[..., 100 : 100 + side, 150 : 150 + side]
y = (truth + 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)

pictures = {"clipped": y}
for name, noise in (("Gaussian", pnp.noises.Gaussian(0.2)), ("clipped Gaussian", pnp.noises.ClippedGaussian(0.2))):
    done = pnp.restore(y, operator="identity", prior="tv", noise=noise, truth=truth)
    pictures[name] = done.restored
    print(f"{name}: {done.record.metrics['psnr'][0]:.1f} dB")
# prints: Gaussian: 18.7 dB; clipped Gaussian: 24.0 dB (--quick)
side_by_side({**pictures, "truth": truth})
