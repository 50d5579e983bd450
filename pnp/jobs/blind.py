"""The kernel of a picture that was blurred in no known way: free form, from coarse to fine.

On each scale two ordinary problems alternate, on the differences Dy of the picture along rows and columns:

    x <- argmin ‖k ∗ x − Dy‖²/2 + lam ‖x‖₀                 edges: `L0` behind `Blur`, by HQS
    k <- argmin ‖x ∗ k − Dy‖²/2 + (spread/2)‖k‖², k >= 0   `Simplex(total=None)` behind `ConvolveWith`, by FISTA

L0 changes the height of edges, so the sum of k is free there and is divided out afterwards.  Then the kernel is drawn
to what the picture's power spectrum says of its size (`Evidence.drawn`).
L0 after Xu, Zheng & Jia 2013; the spectrum beside it, and its choice among several kernels, are ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..core.loop import solve
from ..core.problem import Problem
from ..core.result import Result
from ..core.schedules import Geometric
from ..operators.blur import Blur
from ..operators.borders import ValidBlur
from ..operators.convolve import ConvolveWith
from ..priors.bounds import Simplex
from ..priors.sparse import L0
from ..solvers.hqs import HQS
from ..solvers.proximal import FISTA
from .evidence import DITHER, Evidence, Model


class Tuning(NamedTuple):
    """Numbers of the search, set on shakes of training pictures."""

    edges: tuple[float, float] = (1e-3, 2.5e-4)  # lam, on the coarsest and on the finest scale
    tau: tuple[float, float] = (100.0, 0.01)  # of the image step
    image_steps: int = 14
    kept: float = 0.3  # of the edges, for the kernel step
    spread: float = 0.3  # in units of ‖x‖²
    kernel_steps: int = 40
    least: float = 0.07  # of a kernel's peak: less is cut off
    ratio: float = 0.7071  # of one scale to the next finer one
    rounds: int = 5  # on each scale
    first: int = 7  # side of the kernel on the coarsest scale
    pull: float = 0.1
    pull_steps: int = 12


TUNING = Tuning()
OTHER = Tuning(edges=(2e-3, 1.5e-4), spread=2.0, least=0.05, rounds=4, first=5, pull=0.2, kernel_steps=25)
TUNINGS = (TUNING, OTHER)  # as good as each other on average, and they err in different ways


class NoEdges(ValueError):
    """A picture in which nothing tells a kernel."""


class Found(NamedTuple):
    """A kernel (k, k) of odd side, and how its blur fits the spectrum (`Evidence`); None where nothing can be told."""

    kernel: Tensor
    fit: Model | None
    result: Result


def estimate(y: Tensor, side: int, tuning: Tuning = TUNING) -> Found:
    """The kernel of at most side × side pixels that blurred y (1, H, W), centred on its own centre of mass."""
    sides = [side]
    while sides[-1] * tuning.ratio >= tuning.first - 1:
        sides.append(max(3, round(side * tuning.ratio ** len(sides))))
    schedule = Geometric(*tuning.edges, steps=len(sides) * tuning.rounds)
    kernel, k = _point(y), 0
    for scale, s in reversed(list(enumerate(sides))):
        s += 1 - s % 2
        part = y if scale == 0 else _smaller(y, tuning.ratio**scale)
        kernel, scene = _resized(kernel, s), Scene(part, s, tuning)
        for _ in range(tuning.rounds):
            kernel, result = scene.round(kernel, float(schedule(k)))
            k += 1
    fit = scene.evidence.explain(ValidBlur(kernel.double())) if scene.evidence.usable else None
    return Found(kernel, fit, result)


class Scene:
    """A picture (1, H, W) on one scale, for rounds of an image step and a kernel step."""

    def __init__(self, y: Tensor, side: int, tuning: Tuning) -> None:
        self.tuning, self.side = tuning, side
        self.evidence = Evidence(y, dither=DITHER)
        self.edges = _differences(tapered(y, side))[None]  # (1, 2, H + 2 side, W + 2 side)
        rim, half = slice(side, -side), side // 2
        wider = slice(side - half, half - side)
        self.inner, self.seen = (..., wider, wider), self.edges[..., rim, rim].contiguous()

    def round(self, kernel: Tensor, lam: float) -> tuple[Tensor, Result]:
        """The kernel after an image step, a kernel step and a pull; the result of the kernel step."""
        t = self.tuning
        x = _strongest(self.image_step(kernel, lam), t.kept)
        power = float(x.square().sum())
        result = solve(
            Problem(ConvolveWith(x[0], self.side), self.seen, Simplex(None, t.spread * power), sigma=1.0, lam=1.0),
            FISTA(iterations=t.kernel_steps), x0=kernel[None, None], stop=[], record=(),
        )  # fmt: skip
        if bool(result.x.any()):  # else nothing of x is in Dy, and the kernel stays
            kernel = pruned(result.x[0, 0], t.least)
        if t.pull and self.evidence.usable and 3 * self.side < min(self.evidence.size):
            kernel = pruned(self.evidence.drawn(kernel, t.pull, t.pull_steps).to(kernel), t.least)
        return centred(kernel), result

    def image_step(self, kernel: Tensor, lam: float) -> Tensor:
        """The edges x of the picture that the kernel blurred; with a smaller lam where this one leaves none.

        Raises NoEdges where the picture has none.
        """
        hqs = HQS(tau=Geometric(*self.tuning.tau), iterations=self.tuning.image_steps)
        for weaker in range(12):
            sharp = Problem(Blur(kernel), self.edges, L0(), sigma=1.0, lam=lam / 2**weaker)
            x = solve(sharp, hqs, x0=self.edges, stop=[], record=()).x[self.inner]
            if bool(x.any()):
                return x
        raise NoEdges("the picture has no edges.")


def tapered(y: Tensor, width: int) -> Tensor:
    """y (1, H, W), `width` wider on each side: its border repeated, and drawn to a value that both ends share.

    So a periodic blur of it has no step at its seam.
    """
    z = pad(y[None], (width,) * 4, mode="replicate")[0]
    rise = torch.sin(math.pi / 2 * (torch.arange(width, dtype=y.dtype) + 0.5) / width).square()
    for axis in (-2, -1):
        n = z.shape[axis]
        ends = (z.select(axis, 0) + z.select(axis, n - 1)).unsqueeze(axis) / 2
        weight = torch.cat([rise, torch.ones(n - 2 * width, dtype=y.dtype), rise.flip(0)])
        weight = weight.view((-1, 1) if axis == -2 else (1, -1))
        z = weight * z + (1 - weight) * ends
    return z


def pruned(kernel: Tensor, least: float) -> Tensor:
    """Without what is less than this part of its peak."""
    kernel = torch.where(kernel < least * kernel.max(), 0.0, kernel)
    return kernel / kernel.sum()


def moments(kernel: Tensor) -> list[tuple[float, float]]:
    """Mean and variance of the place of the kernel's weight, in pixels, along each axis."""
    found = []
    for axis, n in enumerate(kernel.shape):
        profile, t = kernel.sum(1 - axis) / kernel.sum(), torch.arange(n, dtype=kernel.dtype)
        mean = (profile * t).sum()
        found.append((float(mean), float((profile * (t - mean).square()).sum())))
    return found


def centred(kernel: Tensor) -> Tensor:
    """Moved by whole pixels, so that its centre of mass is nearest to its middle."""
    moves = [n // 2 - round(mean) for n, (mean, _) in zip(kernel.shape, moments(kernel), strict=True)]
    return kernel.roll(moves, (0, 1))


def _differences(x: Tensor) -> Tensor:
    """(2, H, W): forward differences along columns and rows, periodic."""
    return torch.cat([x.roll(-1, -1) - x, x.roll(-1, -2) - x])


def _strongest(x: Tensor, share: float) -> Tensor:
    """x (1, 2, H, W) at this share of its pixels, the largest ones, else 0."""
    size = x.square().sum(1, keepdim=True)
    level = size.flatten().kthvalue(max(1, int((1 - share) * size.numel()))).values
    return x * (size >= level)


def _point(y: Tensor) -> Tensor:
    """3 × 3: nearly no blur."""
    kernel = torch.zeros(3, 3, dtype=y.dtype)
    kernel[1], kernel[:, 1], kernel[1, 1] = 0.1, 0.1, 0.6
    return kernel


def _resized(kernel: Tensor, side: int) -> Tensor:
    if len(kernel) == 3 < side:
        return pad(kernel, ((side - 3) // 2,) * 4)
    k = interpolate(kernel[None, None], size=(side, side), mode="bicubic", align_corners=False)[0, 0].clamp_min(0)
    return k / k.sum()


def _smaller(y: Tensor, ratio: float) -> Tensor:
    size = [max(1, round(n * ratio)) for n in y.shape[-2:]]
    return interpolate(y[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]
