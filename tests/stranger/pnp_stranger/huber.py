"""Total variation that spares the small differences."""

import torch
from torch import Tensor

from pnp.checks import positive
from pnp.priors import Prior, Split


def differences(x: Tensor) -> Tensor:
    """Dx, forward, 0 beyond the last row and column: (B, 2, C, H, W)."""
    down = torch.diff(x, dim=-2, append=x[..., -1:, :])
    return torch.stack([down, torch.diff(x, dim=-1, append=x[..., -1:])], 1)


def transposed(p: Tensor) -> Tensor:
    """Dᵀp."""
    down, right = p[:, 0, :, :-1], p[:, 1, ..., :-1]
    pad = torch.nn.functional.pad
    return pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1)) + pad(right, (1, 0)) - pad(right, (0, 1))


class HuberTV(Prior):
    """g(x) = Σ_pixels φ(|(Dx)_i|),   φ(t) = t²/(2 mu) for t <= mu, else t − mu/2.

    ∇g(x) = Dᵀ(p/max(|p|, mu)), p = Dx, 8/mu-Lipschitz;   prox of h = Σφ: p (1 − tau/max(|p|, mu + tau)).
    mu: image units.  Huber 1964; as a prior Nikolova & Ng 2005.
    """

    closed_convex = True

    def __init__(self, mu: float = 0.01) -> None:
        self.mu = positive(mu, "mu")

    def value(self, x: Tensor) -> Tensor:
        size = differences(x).norm(dim=1)
        return torch.where(size <= self.mu, size**2 / (2 * self.mu), size - self.mu / 2).flatten(1).sum(1)

    def grad(self, x: Tensor) -> Tensor:
        p = differences(x)
        return transposed(p / p.norm(dim=1, keepdim=True).clamp_min(self.mu))

    def lipschitz(self) -> float:
        return 8 / self.mu

    def split(self) -> Split:
        return Split(differences, transposed, 8**0.5, self._shrink)

    def _shrink(self, p: Tensor, tau: float | Tensor) -> Tensor:
        return p * (1 - tau / torch.maximum(p.norm(dim=1, keepdim=True), torch.as_tensor(self.mu + tau).to(p)))
