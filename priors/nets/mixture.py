"""A Gaussian mixture over small patches, and the noise that it finds in a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import fold, pad, unfold

from ... import linalg
from .base import Network

BAND = 2048  # patches worked on at once: their coefficients stay in the cache
FLAT = 2.0  # of sigma²: variances below this count as one, their mean; half the time of 0.1, and 0.05 to 0.15 dB more


class PatchMixture(Network):
    """N(x, sigma) = x − z: z is the mean of all overlapping patches, each restored by a Gaussian mixture.

    c_i = T P_i x are the coefficients of patch i, T the DCT of size × size without its constant, m_i the mean;
    p(c) = Σ_k π_k N(c; 0, U_kᵀ Λ_k U_k).

        k_i = argmax_k log π_k + log N(c_i; 0, U_kᵀ Λ_k U_k + sigma² I)
        z_i = m_i + Tᵀ U_kᵀ Λ_k (Λ_k + sigma² I)⁻¹ U_k c_i,  k = k_i
        z   = (Σ P_iᵀ P_i)⁻¹ Σ P_iᵀ z_i

    log_weights: (K,), log π.  log_variances: (K, D), log Λ.  axes: (K, D, D), the rows of U; D = size² − 1.
    x: (B, 1, H, W); sigma: a number or (B, 1, 1, 1), in image units.  The variances of a component that are below
    FLAT sigma² are taken for their mean.  A picture smaller than a patch is continued by its borders.
    Zoran & Weiss 2011, section 4.1 (the approximate MAP of a patch) and eq. 4 (the mean).
    """

    fitted_by = "em"
    tile = 4096  # bands of patches are worked on anyway, so that tiling is for giants alone

    def __init__(self, channels: int = 1, components: int = 200, size: int = 8) -> None:
        super().__init__()
        if channels != 1:
            raise ValueError(f"epll takes one channel, not {channels}. It restores colour channel by channel.")
        if size < 2 or components < 1:
            raise ValueError(f"size is {size}, components {components}; expected 2 pixels and 1 component at least.")
        self.channels, self.components, self.size = channels, components, size
        d = size**2 - 1
        self.log_weights = nn.Parameter(torch.full((components,), -math.log(components)))
        self.log_variances = nn.Parameter(torch.zeros(components, d))
        self.axes = nn.Parameter(torch.eye(d).expand(components, d, d).clone())
        self.basis: Tensor
        self.register_buffer("basis", linalg.dct_basis(size)[1:].float(), persistent=False)

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).flatten().expand(len(x)).tolist()
        h, w = x.shape[-2:]
        grown = pad(x, (0, max(0, self.size - w), 0, max(0, self.size - h)), mode="replicate")
        with torch.autocast(x.device.type, enabled=False):
            filters = {s: self.filters(s) for s in set(level)}
            restored = [self._restore(p, filters[s]) for p, s in zip(grown.split(1), level, strict=True)]
        return x - torch.cat(restored)[..., :h, :w]

    def coefficients(self, patches: Tensor) -> Tensor:
        """c = T P: (size², n), one patch a column, -> (D, n)."""
        return self.basis.to(patches) @ patches

    def filters(self, sigma: float) -> Filters:
        """What restores patches at one noise level.

        With the r largest variances of a component apart and the rest, of mean t, as one, v = λ + sigma²,

            cᵀ(UᵀΛU + sigma² I)⁻¹c = ‖c‖²/v_t − Σ_{i ≤ r} (1/v_t − 1/v_i) (u_i · c)²
        """
        variances, order = self.log_variances.detach().double().exp().sort(1, descending=True)
        axes = self.axes.detach().gather(1, order[..., None].expand_as(self.axes))
        noise, d = sigma**2, variances.shape[1]
        apart = variances > FLAT * noise
        rank = apart.sum(1)
        rest = torch.where(apart, 0.0, variances).sum(1) / (d - rank).clamp_min(1)
        rest = torch.where(rank < d, rest, variances[:, -1])[:, None]
        v, tail = variances + noise, rest + noise
        heights = self.log_weights.detach().double() - torch.where(apart, v, tail).log().sum(1) / 2
        sharp = (1 / tail - 1 / v).clamp_min(0).sqrt()[..., None] * axes
        gain = (variances / v - rest / tail)[..., None] * axes
        ranks = rank.tolist()

        def parts(rows: Tensor) -> list[Tensor]:
            return [part[:r].to(axes) for part, r in zip(rows, ranks, strict=True)]

        flat, dull = (1 / tail[:, 0]).to(axes), (rest / tail)[:, 0].tolist()
        return Filters(heights.to(axes), flat, parts(sharp), parts(axes), parts(gain), dull)

    def _restore(self, x: Tensor, filters: Filters) -> Tensor:
        """z of one picture, (1, 1, H, W)."""
        h, w = x.shape[-2:]
        sums = torch.zeros_like(x)
        for top, bottom in self._bands(h, w):
            patches = unfold(x[..., top:bottom, :], self.size)[0]  # (size², n)
            c = self.coefficients(patches)
            restored = self.basis.to(x).T @ wiener(c, likeliest(c.detach(), filters), filters) + patches.mean(0)
            sums[..., top:bottom, :] += fold(restored[None], (bottom - top, w), self.size)
        return sums / self._cover(h, x)[:, None] / self._cover(w, x)

    def _bands(self, h: int, w: int) -> Iterator[tuple[int, int]]:
        """(first, past the last) rows of the picture, for bands of at most about BAND patches."""
        rows, last = max(1, BAND // (w - self.size + 1)), h - self.size + 1
        for top in range(0, last, rows):
            yield top, min(top + rows, last) + self.size - 1

    def _cover(self, n: int, like: Tensor) -> Tensor:
        """How many patches lie over each of n pixels in a line."""
        at = torch.arange(n, dtype=like.dtype, device=like.device)
        return torch.minimum(at + 1, n - at).clamp_max(min(self.size, n - self.size + 1))

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "components": self.components, "size": self.size}

    def title(self) -> str:
        return f"epll-{self.size}x{self.size}-{self.components}"

    def receptive_radius(self) -> int:
        return self.size - 1


class Filters(NamedTuple):
    """A mixture at one noise level; per component k, of rank r."""

    heights: Tensor  # (K,), log π − log det/2
    flat: Tensor  # (K,), 1/v_t
    sharp: list[Tensor]  # (r, D), √(1/v_t − 1/v_i) u_i
    axes: list[Tensor]  # (r, D), u_i
    gains: list[Tensor]  # (r, D), (λ_i/v_i − t/v_t) u_i
    dull: list[float]  # t/v_t, of all that the axes leave


@torch.no_grad()
def likeliest(c: Tensor, filters: Filters) -> Tensor:
    """The component of the highest posterior: (D, n) -> (n,)."""
    scores = torch.addcmul(filters.heights[:, None], filters.flat[:, None], c.square().sum(0), value=-0.5)
    for score, rows in zip(scores, filters.sharp, strict=True):
        if len(rows):
            score.add_((rows @ c).square_().sum(0), alpha=0.5)
    return scores.argmax(0)


def wiener(c: Tensor, component: Tensor, filters: Filters) -> Tensor:
    """Each column of c, (D, n), by the Wiener filter of its component, (n,)."""
    order = component.argsort()
    numbers = component.bincount(minlength=len(filters.dull)).tolist()
    done = [
        torch.addmm(part, gain.T, axes @ part, beta=dull)
        for part, axes, gain, dull in zip(
            c[:, order].split(numbers, 1), filters.axes, filters.gains, filters.dull, strict=True
        )
        if part.shape[1]
    ]
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order), device=order.device)
    return torch.cat(done, 1)[:, back]
