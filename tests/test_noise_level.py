"""The noise level of files as cameras and editors write them: rounded, compressed, with noise that is not white."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from pnp.files import pictures
from pnp.noises import level as noise_level
from pnp.noises.gaussian import Gaussian
from pnp.noises.level import estimate_sigma, of_file
from pnp.samples import photograph

ROUNDING = 12**-0.5 / 255  # of 8 bits


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def camera() -> Tensor:
    return pictures.crop_centre(photograph("camera"), 256)


def saved(x: Tensor, path: Path, **options: int) -> pictures.Picture:
    Image.fromarray((x[0, 0].clamp(0, 1) * 255).round().byte().numpy()).save(path, **options)
    return pictures.read(path)


@pytest.mark.parametrize("quality", [30, 85, 95])
def test_a_jpeg_knows_from_its_tables_how_far_it_is_from_what_was_compressed(tmp_path: Path, quality: int) -> None:
    """Planted: the rounding to integers alone."""
    x = camera()
    picture = saved(x, tmp_path / "x.jpg", quality=quality)
    error = float((picture.pixels - x).std())
    assert 0.8 * error < picture.hidden < 1.5 * error
    assert picture.rounding < 0.5 * error


def test_integers_are_rounded_and_floats_are_not(tmp_path: Path) -> None:
    x = camera()
    png = saved(x * 0.9, tmp_path / "x.png")
    assert png.rounding == pytest.approx(float((png.pixels - x * 0.9).std()), rel=0.1)
    assert png.hidden == 0
    pictures.write(tmp_path / "x.npy", x)
    assert pictures.read(tmp_path / "x.npy").rounding == 0


@pytest.mark.parametrize("std", [0.5, 1.0])
def test_smoothed_noise_is_read_at_the_size_where_it_is_strong(std: float) -> None:
    """Between its own std and what it has at the lowest frequencies.  Planted: the level at full size, below both."""
    r = torch.arange(-4.0, 5)
    row = torch.exp(-(r**2) / (2 * std**2))
    kernel = torch.outer(row, row)[None, None]
    noise = torch.nn.functional.conv2d(torch.randn(1, 1, 264, 264, generator=seeded()), kernel / kernel.norm())
    y = camera() + 0.05 * noise
    fine, (found, _, source) = estimate_sigma(y), of_file(y, floor=ROUNDING, pixelwise=True)
    assert float(fine) < 0.04 and "size" in source
    assert 0.05 < float(found) < 0.05 * 2 * math.pi**0.5 * std


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee", "grass", "brick"])
@pytest.mark.parametrize("sigma", [0.005, 0.01, 0.05, 0.2])
def test_white_noise_is_left_as_it_is(name: str, sigma: float) -> None:
    y = Gaussian(sigma).draw(pictures.crop_centre(photograph(name), 256), seeded())
    assert torch.equal(of_file(y, floor=ROUNDING)[0], estimate_sigma(y))


def test_a_picture_without_noise_has_that_of_its_rounding(tmp_path: Path) -> None:
    """Planted: the level that is read, which is less where a blur has left whole windows of one value."""
    ramp = torch.linspace(0.2, 0.7, 256).expand(1, 1, 256, 256) * 0.1
    y = saved(ramp, tmp_path / "y.png")
    assert float(of_file(y.pixels, floor=y.rounding)[0]) >= y.rounding > float(estimate_sigma(y.pixels))


@pytest.mark.parametrize("noise", [0.0, 4 / 255])
def test_a_blurred_jpeg_is_restored_to_more_than_it_was(tmp_path: Path, noise: float) -> None:
    """Planted: the level that is read at full size, as of a picture that never was a JPEG."""
    from pnp.jobs import Job, run
    from pnp.registry import OPERATORS

    x, op = camera(), "blur:kernel=disk,radius=3"
    blur = OPERATORS.build(op, border="valid", shape=(1, 250, 250), measured=True, seed=0)
    y = saved(blur(x) + noise * torch.randn(1, 1, 250, 250, generator=seeded()), tmp_path / "y.jpg", quality=85)
    told = run(Job(op, "unet", floor=y.rounding, hidden=y.hidden), y.pixels, truth=x).record.metrics
    white = float(estimate_sigma(y.pixels))
    not_told = run(Job(op, "unet", sigma=white), y.pixels, truth=x).record.metrics
    assert told is not None and not_told is not None
    assert told["psnr"][0] > told["psnr_initial"][0] + 1 > not_told["psnr"][0]


def test_a_weight_that_fits_the_residual_goes_by_white_noise_alone_where_nothing_is_amplified(tmp_path: Path) -> None:
    """Planted: deblurring, where all that the file has lost counts."""
    from pnp.jobs import Job, run

    x = camera()
    y = saved(x + 4 / 255 * torch.randn(x.shape, generator=seeded()), tmp_path / "y.jpg", quality=30)
    levels = {
        (op, prior): run(
            Job(op, prior, floor=y.rounding, hidden=y.hidden, lam=1.0, iterations=1), y.pixels
        ).record.sigma.value
        for op in ("identity", "blur:std=1")
        for prior in ("tv", "unet")
    }
    white = float(estimate_sigma(y.pixels))
    assert levels["identity", "tv"] == pytest.approx(white, rel=1e-6)
    assert all(float(v) > 1.2 * white for at, v in levels.items() if at != ("identity", "tv"))  # type: ignore[arg-type]


def test_what_a_file_has_lost_goes_into_the_level_of_a_solve_each_in_its_way() -> None:
    """The rounding is part of what is read, a JPEG's loss is not.  Planted: one in the place of the other."""
    from pnp.jobs import Job, run

    y = camera() + 0.02 * torch.randn(1, 1, 256, 256, generator=seeded())
    read = float(estimate_sigma(y))

    def level(**lost: float) -> float:
        value = run(Job("identity", "unet", iterations=1, **lost), y).record.sigma.value  # type: ignore[arg-type]
        assert isinstance(value, float)
        return value

    assert level(floor=0.01) == pytest.approx(read, rel=1e-5) and level(floor=0.03) == pytest.approx(0.03)
    unseen = 0.03**2 - read**2 / 2  # half of what is seen is taken to be of the JPEG; planted: none of it
    assert level(hidden=0.03) == pytest.approx(math.hypot(read, unseen**0.5), rel=1e-5)
    assert level(hidden=0.01) == pytest.approx(read, rel=1e-5)  # all of it is seen; planted: it is added again


def test_photons_do_not_hide_the_noise_that_a_jpeg_has_left_at_half_size(tmp_path: Path) -> None:
    """What is left at full size grows with brightness by chance.  Planted: its level, a tenth of the noise."""
    y = saved(camera() + 4 / 255 * torch.randn(1, 1, 256, 256, generator=seeded()), tmp_path / "y.jpg", quality=75)
    numbers = (torch.tensor([v]) for v in (1e-5, 1e-4, 0.5, 1.0))
    photons = noise_level.PoissonGaussian(*numbers, torch.tensor([False]), torch.zeros(1))
    fine = torch.tensor([4e-4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise_level, "estimate_noise", lambda *_: (fine, photons))
        level, _, source = of_file(y.pixels, floor=0.0, hidden=y.hidden)
    assert bool(photons.dominates(fine)) and float(level) > 2.5 / 255 and "photon" not in source


@pytest.mark.parametrize(("levels", "size"), [((1.0, 2.0, 4.0), 4), ((1.0, 2.0, 2.0), 2), ((1.0, 1.0, 1.0), 1)])
def test_levels_of_several_sizes_are_averaged_as_variances_or_the_largest_is_taken(
    levels: tuple[float, float, float], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the mean of the levels."""
    monkeypatch.setattr(noise_level, "_sizes", lambda *_: levels)
    averaged, largest = math.hypot(*levels) / 3**0.5, max(levels)
    for jpeg, channels, expected in ((True, 1, averaged), (False, 3, averaged), (False, 1, largest)):
        y = camera().expand(-1, channels, -1, -1)
        found, at = noise_level.over_sizes(y, torch.ones(1), pixelwise=True, jpeg=jpeg)
        assert float(found) == pytest.approx(expected) and int(at) == size


def test_a_page_whose_white_is_flat_has_hardly_any_noise() -> None:
    """Black and white letters, most pixels clipped, and windows without any noise among the others."""
    means = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert noise_level._untruncated(0.0, means, 0.0, 1.0) == noise_level.FLOOR**2
