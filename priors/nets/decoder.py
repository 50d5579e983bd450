"""A decoder of 1×1 convolutions that has too few parameters to draw noise."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from .base import Untrained
from .hourglass import Norm


class Decoder(Untrained):
    """u = N(z), (1, inputs, h, w) -> (1, channels, 2^depth h, 2^depth w), whose size is set by `width` alone.

        z <- norm(relu(up(C_i z))), depth times;   u = C norm(relu(C_depth z))

    C 1×1 convolutions of `width` channels, up bilinear growth by two: neighbouring pixels speak through it alone.
    bounded: a sigmoid keeps u in (0, 1).   Heckel & Hand 2019 (deep decoder).
    """

    def __init__(
        self, channels: int = 1, inputs: int = 64, width: int = 64, depth: int = 5, bounded: bool = True
    ) -> None:
        super().__init__()
        sizes = [inputs, *[width] * depth]
        self.mix = nn.ModuleList(nn.Conv2d(i, width, 1, bias=False) for i in sizes)
        self.norms = nn.ModuleList(Norm(width) for _ in sizes)
        self.tail = nn.Conv2d(width, channels, 1)
        self.inputs, self.multiple, self.smallest, self.shrink = inputs, 2**depth, 2 ** (depth + 1), 2**depth
        self.bounded = bounded

    def forward(self, z: Tensor) -> Tensor:
        last = len(self.mix) - 1
        for i, (mix, norm) in enumerate(zip(self.mix, self.norms, strict=True)):
            z = mix(z)
            z = norm(relu(interpolate(z, scale_factor=2, mode="bilinear") if i < last else z))
        u = self.tail(z).float()
        return u.sigmoid() if self.bounded else u
