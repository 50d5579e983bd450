"""The weakly convex ridge regulariser: its function, constants and minimiser, its theorems, and how it is trained."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import images
from scipy.optimize import minimize
from test_cli import pnp
from torch import Tensor

from pnp import operators, priors, solve
from pnp.core.problem import Problem
from pnp.files import pictures as files
from pnp.linalg import dot, norm
from pnp.operators import kernels
from pnp.parameters.rules import Rule
from pnp.priors import Ridges, store
from pnp.priors.base import Prior
from pnp.priors.nets import WCRR, wcrr
from pnp.priors.network import NetworkDenoiser
from pnp.registry import DENOISERS, SpecError
from pnp.samples import photograph
from pnp.solvers import Accelerated, FixedPoint, GradientDescent
from pnp.testing import check_prior, check_solver
from pnp.training import origins

S = 0.1


def small(seed: int = 0, steep: float = 3.0, **config: object) -> WCRR:
    """A random regulariser whose φ falls as fast as it may at some responses that occur."""
    torch.manual_seed(seed)
    net = WCRR(**{"layers": (2, 3, 6), "size": 3, **config}).double()  # type: ignore[arg-type]
    net.log_alpha.data.normal_(0.3, 0.1)
    net.rising.data[:20], net.rising.data[20:] = 3.0, -3.0  # slopes of 1 and 0
    net.falling.data[:20], net.falling.data[20:60] = -3.0, 3.0
    net.log_mu.data.fill_(torch.tensor(steep).log() / wcrr.FAST)
    return net.eval()


def still(net: WCRR, s: float = S) -> wcrr.Ridge:
    return net.at(s).detached()


def energy(x: Tensor, y: Tensor, ridge: wcrr.Ridge) -> Tensor:
    return (x - y).flatten(1).square().sum(1) / 2 + ridge.value(x)


def hessian(ridge: wcrr.Ridge, x: Tensor) -> Tensor:
    """∇²R(x) as a matrix, from its product with each unit vector."""
    bend = ridge.bend(x)
    units = torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    return torch.stack([ridge.curved(unit, bend).flatten() for unit in units])


# The function


def test_grad_is_the_gradient_of_value_and_bend_that_of_grad() -> None:
    ridge, x = still(small()), images(2, 1, 9, 70)  # wider than a block
    at = x.clone().requires_grad_(True)
    expected = torch.autograd.grad(ridge.value(at).sum(), at)[0]
    with torch.no_grad():
        torch.testing.assert_close(ridge.grad(x), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(ridge.grad(x), expected, rtol=0, atol=1e-12)  # the way that learns
    d, step = images(2, 1, 9, 70, seed=2), 1e-6
    slope = (ridge.grad(x + step * d) - ridge.grad(x - step * d)) / (2 * step)
    assert float(norm(slope - ridge.curved(d, ridge.bend(x))).max() / norm(slope).max()) < 1e-2  # but for a few kinks
    planted = replace(ridge, mirrored=[kernel.flip(2, 3) for kernel in ridge.mirrored])
    assert float((planted.grad(x) - expected).abs().max()) > 1e-3
    planted = replace(ridge, alpha=1.1 * ridge.alpha)
    assert float((planted.grad(x) - expected).abs().max()) > 1e-3


def test_phi_is_odd_with_slopes_between_minus_1_and_mu() -> None:
    net = small(steep=7.0)
    profile, t = net.profile(), torch.linspace(-4, 4, 4001, dtype=torch.float64)
    with torch.no_grad():
        phi, psi = profile.phi(t), profile.psi(t)
    torch.testing.assert_close(phi.flip(0), -phi, rtol=0, atol=1e-12)
    torch.testing.assert_close(psi.diff() / t.diff(), (phi[1:] + phi[:-1]) / 2, rtol=0, atol=1e-3)
    assert float(psi.min()) == float(psi[2000]) == 0
    slopes = phi.diff() / t.diff()
    assert -1 <= float(slopes.min()) < -0.9 and 6 < float(slopes.max()) <= 7 + 1e-9
    assert float(slopes[t[1:] > 3.01].abs().max()) < 1e-12
    doubled = wcrr.Profile(2 * profile.values, 2 * profile.heights)  # planted
    assert float(doubled.slopes().detach().min()) < -1


def test_the_filters_have_norm_1_and_see_no_brightness() -> None:
    net = small(layers=(4, 8, 20), size=5)
    ridge = still(net)
    d = images(1, 1, 60, 60) - 0.5
    for _ in range(300):
        d = ridge.curved(d / norm(d), torch.ones((), dtype=d.dtype))
    assert 0.9 < float(norm(d)) <= 1 + 1e-9 < 1.1
    assert ridge.norm_squared() == pytest.approx(1, abs=1e-12)
    flat = torch.full((1, 1, 40, 40), 0.8, dtype=torch.float64)
    assert float(ridge.forth(flat).abs().max()) < 1e-12
    net.filters = lambda: [1.1 * k for k in WCRR.filters(net)]  # type: ignore[method-assign]  # planted
    assert still(net).norm_squared() > 1.4


@pytest.mark.parametrize("side", [5, 9])
def test_the_norm_is_a_bound_between_the_points_of_the_grid(side: int) -> None:
    bank = torch.randn(4, 1, side, side, dtype=torch.float64)
    fine = torch.fft.rfft2(bank[:, 0], s=(1024, 1024)).abs().square().sum(0).max()
    assert float(fine) <= float(wcrr.peak(bank, 12 * side)) <= 1.1 * float(fine)
    assert float(fine) <= float(wcrr.peak(bank, 4 * side))
    assert float(wcrr.crest(bank, 2 * side + 1)) < float(fine)  # planted: the grid alone


def test_the_layers_are_one_bank_of_their_composed_filters() -> None:
    ridge, x = still(small()), images(1, 1, 20, 20)
    bank = wcrr.composed(ridge.filters)
    assert bank.shape == (6, 1, 7, 7)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, bank), ridge.forth(x), rtol=0, atol=1e-12)
    z = torch.randn(1, 6, 14, 14, dtype=torch.float64)
    assert float(dot(ridge.forth(x), z)) == pytest.approx(float(dot(x, ridge.back(z))), rel=1e-12)


def test_r_is_weakly_convex_with_modulus_1_and_as_smooth_as_phi_is_steep() -> None:
    lowest = []
    for seed in range(4):
        ridge = still(small(seed))
        x = 0.5 + 0.3 * torch.randn(1, 1, 8, 8, dtype=torch.float64)
        values = torch.linalg.eigvalsh(hessian(ridge, x))
        lowest.append(float(values.min()))
        assert lowest[-1] >= -1 and float(values.max()) <= 3
        z = x + 0.2 * torch.randn_like(x)
        assert float(dot(ridge.grad(x) - ridge.grad(z), x - z)) >= -float(norm(x - z) ** 2)
    assert min(lowest) < -0.05  # it is not convex
    ridge = still(small())
    planted = wcrr.Profile(30 * ridge.profile.values, 30 * ridge.profile.heights)
    with pytest.raises(AssertionError, match="planted"):
        assert float(torch.linalg.eigvalsh(hessian(replace(ridge, profile=planted), x)).min()) >= -1, "planted"


# The minimiser


def test_the_denoiser_is_the_minimiser() -> None:
    net = small()
    ridge, y = still(net), images(1, 1, 8, 9)

    def f(v: object) -> tuple[float, object]:
        x = torch.as_tensor(v).view_as(y)
        return float(energy(x, y, ridge)), (x - y + ridge.grad(x)).flatten().numpy()

    best = minimize(f, y.flatten().numpy(), jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
    with torch.no_grad():
        x = y - net(y, S)
        residual = norm(x - y + ridge.grad(x)) / y.numel() ** 0.5
        assert float(residual) < 2 * wcrr.TOLERANCE * S < 0.05 * float(norm(x - y)) / y.numel() ** 0.5
        torch.testing.assert_close(x, torch.from_numpy(best.x).view_as(y), rtol=0, atol=2e-3)
        one = wcrr.minimise(y, ridge, 1)  # planted: a single step
    assert float((one - torch.from_numpy(best.x).view_as(y)).abs().max()) > 2e-3
    assert float(energy(one, y, ridge)) > f(best.x)[0] + 1e-6


def test_the_energy_never_rises() -> None:
    ridge, y = still(small(steep=20.0)), images(1, 1, 16, 16)
    with torch.no_grad():
        every = [float(energy(wcrr.minimise(y, ridge, k), y, ridge)) for k in range(40)]
        assert all(after <= before + 1e-12 for before, after in pairwise(every)) and every[-1] < 0.9 * every[0]

        class Understated(wcrr.Profile):
            def slopes(self) -> Tensor:
                return super().slopes() / 8

        planted = replace(ridge, profile=Understated(ridge.profile.values, ridge.profile.heights))
        every = [float(energy(wcrr.minimise(y, planted, k), y, ridge)) for k in range(40)]
    assert any(after > before + 1e-6 for before, after in pairwise(every))


def test_momentum_saves_steps() -> None:
    ridge, y = still(small(steep=30.0)), images(1, 1, 16, 16)
    with torch.no_grad():
        plain = y
        for _ in range(25):
            plain = plain - (plain - y + ridge.grad(plain)) / (1 + ridge.profile.slopes().max())
        least = energy(wcrr.minimise(y, ridge, 500), y, ridge)
        missed = [float(energy(x, y, ridge) - least) for x in (plain, wcrr.minimise(y, ridge, 25))]
    assert missed[1] < 0.5 * missed[0]


def test_the_derivative_is_that_of_the_minimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wcrr, "LEARNING", (400, 60))
    net, x, weight, step = small(), images(2, 1, 7, 8), images(2, 1, 7, 8, seed=3), 1e-5
    at = x.clone().requires_grad_(True)
    variables = {"x": at, **dict(net.named_parameters())}

    def loss() -> Tensor:
        return (net(at, torch.tensor([0.1, 0.2])) * weight).sum()

    def found() -> dict[str, Tensor]:
        return dict(zip(variables, torch.autograd.grad(loss(), list(variables.values())), strict=True))

    found_well = found()
    monkeypatch.setattr(wcrr, "LEARNING", (400, 1))
    planted, missed = found(), []  # one step of conjugate gradients
    monkeypatch.setattr(wcrr, "LEARNING", (400, 60))
    for name, variable in variables.items():
        d = torch.randn_like(variable)
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                variable.add_(sign * step * d)
                with torch.enable_grad():
                    values.append(float(loss()))
                variable.sub_(sign * step * d)
        slope = (values[0] - values[1]) / (2 * step)
        assert float((found_well[name] * d).sum()) == pytest.approx(slope, rel=0.02, abs=1e-3), name
        missed.append(abs(float((planted[name] * d).sum()) - slope) > 0.02 * abs(slope) + 1e-3)
    assert any(missed)


def test_each_picture_and_channel_is_denoised_as_if_alone() -> None:
    denoiser, x = NetworkDenoiser(small().float(), "float32"), images(2, 3, 12, 14, dtype=torch.float32)
    levels = torch.tensor([0.05, 0.2])
    both = denoiser(x, levels)
    for i in range(2):
        for c in range(3):
            alone = denoiser(x[i : i + 1, c : c + 1], float(levels[i]))
            torch.testing.assert_close(both[i : i + 1, c : c + 1], alone, rtol=0, atol=1e-6)
    assert float((denoiser(x, 0.05) - both).abs().max()) > 1e-3  # planted: one level for all


def test_a_lower_number_format_is_for_learning_alone() -> None:
    net, x = small().float().requires_grad_(False), images(1, 1, 12, 12, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x, S), net(x, S)) and net(x, S).dtype == torch.float32
        half = net(x, S)
    assert torch.equal(half, net(x, S))


@pytest.mark.parametrize("changes", [{"channels": 3}, {"size": 4}])
def test_a_regulariser_that_cannot_be_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"wcrr takes one channel|expected an odd number"):
        WCRR(**changes)


# The prior


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 17, 21)])
def test_the_prior_keeps_its_contract_and_its_constants_are_true(shape: tuple[int, int, int]) -> None:
    prior = Ridges(small(), S)
    check_prior(prior, shape)
    assert prior.offers() == {"grad", "value"} and not prior.closed_convex
    assert 0.5 / S**2 < prior.weakness() <= 1 / S**2 and prior.lipschitz() <= 3 / S**2 + 1e-9
    prior.steepest /= 30  # planted
    with pytest.raises(AssertionError, match="lipschitz"):
        check_prior(prior, shape)


@dataclass
class Bent(Prior):
    """g(x) = −½‖x‖²."""

    says: float

    def value(self, x: Tensor) -> Tensor:
        return -x.flatten(1).square().sum(1) / 2

    def grad(self, x: Tensor) -> Tensor:
        return -x

    def lipschitz(self) -> float:
        return 1.0

    def weakness(self) -> float:
        return self.says


def test_a_weakness_that_is_too_small_is_found() -> None:
    check_prior(Bent(1.0))
    with pytest.raises(AssertionError, match="weakness"):
        check_prior(Bent(0.9))


def test_the_prior_is_the_function_over_the_square_of_its_strength() -> None:
    net, x = small(), images(2, 3, 8, 9)
    prior = Ridges(net, torch.tensor([0.1, 0.2]).view(2, 1, 1, 1))
    for i, s in enumerate((0.1, 0.2)):
        each = [still(net, s).value(x[i : i + 1, c : c + 1]) / s**2 for c in range(3)]
        torch.testing.assert_close(prior.value(x)[i : i + 1], torch.stack(each).sum(0), rtol=1e-6, atol=0)
    assert prior.weakness() == pytest.approx(Ridges(net, 0.1).weakness(), rel=1e-6)  # the lower strength's


def test_its_solution_for_plain_noise_is_the_denoiser() -> None:
    net, y = small(), images(1, 1, 12, 12)
    problem = Problem(operators.Identity(), y, Ridges(net, S), sigma=S)
    restored = solve(problem, Accelerated(iterations=400), stop=(), record=()).x
    with torch.no_grad():
        torch.testing.assert_close(restored, y - net(y, S), rtol=0, atol=1e-3)
        planted = y - net(y, 2 * S)
    assert float((restored - planted).abs().max()) > 5e-3


def test_a_rule_sets_the_strength_where_nobody_has() -> None:
    net, rule = small(), Rule("accelerated", 10, 1.0, end=2.0, floor=0.04)
    assert rule.tuned(Ridges(net), 0.1).name == "WCRR(0.2)" and rule.tuned(Ridges(net), 0.01).name == "WCRR(0.04)"
    assert rule.tuned(Ridges(net, 0.3), 0.1).name == "WCRR(0.3)"
    falling = Rule("hqs", 10, 1.0, start=0.2, end=2.0)
    assert falling.tuned(Ridges(net), 0.1).name == Ridges(net).name
    with pytest.raises(ValueError, match="sigma of wcrr"):
        Ridges(net, 0.0)


# The theorems


def problem(sigma: float, lam: float = 1.0, *, blur: bool = False) -> Problem:
    operator = operators.Blur(kernels.gaussian(1.0, 5).double()) if blur else operators.Identity()
    y = operator(images(1, 1, 16, 16)) + sigma * torch.randn(1, 1, 16, 16, dtype=torch.float64)
    return Problem(operator, y, Ridges(small(), S), sigma=sigma, lam=lam)


@pytest.mark.parametrize("solver", [Accelerated(), GradientDescent()])
def test_the_certificate_says_convex_where_it_is(solver: Accelerated | GradientDescent) -> None:
    rho = problem(S).prior.weakness()
    for sigma, lam, blur, convex in (
        (S, 1.0, False, True),
        (S, 0.999 / (rho * S**2), False, True),
        (S, 1.01 / (rho * S**2), False, False),
        (2 * S, 1.0, False, False),
        (S, 1.0, True, False),
    ):
        posed = problem(sigma, lam, blur=blur)
        assert posed.convex is convex
        said = str(solve(posed, solver, iterations=3).convergence)
        assert ("convex" in said) is convex and ("never rises" in said or convex)
    unknown = replace_prior(posed, Bent(float("inf")))
    assert solver.theorem(unknown) is None and not unknown.convex
    assert GradientDescent(momentum=0.5).theorem(posed) is None


def replace_prior(posed: Problem, prior: Prior) -> Problem:
    return posed.beside(prior)


def test_what_is_said_to_be_convex_is(monkeypatch: pytest.MonkeyPatch) -> None:
    ridge, x = still(small()), 0.5 + 0.3 * torch.randn(1, 1, 8, 8, dtype=torch.float64)
    lowest = float(torch.linalg.eigvalsh(hessian(ridge, x)).min()) / S**2
    lam = 1 / (problem(S).prior.weakness() * S**2)
    assert problem(S, 0.99 * lam).convex and 1 / S**2 + 0.99 * lam * lowest >= 0
    monkeypatch.setattr(Ridges, "weakness", lambda self: 0.0)  # planted: a modulus that is too small
    planted = 2 / (-lowest * S**2)
    assert problem(S, planted).convex and 1 / S**2 + planted * lowest < 0


@pytest.mark.parametrize("blur", [False, True])
def test_the_accelerated_solver_never_raises_the_objective_and_ends_at_a_critical_point(blur: bool) -> None:
    posed = problem(S, blur=blur)
    done = solve(posed, Accelerated(iterations=300), stop=(), record=("objective",))
    values = done.history["objective"][:, 0].tolist()
    assert all(b <= a + 1e-9 * abs(a) for a, b in pairwise(values)) and values[-1] < values[0]

    def slope(x: Tensor) -> float:
        return float(norm(posed.data_grad(x) + posed.lam * posed.prior.grad(x)))

    assert slope(done.x) < 1e-3 * slope(posed.initial())
    plain = solve(posed, FixedPoint(iterations=300), stop=(), record=()).x
    early = [solve(posed, s, stop=(), record=()).x for s in (Accelerated(iterations=25), FixedPoint(iterations=25))]
    assert float(posed.objective(early[0])) <= float(posed.objective(early[1])) + 1e-9
    assert float(posed.objective(done.x)) <= float(posed.objective(plain)) + 1e-6
    posed.prior.steepest /= 100  # planted: steps that are too long are refused, and so it stands still
    stuck = solve(posed, Accelerated(iterations=300), stop=(), record=())
    assert slope(stuck.x) > 1e-3 * slope(posed.initial())


def test_the_accelerated_solver_keeps_the_contract_of_solvers() -> None:
    check_solver(Accelerated())


def test_its_first_steps_are_the_published_recursion() -> None:
    posed = problem(S, blur=True)
    tau = 1 / posed.prior.lipschitz()
    x = w = posed.initial()
    t = 1.0
    for k in range(1, 6):
        z = posed.data_prox(w - tau * posed.prior.grad(w), tau)
        grown = (1 + (1 + 4 * t**2) ** 0.5) / 2
        w, x, t = z + (t - 1) / grown * (z - x), z, grown
        found = solve(posed, Accelerated(iterations=k), stop=(), record=()).x
        torch.testing.assert_close(found, x, rtol=0, atol=1e-9)


# Training


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        files.write(folder / f"{i}.png", photograph("camera")[..., 150 * i : 150 * i + 150, 100:260])
    return folder


def test_the_command_trains_a_regulariser_whose_weights_restore(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, few in (("SIDE", 64), ("RENDERED", 1), ("MOST", 1)):
        monkeypatch.setattr(origins, name, few)
    files.write(tmp_path / "part.png", photograph("camera")[..., 100:148, 200:250])
    command = ["train", "wcrr:layers=2x4x8,size=3", "--data", "photos", "--out", "run", "--patch", "24..24"]
    assert pnp(*command, "--steps", "25", "--licence", "CC0", "--levels", "0..50/255") == 0
    record = store.manifest(Path("run"))["wcrr"]
    assert record["architecture"] == "wcrr" and record["steps"] == 25 and record["patch"] == [24, 24]
    losses = [json.loads(line)["psnr"]["25"] for line in Path("run/log.jsonl").read_text().splitlines()]
    assert losses[-1] > 20.2 + 2  # noisy pictures have 20.2 dB
    assert pnp(*command, "--resume", "--steps", "26") == 0
    capsys.readouterr()
    weights = "wcrr:weights=run/wcrr.safetensors"
    assert pnp("show", weights, "-o", "wcrr.png") == 0
    assert files.read("wcrr.png").pixels.std() > 0.05
    solved = ["solve", "part.png", "--simulate", "--op", "blur:std=1", "--prior", weights, "--report", "out"]
    assert pnp(*solved) == 0 and "never rises" in capsys.readouterr().out
    with pytest.raises(SpecError):
        priors.parse("wcrr:sgima=0.1")


def test_what_is_drawn_are_the_filters_and_potentials() -> None:
    net = small()
    said, rows = net.parts(S)
    assert "6 filters" in said and [row.kernels.shape for row in rows] == [(6, 7, 7)]
    potentials = rows[0].functions
    assert float(potentials.min()) >= 0 and torch.equal(potentials[:, 50], torch.zeros(6).double())
    torch.testing.assert_close(potentials, potentials.flip(1), rtol=0, atol=1e-9)
    sizes = rows[0].kernels.flatten(1).norm(dim=1)
    assert bool((sizes.diff() <= 0).all())


# The shipped weights

SHIPPED = pytest.mark.skipif("wcrr" not in store.manifest(), reason="no regulariser is shipped")


@SHIPPED
def test_the_shipped_regulariser_denoises_grey_and_colour() -> None:
    for name in ("camera", "astronaut"):
        x = photograph(name)[..., 100:228, 180:308].contiguous()
        for sigma, least in zip((15 / 255, 50 / 255), (5.5, 8.5), strict=True):
            y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            restored = DENOISERS.build("wcrr")(y, sigma)
            mse = [float((v - x).square().mean()) for v in (y, restored)]
            assert 10 * torch.tensor(mse[0] / mse[1]).log10() > least


@SHIPPED
def test_the_shipped_constants_are_those_of_its_filters_and_splines() -> None:
    prior = priors.parse("wcrr:sigma=0.05")
    assert isinstance(prior, Ridges)
    assert prior.ridge.norm_squared() == pytest.approx(1, abs=1e-9)
    assert 0 < prior.weakness() <= 1 / 0.05**2 * (1 + 1e-9) < prior.lipschitz() < 100 / 0.05**2
    assert float(prior.ridge.profile.values[-1]) >= 0  # R is bounded below
