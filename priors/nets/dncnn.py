"""DnCNN, conditioned on a noise map."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from .common import noise_map


class DnCNN(nn.Module):
    """N(x, sigma), an estimate of the noise in x; the denoiser is D(x, sigma) = x − N(x, sigma).

    `depth` 3×3 convolutions of `width` channels with ReLU between them, no normalisation; the noise level enters as
    one more input channel, so that one network serves every level.

    x: (B, C, H, W); sigma: a number or (B, 1, 1, 1), in image units.
    Zhang et al. 2017 (DnCNN); Zhang et al. 2018 (FFDNet) for the noise map.
    """

    def __init__(self, channels: int = 1, depth: int = 17, width: int = 64) -> None:
        super().__init__()
        self.channels, self.depth, self.width = channels, depth, width
        sizes = [channels + 1, *[width] * (depth - 1), channels]
        layers = [nn.Conv2d(i, o, 3, padding=1, bias=False) for i, o in pairwise(sizes)]
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight)
        nn.init.zeros_(layers[-1].weight)
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        h = torch.cat([x, noise_map(x, sigma)], 1)
        for layer in self.layers[:-1]:
            h = torch.relu_(layer(h))
        return self.layers[-1](h)

    def config(self) -> dict[str, object]:
        return {"channels": self.channels, "depth": self.depth, "width": self.width}

    def receptive_radius(self) -> int:
        """Pixels on each side that can change an output pixel: one a layer."""
        return self.depth
