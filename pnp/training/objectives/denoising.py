"""Gaussian or Poisson denoising of photographs."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...files.pictures import crop_centre
from ...priors.nets import Network
from ..patches import PatchPool, read_pictures
from .base import Net, Objective, peak_snr

JUDGED = (15 / 255, 25 / 255, 50 / 255)


class Denoising(Objective):
    """loss = mean of ‖N(x + n, sigma) − n‖²/(sigma + 1/255).

    The error of a good denoiser grows about as sigma, so every noise level weighs the same.  Low levels are drawn more
    often, sigma = low + (high − low) u^1.5 with u in [0, 1]: a restoration spends most of its steps there.
    noise: gaussian, or poisson with gain sigma².
    """

    def __init__(self, pool: PatchPool, pictures: list[Tensor], noise: str, levels: tuple[float, float]) -> None:
        self.pool, self.pictures, self.noise, self.range = pool, pictures, noise, levels
        self.judges = len(pictures)

    @classmethod
    def of(
        cls, network: Network, data: list[Path], validation: list[Path], levels: tuple[float, float], largest: int
    ) -> Denoising:
        pool = PatchPool(read_pictures(data, network.channels), max(128, largest))
        judges = [crop_centre(p, 256) for p in read_pictures(validation, network.channels)][:24]
        return cls(pool, judges, network.noise, levels)

    def loss(self, net: Net, batch: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        clean = self.pool.draw(batch, side, generator).to(device)
        low, high = self.range
        sigma = low + (high - low) * torch.rand(batch, 1, 1, 1, generator=generator).pow(1.5).to(device)
        noise = drawn(clean, sigma, generator, self.noise)
        return ((net(clean + noise, sigma) - noise).square() / (sigma + 1 / 255)).mean()

    def judge(self, net: Net, device: torch.device) -> dict[str, dict[str, float]]:
        """Mean PSNR in dB per noise level; the same seeded noise every time."""
        low, high = self.range
        scores = {}
        for sigma in [s for s in JUDGED if low <= s <= high] or [high]:
            values = []
            for picture in self.pictures:
                clean = picture[None].to(device).float() / 255
                noisy = clean + drawn(clean, torch.tensor(sigma), torch.Generator().manual_seed(0), self.noise)
                values.append(peak_snr(noisy - net(noisy, sigma), clean))
            scores[f"{255 * sigma:.0f}"] = sum(values) / len(values)
        return {"psnr": scores}


def drawn(clean: Tensor, sigma: Tensor, generator: torch.Generator, noise: str = "gaussian") -> Tensor:
    """The noise that the network learns to find: sigma n, n ~ N(0, I); or Poisson noise of gain sigma²."""
    if noise == "gaussian":
        return sigma * torch.randn(clean.shape, generator=generator).to(clean)
    gain = sigma.square().cpu()
    return (gain * torch.poisson(clean.cpu() / gain, generator=generator)).to(clean) - clean
