"""A network that deblurs text, told nothing."""

from __future__ import annotations

from torch import Tensor

from .common import shade
from .unet import UNet

LEVEL = 0.1  # in the place of a noise map: the one constant that the network sees


class Text(UNet):
    """x = y − N(y): a page from a blurred and noisy one, by a U-Net that is not told the blur nor the noise.

    y: (B, 1, H, W), in image units.  The noise map of `UNet` is a constant, so sigma changes nothing.
    Hradiš et al. 2015 for the task, a network of plain convolutions there.
    """

    objective = "text"
    direct = True

    def __init__(self, channels: int = 1, widths: tuple[int, int, int] = (48, 96, 192), blocks: int = 2) -> None:
        if channels != 1:
            raise ValueError("text reads the brightness of a page alone: leave --channels out.")
        super().__init__(channels, widths, blocks)

    def forward(self, x: Tensor, sigma: float | Tensor = 0.0) -> Tensor:
        return super().forward(x, LEVEL)

    def title(self) -> str:
        return f"text-{shade(self.channels)}"
