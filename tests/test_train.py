"""The trainer: its pictures, its checkpoints, what it refuses, and the command."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut, camera
from test_cli import pnp

from pnp.files import pictures as files
from pnp.optimizer import Muon
from pnp.precision import Choice
from pnp.priors import store
from pnp.priors.nets import DnCNN, Network
from pnp.registry import SpecError
from pnp.training import em
from pnp.training.mixture import Mixture
from pnp.training.objectives import Denoising
from pnp.training.patches import PatchPool, held_out, read_pictures
from pnp.training.run import PATIENCE, TrainSettings, log, parse_network, resumed, start, step, train

CPU = torch.device("cpu")


def settings(**changes: object) -> TrainSettings:
    base = TrainSettings("dncnn", steps=6, config={"depth": 4, "width": 6}, batch=4, patch=32)
    return replace(base, **changes)


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        Image.fromarray(camera()[150 * i : 150 * i + 150, 100:260]).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def examples() -> Denoising:
    return Denoising(PatchPool([torch.from_numpy(camera()[None].copy())]), {}, "gaussian", (0.0, 55 / 255))


@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 64])
def test_no_picture_both_trains_and_judges(n: int) -> None:
    paths = [Path(f"{i:02}.png") for i in range(n)]
    training, judging = held_out(paths)
    assert training and len(judging) == max(1, n // 32)
    assert sorted(training + judging) == paths  # a picture in both would stand there twice


def test_one_picture_cannot_do_both(pictures: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"1 picture .*--val"):
        held_out(pictures[:1])
    with pytest.raises(ValueError, match="no picture to train on"):
        train(settings(), pictures[:1], tmp_path / "run", validation=pictures[:1])


def test_pictures_of_every_depth_are_read_alike(tmp_path: Path) -> None:
    grey = camera()[:40, :50]
    x = torch.from_numpy(grey)[None, None].float() / 255
    files.write(tmp_path / "8.png", x)
    files.write(tmp_path / "float.tif", x)
    Image.fromarray(257 * grey.astype(np.uint16)).save(tmp_path / "16.png")
    files.write(tmp_path / "pages.tif", x.expand(2, -1, -1, -1))
    read = read_pictures([tmp_path / n for n in ("8.png", "float.tif", "16.png", "pages.tif")], 1)
    assert len(read) == 5 and all(np.array_equal(p[0], grey) and p.dtype == torch.uint8 for p in read)
    assert [p.shape for p in read_pictures([tmp_path / "8.png"], 3)] == [(3, 40, 50)]


def test_grey_is_that_of_pillow(tmp_path: Path) -> None:
    Image.fromarray(astronaut()).save(tmp_path / "colour.png")
    theirs = np.asarray(Image.fromarray(astronaut()).convert("L")).astype(int)
    ours = read_pictures([tmp_path / "colour.png"], 1)[0][0].numpy().astype(int)
    assert abs(ours - theirs).max() <= 1 and abs((ours - theirs).mean()) < 0.1
    assert abs(astronaut().mean(2) - theirs).max() > 20  # planted: the plain mean
    assert np.array_equal(read_pictures([tmp_path / "colour.png"], 3)[0].permute(1, 2, 0).numpy(), astronaut())


@pytest.mark.parametrize("values", [[0.0, 1.5], [-0.1, 1.0], [0.0, float("nan")]])
def test_values_that_are_no_picture_are_refused_by_name(tmp_path: Path, values: list[float]) -> None:
    np.save(tmp_path / "odd.npy", np.tile(np.array(values, np.float32), (8, 4)))
    with pytest.raises(ValueError, match=r"odd\.npy"):
        read_pictures([tmp_path / "odd.npy"], 1)


@pytest.mark.parametrize("name", ["cut.png", "cut.jpg"])
def test_a_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(camera()).save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=name):
        read_pictures([path], 1)


def test_the_largest_patch_fits_into_every_picture() -> None:
    large = settings(patch=128, growth=((0.2, 16), (0.6, 2)))
    assert large.largest() == 512  # more than a small copy has
    pictures = [torch.randint(256, (1, *size), dtype=torch.uint8) for size in ((100, 500), (2060, 2050))]
    with_copies = PatchPool(pictures, large.largest(), Mixture(jpeg=0.3, whole=0.1))
    assert [len(sizes) for sizes in with_copies.sizes] == [1, 4]
    assert all(min(p.shape[1:]) >= 512 for sizes in with_copies.sizes for _, p in sizes)
    assert with_copies.draw(8, 512, torch.Generator()).shape == (8, 1, 512, 512)


@pytest.mark.parametrize(
    "net",
    [{}, {"mixture": Mixture(jitter=0.5, synthetic=0.5)}, {"net": "epll", "config": {"components": 4, "size": 4}}],
    ids=["descent", "jitter and rendered", "em"],
)
def test_an_interrupted_run_resumes_exactly(
    tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch, net: dict[str, object]
) -> None:
    monkeypatch.setattr(em, "CROPS", 32)

    def interrupt(now) -> None:
        if now.step == 3:
            raise KeyboardInterrupt

    def same(a: Network, b: Network) -> bool:
        return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))

    whole = train(settings(**net), pictures, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(settings(**net), pictures, tmp_path / "cut", report=interrupt)
    assert resumed(tmp_path / "cut", {}) == settings(**net)
    assert same(whole, train(resumed(tmp_path / "cut", {}), pictures, tmp_path / "cut", resume=True))
    assert not same(whole, train(settings(**net, seed=1), pictures, tmp_path / "other"))


def test_a_resumed_run_keeps_its_settings(tmp_path: Path, pictures: list[Path]) -> None:
    train(settings(steps=2), pictures, tmp_path / "run")
    same = {"net": "dncnn", "config": {"depth": 4, "bias": False}, "channels": 1, "lr": 1.5e-3, "mode": "joint"}
    assert resumed(tmp_path / "run", same) == settings(steps=2)
    assert resumed(tmp_path / "run", {"budget": 9.0}) == settings(steps=None, budget=9.0)
    for given, message in [
        ({"net": "unet"}, "network is unet, but dncnn"),
        ({"net": "dncnn", "config": {"width": 8}}, "dncnn:width is 8, but 6"),
        ({"channels": 3}, "--channels is 3, but 1"),
        ({"lr": 0.1}, "--lr is 0.1, but 0.0015"),
        ({"levels": (0.0, 0.1)}, r"--levels is \(0.0, 0.1\), but \(0.0, 0.2"),
        ({"mode": "greedy"}, "--mode is greedy, but joint"),
        ({"seed": 1}, "--seed is 1, but 0"),
        ({"synthetic": 0.3}, "--synthetic is 0.3, but 0.0"),
        ({"patch": (64, 160)}, r"--patch is \(64, 160\), but \(32, 64\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            resumed(tmp_path / "run", given)
    with pytest.raises(ValueError, match="use --resume or another --out"):
        train(settings(), pictures, tmp_path / "run")
    with pytest.raises(ValueError, match="cannot resume"):
        resumed(tmp_path / "nowhere", {})
    (tmp_path / "run/checkpoint.pt").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"cannot read .*checkpoint\.pt"):
        resumed(tmp_path / "run", {})


def test_a_run_of_an_earlier_version_is_refused(tmp_path: Path, pictures: list[Path]) -> None:
    train(settings(steps=2), pictures, tmp_path / "run")
    path = tmp_path / "run/checkpoint.pt"
    stored = torch.load(path, weights_only=True)
    del stored["settings"]["mixture"]
    torch.save(stored, path)
    with pytest.raises(ValueError, match=r"cannot resume .*earlier version of pnp .* start a new run"):
        resumed(tmp_path / "run", {})


def test_a_log_that_cannot_be_written_stops_nothing_before_the_end(tmp_path: Path, pictures: list[Path]) -> None:
    (tmp_path / "run/log.jsonl").mkdir(parents=True)
    with pytest.warns(UserWarning, match="log.jsonl") as notes, pytest.raises(OSError, match=r"log\.jsonl"):
        train(settings(), pictures, tmp_path / "run", validate_every=0)
    assert len(notes) == 1
    assert torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)["run"]["step"] == 6


def test_gradients_that_stay_infinite_end_the_run() -> None:
    run = start(settings(), CPU)
    patches = examples()
    step(settings(), run, patches, 0.0, CPU)
    good = [p.clone() for p in run.net.parameters()]
    with torch.no_grad():
        next(run.net.parameters()).fill_(float("nan"))
    for _ in range(PATIENCE - 1):
        step(settings(), run, patches, 0.5, CPU)
    assert all(torch.equal(a, b) for a, b in zip(good[1:], list(run.net.parameters())[1:], strict=True))
    with pytest.raises(RuntimeError, match="50 gradients in a row were not finite, at step 51; lower --lr"):
        step(settings(), run, patches, 0.5, CPU)


def test_what_is_not_finite_is_null_in_the_log(tmp_path: Path) -> None:
    run = start(settings(), CPU)
    log(tmp_path, run, 0.5, [torch.tensor(float("nan"))], {"psnr": {"25": float("inf"), "50": 27.12345}}, 3)
    line = json.loads((tmp_path / "log.jsonl").read_text(), parse_constant=pytest.fail)
    assert line["loss"] is None and line["psnr"] == {"25": None, "50": 27.123} and line["pictures"] == 3


def test_a_new_run_leaves_the_generator_of_the_caller() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a = start(settings(), CPU)
    assert torch.equal(torch.rand(3), expected)
    b = start(settings(), CPU)
    assert all(torch.equal(p, q) for p, q in zip(a.net.parameters(), b.net.parameters(), strict=True))
    other = start(settings(seed=1), CPU)
    assert not torch.equal(next(a.net.parameters()), next(other.net.parameters()))


def test_the_optimiser_moves_weights_of_any_layout_alike() -> None:
    nets = [DnCNN(depth=4, width=12) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].to(memory_format=torch.channels_last)
    before = nets[0].layers[1].weight.detach().clone()
    for net in nets:
        generator = torch.Generator().manual_seed(0)
        optimizer = Muon(net.parameters(), 0.1)
        for _ in range(2):
            for p in net.parameters():
                p.grad = torch.randn(p.shape, generator=generator)
            optimizer.step()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    moved = (nets[0].layers[1].weight.detach() - before).permute(0, 2, 3, 1).flatten(1)
    sizes = torch.linalg.svdvals(moved)
    assert float(sizes.min()) > 0.3 * float(sizes.max()) > 0  # orthogonalised: a random matrix has 0.2 here, no more


def test_the_optimiser_goes_on_from_its_state() -> None:
    net = DnCNN(depth=4, width=12)
    generator = torch.Generator().manual_seed(0)
    gradients = [[torch.randn(p.shape, generator=generator) for p in net.parameters()] for _ in range(3)]

    def go(net: DnCNN, optimizer: Muon, steps: list[list[torch.Tensor]]) -> None:
        for given in steps:
            for p, gradient in zip(net.parameters(), given, strict=True):
                p.grad = gradient
            optimizer.step()

    first = Muon(net.parameters(), 0.1)
    go(net, first, gradients[:2])
    other = DnCNN(depth=4, width=12)
    other.load_state_dict(net.state_dict())
    second = Muon(other.parameters(), 0.1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for n, o in ((net, first), (other, second)):
        go(n, o, gradients[2:])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))
    with pytest.raises(ValueError, match="other weights"):
        Muon([torch.zeros(3, requires_grad=True)], 0.1).load_state_dict(first.state_dict())


def test_a_network_is_read_from_its_spec() -> None:
    assert parse_network("unet:widths=8x12x16,blocks=1") == ("unet", {"widths": (8, 12, 16), "blocks": 1})
    for spec, message in [
        ("unet:channels=3", "--channels"),
        ("unet:widths=8x12", "3 whole numbers"),
        ("unet:widths=8x12x0", "3 whole numbers"),
        ("unet:depth=3", "unknown option"),
        ("unet:8", "key=value"),
        ("unett", "Did you mean 'unet'"),
    ]:
        with pytest.raises(SpecError, match=message):
            parse_network(spec)
    with pytest.raises(ValueError, match=r"e\.g\. trd, not dncnn"):
        start(settings(mode="greedy"), CPU)


def test_the_command_trains_resumes_records_and_its_weights_restore(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "dncnn:depth=4,width=6", "--data", "photos", "--out", "run"]
    assert pnp(*command, "--steps", "4", "--seed", "2", "--lr", "1e-3", "--licence", "CC0") == 0
    assert pnp(*command, "--steps", "4") == 2
    assert "use --resume or another --out" in capsys.readouterr().err
    assert pnp(*command, "--resume") == 0  # at its end already
    assert store.manifest(Path("run"))["dncnn-grey"]["steps"] == 4
    assert pnp(*command, "--resume", "--steps", "5") == 0
    assert pnp(*command, "--resume", "--seed", "3") == 2
    assert "--seed is 3, but 2 in run" in capsys.readouterr().err
    record = store.manifest(Path("run"))["dncnn-grey"]
    expected = {"architecture": "dncnn", "mode": "joint", "lr": 1e-3, "seed": 2, "sigma": [0.0, 55 / 255], "steps": 5}
    expected |= {"data": ["photos"], "licence": "CC0", "patch": [64, 128], "mixture": asdict(Mixture())}
    assert {k: record[k] for k in expected} == expected and "init" not in record
    assert record["validation"]["data"] == ["photos"] and set(record["psnr"]) == {"15", "25", "50"}
    assert record["validation"]["pictures"] == 1 + 1 + 8 * (len(record["origins"]) - 2)  # of one photograph
    solve = ["solve", "photos/0.png", "--simulate", "--op", "blur:std=1", "--lam", "1", "--iterations", "2"]
    assert pnp(*solve, "--prior", "dncnn:weights=run/dncnn-grey.safetensors", "--report", "out") == 0
    assert files.read("out/0-restored.png").pixels.shape == (1, 1, 150, 160)


def test_fine_tuned_weights_keep_the_record_of_the_first(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    other = Path("other/photos")  # of the same name, and of a licence that nobody has told
    other.mkdir(parents=True)
    for path in pictures:
        (other / path.name).write_bytes(path.read_bytes())
    net = ["train", "dncnn:depth=4,width=6"]
    assert pnp(*net, "--data", "photos", "--out", "a", "--steps", "2", "--licence", "CC0") == 0
    first, path = store.manifest(Path("a"))["dncnn-grey"], "a/dncnn-grey.safetensors"
    tuned = [*net, "--data", str(other), "--val", "photos/1.png", "--out", "b"]
    assert pnp(*tuned, "--steps", "3", "--init", path) == 0
    assert pnp(*tuned, "--resume", "--init", path) == 2
    assert "--init starts a new run" in capsys.readouterr().err
    assert pnp(*tuned, "--resume", "--steps", "4") == 0
    record = store.manifest(Path("b"))["dncnn-grey"]
    assert record["init"] == first["sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert record["data"] == ["photos"] and record["licence"] == "CC0; unknown" and record["steps"] == 2 + 4
    assert record["validation"]["data"] == ["photos"]


def test_weights_without_a_record_count_as_unknown(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = {f"model.{2 * i}.weight": p.data for i, p in enumerate(DnCNN(1, 4, 6, conditioned=False).parameters())}
    torch.save(plain, "kair.pth")
    spec = "dncnn:depth=4,width=6,conditioned=false"
    options = ["--data", "photos", "--steps", "2", "--licence", "CC0"]
    assert pnp("train", spec, *options, "--out", "run", "--init", "kair.pth") == 0
    record = store.manifest(Path("run"))["dncnn-grey"]
    assert record["data"] == ["unknown", "photos"] and record["licence"] == "unknown; CC0" and record["steps"] == 2
    assert record["init"] == hashlib.sha256(Path("kair.pth").read_bytes()).hexdigest()


def test_the_command_takes_shares_and_sides_and_tells_them(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "dncnn:depth=4,width=6", "--data", "photos", "--out", "run"]
    shares = ["--synthetic", "0.5", "--jitter", "0.25", "--jpeg", "0"]
    assert pnp(*command, "--steps", "2", *shares, "--patch", "16..40", "--precision", "float32") == 0
    record = store.manifest(Path("run"))["dncnn-grey"]
    assert record["mixture"] == asdict(Mixture(jpeg=0, jitter=0.25, synthetic=0.5)) and record["patch"] == [16, 40]
    assert pnp(*command, "--resume", "--steps", "3", *shares, "--patch", "16..40") == 0
    assert pnp(*command, "--resume", "--jitter", "0.5") == 2
    assert "--jitter is 0.5, but 0.25 in run" in capsys.readouterr().err
    for wrong, says in (
        (["--patch", "40..16"], "patches are 40..16 pixels; expected LOW..HIGH"),
        (["--patch", "big"], "expected LOW..HIGH or one side in pixels"),
        (["--synthetic", "1.5"], "1.5 is not in the range"),
    ):
        assert pnp(*command[:-1], "other", "--steps", "2", *wrong) == 2
        assert says in capsys.readouterr().err
    assert pnp("train", "epll", "--data", "photos", "--out", "other", "--steps", "2", "--patch", "16") == 2
    assert "--patch does not apply to epll" in capsys.readouterr().err


def test_noise_levels_are_not_for_a_network_that_has_its_own(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "trd:size=3,stages=1", "--data", "photos", "--out", "run", "--steps", "1"]
    assert pnp(*command, "--levels", "0..0.1") == 2
    assert "--levels does not apply to trd" in capsys.readouterr().err and not Path("run").exists()


def test_training_runs_in_the_format_that_is_fastest_with_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, asked = [], []

    class Spy(Network):
        config, receptive_radius = dict, int

        def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            seen.append(torch.is_autocast_enabled("cpu"))
            return self.net(x, sigma)

    for dtype in (torch.bfloat16, torch.float32):

        def chosen(given: str, device: torch.device, learning: bool, dtype: torch.dtype = dtype) -> Choice:
            asked.append((given, device, learning))
            return Choice(dtype, "planted")

        monkeypatch.setattr("pnp.training.run.choose", chosen)
        run, spy = start(settings(), CPU), Spy()
        spy.net, run.net = run.net, spy
        step(settings(), run, examples(), 0.0, CPU)
    assert seen == [True, False] and set(asked) == {("auto", CPU, True)}
