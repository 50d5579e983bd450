"""What a camera that reads row by row makes of a scene that moves."""

import torch
from torch import Tensor

from pnp.checks import positive_tensor
from pnp.operators import Operator


class RollingShutter(Operator):
    """Row i is moved to the right by d = speed · i pixels, round the picture, a part f of a pixel by interpolation.

        (A x)[i, j] = (1 − f) x[i, j − k] + f x[i, j − k − 1],   d = k + f

    A is a circular convolution of each row, diagonal in its Fourier basis, and so is the exact data step.
    x, y: (B, C, H, W).  speed: pixels a row.
    """

    task = "blur"

    def __init__(self, speed: float = 0.25) -> None:
        super().__init__()
        self.speed = speed

    def _spectrum(self, x: Tensor) -> Tensor:
        """exp(−iωk) ((1 − f) + f exp(−iω)): (H, W//2 + 1), made in float64 and cast once."""
        moved = self.speed * torch.arange(x.shape[-2], dtype=torch.float64)[:, None]
        omega = 2j * torch.pi * torch.arange(x.shape[-1] // 2 + 1, dtype=torch.float64) / x.shape[-1]
        k, f = moved.floor(), moved - moved.floor()
        return (torch.exp(-omega * k) * (1 - f + f * torch.exp(-omega))).to(x.device, x.dtype.to_complex())

    def _filtered(self, x: Tensor, spectrum: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * spectrum, n=x.shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self._filtered(x, self._spectrum(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self._filtered(y, self._spectrum(y).conj())

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """rfft(b)/(|h|² + rho), row by row."""
        return self._filtered(b, 1 / (self._spectrum(b).abs() ** 2 + positive_tensor(rho, "rho")))

    def norm(self, x: Tensor | None = None) -> float:
        """1: of a row that is flat."""
        return 1.0
