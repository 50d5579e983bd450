"""
A JPEG of poor quality
======================

The quantisation tables of the file say how large the error of each coefficient is::

    python examples/jpeg_artifacts.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

import pnp

side = 96 if "--quick" in sys.argv else 256
truth = pnp.samples.photograph("coffee")[..., 60 : 60 + side, 200 : 200 + side]
jpeg = pnp.noises.Jpeg(quality=10)
y = jpeg.draw(truth, torch.Generator().manual_seed(0))

done = pnp.restore(y, operator="identity", prior="unet", noise=jpeg, truth=truth)

scores = done.record.metrics
print(f"JPEG {scores['psnr_initial'][0]:.1f} dB, restored {scores['psnr'][0]:.1f} dB")
# prints: JPEG 29.3 dB, restored 31.6 dB (--quick)
side_by_side({"JPEG, quality 10": y, "restored": done.restored, "truth": truth})
