"""Photographs to try things on, which come with scikit-image."""

from __future__ import annotations

import torch
from torch import Tensor

from .registry import unknown

COLOUR = ("astronaut", "chelsea", "coffee", "rocket")
GREY = ("brick", "camera", "coins", "grass", "gravel", "moon", "page", "text")
PHOTOGRAPHS = COLOUR + GREY  # those that lie in scikit-image's package: it would download the others


def photograph(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """One of PHOTOGRAPHS, (1, C, H, W) in [0, 1]: v/255 of its bytes v, rounded once; C is 3 for COLOUR, 1 for GREY.

    Raises ValueError for another name.
    """
    from skimage import data

    if name not in PHOTOGRAPHS:
        raise ValueError(unknown("photograph", name, list(PHOTOGRAPHS)))
    x = torch.from_numpy(getattr(data, name)() / 255).to(dtype)  # (H, W) or (H, W, 3)
    return (x if x.ndim == 2 else x.permute(2, 0, 1)).contiguous().view(1, -1, *x.shape[:2])
