"""Noise has the moments it claims, depends on its generator alone, and its level can be estimated."""

import math

import pytest
import scipy.fft
import torch

import pnp.noises.level
from pnp.linalg import dct_basis
from pnp.noises import Gaussian, Poisson, SaltPepper
from pnp.noises.level import FLOOR, estimate_noise, estimate_sigma
from pnp.registry import NOISES
from pnp.samples import photograph

SIZE = (2, 3, 96, 96)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(name: str, size: int = 256) -> torch.Tensor:
    return photograph(name, torch.float64)[..., :size, :size]


def blurred(x: torch.Tensor) -> torch.Tensor:
    r = torch.arange(-6, 7, dtype=x.dtype)
    row = torch.exp(-(r**2) / (2 * 1.6**2))
    kernel = torch.outer(row, row) / row.sum() ** 2
    return torch.nn.functional.conv2d(x.transpose(0, 1), kernel[None, None]).transpose(0, 1)


def test_gaussian_noise_has_mean_zero_and_its_sigma():
    noise = Gaussian(0.1).draw(torch.zeros(SIZE), seeded())
    assert abs(float(noise.mean())) < 4 * 0.1 / math.sqrt(noise.numel())
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)


def test_poisson_noise_has_mean_y_and_variance_gain_times_y():
    for level in (0.02, 0.5, 5.0):
        y = Poisson(0.01).draw(torch.full(SIZE, level), seeded())
        assert float(y.mean()) == pytest.approx(level, rel=0.02)
        assert float(y.var()) == pytest.approx(0.01 * level, rel=0.05)
        assert torch.allclose(y / 0.01, (y / 0.01).round(), atol=1e-3)  # whole photons


def test_salt_and_pepper_replaces_its_fraction_half_by_0_half_by_1():
    x = torch.full(SIZE, 0.5)
    y = SaltPepper(0.2).draw(x, seeded())
    assert float((y == 0).double().mean()) == pytest.approx(0.1, abs=0.005)
    assert float((y == 1).double().mean()) == pytest.approx(0.1, abs=0.005)
    assert torch.equal(y[(y != 0) & (y != 1)], x[(y != 0) & (y != 1)])
    assert torch.equal(SaltPepper(0).draw(x, seeded()), x)


def test_noise_is_neither_clipped_nor_rounded():
    y = Gaussian(0.5).draw(torch.zeros(SIZE), seeded())
    assert float(y.min()) < -1 and float(y.max()) > 1


@pytest.mark.parametrize("noise", [Gaussian(0.1), Poisson(0.01), SaltPepper(0.3)])
def test_noise_depends_on_its_generator_alone_and_leaves_its_input(noise):
    x = torch.rand(SIZE, generator=seeded(1))
    before, state = x.clone(), torch.get_rng_state()
    y = noise.draw(x, seeded())
    assert torch.equal(y, noise.draw(x, seeded())) and not torch.equal(y, noise.draw(x, seeded(5)))
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(x, before)
    y64 = noise.draw(x.double(), seeded())
    assert y.dtype == torch.float32 and y64.dtype == torch.float64
    torch.testing.assert_close(y.double(), y64, rtol=0, atol=1e-6)


def test_noise_of_a_measurement_that_is_a_row_of_numbers():
    assert Gaussian(0.1).draw(torch.zeros(2, 1, 1, 50), seeded()).shape == (2, 1, 1, 50)


@pytest.mark.parametrize("make", [lambda: Gaussian(0), lambda: Gaussian(math.nan), lambda: Poisson(-1)])
def test_wrong_settings_are_refused_where_they_are_made(make):
    with pytest.raises(ValueError, match="expected a number above 0"):
        make()


def test_a_wrong_fraction_and_a_negative_photon_rate_are_refused():
    with pytest.raises(ValueError, match="from 0 to 1"):
        SaltPepper(1.5)
    with pytest.raises(ValueError, match="counts photons"):
        Poisson(0.01).draw(torch.full(SIZE, -0.1), seeded())
    Poisson(0.01).draw(torch.full(SIZE, 0.5).index_fill(3, torch.tensor([0]), -1e-8), seeded())  # rounding of an FFT


def test_every_registered_noise_is_made_from_its_examples():
    specs = [spec for entry in NOISES.values() for spec in entry.examples]
    assert {"gaussian", "poisson", "saltpepper"} <= set(NOISES) and specs
    for spec in specs:
        assert NOISES.build(spec).draw(torch.full(SIZE, 0.5), seeded()).shape == SIZE


@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.1])
def test_sigma_of_pure_noise_is_found_to_3_percent(sigma):
    y = Gaussian(sigma).draw(torch.full((2, 1, 128, 128), 0.5), seeded())
    torch.testing.assert_close(estimate_sigma(y), torch.full((2,), sigma), rtol=0.03, atol=0)


@pytest.mark.parametrize("name", ["astronaut", "camera", "coffee"])
@pytest.mark.parametrize("degrade", [lambda x: x, blurred], ids=["sharp", "blurred"])
def test_sigma_of_a_photograph_is_found_to_10_percent(name, degrade):
    for sigma in (0.02, 0.05, 0.1):
        y = Gaussian(sigma).draw(degrade(photo(name)), seeded())
        assert float(estimate_sigma(y)) == pytest.approx(sigma, rel=0.1)


def test_texture_everywhere_is_overestimated_by_less_than_the_usual_estimator():
    from skimage.restoration import estimate_sigma as usual

    y = Gaussian(0.02).draw(photo("grass"), seeded())
    ours, mad = float(estimate_sigma(y)), float(usual(y[0, 0].numpy()))
    assert 0.02 < ours < 0.7 * mad


def test_each_picture_of_a_batch_is_estimated_as_if_alone_and_always_the_same():
    y = torch.cat([Gaussian(s).draw(photo("camera"), seeded()) for s in (0.01, 0.1)])
    state = torch.get_rng_state()
    both = estimate_sigma(y)
    assert both.shape == (2,) and both.dtype == y.dtype
    assert torch.equal(both, torch.cat([estimate_sigma(y[:1]), estimate_sigma(y[1:])]))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("share", [0.9, 0.8, 0.5, 0.3])
def test_missing_pixels_are_left_out(share):
    y = Gaussian(0.1).draw(photo("camera"), seeded())
    known = torch.rand(1, 1, 256, 256, generator=seeded(3)) < share
    garbage = torch.where(known, y, 4 * torch.rand(y.shape, generator=seeded(4), dtype=y.dtype))
    error, fault = (abs(float(sigma) - 0.1) for sigma in (estimate_sigma(garbage, known), estimate_sigma(garbage)))
    assert error < 0.01
    # what the mask prevents; of 0.9 some windows have no gap: 9 % off
    assert fault > 5 * error and fault > (0.005 if share == 0.9 else 0.01)


def test_clipped_and_rounded_measurements_keep_their_sigma():
    y = Gaussian(0.05).draw(photo("camera"), seeded())
    assert float(estimate_sigma((y.clamp(0, 1) * 255).round() / 255)) == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("name", ["astronaut", "brick"])
def test_noise_that_clipping_has_cut_is_found_to_2_percent(name):
    """Planted: the variance of what clipping has left, taken for the noise's."""
    y = Gaussian(0.2).draw(photo(name, 512), seeded()).clamp(0, 1)
    assert float(estimate_sigma(y)) == pytest.approx(0.2, rel=0.02)
    left = pnp.noises.level._spectra(y[0], torch.ones_like(y[0], dtype=torch.bool))
    assert left is not None
    planted = left._replace(ends=(-1e3, 1e3)).variance(pnp.noises.level.SHARES) ** 0.5
    assert planted != pytest.approx(0.2, rel=0.04)


def test_a_fit_between_holes_may_lie_beyond_the_darkest_pixel():
    """Planted: such a mean as it is, of which no sigma explains a pixel above the darkest."""
    i, j = torch.arange(256)[:, None], torch.arange(256)
    known = ((i + j) % 12 < 8).to(torch.float64)[None, None]
    for name in ("astronaut", "coffee", "camera"):
        assert 0 < float(estimate_sigma(photo(name), known)) < 0.05


def test_pictures_without_noise_get_the_floor():
    step = torch.zeros(1, 1, 64, 64)
    step[..., 32:] = 1
    for y in (torch.zeros(1, 1, 64, 64), torch.full((1, 3, 9, 9), 0.3), step):
        assert estimate_sigma(y).tolist() == pytest.approx([FLOOR])


@pytest.mark.parametrize("size", [2, 3, 5, 8, 12, 20])
def test_tiny_pictures_give_a_finite_estimate(size):
    estimate = float(estimate_sigma(Gaussian(0.1).draw(torch.full((1, 1, size, size), 0.5), seeded())))
    assert 0.99 * FLOOR < estimate < 0.3
    assert size < 8 or estimate == pytest.approx(0.1, rel=0.4)


def test_what_is_no_picture_or_has_no_known_neighbours_is_refused():
    with pytest.raises(ValueError, match="not a picture"):
        estimate_sigma(torch.rand(1, 1, 1, 500))
    grid = torch.zeros(1, 1, 64, 64)
    grid[..., ::6, ::6] = 1
    with pytest.raises(ValueError, match="too few pixels"):
        estimate_sigma(torch.rand(1, 1, 64, 64), grid)


@pytest.mark.parametrize("p", [3, 4, 6, 8, 16])  # of 2 samples it is its own inverse
def test_the_basis_of_windows_is_the_orthonormal_cosine_transform(p):
    window = torch.rand(p, p, dtype=torch.float64)
    expected = torch.from_numpy(scipy.fft.dctn(window.numpy(), norm="ortho")).flatten()
    torch.testing.assert_close(dct_basis(p) @ window.flatten(), expected)
    with pytest.raises(AssertionError):  # planted: the inverse
        torch.testing.assert_close(dct_basis(p).T @ window.flatten(), expected)


@pytest.mark.parametrize(("gain", "offset"), [(0.01, 0.0), (0.003, 0.01), (0.02, 0.02)])
def test_gain_and_offset_of_photon_noise_are_found(gain: float, offset: float) -> None:
    clean = blurred(photo("camera", 512))
    y = Poisson(gain).draw(clean, seeded())
    y = Gaussian(offset).draw(y, seeded(1)) if offset else y
    found = estimate_noise(y)[1]
    true = (gain * clean.mean() + offset**2).sqrt()
    assert float(found.gain) == pytest.approx(gain, rel=0.25)
    assert float(found.sigma()) == pytest.approx(float(true), rel=0.15)
    assert bool(found.dominates(estimate_sigma(y)).all())
    assert float(estimate_sigma(y)) < 0.93 * float(true)  # what the flattest windows say


@pytest.mark.parametrize("name", ["camera", "brick", "grass", "gravel", "coins", "moon", "page", "text"])
@pytest.mark.parametrize("sigma", [0.01, 0.03, 0.1])
def test_white_noise_is_not_taken_for_photons(sigma: float, name: str) -> None:
    y = Gaussian(sigma).draw(photo(name, 512), seeded())
    found = estimate_noise(y)[1]
    assert not bool(found.dominates(estimate_sigma(y)).any())


def cells(dark: float) -> torch.Tensor:
    """A photograph's bright parts on a dark ground, blurred."""
    x = photo("camera")
    return blurred(torch.where(x > 0.7, x, dark))


@pytest.mark.parametrize("peak", [5, 20, 200, 1000])
def test_counts_of_photons_show_their_gain_however_few_they_are(peak: int) -> None:
    """Planted: windows with a count of 0 are left out, as of a picture that black has clipped."""
    clean = cells(0.02)
    y = Poisson(1 / peak).draw(clean, seeded())
    for scale in (1.0, peak / 65535):  # as counts of a file of 16 bits, too
        sigma, found = estimate_noise(y * scale)
        assert bool(found.counted.all()) and bool(found.dominates(sigma).all())
        assert float(found.gain) == pytest.approx(scale / peak, rel=1e-3)
    assert float(estimate_noise(y)[1].sigma()) == pytest.approx(float(clean.mean() / peak) ** 0.5, rel=0.05)
    if peak < 50:
        assert float(estimate_sigma(y)) > 1.3 * float(clean.mean() / peak) ** 0.5


@pytest.mark.parametrize("name", ["camera", "brick", "grass", "coins", "moon", "page"])
@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.03, 0.1])
def test_steps_of_eight_bits_are_not_counts_of_photons(sigma: float, name: str) -> None:
    x = photo(name)
    y = Gaussian(sigma).draw(x, seeded()) if sigma else x
    assert not bool(estimate_noise((y.clamp(0, 1) * 255).round() / 255)[1].counted.any())


@pytest.mark.parametrize("filling", [0.0, 1.0])
def test_what_lies_in_the_holes_does_not_change_the_level_of_photon_noise(filling: float) -> None:
    y = Poisson(0.01).draw(blurred(photo("camera", 512)), seeded())
    known = torch.ones_like(y)
    known[..., 100:200, 100:300] = 0
    found = estimate_noise(torch.where(known > 0, y, filling), known)[1]
    torch.testing.assert_close(found.sigma(), estimate_noise(y)[1].sigma(), rtol=0.05, atol=0)


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("name", ["camera", "moon", "brick"])
def test_little_noise_between_holes_is_found_to_a_quarter(name, share):
    y = Gaussian(0.01).draw(photo(name), seeded())
    known = torch.rand(1, 1, 256, 256, generator=seeded(3)) < share
    assert float(estimate_sigma(y, known)) == pytest.approx(0.01, rel=0.25)


@pytest.mark.parametrize("rows, columns", [(1, 2), (1, 3), (4, 1), (2, 2)])
def test_regular_gaps_leave_sigma_as_it_is(rows, columns):
    y = Gaussian(0.05).draw(torch.full((1, 1, 128, 128), 0.5), seeded())
    known = torch.zeros(1, 1, 128, 128)
    known[..., ::rows, ::columns] = 1
    assert float(estimate_sigma(y, known)) == pytest.approx(0.05, rel=0.06)


@pytest.mark.parametrize("size", [(2, 400), (3, 400)])
def test_a_strip_of_two_rows_shows_its_sigma(size):
    y = Gaussian(0.05).draw(torch.full((1, 1, *size), 0.5), seeded())
    assert float(estimate_sigma(y)) == pytest.approx(0.05, rel=0.12)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_pure_noise_between_holes_is_found_to_8_percent(share):
    y = Gaussian(0.05).draw(torch.full((1, 1, 128, 128), 0.5), seeded())
    known = torch.rand(1, 1, 128, 128, generator=seeded(3)) < share
    assert float(estimate_sigma(y, known)) == pytest.approx(0.05, rel=0.08)
