"""
Denoisers side by side
======================

Each of them is a prior for every operator::

    python examples/compare_denoisers.py          (--quick: a smaller picture)
"""

import sys

import torch
from panels import side_by_side

from pnp.metrics import psnr
from pnp.registry import DENOISERS
from pnp.samples import photograph

side = 96 if "--quick" in sys.argv else 256
truth = photograph("camera")[..., 100 : 100 + side, 150 : 150 + side]
y = truth + 25 / 255 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))

pictures = {f"noisy, {psnr(y, truth).item():.1f} dB": y}
for name in ("tv", "wavelet", "nlm", "trd", "dncnn", "unet"):
    with torch.no_grad():
        x = DENOISERS.build(name, shape=tuple(truth.shape[1:]))(y, 25 / 255)
    pictures[f"{name}, {psnr(x, truth).item():.1f} dB"] = x
print("; ".join(pictures))
# prints: noisy, 20.7 dB; tv, 28.0 dB; wavelet, 27.0 dB; nlm, 28.5 dB; trd, 30.0 dB; dncnn, 30.1 dB; unet,
#   30.2 dB (--quick)
side_by_side(pictures, width=2.2)
