"""JPEG's noise: its prox against dense algebra, its coefficients against the encoder's, and files by default."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.files.pictures import read
from pnp.files.ranges import Range
from pnp.jobs import Job, run, settle
from pnp.jobs.job import of_file
from pnp.noises import Gaussian, Jpeg, Quantised
from pnp.noises import level as levels
from pnp.noises.jpeg import density, survived
from pnp.operators import Blur, Identity, kernels
from pnp.parameters import rules
from pnp.priors import Tikhonov
from pnp.registry import PRIORS, SpecError
from pnp.samples import photograph
from pnp.solvers import ADMM


def crop(name: str, h: int, w: int) -> Tensor:
    x = photograph(name)
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w]


def image(x: Tensor) -> Image.Image:
    return Image.fromarray((x[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().squeeze())


def written(x: Tensor, path: Path, quality: int, subsampling: int = 2) -> Path:
    image(x).save(path, "JPEG", quality=quality, subsampling=subsampling)
    return path


@pytest.mark.parametrize(("name", "chroma"), [("camera", 1), ("coffee", 1), ("coffee", 2)])
def test_the_prox_solves_the_dense_system(name: str, chroma: int) -> None:
    """(Mᵀ Λ⁻¹ M + I/tau) u = Mᵀ Λ⁻¹ M y' + v/tau in a block, by the fit's own W and ν as a dense matrix."""
    y = crop(name, 16, 16).double()
    noise = Jpeg(quality=40, chroma=chroma, sigma=0.01).begin(y)
    v, tau = y + 0.1 * torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0)), 0.003
    flat = torch.eye(y.numel(), dtype=y.dtype).view(-1, *y.shape[1:])
    pull = torch.cat([noise.slope(e[None], y) - noise.slope(0 * e[None], y) for e in flat]).flatten(1)  # the Hessian
    start = -noise.slope(torch.zeros_like(y), y).flatten()
    torch.testing.assert_close(pull, pull.T)
    expected = torch.linalg.solve(pull + torch.eye(len(pull), dtype=y.dtype) / tau, start + v.flatten() / tau)
    found = noise.prox(v, y, tau).flatten()
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    rank = int((torch.linalg.eigvalsh(pull) > 1e-6).sum())
    assert rank == y.numel() // (2 if chroma == 2 else 1)  # three quarters of two thirds are lost
    assert float((noise.prox(v, y, 2 * tau).flatten() - expected).abs().max()) > 1e-3  # planted: another tau


@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_coefficients_are_those_that_the_encoder_stored(subsampling: int, tmp_path: Path) -> None:
    """Whole multiples of their steps, chroma at half resolution too: the decoder's interpolation is undone."""
    picture = read(written(0.2 + 0.6 * crop("coffee", 96, 128), tmp_path / "a.jpg", 50, subsampling))
    assert picture.tables is not None
    tables = Quantised(*picture.tables)
    assert (tables.across, tables.down) == ((2, 2) if subsampling else (1, 1))
    grid = Jpeg(tables=tables)._grid(3)
    from pnp.noises import jpeg

    y = picture.pixels.double() - 128 / 255
    whole = (grid.blocks(jpeg._stored(y, grid)) @ grid.matrix.T / grid.steps)[0]
    off = (whole - whole.round()).abs()
    chroma = grid.kinds >= 64
    assert float(off[:, chroma].mean()) < 0.06
    plain = (grid.blocks(y) @ grid.matrix.T / grid.steps)[0]
    if subsampling:  # planted: the means of the decoded chroma
        assert float((plain - plain.round()).abs()[:, chroma].mean()) > 1.2 * float(off[:, chroma].mean())


def test_the_tables_are_libjpegs() -> None:
    for quality in (10, 50, 77, 95):
        file = io.BytesIO()
        Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
        stored = Image.open(file).quantization  # type: ignore[attr-defined]
        made = Quantised.of_quality(quality)
        for number, steps in ((0, made.steps[0]), (1, made.steps[1])):
            assert np.abs(np.array(stored[number]) - np.array(steps)).max() < 1.0  # it cuts off fractions


@pytest.mark.parametrize("quality", [50, 90])
def test_the_truth_is_as_far_away_as_expected(quality: int, tmp_path: Path) -> None:
    x = crop("coffee", 256, 256)
    picture = read(written(x, tmp_path / "a.jpg", quality, 0))
    assert picture.tables is not None
    noise = Jpeg(tables=Quantised(*picture.tables)).begin(picture.pixels)
    misfit = float(noise.misfit(x, picture.pixels).square().mean().sqrt() / noise.expected(picture.pixels))
    assert 0.6 < misfit < 1.4
    other = Jpeg(quality=97, chroma=1).begin(picture.pixels)  # planted: the tables of another file
    far = other.misfit(x, picture.pixels).square().mean().sqrt() / other.expected(x)
    assert not 0.6 < float(far) < 1.4


def test_solvers_reach_the_minimum_through_a_blur() -> None:
    """A = blur and g = ½‖x‖²: the slope of the objective is 0."""
    x = crop("camera", 24, 24).double()
    operator = Blur(kernels.gaussian(0.6, 3).double())
    y = operator(x)
    problem = Problem(operator, y, Tikhonov(), Jpeg(quality=60, sigma=0.02), lam=20.0)
    assert not problem.exact
    found = solve(problem, ADMM(tau=0.003, iterations=1500), stop=()).x
    slope = problem.data_grad(found) + problem.lam * found
    assert float(slope.abs().max()) < 1e-3 * float(problem.data_grad(0 * x).abs().max())
    white = Problem(operator, y, Tikhonov(), Gaussian(problem.sigma), lam=20.0)  # planted
    slope = problem.data_grad(solve(white, ADMM(iterations=200), stop=()).x) + problem.lam * found
    assert float(slope.abs().max()) > 1e-2 * float(problem.data_grad(0 * x).abs().max())


def test_a_colour_jpeg_is_denoised_by_its_tables(tmp_path: Path) -> None:
    x = crop("chelsea", 128, 160)
    picture = read(written(x, tmp_path / "a.jpg", 50))
    job = of_file(Job(operator="identity", prior="unet"), picture)
    said: list[str] = []
    done = run(job, picture.pixels, truth=x, say=said.append)
    assert done.record.noise.startswith("JPEG's quantisation, chroma of 2 x 2 pixels")
    assert any("quantisation tables" in line for line in said)
    plain = run(of_file(Job(operator="identity", prior="unet", noise="gaussian"), picture), picture.pixels, truth=x)
    assert done.record.metrics is not None and plain.record.metrics is not None
    assert done.record.metrics["psnr"][0] > plain.record.metrics["psnr"][0]  # planted: one sigma for all


def test_what_survives_the_quantisation_tells_noise(tmp_path: Path) -> None:
    x = 0.1 + 0.8 * crop("coffee", 96, 128)
    shares = []
    for level in (0.0, 0.04):
        noise = level * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        picture = read(written((x + noise).clamp(0, 1), tmp_path / "a.jpg", 85))
        assert picture.tables is not None
        shares.append(float(survived(picture.pixels, Quantised(*picture.tables))))
    assert shares[0] < 0.5 < shares[1]


def test_grey_files_noisy_ones_and_other_operators_keep_one_sigma(tmp_path: Path) -> None:
    grey = read(written(crop("camera", 96, 96), tmp_path / "g.jpg", 50))
    x = crop("chelsea", 96, 96)
    noise = 0.06 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    noisy = read(written((x + noise).clamp(0, 1), tmp_path / "n.jpg", 95, 0))
    for picture in (grey, noisy):
        job = of_file(Job(operator="identity", prior="unet"), picture)
        assert "JPEG" not in run(job, picture.pixels).record.noise
    forced = of_file(Job(operator="identity", prior="unet", noise="jpeg"), grey)
    assert "JPEG" in run(forced, grey.pixels).record.noise
    with pytest.raises(SpecError, match="jpeg:quality=75"):
        run(Job(operator="identity", prior="unet", noise="jpeg"), grey.pixels)


def test_missing_pixels_are_refused() -> None:
    y = crop("camera", 16, 16)
    known = torch.ones_like(y)
    Jpeg().begin(y, known)
    known[..., 3, 3] = 0
    with pytest.raises(ValueError, match="gaussian"):
        Jpeg().begin(y, known)


def test_turned_pictures_have_no_tables(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image(crop("coffee", 48, 64)).save(tmp_path / "t.jpg", exif=exif)
    assert read(tmp_path / "t.jpg").tables is None
    assert read(written(crop("coffee", 48, 64), tmp_path / "u.jpg", 75)).tables is not None
    assert read(tmp_path / "u.jpg", Range(10.0, 200.0)).tables is None


def test_the_table_has_a_row_for_it() -> None:
    prior = PRIORS.build("unet", shape=(3, 32, 32), seed=0)
    own, plain = (rules.find(prior, Identity(), noise=noise) for noise in (Jpeg.rules, ""))
    assert own is not None and plain is not None and own != plain
    first, last = own.strength(0.02)
    assert float(first) == pytest.approx(0.027) and float(last) == pytest.approx(0.01)
    several = own.strength(torch.tensor([0.02, 0.04]).view(2, 1, 1, 1))
    assert [float(s.flatten()[1]) for s in map(torch.as_tensor, several)] == pytest.approx([0.054, 0.02])
    assert rules.find(prior, Identity(), "hqs", noise=Jpeg.rules) == plain


@pytest.mark.parametrize(("quality", "colour"), [(10, True), (50, True), (10, False)])
def test_the_density_of_the_error_is_that_of_the_encoder(quality: int, colour: bool, tmp_path: Path) -> None:
    """√(Σ e²/Σ e), e the mean square of what each coefficient of Y has lost, from the picture before the encoder."""
    x = crop("coffee", 256, 256)
    x = x if colour else x.mean(1, keepdim=True)
    picture = read(written(x, tmp_path / "x.jpg", quality, subsampling=0))
    assert picture.tables is not None
    tables = Quantised(*picture.tables)
    weights = torch.tensor(jpeg_parts(x.shape[1]), dtype=torch.float64)
    dct = levels.linalg.dct_basis(8)
    planes = torch.einsum("kc,bchw->bkhw", weights, ((x * 255).round() / 255 - picture.pixels).double())
    lost = planes.unfold(2, 8, 8).unfold(3, 8, 8).flatten(4) @ dct.T
    e = lost.square().mean((0, 2, 3))  # (components, 64)
    seen = torch.linalg.inv(weights).square().sum(0)[:, None]
    expected = ((seen * e.square()).sum() / (seen * e).sum()).sqrt()
    found = settle.DENSE * float(density(picture.pixels, tables))  # of sparse coefficients a bound, too high by a half
    assert found == pytest.approx(float(expected), rel=0.35)
    other = settle.DENSE * float(density(picture.pixels, Quantised.of_quality(90)))  # the planted fault
    assert other < 0.65 * float(expected)


def jpeg_parts(channels: int) -> tuple[tuple[float, ...], ...]:
    return levels.YCC if channels == 3 else ((1.0,),)


def test_a_deconvolution_counts_the_error_where_it_is_dense(tmp_path: Path) -> None:
    x = crop("coffee", 192, 192)
    picture = read(written(Blur(kernels.gaussian(1.5, 9))(x), tmp_path / "y.jpg", 10))
    assert picture.tables is not None
    least = settle.DENSE * float(density(picture.pixels, Quantised(*picture.tables)))

    def used(operator: str, **changed: Any) -> float:
        job = replace(of_file(Job(operator, "nlm", light="srgb", iterations=1), picture), **changed)
        return float(np.asarray(run(job, picture.pixels).record.sigma.value).max())

    assert used("blur:std=1.5") == pytest.approx(least, rel=1e-4)
    assert used("blur:std=1.5", tables=None) < 0.95 * least  # the planted fault: the mean over all frequencies
    assert used("blur:std=1.5", sigma=0.02) == pytest.approx(0.02)  # what was told stays
