"""
Photons are not Gaussian
========================

Few photons make noise that grows with brightness.  The likelihood of photon counts knows that, a Gaussian does not::

    python examples/photon_noise.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 128 if "--quick" in sys.argv else 256
truth = pnp.samples.photograph("camera")[..., 60 : 60 + side, 170 : 170 + side]
photons = pnp.noises.Poisson(gain=1 / 20)  # 20 photons in a white pixel
y = photons.draw(truth, torch.Generator().manual_seed(0))

pictures = {"20 photons a pixel": y}
for name, noise in (("Gaussian", pnp.noises.Gaussian(photons.level(y))), ("Poisson", photons)):
    done = pnp.restore(y, operator="identity", prior="tv", noise=noise, truth=truth)
    pictures[name] = done.restored
    print(f"{name}: {done.record.metrics['psnr'][0]:.1f} dB")
# prints: ?
side_by_side({**pictures, "truth": truth})
