"""Files of weights: their records, whose they are, and what is said of those that do not fit."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import SMALL, images
from torch import Tensor, nn

from pnp import priors
from pnp.priors import store
from pnp.priors.nets import ARCHITECTURES
from pnp.registry import DENOISERS, PRIORS, SpecError


def exported(folder: Path, name: str, architecture: str, **config: object) -> str:
    """The path of a small new network of this architecture, exported with a record."""
    net = ARCHITECTURES[architecture](**SMALL[architecture], **config)
    store.export(net, name, {"architecture": architecture, "steps": 7}, folder)
    return str(folder / f"{name}.safetensors")


def change(folder: Path, name: str, **values: object) -> None:
    records = json.loads((folder / "manifest.json").read_text())
    records[name] |= values
    (folder / "manifest.json").write_text(json.dumps(records))


def chain(*widths: int, prefix: str = "model") -> dict[str, Tensor]:
    """A chain of 3×3 convolutions in KAIR's names: model.0, model.2, ..."""
    layers = [nn.Conv2d(i, o, 3) for i, o in pairwise(widths)]
    return {f"{prefix}.{2 * k}.{n}": p.detach() for k, layer in enumerate(layers) for n, p in layer.named_parameters()}


def test_a_network_carries_the_record_of_the_file_that_was_read(tmp_path: Path) -> None:
    net = store.load_file(exported(tmp_path, "unet-grey", "unet"))
    record = store.record_of(net)
    assert record == json.loads((tmp_path / "manifest.json").read_text())["unet-grey"]
    assert record != store.manifest()["unet-grey"]
    torch.save(chain(1, 4, 4, 1), tmp_path / "kair.pth")
    assert store.record_of(store.load_file(tmp_path / "kair.pth")) is None


@pytest.mark.parametrize("held", SMALL)
def test_weights_of_another_architecture_are_refused(tmp_path: Path, held: str) -> None:
    path = exported(tmp_path, "mine", held)
    fits = "unet" if held == "drunet" else held
    for registry in (DENOISERS, PRIORS):
        for name in ("unet", "dncnn", "trd", "epll", "wcrr"):
            if name == fits:
                registry.build(f"{name}:weights={path}")
                continue
            with pytest.raises(store.WeightsError, match=f"holds a {held}, not a {name}; give {fits}:weights={path}"):
                registry.build(f"{name}:weights={path}")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"architecture": "unett"}, "unknown architecture 'unett'. Did you mean 'unet'"),
        ({"architecture": None}, "unknown architecture 'None'"),
        ({"config": {"widdths": [4, 6, 8]}}, "no config that fits unet: .*widdths"),
        ({"config": None}, "no config that fits unet"),
    ],
)
def test_a_record_that_describes_no_network_is_refused(tmp_path: Path, values: dict, says: str) -> None:
    path = exported(tmp_path, "mine", "unet")
    change(tmp_path, "mine", **values)
    with pytest.raises(store.WeightsError, match=says):
        store.load_file(path)


def test_a_missing_or_foreign_manifest_is_named(tmp_path: Path) -> None:
    path = exported(tmp_path, "mine", "unet")
    for text in ("[1, 2]", '{"mine": 3}', "{"):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(store.WeightsError, match="not a manifest of weights"):
            store.load_file(path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(store.WeightsError, match=r"mine\.safetensors: manifest\.json is missing"):
        store.load_file(path)


def test_who_should_install_again_is_told_so_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(exported(tmp_path, "mine", "unet"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(store.WeightsError, match="damaged") as told:
        store.load_file(path)
    assert "Install" not in str(told.value)
    monkeypatch.setattr(store, "SHIPPED", tmp_path)
    with pytest.raises(store.WeightsError, match="Install pnp again"):
        store.load_file(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "empty"),
        ({"state_dict": {}}, "empty"),
        (chain(2, *[4] * 19, 1), "FDnCNN"),
        (chain(4, *[4] * 19, 3), "FDnCNN"),
        (chain(5, *[4] * 14, 4), "FFDNet"),
        (chain(1, *[4] * 6, 1), "IRCNN"),
        (chain(3, *[4] * 6, 3), "IRCNN"),
        ({str(i): chain(1, *[4] * 6, 1) for i in range(25)}, "25 networks, as KAIR's IRCNN"),
    ],
    ids=["empty", "empty inside", "FDnCNN", "FDnCNN colour", "FFDNet", "IRCNN", "IRCNN colour", "IRCNN, every level"],
)
def test_published_networks_of_another_kind_are_refused_by_name(tmp_path: Path, content: dict, says: str) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(store.WeightsError, match=says):
        store.load_file(tmp_path / "x.pth")


def test_chains_that_are_dncnn_still_load(tmp_path: Path) -> None:
    for widths, prefix in (((1, *[4] * 16, 1), "model"), ((2, *[4] * 16, 1), "layers"), ((1, *[4] * 6, 1), "layers")):
        torch.save(chain(*widths, prefix=prefix), tmp_path / "x.pth")
        assert store.load_file(tmp_path / "x.pth").depth == len(widths) - 1


def test_a_trained_diffusion_of_ones_own_is_a_denoiser_and_a_prior(tmp_path: Path) -> None:
    path, x = exported(tmp_path, "mine", "trd", sigma=0.1), images(1, 1, 16, 16, dtype=torch.float32)
    net = store.load_file(path)
    expected = x - net(x, 0.2)
    assert float((expected - x).abs().max()) > 1e-3
    torch.testing.assert_close(DENOISERS.build(f"trd:weights={path}")(x, 0.2), expected)
    torch.testing.assert_close(priors.parse(f"trd:weights={path}").prox(x, 0.2**2), expected)


def test_several_levels_are_joined_and_the_nearest_is_taken(tmp_path: Path) -> None:
    paths = [exported(tmp_path, f"at{s}", "trd", sigma=s) for s in (0.2, 0.05, 0.1)]
    denoiser = DENOISERS.build(f"trd:weights={os.pathsep.join(paths)}")
    assert list(denoiser.members) == [0.05, 0.1, 0.2]
    x = images(1, 1, 16, 16, dtype=torch.float32)
    assert torch.equal(denoiser(x, 0.19), DENOISERS.build(f"trd:weights={paths[0]}")(x, 0.19))
    assert not torch.equal(denoiser(x, 0.06), DENOISERS.build(f"trd:weights={paths[0]}")(x, 0.06))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    a, b = (exported(tmp_path, name, "trd", sigma=0.1) for name in "ab")
    poisson = exported(tmp_path, "poisson", "trd", sigma=0.2, noise="poisson")
    for joined, says in (
        (f"trd:weights={a}{os.pathsep}{b}", "same noise level"),
        (f"trd:weights={a}{os.pathsep}{poisson}", "different kinds of noise"),
        (f"trd:weights={a}{os.pathsep}missing.pth", "no such file"),
        (f"trd:size=7,weights={a}", "Pass weights alone"),
    ):
        with pytest.raises((SpecError, store.WeightsError), match=says):
            DENOISERS.build(joined)
    for spec in ("trd:noise=poisson", f"trd:weights={poisson}"):
        DENOISERS.build(spec)
        with pytest.raises(SpecError, match="Use it as a denoiser"):
            PRIORS.build(spec)


def test_the_shipped_diffusions_are_in_ascending_order() -> None:
    members = DENOISERS.build("trd").members
    assert len(members) > 1 and list(members) == sorted(members)
