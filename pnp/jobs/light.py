"""In which values a picture is solved: a lens blurs light, software often blurs the values of a file.

    linear:  decode(y) = A u + noise,  restored = encode(u);      srgb:  y = A x + noise

with decode the transfer curve of the file.  What comes out, and every score, is in the values of the file.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..files.curves import SRGB, Curve
from ..operators.base import Operator
from .gradients import Fit, Way, explain, piece
from .job import LINEAR, Job, Parts
from .record import Light
from .settle import Level, Say, compact, shown
from .space import Space

NATS = 20.0  # of cost by which one is better: less tells nothing


def of(job: Job, parts: Parts, noise: Level, say: Say) -> tuple[Space, Parts, Level]:
    """The space of a solve, its parts there, and its noise there.

        sigma there = sigma √(mean over the measured pixels of decode'(y)²)

    Each image of a batch has a choice of its own; pages of one instrument have one.
    """
    y = parts.y
    linear, source = _chosen(job, parts, noise, say)
    curve, which = job.curve or SRGB, torch.tensor(linear, device=y.device).view(-1, 1, 1, 1)
    names = [LINEAR if each else "srgb" for each in linear]
    chosen = Light(names[0] if len(set(names)) == 1 else names, source)
    if not any(linear):
        return Space(None, which, job.hidden, chosen), parts, noise
    slopes = torch.where(which.flatten(), _slope(curve, y, parts.operator.known()), 1.0)
    there = noise._replace(noise=noise.noise.scaled(compact(slopes)), source=f"{noise.source}, in linear light")
    say(f"sigma: {shown(torch.as_tensor(there.noise.level(y)))} in linear light")
    space = Space(curve, which, job.hidden * float(slopes.mean()), chosen)
    return space, parts._replace(y=space.decoded(y)), there


def _chosen(job: Job, parts: Parts, noise: Level, say: Say) -> tuple[list[bool], str]:
    """Which images are solved in linear light, and why; a line where there was a choice."""
    y, mixes = parts.y, parts.operator.pictorial and not parts.operator.pixelwise
    scales = noise.noise.scaled(2.0) is not noise.noise
    if job.light == LINEAR and not (mixes and scales):
        say("light: srgb (linear light is for operators that mix pixels, and for noise that is not of photons)")
    if job.light != "auto" or job.simulate or job.curve is None or not mixes or not scales:
        linear = job.light == LINEAR and mixes and scales
        told = job.light != "auto" and linear == (job.light == LINEAR)
        return [linear] * len(y), "given" if told else _untried(job, mixes, scales)
    levels = torch.as_tensor(noise.noise.level(y)).flatten().expand(len(y)).tolist()
    some = range(len(y)) if job.each_page else range(len(y) // 2, len(y) // 2 + 1)
    better = [preference(parts.operator, y[i : i + 1], levels[i], job.curve) for i in some]
    found = [(b > NATS or (b >= -NATS and job.camera), _reason(b, job.camera)) for b in better]
    for each, reason in dict.fromkeys(found):
        say(f"light: {LINEAR if each else 'srgb'} ({reason})")
    tried, why = [each for each, _ in found], "; ".join(dict.fromkeys(reason for _, reason in found))
    return tried if job.each_page else tried * len(y), why


def _untried(job: Job, mixes: bool, scales: bool) -> str:
    if job.simulate:
        return "a simulation is of the values of the file"
    if not mixes:
        return "the operator mixes no pixels"
    return "the noise is of photons" if not scales else "the values are not encoded light, as far as the file tells"


def _reason(better: float, camera: bool) -> str:
    if abs(better) > NATS:
        return "it explains the file better"
    return "the file does not tell; it is from a camera" if camera else "the file does not tell"


def preference(operator: Operator, y: Tensor, sigma: float, curve: Curve) -> float:
    """By how much linear light explains the file y (1, C, H, W) better, in nats; 0 where nothing can be told.

    With d(y) = cost(y; srgb) − cost(y; linear) (`gradients`) and the pictures m(z) that fit y best in each,

        d(y) − (d(m_srgb(z) + noise) + d(m_linear(z) + noise))/2

    The noise, the prior and the picture, which is in values of the file, are the same in both: what differs is where A
    acts.  Under much noise d leans to linear light whatever blurred, so it is compared with what pictures of both kinds
    show under as much noise: a parametric bootstrap (Williams 1970, on choosing between two models).  Nothing can be
    told where those two differ by less than 2 NATS.
    """
    part = piece(y)
    ways: list[Way] = [(operator, None), (operator, curve)]
    fits = [] if part is None else explain(ways, part, sigma)
    if part is None or not fits:
        return 0.0
    better = _difference(fits)
    if better < -NATS:  # no noise leans that way
        return better
    srgb, linear = (_difference(explain(ways, part._replace(y=_drawn(fit.seen, sigma)), sigma)) for fit in fits)
    return better - (srgb + linear) / 2 if linear - srgb > 2 * NATS else 0.0


def _difference(fits: list[Fit]) -> float:
    return fits[0].cost - fits[1].cost


def _drawn(u: Tensor, sigma: float) -> Tensor:
    """u with noise from a fixed seed, as a file of 8 bits holds it."""
    noise = torch.randn(u.shape, generator=torch.Generator().manual_seed(0)).to(u)
    return ((u + sigma * noise).clamp(0, 1) * 255).round() / 255


def _slope(curve: Curve, y: Tensor, known: Tensor | None) -> Tensor:
    """√(mean decode'(y)²) over the measured pixels of each image, (B,)."""
    seen = torch.ones_like(y) if known is None else known.to(y).expand_as(y)
    square = curve.slope(y.clamp(0, 1)).square() * seen
    return (square.flatten(1).sum(1) / seen.flatten(1).sum(1).clamp_min(1)).sqrt()
