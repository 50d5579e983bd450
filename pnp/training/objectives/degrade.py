"""What examples go through."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...operators import Blur


def blurred(x: Tensor, kernels: Iterable[Tensor]) -> Tensor:
    """x (B, C, H, W), each picture by a kernel of its own, periodic."""
    return torch.cat([Blur(kernel)(each[None]) for each, kernel in zip(x, kernels, strict=True)])


class Files(NamedTuple):
    """Noise of std between two levels, 8 bits, and for some a JPEG: its share, and its qualities, in [low, high)."""

    levels: tuple[float, float]
    jpeg: float
    quality: tuple[int, int]

    def of(self, u: Tensor, generator: torch.Generator, rng: np.random.Generator) -> Tensor:
        """What files of u (B, 1, H, W) hold, float32."""
        low, high = self.levels
        sigma = low + (high - low) * torch.rand(len(u), 1, 1, 1, generator=generator)
        noisy = u + sigma * torch.randn(u.shape, generator=generator)
        bytes8 = (255 * noisy).round().clamp(0, 255).to(torch.uint8)
        some = [resaved(y, rng, self.quality) if rng.random() < self.jpeg else y.float() / 255 for y in bytes8]
        return torch.stack(some)


def resaved(picture: Tensor, rng: np.random.Generator, quality: tuple[int, int]) -> Tensor:
    """uint8 (1, H, W) -> float of what a JPEG of it holds, of a quality in [low, high)."""
    file = io.BytesIO()
    Image.fromarray(picture[0].numpy()).save(file, "JPEG", quality=int(rng.integers(*quality)))
    return torch.from_numpy(np.array(Image.open(file)))[None].float() / 255
