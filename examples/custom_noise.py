"""
Your own noise
==============

Heavy tails: write minus the log-likelihood and its prox, and every solver that needs a prox takes it::

    python examples/custom_noise.py          (--quick: a smaller picture)
"""

import sys
from dataclasses import dataclass

import torch
from panels import side_by_side
from torch import Tensor

import pnp


@dataclass(frozen=True)
class Laplace(pnp.Noise):
    """y = u + n, n of density exp(−|n|/scale)/(2 scale)."""

    scale: float = 0.1

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        q = torch.rand(u.shape, generator=generator, dtype=torch.float64) - 0.5
        return u - (self.scale * q.sign() * torch.log1p(-2 * q.abs())).to(u)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).abs().flatten(1).sum(1) / self.scale

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).sign() / self.scale

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        size = torch.as_tensor(tau, dtype=v.dtype).view(-1, 1, 1, 1) / self.scale
        return v - (v - y).clamp(-size, size)

    def level(self, y: Tensor) -> float:
        return 2**0.5 * self.scale


side = 96 if "--quick" in sys.argv else 256
truth = pnp.samples.photograph("camera")[..., 100 : 100 + side, 150 : 150 + side]
laplace = Laplace()
y = laplace.draw(truth, torch.Generator().manual_seed(0))

pictures = {"noisy": y}
for name, noise in (("Gaussian", pnp.noises.Gaussian(laplace.level(y))), ("Laplace", laplace)):
    done = pnp.restore(y, operator="identity", prior="tv", noise=noise, truth=truth)
    pictures[name] = done.restored
    print(f"{name}: {done.record.metrics['psnr'][0]:.1f} dB")
# prints: Gaussian: 25.7 dB; Laplace: 26.2 dB (--quick)
side_by_side({**pictures, "truth": truth})
