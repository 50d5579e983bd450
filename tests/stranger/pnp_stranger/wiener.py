"""A denoiser of a few lines."""

import torch
from torch import Tensor


class LocalWiener:
    """D(x, sigma) = m + max(v − sigma², 0)/v (x − m), m and v the mean and the variance around each pixel.   Lee 1980.

    x: (B, C, H, W); sigma: a number or (B, 1, 1, 1).  size: of the window, odd, in pixels.
    """

    def __init__(self, size: int = 5) -> None:
        if size < 3 or size % 2 == 0:
            raise ValueError(f"size is {size}; expected an odd number from 3.")
        self.size = size

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        mean = self._around(x)
        variance = self._around((x - mean) ** 2)
        return mean + (variance - sigma**2).clamp_min(0) / variance.clamp_min(1e-12) * (x - mean)

    def _around(self, x: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(x, self.size, 1, self.size // 2, count_include_pad=False)
