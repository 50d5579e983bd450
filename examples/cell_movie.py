"""
A movie of cells
================

A movie of moving cells, blurred, small and noisy: twice the size by a deep image prior, frame after frame.::

    python examples/cell_movie.py          (--quick: four frames of 40² pixels)
"""

import sys

import torch
from cells import cells
from panels import side_by_side

from pnp import metrics, operators
from pnp.jobs import Job
from pnp.jobs.movie import restore_movie
from pnp.registry import OPERATORS

quick = "--quick" in sys.argv
movie = cells(frames=16, side=40 if quick else 64, count=4)
truth = movie.frames[: 4 if quick else 8]

operator: operators.Operator = OPERATORS.build("downsample:factor=2")
small = operator(truth)
small = small + 0.05 * torch.randn(small.shape, generator=torch.Generator().manual_seed(0))

adam = "gd:optimizer=Adam,lr=0.01,average=0.95"  # for smooth cells better than the default Muon, and slower
job = Job(operator="downsample:factor=2", prior="dip", solver=adam, sigma=0.05)
done = restore_movie(job, small, truth=truth)

for t, n in enumerate(done.record.iterations):
    print(f"frame {t}: {n} iterations, {done.record.reason[t]}")
plain, restored = (metrics.psnr(x, truth).mean().item() for x in (done.initial, done.restored))
print(f"enlarged {plain:.1f} dB, restored {restored:.1f} dB")
# prints: enlarged 26.9 dB, restored 33.4 dB (about 10 s; --quick: 26.1 and 29.4)
side_by_side({"enlarged": done.initial[-1:], "restored": done.restored[-1:], "truth": truth[-1:]})
