"""A kernel that was stored for correlation is turned by 180°, where the picture says so."""

from __future__ import annotations

import torch

from .gradients import costs
from .job import Job, Parts
from .settle import PAGES, Level, Say

# of the cost by which the turned kernel is better: 32 of 32 were told so, by 0.009 to 0.2 and 280 to 15,000 nats
SHARE, NATS = 0.004, 100.0
SAID = "kernel: turned by 180°, as it explains the picture better (turn=180 does so always, --no-guard never)"


def righted(job: Job, parts: Parts, noise: Level, say: Say) -> Parts:
    """The parts with the kernel turned by 180° where it explains the measurement better so.

    Convolution and correlation, and with them files of kernels, differ by that turn.  It leaves |K| as it is, so that
    no power spectrum tells; the cost of `gradients` does.  Nothing is tried where the kernel is symmetric, in a
    simulation, or without the guard.
    """
    other = parts.operator.turned()
    if other is None or job.simulate or not job.guard:
        return parts
    levels = torch.as_tensor(noise.noise.level(parts.y)).flatten().expand(len(parts.y)).tolist()
    some = range(0, len(parts.y), -(-len(parts.y) // PAGES))
    found = [costs([(parts.operator, None), (other, None)], parts.y[i : i + 1], levels[i]) for i in some]
    told, turned = (sum(pair[i] for pair in found if pair) for i in (0, 1))
    if told - turned <= max(NATS, SHARE * told):
        return parts
    say(SAID)
    return parts._replace(operator=other)
