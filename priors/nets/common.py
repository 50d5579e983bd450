"""What the network architectures share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def noise_map(x: Tensor, sigma: float | Tensor) -> Tensor:
    """One channel that holds sigma at every pixel of x: (B, 1, H, W).  sigma: a number, (B,) or (B, 1, 1, 1)."""
    level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
    return level.reshape(-1, 1, 1, 1).expand(x.shape[0], 1, *x.shape[-2:])


def shade(channels: int) -> str:
    """grey or colour."""
    return "grey" if channels == 1 else "colour"


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Reflect the lower and right borders outwards to the next multiple; edges are repeated where x is too small."""
    h, w = x.shape[-2:]
    bottom, right = -h % multiple, -w % multiple
    if not (bottom or right):
        return x
    mode = "reflect" if bottom < h and right < w else "replicate"
    return pad(x, (0, right, 0, bottom), mode=mode)
