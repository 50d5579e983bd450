"""
A lens out of focus, by how far nobody knows
============================================

A question mark stands for the number that is sought in the picture::

    python examples/unknown_radius.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 170 if "--quick" in sys.argv else 300
photo = pnp.samples.photograph("coffee")[..., 60 : 60 + side, 200 : 200 + side]
lens = pnp.operators.ValidBlur(pnp.operators.kernels.disk(3.0))
y = lens(photo)
y = y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))

done = pnp.restore(y, operator="blur:kernel=disk,radius=?", prior="unet", truth=lens.visible(photo))

scores = done.record.metrics
print(f"radius {done.record.kernel['radius']:.2f}, " + ("sure" if done.record.kernel["sure"] else "not sure"))
print(f"blurred {scores['psnr_initial'][0]:.1f} dB, restored {scores['psnr'][0]:.1f} dB")
# prints: radius 2.98, sure; blurred 29.9 dB, restored 37.1 dB (--quick)
side_by_side({"out of focus": y, "restored": done.restored, "truth": lens.visible(photo)})
