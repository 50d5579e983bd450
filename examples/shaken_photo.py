"""
A shaken photograph, and nobody knows the kernel
================================================

``blur:kernel=estimate`` finds a kernel of any shape, and says whether it believes it::

    python examples/shaken_photo.py          (--quick: fewer pixels)
"""

import sys

import torch
from panels import side_by_side

import pnp
from pnp.jobs.unknown import likeness

side = 200 if "--quick" in sys.argv else 300
photo = pnp.samples.photograph("astronaut")[..., 40 : 40 + side, 100 : 100 + side].mean(1, keepdim=True)
true = pnp.operators.kernels.shake(13.0, seed=2)
shake = pnp.operators.ValidBlur(true)
y = shake(photo) + 0.003 * torch.randn(shake(photo).shape, generator=torch.Generator().manual_seed(0))

done = pnp.restore(y, operator="blur:kernel=estimate", prior="unet")

kernel = done.result.maps["kernel"]
print(done.record.kernel["said"] + f", likeness to the true one {likeness(kernel, true):.2f}")
# prints: 17×17 pixels, estimated from the picture, likeness to the true one 0.95 (--quick)
# Nobody can tell where the picture was: picture and kernel may both have moved by a pixel or two.
side_by_side({"shaken": y, "restored": done.restored, "kernel": (kernel / kernel.max())[None, None]})
