"""The kernel of a picture that was blurred in no known way: free form, from coarse to fine.

On each scale two problems alternate, D the differences of a picture along rows and columns:

    x <- argmin ‖k ∗ x − y‖² + lam ‖Dx‖₀                     edges, by half-quadratic splitting
    k <- argmin ‖Dx ∗ k − Dy‖²/2 + (spread/2)‖k‖², k >= 0    `Simplex(total=None)` behind `ConvolveWith`, by FISTA

Of Dx only the steepest edges count, first few, then more; lam falls as they grow in number.  L0 changes the height of
edges, so the sum of k is free there and is divided out afterwards; what lies apart from most of k is removed.
Xu, Zheng & Jia 2013 and Pan et al. 2016 (both steps); Cho & Lee 2009 (steep edges of all directions).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.fft import next_fast_len
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..core.loop import solve
from ..core.problem import Problem
from ..core.result import Result
from ..operators.blur import Blur
from ..operators.borders import ValidBlur
from ..operators.convolve import ConvolveWith
from ..priors.bounds import Simplex
from ..priors.sparse import L0
from ..progress import part
from ..solvers.proximal import FISTA
from .evidence import DITHER, FFTS, Evidence, Model

EDGES = (4e-3, 8e-3)  # lam of the first round, on the coarsest scale: two ways that err differently
STAGES = ((2, 3), (0, 3))  # the scale, RATIO to this power, and how many searches are kept there
BACK = 3  # scales from which the best one descends again
RATIO = 0.5**0.5  # of one scale to the next finer one
FIRST = 5  # side of the kernel on the coarsest scale, at least
ROUNDS = 5  # on each scale
FALL = 1.1  # by which lam and the level of edges fall in a round
LEAST_LAM = 1e-4
STIFFEST = 1e5  # beta of the last step of the splitting
SPREAD = 2.0  # of pictures from 0 to 1
KERNEL_STEPS = 25  # of FISTA
LEAST = 0.05  # of a kernel's peak: less is cut off
APART = 0.1  # of a kernel's sum: less that touches nothing else is cut off
NOTHING = 1e-4  # differences that are rounding


class NoEdges(ValueError):
    """A picture in which nothing tells a kernel."""


class Found(NamedTuple):
    """A kernel (k, k) of odd side, how its blur fits the spectrum (`Evidence`), if that tells, and its last step."""

    kernel: Tensor
    fit: Model | None
    result: Result

    @property
    def cost(self) -> float:
        return math.inf if self.fit is None else self.fit.cost


def estimates(y: Tensor, sides: Sequence[int]) -> list[Found]:
    """Kernels that may have blurred y (1, H, W), the best first, each centred on its own centre of mass.

    Searches for kernels of at most side × side pixels, for each of the sides and of EDGES, begin on the coarsest scale.
    STAGES says on which scales the spectrum chooses the best of them, and how many go on; the best one of all descends
    once more from its end.  Raises NoEdges.
    """
    starts = itertools.product(sides, EDGES)
    searches = [Search(y, side, lam, upright=i % 2 == 1) for i, (side, lam) in enumerate(starts)]
    found: list[Found] = []
    for scale, many in STAGES:
        evidence = Evidence(smaller(y, RATIO**scale), dither=DITHER * RATIO**scale, clipped=1.0)
        found = []
        for i, search in enumerate(searches):
            with part(f"estimating the kernel, scale {RATIO**scale:.2g}, search", i + 1, len(searches)):
                found.append(search.down_to(scale, evidence))
        if evidence.usable:
            order = sorted(range(len(found)), key=lambda i: found[i].cost)[:many]
            found, searches = [found[i] for i in order], [searches[i] for i in order]
    found[0] = min(found[0], searches[0].again(evidence), key=lambda each: each.cost)
    return found


class Search:
    """One way from the coarsest scale to the finest.

    side: of the kernel on the finest scale.  lam: of the first round.  upright: which pair of taps it begins with.
    """

    def __init__(self, y: Tensor, side: int, lam: float, *, upright: bool) -> None:
        self.y, self.side, self.lam = y, side, lam
        self.scale = 1 + max(STAGES[0][0], math.floor(math.log(FIRST / side, RATIO)))  # no round was made yet
        self.kernel = _pair(y, upright)
        self.rounds, self.level = 0, 0.0

    def down_to(self, scale: int, evidence: Evidence) -> Found:
        """Refined on each scale down to this one, whose spectrum is the evidence."""
        while self.scale > scale:
            self.scale -= 1
            side = math.ceil(self.side * RATIO**self.scale) // 2 * 2 + 1
            scene = Scene(smaller(self.y, RATIO**self.scale), side)
            self.kernel = _resized(self.kernel, side)
            for _ in range(ROUNDS):
                self.result = self.round(scene)
        fit = evidence.explain(ValidBlur(self.kernel.double())) if evidence.usable else None
        return Found(self.kernel, fit, self.result)

    def again(self, evidence: Evidence) -> Found:
        """From the kernel that was found once more to the finest scale, beginning BACK scales above."""
        back = min(BACK, self.rounds // ROUNDS - 1)
        self.scale += back
        self.rounds -= back * ROUNDS
        return self.down_to(0, evidence)

    def round(self, scene: Scene) -> Result:
        """An image step and a kernel step; the result of the latter."""
        weaker = FALL**-self.rounds
        edges = scene.edges(self.kernel, max(self.lam * weaker, LEAST_LAM))
        if self.rounds == 0:
            self.level = _level(edges, 2 * scene.side)
        self.rounds += 1
        self.kernel, result = scene.kernel_step(_steepest(edges, self.level * weaker), self.kernel)
        return result


class Scene:
    """A picture y (1, H, W) on one scale, for rounds of an image step and a kernel step."""

    def __init__(self, y: Tensor, side: int) -> None:
        self.side = side
        self.rim = min(range(side, side + 12), key=lambda w: sum(next_fast_len(n + 2 * w) - n for n in y.shape[1:]))
        self.wide = tapered(y, self.rim)
        self.seen = _differences(y)[None, :, :-1, :-1].contiguous()

    def edges(self, kernel: Tensor, lam: float) -> Tensor:
        """Dx (2, H − side, W − side) of the sharp picture x, as far in as Dx ∗ k is seen; with less lam if it is flat.

        Raises NoEdges where the picture has none.
        """
        cut = slice(self.rim + self.side // 2, -self.rim - self.side // 2 - 1)
        for weaker in range(12):
            found = _differences(sharpened(self.wide, kernel, lam / 2**weaker))[:, cut, cut]
            if float(found.abs().max()) > NOTHING:
                return found
        raise NoEdges("the picture has no edges.")

    def kernel_step(self, edges: Tensor, kernel: Tensor) -> tuple[Tensor, Result]:
        """The kernel that makes Dy of these edges, and the result; the old kernel where nothing of them is in Dy."""
        result = solve(
            Problem(ConvolveWith(edges, self.side, whole=True), self.seen, Simplex(None, SPREAD), sigma=1.0, lam=1.0),
            FISTA(iterations=KERNEL_STEPS), x0=kernel[None, None], stop=[], record=(),
        )  # fmt: skip
        found = result.x[0, 0]
        return centred(together(pruned(found, LEAST)) if bool(found.any()) else kernel), result


def sharpened(y: Tensor, kernel: Tensor, lam: float) -> Tensor:
    """argmin_x ‖k ∗ x − y‖² + lam ‖Dx‖₀ for a periodic y (1, H, W), nearly.

        z <- Dx where |Dx|² > lam/beta, else 0
        x <- argmin ‖k ∗ x − y‖² + beta ‖Dx − z‖²,   beta = 2 lam, 4 lam, ... up to STIFFEST

    Xu, Zheng & Jia 2013; Pan et al. 2016, algorithm 1 without the dark channel.
    """
    size = (y.shape[-2], y.shape[-1])
    transfer = Blur(kernel).transfer(size)
    assert transfer is not None
    k = transfer.to(torch.complex64)
    power, laplace, seen = k.abs().square(), _laplace(size).to(y), k.conj() * torch.fft.rfft2(y)
    x, beta = y, 2 * lam
    while beta < STIFFEST:
        z = L0().prox(_differences(x)[None], lam / (2 * beta))[0]
        x = torch.fft.irfft2((seen + beta * torch.fft.rfft2(_gathered(z))) / (power + beta * laplace), s=size)
        beta *= 2
    return x


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


def smaller(y: Tensor, ratio: float) -> Tensor:
    """y (1, H, W) made smaller, without aliasing."""
    if ratio == 1:
        return y
    size = [max(1, round(n * ratio)) for n in y.shape[-2:]]
    return interpolate(y[None], size=size, mode="bicubic", antialias=True, align_corners=False)[0]


def pruned(kernel: Tensor, least: float) -> Tensor:
    """Without what is less than this part of its peak."""
    kernel = torch.where(kernel < least * kernel.max(), 0.0, kernel)
    return kernel / kernel.sum()


def together(kernel: Tensor) -> Tensor:
    """Without pieces that touch no other and have less than APART of its sum."""
    pieces, many = label(kernel.numpy() > 0, structure=np.ones((3, 3)))
    sums = np.bincount(pieces.ravel(), kernel.numpy().ravel(), many + 1)
    kept = kernel * torch.from_numpy((sums >= APART)[pieces])
    return kept / kept.sum() if bool(kept.any()) else kernel


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
    """Dx (2, H, W) of x (1, H, W): forward differences along columns and rows, periodic."""
    return torch.cat([x.roll(-1, -1) - x, x.roll(-1, -2) - x])


def _gathered(z: Tensor) -> Tensor:
    """Dᵀz (1, H, W)."""
    return z[:1].roll(1, -1) - z[:1] + z[1:].roll(1, -2) - z[1:]


def _laplace(size: tuple[int, int]) -> Tensor:
    """Eigenvalues of DᵀD, as rfft2 orders them."""
    waves = (2 * math.pi * f(n, dtype=torch.float64) for f, n in zip(FFTS, size, strict=True))
    rows, columns = (2 - 2 * torch.cos(w) for w in waves)
    return rows[:, None] + columns


def _level(x: Tensor, many: int) -> float:
    """|Dx|² that so many pixels reach in each of four sectors of directions, of an eighth of a turn."""
    size, sector = x.square().sum(0), (torch.atan2(x[1], x[0]) / (math.pi / 4)).floor().remainder(4)
    return min(float(size[sector == q].sort(descending=True).values[:many].amin()) for q in sector.unique())


def _steepest(x: Tensor, level: float) -> Tensor:
    """Dx (2, H, W) where |Dx|² reaches the level, else 0; some of it in any case."""
    size = x.square().sum(0)
    return x * (size >= min(level, 0.8 * float(size.max())))


def _pair(y: Tensor, upright: bool) -> Tensor:
    """FIRST × FIRST: two neighbouring taps, one above or beside the other; a single one would stay a point."""
    kernel = y.new_zeros(FIRST, FIRST)
    kernel[FIRST // 2, FIRST // 2 - 1 : FIRST // 2 + 1] = 0.5
    return kernel.T.contiguous() if upright else kernel


def _resized(kernel: Tensor, side: int) -> Tensor:
    k = interpolate(kernel[None, None], size=(side, side), mode="bicubic", align_corners=False)[0, 0].clamp_min(0)
    return k / k.sum()
