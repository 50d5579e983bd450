"""`pnp doctor` says what was done to the files of the guides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from sample_files import write_all

from pnp.cli import cli
from pnp.files.curves import SRGB
from pnp.files.pictures import read
from pnp.jobs.doctor import examine, painted, quality
from pnp.operators import ValidBlur, kernels
from pnp.samples import photograph


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
        ("photo.jpg", "blur", "out of focus: a disk of radius about 4", '--op "blur:kernel=disk,radius=?"'),
        ("moved.jpg", "blur", "its form is not clear", "--op blur:kernel=estimate"),
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


def jpeg(kernel: torch.Tensor | None, path: Path, orientation: int = 1) -> Path:
    """A photograph, blurred in light where there is a kernel, as a camera writes it."""
    x = photograph("astronaut")[..., :256, 150:406].double()
    light = SRGB.decode(x)
    light = light if kernel is None else ValidBlur(kernel.double())(light)
    light = light + 0.002 * torch.randn(light.shape, generator=torch.Generator().manual_seed(0)).double()
    pixels = (SRGB.encode(light.clamp(0, 1))[0].permute(1, 2, 0) * 255).round().byte().numpy()
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, quality=90, exif=exif)
    return path


@pytest.mark.parametrize("blurred", [False, True])
def test_a_gaussian_has_no_form_and_a_sharp_picture_no_blur(tmp_path: Path, blurred: bool) -> None:
    file = jpeg(kernels.gaussian(2.0) if blurred else None, tmp_path / "x.jpg")
    found = examine(read(file, "auto"), "x.jpg")
    if blurred:
        assert "as wide as a Gaussian of std 2" in found.lines["blur"] and "blur:kernel=estimate" in found.options
    else:
        assert found.lines["blur"] == "none that shows" and "blur" not in found.options


def test_a_good_jpeg_is_not_called_noisy_and_a_turned_one_has_its_quality(tmp_path: Path) -> None:
    found = examine(read(jpeg(None, tmp_path / "x.jpg", orientation=6), "auto"), "x.jpg")
    assert found.lines["jpeg"] == "quality about 90" and "identity" not in found.options


def test_the_quality_of_a_jpeg_is_read_off_its_steps() -> None:
    assert quality((16.0, 11.0, 10.0, 16.0, 24.0, 40.0, 51.0, 61.0)) == 50
    assert quality((2.0, 1.0, 1.0, 2.0, 2.0, 4.0, 5.0, 6.0)) in (95, 96)


def test_a_red_wall_is_not_paint() -> None:
    wall = torch.rand(3, 40, 40) * 0.2 + torch.tensor([0.8, 0.0, 0.0]).view(3, 1, 1)
    assert painted(wall) is None
    wall[:, 5:8] = torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)
    assert painted(wall) == "red"
