"""Whether a picture of which nothing is known is blurred, how widely, and by what form of kernel, as far as it shows.

A power law explains the spectrum of a picture better through the kernel that blurred it than through others
(`evidence`).  A few kernels are tried, so that a person does not wait; `unknown` finds the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ..operators import ValidBlur, kernels
from .evidence import NATS
from .unknown import NothingFound, Witness

SOFT = 1.0  # std in pixels of a Gaussian: less is what JPEG and lenses do to any picture
PLAIN = 1.4  # below it a Gaussian may be a soft lens, or a motion: of 8 sharp photographs one had 1.3
WIDTHS = (0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)  # of Gaussians, std in pixels
FINER = (1.2, 1.1)  # steps around the best of them
RADII = tuple(1.3 * 1.07**i for i in range(13))  # of disks, in stds of the Gaussian: a disk has half its radius
LENGTHS, TURNS = tuple(2.6 * 1.28**i for i in range(5)), range(0, 180, 15)  # of motions, in the same units, and degrees
DOUBLE = (1.75, 1.85, 1.93, 2.0, 2.07, 2.15)  # half a length shares its zeros
# the operator that finds the numbers of each form, and what a person calls such a blur
FORMS = {
    "radius": ("blur:kernel=disk,radius=?", "out of focus: a disk of radius"),
    "length": ("blur:kernel=motion,length=?,angle=?", "moved: a line of length"),
}
ANY = "blur:kernel=estimate"  # of no form


class Suspicion(NamedTuple):
    """A blur that shows.  said: for a person.  operator: the spec that finds it; empty where it may be the lens's."""

    said: str
    operator: str


def suspected(y: Tensor, hidden: float) -> Suspicion | None:
    """What the spectrum of y (C, H, W) shows of a blur; None where it shows none, or the picture tells nothing.

    hidden: std of what JPEG has rounded away.  A blur shows where some Gaussian is wider than SOFT and explains the
    picture better than none by NATS, and its form where it explains the picture better than the others by as much.
    A Gaussian is never named: it is what other forms look like in small pictures.  On 8 photographs of 420 pixels, as
    JPEGs of quality 90, it named 4 of 8 disks and 4 of 8 motions, none wrongly; two motions it did not see.
    """
    try:
        witness = Witness(y, hidden)
    except NothingFound:
        return None
    costs: dict[tuple[tuple[str, float], ...], float] = {}

    def best(tried: Iterable[dict[str, float]]) -> dict[str, float]:
        """Of these, by the crop that tells most."""
        each: list[tuple[tuple[str, float], ...]] = [tuple(kernel.items()) for kernel in tried]
        for kernel in each:
            if kernel not in costs:
                costs[kernel] = witness.cost(_made(dict(kernel)), first=True)
        least = min(each, key=costs.__getitem__)
        return dict(least)

    wide = best({"std": s} for s in WIDTHS)
    for ratio in FINER:
        wide = best({"std": wide["std"] * r} for r in (1 / ratio, 1.0, ratio))
    std = wide["std"]
    gain = witness.point - witness.cost(_made(wide))
    if std < SOFT or not gain > NATS * witness.spread:
        return None
    disk = best({"radius": r * std} for r in RADII)
    line = best({"length": length * std, "angle": float(angle)} for length in LENGTHS for angle in TURNS)
    for ratio, turn in ((1.15, 9.0), (1.07, 4.0), (1.03, 2.0)):
        disk = best({"radius": disk["radius"] * r} for r in (ratio**-0.3, 1.0, ratio**0.3))
        line = best({"length": line["length"] * r, "angle": (line["angle"] + a) % 180}
                    for r in (1 / ratio, 1.0, ratio) for a in (-turn, 0.0, turn))  # fmt: skip
    line = best({**line, "length": line["length"] * r} for r in (1.0, *DOUBLE))
    whole = sorted(((witness.cost(_made(k)), witness.spread, k) for k in (wide, disk, line)), key=lambda each: each[0])
    (cost, spread, kernel), second = whole[0], whole[1]
    clear = kernel is not wide and math.isfinite(cost) and second[0] - cost >= NATS * spread
    if std < PLAIN and not clear:
        return Suspicion(f"soft, as by a Gaussian of std {std:.2g}; this may be the lens", "")
    if not clear:
        return Suspicion(f"about as wide as a Gaussian of std {std:.2g}; its form is not clear", ANY)
    operator, name = FORMS[next(iter(kernel))]
    numbers = [f"{value:.2g}" for value in kernel.values()]
    return Suspicion(f"{name} about {' at an angle of '.join(numbers)}", operator)


def _made(kernel: dict[str, float]) -> ValidBlur:
    if "std" in kernel:
        return ValidBlur(kernels.gaussian(kernel["std"]).to(torch.float64))
    made = kernels.make("disk" if "radius" in kernel else "motion", kernel)
    return ValidBlur(made.to(torch.float64))
