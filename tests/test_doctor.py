"""`pnp doctor` says what was done to the files of the guides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from sample_files import write_all

from pnp.cli import cli
from pnp.jobs.doctor import painted, quality


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder, quick=True)
    return folder


@pytest.mark.parametrize(
    ("file", "part", "text", "command"),
    [
        ("scratched.png", "paint", "red", "--op identity --mask red"),
        ("old.jpg", "jpeg", "quality about 15", "--op identity"),
        ("noisy.png", "noise", "25/255", "--op identity"),
        ("photo.jpg", "blur", "Gaussian of std", '--op "blur:kernel=disk,radius=?"'),
        ("stack.tif", "file", "2 pages", ""),
    ],
)
def test_it_says_what_was_done_to_a_file(samples: Path, file: str, part: str, text: str, command: str) -> None:
    done = CliRunner().invoke(cli, ["doctor", str(samples / file), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output.splitlines()[-1])
    assert command in found["command"]
    said = found[part]
    assert text in said or (part == "noise" and abs(float(said.split()[1].strip(",")) - 25 / 255) < 0.01)


def test_the_quality_of_a_jpeg_is_read_off_its_steps() -> None:
    assert quality((16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0)) == 50
    assert quality((2.0, 1.0, 1.0, 2.0, 2.0, 4.0, 5.0, 6.0)) in (95, 96)


def test_a_red_wall_is_not_paint() -> None:
    wall = torch.rand(3, 40, 40) * 0.2 + torch.tensor([0.8, 0.0, 0.0]).view(3, 1, 1)
    assert painted(wall) is None
    wall[:, 5:8] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    assert painted(wall) == "red"
