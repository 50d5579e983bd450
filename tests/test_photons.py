"""Photon noise with a background: how it meets masks, denoisers, theorems and the loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import images
from torch import Tensor

import pnp
from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.stopping import Discrepancy
from pnp.noises import Gaussian, Noise, Poisson
from pnp.operators import Blur, Mask, kernels
from pnp.priors import TV, Tikhonov
from pnp.samples import photograph
from pnp.solvers import ADMM, FISTA, CondatVu, GradientDescent, ProximalGradient

BLUR = Blur(kernels.gaussian(1.2, 7))
BLUR64 = Blur(kernels.gaussian(1.2, 7).double())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_pixels_that_were_not_measured_leave_nothing() -> None:
    truth = 0.1 + 0.8 * images(1, 1, 64, 64)
    mask = Mask((torch.rand(1, 64, 64, generator=seeded(1)) > 0.5).double())
    noise = Poisson(0.01, background=0.2)
    problem = Problem(mask, noise.draw(mask(truth), seeded()), TV(), noise)
    assert float(problem.residual(truth) / problem.noise_norm()) == pytest.approx(1, abs=0.06)
    unmasked = problem.noise.misfit(mask(truth), problem.y)  # planted: a background where y is 0 because of the mask
    assert float(unmasked.norm() / problem.noise_norm()) > 3


@pytest.mark.parametrize("background", [0.0, 0.01, 0.1])
def test_a_background_costs_a_network_nothing(background: float) -> None:
    truth = 0.02 + 0.9 * photograph("camera")[..., 100:164, 200:264]
    noise = Poisson(0.05, background)
    y = noise.draw(BLUR(truth), seeded())
    done = pnp.restore(y, operator=BLUR, prior="unet", noise=noise, truth=truth)
    assert done.record.metrics is not None and done.record.residual_over_noise is not None
    assert done.record.metrics["psnr"][0] > 21.5
    assert done.record.residual_over_noise[0] == pytest.approx(1, abs=0.06)


def test_a_theorem_on_gradient_steps_asks_for_a_convex_f_whose_constant_holds_everywhere() -> None:
    class Unconvex(Gaussian):
        quadratic, convex = False, False

    y = 0.3 + 0.4 * images(1, 1, 8, 8)
    for solver in (ProximalGradient(iterations=1), FISTA(restart=False, iterations=1), CondatVu(iterations=1),
                   GradientDescent(iterations=1)):  # fmt: skip

        def theorem(noise: Noise, solver: Any = solver) -> str | None:
            return solve(Problem(BLUR64, y, Tikhonov(), noise), solver).convergence.theorem

        assert theorem(Gaussian(0.1)) is not None
        assert theorem(Unconvex(0.1)) is None and theorem(Poisson(0.02, background=0.3)) is None


def test_what_the_noise_leaves_is_found_once_in_a_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    made = Poisson.expected

    def expected(self: Poisson, y: Tensor) -> Tensor:
        asked.append(1)
        return made(self, y)

    monkeypatch.setattr(Poisson, "expected", expected)
    noise = Poisson(0.05)
    y = noise.draw(0.3 + 0.4 * images(1, 1, 16, 16), seeded())
    result = solve(Problem(BLUR64, y, TV(), noise), ADMM(iterations=8), stop=[Discrepancy(0.01)])
    assert result.iterations == (8,) and len(asked) == 1


def test_what_a_mask_hides_is_no_photon_count_and_the_level_is_a_number() -> None:
    mask = Mask((torch.rand(1, 24, 24, generator=seeded(1)) > 0.3).float())
    noise = Poisson(0.02)
    y = noise.draw(0.2 + 0.6 * photograph("camera")[..., 100:124, 200:224], seeded())
    y = torch.where(mask.mask > 0, y, -1.0)
    record = pnp.restore(y, operator=mask, prior="tv", noise=noise, lam=3, iterations=3).record
    assert isinstance(record.sigma.value, float) and 0.05 < record.sigma.value < 0.15


@pytest.mark.parametrize(("prior", "noise"), [("tv", "white Gaussian"), ("unet", "Poisson, gain 0.2")])
def test_few_photons_are_restored_to_more_than_they_were(prior: str, noise: str) -> None:
    """A denoiser does better by the photons' own likelihood.  Planted: sigma as of a picture that black has clipped."""
    x = photograph("camera")[..., 60:156, 160:256]
    truth = torch.where(x > 0.7, x, 0.02)
    y = Poisson(0.2).draw(BLUR(truth), seeded())
    done = pnp.restore(y, operator=BLUR, prior=prior, truth=truth).record
    wrong = pnp.restore(y, operator=BLUR, prior=prior, truth=truth, sigma=float(pnp.noises.estimate_sigma(y))).record
    assert done.noise == noise and done.metrics is not None and wrong.metrics is not None
    assert done.metrics["psnr"][0] > done.metrics["psnr_initial"][0] + 2
    assert done.metrics["psnr"][0] > wrong.metrics["psnr"][0] + 0.5


def test_the_read_out_may_leave_samples_below_black_and_a_wrong_offset_may_not() -> None:
    x = photograph("camera")[..., 100:148, 100:148]
    y = Poisson(0.02).draw(x, torch.Generator().manual_seed(0))
    y = y + 0.005 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    assert bool((y < 0).any())
    said: list[str] = []
    told = {"operator": "identity", "prior": "tv", "noise": Poisson(0.02), "lam": 1.0, "iterations": 2}
    done = pnp.restore(y, **told, say=said.append)
    assert any("below black" in line for line in said) and bool(done.restored.isfinite().all())
    with pytest.raises(ValueError, match="smaller camera offset"):
        pnp.restore(y - 0.3, **told)
