"""`pnp show`: the records of weights and the figures of trained diffusions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_cli import pnp
from test_weights import chain, exported

from pnp.files import pictures as files
from pnp.jobs import figures
from pnp.priors import store
from pnp.priors.nets import TRD


@pytest.mark.parametrize("name", ["unet", "dncnn"])
def test_show_lists_grey_and_colour(name: str, capsys: pytest.CaptureFixture) -> None:
    assert pnp("show", name) == 0
    said = capsys.readouterr().out
    for shade in ("grey", "colour"):
        assert f"weights: {name}-{shade}" in said and store.manifest()[f"{name}-{shade}"]["sha256"] in said
    assert said.count("noise levels: 0/255 to 55/255") == 2


def test_show_tells_the_record_of_the_file_and_none_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = exported(tmp_path, "unet-grey", "unet")
    assert pnp("show", f"unet:weights={path}") == 0
    said = capsys.readouterr().out
    assert "steps: 7" in said and store.manifest(tmp_path)["unet-grey"]["sha256"] in said
    assert store.manifest()["unet-grey"]["sha256"] not in said and "noise levels" not in said
    torch.save(chain(1, 4, 4, 1), tmp_path / "kair.pth")
    assert pnp("show", f"dncnn:weights={tmp_path / 'kair.pth'}") == 0
    said = capsys.readouterr().out
    assert "record: none" in said and "sha256" not in said and "noise levels" not in said


def test_show_draws_a_network_for_colour_alone(tmp_path: Path) -> None:
    path = exported(tmp_path, "unet-colour", "unet", channels=3)
    assert pnp("show", f"unet:weights={path}", "-o", str(tmp_path / "x.png")) == 0
    assert files.read(tmp_path / "x.png").pixels.std() > 0.1


@pytest.mark.parametrize(("stages", "filters"), [(2, 8), (3, 30)])
def test_a_diffusion_is_drawn_with_all_its_stages_and_filters(stages: int, filters: int) -> None:
    figure = figures.parts_figure(TRD(size=3, stages=stages, sigma=15 / 255, filters=filters))
    labels = [axis.get_ylabel() for axis in figure.axes]
    assert {label for label in labels if "stage" in label} == {f"stage {t + 1}" for t in range(stages)}
    drawn = [len(axis.lines) - 1 for axis in figure.axes if not axis.images]  # one line is the axis
    cells = [int(axis.images[0].get_extent()[1]) for axis in figure.axes if axis.images]
    assert sum(drawn) == sum(cells) == stages * filters and max(cells) <= figures.ROW
    title = figure.get_suptitle()
    assert "sigma15:" in title and f"all {filters} filters" in title


@pytest.mark.parametrize(("options", "level"), [([], 25), (["--sigma", "14/255"], 15), (["--sigma", "0.3"], 50)])
def test_show_draws_the_diffusion_nearest_to_sigma(
    options: list[str], level: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(figures, "parts_figure", lambda net, sigma: drawn.append(net.title()) or figures._figure(2, 2))
    assert pnp("show", "trd", "-o", str(tmp_path / "x.png"), *options) == 0
    assert drawn == [f"trd-5x5-5-sigma{level}"]


def test_show_writes_the_picture_of_a_diffusion(tmp_path: Path) -> None:
    assert pnp("show", "trd", "-o", str(tmp_path / "x.png")) == 0
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert files.read(tmp_path / "x.png").pixels.std() > 0.1
