"""The straight motion at each pixel of a picture that nobody told: a network's opinion of each part, made smooth.

    min over m of  Σ_i −log p_i(m_i) + w Σ_{i ~ j} |φ(m_i) − φ(m_j)|²/2,    φ(m) = l (cos 2a, sin 2a)

m_i is the motion of cell i, of length l at angle a; φ is the same for a motion and its opposite.  Minimised in the mean
over a product of distributions (mean field), in which the second term needs the mean of φ alone:

    q_i(m) ∝ exp(log p_i(m) − w Σ_{j ~ i} |φ(m) − E φ_j|²/2)

Sun, Cao, Xu & Ponce 2015: the network's motions and the rotations of the picture that make 361 of 73 are theirs; their
random field is solved by graph cuts.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

from ..files.pictures import luma
from ..priors.nets.common import pad_to_multiple
from ..priors.nets.motion import Motion, motions
from ..priors.store import load

TURNS = (0.0, 3.0, 6.0, 9.0, 12.0)  # degrees; a whole step between two known angles
SMOOTH = 0.02  # w
SWEEPS = 60
RIM = 3  # cells at the border that see too little
LEAST = 96  # pixels a side of a picture in which motions can be told
SHORT = 1.5  # pixels: a shorter motion is none
# std of noise that restores best with such a field: training pictures 0.02 to 0.04, motions wrong by 1.4 to 2.3 pixels
AMISS = 0.03
APART = 0.9  # `spread` from which a field is not believed: at 0.4 to 0.8 the mean error was 1 to 3 pixels


class Motions(NamedTuple):
    """A field (H, W, 2) of motions that was found, pixels to the right and down, as a `Finding`."""

    field: Tensor
    point: bool
    sure: bool
    said: str

    @property
    def maps(self) -> dict[str, Tensor]:
        return {"motion": self.field}

    @property
    def error(self) -> float:
        return AMISS

    @property
    def free(self) -> bool:
        return False

    def to_json(self) -> dict[str, Any]:
        length = self.field.norm(dim=-1)
        return {"mean length": round(float(length.mean()), 3), "longest": round(float(length.max()), 3),
                "sure": self.sure, "said": self.said}  # fmt: skip


def motions_of(y: Tensor) -> Motions:
    """The motion at each pixel of y (C, H, W), and whether it is believed.  Raises ValueError for a small picture."""
    if min(y.shape[-2:]) < LEAST:
        raise ValueError(f"Cannot find the motions: the picture is smaller than {LEAST} pixels. Give them: "
                         "varying:motion=FILE.")  # fmt: skip
    logs, ways, size = looked_at(y)
    means = smoothed(logs, ways)  # (2, h, w) of φ
    field = as_field(means, size)[: y.shape[-2], : y.shape[-1]]
    lengths = field.norm(dim=-1)
    point = float(lengths.median()) < SHORT
    low, high = (float(lengths.flatten()[:: 1 + lengths.numel() // 10**6].quantile(q)) for q in (0.05, 0.95))
    said = f"{low:.3g} to {high:.3g} pixels long, found in the picture"
    if point:
        return Motions(field, True, True, "nothing to estimate: the picture shows no motion")
    doubtful = spread(logs, ways, means) > APART
    return Motions(field, False, not doubtful, said + ("; parts of the picture disagree" if doubtful else ""))


def looked_at(y: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """`opinions` of y (C, H, W) continued to whole cells, and the size of these."""
    net = load("motion")
    assert isinstance(net, Motion)
    seen = pad_to_multiple(luma(y.detach().cpu().float()[None]), net.cell)
    return *opinions(seen, net), (seen.shape[-2], seen.shape[-1])


def spread(logs: Tensor, ways: Tensor, means: Tensor) -> float:
    """How far the network's opinion of each cell is from the field: √ of the mean of E|φ − E φ|² over |E φ|²."""
    away = (ways[:, :, None, None] - means).square().sum(1)  # (m, h, w)
    apart = (logs.softmax(0) * away).sum(0)
    return float((apart.mean() / means.square().sum(0).mean().clamp_min(1e-12)).sqrt())


def as_field(means: Tensor, size: tuple[int, int]) -> Tensor:
    """φ (2, h, w) on cells -> the motion at each pixel, (H, W, 2), to the right and down."""
    whole = interpolate(means[None], size=size, mode="bilinear", align_corners=False)[0]
    length, angle = whole.norm(dim=0), torch.atan2(whole[1], whole[0]) / 2
    return torch.stack([length * angle.cos(), -length * angle.sin()], -1)


def opinions(y: Tensor, net: Motion) -> tuple[Tensor, Tensor]:
    """log p (361, h, w) on the cells of y (1, 1, H, W), and φ (361, 2) of each motion: none, 6 lengths at 60 angles.

    H and W are multiples of a cell.  The picture is rotated between two known angles; each rotation asks for 12 angles
    more.
    """
    none, others, ways = [], [], []
    for turn in TURNS:
        with torch.inference_mode():
            seen = net(_rotated(y, turn)).log_softmax(1)
        seen = _rotated(seen, -turn)[0]
        none.append(seen[0])
        others.append(seen[1:])
        ways.append(doubled(motions(turn)[1:]))
    logs = torch.cat([torch.stack(none).mean(0)[None], torch.cat(others) - math.log(len(TURNS))])
    return logs, torch.cat([torch.zeros(1, 2), torch.cat(ways)])


def doubled(ways: Tensor) -> Tensor:
    """φ (m, 2) of motions (m, 2) by rows and columns."""
    length, angle = ways.norm(dim=1), 2 * torch.atan2(-ways[:, 0], ways[:, 1])
    return torch.stack([length * angle.cos(), length * angle.sin()], 1)


def smoothed(logs: Tensor, ways: Tensor, smooth: float = SMOOTH, sweeps: int = SWEEPS) -> Tensor:
    """E φ (2, h, w) of each cell, from log p (m, h, w) and φ (m, 2)."""
    logs = _without_rim(logs)
    around = torch.tensor([[0.5, 1.0, 0.5], [1.0, 0.0, 1.0], [0.5, 1.0, 0.5]])[None, None]
    mean = torch.einsum("mhw,mc->chw", logs.softmax(0), ways)
    for _ in range(sweeps):
        seen = conv2d(pad(mean[:, None], (1, 1, 1, 1), mode="replicate"), around)[:, 0]  # Σ_j E φ_j
        # Σ_j |φ − E φ_j|²/2 = n |φ|²/2 − φ · Σ_j E φ_j + what does not depend on φ
        pull = float(around.sum()) * ways.square().sum(1)[:, None, None] / 2 - torch.einsum("mc,chw->mhw", ways, seen)
        q = (logs - smooth * pull).softmax(0)
        mean = 0.5 * mean + 0.5 * torch.einsum("mhw,mc->chw", q, ways)
    return mean


def _without_rim(logs: Tensor) -> Tensor:
    """At the border the opinion is that of the nearest cell inside."""
    h, w = logs.shape[-2:]
    if min(h, w) <= 2 * RIM + 2:
        return logs
    return pad(logs[None, :, RIM:-RIM, RIM:-RIM], (RIM,) * 4, mode="replicate")[0]


def _rotated(x: Tensor, turn: float) -> Tensor:
    """x (1, C, H, W) rotated counter-clockwise about its centre, its border continued."""
    if not turn:
        return x
    h, w = x.shape[-2:]
    c, s = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    theta = x.new_tensor([[[c, -s * h / w, 0], [s * w / h, c, 0]]])
    return grid_sample(x, affine_grid(theta, list(x.shape), align_corners=False), padding_mode="reflection",
                       align_corners=False)  # fmt: skip
