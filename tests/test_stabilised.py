"""Noise that grows with brightness: the transform that makes it even, and what `pnp solve` does with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import pnp
from pnp.noises.anscombe import Stabiliser
from pnp.noises.level import estimate_noise
from pnp.samples import photograph

GAIN = 0.02


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def detected(x: Tensor, gain: float, read: float = 0.0, black: float = 0.0, seed: int = 1) -> Tensor:
    counts = torch.poisson(x / gain, generator=seeded(seed))
    return gain * counts + black + read * torch.randn(x.shape, generator=seeded(seed + 1), dtype=x.dtype)


def one(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def cells(side: int = 256) -> Tensor:
    """A mostly dark picture."""
    x = photograph("camera")[..., 100 : 100 + side, 150 : 150 + side].double()
    return (0.9 * torch.nn.functional.avg_pool2d(x, 3, 1, 1) ** 3).clamp_min(0)


def eight(y: Tensor) -> np.ndarray:
    return (y.clamp(0, 1) * 255).round().to(torch.uint8)[0, 0].numpy()


@pytest.mark.parametrize(("read", "black"), [(0.0, 0.0), (0.03, 0.0), (0.01, 0.1)])
def test_the_noise_is_even_and_the_way_back_is_unbiased(read: float, black: float) -> None:
    x = torch.tensor([4.0, 10, 30, 100], dtype=torch.float64).mul(GAIN).view(1, 1, 4, 1).expand(1, 1, 4, 200_000)
    y = detected(x, GAIN, read, black)
    curve = Stabiliser.of(y, one(GAIN), one(read), one(black))
    z = curve.decode(y)
    assert float(z.min()) == 0 and float(z.max()) == 1
    torch.testing.assert_close(z.std(-1), curve.sigma.view(1, 1, 1).expand(1, 1, 4), rtol=0.05, atol=0)
    back = curve.encode(z.mean(-1, keepdim=True)) - black
    torch.testing.assert_close(back, x[..., :1], rtol=0.01, atol=0)
    d = z.mean(-1, keepdim=True) * (curve.high - curve.low) + curve.low  # the fault to be caught: f's own inverse
    biased = GAIN * (d.square() / 4 - 3 / 8 - (read / GAIN) ** 2)
    assert float((biased / x[..., :1] - 1).abs().max()) > 0.015


def test_a_pedestal_of_the_camera_is_found() -> None:
    x = cells()
    y = (detected(x, GAIN, 0.001, 0.05) * 255).round() / 255
    photons = estimate_noise(y)[1]
    assert float(photons.black) == pytest.approx(0.05, abs=0.006)
    assert float(photons.gain) == pytest.approx(GAIN, rel=0.2)
    flat = estimate_noise((0.05 + x + 0.03 * torch.randn(x.shape, generator=seeded(3), dtype=x.dtype)).clamp(0, 1))[1]
    assert float(flat.black) == 0  # white noise has none


@pytest.mark.parametrize(("gain", "read", "black"), [(0.02, 0.0, 0.0), (0.02, 0.01, 0.05), (0.005, 0.0, 0.0)])
def test_a_dark_picture_of_photons_beats_every_constant_sigma(gain: float, read: float, black: float) -> None:
    x = cells() * (1 - black)
    y, truth = eight(detected(x, gain, read, black)), eight(x + black)
    said: list[str] = []
    done = pnp.restore(y, operator="identity", prior="unet", truth=truth, say=said.append)
    assert done.record.light.value == "stabilised" and any("grows with brightness" in line for line in said)
    assert done.record.metrics is not None
    scores = {"default": done.record.metrics["psnr"][0]}
    for level in (0.01, 0.02, 0.04, 0.08):
        told = pnp.restore(y, operator="identity", prior="unet", truth=truth, sigma=level)
        assert told.record.light.value == "srgb" and told.record.metrics is not None
        scores[str(level)] = told.record.metrics["psnr"][0]
    assert scores["default"] > max(v for k, v in scores.items() if k != "default") + 0.5, scores
    assert done.picture.dtype == np.uint8 and torch.equal(done.initial[0, 0], torch.from_numpy(y / np.float32(255)))


@pytest.mark.parametrize(
    "wish", [{"light": "srgb"}, {"prior": "tv"}, {"noise": "gaussian:sigma=0.05"}, {"operator": "blur:std=1"}]
)
def test_what_is_told_or_does_not_fit_is_not_stabilised(wish: dict[str, str]) -> None:
    y = eight(detected(cells(128), GAIN))
    done = pnp.restore(y, **({"operator": "identity", "prior": "nlm"} | wish))  # type: ignore[arg-type]
    assert done.record.light.value != "stabilised"


@pytest.mark.parametrize(("name", "sigma"), [("camera", 0.05), ("brick", 0.0), ("coffee", 0.02), ("grass", 0.0)])
def test_white_noise_and_texture_are_left_alone(name: str, sigma: float) -> None:
    x = photograph(name)[..., :256, :256]
    y = (x + sigma * torch.randn(x.shape, generator=seeded(5))).clamp(0, 1)
    y8 = (y[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().squeeze()
    assert pnp.restore(y8, operator="identity", prior="nlm", iterations=1).record.light.value == "srgb"


def test_pages_of_one_instrument_share_the_map() -> None:
    x = cells(128)
    stack = np.stack([eight(detected(f * x, GAIN, seed=7 + i)) for i, f in enumerate((1.0, 0.8))])
    batch = torch.from_numpy(stack[:, None] / np.float32(255))
    done = pnp.restore(batch, operator="identity", prior="nlm")
    assert done.record.light.value == "stabilised" and done.restored.shape == batch.shape


def test_missing_pixels_are_filled_in_beside_it() -> None:
    x = cells(128)
    y = torch.from_numpy(eight(detected(x, GAIN)).astype(np.float32) / 255)
    known = (torch.rand(y.shape, generator=seeded(9)) > 0.2).float()
    done = pnp.restore(y[None, None], operator="identity", prior="unet", mask=known[None], truth=x.float())
    assert done.record.metrics is not None
    assert done.record.light.value == "stabilised" and done.record.metrics["psnr"][0] > 30


@pytest.mark.parametrize(("gain", "black"), [(0.3, 0.012), (0.15, 0.0)])
def test_few_photons_are_counted_by_all_windows(gain: float, black: float) -> None:
    """A handful of photons at the brightest pixel, most pixels without any: the flattest windows tell nothing."""
    x = cells() * (1 - black)
    y = eight(detected(x, gain, 0.0, black))
    photons = estimate_noise(torch.from_numpy(y)[None, None].double() / 255)[1]
    assert float(photons.gain) == pytest.approx(gain, rel=0.15) and float(photons.fit) > 0.975
    done = pnp.restore(y, operator="identity", prior="unet", truth=eight(x + black))
    assert done.record.light.value == "stabilised" and done.record.metrics is not None
    assert done.record.metrics["psnr"][0] > done.record.metrics["psnr_initial"][0] + 6
