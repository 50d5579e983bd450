"""An hourglass with skip connections that is fitted to a single picture."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu

from .base import Untrained


class Unit(nn.Module):
    """leaky(norm(conv(x))): a convolution, then each channel to mean 0 and variance 1, scaled.

    mirrored: borders are; else they are zeros, which cost nothing.
    """

    def __init__(self, inputs: int, width: int, size: int, stride: int = 1, mirrored: bool = True) -> None:
        super().__init__()
        mode: Literal["reflect", "zeros"] = "reflect" if mirrored and size > 1 else "zeros"
        self.conv = nn.Conv2d(inputs, width, size, stride, size // 2, bias=False, padding_mode=mode)
        self.norm = Norm(width)

    def forward(self, x: Tensor) -> Tensor:
        return leaky_relu(self.norm(self.conv(x)), 0.2, inplace=True)


class Norm(nn.BatchNorm2d):
    """Each channel to mean 0 and variance 1 over the picture itself, then scaled and shifted: nothing is remembered."""

    def __init__(self, width: int) -> None:
        super().__init__(width, track_running_stats=False)


class Scale(nn.Module):
    """One scale: down by two, the scales `below`, up again, and joined with what `skip` channels kept of the input.

    What rises to the scale above has its `outputs` channels already: growing is what costs.
    """

    def __init__(self, inputs: int, width: int, skip: int, below: nn.Module, outputs: int) -> None:
        super().__init__()
        self.skip = Unit(inputs, skip, 1) if skip else None
        self.down = nn.Sequential(Unit(inputs, width, 3, 2), Unit(width, width, 3))
        self.below = below
        self.join = nn.Sequential(Norm(width + skip), Unit(width + skip, width, 3), Unit(width, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        up = interpolate(self.below(self.down(x)), scale_factor=2, mode="bilinear")
        return self.join(up if self.skip is None else torch.cat([self.skip(x), up], 1))


class Hourglass(Untrained):
    """u = N(z), (1, inputs, H, W) -> (1, channels, H, W): `depth` scales, each half the size of the one above.

    On the way down two 3×3 convolutions a scale, on the way up bilinear growth, a 3×3 and a 1×1 convolution, beside
    them `skip` channels; scale i has min(width 2^i, widest) channels.  bounded: a sigmoid keeps u in (0, 1).
    H and W are multiples of 2^depth, and at least twice that: a border is mirrored at the smallest scale, too.
    Ulyanov, Vedaldi & Lempitsky 2018; theirs is width=128, widest=128.
    """

    def __init__(
        self,
        channels: int = 1,
        inputs: int = 32,
        width: int = 32,
        widest: int = 64,
        depth: int = 5,
        skip: int = 4,
        bounded: bool = True,
    ) -> None:
        super().__init__()
        widths = [min(width * 2**i, widest) for i in range(depth)]
        body: nn.Module = nn.Identity()
        for i in reversed(range(depth)):
            above = widths[max(0, i - 1)]
            body = Scale(above if i else inputs, widths[i], skip, body, above)
        self.inputs, self.multiple, self.smallest, self.bounded = inputs, 2**depth, 2 ** (depth + 1), bounded
        self.body, self.tail = body, nn.Conv2d(widths[0], channels, 1)

    def forward(self, z: Tensor) -> Tensor:
        u = self.tail(self.body(z)).float()
        return u.sigmoid() if self.bounded else u
