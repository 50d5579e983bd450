"""Expected patch log-likelihood: the mixture, what it restores, and how it is trained."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import images
from scipy.stats import multivariate_normal
from test_cli import pnp
from torch import Tensor

from pnp import priors, solve
from pnp.core.problem import Problem
from pnp.files import pictures as files
from pnp.metrics import psnr
from pnp.operators import Identity
from pnp.priors import EPLL, PatchPrior, store
from pnp.priors.nets import Network, PatchMixture, mixture
from pnp.priors.network import NetworkDenoiser
from pnp.priors.patches import BETAS, Patches
from pnp.registry import DENOISERS
from pnp.samples import photograph
from pnp.solvers import HQS
from pnp.training import em
from pnp.training.em import EM
from pnp.training.objectives import Denoising
from pnp.training.run import TrainSettings, train

SIGMA = 0.1


def drawn(components: int, size: int, seed: int = 0, low: float = -3.5) -> PatchMixture:
    """A mixture of random axes, weights and variances, these from exp(low) to 1."""
    generator = torch.Generator().manual_seed(seed)
    net, d = PatchMixture(components=components, size=size).double(), size**2 - 1
    axes = torch.linalg.qr(torch.randn(components, d, d, generator=generator, dtype=torch.float64))[0]
    net.axes.data.copy_(axes)
    net.log_variances.data.copy_(low * torch.rand(components, d, generator=generator))
    net.log_weights.data.copy_(torch.randn(components, generator=generator).log_softmax(0))
    return net.eval().requires_grad_(False)


def covariances(net: PatchMixture) -> np.ndarray:
    """Of the pixels of a patch, its mean left out: Tᵀ U Λ Uᵀ T, (K, size², size²)."""
    axes = net.axes @ net.basis
    return (axes.mT @ (net.log_variances.exp()[..., None] * axes)).numpy()


def by_hand(net: PatchMixture, x: np.ndarray, sigma: float) -> np.ndarray:
    """z of one grey picture, patch by patch."""
    size, (h, w) = net.size, x.shape
    sums, cover = np.zeros_like(x), np.zeros_like(x)
    every = covariances(net)
    t = net.basis.double().numpy()
    noisy = [t @ c @ t.T + sigma**2 * np.eye(size**2 - 1) for c in every]
    for i in range(h - size + 1):
        for j in range(w - size + 1):
            here = np.s_[i : i + size, j : j + size]
            patch = x[here].ravel()
            mean = patch.mean()
            scores = [multivariate_normal.logpdf(t @ (patch - mean), cov=c) for c in noisy] + net.log_weights.numpy()
            k = int(np.argmax(scores))
            z = every[k] @ np.linalg.solve(every[k] + sigma**2 * np.eye(size**2), patch - mean) + mean
            sums[here] += z.reshape(size, size)
            cover[here] += 1
    return sums / cover


@pytest.mark.parametrize(("components", "size"), [(1, 3), (1, 4), (5, 3)])
def test_each_patch_has_the_wiener_filter_of_its_likeliest_component(components: int, size: int) -> None:
    net, x = drawn(components, size), images(1, 1, 9, 11)
    expected = torch.from_numpy(by_hand(net, x[0, 0].numpy(), SIGMA))
    torch.testing.assert_close((x - net(x, SIGMA))[0, 0], expected, rtol=0, atol=1e-7)
    with pytest.raises(AssertionError):  # planted: a variance where a standard deviation belongs
        torch.testing.assert_close((x - net(x, SIGMA**2))[0, 0], expected, rtol=0, atol=1e-7)


def test_all_components_are_chosen_somewhere() -> None:
    net, x = drawn(5, 3), images(1, 1, 24, 24)
    filters = net.filters(SIGMA)
    c = net.coefficients(torch.nn.functional.unfold(x - 0.5, 3)[0])
    assert len(mixture.likeliest(c, filters).unique()) == 5


def test_variances_below_twice_the_noise_are_taken_for_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = drawn(1, 3), images(1, 1, 12, 12)
    variances = torch.tensor([0.9, 0.5, 0.019, 0.015, 0.01, 0.001, 0.001, 0.0005], dtype=torch.float64)
    mean = torch.cat([variances[:2], variances[2:].mean().expand(6)])
    found = []
    for given in (variances, mean):
        net.log_variances.data.copy_(given.log())
        found.append(net(x, SIGMA))
        assert [len(rows) for rows in net.filters(SIGMA).axes] == [2]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-9)
    monkeypatch.setattr(mixture, "FLAT", 0.0)
    net.log_variances.data.copy_(variances.log())
    assert [len(rows) for rows in net.filters(SIGMA).axes] == [8]
    assert float((net(x, SIGMA) - found[0]).abs().max()) > 1e-3


def test_the_order_of_the_axes_does_not_matter() -> None:
    net, x = drawn(3, 3, low=-8.0), images(1, 1, 12, 12)
    found, turned = net(x, SIGMA), torch.randperm(8)
    net.axes.data.copy_(net.axes[:, turned])
    net.log_variances.data.copy_(net.log_variances[:, turned])
    torch.testing.assert_close(net(x, SIGMA), found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [(16, 16), (5, 30), (8, 8)])
def test_a_constant_picture_stays(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = drawn(3, 8).float(), torch.full((2, 1, *size), 0.37)
    for restored in (x - net(x, SIGMA), EPLL(net)(x, SIGMA)):
        torch.testing.assert_close(restored, x, rtol=0, atol=1e-6)
    monkeypatch.setattr(PatchMixture, "_cover", lambda self, n, like: torch.full((n,), 8.0))  # planted: not at borders
    assert float((net(x, SIGMA)).abs().max()) > 0.1


def test_bands_of_patches_make_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = drawn(3, 4), images(1, 1, 21, 17)
    whole = net(x, SIGMA)
    monkeypatch.setattr(mixture, "BAND", 30)
    torch.testing.assert_close(net(x, SIGMA), whole, rtol=0, atol=1e-12)


def test_without_noise_nothing_is_changed() -> None:
    net, x = drawn(3, 4), images(1, 1, 12, 12)
    assert float(net(x, 0.0).abs().max()) < 1e-6 < 0.01 < float(net(x, SIGMA).abs().max())


def test_the_denoiser_makes_the_published_steps() -> None:
    net, y = drawn(3, 3), images(1, 1, 9, 9)
    x = y[0, 0].numpy()
    for beta in (1, 4, 8, 16, 32):
        z = by_hand(net, x, SIGMA / beta**0.5)
        x = (y[0, 0].numpy() / SIGMA**2 + beta / SIGMA**2 * z) / ((1 + beta) / SIGMA**2)
    found = EPLL(net.float())(y, SIGMA)[0, 0]
    torch.testing.assert_close(found, torch.from_numpy(x), rtol=0, atol=1e-5)
    planted = EPLL(net)
    planted.patches = lambda x, level: NetworkDenoiser(net, "float32")(x, SIGMA)  # one strength for all steps
    assert float((planted(y, SIGMA)[0, 0] - found).abs().max()) > 1e-2


def test_each_picture_of_a_batch_is_denoised_as_if_alone() -> None:
    denoiser, x = EPLL(drawn(3, 4).float()), images(2, 3, 12, 14, dtype=torch.float32)
    levels = torch.tensor([0.05, 0.2])
    for shape in ((2,), (2, 1, 1, 1)):
        both = denoiser(x, levels.view(shape))
        for i in range(2):
            torch.testing.assert_close(both[i : i + 1], denoiser(x[i : i + 1], float(levels[i])), rtol=0, atol=1e-5)


def test_the_prior_is_one_patch_step_at_the_root_of_tau() -> None:
    net, v = drawn(3, 4).float(), images(2, 1, 12, 12, dtype=torch.float32)
    torch.testing.assert_close(PatchPrior(net).prox(v, SIGMA**2), v - net(v, SIGMA))
    problem = Problem(Identity(), v, PatchPrior(net), sigma=SIGMA, lam=1.0)
    taus = [SIGMA**2 / beta for beta in BETAS]
    z = v
    for tau in taus:
        x = (v / SIGMA**2 + z / tau) / (1 / SIGMA**2 + 1 / tau)
        z = x - net(x, tau**0.5)
    torch.testing.assert_close(solve(problem, HQS(tau=taus.__getitem__, iterations=5), x0=v).x, z, rtol=0, atol=1e-5)


def test_colour_is_restored_as_brightness_and_differences() -> None:
    net, x = drawn(3, 4).float(), images(1, 1, 12, 12, dtype=torch.float32)
    grey = Patches(net)(x, SIGMA / 3**0.5)  # the mean of three channels has that much less noise
    torch.testing.assert_close(Patches(net)(x.expand(-1, 3, -1, -1), SIGMA), grey.expand(-1, 3, -1, -1))
    colour = images(2, 3, 12, 12, dtype=torch.float32)
    mean = Patches(net)(colour.mean(1, keepdim=True), SIGMA / 3**0.5)
    torch.testing.assert_close(Patches(net)(colour, SIGMA).mean(1, keepdim=True), mean)
    difference = (colour[:, :1] - colour[:, 2:]) / 2**0.5
    restored = Patches(net)(colour, SIGMA)
    torch.testing.assert_close(
        (restored[:, :1] - restored[:, 2:]) / 2**0.5, Patches(net)(difference, SIGMA), rtol=0, atol=1e-5
    )
    two = images(1, 2, 12, 12, dtype=torch.float32)
    torch.testing.assert_close(Patches(net)(two, SIGMA)[:, :1], Patches(net)(two[:, :1], SIGMA))


def test_it_has_no_theorem_and_its_own_rules() -> None:
    prior = PatchPrior(drawn(2, 3).float())
    assert not prior.closed_convex and prior.offers() == {"prox", "split"}
    assert prior.kind == "patches" and prior.lam == 1.0


@pytest.mark.parametrize("changes", [{"channels": 3}, {"size": 1}, {"components": 0}])
def test_a_mixture_that_cannot_be_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"epll takes one channel|expected 2 pixels"):
        PatchMixture(**changes)


# The shipped mixture

SHIPPED = pytest.mark.skipif("epll-8x8-200" not in store.manifest(), reason="no mixture is shipped")


@SHIPPED
def test_the_shipped_mixture_denoises_grey_and_colour() -> None:
    for name, gain in (("camera", (6.0, 9.5)), ("astronaut", (6.0, 9.5))):
        x = photograph(name)[..., 100:228, 180:308].contiguous()
        for sigma, least in zip((15 / 255, 50 / 255), gain, strict=True):
            y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            restored = DENOISERS.build("epll")(y, sigma)
            assert float(psnr(restored, x) - psnr(y, x)) > least


@SHIPPED
def test_the_shipped_mixture_is_a_mixture() -> None:
    net = store.load("epll-8x8-200")
    assert float(net.log_weights.exp().sum()) == pytest.approx(1, abs=2e-3)
    torch.testing.assert_close(net.axes @ net.axes.mT, torch.eye(63).expand(200, -1, -1), rtol=0, atol=5e-3)
    assert float(net.log_variances.exp().min()) > 0.9 * em.LEVEL_VARIANCE


@SHIPPED
def test_taking_small_variances_for_equal_costs_the_shipped_mixture_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = photograph("camera")[..., 100:180, 180:260].contiguous()
    for sigma in (0.02, 25 / 255):
        y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        with monkeypatch.context() as patch:
            quick = psnr(DENOISERS.build("epll")(y, sigma), x)
            patch.setattr(mixture, "FLAT", 0.0)
            assert float(quick - psnr(DENOISERS.build("epll")(y, sigma), x)) > -0.02
            patch.setattr(mixture, "FLAT", 100.0)  # planted: all are
            assert float(quick - psnr(DENOISERS.build("epll")(y, sigma), x)) > 0.2


# Training


class Samples(EM):
    """EM on samples of a known mixture instead of patches."""

    def __init__(self, net: PatchMixture, weights: Tensor, covariances: Tensor, seed: int = 0) -> None:
        super().__init__(net, seed)
        self.truth, self.factors = weights, torch.linalg.cholesky(covariances)

    def _batch(self, pool: object) -> Tensor:
        k = self.truth.multinomial(2000, True, generator=self.generator)
        n = torch.randn(2000, self.factors.shape[1], 1, generator=self.generator, dtype=torch.float64)
        return (self.factors[k] @ n)[..., 0].T.float()

    def _draw(self, pool: object) -> None:
        spread = torch.tensor([[1.0, 0.3, 0.1], [0.1, 0.3, 1.0]], dtype=torch.float64)
        self.moments = torch.diag_embed(0.2 * spread) / 2
        self.weights = torch.full((2,), 0.5, dtype=torch.float64)
        self.drawn = True


TRUE_WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
TRUE_COVARIANCES = torch.tensor(
    [[[0.5, 0.1, 0.0], [0.1, 0.1, 0.02], [0.0, 0.02, 0.01]], [[0.02, 0.0, 0.03], [0.0, 0.05, 0.0], [0.03, 0.0, 0.3]]],
    dtype=torch.float64,
)


def likelihood(weights: Tensor, covariances: Tensor) -> float:
    """log p of a sample that no step has seen."""
    held = Samples(PatchMixture(components=2, size=2), TRUE_WEIGHTS, TRUE_COVARIANCES, seed=9)
    c = torch.cat([held._batch(None) for _ in range(10)], 1)
    return float(em.log_densities(c, weights, covariances).logsumexp(0).mean())


def test_em_recovers_a_known_mixture_and_raises_the_likelihood_of_what_it_has_not_seen() -> None:
    run = Samples(PatchMixture(components=2, size=2), TRUE_WEIGHTS, TRUE_COVARIANCES)
    run._draw(None)
    scores, best = [], likelihood(TRUE_WEIGHTS, TRUE_COVARIANCES)
    for steps in (0, 2, 10, 150):
        for _ in range(steps):
            run.advance(Denoising(None, {}, "gaussian", (0.0, 0.1)), 0.0)  # type: ignore[arg-type]
        scores.append(likelihood(run.weights, run.covariances()))
    assert all(a < b + 2e-3 for a, b in pairwise(scores)), scores
    assert scores[0] < best - 0.3 and abs(scores[-1] - best) < 5e-3
    torch.testing.assert_close(run.weights, TRUE_WEIGHTS, rtol=0, atol=0.02)
    torch.testing.assert_close(run.covariances(), TRUE_COVARIANCES, rtol=0.05, atol=5e-3)
    net = run.finish()
    assert isinstance(net, PatchMixture)
    back = net.axes.mT @ (net.log_variances.exp()[..., None] * net.axes)
    torch.testing.assert_close(back.double(), run.covariances(), rtol=1e-4, atol=1e-6)


def test_the_density_is_that_of_scipy() -> None:
    c = 0.3 * torch.randn(3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = em.log_densities(c, TRUE_WEIGHTS, TRUE_COVARIANCES)
    for row, weight, covariance in zip(found, TRUE_WEIGHTS, TRUE_COVARIANCES, strict=True):
        expected = multivariate_normal.logpdf(c.T.numpy(), cov=covariance.numpy()) + np.log(float(weight))
        np.testing.assert_allclose(row.numpy(), expected, rtol=1e-9)


def test_a_component_without_patches_becomes_the_mean() -> None:
    run = Samples(PatchMixture(components=2, size=2), TRUE_WEIGHTS, TRUE_COVARIANCES)
    run.weights, run.moments = torch.tensor([1.0, 0.0]).double(), torch.stack([TRUE_COVARIANCES[0], torch.zeros(3, 3)])
    torch.testing.assert_close(run.covariances()[1], run.covariances()[0], rtol=1e-4, atol=1e-6)


def settings(**changes: object) -> TrainSettings:
    return TrainSettings("epll", **{"steps": 6, "config": {"components": 4, "size": 4}, **changes})  # type: ignore[arg-type]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    monkeypatch.setattr(em, "CROPS", 32)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        files.write(folder / f"{i}.png", photograph("camera")[..., 150 * i : 150 * i + 150, 100:260])
    return sorted(folder.iterdir())


def same(a: Network, b: Network) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_training_raises_the_likelihood_of_pictures_held_out(tmp_path: Path, pictures: list[Path]) -> None:
    train(settings(steps=12), pictures, tmp_path / "run", validate_every=0)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert lines[-1]["log_likelihood"] > lines[0]["log_likelihood"] + 0.5
    assert set(lines[-1]["psnr"]) == {"15", "25", "50"} and lines[-1]["psnr"]["25"] > 20.2 + 4


def test_a_run_may_start_from_another_mixture(tmp_path: Path, pictures: list[Path]) -> None:
    first = train(settings(), pictures, tmp_path / "first")
    more = train(settings(steps=1), pictures, tmp_path / "more", initial=first)
    fresh = train(settings(steps=1), pictures, tmp_path / "fresh")
    scores = {
        name: json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])["log_likelihood"]
        for name in ("more", "fresh")
    }
    assert scores["more"] > scores["fresh"] and not same(more, fresh)
    with pytest.raises(ValueError, match="initial weights"):
        train(settings(config={"components": 3, "size": 4}), pictures, tmp_path / "wrong", initial=first)


def test_the_command_trains_a_mixture_whose_weights_restore(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "epll:components=4,size=4", "--data", "photos", "--out", "run"]
    for option, value in (("--lr", "0.1"), ("--levels", "0..0.1"), ("--mode", "greedy")):
        assert pnp(*command, "--steps", "4", option, value) == 2
        assert f"{option} does not apply to epll" in capsys.readouterr().err and not Path("run").exists()
    assert pnp(*command, "--steps", "4", "--channels", "3") == 2
    assert "epll takes one channel" in capsys.readouterr().err
    assert pnp(*command, "--steps", "4", "--seed", "2", "--licence", "CC0") == 0
    assert pnp(*command, "--resume", "--steps", "5") == 0
    record = store.manifest(Path("run"))["epll-4x4-4"]
    expected = {"architecture": "epll", "seed": 2, "steps": 5, "data": ["photos"], "licence": "CC0"}
    assert {k: record[k] for k in expected} == expected and record["log_likelihood"] > 0
    assert not {"lr", "mode", "sigma"} & set(record)
    weights = "epll:weights=run/epll-4x4-4.safetensors"
    assert pnp("show", weights) == 0
    solved = ["solve", "photos/0.png", "--simulate", "--op", "blur:std=1", "--prior", weights, "--report", "out"]
    assert pnp(*solved) == 0 and files.read("out/0-restored.png").pixels.shape == (1, 1, 150, 160)
    assert priors.parse(weights).name == "EPLL"
