"""How well operators explain a measurement beside a sparse prior of gradients: a number each, without any network.

    cost = min_z ‖m(z) − y‖²/(2 sigma²) + WEIGHT Σ (|∂z|² + SOFT²)^(POWER/2),   m(z) = A z,  or encode(A decode(z))

Compared on the same y it sees what a power spectrum does not: the phase.
Krishnan & Fergus 2009 (the prior); the comparison is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.curves import Curve
from ..operators.base import Operator
from ..optimizer import LBFGS
from .evidence import crop

SIDE = 192  # of the crop that is explained: less than a second for two
CLIPPED = 0.2  # of its pixels, which do not count
ITERATIONS = 100  # linear light takes more: of 84 simulated training files 25 told 76 right, 40 78, 80 80, 120 81
# of the prior; twice and 0.6 times the weight told the light of one of 48 simulated training files less
WEIGHT, POWER, SOFT = 10.0, 0.8, 0.003

Way = tuple[Operator, Curve | None]  # curve: None where A acts on the values of y


class Piece(NamedTuple):
    """The part (1, C, H, W) of a measurement that is explained, and whether it is the whole of it."""

    y: Tensor
    whole: bool


class Fit(NamedTuple):
    """The least cost of a way from z to y, in nats, and what it makes of that z: m(z)."""

    cost: float
    seen: Tensor


def costs(ways: Sequence[Way], y: Tensor, sigma: float) -> list[float]:
    """The least cost of each way from z to y (1, C, H, W), in nats; empty where nothing can be tried."""
    part = piece(y)
    return [] if part is None else [fit.cost for fit in explain(ways, part, sigma)]


def piece(y: Tensor) -> Piece | None:
    """The textured part of y (1, C, H, W) that is least clipped; None where there is none."""
    part = crop(y[0], SIDE, CLIPPED)
    return None if part is None else Piece(part[None].detach().float(), part.shape == y.shape[1:])


def explain(ways: Sequence[Way], part: Piece, sigma: float) -> list[Fit]:
    """Each way's fit to the piece; empty where nothing can be tried.  Of colours the green one is tried.

    Pixels at black and white do not count, nor does the rim where an operator may continue the piece in a way of its
    own.
    """
    for tried in (part.y[:, part.y.shape[1] // 2 :][:, :1], part.y):
        try:
            return [_fit(*way, tried, sigma, whole=part.whole) for way in ways]
        except (ValueError, RuntimeError):  # made for one size, or for three channels
            continue
    return []


def _fit(operator: Operator, curve: Curve | None, y: Tensor, sigma: float, *, whole: bool) -> Fit:
    """By L-BFGS.  Raises ValueError where the operator does not make the shape of y."""
    z = operator.initial(y)
    if operator(z).shape != y.shape:
        raise ValueError("made for another size")
    weight = _counted(operator, z, y, whole=whole) / (2 * sigma**2)
    z = z.clone().requires_grad_()
    optimizer = LBFGS(z, ITERATIONS, remembered=6, draws=ITERATIONS * 5 // 4)

    def seen() -> Tensor:
        return operator(z) if curve is None else curve.encode(operator(curve.decode(z)))

    def cost() -> Tensor:
        optimizer.zero_grad()
        down, right = ((z.diff(dim=d).square() + SOFT**2).pow(POWER / 2).sum() for d in (-2, -1))
        value: Tensor = (weight * (seen() - y).square()).sum() + WEIGHT * (down + right)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(cost)
        return Fit(float(cost().detach()), seen().detach())


def _counted(operator: Operator, x: Tensor, y: Tensor, *, whole: bool) -> Tensor:
    """1 at the pixels that count: not clipped, and away from a border that is not y's own."""
    weight = ((y > 0) & (y < 1)).to(y)
    if not whole and operator.visible(x).shape == x.shape:  # no margins: it continues the picture by a rule
        h, w = (n // 8 for n in y.shape[-2:])
        inner = torch.zeros_like(weight)
        inner[..., h:-h, w:-w] = 1
        weight = weight * inner
    return weight
