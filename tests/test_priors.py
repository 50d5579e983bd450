"""The contract of every registered prior, and each against minima found by other means and PyWavelets."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import pywt
import scipy.optimize
import torch
from conftest import GaussianDenoiser, images, squares
from torch import Tensor

from pnp.benchmark.keys import networks
from pnp.noises import Gaussian
from pnp.priors import (
    L1,
    RED,
    TV,
    InvariantWaveletL1,
    Moreau,
    NonLocalMeans,
    PnP,
    Prior,
    Projector,
    Smooth,
    Sum,
    Tikhonov,
    WaveletL1,
    dual,
    parse,
)
from pnp.priors.filterbank import UndecimatedTransform, WaveletTransform, filters
from pnp.registry import DENOISERS, PRIORS, SpecError
from pnp.samples import photograph
from pnp.testing import check_prior

SPECS = [spec for name in PRIORS for spec in PRIORS[name].examples if "deepinv" not in spec]  # test_interop_deepinv.py
SHAPES = [(1, 16, 16), (3, 17, 21)]
TAUS = [0.05, torch.tensor([0.01, 0.2], dtype=torch.float64).view(2, 1, 1, 1)]


def build(spec: str, channels: int = 1) -> Prior:
    return PRIORS.build(spec, shape=(channels, 32, 32))


def tolerance(prior: Prior) -> float:
    """The relative duality gap that the prox promises; rounding for a closed form."""
    return getattr(prior, "tol", getattr(getattr(prior, "prior", None), "tol", 1e-9))


def test_there_are_priors() -> None:
    assert len(SPECS) >= 14 and sum(build(s).closed_convex for s in SPECS) >= 8


@pytest.mark.parametrize("shape", SHAPES, ids=["grey", "colour"])
@pytest.mark.parametrize("spec", SPECS)
def test_every_prior_keeps_its_contract(spec: str, shape: tuple[int, int, int]) -> None:
    prior = PRIORS.build(spec, shape=shape)
    shape = (shape[0], 32, 32) if "parametrise" in prior.offers() else shape  # the networks that draw halve five times
    # a network computes in float32, by other sums for a batch on some processors; DAE divides that by s² = 0.002
    rounding = 1e-3 if "DAE" in prior.name else 3e-5 if list(networks(prior, shape[0])) else 1e-12
    check_prior(prior, shape, gap=tolerance(prior), rounding=rounding)


@pytest.mark.parametrize("spec", SPECS)
def test_prox_keeps_dtype_shape_and_flat_pictures_stay_flat(spec: str, dtype: torch.dtype) -> None:
    prior = build(spec, 3)
    if "prox" not in prior.offers():
        call = prior.grad if "grad" in prior.offers() else prior.restore
        flat = call(torch.full((1, 3, 17, 12), 0.6, dtype=dtype))
        assert flat.dtype == dtype and flat.shape == (1, 3, 17, 12)
        return
    p = prior.prox(torch.full((1, 3, 17, 12), 0.6, dtype=dtype), 0.01)
    assert p.dtype == dtype and p.shape == (1, 3, 17, 12)
    trained = 0.02  # a trained network is flat only nearly
    flat = 1e-5 if prior.closed_convex or "nlm" in spec else trained
    assert float(p.amax() - p.amin()) < flat and 0 < float(p.mean()) < 0.61


@pytest.mark.parametrize(
    "prior", [Moreau(TV(tol=1e-10, max_iter=5000), 0.01), Moreau(WaveletL1("haar", 2), 0.1)], ids=lambda p: p.name
)
def test_an_envelope_of_an_exact_prox_keeps_its_contract_exactly(prior: Prior) -> None:
    check_prior(prior, (1, 8, 8), gap=tolerance(prior))


@pytest.mark.parametrize("prior", [Tikhonov(), Smooth()])
def test_gradient_equals_autograds(prior: Prior) -> None:
    x = images(2, 3, 7, 8).requires_grad_(True)
    (expected,) = torch.autograd.grad(prior.value(x).sum(), x)
    torch.testing.assert_close(prior.grad(x.detach()), expected)


@pytest.mark.parametrize("spec", ["tikhonov", "smooth", "moreau:prior=tv,mu=0.01", "1/2*smooth+3*tikhonov"])
def test_gradient_is_lipschitz_with_the_stated_constant_and_no_smaller_one(spec: str) -> None:
    prior = parse(spec, shape=(1, 16, 16))
    x, y = images(1, 1, 16, 16), images(1, 1, 16, 16)
    if "moreau" not in spec:  # the steepest direction: a checkerboard
        y = x + 0.1 * (-1.0) ** (torch.arange(16)[:, None] + torch.arange(16)[None])
    ratio = float((prior.grad(x) - prior.grad(y)).norm() / (x - y).norm().clamp_min(1e-9))
    assert ratio <= prior.lipschitz() * (1 + 1e-6) and ("moreau" in spec or ratio >= 0.99 * prior.lipschitz())
    assert TV().lipschitz() == float("inf")


# Minima found by other means


def minimiser(matrix: np.ndarray, v: np.ndarray, tau: float) -> np.ndarray:
    """argmin_x ‖Kx‖₁ + ‖x − v‖²/(2 tau) by scipy's active sets on the dual: x = v − Kᵀq, |q| <= tau."""
    q = scipy.optimize.lsq_linear(matrix.T, v, bounds=(-tau, tau), method="bvls", tol=1e-14, max_iter=10000).x
    return v - matrix.T @ q


def differences(h: int, w: int) -> np.ndarray:
    """Rows x[i+1, j] − x[i, j] and x[i, j+1] − x[i, j], written with loops."""
    rows = []
    for di, dj in ((1, 0), (0, 1)):
        for i in range(h - di):
            for j in range(w - dj):
                row = np.zeros((h, w))
                row[i + di, j + dj], row[i, j] = 1, -1
                rows.append(row.ravel())
    return np.array(rows)


def analysis(name: str, levels: int, n: int, undecimated: bool) -> np.ndarray:
    """The matrix of the detail coefficients of PyWavelets on n × n pictures."""

    def details(picture: np.ndarray) -> np.ndarray:
        if undecimated:  # all shifts of level l: 4^l of them
            bands = pywt.swt2(picture, name, levels, trim_approx=True)[1:]
            weights = [4.0**-level for level in range(levels, 0, -1)]
        else:
            bands, weights = pywt.wavedec2(picture, name, mode="periodization", level=levels)[1:], [1.0] * levels
        return np.concatenate([w * np.ravel(b) for level, w in zip(bands, weights, strict=True) for b in level])

    return np.stack([details(e.reshape(n, n)) for e in np.eye(n * n)], 1)


BRUTE = {
    "l1": (L1(), np.eye(36)),
    "anisotropic": (TV(isotropic=False, tol=1e-12, max_iter=20000), differences(6, 6)),
    "haar": (WaveletL1("haar", 1), analysis("haar", 1, 6, False)),
    "invariant": (InvariantWaveletL1("haar", 1, tol=1e-12, max_iter=20000), analysis("haar", 1, 6, True)),
}


@pytest.mark.parametrize("name", BRUTE)
def test_prox_is_the_minimum_that_scipy_finds(name: str) -> None:
    prior, matrix = BRUTE[name]
    v = images(1, 1, 6, 6)
    for tau in (0.03, 0.3):
        expected = torch.tensor(minimiser(matrix, v.numpy().ravel(), tau)).view_as(v)
        torch.testing.assert_close(prior.prox(v, tau), expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(prior.value(v), torch.tensor([np.abs(matrix @ v.numpy().ravel()).sum()]))


def test_db4_prox_is_the_minimum_that_scipy_finds() -> None:
    v = images(1, 1, 8, 8)
    rolled = v.roll((1, 1), (-2, -1))  # our db4 stands on the odd pixels
    expected = torch.tensor(minimiser(analysis("db4", 1, 8, False), rolled.numpy().ravel(), 0.1)).view_as(v)
    torch.testing.assert_close(WaveletL1("db4", 1).prox(v, 0.1), expected.roll((-1, -1), (-2, -1)), rtol=0, atol=1e-6)


def test_isotropic_prox_is_the_minimum_of_the_second_order_cone_program() -> None:
    h, w, tau = 4, 4, 0.2
    v, d = images(1, 1, h, w), differences(h, w)
    at = np.full((2, h, w), -1)  # index of the vertical and horizontal dual variable of each pixel
    at[0, :-1], at[1, :, :-1] = np.arange(12).reshape(3, 4), 12 + np.arange(12).reshape(4, 3)
    pairs = [[k for k in at[:, i, j] if k >= 0] for i in range(h) for j in range(w)]
    pairs = np.array(
        [[k in pair for k in range(24)] for pair in pairs if pair], dtype=float
    )  # (pixels, dual variables)
    found = scipy.optimize.minimize(
        lambda q: ((v.numpy().ravel() - d.T @ q) ** 2).sum() / 2,
        np.zeros(24),
        jac=lambda q: -d @ (v.numpy().ravel() - d.T @ q),
        constraints={"type": "ineq", "fun": lambda q: tau**2 - pairs @ q**2, "jac": lambda q: -2 * pairs * q},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 300},
    )
    expected = torch.tensor(v.numpy().ravel() - d.T @ found.x).view_as(v)
    torch.testing.assert_close(TV(tol=1e-12, max_iter=20000).prox(v, tau), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("isotropic", [True, False])
def test_tv_moves_the_sides_of_an_edge_towards_each_other(isotropic: bool) -> None:
    v = torch.zeros(1, 1, 12, 10, dtype=torch.float64)
    v[..., 4:] = 1
    expected = v + torch.where(v > 0.5, -0.3 / 6, 0.3 / 4)  # each column moves by tau / (columns on its side)
    torch.testing.assert_close(TV(isotropic, tol=1e-10, max_iter=5000).prox(v, 0.3), expected, rtol=0, atol=1e-5)


def test_tv_of_an_edge_is_its_length_times_its_height() -> None:
    x = torch.zeros(1, 2, 12, 10)
    x[:, :, :5] = 0.5
    assert TV().value(x).tolist() == [pytest.approx(2 * 0.5 * 10)]
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = 1
    assert TV().value(x).item() == pytest.approx(2 + 2**0.5) and TV(isotropic=False).value(x).item() == 4


# What TV and the invariant wavelets promise


@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("tol", [1e-3, 1e-5])
def test_the_duality_gap_of_tv_is_really_reached(isotropic: bool, tol: float, dtype: torch.dtype) -> None:
    if dtype == torch.float32 and tol < 1e-4:
        tol = 1e-4
    v, taus = squares(2, 1, 20, 23) + 0.1 * torch.randn(2, 1, 20, 23, dtype=torch.float64), [0.02, 0.3]
    tau = torch.tensor(taus, dtype=dtype).view(2, 1, 1, 1)
    x, state = dual.prox(TV(isotropic).analysis, v.to(dtype), tau, None, tol=tol, max_iter=5000)
    assert not torch.equal(x[0], v[0])
    for i, t in enumerate(taus):
        vi, xi, q = v[i, 0].numpy(), x[i, 0].double().numpy(), t * state.p[i, :, 0].double().numpy()
        assert np.abs(q[0, -1]).max() == 0 == np.abs(q[1, :, -1]).max()
        assert (np.hypot(*q) if isotropic else np.abs(q)).max() <= t * (1 + 1e-6)  # feasible
        down, right = np.diff(xi, axis=0, append=xi[-1:]), np.diff(xi, axis=1, append=xi[:, -1:])
        g = (np.hypot(down, right) if isotropic else np.abs(down) + np.abs(right)).sum()
        transposed = np.diff(-q[0], axis=0, prepend=0) + np.diff(-q[1], axis=1, prepend=0)  # Dᵀq
        np.testing.assert_allclose(xi, vi - transposed, atol=1e-6)
        primal = ((xi - vi) ** 2).sum() / 2 + t * g
        lower_bound = (vi**2).sum() / 2 - ((vi - transposed) ** 2).sum() / 2
        assert -1e-6 * primal <= primal - lower_bound <= 1.05 * tol * primal


def test_a_prox_that_stops_early_says_so() -> None:
    v = images(1, 1, 32, 32)
    with pytest.warns(UserWarning, match="prox stopped at relative gap"):
        TV(tol=1e-8, max_iter=10).prox(v, 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TV().prox(v, 1.0)


@pytest.mark.parametrize("spec", ["tv", "tv:isotropic=false", "haar", "moreau:prior=tv"])
def test_warm_starts_reach_the_same_prox(spec: str) -> None:
    prior, v = build(spec), squares(2, 1, 24, 24) + 0.1 * torch.randn(2, 1, 24, 24, dtype=torch.float64)
    cold = prior.prox(v, 0.1)
    begun = prior.begin(v)
    begun.prox(v.flip(-1) + 0.3, 0.4)
    for _ in range(12):  # the inner error falls with the outer one
        warm = begun.prox(v, 0.1)
    # strong convexity: ‖x − x*‖² <= 2 gap
    scale = (cold - v).flatten(1).square().sum(1) / 2 + 0.1 * (prior.prior if "moreau" in spec else prior).value(cold)
    assert bool(((warm - cold).flatten(1).square().sum(1) <= 8 * 1e-4 * scale).all())


@pytest.mark.parametrize("spec", ["tv", "haar", "moreau:prior=tv", "tv+haar:levels=2"])
def test_nothing_leaks_from_one_solve_to_the_next(spec: str) -> None:
    prior, v, other = parse(spec), images(2, 1, 16, 16), images(1, 1, 20, 20, seed=9)

    def used(prior: Prior, v: Tensor) -> Tensor:
        terms = [p for _, p in prior.terms] or [prior]
        return torch.stack([p.prox(v, 0.2) for p in terms])

    first = used(prior.begin(v), v)
    second = prior.begin(other)
    used(second, other), used(second, other + 1)
    assert torch.equal(used(prior.begin(v), v), first)
    assert type(prior.begin(v)) is type(prior) and prior.begin(v).closed_convex == prior.closed_convex
    with torch.no_grad():
        assert not torch.equal(used(second, other), used(prior.begin(other), other))  # the memory is there


@pytest.mark.parametrize("prior", [TV, InvariantWaveletL1])
@pytest.mark.parametrize("wrong", [{"tol": 0.0}, {"tol": float("nan")}, {"max_iter": 0}])
def test_a_gap_and_a_number_of_steps_are_above_0(prior, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}.*above 0"):
        prior(**wrong)


def test_begin_keeps_every_setting() -> None:
    x = images(1, 1, 16, 16)
    tv = TV(isotropic=False, tol=1e-3, max_iter=7).begin(x)
    assert (tv.analysis.isotropic, tv.tol, tv.max_iter) == (False, 1e-3, 7)
    wavelet = InvariantWaveletL1("db4", 2, 1e-3, 7).begin(x)
    assert (wavelet.wavelet, wavelet.levels, wavelet.tol, wavelet.max_iter) == ("db4", 2, 1e-3, 7)
    assert WaveletL1("db4", 2).begin(x).levels == 2 and Moreau(TV(), 0.3).begin(x).mu == 0.3
    assert [w for w, _ in parse("2*tv+0.5*haar").begin(x).terms] == [2, 0.5]


# Wavelets, against PyWavelets

pytestmark = pytest.mark.filterwarnings("ignore:Level value of")  # of PyWavelets, on pictures this small


@pytest.mark.parametrize("name", ["haar", "db4", "sym8"])
@pytest.mark.parametrize("levels", [1, 2])
def test_the_orthonormal_transform_is_pywavelets_up_to_a_shift(name: str, levels: int) -> None:
    x = images(1, 1, 16, 32)
    approximation, details = WaveletTransform(filters(name), levels).forward(x)
    ours = [b for level in [approximation[:, None], *reversed(details)] for b in level[0, :, 0].numpy()]
    distances = []
    for shift in range(1 if name == "haar" else 2**levels):
        found = pywt.wavedec2(x[0, 0].roll((shift, shift), (0, 1)).numpy(), name, mode="periodization", level=levels)
        theirs = [found[0], *(b for level in found[1:] for b in (level[1], level[0], level[2]))]  # (LH, HL, HH)
        assert [a.shape for a in ours] == [b.shape for b in theirs]
        distances.append(max(np.abs(np.sort(a.ravel()) - np.sort(b.ravel())).max()
                             for a, b in zip(ours, theirs, strict=True)))  # fmt: skip
    assert min(distances) < 1e-12
    energy = approximation.square().sum() + sum(d.square().sum() for d in details)
    torch.testing.assert_close(energy, x.square().sum())


@pytest.mark.parametrize("name", ["haar", "db4", "sym8"])
@pytest.mark.parametrize("size", [(8, 8), (16, 24), (4, 32)])
def test_the_orthonormal_transform_is_inverted_by_its_adjoint(name: str, size: tuple[int, int]) -> None:
    transform, x, z = WaveletTransform(filters(name), 2), images(2, 3, *size), images(2, 3, *size, seed=8)
    torch.testing.assert_close(transform.inverse(*transform.forward(x)), x, rtol=0, atol=1e-10)
    (a, da), (b, db) = transform.forward(x), transform.forward(z)
    inner = (a * b).sum() + sum((p * q).sum() for p, q in zip(da, db, strict=True))
    torch.testing.assert_close(inner, (x * z).sum())
    constant, details = transform.forward(torch.ones(1, 1, *size, dtype=torch.float64))
    torch.testing.assert_close(constant, torch.full_like(constant, 4.0), rtol=0, atol=1e-9)  # 2^levels
    assert max(float(d.abs().max()) for d in details) < 1e-9


@pytest.mark.parametrize("name", ["haar", "db4", "sym8"])
def test_the_undecimated_transform_has_its_adjoint_and_norm(name: str) -> None:
    transform, x = UndecimatedTransform(filters(name), 3), images(2, 2, 17, 24)
    coefficients = transform.map(x)
    q = torch.randn(coefficients.shape, dtype=torch.float64)
    torch.testing.assert_close((coefficients * q).flatten(1).sum(1), (x * transform.adjoint(q)).flatten(1).sum(1))
    v = images(1, 1, 16, 24) - 0.5
    for _ in range(40):
        v = transform.adjoint(transform.map(v))
        size, v = float(v.norm()), v / v.norm()
    assert 0.9 * transform.norm_squared <= size <= transform.norm_squared * (1 + 1e-9)
    torch.testing.assert_close(coefficients.roll((3, 5), (-2, -1)), transform.map(x.roll((3, 5), (-2, -1))))


@pytest.mark.parametrize(("name", "levels"), [("haar", 2), ("db4", 1)])
def test_the_invariant_prior_is_the_mean_of_the_orthonormal_one_over_all_shifts(name: str, levels: int) -> None:
    x, shifts = images(1, 1, 16, 16), range(2**levels)
    each = [WaveletL1(name, levels).value(x.roll((i, j), (-2, -1))) for i in shifts for j in shifts]
    torch.testing.assert_close(InvariantWaveletL1(name, levels).value(x), torch.stack(each).mean(0))


def test_wavelets_are_convex_only_on_sizes_that_their_levels_divide() -> None:
    prior = WaveletL1("haar", 3)
    assert prior.begin(images(1, 1, 16, 24)).closed_convex and not prior.begin(images(1, 1, 16, 20)).closed_convex
    assert InvariantWaveletL1("haar", 3).begin(images(1, 1, 15, 21)).closed_convex
    assert not parse("tv+haar:invariant=false").begin(images(1, 1, 16, 20)).closed_convex


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (33, 18)])
@pytest.mark.parametrize("spec", ["tv", "wavelet", "haar", "wavelet:name=sym8,invariant=false", "smooth", "l1"])
def test_any_size_is_taken(spec: str, size: tuple[int, int]) -> None:
    p = build(spec).prox(images(2, 1, *size), 0.01)
    assert p.shape == (2, 1, *size) and bool(torch.isfinite(p).all())


# Denoisers


class Spy:
    """A denoiser that keeps what it is asked."""

    def __init__(self) -> None:
        self.levels: list[float | Tensor] = []

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        self.levels.append(sigma)
        return x / 2


def test_the_square_root_is_taken_exactly_once() -> None:
    spy, x = Spy(), images(2, 1, 4, 4)
    PnP(spy).prox(x, 0.04)
    assert spy.levels == [pytest.approx(0.2)]
    PnP(spy).prox(x, torch.tensor([0.04, 0.09]).view(2, 1, 1, 1))
    torch.testing.assert_close(spy.levels[1].flatten(), torch.tensor([0.2, 0.3]))
    Projector(spy, 0.05).prox(x, 0.04), RED(spy, 0.07).prox(x, 0.04), RED(spy, 0.07).grad(x)
    assert spy.levels[2:] == [0.05, 0.07, 0.07]


def test_plug_and_play_with_the_gaussian_denoiser_is_tikhonov() -> None:
    v, s = images(2, 1, 6, 6), 0.3
    for tau in TAUS:
        torch.testing.assert_close(PnP(GaussianDenoiser(s)).prox(v, tau), Tikhonov().prox(v, tau / s**2))
    with pytest.raises(AssertionError):  # a variance where a standard deviation belongs
        torch.testing.assert_close(GaussianDenoiser(s)(v, 0.05), Tikhonov().prox(v, 0.05 / s**2))


def test_red_of_the_gaussian_denoiser_is_quadratic() -> None:
    v, s, sigma, tau = images(2, 1, 6, 6), 0.3, 0.2, 0.05
    weight = 1 / (s**2 + sigma**2)  # (x − D(x))/sigma² = x/(s² + sigma²)
    torch.testing.assert_close(RED(GaussianDenoiser(s), sigma).grad(v), weight * v)
    exact = RED(GaussianDenoiser(s), sigma, inner=100).prox(v, tau)
    torch.testing.assert_close(exact, v / (1 + tau * weight))
    assert RED(GaussianDenoiser(s), sigma).lipschitz() >= weight
    going = RED(GaussianDenoiser(s), sigma).begin(torch.zeros_like(v))
    for _ in range(100):  # one step at a time, each from the answer before
        answer = going.prox(v, tau)
    torch.testing.assert_close(answer, exact)


def test_non_local_means_removes_noise() -> None:
    x = squares(2, 3, 48, 48)
    noisy = x + 0.1 * torch.randn(x.shape, dtype=torch.float64)
    restored = NonLocalMeans()(noisy, torch.tensor([0.1, 0.0001]).view(2, 1, 1, 1))
    error = (restored - x).flatten(1).square().mean(1) / (noisy - x).flatten(1).square().mean(1)
    assert float(error[0]) < 0.25 and float(error[1]) > 0.8  # 6 dB where the level is right


@pytest.mark.parametrize(
    "make",
    [
        lambda: TV(tol=0),
        lambda: WaveletL1(levels=0),
        lambda: Moreau(TV(), 0.0),
        lambda: Sum([]),
        lambda: Sum([(-1.0, TV())]),
        lambda: Projector(Spy(), 0.0),
        lambda: RED(Spy(), -1.0),
    ],
)
def test_wrong_settings_are_refused_where_they_are_made(make: Callable[[], Prior]) -> None:
    with pytest.raises(ValueError):
        make()


def test_unknown_wavelets_and_denoisers_suggest_the_near_one() -> None:
    with pytest.raises(SpecError, match="Did you mean 'sym8'"):
        PRIORS.build("wavelet:name=sym9")
    with pytest.raises(SpecError, match=r"unknown denoiser 'nlmm'\. Did you mean 'nlm'"):
        PRIORS.build("pnp:denoiser=nlmm")


# Sums


def test_a_sum_has_the_weighted_value_and_gradient_and_no_prox() -> None:
    prior, x = parse("2*tikhonov+0.5*smooth"), images(2, 1, 8, 8)
    torch.testing.assert_close(prior.value(x), 2 * Tikhonov().value(x) + 0.5 * Smooth().value(x))
    check_prior(prior)
    assert prior.lipschitz() == 2 * 1 + 0.5 * 8 and prior.offers() == {"value", "grad"}
    assert prior.name == "2*Tikhonov + 0.5*Smooth" and prior.closed_convex
    assert parse("tv+l1").offers() == {"value"} and not Sum([(1.0, TV()), (1.0, PnP(Spy()))]).closed_convex
    with pytest.raises(NotImplementedError, match="no prox"):
        prior.prox(x, 0.1)


def test_moreau_has_the_minimum_and_the_prox_of_its_definition() -> None:
    v, tau, mu = images(1, 1, 8, 8), 0.1, 0.05
    envelope = Moreau(L1(), mu)
    huber = torch.where(v.abs() <= mu, v**2 / (2 * mu), v.abs() - mu / 2).sum()
    torch.testing.assert_close(envelope.value(v), huber[None])
    p = envelope.prox(v, tau)
    torch.testing.assert_close(p + tau * envelope.grad(p), v)  # 0 = ∇g_mu(p) + (p − v)/tau
    assert Moreau(PnP(Spy()), mu).offers() == {"prox", "grad", "split"}


@pytest.mark.parametrize("name", ["tv", "wavelet", "nlm"])
def test_classical_denoisers_gain_at_every_level(name: str) -> None:
    x = photograph("camera")[..., 100:228, 180:308].contiguous()
    for sigma, gain in ((15 / 255, 3), (50 / 255, 6)):
        y = Gaussian(sigma).draw(x, torch.Generator().manual_seed(0))
        before, after = ((v - x).square().mean() for v in (y, DENOISERS.build(name)(y, sigma)))
        assert float(10 * (before / after).log10()) > gain
