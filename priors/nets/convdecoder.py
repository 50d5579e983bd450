"""A convolutional decoder that is fitted to a single picture: half of an hourglass, and the quicker for it."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import interpolate

from .base import Untrained
from .hourglass import Unit


class ConvDecoder(Untrained):
    """u = N(z), (1, inputs, h, w) -> (1, channels, 2^depth h, 2^depth w): `depth` scales, each twice the one before.

        z <- unit1(unit3(up z)) at each scale, after a first unit3;   u = C z

    unit3, unit1: a 3×3 and a 1×1 convolution with norm and leaky rectifier; up repeats pixels.  The scale i times above
    the finest has min(width 2^i, widest) channels.  bounded: a sigmoid keeps u in (0, 1).
    What an hourglass without skips draws from is as good as random, so nothing is lost with its way down.  After
    Darestani & Heckel 2021.
    """

    def __init__(
        self,
        channels: int = 1,
        inputs: int = 32,
        width: int = 16,
        widest: int = 64,
        depth: int = 4,
        bounded: bool = True,
    ) -> None:
        super().__init__()
        widths = [min(width * 2**i, widest) for i in reversed(range(depth))]
        self.first = Unit(inputs, widths[0], 3, mirrored=False)
        self.scales = nn.ModuleList(
            nn.Sequential(Unit(below, here, 3, mirrored=False), Unit(here, here, 1))
            for below, here in zip([widths[0], *widths], widths, strict=False)
        )
        self.tail = nn.Conv2d(widths[-1], channels, 1)
        self.inputs, self.multiple, self.smallest, self.shrink = inputs, 2**depth, 2 ** (depth + 1), 2**depth
        self.bounded = bounded

    def forward(self, z: Tensor) -> Tensor:
        z = self.first(z)
        for scale in self.scales:
            z = scale(interpolate(z, scale_factor=2, mode="nearest"))
        u = self.tail(z).float()
        return u.sigmoid() if self.bounded else u


def depth_for(height: int, width: int) -> int:
    """The depth for a picture of this size: about 8 pixels of the shorter side remain; 4 at least.

    A decoder that begins finer has to remember a large picture in pieces, and takes its noise for detail.
    """
    return max(4, round(math.log2(min(height, width) / 8)))
