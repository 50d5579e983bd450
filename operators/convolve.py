"""Convolution with a picture: the operator of a kernel that is sought."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ..registry import OPERATORS
from ..samples import photograph
from .sized import SizedOperator


class ConvolveWith(SizedOperator):
    """y_c = valid part of x_c ∗ k: what a picture x makes of a kernel k, for every channel c of the picture.

    picture: (C, H, W).  k: (B, 1, kh, kw), the tap kh//2, kw//2 at offset 0, as for `ValidBlur`;
    y: (B, C, H − kh + 1, W − kw + 1).  By the fast Fourier transform, in the precision of the picture.
    Raises ValueError for a kernel that is larger than the picture.
    """

    pictorial = False

    def __init__(self, picture: Tensor, side: int | tuple[int, int]) -> None:
        kh, kw = (side, side) if isinstance(side, int) else side
        if picture.ndim != 3 or not 0 < kh <= picture.shape[1] or not 0 < kw <= picture.shape[2]:
            raise ValueError(f"picture has shape {tuple(picture.shape)}; expected (C, H, W), no smaller than {kh}×{kw}.")
        c, h, w = picture.shape
        super().__init__((1, kh, kw), (c, h - kh + 1, w - kw + 1))
        self.register_buffer("picture", picture.detach())
        self._kept: tuple[tuple[object, ...], Tensor] | None = None

    picture: Tensor

    def forward(self, k: Tensor) -> Tensor:
        self.check_image(k, "k")
        size, (_, kh, kw) = self.picture.shape[-2:], self.x_shape
        full = torch.fft.irfft2(self._transfer(k) * torch.fft.rfft2(k, s=size), s=size)
        return full[..., kh - 1 :, kw - 1 :]

    def adjoint(self, y: Tensor) -> Tensor:
        """Σ_c Σ_n y_c[n] x_c[n + (kh − 1, kw − 1) − i], at each tap i."""
        self.check_measurement(y)
        size, (_, kh, kw) = self.picture.shape[-2:], self.x_shape
        placed = pad(y, (kw - 1, 0, kh - 1, 0))
        found = (self._transfer(y).conj() * torch.fft.rfft2(placed)).sum(1, keepdim=True)
        return torch.fft.irfft2(found, s=size)[..., :kh, :kw]

    def norm(self, x: Tensor | None = None) -> float:
        """√max |FFT of r|, r the autocorrelation of the picture where two taps of a kernel can lie: a bound.

        AᵀA is at most the Toeplitz matrix of r, which is a part of the circulant one with those eigenvalues.
        """
        (h, w), (_, kh, kw) = self.picture.shape[-2:], self.x_shape
        power = self._transfer(self.picture).abs().square().sum(0)
        if 2 * kh > h or 2 * kw > w:
            return float(power.max().sqrt())
        r = torch.fft.irfft2(power, s=(h, w)).roll((kh - 1, kw - 1), (-2, -1))[: 2 * kh - 1, : 2 * kw - 1]
        return float(torch.fft.rfft2(r, s=(3 * kh, 3 * kw)).abs().max().sqrt())

    def _transfer(self, like: Tensor) -> Tensor:
        """rfft2 of the picture, computed once for a precision and a device."""
        of, made_for = self.picture, (self.picture._version, like.dtype, like.device)
        if self._kept is None or self._kept[0][0] is not of or self._kept[0][1:] != made_for:
            with torch.inference_mode(False):  # a tensor made in inference mode would break autograd later
                self._kept = ((of, *made_for), torch.fft.rfft2(of.to(like)))
        return self._kept[1]


@OPERATORS.register("convolve", examples=("convolve",))
def convolve(file: str | None = None, *, shape: tuple[int, int, int]) -> ConvolveWith:
    """Convolution with a picture, of a kernel that is sought: the image is the kernel, of one channel.

    file: the picture; default: the bundled photograph, four times smaller.
    """
    if file is None:
        return ConvolveWith(avg_pool2d(photograph("camera"), 4)[0, :1], shape[1:])
    from ..files.pictures import read

    return ConvolveWith(read(file).pixels[0], shape[1:])
