"""
Photons are not Gaussian
========================

Few photons make noise that grows with brightness.  The likelihood of photon counts knows that, a Gaussian does not.
In the dark this pays; on some bright pictures a Gaussian of the mean level does better::

    python examples/photon_noise.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 96 if "--quick" in sys.argv else 192
truth = pnp.samples.photograph("rocket")[..., 200 : 200 + side, 200 : 200 + side].mean(1, keepdim=True)
photons = pnp.noises.Poisson(gain=1 / 5)  # 5 photons in a white pixel
y = photons.draw(truth, torch.Generator().manual_seed(0))

pictures = {"5 photons a pixel": y}
for name, noise in (("Gaussian", pnp.noises.Gaussian(photons.level(y))), ("Poisson", photons)):
    problem = pnp.Problem(pnp.operators.Identity(), y, pnp.priors.TV(), noise=noise, lam=5.0)
    pictures[name] = pnp.solve(problem, pnp.solvers.ADMM(iterations=50)).x
    print(f"{name}: {pnp.metrics.psnr(pictures[name], truth).item():.1f} dB")
# prints: Gaussian: 32.5 dB; Poisson: 33.2 dB (--quick)
side_by_side({**pictures, "truth": truth})
