"""Quality against the truth, image by image, in image units: black is 0 and white 1, whatever the file's range."""

from __future__ import annotations

import torch
from torch import Tensor


def psnr(x: Tensor, truth: Tensor) -> Tensor:
    """10 log10(1/mean((x − truth)²)) in dB over all samples of each image whose truth is not NaN, x `clipped`: (B,)."""
    error = (clipped(x, truth) - truth).flatten(1).square().nanmean(1)
    return -10 * error.clamp_min(1e-20).log10()


def ssim(x: Tensor, truth: Tensor) -> Tensor:
    """Mean structural similarity with Gaussian windows of std 1.5 (scikit-image), channels averaged: (B,).

    nan for pictures smaller than the 11-pixel window.  Windows about a NaN of it do not count.   Wang et al. 2004.
    """
    from skimage.metrics import structural_similarity

    if min(x.shape[-2:]) < 11:
        return torch.full((len(x),), float("nan"))
    if truth.isnan().any():
        return _ssim_with_holes(clipped(x, truth), truth)
    pairs = zip(clipped(x, truth).cpu().double().numpy(), truth.cpu().double().numpy(), strict=True)
    values = [
        structural_similarity(
            a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    return torch.tensor(values)


def _ssim_with_holes(x: Tensor, truth: Tensor) -> Tensor:
    """SSIM over the pixels whose window, 11 x 11, has no NaN of the truth."""
    from skimage.metrics import structural_similarity
    from torch.nn.functional import max_pool2d

    holes, values = truth.isnan(), []
    near = max_pool2d(holes.float(), 11, 1, 5) > 0
    truth = torch.where(holes, x.to(truth), truth)
    for a, b, skipped in zip(x.cpu().double().numpy(), truth.cpu().double().numpy(), near.cpu().numpy(), strict=True):
        _, full = structural_similarity(
            a, b, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            full=True,
        )  # fmt: skip
        inner = full[:, 5:-5, 5:-5][~skipped[:, 5:-5, 5:-5]]
        values.append(float(inner.mean()) if inner.size else float("nan"))
    return torch.tensor(values)


def clipped(x: Tensor, truth: Tensor) -> Tensor:
    """x clipped to [0, 1], or as far beyond as the truth itself goes: a star, a reflection."""
    seen = torch.where(truth.isnan(), 0.5, truth)
    low, high = seen.amin((1, 2, 3), keepdim=True).clamp_max(0), seen.amax((1, 2, 3), keepdim=True).clamp_min(1)
    return torch.minimum(torch.maximum(x, low), high)
