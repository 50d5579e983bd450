"""Noise with heavier tails than Gauss'."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pnp.checks import positive
from pnp.noises import Noise


@dataclass(frozen=True)
class Laplace(Noise):
    """y = u + n, each n of density exp(−|n|/scale)/(2 scale):   value(u, y) = ‖u − y‖₁/scale.

    prox(v, y, tau) = y + soft(v − y, tau/scale).  scale: image units; the standard deviation is √2 scale.
    """

    scale: float = 0.05

    def __post_init__(self) -> None:
        positive(self.scale, "scale")

    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        """−scale sign(q) log(1 − 2|q|), q uniform from −½ to ½."""
        q = torch.rand(u.shape, generator=generator, dtype=torch.float64) - 0.5
        return u - (self.scale * q.sign() * torch.log1p(-2 * q.abs())).to(u)

    def value(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).abs().flatten(1).sum(1) / self.scale

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        return (u - y).sign() / self.scale

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        size = torch.as_tensor(tau, dtype=v.dtype, device=v.device) / self.scale
        size = size.view(-1, *[1] * (v.ndim - 1))
        return v - (v - y).clamp(-size, size)

    def level(self, y: Tensor) -> float:
        return 2**0.5 * self.scale
