"""Architectures, denoisers made of them, weights on disk, and the trainer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from skimage.data import camera
from torch import Tensor, nn

from pnp import images, weights
from pnp.metrics import psnr
from pnp.priors.nets import ARCHITECTURES, DnCNN, UNet
from pnp.priors.network import NetworkDenoiser
from pnp.registry import DENOISERS
from pnp.training import TrainSettings, resumed, train

SMALL = {"unet": {"widths": (4, 6, 8), "blocks": 1}, "dncnn": {"depth": 4, "width": 6}}


def network(name: str, channels: int = 1) -> nn.Module:
    """A small network whose weights are all random: the zeros of a new one would hide mistakes."""
    torch.manual_seed(0)
    net = ARCHITECTURES[name](channels=channels, **SMALL[name])
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    return net.eval().requires_grad_(False)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    x = torch.from_numpy(camera()).float()[None, None] / 255
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        images.write(path, x[..., 150 * i : 150 * i + 150, 100:260])
    return paths


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 24), (33, 40)])
def test_any_picture_size_gives_that_size(name: str, size: tuple[int, int]) -> None:
    assert network(name)(torch.rand(2, 1, *size), 0.1).shape == (2, 1, *size)


@pytest.mark.parametrize("name", SMALL)
def test_without_biases_the_noise_scales_with_the_picture(name: str) -> None:
    net, x = network(name).double(), torch.rand(1, 1, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(net(3 * x, 0.3), 3 * net(x, 0.1))


@pytest.mark.parametrize("name", SMALL)
def test_no_pixel_beyond_the_receptive_radius_matters(name: str) -> None:
    net = network(name)
    radius = net.receptive_radius()
    x = torch.rand(1, 1, 2 * radius + 17, 2 * radius + 17, requires_grad=True)
    net(x, 0.1)[0, 0, radius + 8, radius + 8].backward()
    touched = x.grad[0, 0].nonzero()
    assert len(touched) and int((touched - radius - 8).abs().max()) <= radius


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(150, 170), (131, 203)])
def test_tiles_give_the_whole_picture(name: str, size: tuple[int, int]) -> None:
    net, x = network(name), torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1))
    whole = NetworkDenoiser(net, "float32", tile=4096)(x, 0.1)
    torch.testing.assert_close(NetworkDenoiser(net, "float32", tile=48)(x, 0.1), whole, rtol=0, atol=1e-5)
    net.receptive_radius = lambda: 0  # a planted fault: tiles without a margin
    assert float((NetworkDenoiser(net, "float32", tile=48)(x, 0.1) - whole).abs().max()) > 1e-3


@pytest.mark.parametrize("name", SMALL)
def test_each_picture_has_its_own_noise_level_and_each_channel_its_own_run(name: str) -> None:
    d, x = NetworkDenoiser(network(name), "float32"), torch.rand(2, 3, 20, 20)
    levels = torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)
    for i in range(2):
        for c in range(3):
            alone = d(x[i : i + 1, c : c + 1], float(levels[i]))
            torch.testing.assert_close(d(x, levels)[i : i + 1, c : c + 1], alone, rtol=1e-4, atol=1e-5)


def test_the_denoiser_can_be_differentiated_and_otherwise_returns_plain_tensors() -> None:
    d, x = NetworkDenoiser(network("unet"), "float32"), torch.rand(1, 1, 16, 16)
    assert not d(x, 0.1).is_inference()
    x.requires_grad_(True)
    d(x, 0.1).sum().backward()
    assert float(x.grad.abs().sum()) > 0


def test_weights_come_back_as_they_were_exported(tmp_path: Path) -> None:
    net = network("unet").half().float()
    weights.export(net, "mine", {"architecture": "unet"}, tmp_path)
    back, x = weights.load("mine", tmp_path), torch.rand(1, 1, 16, 16)
    assert torch.equal(back(x, 0.1), net(x, 0.1))


def test_damaged_unknown_and_misfitting_weights_are_refused(tmp_path: Path) -> None:
    weights.export(network("unet"), "mine", {"architecture": "unet"}, tmp_path)
    with pytest.raises(weights.WeightsError, match="Did you mean 'mine'"):
        weights.load("mime", tmp_path)
    records = json.loads((tmp_path / "manifest.json").read_text())
    records["mine"]["config"]["widths"] = [4, 6, 10]
    (tmp_path / "manifest.json").write_text(json.dumps(records))
    with pytest.raises(weights.WeightsError, match="does not fit"):
        weights.load("mine", tmp_path)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(weights.WeightsError, match="sha256"):
        weights.load("mine", tmp_path)


@pytest.mark.skipif("unet-grey" not in weights.manifest(), reason="no weights are shipped")
def test_the_shipped_unet_denoises_at_every_level_and_bfloat16_costs_little() -> None:
    x = torch.from_numpy(camera()).float()[None, None, 100:356, 100:356] / 255
    for sigma, gain in ((0.02, 3.5), (0.1, 8.5), (0.2, 11.5)):
        y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        exact, half = (DENOISERS.build(f"unet:precision={p}")(y, sigma) for p in ("float32", "bfloat16"))
        assert float(psnr(exact, x) - psnr(y, x)) > gain
        assert float((psnr(exact, x) - psnr(half, x)).abs()) < 0.02


def settings(**changes: object) -> TrainSettings:
    base = TrainSettings("dncnn", steps=6, config=SMALL["dncnn"], batch=4, patch=32)
    return replace(base, **changes)


def test_a_killed_run_resumes_exactly(tmp_path: Path, pictures: list[Path]) -> None:
    class Killed(Exception):
        pass

    def kill(now) -> None:
        if now.step == 3:
            raise Killed

    whole = train(settings(), pictures, tmp_path / "whole")
    with pytest.raises(Killed):
        train(settings(), pictures, tmp_path / "cut", checkpoint_every=0, report=kill)
    again = train(resumed(tmp_path / "cut", settings()), pictures, tmp_path / "cut", resume=True)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_improves_on_doing_nothing(tmp_path: Path, pictures: list[Path]) -> None:
    train(settings(steps=60, lr=5e-3, ema=0.9), pictures, tmp_path / "run")
    reached = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])["psnr"]
    assert reached["50"] > 14.2 + 3 and reached["25"] > 20.2 + 1.5  # the noise alone is at 14.15 and 20.17 dB


def test_a_failing_checkpoint_leaves_the_former_one(tmp_path: Path, pictures: list[Path], monkeypatch) -> None:
    train(settings(steps=2), pictures, tmp_path / "run")
    before = (tmp_path / "run/checkpoint.pt").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        train(settings(steps=3), pictures, tmp_path / "run")
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob("*.part"))


@pytest.mark.parametrize("changes", [{"net": "unett"}, {"budget": 3.0}, {"steps": None}])
def test_wrong_settings_are_refused(changes: dict) -> None:
    with pytest.raises(ValueError):
        settings(**changes)


def check_noise_estimate(net: nn.Module, x: Tensor) -> None:
    assert float(net(x, 0.1).abs().max()) == 0


@pytest.mark.parametrize("make", [UNet, DnCNN])
def test_a_new_network_changes_nothing(make: type) -> None:
    check_noise_estimate(make(), torch.rand(1, 1, 32, 32))
    with pytest.raises(AssertionError):
        check_noise_estimate(network("unet"), torch.rand(1, 1, 32, 32))
