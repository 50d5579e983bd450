"""
The colours of a Bayer sensor
=============================

Each pixel saw red, green or blue; the other two are sought::

    python examples/bayer_sensor.py          (--quick: a smaller picture)
"""

import sys

from panels import side_by_side

import pnp

side = 96 if "--quick" in sys.argv else 256
truth = pnp.samples.photograph("coffee")[..., 100 : 100 + side, 250 : 250 + side]
done = pnp.restore(truth, operator="mosaic:pattern=rggb", prior="unet", sigma=0.01, simulate=True, truth=truth)

scores = done.record.metrics
print(f"interpolated {scores['psnr_initial'][0]:.1f} dB, restored {scores['psnr'][0]:.1f} dB")
# prints: interpolated 31.8 dB, restored 37.4 dB (--quick)
side_by_side({"interpolated": done.initial, "restored": done.restored, "truth": truth})
