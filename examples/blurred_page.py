"""
A page of text, blurred by nobody knows what
============================================

``--op unknown`` says that nobody knows what was done; the network of ``text`` needs no operator::

    python examples/blurred_page.py          (--quick: a smaller page)
"""

import sys
from pathlib import Path

import matplotlib
import torch
from panels import side_by_side

import pnp
from pnp.training.pages import typeset

size = (160, 240) if "--quick" in sys.argv else (240, 400)
font = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
words = 8 * ["Most", "pages", "come", "from", "a", "phone", "that", "was", "held", "too", "near."]
page = typeset(words, font, 18, size)[0][None]  # (1, 1, H, W)
lens = pnp.operators.ValidBlur(pnp.operators.kernels.disk(3.5))
y = lens(page) + 0.01 * torch.randn(lens(page).shape, generator=torch.Generator().manual_seed(0))

done = pnp.restore(y, operator="unknown", prior="text", truth=lens.visible(page))

scores = done.record.metrics
print(done.record.verdict[0])
print(f"blurred {scores['psnr_initial'][0]:.1f} dB, restored {scores['psnr'][0]:.1f} dB")
# prints: blurred 14.6 dB, restored 19.3 dB (--quick)
side_by_side({"out of focus": y, "restored": done.restored, "truth": lens.visible(page)}, width=4)
