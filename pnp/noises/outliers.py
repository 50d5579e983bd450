"""Dead and hot pixels: samples that no light behind a blur can make, beside their neighbours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..operators.base import Operator

LEAST_SPREAD = 0.4  # of a point's peak, in its neighbours: less is no blur, and a star looks like a hot pixel
CLEAR = 6.0  # stds of the noise
AROUND = sorted(((i, j) for i in range(-2, 3) for j in range(-2, 3) if i or j), key=lambda at: max(map(abs, at)))
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
        ring = torch.stack([u[i + down, j + right] for down, right in AROUND[:8]])
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
    """`lone` of hot samples, plane by plane.  As b <= n, the few with y − n > CLEAR sigma/q alone can be."""
    sigma = sigma.expand(len(y), 1, 1, 1).flatten()
    found = [[_in_plane(plane, float(s), rank, share) for plane in page] for page, s in zip(y, sigma, strict=True)]
    return torch.stack([torch.stack(page) for page in found])


def _in_plane(y: Tensor, sigma: float, rank: int, share: float) -> Tensor:
    h, w = y.shape
    wide = pad(y[None], (2, 2, 2, 2), mode="reflect")[0]
    up, down, left, right = (wide[2 + i : 2 + i + h, 2 + j : 2 + j + w] for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    rows, columns = torch.minimum(left, right), torch.minimum(up, down)
    below = torch.maximum(rows.minimum(torch.maximum(up, down)), columns.minimum(torch.maximum(left, right)))  # <= n
    at = (share * (y - below) > CLEAR * sigma).nonzero()
    around = torch.stack([wide[at[:, 0] + 2 + i, at[:, 1] + 2 + j] for i, j in AROUND])
    n = around[:8].topk(rank, dim=0).values[-1]
    b = around.kthvalue(DARK, dim=0).values
    at = at[n < b + share * (y[at[:, 0], at[:, 1]] - b) - CLEAR * sigma]
    found = torch.zeros_like(y, dtype=torch.bool)
    found[at[:, 0], at[:, 1]] = True
    return found
