"""DnCNN, conditioned on a noise map."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .base import Network
from .common import noise_map, shade


class DnCNN(Network):
    """N(x, sigma), an estimate of the noise in x; the denoiser is D(x, sigma) = x − N(x, sigma).

    `depth` 3×3 convolutions of `width` channels with ReLU between them, no normalisation; the noise level enters as
    one more input channel, so that one network serves every level.  `bias` and `conditioned=False` are for published
    weights, which know one level or none.

    x: (B, C, H, W); sigma: a number or (B, 1, 1, 1), in image units.
    Zhang et al. 2017 (DnCNN); Zhang et al. 2018 (FFDNet) for the noise map.
    """

    def __init__(
        self, channels: int = 1, depth: int = 17, width: int = 64, bias: bool = False, conditioned: bool = True
    ) -> None:
        super().__init__()
        self.channels, self.depth, self.width, self.bias, self.conditioned = channels, depth, width, bias, conditioned
        sizes = [channels + conditioned, *[width] * (depth - 1), channels]
        layers = [nn.Conv2d(i, o, 3, padding=1, bias=bias) for i, o in pairwise(sizes)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        h = torch.cat([x, noise_map(x, sigma)], 1) if self.conditioned else x
        for layer in self.layers[:-1]:
            h = torch.relu_(layer(h))
        return self.layers[-1](h)

    def config(self) -> dict[str, object]:
        return {
            "channels": self.channels,
            "depth": self.depth,
            "width": self.width,
            "bias": self.bias,
            "conditioned": self.conditioned,
        }

    def title(self) -> str:
        return f"dncnn-{shade(self.channels)}"

    def receptive_radius(self) -> int:
        """One pixel a layer."""
        return self.depth
