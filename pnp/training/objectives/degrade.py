"""What examples go through."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def placed(kernel: Tensor, size: torch.Size) -> Tensor:
    """float32 of this size, the middle of the kernel in the corner."""
    canvas = torch.zeros(size)
    kh, kw = kernel.shape
    canvas[:kh, :kw] = kernel
    return canvas.roll((-(kh // 2), -(kw // 2)), (0, 1))


def resaved(picture: Tensor, rng: np.random.Generator, quality: tuple[int, int]) -> Tensor:
    """uint8 (1, H, W) -> float of what a JPEG of it holds, of a quality in [low, high)."""
    file = io.BytesIO()
    Image.fromarray(picture[0].numpy()).save(file, "JPEG", quality=int(rng.integers(*quality)))
    return torch.from_numpy(np.array(Image.open(file)))[None].float() / 255


def rng_of(generator: torch.Generator) -> np.random.Generator:
    """NumPy's generator, seeded by torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
