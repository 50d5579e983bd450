"""What the network architectures share."""

from __future__ import annotations

import torch
from torch import Tensor


def noise_map(x: Tensor, sigma: float | Tensor) -> Tensor:
    """One channel that holds sigma at every pixel of x: (B, 1, H, W).  sigma: a number, (B,) or (B, 1, 1, 1)."""
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return level.reshape(-1, 1, 1, 1).expand(x.shape[0], 1, *x.shape[-2:])
