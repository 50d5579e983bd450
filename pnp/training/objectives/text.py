"""Sharp pages of text from blurred and noisy ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...operators import kernels
from ...priors.nets import Network
from ..mixture import Mixture
from ..pages import Printer
from ..patches import rng_of
from .base import Net, Objective, peak_snr
from .degrade import Files, blurred

SHAKE = (5.0, 21.0)  # pixels
RADIUS = (0.5, 10.0)  # of defocus, in pixels
BESIDE = 2.5  # the largest radius beside a shake
MARGIN = 24  # of a patch, the reach of every kernel
QUALITY = (60, 99)  # of JPEG, which some pages go through
PAGES = 6  # that the patches of a batch are cut from


class Text(Objective):
    """loss = mean of |y − N(y) − x|, x a page and y the page blurred, with noise, in 8 bits.

    Half of the pages are blurred by a shake of 5 to 21 pixels, a quarter by defocus of radius 0.5 to 10, a quarter by
    both (then the radius is at most 2.5).  Noise is white, of 0 to 7/255; one page in three is a JPEG.  Kernels have
    their centre of mass at their centre, so that what is restored does not move.
    After Hradiš et al. 2015, section 3, with pages rendered here.
    """

    batch, patch, levels = 16, 96, (0.0, 7 / 255)

    def __init__(self, printer: Printer, judging: Printer, levels: tuple[float, float], pages: int = 24) -> None:
        self.printer, self.camera = printer, Files(levels, 1 / 3, QUALITY)
        generator = torch.Generator().manual_seed(0)
        clean = torch.stack([judging.page(256, rng_of(generator)) for _ in range(pages)])
        self.pages = [(x[None], self.degraded(x[None], generator)) for x in clean]
        self.judges = pages

    @classmethod
    def files(cls, inputs: Sequence[str]) -> list[Path]:
        """Fonts: .ttf and .otf files, and those anywhere in folders."""
        found: dict[Path, None] = {}
        for text in inputs:
            path = Path(text)
            matches = sorted(p for p in path.rglob("*") if p.suffix in (".ttf", ".otf")) if path.is_dir() else [path]
            if not matches or not all(p.is_file() for p in matches):
                raise ValueError(f"no font found at {text}. Give .ttf or .otf files, or a folder: /usr/share/fonts")
            found.update(dict.fromkeys(matches))
        return list(found)

    @classmethod
    def of(
        cls,
        network: Network,
        data: list[Path],
        validation: list[Path],
        levels: tuple[float, float],
        largest: int,
        mixture: Mixture,
    ) -> Text:
        return cls(Printer(data), Printer(validation), levels)

    def loss(self, net: Net, batch: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        clean = self.drawn(batch, side + 2 * MARGIN, generator)
        seen = self.degraded(clean, generator)
        inner = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
        y, x = seen[inner].to(device), clean[inner].to(device)
        return (y - net(y, 0.0) - x).abs().mean()

    def judge(self, net: Net, device: torch.device) -> dict[str, dict[str, float]]:
        """Mean PSNR in dB of the pages, as they were blurred and restored."""
        pairs = [(x.to(device), y.to(device)) for x, y in self.pages]
        restored = [peak_snr(y - net(y, 0.0), x) for x, y in pairs]
        before = [peak_snr(y, x) for x, y in pairs]
        return {"psnr": {"text": sum(restored) / len(pairs), "blurred": sum(before) / len(pairs)}}

    def drawn(self, batch: int, side: int, generator: torch.Generator) -> Tensor:
        """(batch, 1, side, side): patches of a few fresh pages, flat ones drawn again."""
        patches: list[Tensor] = []
        while len(patches) < batch:
            rng = rng_of(generator)
            page = self.printer.page(side + side // 2, rng)
            for _ in range(-(-batch // PAGES)):
                top, left = rng.integers(0, side // 2 + 1, 2)
                patch = page[:, top : top + side, left : left + side]
                if float(patch.std()) > 0.02:
                    patches.append(patch)
        return torch.stack(patches[:batch])

    def degraded(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """clean (B, 1, H, W), each by a kernel and noise of its own."""
        rng = rng_of(generator)
        return self.camera.of(blurred(clean, [drawn_kernel(rng) for _ in clean]), generator, rng)


def drawn_kernel(rng: np.random.Generator) -> Tensor:
    """A shake, a disk, or one after the other, with its centre of mass at its centre; at most 2 MARGIN − 1 wide."""
    kind = rng.random()
    shake = kernels.shake(rng.uniform(*SHAKE), seed=int(rng.integers(2**31)))
    if kind < 0.5:
        return centred(shake)
    low, high = RADIUS
    if kind < 0.75:
        return kernels.disk(low + (high - low) * rng.random() ** 1.5)
    return _joined(centred(shake), kernels.disk(rng.uniform(low, BESIDE)))


def centred(kernel: Tensor) -> Tensor:
    """The kernel (odd, odd), moved by a part of a pixel and by whole ones so that its centre of mass is its middle."""
    for axis in (0, 1):
        n = kernel.shape[axis]
        off = float((kernel.sum(1 - axis) * (torch.arange(n) - n // 2)).sum() / kernel.sum())
        whole = math.floor(off)
        reach = abs(whole) + 1
        shape = list(kernel.shape)
        shape[axis] = reach
        zero = kernel.new_zeros(shape)
        wide = torch.cat([zero, kernel, zero], axis)
        kernel = (1 - off + whole) * wide.roll(-whole, axis) + (off - whole) * wide.roll(-whole - 1, axis)
    return kernel


def _joined(a: Tensor, b: Tensor) -> Tensor:
    """a ∗ b, full."""
    return torch.nn.functional.conv2d(a[None, None], b.flip(0, 1)[None, None], padding=[n - 1 for n in b.shape])[0, 0]
