"""Dead and hot pixels: samples that no light behind a blur can make, beside their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..operators.base import Operator

LEAST_SPREAD = 0.4  # of a point's peak, in its neighbours: less is no blur, and a star looks like a hot pixel
CLEAR = 6.0  # stds of the noise
DARK = 3  # of the 24 samples around, how many may be hot or dead themselves


def spread(operator: Operator, y_shape: tuple[int, ...]) -> tuple[int, float]:
    """(r, q): beside the brightest sample of a point of light the r-th brightest neighbour has q of it.

    r is the largest of 3, 2, 1 for which q >= LEAST_SPREAD, so that up to r outliers may lie together.
    (1, 0.0) of what does not measure pictures of a point.
    """
    if not operator.pictorial:
        return 1, 0.0
    shape = operator.image_shape(y_shape)
    device = next((b.device for b in operator.buffers()), torch.device("cpu"))
    found: list[Tensor] = []
    for shift in (0, 1):  # of what decimates, points on a sample and between
        x = torch.zeros(1, *shape, device=device)
        x[..., shape[1] // 2 + shift, shape[2] // 2 + shift] = 1
        with torch.no_grad():
            u = operator(x)[0].amax(0)
        peak = int(u.argmax())
        i, j = peak // u.shape[1], peak % u.shape[1]
        if not (0 < i < u.shape[0] - 1 and 0 < j < u.shape[1] - 1) or float(u[i, j]) <= 0:
            return 1, 0.0
        ring = torch.cat([u[i - 1 : i + 2, j - 1 : j + 2].flatten()[:4], u[i - 1 : i + 2, j - 1 : j + 2].flatten()[5:]])
        found.append(ring.sort(descending=True).values[:3] / u[i, j])
    shares = torch.stack(found).amin(0).tolist()
    rank = max((r for r in (3, 2, 1) if shares[r - 1] >= LEAST_SPREAD), default=1)
    return rank, float(shares[rank - 1])


def lone(y: Tensor, sigma: Tensor, rank: int, share: float) -> Tensor:
    """True at samples of y (B, C, H, W) that stand out more than light spread by a blur could: hot or dead.

        n < b + q (y − b) − CLEAR sigma,   n the r-th brightest of 8 neighbours, b the dark end of the 24 around

    and the same of −y.  A point of light of any brightness has n >= b + q (y − b), and so has any sum of them but for
    noise; r = rank, q = share, as by `spread`.  sigma: (B, 1, 1, 1).
    """
    return _bright(y, sigma, rank, share) | _bright(-y, sigma, rank, share)


def _bright(y: Tensor, sigma: Tensor, rank: int, share: float) -> Tensor:
    h, w = y.shape[-2:]
    wide = pad(y, (2, 2, 2, 2), mode="reflect")
    around = torch.stack(
        [wide[..., 2 + i : 2 + i + h, 2 + j : 2 + j + w] for i in range(-2, 3) for j in range(-2, 3) if i or j]
    )
    near = around[[k for k, (i, j) in enumerate(_offsets()) if max(abs(i), abs(j)) == 1]]
    n = near.topk(rank, dim=0).values[-1]
    b = around.kthvalue(DARK, dim=0).values
    return n < b + share * (y - b) - CLEAR * sigma


def _offsets() -> list[tuple[int, int]]:
    return [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i or j]
