"""deepinv's physics are operators, our operators are physics, and its denoisers are denoisers."""

import math
import socket
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.interop import deepinv as interop
from pnp.linalg import norm
from pnp.operators import Blur, kernels
from pnp.operators.base import Operator, dot_test
from pnp.priors import PnP
from pnp.registry import DENOISERS, SpecError
from pnp.solvers import ADMM, HQS

deepinv = pytest.importorskip("deepinv")

SHAPE, SMALL = (3, 18, 18), (2, 6, 6)
F64 = {"dtype": torch.float64}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def kernel() -> Tensor:
    k = torch.rand(1, 1, 3, 3, generator=seeded())
    return k / k.sum()


PHYSICS: dict[str, Callable] = {
    "blur": lambda: deepinv.physics.BlurFFT(SHAPE, filter=kernel()),
    "valid blur": lambda: deepinv.physics.Blur(filter=kernel(), padding="valid"),
    "inpainting": lambda: deepinv.physics.Inpainting(SHAPE, mask=(torch.rand(SHAPE, generator=seeded()) > 0.5).float()),
    "downsampling 2": lambda: deepinv.physics.Downsampling(SHAPE, factor=2, filter="gaussian", padding="circular"),
    "downsampling 3": lambda: deepinv.physics.Downsampling(SHAPE, factor=3, filter="gaussian", padding="circular"),
    "decolorize": lambda: deepinv.physics.Decolorize(),
}
EXACT = {"blur", "inpainting", "downsampling 2"}  # whose prox_l2 deepinv 0.5 gets right


class Diagonal(Operator):
    """y = w x, w (1, C, H, W)."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.register_buffer("w", w)

    def forward(self, x: Tensor) -> Tensor:
        return self.w * x


class Mixing(Operator):
    """y = M x on the flattened image: a dense matrix with fewer rows than columns, y (B, 1, 1, m)."""

    def __init__(self, rows: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("m", random(rows, shape[0] * shape[1] * shape[2], seed=1) / rows**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.m.T)[:, None, None]

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        return self.shape


def dense(forward: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """The matrix of a linear map, (m, n), column by column."""
    n = torch.Size(shape).numel()
    return forward(torch.eye(n, **F64).view(n, *shape)).reshape(n, -1).T


def wrapped(name: str) -> Operator:
    return interop.from_physics(PHYSICS[name](), SHAPE).double()


# Physics -> Operator


@pytest.mark.parametrize("name", PHYSICS)
def test_a_physics_passes_the_dot_test(name):
    op = wrapped(name)
    assert dot_test(op, torch.zeros(2, *SHAPE, **F64)) < 1e-12


@pytest.mark.parametrize("name", PHYSICS)
def test_the_data_step_of_a_physics_is_the_dense_solution(name):
    op, b, rho = wrapped(name), random(2, *SHAPE), torch.tensor([0.05, 3.0], **F64).view(2, 1, 1, 1)
    a = dense(op, SHAPE)
    for r in (0.2, rho):
        x = op.solve_normal(b, r)
        for n in range(2):
            system = a.T @ a + (float(r[n]) if isinstance(r, Tensor) else r) * torch.eye(a.shape[1], **F64)
            expected = torch.linalg.solve(system, b[n].flatten())
            # deepinv makes its spectra in float32
            torch.testing.assert_close(x[n].flatten(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PHYSICS)
def test_only_an_exact_prox_of_deepinv_is_used(name):
    assert wrapped(name).closed_form == (name in EXACT)


def test_a_wrong_prox_is_noticed():
    class Slip(deepinv.physics.BlurFFT):
        def prox_l2(self, z, y, gamma):
            return super().prox_l2(z, y, gamma**0.5)  # a sigma where a variance belongs

    assert not interop.from_physics(Slip(SHAPE, filter=kernel()), SHAPE).closed_form


@pytest.mark.parametrize("name", ["blur", "decolorize"])
def test_the_norm_of_a_physics_is_that_of_its_matrix(name):
    op = wrapped(name)
    expected = float(torch.linalg.matrix_norm(dense(op, SHAPE), 2))
    assert op.norm() == pytest.approx(expected, rel=1e-3)


def test_a_physics_without_its_own_adjoint_gets_one_in_every_dtype():
    def blur(x: Tensor) -> Tensor:
        return x + 0.5 * torch.roll(x, 1, -1)

    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        op = interop.from_physics(deepinv.physics.LinearPhysics(A=blur), SHAPE)
        assert dot_test(op, torch.zeros(1, *SHAPE, dtype=dtype)) < limit
        assert op.adjoint(torch.zeros(1, *SHAPE, dtype=dtype)).dtype == dtype


def test_measurements_of_any_shape_are_taken():
    op = interop.from_physics(deepinv.physics.CompressedSensing(m=40, img_size=(1, 12, 12)), (1, 12, 12))
    x = random(2, 1, 12, 12, dtype=torch.float32)
    assert op(x).shape == (2, 40) and dot_test(op, x) < 1e-5
    b = random(2, 1, 12, 12, dtype=torch.float32)
    x = op.solve_normal(b, 0.3)
    assert float((norm(op.normal(x) + 0.3 * x - b) / norm(b)).max()) < 1e-5


def test_what_is_no_linear_physics_with_one_real_measurement_is_refused():
    with pytest.raises(TypeError, match="LinearPhysics"):
        interop.from_physics(torch.nn.Identity(), SHAPE)
    stacked = deepinv.physics.StackedLinearPhysics([PHYSICS["blur"](), PHYSICS["inpainting"]()])
    with pytest.raises(TypeError, match="one real tensor"):
        interop.from_physics(stacked, SHAPE)
    with pytest.raises(ValueError, match="takes \\(B, 3, 18, 18\\)"):
        wrapped("blur")(torch.zeros(1, 1, 18, 18, **F64))


# Operator -> Physics

OPERATORS = {"diagonal": lambda: Diagonal(random(1, *SMALL).abs()), "mixing": lambda: Mixing(20, SMALL)}


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_is_a_physics_with_its_adjoint(name):
    op = OPERATORS[name]()
    physics = interop.to_physics(op, SMALL)
    assert isinstance(physics, deepinv.physics.LinearPhysics)
    x = random(2, *SMALL)
    torch.testing.assert_close(physics(x), op(x))
    assert abs(float(physics.adjointness_test(x))) < 1e-10
    back = interop.from_physics(physics, SMALL)
    torch.testing.assert_close(back.adjoint(op(x)), op.adjoint(op(x)))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("gamma", [0.7, torch.tensor([0.1, 5.0]), torch.tensor([0.1, 5.0]).view(2, 1, 1, 1)])
def test_prox_l2_is_the_dense_minimiser_of_deepinvs_objective(name, gamma):
    op = OPERATORS[name]()
    z, y, a = random(2, *SMALL), op(random(2, *SMALL, seed=2)), dense(op, SMALL)
    x = interop.to_physics(op, SMALL).prox_l2(z, y, gamma)
    for n in range(2):
        g = float(gamma.flatten()[n]) if isinstance(gamma, Tensor) else gamma
        # gradient of gamma/2 ‖Ax − y‖² + ‖x − z‖²/2
        system = g * a.T @ a + torch.eye(a.shape[1], **F64)
        expected = torch.linalg.solve(system, g * a.T @ y[n].flatten() + z[n].flatten())
        torch.testing.assert_close(x[n].flatten(), expected, rtol=1e-6, atol=1e-8)


def test_prox_l2_takes_deepinvs_numbers_for_z():
    physics = interop.to_physics(OPERATORS["diagonal"](), SMALL)
    y = random(1, *SMALL)
    torch.testing.assert_close(physics.prox_l2(None, y, 2.0), physics.prox_l2(torch.zeros_like(y), y, 2.0))
    torch.testing.assert_close(physics.prox_l2(0.5, y, 2.0), physics.prox_l2(torch.full_like(y, 0.5), y, 2.0))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("solver", "iterations"), [("PGD", 300), ("FISTA", 300), ("ADMM", 80), ("DRS", 80)])
def test_deepinvs_solvers_reach_the_tikhonov_solution_with_our_operator(name, solver, iterations):
    op, lam = OPERATORS[name](), 0.5
    y, a = op(random(2, *SMALL)), dense(op, SMALL)
    step = 1.0 / op.norm(torch.zeros(1, *SMALL, **F64)) ** 2 if solver in ("PGD", "FISTA") else 1.0
    make = getattr(deepinv.optim, solver)
    model = make(deepinv.optim.L2(), deepinv.optim.Tikhonov(), lambda_reg=lam, stepsize=step, max_iter=iterations)
    with torch.no_grad():
        x = model(y, interop.to_physics(op, SMALL))
    expected = torch.linalg.solve(a.T @ a + lam * torch.eye(a.shape[1], **F64), a.T @ y.flatten(1).T).T
    torch.testing.assert_close(x.flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_deepinvs_optim_builder_takes_our_operator():
    op, lam = OPERATORS["diagonal"](), 0.5
    y, step = op(random(2, *SMALL)), 1 / float(op.w.max()) ** 2
    settings = {"stepsize": step, "lambda": lam}
    model = deepinv.optim.optim_builder(
        "PGD", max_iter=400, data_fidelity=deepinv.optim.L2(), prior=deepinv.optim.Tikhonov(), params_algo=settings
    )
    x = model(y, interop.to_physics(op, SMALL))
    torch.testing.assert_close(x, op.w * y / (op.w**2 + lam), rtol=1e-5, atol=1e-6)


def test_wrapping_changes_nothing_global_and_nothing_owned_by_the_caller():
    op, dtype, state = OPERATORS["diagonal"](), torch.get_default_dtype(), torch.get_rng_state()
    w = op.w.clone()
    physics = interop.to_physics(op, SMALL)
    settings = (physics.solver, physics.max_iter, physics.tol)
    physics.prox_l2(random(1, *SMALL), random(1, *SMALL), 1.0, solver="lsqr", max_iter=3, tol=1.0)
    blur = PHYSICS["blur"]()
    before = {k: v.clone() for k, v in blur.state_dict().items()}
    interop.from_physics(blur, SHAPE)
    assert settings == (physics.solver, physics.max_iter, physics.tol) and torch.equal(op.w, w)
    assert all(torch.equal(v, before[k]) for k, v in blur.state_dict().items())
    assert torch.get_default_dtype() == dtype and torch.equal(torch.get_rng_state(), state)


# Denoisers


@pytest.mark.parametrize("name", ["TVDenoiser", "DRUNet", "FFDNet", "MedianFilter", "WaveletDenoiser"])
def test_each_picture_is_denoised_at_its_own_level_as_if_alone(name):
    if name == "WaveletDenoiser":
        pytest.importorskip("ptwt")
    denoise = interop.denoiser(name, channels=3, pretrained=None)
    x = random(2, 3, 32, 40, dtype=torch.float32)
    sigma = torch.tensor([0.05, 0.3]).view(2, 1, 1, 1)
    before = x.clone()
    both = denoise(x, sigma)
    alone = torch.cat([denoise(x[n : n + 1], float(sigma[n])) for n in range(2)])
    torch.testing.assert_close(both, alone, rtol=1e-5, atol=1e-6)
    assert torch.equal(both, denoise(x, sigma)) and torch.equal(x, before)  # no state from one call to the next
    if name != "MedianFilter":  # it is blind
        assert not torch.equal(both[0], denoise(x, 0.3)[0])


def test_denoisers_take_every_dtype_and_change_nothing_global():
    dtype, state = torch.get_default_dtype(), torch.get_rng_state()
    denoise = interop.denoiser("FFDNet", channels=1, pretrained=None)
    x = random(1, 1, 32, 32)
    assert denoise(x, 0.1).dtype == torch.float64
    torch.testing.assert_close(denoise(x.float(), 0.1).double(), denoise(x, 0.1), rtol=1e-4, atol=1e-5)
    assert torch.get_default_dtype() == dtype and torch.equal(torch.get_rng_state(), state)


def test_an_unknown_name_suggests_the_near_one():
    with pytest.raises(SpecError, match="Did you mean 'TVDenoiser'"):
        interop.denoiser("TVDenoizer", channels=1)


@pytest.mark.parametrize("error", [socket.gaierror("no name"), TimeoutError("timed out"), ConnectionRefusedError("no")])
def test_offline_one_error_says_what_to_do(error, monkeypatch):
    waits = []

    def offline(*args, **kwargs):
        waits.append(socket.getdefaulttimeout())
        raise error

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    before = socket.getdefaulttimeout()
    with pytest.raises(RuntimeError, match=r"weights of deepinv's DnCNN could not be downloaded.*TVDenoiser"):
        interop.denoiser("DnCNN", channels=1)
    assert socket.getdefaulttimeout() == before and waits and waits[0] <= 10


def test_denoisers_without_published_weights_are_refused():
    with pytest.raises(ValueError, match="lacks weights for UNet"):
        interop.denoiser("UNet", channels=1)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        interop.denoiser("DRUNet", channels=7)


def test_without_deepinv_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    with pytest.raises(ImportError, match=r"pip install 'pnp-restoration\[deepinv\]'"):
        interop.denoiser("TVDenoiser", channels=1)


@pytest.mark.parametrize("name", ["HQS", "ADMM"])
def test_the_same_denoiser_and_schedule_give_deepinvs_answer(name):
    """DPIR's falling strength in HQS; in ADMM one strength, because ours rescales its multiplier when tau changes."""
    op, sigma, lam, count = Blur(kernels.gaussian(1.2, 7)), 0.02, 0.23, 6
    denoiser = DENOISERS.build("wavelet")
    y = op(random(2, 1, 24, 24)) + sigma * random(2, 1, 24, 24, seed=1)
    first = 49 / 255 if name == "HQS" else 0.1
    strengths = torch.logspace(math.log10(first), math.log10(sigma if name == "HQS" else 0.1), count, **F64)
    steps = strengths**2 / (lam * sigma**2)  # deepinv's f has no sigma: its step is tau/sigma²
    settings = {"stepsize": steps.tolist(), "g_param": strengths.tolist(), "lambda": 1.0, "beta": 1.0}
    model = deepinv.optim.optim_builder(
        name,
        max_iter=count,
        data_fidelity=deepinv.optim.L2(),
        prior=deepinv.optim.PnP(denoiser=denoiser),
        params_algo=settings,
        early_stop=False,
    )
    start = op.adjoint(y)
    with torch.no_grad():
        theirs = model(y, interop.to_physics(op, (1, 24, 24)), init=(start, torch.zeros_like(start)))
    problem = Problem(op, y, PnP(denoiser), sigma=sigma, lam=lam)
    solver = HQS(iterations=count) if name == "HQS" else ADMM(tau=0.1**2 / lam, iterations=count)
    ours = solve(problem, solver, x0=start, stop=()).x
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert float((ours - start).abs().max()) > 0.1
