"""Other colours: what photographs with few saturated colours and few blacks and whites do not show."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # BT.601


def jittered(x: Tensor, rng: np.random.Generator) -> Tensor:
    """x (C, H, W) in [0, 1] with other colours, in [0, 1]: each change with a chance of one half, in this order.

        gamma       x <- x^g, log2 g uniform in [-1, 1]
        saturation  x <- Y + s (x − Y), Y the luma, s in [0, 2.5]
        contrast    the 1st and 99th percentile of all samples become 0 and 1, by a factor of at most 2
        channels    in another order

    A grey picture has gamma and contrast alone.
    """
    gamma, saturation, contrast, channels = rng.random(4) < 0.5
    if gamma:
        x = x ** float(2 ** rng.uniform(-1, 1))
    if len(x) == 3 and saturation:
        grey = (LUMA * x).sum(0, keepdim=True)
        x = (grey + float(rng.uniform(0, 2.5)) * (x - grey)).clamp(0, 1)
    if contrast:
        low, high = np.quantile(x.numpy(), (0.01, 0.99))
        factor = min(1 / max(float(high - low), 1e-3), 2.0)  # more would show what a JPEG left
        middle = float(low + high) / 2
        x = (0.5 if factor < 2 else middle) + factor * (x - middle)
        x = x.clamp(0, 1)
    if len(x) == 3 and channels:
        x = x[torch.from_numpy(rng.permutation(3))]
    return x
