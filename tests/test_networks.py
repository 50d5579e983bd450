"""Architectures, denoisers made of them, weights on disk, and the trainer."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SMALL
from torch import Tensor, nn

from pnp.files import pictures as files
from pnp.files.atomic import WriteError
from pnp.metrics import psnr
from pnp.priors import store
from pnp.priors.nets import ARCHITECTURES, DnCNN, UNet, trd
from pnp.priors.network import NearestLevel, NetworkDenoiser, networks, shipped
from pnp.registry import DENOISERS, SpecError
from pnp.samples import photograph
from pnp.training.objectives.denoising import drawn
from pnp.training.patches import PatchPool, sizes
from pnp.training.run import TrainSettings, resumed, start, train


def network(name: str, channels: int = 1) -> nn.Module:
    """A small network whose weights are all random: the zeros of a new one would hide mistakes."""
    torch.manual_seed(0)
    net = ARCHITECTURES[name](channels=channels, **SMALL[name])
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    if name == "trd":
        for stage in net.stages:
            stage.log_rate.data.fill_(-2)
            stage.values.data.mul_(5)
    return net.eval().requires_grad_(False)


LOCAL = [name for name in SMALL if name != "wcrr"]  # whose answer is a minimum over the whole picture


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    x = photograph("camera")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        files.write(path, x[..., 150 * i : 150 * i + 150, 100:260])
    return paths


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 24), (33, 40)])
def test_any_picture_size_gives_that_size(name: str, size: tuple[int, int]) -> None:
    assert network(name)(torch.rand(2, 1, *size), 0.1).shape == (2, 1, *size)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in ("epll", "wcrr")])  # which know what 1 is
def test_without_biases_the_noise_scales_with_the_picture(name: str) -> None:
    net, x = network(name).double(), torch.rand(1, 1, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(net(3 * x, 0.3), 3 * net(x, 0.1))


@pytest.mark.parametrize("name", LOCAL)
def test_no_pixel_beyond_the_receptive_radius_matters(name: str) -> None:
    net = network(name)
    radius = net.receptive_radius()
    x = torch.rand(1, 1, 2 * radius + 17, 2 * radius + 17, requires_grad=True)
    net(x, 0.1)[0, 0, radius + 8, radius + 8].backward()
    touched = x.grad[0, 0].nonzero()
    assert len(touched) and int((touched - radius - 8).abs().max()) <= radius


@pytest.mark.parametrize("name", LOCAL)
@pytest.mark.parametrize("size", [(150, 170), (131, 203)])
def test_tiles_give_the_whole_picture(name: str, size: tuple[int, int]) -> None:
    net, x = network(name), torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(1))
    whole = NetworkDenoiser(net, "float32", tile=4096)(x, 0.1)
    torch.testing.assert_close(NetworkDenoiser(net, "float32", tile=48)(x, 0.1), whole, rtol=1e-5, atol=1e-5)
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
    store.export(net, "mine", {"architecture": "unet"}, tmp_path)
    back, x = store.load("mine", tmp_path), torch.rand(1, 1, 16, 16)
    assert torch.equal(back(x, 0.1), net(x, 0.1))


def test_damaged_unknown_and_misfitting_weights_are_refused(tmp_path: Path) -> None:
    store.export(network("unet"), "mine", {"architecture": "unet"}, tmp_path)
    with pytest.raises(store.WeightsError, match="Did you mean 'mine'"):
        store.load("mime", tmp_path)
    records = json.loads((tmp_path / "manifest.json").read_text())
    records["mine"]["config"]["widths"] = [4, 6, 10]
    (tmp_path / "manifest.json").write_text(json.dumps(records))
    with pytest.raises(store.WeightsError, match="does not fit"):
        store.load("mine", tmp_path)
    path = tmp_path / "mine.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(store.WeightsError, match="sha256"):
        store.load("mine", tmp_path)


@pytest.mark.skipif("unet-grey" not in store.manifest(), reason="no weights are shipped")
def test_the_shipped_unet_denoises_at_every_level_and_bfloat16_costs_little() -> None:
    x = photograph("camera")[..., 100:356, 100:356]
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
    again = train(resumed(tmp_path / "cut", {}), pictures, tmp_path / "cut", resume=True)
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_may_start_from_other_weights(tmp_path: Path, pictures: list[Path]) -> None:
    first = train(settings(steps=3), pictures, tmp_path / "first")
    run = start(settings(), torch.device("cpu"), first)
    assert all(torch.equal(a, b) for a, b in zip(run.net.parameters(), first.parameters(), strict=True))
    with pytest.raises(ValueError, match="initial weights"):
        start(settings(config={"depth": 5, "width": 6}), torch.device("cpu"), first)


def test_training_improves_on_doing_nothing(tmp_path: Path, pictures: list[Path]) -> None:
    train(settings(steps=60, lr=5e-3, ema=0.9), pictures, tmp_path / "run")
    reached = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])["psnr"]
    assert reached["50"] > 14.2 + 3 and reached["25"] > 20.2 + 1.5  # the noise alone is at 14.15 and 20.17 dB


def test_a_large_photograph_is_drawn_in_sizes_of_which_one_has_been_a_jpeg_file() -> None:
    """Red noise on grey: the copies are smaller, and the JPEG file keeps half of the colour's resolution."""
    draw = torch.Generator().manual_seed(0)
    red = 128 + 60 * torch.randn(1, 520, 640, generator=draw)
    picture = torch.cat([red, torch.full((2, 520, 640), 128)]).clamp(0, 255).to(torch.uint8)
    found = sizes(picture, number=0)
    assert found["whole"] is picture and found["halved"].shape == (3, 260, 320)
    assert 330 <= found["jpeg"].shape[1] <= 480 and found["small"].shape == (3, 260, 320)  # at least twofold
    assert all(abs(p.shape[2] / p.shape[1] - 640 / 520) < 0.01 for p in found.values())

    def finest(p: Tensor) -> float:  # how much of the colour is finer than cells of two pixels
        p = p[:, : p.shape[1] // 2 * 2, : p.shape[2] // 2 * 2].float()
        colour = p[0] - p[2]
        return float((colour[:, 0::2] - colour[:, 1::2]).std() / colour.std())

    assert finest(found["jpeg"]) < 0.5 * finest(found["small"])
    assert set(sizes(picture[:, :300, :300], 0)) == {"whole", "halved"} and set(sizes(picture[:, :200], 0)) == {"whole"}
    assert PatchPool([picture]).draw(5, 64, draw).shape == (5, 3, 64, 64)


def test_a_failing_checkpoint_leaves_the_former_one(tmp_path: Path, pictures: list[Path], monkeypatch) -> None:
    train(settings(steps=2), pictures, tmp_path / "run")
    before = (tmp_path / "run/checkpoint.pt").read_bytes()

    def full(path: Path, data: bytes) -> None:
        raise WriteError(f"cannot write {path}: No space left on device.")

    monkeypatch.setattr("pnp.training.run.atomic.write", full)
    with (
        pytest.warns(UserWarning, match=r"checkpoint\.pt: No space left on device; the training") as notes,
        pytest.raises(OSError, match=r"cannot write .*checkpoint\.pt: No space left"),
    ):
        train(settings(steps=6), pictures, tmp_path / "run", resume=True, checkpoint_every=0)
    assert len(notes) == 1
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob("*.part"))


def test_stages_are_trained_one_after_the_other_and_then_together(tmp_path: Path, pictures: list[Path]) -> None:
    stages = settings(net="trd", config=SMALL["trd"], mode="greedy+joint", steps=8)
    assert [stages.phase(k / 8, 2)[:2] for k in range(8)] == [(1, 0)] * 2 + [(2, 1)] * 2 + [(2, 0)] * 4
    assert stages.rate(stages.phase(0.5, 2)[2]) < stages.rate(0.02)  # warm once more
    first = train(replace(stages, mode="greedy", steps=2), pictures, tmp_path / "greedy")
    new = ARCHITECTURES["trd"](**SMALL["trd"])
    moved = [not torch.equal(a, b) for a, b in zip(first.parameters(), new.parameters(), strict=True)]
    assert any(moved[: len(moved) // 2]) and any(moved[len(moved) // 2 :])
    train(replace(stages, mode="greedy", steps=2), pictures, tmp_path / "again")
    again = torch.load(tmp_path / "again/checkpoint.pt", weights_only=True)["run"]["average"]
    assert all(torch.equal(again[k], v) for k, v in first.state_dict().items())


def test_a_trained_diffusion_learns(tmp_path: Path, pictures: list[Path]) -> None:
    run = settings(net="trd", config={"size": 3, "stages": 2, "sigma": 50 / 255}, steps=40, lr=0.05, ema=0.8)
    train(run, pictures, tmp_path / "run")
    assert json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])["psnr"]["50"] > 14.2 + 3


def test_the_tables_of_trd_are_its_radial_basis_functions() -> None:
    stage = network("trd").double().stages[0]
    z = torch.linspace(-320, 320, 997, dtype=torch.float64).expand(len(stage.values), -1)
    weights_ = torch.linalg.solve(trd._gaussians(trd.NODES), stage.values.T).T
    exact = torch.einsum("fzn,fn->fz", trd._gaussians(z.flatten()).view(*z.shape, -1), weights_)
    table = trd._Influence.apply(z, stage.values @ stage.heights, stage.values @ stage.slopes)
    torch.testing.assert_close(table, exact, rtol=0, atol=0.5 * trd.FINE * float(stage.values.abs().max()))
    torch.testing.assert_close(stage.kernels().norm(dim=1), torch.ones(8, dtype=torch.float64))
    assert float(stage.kernels().sum(1).abs().max()) < 1e-6


def test_the_gradient_of_trd_is_that_of_its_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    def exact(stage: trd.Stage, u: Tensor) -> Tensor:
        """The stage by 63 exponentials a response and torch's own gradients."""
        kernels, r = stage.kernels().view(-1, 1, 3, 3), stage.size // 2
        response = nn.functional.conv2d(u, kernels)
        w = torch.linalg.solve(trd._gaussians(trd.NODES).float(), stage.values.T)
        flux = torch.einsum("bfhwn,nf->bfhw", torch.exp(-((response[..., None] - trd.NODES.float()) ** 2) / 200), w)
        return nn.functional.conv_transpose2d(flux, kernels)[..., 2 * r : -2 * r, 2 * r : -2 * r]

    def gradients() -> list[Tensor]:
        net = network("trd").requires_grad_(True)
        x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(1))
        net(x, 0.1).square().mean().backward()
        return [p.grad for p in net.parameters()]

    ours = gradients()
    monkeypatch.setattr(trd.Stage, "forward", exact)
    for a, b in zip(ours, gradients(), strict=True):
        assert float((a - b).norm()) <= 0.02 * float(b.norm())


def test_poisson_diffusion_scales_with_the_gain_and_learns(tmp_path: Path, pictures: list[Path]) -> None:
    config = {"size": 3, "stages": 2, "sigma": 0.2, "noise": "poisson"}
    net, x = ARCHITECTURES["trd"](**config).double(), torch.rand(1, 1, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(net(4 * x, 0.4), 4 * net(x, 0.2), rtol=0, atol=1e-6)  # gain 0.16 instead of 0.04
    train(settings(net="trd", config=config, steps=40, lr=0.05, ema=0.8), pictures, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    clean = files.read(pictures[2]).pixels
    noise = drawn(clean, torch.tensor(0.2), torch.Generator().manual_seed(0), net.noise)
    assert float(noise.square().mean()) == pytest.approx(0.04 * float(clean.mean()), rel=0.05)
    assert lines[-1]["psnr"]["51"] > float(-10 * noise.square().mean().log10()) + 3


def test_a_mirror_repeats_the_border_pixel() -> None:
    x = torch.arange(3.0).expand(1, 1, 3, 3)
    assert trd.mirror(x, 4)[0, 0, 4].tolist() == [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_published_layouts_load(tmp_path: Path, channels: int) -> None:
    models = pytest.importorskip("deepinv.models")
    x = torch.rand(1, channels, 24, 21)
    theirs = models.DnCNN(channels, channels, depth=5, nf=8, pretrained=None).eval()
    torch.save(theirs.state_dict(), tmp_path / "deepinv.pth")
    ours = NetworkDenoiser(store.load_file(tmp_path / "deepinv.pth"), "float32")
    torch.testing.assert_close(ours(x, 0.1), theirs(x).detach(), rtol=1e-5, atol=1e-5)
    names = [n for n in theirs.state_dict()]  # KAIR: the same chain as model.0, model.2, ..., and x − output
    kair = {f"model.{2 * (i // 2)}.{n.rpartition('.')[2]}": theirs.state_dict()[n] for i, n in enumerate(names)}
    torch.save(kair, tmp_path / "kair.pth")
    ours = NetworkDenoiser(store.load_file(tmp_path / "kair.pth"), "float32")
    torch.testing.assert_close(ours(x, 0.1), 2 * x - theirs(x).detach(), rtol=1e-5, atol=1e-5)


def test_the_published_drunet_loads(tmp_path: Path) -> None:
    models = pytest.importorskip("deepinv.models")
    theirs = models.DRUNet(in_channels=1, out_channels=1, nc=[4, 6, 8, 10], nb=2, pretrained=None).eval()
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "drunet.pth")
    ours, x = NetworkDenoiser(store.load_file(tmp_path / "drunet.pth"), "float32"), torch.rand(1, 1, 40, 48)
    torch.testing.assert_close(ours(x, 0.1), theirs(x, 0.1).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("content", ["no weights", {"a": 1}, {"a.weight": torch.zeros(3)}])
def test_files_without_a_network_are_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pth"
    path.write_text(content) if isinstance(content, str) else torch.save(content, path)
    with pytest.raises(store.WeightsError):
        store.load_file(path)
    with pytest.raises(store.WeightsError, match="no such file"):
        store.load_file(tmp_path / "missing.pth")


def test_the_nearest_level_is_taken_on_a_log_scale() -> None:
    asked = []
    members = {s: (lambda x, sigma, s=s: asked.append((s, round(sigma, 3))) or x) for s in (0.05, 0.1, 0.2)}
    NearestLevel(members)(torch.zeros(4, 1, 2, 2), torch.tensor([0.01, 0.08, 0.15, 0.9]))
    assert asked == [(0.05, 0.01), (0.1, 0.08), (0.2, 0.15), (0.2, 0.9)]


@pytest.mark.parametrize(
    "changes", [{"net": "unett"}, {"budget": 3.0}, {"steps": None}, {"mode": "both"}, {"levels": (0.2, 0.1)}]
)
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


def test_the_gradient_through_tiles_is_that_through_the_whole_picture() -> None:
    net = shipped("unet-grey").net
    x = torch.rand(1, 1, 72, 88, generator=torch.Generator().manual_seed(0))
    gradients = []
    for tile in (512, 32):
        at = x.clone().requires_grad_(True)
        (at - NetworkDenoiser(net, "float32", tile)(at, 0.1)).square().sum().backward()
        gradients.append(at.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-4)
    assert float(gradients[0].abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["unet-grey", "dncnn-grey"])
def test_half_precision_costs_a_shipped_network_at_most_two_hundredths_of_a_decibel(name: str) -> None:
    net = shipped(name).net
    x = photograph("camera")[..., 128:384, 128:384]
    for level in (15, 25, 50):
        y = x + level / 255 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        exact, half = (psnr(NetworkDenoiser(net, p)(y, level / 255), x) for p in ("float32", "bfloat16"))  # type: ignore[arg-type]
        assert float(exact - half) < 0.02 and float(half) > {15: 30, 25: 27, 50: 24}[level]


@pytest.mark.parametrize("gain", [0.01, 0.04])
def test_the_shipped_poisson_diffusion_beats_the_gaussian_one_on_photon_noise(gain: float) -> None:
    x = photograph("camera", torch.float64)[..., 100:356, 100:356]
    y = gain * torch.poisson(x / gain, generator=torch.Generator().manual_seed(0))
    poisson = DENOISERS.build("trd:noise=poisson")(y, gain**0.5)
    gaussian = DENOISERS.build("trd")(y, float((gain * x.mean()).sqrt()))  # of the mean variance
    assert psnr(poisson, x) > psnr(gaussian, x) > psnr(y, x) + 3


def test_a_network_that_declares_nothing_is_refused() -> None:
    with pytest.raises(TypeError, match=r"net is a Conv2d; expected a subclass of pnp\.priors\.nets\.Network"):
        NetworkDenoiser(nn.Conv2d(1, 1, 1))  # type: ignore[arg-type]


def test_a_denoiser_tells_its_networks_each_once() -> None:
    nets = {spec: networks(DENOISERS.build(spec)) for spec in ("unet", "trd", "trd:size=5,stages=8", "tv")}
    assert {spec: [net.title() for net in found] for spec, found in nets.items()} == {
        "unet": ["unet-grey", "unet-colour"],
        "trd": [f"trd-5x5-5-sigma{level}" for level in (15, 25, 50)],
        "trd:size=5,stages=8": ["trd-5x5-8-sigma25"],
        "tv": [],
    }
    assert [net.level for net in nets["trd"]] == [15 / 255, 25 / 255, 50 / 255] and nets["unet"][0].level is None
    assert [len(net.stages) for net in (*nets["unet"], nets["trd"][0])] == [0, 0, 5]


def test_what_is_not_shipped_names_what_is() -> None:
    with pytest.raises(SpecError, match=r"trd:size=7,stages=9,.* is not shipped\. Known: .*=5,stages=8.*=7,stages=5"):
        DENOISERS.build("trd:size=7,stages=9")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_sixteen_megapixels_take_less_than_two_gigabytes() -> None:
    """In a process of its own, torch included; planted: the network on the whole picture needs more."""
    peak = """
import sys, torch
from pathlib import Path
from pnp.priors.network import NetworkDenoiser
from pnp.priors.store import load
side, tile = int(sys.argv[1]), int(sys.argv[2])
NetworkDenoiser(load("unet-grey"), tile=tile or None)(torch.rand(1, 1, side, side), 0.1)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) / 1024)
"""

    def megabytes(side: int, tile: int) -> float:
        command = [sys.executable, "-c", peak, str(side), str(tile)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert megabytes(4000, 0) < 2000
    assert megabytes(1600, 1600) > megabytes(1600, 0) + 100
