"""Noise that grows with brightness, as that of photons does, made even before a denoiser meets it.

    decode(y) = A u + white noise,  restored = encode(u)

with decode the generalised Anscombe transform (`noises.anscombe`).  An A that mixes no pixels may follow it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..noises.anscombe import Stabiliser
from ..noises.gaussian import Gaussian
from ..noises.level import PoissonGaussian, over_sizes, textured
from .job import Job, Parts
from .record import Light
from .settle import Level, Say, compact, settled, shown
from .space import Space

NAME, GROWS = "stabilised", "the noise grows with brightness"
# fit of the line, and variance of bright places in that of dark ones, at least; `textured` at most.  Of 8 training
# pictures noise of photons had fits of 0.5 to 1, and at half size 0.2 to 1.2 sigma, uneven by up to 2.9; white noise
# fits of up to 0.7, where little is lost; a clean texture 0.93, uneven by 7 to 11, others 2.2 to 4 sigma
FITS, UNEVEN, TEXTURE, SPOTTED = 0.6, 1.5, 2.0, 4.0
FITS_WITH_HOLES = 0.9  # pictures without noise, half of whose pixels are missing, had fits of up to 0.8
ENDS = (0.05, 0.95)  # of the pixels


def of(job: Job, parts: Parts, noise: Level, say: Say) -> tuple[Space, Parts, Level] | None:
    """The space of a solve in which the noise is even, its parts there, and its noise there.

    None where there is no use in it: the noise was told, is JPEG's, or does not grow with brightness; the operator
    mixes pixels; the prior is not a denoiser.  Pages of one instrument have one map, of others each its own.
    sigma there = that of the `Stabiliser`, or more where it is stronger at half or quarter size.
    """
    photons, y, known = noise.photons, parts.y, parts.operator.known()
    if photons is None or not _wanted(job, parts):
        return None
    uneven = _uneven(photons, y, known)
    if not job.each_page:
        uneven = (uneven.float().mean() > 0.5).expand(len(y))
    if not bool(uneven.any()):
        return None
    gain, read, black = (settled(job, v) for v in (photons.gain.clamp_min(1e-9), photons.offset, photons.black))
    curve = Stabiliser.of(y, gain, read, black)
    names = [NAME if each else "srgb" for each in uneven.tolist()]
    chosen = Light(names[0] if len(set(names)) == 1 else names, GROWS)
    space = Space(curve, uneven.view(-1, 1, 1, 1), 0.0, chosen, unbiased=True)
    there = space.decoded(y)
    told = torch.as_tensor(noise.noise.level(y)).flatten().to(y).expand(len(y))
    sigma, source = torch.where(uneven, curve.sigma.flatten(), told), f"{GROWS}; in the stabilised picture"
    if known is None:
        coarse, size = over_sizes(there, sigma, pixelwise=True)
        sigma = torch.where(uneven, coarse, sigma)
        source += ", strongest at half size or below" if bool((uneven & (size > 1)).any()) else ""
    say(f"light: {NAME} ({GROWS}: {_line(gain, read, black)})")
    say(f"sigma: {shown(sigma)} ({source})")
    return space, parts._replace(y=there), noise._replace(noise=Gaussian(compact(sigma)), source=source)


def _line(gain: Tensor, read: Tensor, black: Tensor) -> str:
    """The variance of the noise in words."""
    if len(gain) > 1:
        return f"gains {shown(gain)}"
    light = f"(x − {shown(black)})" if float(black) > 0 else "x"
    return f"variance {shown(gain)} {light}" + (f" + {shown(read)}²" if float(read) > 0 else "")


def _wanted(job: Job, parts: Parts) -> bool:
    """Whether the noise is to be seen in the values of the file, and nothing stands against a map of them."""
    pointwise = parts.operator.pixelwise and parts.operator.pictorial and parts.saturated is None
    return pointwise and parts.prior.denoises and job.light == "auto" and not job.simulate and not job.hidden


def _uneven(photons: PoissonGaussian, y: Tensor, known: Tensor | None) -> Tensor:
    """In which images the noise grows with brightness, and is noise, (B,)."""
    dark, bright = (photons.variance(end) for end in _ends(y, known))
    fits = FITS if known is None else FITS_WITH_HOLES
    uneven = (photons.fit > fits) & (photons.gain > 0) & (bright > UNEVEN * dark)
    if not bool(uneven.any()) or known is not None:
        return uneven
    curve = Stabiliser.of(y, photons.gain.clamp_min(1e-9), photons.offset, photons.black)
    level, spotted = textured(curve.decode(y), curve.sigma.flatten())
    return uneven & (level < TEXTURE) & (spotted < SPOTTED)


def _ends(y: Tensor, known: Tensor | None) -> list[Tensor]:
    """How dark and how bright the measured pixels of each image are, (B,)."""
    seen = torch.ones_like(y) if known is None else known.to(y).expand_as(y)
    measured = [v[k > 0] for v, k in zip(y, seen, strict=True)]
    some = [v[:: max(1, len(v) // 2**20)].clamp_min(0) for v in measured]
    return [torch.stack([v.quantile(q) if len(v) else v.new_zeros(()) for v in some]) for q in ENDS]
