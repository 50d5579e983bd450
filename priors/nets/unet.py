"""A compact universal denoiser: a residual U-Net conditioned on a noise map, without biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from .base import Network
from .common import noise_map, pad_to_multiple, shade


class ResBlock(nn.Module):
    """x + conv(relu(conv(x))), the second convolution zero at the start, so that a new block is the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.b = nn.Conv2d(width, width, 3, padding=1, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(torch.relu_(self.a(x)))


class UNet(Network):
    """N(x, sigma), an estimate of the noise in x; the denoiser is D(x, sigma) = x − N(x, sigma).

    2×2 pixel-unshuffle, three scales of residual blocks, strided convolutions between them, additive skips.  Without a
    bias anywhere N(a x, a sigma) = a N(x, sigma) for a > 0, so what was learned at one noise level carries to others.

    x: (B, C, H, W), any H and W (reflected up to a multiple of 8); sigma: a number or (B, 1, 1, 1), in image units.
    Zhang et al. 2021 (DRUNet) for the noise-conditioned residual U-Net; Mohan et al. 2020 for bias-free networks.
    """

    multiple = 8

    def __init__(self, channels: int = 1, widths: tuple[int, int, int] = (64, 128, 256), blocks: int = 2) -> None:
        super().__init__()
        self.channels, self.widths, self.blocks = channels, tuple(widths), blocks
        w0, w1, w2 = widths

        def stage(width: int) -> nn.Sequential:
            return nn.Sequential(*(ResBlock(width) for _ in range(blocks)))

        self.head = nn.Conv2d(4 * channels + 1, w0, 3, padding=1, bias=False)
        self.enc0, self.enc1, self.mid, self.dec1, self.dec0 = map(stage, (w0, w1, w2, w1, w0))
        self.down0 = nn.Conv2d(w0, w1, 2, stride=2, bias=False)
        self.down1 = nn.Conv2d(w1, w2, 2, stride=2, bias=False)
        self.up1 = nn.Conv2d(w2, 4 * w1, 1, bias=False)
        self.up0 = nn.Conv2d(w1, 4 * w0, 1, bias=False)
        self.tail = nn.Conv2d(w0, 4 * channels, 3, padding=1, bias=False)
        nn.init.zeros_(self.tail.weight)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = pad_to_multiple(x, self.multiple)
        packed = pixel_unshuffle(x, 2)  # (B, 4C, H/2, W/2)
        f0 = self.enc0(self.head(torch.cat([packed, noise_map(packed, sigma)], 1)))
        f1 = self.enc1(self.down0(f0))
        f2 = self.mid(self.down1(f1))
        f1 = self.dec1(f1 + pixel_shuffle(self.up1(f2), 2))
        f0 = self.dec0(f0 + pixel_shuffle(self.up0(f1), 2))
        return pixel_shuffle(self.tail(f0), 2)[..., :h, :w]

    def config(self) -> dict[str, object]:
        return {"channels": self.channels, "widths": list(self.widths), "blocks": self.blocks}

    def title(self) -> str:
        return f"unet-{shade(self.channels)}"

    def receptive_radius(self) -> int:
        b = self.blocks
        # 3×3 convolutions at strides 2, 4, 8 (two in a block; head and tail at stride 2), plus the cells themselves
        return 2 * (2 + 4 * b) + 4 * 4 * b + 8 * 2 * b + self.multiple
