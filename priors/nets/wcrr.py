"""The weakly convex ridge regulariser: a learned function of the picture whose denoising problem is convex."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from ...linalg import dct_basis, dot, norm
from .base import Network, Part

GREY = 0.5  # what the picture is continued with: an isometry but for a shift, so that ‖W‖ is the filters' own
REACH, CELLS = 3.0, 100  # φ is linear between CELLS + 1 knots of [0, REACH], and constant beyond
KNOTS, TOP = 11, 50 / 255  # of log α(sigma)
FLOOR = 1e-3  # added to sigma
MU, RISE, FALL, ALPHA = 15.0, 0.15, 0.7, 4.0  # where learning begins: μ, where φ turns, how it falls, α sigma
FAST = 4.0  # of the variables that may move faster than a filter's weight
GRID, COARSE = 512, 64  # frequencies along each axis where ‖W‖ is measured; while it learns, a few percent too low
TOLERANCE = 1e-3  # of sigma: the root mean square of the gradient at which the minimiser is reached
LIMIT = 500  # iterations
AT_ONCE = 4  # pictures, while it learns
LEARNING = (24, 10)  # iterations, and those of conjugate gradients, while it learns
SEEN = 8.0  # times sigma: the responses of a filter of unit length at which its potential is drawn
BLOCK = 64  # side of the blocks that a gradient is computed in: their responses stay in the cache


class WCRR(Network):
    """N(x, sigma) = x − argmin_z ½‖z − x‖² + R_sigma(z), R a sum of ridges that is weakly convex with modulus 1.

        R_sigma(x) = Σᵢ ⟨1, ψᵢ(Wᵢ x)⟩,  ψᵢ'(t) = φ(αᵢ(sigma) t)/αᵢ(sigma),  φ = μ φ₊ − φ₋

    φ₊, φ₋: odd linear splines with slopes in [0, 1], the same for all i.  W: three convolutions of 5 × 5 with 4, 8 and
    60 channels, their sum zero, divided by ‖W‖, which the Fourier transform of the composed filters gives.  So
    −1 <= φ' <= μ and −I <= ∇²R <= μ I: the problem is convex and its gradient has the Lipschitz constant 1 + μ.
    αᵢ(sigma) = exp(aᵢ(sigma))/(sigma + 0.001), aᵢ a linear spline of the noise level.  Outside, the picture is grey.
    x: (B, 1, H, W); sigma: a number or (B, 1, 1, 1), in image units.

    The minimiser is found by gradient descent with momentum and restart; while it learns, its derivative is that of the
    equation z + ∇R(z) = x.
    Goujon, Neumayer & Unser 2024, sections 3 and 4; the border and the variables of the splines are ours.
    """

    lr = 1.5e-2
    batch, patch = 8, 40
    tile = 4096  # the minimiser is one of the whole picture

    def __init__(self, channels: int = 1, layers: tuple[int, int, int] = (4, 8, 60), size: int = 5) -> None:
        super().__init__()
        if channels != 1:
            raise ValueError(f"wcrr takes one channel, not {channels}. It denoises colour channel by channel.")
        if size % 2 == 0 or size < 3:
            raise ValueError(f"size is {size}; expected an odd number of pixels, 3 at least.")
        self.channels, self.layers, self.size = channels, tuple(layers), size
        self.kernels = nn.ParameterList(_derivatives(layers, size))
        middle = (torch.arange(CELLS) + 0.5) * (REACH / CELLS)
        rising = 1 / (1 + (middle / RISE) ** 6)
        self.rising = nn.Parameter(_logit(rising))  # the slopes of φ₊
        self.falling = nn.Parameter(_logit(FALL * (1 - rising)))  # those of φ₋
        self.log_mu = nn.Parameter(torch.tensor(math.log(MU) / FAST))
        self.log_alpha = nn.Parameter(torch.full((layers[-1], KNOTS), math.log(ALPHA) / FAST))

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).flatten().expand(len(x))
        half = torch.is_autocast_enabled(x.device.type)
        dtype = torch.get_autocast_dtype(x.device.type) if half else x.dtype
        learns = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters()))
        with torch.autocast(x.device.type, enabled=False):
            ridge, count = self.at(level, dtype if learns else None), AT_ONCE if learns else 1
            parts = zip(x.split(count), ridge.alpha.split(count), level.split(count), strict=True)
            done = [
                implicit(y, replace(ridge, alpha=alpha))
                if learns
                else minimise(y, replace(ridge, alpha=alpha), LIMIT, TOLERANCE * float(s))
                for y, alpha, s in parts
            ]
            return x - torch.cat(done)

    def at(self, sigma: float | Tensor, dtype: torch.dtype | None = None) -> Ridge:
        """R_sigma, at a noise level for each picture; dtype: of the convolutions."""
        levels = torch.as_tensor(sigma, dtype=self.log_alpha.dtype, device=self.log_alpha.device).flatten()
        forth = [k.to(dtype) for k in self.filters()]
        back = [k.flip(2, 3).transpose(0, 1).contiguous() for k in reversed(forth)]
        return Ridge(forth, back, self.alpha(levels), self.profile())

    def filters(self) -> list[Tensor]:
        """W in two layers, the small first ones composed; ‖W‖ = 1."""
        first, *others = self.kernels
        kernels = [first - first.mean((2, 3), keepdim=True), *others]
        whole = composed(kernels)
        scale = (crest(whole, COARSE) if self.training else peak(whole, GRID)).sqrt()
        return [composed(kernels[:-1]), kernels[-1] / scale]

    def alpha(self, sigma: Tensor) -> Tensor:
        """α at noise levels (B,), (B, filters, 1, 1)."""
        at = (sigma / TOP * (KNOTS - 1)).clamp(0, KNOTS - 1)
        cell = at.floor().clamp_max(KNOTS - 2).long()
        log = FAST * torch.lerp(self.log_alpha[:, cell], self.log_alpha[:, cell + 1], at - cell)  # (filters, B)
        return (log.exp() / (sigma + FLOOR)).T[..., None, None]

    def profile(self) -> Profile:
        """φ = μ φ₊ − φ₋."""
        mu = (FAST * self.log_mu).exp()
        slopes = mu * torch.sigmoid(FAST * self.rising) - torch.sigmoid(FAST * self.falling)
        step = REACH / CELLS
        half = torch.cat([slopes.new_zeros(1), step * slopes.cumsum(0)]).clamp_min(0)  # ψ rises: R is bounded below
        heights = torch.cat([half.new_zeros(1), step * ((half[1:] + half[:-1]) / 2).cumsum(0)])
        return Profile(torch.cat([-half.flip(0)[:-1], half]), torch.cat([heights.flip(0)[:-1], heights]))

    def config(self) -> dict[str, Any]:
        return {"channels": self.channels, "layers": self.layers, "size": self.size}

    def parts(self, sigma: float) -> tuple[str, list[Part]]:
        """The filters, of unit length, and the potential of each over what noise of std sigma makes of them."""
        with torch.no_grad():
            ridge = self.at(sigma)
            kernels = composed(ridge.filters)[:, 0]
            size = kernels.flatten(1).norm(dim=1)
            order = size.argsort(descending=True)
            responses = SEEN * sigma * torch.linspace(-1, 1, 101, dtype=size.dtype) * size[:, None]
            alpha = ridge.alpha.view(-1, 1)
            potentials = ridge.profile.psi(alpha * responses) / alpha**2 / sigma**2
        said = f"all {len(kernels)} filters, and potentials over responses of −{SEEN:g} to {SEEN:g} sigma"
        return said, [Part("potentials", kernels[order], potentials[order])]

    def receptive_radius(self) -> int:
        """Of the filters, there and back; the minimiser sees all, less and less."""
        return 2 * len(self.layers) * (self.size // 2)


@dataclass(frozen=True, eq=False)
class Profile:
    """An odd linear spline φ, its slope and its integral ψ, as tables over the cells of [−REACH, REACH]."""

    values: Tensor  # (2 CELLS + 1,), φ at the knots
    heights: Tensor  # (2 CELLS + 1,), ψ at the knots, ψ(0) = 0

    def phi(self, t: Tensor) -> Tensor:
        """φ(t), with gradients with respect to t and to the values; constant beyond REACH."""
        if torch.is_grad_enabled():
            return _Spline.apply(t, self.values)
        at, cell = place(t)
        rise = self.values.diff()
        base = self.values[:-1] - rise * torch.arange(2 * CELLS, dtype=rise.dtype, device=rise.device)
        return at.mul_(_look(rise, cell)).add_(_look(base, cell))

    def slopes(self) -> Tensor:
        """φ' in each cell, (2 CELLS,)."""
        return self.values.diff() * (CELLS / REACH)

    def slope(self, t: Tensor) -> Tensor:
        """φ'(t); 0 beyond REACH."""
        return _look(self.slopes(), place(t)[1]) * (t.abs() < REACH)

    def psi(self, t: Tensor) -> Tensor:
        """ψ(t) = ∫₀ᵗ φ: a parabola in each cell, a line beyond REACH."""
        at, cell = place(t)
        share, step = at - cell, REACH / CELLS
        low, rise = _look(self.values[:-1], cell), _look(self.values.diff(), cell)
        inside = _look(self.heights[:-1], cell) + step * share * (low + rise * share / 2)
        return inside + self.values[-1] * (t.abs() - REACH).clamp_min(0)


@dataclass(frozen=True, eq=False)
class Ridge:
    """R at one noise level: what the network is for one picture, once sigma is known.

        R(x)  = Σᵢ ⟨1, ψ(αᵢ Wᵢ x)⟩/αᵢ²
        ∇R(x) = Σᵢ Wᵢᵀ φ(αᵢ Wᵢ x)/αᵢ

    filters, mirrored: of W and of Wᵀ, one tensor a layer.  alpha: (B, filters, 1, 1).
    Without gradients the work is done in blocks of pixels, which stay in the cache: the same result.
    """

    filters: list[Tensor]
    mirrored: list[Tensor]
    alpha: Tensor
    profile: Profile

    def value(self, x: Tensor) -> Tensor:
        """R(x), (B,)."""
        seen, total = pad(x - GREY, [self.margin] * 4), x.new_zeros(len(x))
        for rows, columns in self._windows(seen):
            t = self.alpha * self.forth(seen[..., rows, columns])
            total = total + (self.profile.psi(t) / self.alpha**2).flatten(1).sum(1)
        return total

    def grad(self, x: Tensor) -> Tensor:
        """∇R(x)."""
        seen = pad(x - GREY, [self.margin] * 4)
        if torch.is_grad_enabled():
            return self._cropped(self.back(self._flux(self.forth(seen))))
        total = torch.zeros_like(seen)
        for rows, columns in self._windows(seen):
            total[..., rows, columns] += self.back(self._flux(self.forth(seen[..., rows, columns])))
        return self._cropped(total)

    def bend(self, x: Tensor) -> Tensor:
        """φ'(αᵢ Wᵢ x), (B, filters, H, W), the diagonal of ∇²R(x) = Wᵀ diag(φ') W."""
        return self.profile.slope(self.alpha * self.forth(pad(x - GREY, [self.margin] * 4)))

    def curved(self, v: Tensor, bend: Tensor) -> Tensor:
        """∇²R v."""
        return self._cropped(self.back(bend * self.forth(pad(v, [self.margin] * 4))))

    @property
    def margin(self) -> int:
        """Pixels that a composed filter reaches to each side."""
        return sum(kernel.shape[-1] // 2 for kernel in self.filters)

    def forth(self, seen: Tensor) -> Tensor:
        """W v, (B, filters, H, W), for v with a margin on each side."""
        z = seen.to(self.filters[0].dtype)
        for kernel in self.filters:
            z = conv2d(z, kernel)
        return z.to(seen.dtype)

    def back(self, z: Tensor) -> Tensor:
        """Wᵀ z, with a margin on each side."""
        v = z.to(self.mirrored[0].dtype)
        for kernel in self.mirrored:
            v = conv2d(v, kernel, padding=kernel.shape[-1] - 1)
        return v.to(z.dtype)

    def norm_squared(self) -> float:
        """‖W‖², at most; it is 1 but for rounding."""
        return float(peak(composed(self.filters), GRID))

    def to(self, like: Tensor) -> Ridge:
        """The same in the format of `like`, and where it is."""
        filters, mirrored = ([kernel.to(like) for kernel in layers] for layers in (self.filters, self.mirrored))
        profile = Profile(self.profile.values.to(like), self.profile.heights.to(like))
        return Ridge(filters, mirrored, self.alpha.to(like), profile)

    def detached(self) -> Ridge:
        """The same, whose variables do not learn."""
        filters, mirrored = ([kernel.detach() for kernel in layers] for layers in (self.filters, self.mirrored))
        profile = Profile(self.profile.values.detach(), self.profile.heights.detach())
        return Ridge(filters, mirrored, self.alpha.detach(), profile)

    def _flux(self, z: Tensor) -> Tensor:
        flux = self.profile.phi(self.alpha * z)
        return flux / self.alpha if torch.is_grad_enabled() else flux.div_(self.alpha)

    def _windows(self, seen: Tensor) -> Iterator[tuple[slice, slice]]:
        """The rows and columns that blocks of BLOCK × BLOCK pixels see, their margins among them."""
        h, w = (n - 2 * self.margin for n in seen.shape[-2:])
        for i in range(0, h, BLOCK):
            for j in range(0, w, BLOCK):
                ends = min(i + BLOCK, h) + 2 * self.margin, min(j + BLOCK, w) + 2 * self.margin
                yield slice(i, ends[0]), slice(j, ends[1])

    def _cropped(self, seen: Tensor) -> Tensor:
        m = self.margin
        return seen[..., m:-m, m:-m]


def minimise(y: Tensor, ridge: Ridge, iterations: int, tolerance: float = 0.0) -> Tensor:
    """argmin_x F(x) = ½‖x − y‖² + R(x), by gradient descent with Nesterov's momentum and restart, from x = y.

        x⁺ <- w − ∇F(w)/L,  L = 1 + max φ'
        t⁺ <- (1 + √(1 + 4 t²))/2;   w⁺ <- x⁺ + (t − 1)/t⁺ (x⁺ − x)

    F(x⁺) <= F(w) − ‖∇F(w)‖²/(2L) and, F being convex, F(w) <= F(x) + ⟨∇F(w), w − x⟩.  Where the sum of both does not
    show that F falls, the step is made from x in place of w.  So F never rises, and need not be computed.
    y: (B, 1, H, W).  It ends when the root mean square of ∇F(w) is at most `tolerance`, 0 for never, in all pictures.
    Nesterov 1983; restart: O'Donoghue & Candès 2015, section 3.2, with half their threshold.
    """
    steepest, least = 1 + ridge.profile.slopes().max(), tolerance * y[0].numel() ** 0.5
    x, w, t = y, y, y.new_ones(len(y), 1, 1, 1)
    for _ in range(iterations):
        g = w - y + ridge.grad(w)
        size = norm(g)
        falls = dot(g, w - x) <= size**2 / (2 * steepest)
        new = torch.where(falls, w - g / steepest, x)
        grown = (1 + (1 + 4 * t**2).sqrt()) / 2
        w = torch.where(falls, new + (t - 1) / grown * (new - x), x)
        x, t = new, torch.where(falls, grown, 1.0)
        if tolerance and bool((falls & (size <= least)).all()):
            break
    return x


def implicit(y: Tensor, ridge: Ridge) -> Tensor:
    """The minimiser with its derivative, by that of z + ∇R(z) = y.

    (I + ∇²R(z)) dz = dy − d∇R(z): a gradient v goes back as (I + ∇²R)⁻¹ v, which conjugate gradients find.
    """
    still, (iterations, inner) = ridge.detached(), LEARNING
    with torch.no_grad():
        z = minimise(y.detach(), still, iterations)
        bend = still.bend(z).to(still.filters[0].dtype)
    implied = y - ridge.grad(z)
    implied.register_hook(lambda v: _inverse(v, lambda d: d + still.curved(d, bend), inner))
    return z + (implied - implied.detach())


def _inverse(b: Tensor, apply: Callable[[Tensor], Tensor], iterations: int) -> Tensor:
    """x with (I + H) x = b by conjugate gradients, apply(x) = (I + H) x."""
    with torch.no_grad():
        x, r, p = torch.zeros_like(b), b, b
        left = dot(r, r)
        for _ in range(iterations):
            q = apply(p)
            step = left / dot(p, q).clamp_min(1e-30)
            x, r = x + step * p, r - step * q
            left, before = dot(r, r), left
            p = r + left / before.clamp_min(1e-30) * p
        return x


def composed(kernels: list[Tensor]) -> Tensor:
    """The filters that the layers make together, (filters, 1, side, side)."""
    whole = kernels[0]
    for kernel in kernels[1:]:  # two correlations, one after the other, are one by the convolution of their kernels
        m = kernel.shape[-1] - 1
        whole = conv2d(pad(whole.transpose(0, 1), [m] * 4), kernel.flip(2, 3)).transpose(0, 1)
    return whole


def peak(whole: Tensor, grid: int) -> Tensor:
    """‖W‖² = max over all frequencies of Σᵢ |ŵᵢ|², at most: whole (filters, 1, side, side).

    The sum is a trigonometric polynomial of degree d = side − 1 along each axis: between the points of a grid of n it
    is at most 1/cos(π d/n) times the highest of them, once for each axis (Ehlich & Zeller 1964).
    """
    return crest(whole, grid) / math.cos(math.pi * (whole.shape[-1] - 1) / grid) ** 2


def crest(whole: Tensor, grid: int) -> Tensor:
    """max over a grid of frequencies of Σᵢ |ŵᵢ|²."""
    bank, d = whole.transpose(0, 1), whole.shape[-1] - 1  # (1, filters, side, side)
    correlation = conv2d(pad(bank, [d] * 4), bank)[0, 0]  # (2d + 1, 2d + 1), of the bank with itself
    return torch.fft.rfft2(correlation, s=(grid, grid)).abs().max()


def place(t: Tensor) -> tuple[Tensor, Tensor]:
    """t in cells from −REACH, brought into the table, and its cell, int32."""
    last = 2 * CELLS * (1 - 2 * torch.finfo(t.dtype).eps)  # in the last cell
    at = t.mul(CELLS / REACH).add_(CELLS).clamp_(0, last)
    return at, at.to(torch.int32)


def _look(table: Tensor, cell: Tensor) -> Tensor:
    return table.index_select(0, cell.flatten()).view_as(cell)


class _Spline(torch.autograd.Function):
    """φ(t) between the knots: t, values (2 CELLS + 1,) -> the shape of t."""

    @staticmethod
    def forward(ctx: Any, t: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(t, values)
        return Profile(values, values).phi(t)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        t, values = ctx.saved_tensors
        at, cell = place(t)
        table = torch.zeros_like(values)
        high = grads[0] * (at - cell)
        table[1:].index_add_(0, cell.flatten(), high.flatten())
        table[:-1].index_add_(0, cell.flatten(), (grads[0] - high).flatten())
        return grads[0] * Profile(values, values).slope(t), table


def _derivatives(layers: tuple[int, int, int], size: int) -> list[Tensor]:
    """The first kernels: differences of neighbours, mixtures of them, and of each mixture a wave of the DCT."""
    centre, waves = size // 2, dct_basis(size).float().view(-1, 1, size, size)
    first = torch.zeros(layers[0], 1, size, size)
    for i, kernel in enumerate(first):
        down, right = ((0, 1), (1, 0), (1, 1), (1, -1))[i % 4]
        kernel[0, centre, centre], kernel[0, centre + down, centre + right] = -1, 1
    second = torch.zeros(layers[1], layers[0], size, size)
    second[:, :, centre, centre] = torch.randn(layers[1], layers[0]) / math.sqrt(layers[0])
    third = torch.randn(layers[2], layers[1], 1, 1) / math.sqrt(layers[1])
    third = third * waves[torch.arange(layers[2]) % len(waves)]
    return [kernel + 0.02 * torch.randn(kernel.shape) for kernel in (first, second, third)]


def _logit(share: Tensor) -> Tensor:
    """The variable whose sigmoid, sped up, is `share`."""
    return torch.logit(share.clamp(0.02, 0.98)) / FAST
