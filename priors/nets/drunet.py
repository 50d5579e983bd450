"""DRUNet, the large U-Net of DPIR: here so that its published weights can be used."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Network
from .common import noise_map, pad_to_multiple, shade


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        a, b = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        self.res = nn.Sequential(a, nn.ReLU(), b)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res(x)


class DRUNet(Network):
    """N(x, sigma) = x − U(x, sigma): four scales of residual blocks on x and a noise map; U is the denoised picture.

    The modules bear the names of the published weights, so that a state dict fits as it is.

    x: (B, C, H, W), any H and W; sigma: a number or (B, 1, 1, 1), in image units.   Zhang et al. 2021.
    """

    multiple = 8

    def __init__(
        self, channels: int = 1, widths: tuple[int, int, int, int] = (64, 128, 256, 512), blocks: int = 4
    ) -> None:
        super().__init__()
        self.channels, self.widths, self.blocks = channels, tuple(widths), blocks
        a, b, c, d = widths

        def down(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(*(_Block(i) for _ in range(blocks)), nn.Conv2d(i, o, 2, stride=2, bias=False))

        def up(i: int, o: int) -> nn.Sequential:
            return nn.Sequential(nn.ConvTranspose2d(i, o, 2, stride=2, bias=False), *(_Block(o) for _ in range(blocks)))

        self.m_head = nn.Conv2d(channels + 1, a, 3, padding=1, bias=False)
        self.m_down1, self.m_down2, self.m_down3 = down(a, b), down(b, c), down(c, d)
        self.m_body = nn.Sequential(*(_Block(d) for _ in range(blocks)))
        self.m_up3, self.m_up2, self.m_up1 = up(d, c), up(c, b), up(b, a)
        self.m_tail = nn.Conv2d(a, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        h, w = x.shape[-2:]
        padded = pad_to_multiple(x, self.multiple)
        f0 = self.m_head(torch.cat([padded, noise_map(padded, sigma)], 1))
        f1 = self.m_down1(f0)
        f2 = self.m_down2(f1)
        f3 = self.m_down3(f2)
        f2 = self.m_up3(self.m_body(f3) + f3) + f2
        f0 = self.m_up1(self.m_up2(f2) + f1) + f0
        return x - self.m_tail(f0)[..., :h, :w]

    def config(self) -> dict[str, object]:
        return {"channels": self.channels, "widths": list(self.widths), "blocks": self.blocks}

    def title(self) -> str:
        return f"drunet-{shade(self.channels)}"

    def receptive_radius(self) -> int:
        b = self.blocks
        return 2 + 2 * 2 * b * (1 + 2 + 4) + 8 * 2 * b + self.multiple
