"""The motion that blurred a patch of a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...operators import kernels
from ...priors.nets import Network
from ...priors.nets.motion import LENGTHS, motions, soft_label
from ..patches import PatchPool, read_pictures
from .base import Net, Objective
from .degrade import placed, resaved, rng_of

MARGIN = 16  # of a patch, the reach of every motion
QUALITY = (75, 99)  # of JPEG, which half of the patches go through
RIM = 2  # cells of a patch at its border, which see too little to be asked


class Motion(Objective):
    """loss = − Σ_m q(m) log p(m | y), y a patch blurred by one straight motion, q its `soft_label`.

    Lengths are 0 to 26 pixels and angles any, one patch in eight is sharp; noise is white, of 0 to 3/255 by default,
    in 8 bits, and half of the patches are JPEGs.
    After Sun, Cao, Xu & Ponce 2015, section 3, whose labels are the 73 motions alone.
    """

    batch, patch, levels = 32, 64, (0.0, 3 / 255)

    def __init__(self, pool: PatchPool, judging: PatchPool, levels: tuple[float, float], judges: int) -> None:
        self.pool, self.range, self.judges = pool, levels, judges
        generator = torch.Generator().manual_seed(0)
        self.judged = [(y.clone(), way) for y, way in (self.drawn(judging, 96, 96, generator, whole=True),)]

    @classmethod
    def of(
        cls, network: Network, data: list[Path], validation: list[Path], levels: tuple[float, float], largest: int
    ) -> Motion:
        side = max(128, largest) + 2 * MARGIN
        pools = [PatchPool(read_pictures(paths, network.channels), side) for paths in (data, validation)]
        return cls(pools[0], pools[1], levels, len(validation))

    def loss(self, net: Net, batch: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        y, ways = self.drawn(self.pool, batch, side, generator)
        labels = torch.stack([soft_label(*way) for way in ways]).to(device)
        inner = (..., slice(RIM, -RIM), slice(RIM, -RIM))
        logs = net(y.to(device), 0.0)[inner].log_softmax(1)
        return -(labels[:, :, None, None] * logs).sum(1).mean()

    def judge(self, net: Net, device: torch.device) -> dict[str, dict[str, float]]:
        """Mean length in pixels of the error of the likeliest motion, and the share of patches within 3 pixels."""
        known, errors = motions(), []
        for y, ways in self.judged:
            logs = net(y.to(device), 0.0).mean((2, 3)).cpu()
            for best, (length, angle) in zip(logs.argmax(1).tolist(), ways, strict=True):
                true = length * torch.tensor([-np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
                errors.append(float(min((known[best] - true).norm(), (known[best] + true).norm())))
        within = sum(e < 3 for e in errors) / len(errors)
        return {"motion": {"error": sum(errors) / len(errors), "within 3 pixels": within}}

    def drawn(
        self, pool: PatchPool, batch: int, side: int, generator: torch.Generator, *, whole: bool = False
    ) -> tuple[Tensor, list[tuple[float, float]]]:
        """Blurred patches (batch, 1, side, side), and length and angle of each motion."""
        clean = pool.draw(batch, side + 2 * MARGIN, generator)
        rng = rng_of(generator)
        longest = LENGTHS[-1] + 1
        ways = [(0.0 if rng.random() < 1 / 8 else rng.uniform(1, longest), rng.uniform(0, 180)) for _ in clean]
        size = clean.shape[-2:]
        transfers = torch.stack([
            torch.fft.rfft2(placed(kernels.motion(length, angle) if length else torch.ones(1, 1), size))
            for length, angle in ways
        ])[:, None]  # fmt: skip
        y = torch.fft.irfft2(torch.fft.rfft2(clean) * transfers, s=size)[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
        low, high = self.range
        sigma = low + (high - low) * torch.rand(batch, 1, 1, 1, generator=generator)
        y = y + sigma * torch.randn(y.shape, generator=generator)
        bytes8 = (255 * y).round().clamp(0, 255).to(torch.uint8)
        seen = [resaved(p, rng, QUALITY) if rng.random() < 0.5 else p.float() / 255 for p in bytes8]
        return torch.stack(seen), ways
