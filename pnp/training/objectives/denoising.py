"""Gaussian or Poisson denoising of photographs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...priors.nets import Network
from ..mixture import Mixture
from ..origins import origins
from ..patches import PatchPool, pool_of, read_pictures
from ..synthetic import printers
from .base import Net, Objective, peak_snr

JUDGED = (15 / 255, 25 / 255, 50 / 255)


class Denoising(Objective):
    """loss = mean of ‖N(x + n, sigma) − n‖²/(sigma + 1/255).

    The error of a good denoiser grows about as sigma, so every noise level weighs the same.  Low levels are drawn more
    often, sigma = low + (high − low) u^1.5 with u in [0, 1]: a restoration spends most of its steps there.
    noise: gaussian, or poisson with gain sigma².
    """

    mixed = True

    def __init__(
        self, pool: PatchPool, origins: dict[str, list[Tensor]], noise: str, levels: tuple[float, float]
    ) -> None:
        self.pool, self.origins, self.noise, self.range = pool, origins, noise, levels
        self.judges = sum(map(len, origins.values()))

    @classmethod
    def of(
        cls,
        network: Network,
        data: list[Path],
        validation: list[Path],
        levels: tuple[float, float],
        largest: int,
        mixture: Mixture,
    ) -> Denoising:
        pool = pool_of(data, network.channels, max(128, largest), mixture)
        judges = origins(read_pictures(validation, network.channels), printers()[1])
        return cls(pool, judges, network.noise, levels)

    def loss(self, net: Net, batch: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        clean = self.pool.draw(batch, side, generator).to(device)
        low, high = self.range
        sigma = low + (high - low) * torch.rand(batch, 1, 1, 1, generator=generator).pow(1.5).to(device)
        noise = drawn(clean, sigma, generator, self.noise)
        return ((net(clean + noise, sigma) - noise).square() / (sigma + 1 / 255)).mean()

    def judge(self, net: Net, device: torch.device) -> dict[str, Any]:
        """Mean PSNR in dB per noise level: psnr over the origins, each of which counts alike, and that of each."""
        low, high = self.range
        levels = [s for s in JUDGED if low <= s <= high] or [high]
        return by_origin(self.origins, {f"{255 * s:.0f}": partial(self._gain, net, device, s) for s in levels})

    def _gain(self, net: Net, device: torch.device, sigma: float, picture: Tensor) -> float:
        """PSNR in dB of one picture; the same seeded noise every time."""
        clean = picture[None].to(device).float() / 255
        noisy = clean + drawn(clean, torch.tensor(sigma), torch.Generator().manual_seed(0), self.noise)
        return peak_snr(noisy - net(noisy, sigma), clean)


def by_origin(origins: dict[str, list[Tensor]], scores: dict[str, Callable[[Tensor], float]]) -> dict[str, Any]:
    """{"psnr": {score: mean over the origins}, "origins": {origin: {score: mean over its pictures}}}."""
    each = {
        origin: {name: sum(map(score, pictures)) / len(pictures) for name, score in scores.items()}
        for origin, pictures in origins.items()
    }
    mean = {name: sum(found[name] for found in each.values()) / len(each) for name in scores}
    return {"psnr": mean, "origins": each}


def drawn(clean: Tensor, sigma: Tensor, generator: torch.Generator, noise: str = "gaussian") -> Tensor:
    """The noise that the network learns to find: sigma n, n ~ N(0, I); or Poisson noise of gain sigma²."""
    if noise == "gaussian":
        return sigma * torch.randn(clean.shape, generator=generator).to(clean)
    gain = sigma.square().cpu()
    return (gain * torch.poisson(clean.cpu() / gain, generator=generator)).to(clean) - clean
