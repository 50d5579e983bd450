"""
The verdict on a wrong kernel
=============================

The program tells a kernel of the wrong size, and keeps the picture where the result would be worse::

    python examples/wrong_kernel.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 200 if "--quick" in sys.argv else 320
photo = pnp.samples.photograph("astronaut")[..., :side, 100 : 100 + side]
camera = pnp.operators.ValidBlur(pnp.operators.kernels.disk(3.0))
y = camera(photo)
y = y + 0.008 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))

pictures = {"out of focus": y}
for radius in (3, 5):
    done = pnp.restore(y, operator=f"blur:kernel=disk,radius={radius}", prior="unet", truth=camera.visible(photo))
    pictures[f"radius {radius}"] = done.restored
    print(f"radius {radius}: {done.record.metrics['psnr'][0]:.1f} dB. {done.record.verdict[0]}")
# prints: radius 3: 32.4 dB; radius 5: 26.1 dB (--quick)
side_by_side({**pictures, "truth": camera.visible(photo)})
