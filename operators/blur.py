"""Periodic convolution with a kernel, optionally followed by decimation: blur and downsampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from .. import checks
from .base import Operator
from .rivals import rival_kernels, turned_kernel


class _Spectrum(NamedTuple):
    """A transfer function with the kernel that it was made from, so that another kernel is noticed."""

    kernel: Tensor
    version: int
    transfer: Tensor
    power: Tensor  # eigenvalues of A Aᵀ


class Blur(Operator):
    """y[n] = (k ∗ x)[s n + shift], periodic borders: blur (factor s = 1) or blur and decimation by s.

    kernel: (kh, kw) or one a channel (C, kh, kw), the tap kh//2, kw//2 at offset 0.
    x: (B, C, H, W), any H and W not smaller than the kernel; y: (B, C, ceil(H/s), ceil(W/s)).  Where s does not divide
    the image, its last row and column are repeated up to the next multiple; give that image's (H, W) as `size`, because
    y alone does not tell it.  The data step is exact in the real Fourier basis (folded for s > 1: Zhao et al. 2016,
    eq. 12), except for such an extended image, whose step is conjugate gradients.
    """

    called = "kernel"

    def __init__(self, kernel: Tensor, factor: int = 1, shift: int = 0, size: tuple[int, int] | None = None) -> None:
        super().__init__()
        if kernel.ndim not in (2, 3):
            raise ValueError(f"kernel has shape {tuple(kernel.shape)}; expected (kh, kw) or (C, kh, kw).")
        self.register_buffer("kernel", checks.finite(kernel, "kernel").double().reshape(-1, *kernel.shape[-2:]))
        self.factor, self.shift, self.size = int(checks.positive(factor, "factor")), shift, size
        self.task = "blur" if self.factor == 1 else "downsample"
        self._spectra: dict[tuple[object, ...], _Spectrum] = {}

    kernel: Tensor

    def forward(self, x: Tensor) -> Tensor:
        x = self._extended(x)
        spectrum, _ = self._spectrum(x.shape[-2:], x)
        z = torch.fft.irfft2(spectrum * torch.fft.rfft2(x), s=x.shape[-2:])
        return z[..., :: self.factor, :: self.factor]

    def adjoint(self, y: Tensor) -> Tensor:
        h, w = (n * self.factor for n in y.shape[-2:])
        spectrum, _ = self._spectrum((h, w), y)
        z = torch.fft.irfft2(spectrum.conj() * self._spread(y), s=(h, w))
        return self._extension_adjoint(z)

    def normal(self, x: Tensor) -> Tensor:
        if self.factor > 1:
            return self.adjoint(self.forward(x))
        _, power = self._spectrum(x.shape[-2:], x)
        return torch.fft.irfft2(power * torch.fft.rfft2(x), s=x.shape[-2:])

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        checks.positive_tensor(rho, "rho")
        return self.solve_normal_report(b, rho, x0).x if self._extends(b.shape[-2:]) else self._solve(b, rho)

    def preconditioner(self, b: Tensor, rho: float | Tensor) -> Callable[[Tensor], Tensor]:
        h, w = b.shape[-2:]
        grow = (0, -w % self.factor, 0, -h % self.factor)
        return lambda r: self._solve(pad(r, grow), rho)[..., :h, :w]

    def norm(self, x: Tensor | None = None) -> float:
        if x is None or self._extends(x.shape[-2:]):
            return super().norm(x)
        _, power = self._spectrum(x.shape[-2:], x)
        return math.sqrt(float(power.max()))

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        c, h, w = super().image_shape(y_shape)
        h, w = h * self.factor, w * self.factor
        self._spectrum((h, w), self.kernel)  # a kernel that is too large is an error here
        return (c, h, w) if self.size is None else (c, *self._sized(h, w))

    def initial(self, y: Tensor) -> Tensor:
        """y itself; for s > 1 enlarged bicubically, aligned with the samples."""
        if self.factor == 1:
            return y.clone()
        up = interpolate(y, scale_factor=self.factor, mode="bicubic", align_corners=False)
        up = torch.roll(up, (self._misalignment(),) * 2, (-2, -1))
        return up if self.size is None else up[..., : self.size[0], : self.size[1]]

    def transfer(self, size: tuple[int, int]) -> Tensor | None:
        if self.factor > 1 or any(k > n for k, n in zip(self.kernel.shape[-2:], size, strict=True)):
            return None
        return torch.fft.rfft2(self._placed(size))

    def rivals(self) -> dict[str, Operator]:
        """Blurs by the same kernel larger, smaller or turned."""
        return {f"a kernel {name}": Blur(k, self.factor, self.shift) for name, k in rival_kernels(self.kernel).items()}

    def turned(self) -> Operator | None:
        other = turned_kernel(self.kernel) if self.factor == 1 else None
        return None if other is None else Blur(other, 1, -self.shift, self.size)

    def _misalignment(self) -> int:
        """Pixels by which the middle of a factor × factor cell lies below the centre of mass of its sample's kernel."""
        t = torch.arange(self.kernel.shape[-2], dtype=torch.float64, device=self.kernel.device)
        centre = float((self.kernel.mean(0).sum(1) * t).sum() / self.kernel.mean(0).sum())
        return round(self.kernel.shape[-2] // 2 + self.shift - centre - (self.factor - 1) / 2)

    def _solve(self, b: Tensor, rho: float | Tensor) -> Tensor:
        """(AᵀA + rho)⁻¹ b in the Fourier basis, for a size that the factor divides."""
        size = b.shape[-2:]
        spectrum, power = self._spectrum(size, b)
        if self.factor == 1:
            # a complex number times a real reciprocal takes a fifth of the time of their quotient
            return torch.fft.irfft2(torch.fft.rfft2(b) * (power + rho).reciprocal(), s=size)
        if b.dtype == torch.float32 and float(torch.as_tensor(rho).min()) < 1e-3:
            return self._solve(b.double(), rho).float()  # b/rho cancels to the relative precision eps/rho
        spectral_b = torch.fft.rfft2(b)
        ab = torch.fft.irfft2(spectrum * spectral_b, s=size)[..., :: self.factor, :: self.factor]
        z = torch.fft.irfft2(torch.fft.rfft2(ab) * (power + rho).reciprocal(), s=ab.shape[-2:])
        return torch.fft.irfft2(spectral_b - spectrum.conj() * self._spread(z), s=size) / rho

    def _spread(self, y: Tensor) -> Tensor:
        """rfft2 of y with s − 1 zeros after each sample: the spectrum of y, repeated s times along each axis."""
        s, w = self.factor, y.shape[-1]
        if s == 1:
            return torch.fft.rfft2(y)
        rows = torch.fft.fft2(y).repeat(1, 1, s, 1)
        columns = torch.arange(w * s // 2 + 1, device=y.device) % w
        return rows[..., columns]

    def _spectrum(self, size: tuple[int, ...], like: Tensor) -> tuple[Tensor, Tensor]:
        """(transfer function of k, eigenvalues of A Aᵀ) for an image of this size; computed once for each."""
        key = (*size, like.dtype, like.device)
        kept = self._spectra.get(key)
        if kept is None or kept.kernel is not self.kernel or kept.version != self.kernel._version:
            if len(self._spectra) >= 8:
                self._spectra.pop(next(iter(self._spectra)))
            with torch.inference_mode(False):  # a tensor made in inference mode would break autograd later
                kept = _Spectrum(self.kernel, self.kernel._version, *self._make_spectrum(size, like))
            self._spectra[key] = kept
        return kept.transfer, kept.power

    def _make_spectrum(self, size: tuple[int, ...], like: Tensor) -> tuple[Tensor, Tensor]:
        check_kernel_size(self.kernel, size)
        spectrum = torch.fft.rfft2(self._placed(size).to(like.device))
        power = spectrum.real**2 + spectrum.imag**2
        if self.factor > 1:  # A Aᵀ is the decimated autocorrelation of k
            correlation = torch.fft.irfft2(power, s=size)[..., :: self.factor, :: self.factor]
            power = torch.fft.rfft2(correlation).real.clamp_min(0)
        complex_dtype = torch.complex64 if like.dtype == torch.float32 else torch.complex128
        return spectrum.to(complex_dtype), power.to(like.dtype)

    def _placed(self, size: tuple[int, ...]) -> Tensor:
        """The kernel in a picture of this size, its tap at offset 0 in the corner."""
        kh, kw = self.kernel.shape[-2:]
        canvas = self.kernel.new_zeros(self.kernel.shape[0], *size, dtype=torch.float64)
        canvas[:, :kh, :kw] = self.kernel
        return canvas.roll((-(kh // 2) - self.shift, -(kw // 2) - self.shift), (-2, -1))

    def _sized(self, h: int, w: int) -> tuple[int, int]:
        """`size`, if it is what a measurement of h/s × w/s samples comes from; else ValueError."""
        assert self.size is not None
        if any(-(-n // self.factor) * self.factor != m for n, m in zip(self.size, (h, w), strict=True)):
            rows, columns = (-(-n // self.factor) for n in self.size)
            raise ValueError(
                f"y is {h // self.factor}×{w // self.factor}; {self.name} of a {self.size[0]}×{self.size[1]} picture "
                f"makes {rows}×{columns}."
            )
        return self.size

    def _extends(self, size: tuple[int, ...]) -> bool:
        return any(n % self.factor for n in size)

    def _extended(self, x: Tensor) -> Tensor:
        if not self._extends(x.shape[-2:]):
            return x
        return pad(x, (0, -x.shape[-1] % self.factor, 0, -x.shape[-2] % self.factor), mode="replicate")

    def _extension_adjoint(self, z: Tensor) -> Tensor:
        """Repeated rows and columns are added to the ones that they repeat."""
        if self.size is None or tuple(z.shape[-2:]) == tuple(self.size):
            return z
        h, w = self.size
        z = torch.cat([z[..., : h - 1, :], z[..., h - 1 :, :].sum(-2, keepdim=True)], -2)
        return torch.cat([z[..., : w - 1], z[..., w - 1 :].sum(-1, keepdim=True)], -1)


def check_kernel_size(kernel: Tensor, size: tuple[int, ...]) -> None:
    """ValueError for a kernel that is larger than the picture."""
    kh, kw = kernel.shape[-2:]
    if kh > size[0] or kw > size[1]:
        raise ValueError(f"the kernel is {kh}×{kw}, larger than the picture, {size[0]}×{size[1]}.")
