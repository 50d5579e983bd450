"""Which pixels of a measured picture say nothing, or only how bright they are at least: told, NaN, or found.

A mask is a sum of terms:

    mask = term + term ...     term = FILE[,invert=true][,colour=red] | red | #rrggbb | saturated | outliers | none

Pixels that are NaN are missing in any case.  Where a point of light is spread by the operator, dead and hot pixels are
looked for without being asked, since no light makes them; `none` leaves that out.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .. import checks
from ..noises.level import estimate_sigma
from ..noises.outliers import LEAST_SPREAD, lone, spread
from ..operators.base import Operator
from ..operators.mask import fill
from ..operators.mask_files import check_known, is_colour, paint, read_mask
from ..registry import Spec, SpecError

SATURATED, OUTLIERS, NONE = "saturated", "outliers", "none"
PLATEAU = 0.005  # of the brightest value: pixels so near to it were cut there, too, where few lie just below
FEWEST = 2  # pixels of the brightest value that were cut there
LEAST_SIDE = 32  # of a picture in which something is looked for unasked
DARK, BRIGHT, CORES = 0.2, 0.9, 0.01  # of white: the median of the picture, and its cores; their share of the pixels
MARGIN = 0.8  # of a point's spread: light and background are not told apart exactly
# Found unasked: so many pixels that stand out five times as far as their neighbours differ, and such a share of all
# that were found.  Of 15 pictures with the right kernels none has any; sharp ones have up to 1 % of what is found.
PLAIN, FEWEST_PLAIN, SHARE_PLAIN = 0.2, 5, 0.15


class Seen(NamedTuple):
    """A measurement whose missing pixels are filled in, (B, C, H, W), with the operator that makes the others.

    saturated: True where y says only that there was at least so much light; None: nowhere.  said: what was found.
    """

    operator: Operator
    y: Tensor
    saturated: Tensor | None
    said: tuple[str, ...]


def look(mask: str | Tensor | None, operator: Operator, pixels: Tensor, *, found: bool = True) -> Seen:
    """The measurement without what is missing in it.

    mask: a spec as above, or a tensor of 0 and 1, (1, H, W) or (C, H, W).  found: look for dead and hot pixels.
    Of pages with different holes a pixel that is missing on one is missing on all.  Raises ValueError, SpecError.
    """
    missing = pixels.isnan()
    y = torch.where(missing, torch.zeros_like(pixels), pixels)
    checks.finite(y, "the picture")
    if mask is not None and not operator.pictorial:
        raise SpecError(f"a mask is for pictures; {operator.name} measures a row of numbers.")
    known, said, saturated = ~missing.any(0), [], None
    if missing.any():
        said.append(f"mask: {int((~known).any(0).sum())} pixels are NaN and count as missing")
    if not bool(known.any()):
        raise ValueError("every pixel of the picture is NaN. There is nothing to restore.")
    terms = _terms(mask) if isinstance(mask, str) else []
    if isinstance(mask, Tensor):
        known = known & _fitting(mask, y)
    for term in terms:
        if term.first not in (SATURATED, OUTLIERS, NONE):
            more = _known_by(term, y) > 0
            said.append(f"mask: {int((~more).any(0).sum())} pixels are missing ({term.first})")
            known = known & more.to(y.device)
    named = {str(term.first) for term in terms}
    if SATURATED in named:
        saturated = saturated_pixels(y, known)
        many = 0 if saturated is None else int(saturated.any(1).sum())
        said.append(f"mask: {many or 'no'} pixels are saturated" + (": it may be brighter there" if many else ""))
    elif found and not named & {NONE} and (saturated := _cores(operator, y, known)) is not None:
        found_so = f"{int(saturated.any(1).sum())} pixels are saturated: it may be brighter there"
        said.append(f"mask: {found_so}; --mask none takes them as measured")
    if OUTLIERS in named or (found and not named & {NONE} and operator.pictorial):
        lost = _outliers(operator, y, known, saturated, asked=OUTLIERS in named)
        if lost is not None and lost.any():
            many = int(lost.any(0).sum())
            why = "" if OUTLIERS in named else ". This kernel cannot make such pixels. --mask none keeps them"
            said.append(f"mask: {many} dead or hot pixels were found and count as missing{why}")
            known = known & ~lost
        elif OUTLIERS in named:
            said.append("mask: no dead or hot pixel was found")
    if not bool(known.all()):
        shared = known[:1] if bool((known == known[:1]).all()) else known
        operator = operator.masked(shared.to(y)).to(y.device)
    if (whole := operator.known()) is not None and operator.pictorial:
        whole = whole.to(y.device)
        check_known(y, whole)
        y = fill(y, whole.to(y).expand(y.shape[1:])[None])
    return Seen(operator, y, saturated, tuple(said))


def simulated(mask: str | Tensor | None, operator: Operator, clean: Tensor) -> Operator:
    """The operator of a simulation, with the mask of a file or a tensor."""
    if mask is None:
        return operator
    c, h, w = clean.shape[1:]
    like = clean.new_zeros((1, *operator.measurement_shape((c, h, w))))
    if isinstance(mask, Tensor):
        return operator.masked(_fitting(mask, like).to(like)).to(like.device)
    known = torch.ones_like(like[0])
    for term in _terms(mask):
        if term.first in (SATURATED, OUTLIERS, NONE) or not Path(str(term.first)).is_file():
            raise SpecError(f"--simulate takes a mask from a file alone; {term.first} is for measured pictures.")
        known = known * _known_by(term, like).to(like)
    return operator.masked(known).to(like.device)


def saturated_pixels(y: Tensor, known: Tensor) -> Tensor | None:
    """True where y was cut at the brightest value; None where fewer than FEWEST known samples have it.

    Cut are all samples within PLATEAU of that value, where they are many more than in the next two steps below.
    """
    shown = y[known.expand_as(y)]
    top = float(shown.max())
    step = PLATEAU * abs(top)
    near, below = (shown >= top - step).sum(), ((shown < top - step) & (shown >= top - 3 * step)).sum()
    level = top - step if near > 3 * below else top
    cut = (y >= level) & known
    return cut if int(cut.sum()) >= FEWEST else None


def _cores(operator: Operator, y: Tensor, known: Tensor) -> Tensor | None:
    """Saturated pixels where nobody told: cores of lights on a dark ground, seen through a blur."""
    if not operator.pictorial or min(y.shape[-2:]) < LEAST_SIDE or float(y.median()) > DARK:
        return None
    cut = saturated_pixels(y, known)
    if cut is None or float(cut.float().mean()) > CORES or float(y[cut].min()) < BRIGHT:
        return None
    surrounded = avg_pool2d(cut.to(y), 3, 1) > 0.99
    return cut if bool(surrounded.any()) and spread(operator, tuple(y.shape[1:]))[1] >= LEAST_SPREAD else None


def _outliers(operator: Operator, y: Tensor, known: Tensor, saturated: Tensor | None, asked: bool) -> Tensor | None:
    """Dead and hot pixels of any page, (C, H, W); None where they cannot be told from the scene and nobody asked."""
    rank, share = spread(operator, tuple(y.shape[1:]))
    if not asked and (share < LEAST_SPREAD or min(y.shape[-2:]) < LEAST_SIDE):
        return None
    filled = fill(y, known.to(y)[None])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sigma = estimate_sigma(filled).view(-1, 1, 1, 1)
    except ValueError:
        return None
    found = lone(filled, sigma, rank, max(MARGIN * share, LEAST_SPREAD)) & known
    found = found if saturated is None else found & ~saturated
    plain = int((lone(filled, sigma, 1, PLAIN) & known).sum())
    if not asked and (plain < FEWEST_PLAIN or plain < SHARE_PLAIN * int(found.sum())):
        return None
    return found.any(0)


def _known_by(term: Spec, y: Tensor) -> Tensor:
    """1 where y is known by a file or a colour."""
    first, options = str(term.first), dict(term.options)
    if unknown := set(options) - {"invert", "colour"}:
        raise SpecError(f"a mask has no option {min(unknown)!r}; expected invert=true or colour=red.")
    if is_colour(first) and not Path(first).is_file():
        if y.shape[1] != 3:
            raise SpecError(f"--mask {first} is for colour pictures; this one is grey.")
        painted = torch.stack([paint(page.clamp(0, 1), first) for page in y]).amax(0)
        if not bool(painted.any()):
            raise SpecError(f"no pixel of the picture is {first}.")
        return 1 - painted
    if not Path(first).suffix:
        raise SpecError(f"{first!r} is not a mask; expected a picture file, a colour (red, #ff0000), {SATURATED}, "
                        f"{OUTLIERS} or {NONE}.")  # fmt: skip
    shape: tuple[int, int, int] = tuple(y.shape[1:])  # type: ignore[assignment]
    invert = str(options.get("invert", "false")).lower()
    if invert not in ("true", "false"):
        raise SpecError(f"invert={invert}; expected true or false.")
    colour = options.get("colour")
    known = read_mask(first, shape, invert=invert == "true", colour=None if colour is None else str(colour))
    return known.amax(0, keepdim=True) if len(known) > shape[0] else known


def _terms(mask: str) -> list[Spec]:
    """The terms of a mask; a + in the name of a file that is there joins nothing."""
    texts = [mask] if Path(mask).is_file() else mask.split("+")
    return [Spec(text.strip(), first=text.strip()) if Path(text).is_file() else Spec.parse(f"mask:{text.strip()}")
            for text in texts]  # fmt: skip


def files(mask: str | Tensor | None) -> list[Path]:
    """The files that a mask names."""
    return [path for term in _terms(mask) if (path := Path(str(term.first))).is_file()] if isinstance(mask, str) else []


def _fitting(mask: Tensor, y: Tensor) -> Tensor:
    if mask.ndim != 3 or mask.shape[-2:] != y.shape[-2:] or len(mask) not in (1, y.shape[1]):
        expected = f"(1, H, W) or (C, H, W) of {tuple(y.shape[1:])}"
        raise ValueError(f"mask has shape {tuple(mask.shape)}; expected {expected}.")
    return mask.to(y.device) > 0
