"""Trainable nonlinear reaction diffusion: a few explicit steps of a learned diffusion that can be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, fold, unfold

from ... import linalg
from .base import Network, Part

NODES = torch.arange(-310.0, 311.0, 10.0, dtype=torch.float64)  # centres of the radial basis functions, grey levels
WIDTH = 10.0  # their standard deviation
REACH, FINE = 350.0, 0.1  # beyond REACH every function is 0 (to 1e-3 of its height); tables have this spacing
BLOCK = 128  # side of the blocks that inference works on: their responses stay in the cache


class Stage(nn.Module):
    """One step of diffusion: Σᵢ k̄ᵢ ∗ φᵢ(kᵢ ∗ u).

    coefficients: (filters, size² − 1); kᵢ = Bᵀcᵢ/‖cᵢ‖ with B the DCT basis without its constant.
    values: (filters, 63), φᵢ at the nodes; φᵢ(z) = Σⱼ wᵢⱼ exp(−(z − μⱼ)²/(2·10²)) runs through them.  The same
    functions as with w for parameters, but a step of descent in the values is well conditioned (the Gram matrix of the
    Gaussians has condition 70).
    log_rate: p, λ = exp(p).
    """

    def __init__(self, filters: int, size: int, sigma: float) -> None:
        super().__init__()
        self.size = size
        basis = linalg.dct_basis(size)[1:]
        nodes = NODES.expand(filters, -1)
        self.coefficients = nn.Parameter(torch.eye(len(basis))[torch.arange(filters) % len(basis)])
        self.values = nn.Parameter((0.01 * nodes / (1 + (nodes / (2 * 255 * sigma)) ** 2)).float())
        self.log_rate = nn.Parameter(torch.tensor(math.log(0.1)))
        gaussians = _gaussians(NODES)
        fine = torch.arange(-REACH, REACH + FINE / 2, FINE, dtype=torch.float64)
        inverse = torch.linalg.inv(gaussians)  # values -> w
        self.basis: Tensor
        self.heights: Tensor
        self.slopes: Tensor
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("heights", (_gaussians(fine) @ inverse).T.float(), persistent=False)
        self.register_buffer("slopes", (_slopes(fine) @ inverse).T.float(), persistent=False)

    def kernels(self) -> Tensor:
        """(filters, size²), of unit norm and zero mean."""
        return nn.functional.normalize(self.coefficients, dim=1) @ self.basis

    def forward(self, u: Tensor) -> Tensor:
        """u: (B, 1, H + 4r, W + 4r), padded by twice the filters' radius r; returns (B, 1, H, W)."""
        k, r = self.kernels(), self.size // 2
        tall = u.reshape(1, 1, -1, u.shape[-1])  # one picture above the other: what crosses a seam is cut off below
        response = k @ unfold(tall, self.size)[0]  # (filters, pixels)
        flux = _Influence.apply(response, self.values @ self.heights, self.values.detach() @ self.slopes)
        back = fold((k.T @ flux)[None], tall.shape[-2:], self.size)  # fold is the adjoint of unfold
        return back.view(u.shape)[..., 2 * r : -2 * r, 2 * r : -2 * r]


class TRD(Network):
    """N(x, sigma) of the denoiser D(x, sigma) = x − N(x, sigma): T steps of a trained diffusion from f = x.

        u <- u − (Σᵢ k̄ᵢ ∗ φᵢ(kᵢ ∗ u) + λ (u − f))

    on the scale of 255 grey levels, borders mirrored anew at each step.  Trained at one noise level s0 = `level`, and
    carried to others by scale: D_s(x) = (s/s0) D_{s0}(x s0/s).

    noise = "poisson": x = gain · counts, sigma = √gain, the noise of a white pixel.  The reaction is then the prox of
    λ (u − f log u), after the diffusion's step to v; and a gain is another scale: D_s(x) = (s/s0)² D_{s0}(x (s0/s)²).

        u <- (v − λ + √((v − λ)² + 4 λ f)) / 2

    x: (B, 1, H, W); sigma: a number or (B, 1, 1, 1), in image units.
    Chen, Yu & Pock 2015; Chen & Pock 2017 (TNRD), eqs. 6 to 8, and section 5 for other data terms.
    """

    lr = 0.03
    level: float
    tile = 4096  # a stage works on blocks by itself, so that tiling, with its margins, is for giants alone

    def __init__(
        self,
        channels: int = 1,
        size: int = 5,
        stages: int = 5,
        sigma: float = 25 / 255,
        filters: int | None = None,
        noise: Literal["gaussian", "poisson"] = "gaussian",
    ) -> None:
        super().__init__()
        if channels != 1:
            raise ValueError(f"trd takes one channel, not {channels}. It denoises colour channel by channel.")
        if size % 2 == 0 or size < 3:
            raise ValueError(f"size is {size}; expected an odd number of pixels, 3 at least.")
        self.channels, self.size, self.level, self.noise = channels, size, sigma, noise
        self.filters = filters or size**2 - 1
        self.stages = nn.ModuleList(Stage(self.filters, size, sigma) for _ in range(stages))
        self.used = stages

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        scale = 255 * (self.level / level.clamp_min(1e-3 * self.level)) ** (2 if self.noise == "poisson" else 1)
        with torch.autocast(x.device.type, enabled=False):
            f = u = x * scale
            for i, stage in enumerate(self.stages[: self.used]):
                with torch.set_grad_enabled(torch.is_grad_enabled() and (i >= self.fixed or x.requires_grad)):
                    u = self.advance(stage, u, f)
            return (f - u) / scale

    def advance(self, stage: nn.Module, u: Tensor, f: Tensor) -> Tensor:
        """One step of diffusion and reaction, in grey levels."""
        assert isinstance(stage, Stage)
        diffusion = (stage if torch.is_grad_enabled() else blockwise(stage))(mirror(u, 2 * (self.size // 2)))
        rate = stage.log_rate.exp()
        if self.noise == "gaussian":
            return u - diffusion - rate * (u - f)
        v = u - diffusion - rate
        return (v + (v.square() + 4 * rate * f.clamp_min(0) + 1e-6).sqrt()) / 2  # 1e-6: a slope at v = f = 0

    def config(self) -> dict[str, Any]:
        return {
            "channels": self.channels,
            "size": self.size,
            "stages": len(self.stages),
            "sigma": self.level,
            "filters": self.filters,
            "noise": self.noise,
        }

    def title(self) -> str:
        kind = "" if self.noise == "gaussian" else f"{self.noise}-"
        return f"trd-{self.size}x{self.size}-{len(self.stages)}-{kind}sigma{255 * self.level:.0f}"

    def parts(self, sigma: float) -> tuple[str, list[Part]]:
        """Every filter of every stage with its influence function φ over the responses that occur; act most first."""
        rows, seen = [], NODES.abs() <= 155
        for number, stage in enumerate(self.stages, 1):
            assert isinstance(stage, Stage)
            values = stage.values.detach()
            order = values.abs().sum(1).argsort(descending=True)
            kernels = stage.kernels().detach().view(-1, self.size, self.size)
            rows.append(Part(f"stage {number}", kernels[order], values[order][:, seen]))
        return (
            f"all {self.filters} filters of each stage, and influence functions over responses of −150 to 150 grey "
            "levels",
            rows,
        )

    def receptive_radius(self) -> int:
        """Two filters a stage."""
        return 2 * (self.size // 2) * len(self.stages)


class _Influence(torch.autograd.Function):
    """φᵢ(z) from tables: (filters, pixels) and (filters, entries) -> (filters, pixels), the nearest entry.

    63 exponentials a response would take a hundred times as long.  The slope has its own table; the gradient with
    respect to the table is the sum over the responses that fell on each entry.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, table: Tensor, slope: Tensor) -> Tensor:
        entries = table.shape[1]
        first = torch.arange(len(table), dtype=torch.int32, device=z.device)[:, None] * entries
        place = z.mul(1 / FINE).add_(REACH / FINE + 0.5).clamp_(0, entries - 1).to(torch.int32).add_(first)
        ctx.save_for_backward(place, slope)
        return table.flatten().index_select(0, place.flatten()).view_as(z)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        place, slope = ctx.saved_tensors
        flat, g = place.flatten(), grads[0].contiguous()
        table = torch.zeros_like(slope).flatten().index_add_(0, flat, g.flatten()).view_as(slope)
        return g * slope.flatten().index_select(0, flat).view_as(g), table, None


def blockwise(stage: Stage) -> Callable[[Tensor], Tensor]:
    """The stage without gradients, block by block: the same result in half the time and in bounded memory.

    The filters give the place in the table at once: they are divided by its spacing, and a bias leads to each filter's
    own part of it.
    """
    size, margin = stage.size, 4 * (stage.size // 2)
    kernels, table = stage.kernels(), stage.values @ stage.heights
    entries = table.shape[1]
    first = torch.arange(0.0, table.numel(), entries, dtype=kernels.dtype, device=kernels.device)[:, None]
    weight, bias = (kernels / FINE).view(-1, 1, size, size), first.flatten() + (REACH / FINE + 0.5)
    flat, transposed = table.flatten(), kernels.T.contiguous()

    def one(u: Tensor) -> Tensor:
        place = conv2d(u, weight, bias)[0].flatten(1)
        flux = flat.index_select(0, place.clamp_(first, first + (entries - 1)).to(torch.int32).flatten())
        back = fold((transposed @ flux.view_as(place))[None], u.shape[-2:], size)
        return back[..., margin // 2 : -(margin // 2), margin // 2 : -(margin // 2)]

    def run(u: Tensor) -> Tensor:
        h, w = u.shape[-2] - margin, u.shape[-1] - margin
        out = u.new_empty(*u.shape[:-2], h, w)
        for b in range(len(u)):
            for i in range(0, h, BLOCK):
                for j in range(0, w, BLOCK):
                    part = u[b : b + 1, :, i : i + BLOCK + margin, j : j + BLOCK + margin]
                    out[b : b + 1, :, i : i + BLOCK, j : j + BLOCK] = one(part)
        return out

    return run


def mirror(u: Tensor, margin: int) -> Tensor:
    """u continued by its reflection, the border pixel repeated, as often as needed."""
    for axis in (-2, -1):
        n = u.shape[axis]
        place = torch.arange(-margin, n + margin, device=u.device) % (2 * n)
        u = u.index_select(axis, torch.where(place < n, place, 2 * n - 1 - place))
    return u


def _gaussians(z: Tensor) -> Tensor:
    """exp(−(z − μⱼ)²/(2·10²)), (len(z), 63)."""
    return torch.exp(-((z[:, None] - NODES) ** 2) / (2 * WIDTH**2))


def _slopes(z: Tensor) -> Tensor:
    return -(z[:, None] - NODES) / WIDTH**2 * _gaussians(z)
