"""The motion that blurred a patch of a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...operators import kernels
from ...priors.nets import Network
from ...priors.nets.motion import LENGTHS, motions, soft_label
from ..mixture import Mixture
from ..patches import PatchPool, pool_of, read_pictures, rng_of
from .base import Net, Objective
from .degrade import Files, blurred

MARGIN = 16  # of a patch, the reach of every motion
QUALITY = (75, 99)  # of JPEG, which half of the patches go through
RIM = 2  # cells of a patch at its border, which see too little to be asked


class Motion(Objective):
    """loss = − Σ_m q(m) log p(m | y), y a patch blurred by one straight motion, q its `soft_label`.

    Lengths are 0 to 26 pixels and angles any, one patch in eight is sharp; noise is white, of 0 to 3/255 by default,
    in 8 bits, and half of the patches are JPEGs.
    After Sun, Cao, Xu & Ponce 2015, section 3, whose labels are the 73 motions alone.
    """

    batch, patch, levels, mixed = 32, 64, (0.0, 3 / 255), True

    def __init__(self, pool: PatchPool, judging: PatchPool, levels: tuple[float, float], judges: int) -> None:
        self.pool, self.camera, self.judges = pool, Files(levels, 0.5, QUALITY), judges
        self.judged = self.drawn(judging, 96, 96, torch.Generator().manual_seed(0))

    @classmethod
    def of(
        cls,
        network: Network,
        data: list[Path],
        validation: list[Path],
        levels: tuple[float, float],
        largest: int,
        mixture: Mixture,
    ) -> Motion:
        side = max(128, largest) + 2 * MARGIN
        judging = PatchPool(read_pictures(validation, network.channels), side)
        return cls(pool_of(data, network.channels, side, mixture), judging, levels, len(validation))

    def loss(self, net: Net, batch: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        y, ways = self.drawn(self.pool, batch, side, generator)
        labels = torch.stack([soft_label(*way) for way in ways]).to(device)
        inner = (..., slice(RIM, -RIM), slice(RIM, -RIM))
        logs = net(y.to(device), 0.0)[inner].log_softmax(1)
        return -(labels[:, :, None, None] * logs).sum(1).mean()

    def judge(self, net: Net, device: torch.device) -> dict[str, dict[str, float]]:
        """Mean length in pixels of the error of the likeliest motion, and the share of patches within 3 pixels."""
        known, errors = motions(), []
        y, ways = self.judged
        likeliest = net(y.to(device), 0.0).mean((2, 3)).argmax(1).tolist()
        for best, (length, angle) in zip(likeliest, ways, strict=True):
            true = length * torch.tensor([-np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
            errors.append(float(min((known[best] - true).norm(), (known[best] + true).norm())))
        within = sum(e < 3 for e in errors) / len(errors)
        return {"motion": {"error": sum(errors) / len(errors), "within 3 pixels": within}}

    def drawn(
        self, pool: PatchPool, batch: int, side: int, generator: torch.Generator
    ) -> tuple[Tensor, list[tuple[float, float]]]:
        """Blurred patches (batch, 1, side, side), and length and angle of each motion."""
        clean = pool.draw(batch, side + 2 * MARGIN, generator)
        rng = rng_of(generator)
        longest = LENGTHS[-1] + 1
        ways = [(0.0 if rng.random() < 1 / 8 else rng.uniform(1, longest), rng.uniform(0, 180)) for _ in clean]
        u = blurred(clean, [kernels.motion(*way) if way[0] else torch.ones(1, 1) for way in ways])
        return self.camera.of(u[..., MARGIN:-MARGIN, MARGIN:-MARGIN], generator, rng), ways
