"""What is written is never clearly worse than what was measured, as far as that shows without the truth."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from ..core.result import Result
from ..noises.level import grain
from .evidence import Judgement
from .explained import UNEXPLAINED, ratio, told
from .job import Job, Parts

BEYOND = 1.2 / 255  # rms beyond black and white: right kernels leave up to 0.4/255, kernels that lose to the input more
# and of the change from the measured picture: right fields of motion made it up to 0.03 on three training pictures,
# six of seven wrong ones, whose results all lost, 0.1 to 0.5
SHARE = 0.06
GENTLER = 4.0  # by what sigma is raised where a result goes beyond
# `grain` of a restored picture, five kinds of file of 4 train pictures, sigma from 0.35 to 1.3 of the best: what lost 3
# dB or more for too small a sigma had 8 to 65/255, what was near the best at most 0.6, a picture full of texture to 6
GRAIN, SIGMAS, SMOOTH = 5 / 255, 2.0, 1 / 255  # above that, and above so many sigma, it may be noise; below, it is not
STEP, STEPS = 1.4, 3  # by what sigma is raised where a result has grain, and how often at most
FADES, STAYS = 0.5, 0.9  # of the grain is left, or less, where it was noise; or more, where it is texture
NEAR = 2  # pixels around a missing one, whose value is as little known
WHOLE = ((0.0, 255.0), (0.0, 65535.0), None)  # ranges that are a type's own: nothing lies beyond
UNWORTHY = "With this kernel the result would be worse than the measured picture"
OUTSIDE = "The result goes far beyond black and white"
MADE_UP = "No blur leads from the restored picture back to the measured one"
KEPT = "so the measured picture is kept. --no-guard writes the result"


def beyond(job: Job, parts: Parts, restored: Tensor, plain: Tensor) -> Tensor:
    """Which restored pictures go far beyond black and white where the measured ones do not, (B,) of bool.

        √(mean over pixels of (−x)₊² + (x − 1)₊²) > max(BEYOND, SHARE √(mean of (x − x0)²)),   x0 = plain

    plain: the operator's plain guess, (B, C, H, W) as the restored pictures.
    Where a strong blur is taken back at many sharp edges, a little more lies beyond, of a much larger change.
    A picture whose black and white were found in its values may well go beyond them: none of those.  So may one with
    saturated pixels, and any picture where pixels are missing.
    """
    y, known = parts.y, parts.operator.known()
    if known is not None and known.shape[-2:] == restored.shape[-2:]:
        near = max_pool2d(1 - known.to(restored).amin(0, keepdim=True)[None], 2 * NEAR + 1, 1, NEAR)
        restored, plain = (torch.where(near > 0, 0.5, x) for x in (restored, plain))
    far = (-restored).clamp_min(0).square() + (restored - 1).clamp_min(0).square()
    within = (y.amin((1, 2, 3)) >= 0) & (y.amax((1, 2, 3)) <= 1)
    ends = ((y <= 0) | (y >= 1)).flatten(1).float().mean(1) < 1e-3  # where much is clipped, the truth may lie beyond
    if not job.guard or job.simulate or parts.saturated is not None or job.range not in WHOLE:
        return torch.zeros_like(within)
    limit = (SHARE * (restored - plain).square().flatten(1).mean(1).sqrt()).clamp_min(BEYOND)
    return within & ends & (far.flatten(1).mean(1).sqrt() > limit)


def left(job: Job, parts: Parts, restored: Tensor) -> Tensor:
    """The grain of each restored picture, (B,); a denoiser should have left less than SMOOTH.

    None is looked for where the operator does not mix pixels, since nothing amplifies noise there: 0.
    """
    looked = job.guard and not job.simulate and parts.prior.denoises and parts.operator.pictorial
    if not looked or parts.operator.pixelwise or not parts.operator.described:
        return restored.new_zeros(len(restored))
    return grain(restored)


def explains(job: Job, parts: Parts) -> bool:
    """Whether a result has to explain the measurement by a blur: that of a network that was told no operator."""
    return job.guard and not parts.operator.described and told(parts.y)


def kept(
    job: Job, parts: Parts, result: Result, x0: Tensor, judgements: list[Judgement], outside: Tensor, doubt: str = ""
) -> tuple[Result, list[str]]:
    """The result with the first guess in the place of pictures that would be worse than it, and why, image by image.

    doubt: why all of them stay as they were measured, a sentence.
    """
    if doubt:
        return replace(result, x=x0), [doubt] * len(x0)
    why = ["" if judgement.worth or not job.guard else UNWORTHY for judgement in judgements]
    why = [reason or (OUTSIDE if out else "") for reason, out in zip(why, outside.tolist(), strict=True)]
    if explains(job, parts):
        why = [reason or (MADE_UP if ratio(y, x) > UNEXPLAINED else "")
               for reason, y, x in zip(why, parts.y, result.x, strict=True)]  # fmt: skip
    which = torch.tensor([bool(reason) for reason in why], device=x0.device)
    if bool(which.any()):
        result = replace(result, x=torch.where(which.view(-1, 1, 1, 1), x0, result.x))
    return result, [f"{reason}, {KEPT}." if reason else "" for reason in why]
