"""Convolution with a picture: the operator of a kernel that is sought."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from ..linalg import largest_singular_value
from ..registry import OPERATORS
from ..samples import photograph
from .sized import SizedOperator


class ConvolveWith(SizedOperator):
    """y_c = valid part of x_c ∗ k: what a picture x makes of a kernel k, for every channel c of the picture.

    picture: (C, H, W).  k: (B, 1, kh, kw), or (B, C, kh, kw) with a kernel of its own for each channel (`shared` is
    False), the tap kh//2, kw//2 at offset 0, as for `ValidBlur`; y: (B, C, H − kh + 1, W − kw + 1), with `whole` all of
    x_c ∗ k, x_c being 0 outside: (B, C, H + kh − 1, W + kw − 1).  By the fast Fourier transform; AᵀA of `whole` takes
    transforms of the kernel's size alone.  Raises ValueError for a kernel that is larger than the picture.
    """

    pictorial = False

    def __init__(
        self, picture: Tensor, side: int | tuple[int, int], *, shared: bool = True, whole: bool = False
    ) -> None:
        kh, kw = (side, side) if isinstance(side, int) else side
        if picture.ndim != 3 or not 0 < kh <= picture.shape[1] or not 0 < kw <= picture.shape[2]:
            raise ValueError(f"picture has shape {tuple(picture.shape)}; expected (C, H, W), at least {kh}×{kw}.")
        c, h, w = picture.shape
        grown = (h + kh - 1, w + kw - 1)
        super().__init__((1 if shared else c, kh, kw), (c, *grown) if whole else (c, h - kh + 1, w - kw + 1))
        self.whole, self.size = whole, grown if whole else (h, w)  # of the transforms
        self.register_buffer("picture", picture.detach())
        self._spectra: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}  # and the picture that each was made from

    picture: Tensor

    def forward(self, k: Tensor) -> Tensor:
        self.check_image(k, "k")
        (kh, kw), size = self.x_shape[1:], self.size
        full = torch.fft.irfft2(self._transfer(k) * torch.fft.rfft2(k, s=size), s=size)
        return full if self.whole else full[..., kh - 1 :, kw - 1 :]

    def adjoint(self, y: Tensor) -> Tensor:
        """Σ_n y_c[n] x_c[n + (kh − 1, kw − 1) − i] at each tap i, summed over c for a shared kernel."""
        self.check_measurement(y)
        kh, kw = self.x_shape[1:]
        placed = y if self.whole else pad(y, (kw - 1, 0, kh - 1, 0))
        found = self._transfer(y).conj() * torch.fft.rfft2(placed)
        if self.x_shape[0] == 1:
            found = found.sum(1, keepdim=True)
        return torch.fft.irfft2(found, s=self.size)[..., :kh, :kw]

    def normal(self, k: Tensor) -> Tensor:
        return self._correlated(k) if self.whole else super().normal(k)

    def norm(self, x: Tensor | None = None) -> float:
        """A bound, of all of x ∗ k and not of its valid part, by power iteration on the autocorrelation of x."""
        return largest_singular_value(self._correlated, self.picture.new_zeros(1, *self.x_shape))

    def _correlated(self, k: Tensor) -> Tensor:
        """AᵀA k of `whole`: k convolved with the autocorrelation of x."""
        kh, kw = self.x_shape[1:]
        size = (2 * kh - 1, 2 * kw - 1)
        return torch.fft.irfft2(self._kept(k, self._power) * torch.fft.rfft2(k, s=size), s=size)[..., :kh, :kw]

    def _transfer(self, like: Tensor) -> Tensor:
        return self._kept(like, self._spectrum)

    def _spectrum(self, picture: Tensor) -> Tensor:
        return torch.fft.rfft2(picture, s=self.size)

    def _power(self, picture: Tensor) -> Tensor:
        """rfft2 of the autocorrelation of the picture, as far as a kernel meets it."""
        (h, w), (c, kh, kw) = picture.shape[-2:], self.x_shape
        grown = (h + kh - 1, w + kw - 1)
        wide = torch.fft.rfft2(picture, s=grown).abs().square()
        wide = wide.sum(0, keepdim=True) if c == 1 else wide
        r = torch.fft.irfft2(wide, s=grown).roll((kh - 1, kw - 1), (-2, -1))[..., : 2 * kh - 1, : 2 * kw - 1]
        return torch.fft.rfft2(r.roll((1 - kh, 1 - kw), (-2, -1)))

    def _kept(self, like: Tensor, made: Callable[[Tensor], Tensor]) -> Tensor:
        """What is made of the picture, once for a precision and a device."""
        key = (made.__name__, self.picture._version, like.dtype, like.device)
        if key not in self._spectra or self._spectra[key][0] is not self.picture:
            if any(old[1:] != key[1:] for old in self._spectra):
                self._spectra.clear()
            with torch.inference_mode(False):  # a tensor made in inference mode would break autograd later
                self._spectra[key] = (self.picture, made(self.picture.to(like)))
        return self._spectra[key][1]


@OPERATORS.register("convolve", cite=("cho2009", "pan2016"), examples=("convolve",))
def convolve(file: str | None = None, *, shape: tuple[int, int, int]) -> ConvolveWith:
    """Convolution with a picture, of a kernel that is sought: the image is the kernel.

    file: the picture; default: the differences along the rows of the bundled photograph, made four times smaller.
    """
    if file is None:
        small = avg_pool2d(photograph("camera"), 4)[0]
        return ConvolveWith(small.diff(dim=-1).expand(shape[0], -1, -1).contiguous(), shape[1:], shared=False)
    from ..files.pictures import read

    return ConvolveWith(read(file).pixels[0], shape[1:], shared=shape[0] == 1)
