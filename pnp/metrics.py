"""Quality against the truth, image by image, in image units: black is 0 and white 1, whatever the file's range."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """10 log10(1/mean((x − truth)²)) in dB over all samples of each image, x `clipped`: (B,)."""
    error = (clipped(x, truth) - truth).flatten(1).square().mean(1)
    return -10 * error.clamp_min(1e-20).log10()


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Mean structural similarity with Gaussian windows of std 1.5 (scikit-image), channels averaged: (B,).

    nan for pictures smaller than the 11-pixel window.   Wang et al. 2004.
    """
    from skimage.metrics import structural_similarity

    if min(x.shape[-2:]) < 11:
        return torch.full((len(x),), float("nan"))
    pairs = zip(clipped(x, truth).cpu().double().numpy(), truth.cpu().double().numpy(), strict=True)
    values = [
        structural_similarity(
            a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    return torch.tensor(values)


def clipped(x: Tensor, truth: Tensor) -> Tensor:
    """x clipped to [0, 1], or as far beyond as the truth itself goes: a star, a reflection."""
    low, high = truth.amin((1, 2, 3), keepdim=True).clamp_max(0), truth.amax((1, 2, 3), keepdim=True).clamp_min(1)
    return torch.minimum(torch.maximum(x, low), high)
