"""`pnp.testing` catches what is planted, with a sentence that says where to look, and passes a stranger's package."""

from __future__ import annotations

import copy
import importlib.metadata
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from conftest import GaussianDenoiser
from elsewhere import META, Elsewhere, Made
from test_cli import pnp, record
from torch import Tensor

import pnp as package
from pnp import plugins
from pnp.core.problem import Problem
from pnp.core.solver import ImageState
from pnp.noises import Gaussian, Noise
from pnp.operators import Blur, FromCallables, Identity, Mask, Operator, kernels
from pnp.priors import L1, TV, PnP, Prior, Smooth, SmoothTV, Split, Tikhonov, WaveletL1
from pnp.registry import DENOISERS, NOISES, OPERATORS, PRIORS, SOLVERS, Registry
from pnp.solvers import FISTA, ProximalGradient, Solver
from pnp.testing import check_noise, check_operator, check_prior, check_solver, dot_test

# Operators


class Broken(Blur):
    """A right blur, of which each fault below replaces one method."""

    def __init__(self) -> None:
        super().__init__(kernels.motion(5, 30))
        self.calls = 0


class BrokenMask(Mask):
    """A right mask, likewise."""

    def __init__(self) -> None:
        super().__init__((torch.rand(1, 12, 13, generator=torch.Generator().manual_seed(0)) > 0.4).float())


def counted(s: Any, x: Tensor) -> Tensor:
    """A blur that grows with each call."""
    s.kernel2 = getattr(s, "kernel2", 1.0) + 1e-3
    return s.kernel2 * Blur.forward(s, x)


def stamped(s: Any, x: Tensor) -> Tensor:
    s.calls += 1
    return Blur.forward(s, x)


def in_place(s: Any, y: Tensor) -> Tensor:
    return Blur.adjoint(s, y.mul_(1.01))


def solved(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda s, b, rho, x0=None: change(s, b, rho, x0)


blur_solve = Blur._solve
OPERATOR_FAULTS: list[tuple[type[Operator], str, Any, str]] = [
    (Broken, "adjoint", lambda s, y: Blur.adjoint(s, y).roll(1, -1), "a shift by one"),
    (Broken, "adjoint", lambda s, y: 1.001 * Blur.adjoint(s, y), "⟨Ax, y⟩ and ⟨x, Aᵀy⟩ differ"),
    (Broken, "adjoint", lambda s, y: -Blur.adjoint(s, y), "a sign"),
    (Broken, "adjoint", lambda s, y: Blur.forward(s, y.flip(-1)), "differ"),
    (Broken, "adjoint", lambda s, y: Blur.adjoint(s, y).transpose(-1, -2), "adjoint.* shape"),
    (Broken, "adjoint", in_place, "changed its argument y"),
    (Broken, "normal", lambda s, v: Blur.normal(s, v) * 0.999, "normal"),
    (Broken, "normal", lambda s, v: Blur.forward(s, v), "normal"),
    (Broken, "forward", lambda s, x: Blur.forward(s, x).clamp(0, 1), "clip"),
    (Broken, "forward", lambda s, x: Blur.forward(s, x) + 1e-3, "an offset"),
    (Broken, "forward", lambda s, x: Blur.forward(s, x) - x.mean(), "differ"),
    (Broken, "forward", lambda s, x: Blur.forward(s, x.mul_(1.01)), "changed its argument x"),
    (Broken, "forward", lambda s, x: Blur.forward(s, x).double(), "forward.x. is float64 for float32"),
    (Broken, "forward", lambda s, x: Blur.forward(s, x.float()).to(x), "A a − 3 A b"),
    (Broken, "forward", counted, "changed the settings kernel2"),
    (Broken, "forward", stamped, "changed the settings calls"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, rho**2)), "how rho enters"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, 1.001 * rho)), "how rho enters"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, torch.as_tensor(rho).mean())), "a mean"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, rho).float()), "is float32 for float64"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, rho).roll(1, 0)), "solve_normal"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, rho) if x0 is None else x0), "x0"),
    (Broken, "solve_normal", solved(lambda s, b, rho, x0: blur_solve(s, b, rho)), "rho = 0.0 raised nothing"),
    (Broken, "norm", lambda s, x=None: 1.01 * Blur.norm(s, x), "largest singular value"),
    (Broken, "norm", lambda s, x=None: Blur.norm(s, x) ** 2 * 0.99, "largest singular value"),
    (Broken, "norm", lambda s, x=None: setattr(s, "factor", 2) or 1.0, "changed the settings factor"),
    (Broken, "initial", lambda s, y: s.kernel.mul_(1.01).mean() + y, "changed a buffer"),
    (Broken, "initial", lambda s, y: y[..., 1:], "initial.y. has shape"),
    (Broken, "initial", lambda s, y: y - y.mean(), "initial: image 0 of a batch"),
    (Broken, "initial", lambda s, y: y / 0, "NaN or infinite"),
    (Broken, "visible", lambda s, x: x[:, :, None], "visible"),
    (Broken, "image_shape", lambda s, y_shape: (1, 12, 12), "image_shape"),
    (Broken, "measurement_shape", lambda s, shape: (1, 12, 12), "measurement_shape"),
    (Broken, "known", lambda s: torch.zeros(1, 1, 12, 13), "not 0 where known"),
    (Broken, "pixelwise", True, "pixelwise = False"),
    (BrokenMask, "known", lambda s: 0.5 * s.mask, "other than 0 and 1"),
    (BrokenMask, "known", lambda s: 1 - s.mask, "not 0 where known"),
    (BrokenMask, "adjoint", lambda s, y: y, "differ|reads y"),
    (BrokenMask, "solve_normal", lambda s, b, rho, x0=None: b / (1 + rho), "solve_normal"),
]


@pytest.mark.parametrize("fault", OPERATOR_FAULTS, ids=lambda f: f"{f[0].__name__}.{f[1]}")
def test_each_fault_of_an_operator_is_caught(fault: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    made, method, wrong, says = fault
    monkeypatch.setattr(made, method, wrong)
    with pytest.raises(AssertionError, match=says):
        check_operator(made(), (1, 12, 13))


def test_the_right_ones_of_these_operators_pass() -> None:
    for made in (Broken, BrokenMask, Identity):
        check_operator(made(), (1, 12, 13))
    check_operator(FromCallables(lambda x: x[..., ::2], None, (2, 6, 8)))  # its own size, and a measurement of another


def test_an_error_within_is_the_assertion_that_names_what_was_expected() -> None:
    class Cast(Operator):
        """A buffer of float64 that meets a picture of float32."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("matrix", torch.eye(24, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.matrix

    with pytest.raises(AssertionError, match=r"expected: forward, adjoint.*RuntimeError.*dtype"):
        check_operator(Cast())


# Noises


class BrokenNoise(Gaussian):
    """Gaussian noise, of which each fault below replaces one method."""

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        return self


class Sometimes(Gaussian):
    """Gaussian noise that counts its calls."""

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        object.__setattr__(self, "count", getattr(self, "count", 0) + 1)
        return self


NOISE_FAULTS: list[tuple[str, Any, str]] = [
    ("slope", lambda s, u, y: (y - u) / s.sigma**2, "not the derivative"),
    ("slope", lambda s, u, y: (u - y) / s.sigma, "not the derivative"),
    ("slope", lambda s, u, y: 2 * (u - y) / s.sigma**2, "a factor 2"),
    ("slope", lambda s, u, y: (u - y).flip(-1) / s.sigma**2, "pixel by pixel"),
    ("slope", lambda s, u, y: u.sub_(y) / s.sigma**2, "changed its argument u"),
    ("value", lambda s, u, y: (u - y).square().sum().expand(len(u)) / (2 * s.sigma**2), "alone|derivative"),
    ("value", lambda s, u, y: (u - y).square().mean((1, 2, 3)) / (2 * s.sigma**2), "not the derivative"),
    ("value", lambda s, u, y: (u - y).square().sum() / (2 * s.sigma**2), "value.u, y. has shape"),
    ("prox", lambda s, v, y, tau: (s.sigma * v + tau * y) / (s.sigma + tau), "not the minimum"),
    ("prox", lambda s, v, y, tau: (s.sigma**2 * v + tau**2 * y) / (s.sigma**2 + tau**2), "tau is a variance"),
    ("prox", lambda s, v, y, tau: (s.sigma**2 * v + 1.002 * tau * y) / (s.sigma**2 + 1.002 * tau), "not the minimum"),
    ("prox", lambda s, v, y, tau: v, "not the minimum"),
    ("prox", lambda s, v, y, tau: Gaussian.prox(s, v, y, torch.as_tensor(tau).mean()), "alone"),
    ("prox", lambda s, v, y, tau: Gaussian.prox(s, v, y, tau).clamp(0, 1), "not the minimum"),
    ("prox", lambda s, v, y, tau: Gaussian.prox(s, v, y, tau).float(), "is float32 for float64"),
    ("curvature", lambda s, y: 0.9 / s.sigma**2, "times as fast"),
    ("curvature", lambda s, y: 200 / s.sigma**2, "more than a hundredth"),
    ("curvature", lambda s, y: -1.0, "expected a number above 0"),
    ("level", lambda s, y: s.sigma**2, "misfit"),
    ("level", lambda s, y: y.std(), "alone|misfit"),
    ("misfit", lambda s, u, y: (u - y) / s.sigma, "misfit"),
    ("misfit", lambda s, u, y: (u - y).flatten(1), "misfit.u, y. has shape"),
    ("expected", lambda s, y: 1.1 * s.sigma, "at most 5 %"),
    ("expected", lambda s, y: s.sigma * (y != 0).double().mean() ** 0.5, "over the measured samples"),
    ("draw", lambda s, u, g: u + s.sigma * torch.randn_like(u), "two measurements for one seed"),
    ("draw", lambda s, u, g: u + s.sigma * torch.randn(u.shape, generator=torch.Generator()).to(u), "for two seeds"),
    ("draw", lambda s, u, g: u + s.sigma * torch.randn(u.shape, generator=g, dtype=u.dtype), "draw in float32"),
    ("draw", lambda s, u, g: u.add_(s.sigma * torch.randn(u.shape, generator=g).to(u)), "changed its argument u"),
    ("draw", lambda s, u, g: Gaussian(1.3 * s.sigma).draw(u, g), "misfit"),
    ("offers", lambda s: {"slope", "curvature"}, "prox, which offers.. leaves out"),
    ("offers", lambda s: {"slope", "prox", "magic"}, "offers.. is"),
    ("begin", lambda s, y, known=None: object.__setattr__(s, "sigma", 0.07) or s, "changed sigma"),
    ("begin", lambda s, y, known=None: y.mul_(0.5) is y and s, "changed its argument y|alone|misfit"),
    ("begin", lambda s, y, known=None: None, "is a NoneType"),
]


@pytest.mark.parametrize("fault", NOISE_FAULTS, ids=lambda f: f"{f[0]}")
def test_each_fault_of_a_noise_is_caught(fault: tuple[str, Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    method, wrong, says = fault
    check_noise(BrokenNoise(0.1))
    monkeypatch.setattr(BrokenNoise, method, wrong)
    with pytest.raises(AssertionError, match=says):
        check_noise(BrokenNoise(0.1))


def test_a_noise_that_counts_is_caught() -> None:
    with pytest.raises(AssertionError, match="changed count"):
        check_noise(Sometimes(0.1))


# Priors


class Wrong(Prior):
    """A right prior, of which some methods are replaced."""

    closed_convex = True

    def __init__(self, right: Prior, **methods: Callable[..., Any]) -> None:
        self.right, self.methods = right, methods
        self.memory = 0

    def offers(self) -> set[str]:
        return self.methods.get("offers", self.right.offers)()

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        return self.methods.get("prox", self.right.prox)(v, tau)

    def grad(self, x: Tensor) -> Tensor:
        return self.methods.get("grad", self.right.grad)(x)

    def value(self, x: Tensor) -> Tensor:
        return self.methods.get("value", self.right.value)(x)

    def lipschitz(self) -> float:
        return self.methods.get("lipschitz", self.right.lipschitz)()

    def split(self) -> Split:
        return self.methods.get("split", self.right.split)()

    def begin(self, x0: Tensor) -> Prior:
        return self.methods.get("begin", lambda s, x0: s)(self, x0)


class Remembering(Tikhonov):
    """One whose prox hangs on how often it was called."""

    def __init__(self) -> None:
        self.calls = [0]

    def prox(self, v: Tensor, tau: float | Tensor) -> Tensor:
        self.calls[0] += 1
        return v / (1 + tau) + 1e-6 * self.calls[0]


class Leaking(TV):
    """TV whose solves share one memory."""

    def begin(self, x0: Tensor) -> Leaking:
        self._warm = super().begin(x0)._warm if self._warm is None else self._warm
        return self


tv, haar, smooth, tikhonov, rounded = TV(), WaveletL1("haar", 2), Smooth(), Tikhonov(), SmoothTV(0.02)


def parts(**changes: Any) -> Callable[[], Split]:
    """The split of TV with some of it replaced."""
    return lambda: tv.split()._replace(**changes)


PRIOR_FAULTS: list[tuple[Prior, dict[str, float], str]] = [
    (Wrong(p, prox=prox), {"gap": 1e-4} if p is tv else {}, "misses g")
    for p in (tv, haar, L1(), tikhonov, smooth)
    for prox in (
        lambda v, tau, p=p: p.prox(v, tau**0.5),  # a standard deviation for a variance
        lambda v, tau, p=p: p.prox(v, 1.05 * tau),
        lambda v, tau, p=p: p.prox(v, tau / 2),
        lambda v, tau, p=p: v.clone(),
        lambda v, tau, p=p: v.mean((-2, -1), keepdim=True).expand(v.shape),
    )
]
PRIOR_FAULTS += [
    (Wrong(L1(), prox=lambda v, tau: torch.where(v.abs() > tau, v, 0.0)), {}, "misses g"),  # hard threshold
    (Wrong(tv, prox=TV(isotropic=False).prox), {"gap": 1e-4}, "misses g"),
    (Wrong(tv, prox=TV(tol=2e-2).prox), {"gap": 1e-4}, "misses g"),  # stopped too early
    (Wrong(tv, prox=lambda v, tau: tv.prox(v, tau).clamp(0, 1)), {"gap": 1e-4}, "misses g"),
    (Wrong(tv, prox=lambda v, tau: tv.prox(v, torch.as_tensor(tau).mean())), {"gap": 1e-4}, "alone"),
    (Wrong(tv, prox=lambda v, tau: tv.prox(v, tau) + v.mean()), {"gap": 1e-4}, "alone"),
    (Wrong(tv, prox=lambda v, tau: tv.prox(v, tau).float()), {"gap": 1e-4}, "is float32 for float64"),
    (Wrong(tv, prox=lambda v, tau: tv.prox(v, tau)[..., 1:]), {"gap": 1e-4}, "has shape"),
    (Wrong(tikhonov, value=lambda x: x.square().sum().expand(len(x)) / 2), {}, "alone"),
    (Wrong(tikhonov, value=lambda x: x.square().sum() / 2), {}, "value of Wrong has shape"),
    (Wrong(smooth, grad=lambda x: 1.01 * smooth.grad(x)), {}, "not the slope"),
    (Wrong(smooth, grad=lambda x: -smooth.grad(x)), {}, "not the slope"),
    (Wrong(smooth, grad=lambda x: smooth.grad(x.transpose(-1, -2))), {}, "not the slope"),
    (Wrong(rounded, grad=lambda x: rounded.grad(x).roll(1, -1)), {}, "not the slope"),
    (Wrong(rounded, value=lambda x: 2 * rounded.value(x)), {}, "not the slope"),
    (Wrong(smooth, value=lambda x: 2 * smooth.value(x)), {}, "misses g"),
    (Wrong(tikhonov, lipschitz=lambda: 0.9), {}, "lipschitz.. says 0.9"),
    (Wrong(smooth, lipschitz=lambda: 4.0), {}, "lipschitz.. says 4"),
    (Wrong(rounded, lipschitz=lambda: 8.0), {}, "lipschitz.. says 8"),
    (Wrong(tikhonov, lipschitz=lambda: -1.0), {}, "expected a number above 0"),
    (Wrong(L1(), prox=lambda v, tau: v.mul_(0.5)), {}, "changed its argument v"),
    (Wrong(L1(), offers=lambda: {"value"}), {}, "prox, which offers"),
    (Wrong(L1(), offers=lambda: {"prox", "value", "grad"}), {}, "NotImplementedError"),
    (Wrong(L1(), offers=set), {}, "offers.. of Wrong"),
    (Wrong(tikhonov, begin=lambda s, x0: setattr(s, "memory", 1) or s), {}, "changed memory"),
    (Wrong(tikhonov, begin=lambda s, x0: x0.add_(1) is x0 and s), {}, "changed its argument v"),
    (Wrong(tikhonov, begin=lambda s, x0: L1()), {}, "begin of Wrong changes what is offered"),
    (Wrong(tv, split=parts(norm=8.0)), {"gap": 1e-4}, "a missing square root"),
    (Wrong(tv, split=parts(norm=2.0)), {"gap": 1e-4}, "says ‖K‖ = 2"),
    (Wrong(tv, split=parts(adjoint=lambda p: -tv.split().adjoint(p))), {"gap": 1e-4}, "⟨x, Kᵀq⟩ differ"),
    (Wrong(tv, split=parts(prox=lambda p, t: tv.shrink(p, 2 * t))), {"gap": 1e-4}, "h.Kx. is not g.x."),
    (Wrong(tv, split=parts(prox=TV(isotropic=False).shrink)), {"gap": 1e-4}, "h.Kx. is not g.x."),
    (tv.begin(torch.zeros(2, 1, 16, 16)), {"gap": 1e-4}, "again|changed"),  # what begin returns does remember
    (Remembering(), {}, "called again"),
    (Leaking(), {"gap": 1e-4}, "begin"),
    (PnP(lambda x, sigma: x - x.mean()), {}, "alone"),
    (PnP(lambda x, sigma: x + sigma * torch.randn_like(x)), {}, "again"),
]


@pytest.mark.parametrize("fault", PRIOR_FAULTS, ids=lambda f: f[2].split(" ")[0])
def test_each_fault_of_a_prior_is_caught(fault: tuple[Prior, dict[str, float], str]) -> None:
    prior, options, says = fault
    with pytest.raises(AssertionError, match=says):
        check_prior(prior, **options)


def test_the_right_ones_of_these_priors_pass() -> None:
    for prior in (haar, L1(), tikhonov, smooth, rounded, Wrong(tikhonov), PnP(GaussianDenoiser(0.3))):
        check_prior(prior)
    check_prior(Wrong(tv), gap=1e-4)


# Solvers


class Landweber(Solver):
    """x <- x − A step of 1/L: as plain as a solver can be, and not a dataclass."""

    iterations = 50


@dataclass(frozen=True)
class Right(Solver):
    """Proximal gradient descent."""

    iterations: int = 100
    needs_noise: ClassVar[tuple[str, ...]] = ("curvature",)

    def init(self, problem: Problem, x0: Tensor) -> Any:
        return ImageState(x0)

    def size(self, problem: Problem) -> Any:
        return 0.99 / problem.lipschitz()

    def step(self, problem: Problem, state: Any, k: int) -> Any:
        tau = self.size(problem)
        return ImageState(problem.prior.prox(state.x - tau * problem.data_grad(state.x), problem.lam * tau))


class Moved(NamedTuple):
    x: Tensor
    memory: Any


def prox_step(self: Any, problem: Problem, s: Any, k: int, *, lam: Any = None, tau: Any = None) -> Any:
    tau = self.size(problem) if tau is None else tau
    lam = problem.lam if lam is None else lam
    return ImageState(problem.prior.prox(s.x - tau * problem.data_grad(s.x), lam * tau))


def listed(self: Any, problem: Problem, s: Any, k: int) -> Any:
    """A state with something that changes in place, and no `rest`."""
    s.memory[0] = prox_step(self, problem, ImageState(s.memory[0]), k).x
    return Moved(s.memory[0], s.memory)


kept: dict[str, Tensor] = {}


def global_momentum(self: Any, problem: Problem, s: Any, k: int) -> Any:
    """The last image of any solve pulls a little."""
    new = prox_step(self, problem, s, k).x
    last = kept.get(str(new.shape), new)
    kept[str(new.shape)] = new
    return ImageState(new + 1e-3 * (last - new))


SOLVER_FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"step": lambda s, p, t, k: prox_step(s, p, t, k, lam=1.0)}, "from the minimiser"),
    ({"step": lambda s, p, t, k: prox_step(s, p, t, k, lam=p.lam**0.5)}, "from the minimiser"),
    ({"step": lambda s, p, t, k: ImageState(p.prior.prox(t.x, p.lam * s.size(p)))}, "from the minimiser|the same of y"),
    ({"step": lambda s, p, t, k: prox_step(s, p, t, k, tau=4 / p.lipschitz())}, "from the minimiser|NaN|runs"),
    ({"step": lambda s, p, t, k: prox_step(s, p, t, k, tau=0.99 / p.lipschitz().max())}, "alone"),
    ({"step": lambda s, p, t, k: prox_step(s, p, ImageState(t.x - t.x.mean()), k)}, "alone"),
    ({"step": lambda s, p, t, k: prox_step(s, p, ImageState(t.x.mul_(0.99)), k)}, "changed its argument x0|the state"),
    ({"step": lambda s, p, t, k: ImageState(prox_step(s, p, t, k).x.double())}, "is float64 for float32"),
    ({"step": lambda s, p, t, k: ImageState(prox_step(s, p, t, k).x + 1e-4 * torch.randn_like(t.x))}, "two results"),
    ({"step": lambda s, p, t, k: ImageState(prox_step(s, p, t, k).x[:, :, 1:])}, "has shape|Got"),
    ({"step": global_momentum}, "two results|bitwise"),
    ({"step": lambda s, p, t, k: object.__setattr__(s, "iterations", 7) or prox_step(s, p, t, k)}, "changed"),
    ({"step": listed, "init": lambda s, p, x0: Moved(x0, [x0]), "image": lambda s, t: t.memory[0]}, "has stopped"),
    ({"step": lambda s, p, t, k: setattr(p.prior, "memory", 1) or prox_step(s, p, t, k)}, "changed memory"),
    ({"needs": ("grad",)}, "calls prox of the prior"),
    ({"needs": ("grad", "value")}, "calls prox of the prior"),
    ({"needs_noise": ("prox",)}, "calls slope of the noise"),
    ({"needs": "prox"}, "expected a tuple"),
    ({"needs_noise": ("magic",)}, "expected a tuple"),
    ({"size": lambda s, p: p.noise.prox(p.y, p.y, 0.1).mean() + 0.01}, "calls prox of the noise"),
    ({"change": lambda s, p, new, old: torch.zeros(len(new.x), dtype=new.x.dtype)}, "in which the images move"),
    ({"change": lambda s, p, new, old: torch.ones(len(new.x), dtype=new.x.dtype)}, "at the minimiser"),
    ({"change": lambda s, p, new, old: Solver.change(s, p, new, old).max()}, "change of .* has shape"),
    ({"change": lambda s, p, new, old: Solver.change(s, p, new, old).max().expand(len(new.x))}, "ends image"),
    ({"size": lambda s, p: 1e-4 / p.lipschitz()}, "change of at most 1e-4|from the minimiser"),
    ({"image": lambda s, t: t.x[0]}, "image.init."),
    ({"objective": lambda s, t: t.x.flatten(1).sum(1)}, "not f . lam g"),
    ({"theorem": lambda s, p: True}, "a sentence or None"),
    ({"__post_init__": lambda s: None}, "iterations=0 raised nothing"),
    ({"__eq__": lambda s, other: False}, "not equal to its copy"),
]


def test_the_right_solver_passes() -> None:
    check_solver(Right())
    check_solver(ProximalGradient())


@pytest.mark.parametrize("fault", SOLVER_FAULTS, ids=lambda f: "+".join(f[0]))
def test_each_fault_of_a_solver_is_caught(fault: tuple[dict[str, Any], str], monkeypatch: pytest.MonkeyPatch) -> None:
    methods, says = fault
    for name, wrong in methods.items():
        monkeypatch.setattr(Right, name, wrong, raising=False)
    with pytest.raises(AssertionError, match=says):
        check_solver(Right(), iterations=500)


def test_further_faults_of_a_solver_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="not a frozen dataclass"):
        check_solver(Landweber())
    with monkeypatch.context() as patch:
        change = lambda s, p, new, old: 1e-3 * Solver.change(s, p, new, old)  # noqa: E731  # of a step a 1000th as long
        patch.setattr(Right, "change", change, raising=False)
        with pytest.raises(AssertionError, match="and a short step"):
            check_solver(Right(), reaches=1e-2)
    with monkeypatch.context() as patch:
        step = FISTA.step
        patch.setattr(FISTA, "step", lambda s, p, t, k: step(s, replace(p, noise=Gaussian(p.sigma**2)), t, k))
        with pytest.raises(AssertionError, match="from the minimiser"):
            check_solver(FISTA())


# Devices


CHECKS: dict[str, tuple[Callable[..., None], Any, str, Any]] = {
    "operator": (check_operator, Broken(), "forward", lambda s, x: Blur.forward(s, x) + torch.zeros(12)),
    "noise": (check_noise, BrokenNoise(0.1), "value", lambda s, u, y: Gaussian.value(s, u, y) + torch.zeros(1)),
    "prior": (check_prior, Tikhonov(), "prox", lambda s, v, tau: v / (1 + tau) + torch.zeros(16)),
    "solver": (check_solver, Right(), "size", lambda s, p: 0.99 / p.lipschitz() + torch.zeros(3, 1, 1, 1)),
}


@pytest.mark.parametrize("kind", CHECKS)
def test_the_device_is_where_everything_is_made(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a constant on the CPU."""
    check, made, method, wrong = CHECKS[kind]
    with Elsewhere(), Made():
        check(copy.deepcopy(made), device=META)
    monkeypatch.setattr(type(made), method, wrong)
    with Elsewhere(), Made(), pytest.raises(AssertionError, match="a tensor of the CPU"):
        check(copy.deepcopy(made), device=META)


# A stranger's package

HERE = Path(__file__).parent / "stranger"
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())
GROUPS: dict[str, dict[str, str]] = PROJECT["project"]["entry-points"]
REGISTRIES: dict[str, Registry] = {
    "pnp.operators": OPERATORS, "pnp.priors": PRIORS, "pnp.solvers": SOLVERS, "pnp.noises": NOISES,
    "pnp.denoisers": DENOISERS,
}  # fmt: skip
MEMBERS = [(group, name, home) for group, members in GROUPS.items() for name, home in members.items()]


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package can be imported."""
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def installed(stranger: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is installed, as far as pnp can tell."""
    points = {g: [EntryPoint(n, home, g) for n, home in members.items()] for g, members in GROUPS.items()}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda *, group: points.get(group, []))
    monkeypatch.setattr(plugins, "_left_out", set())
    for registry in REGISTRIES.values():
        monkeypatch.setattr(registry, "_filled", False)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))


def examine(group: str, spec: str) -> None:
    made = REGISTRIES[group].build(spec)
    if group == "pnp.operators":
        check_operator(made)
        check_operator(made, (3, 15, 17))
    elif group == "pnp.noises":
        check_noise(made)
    elif group == "pnp.solvers":
        check_solver(made)
    else:
        check_prior(PnP(made) if group == "pnp.denoisers" else made, (3, 15, 17))


def test_the_package_has_one_of_each_kind() -> None:
    assert {group for group, *_ in MEMBERS} == set(REGISTRIES) and len(MEMBERS) == 5


@pytest.mark.parametrize(("group", "name", "home"), MEMBERS, ids=lambda v: v)
def test_a_strangers_member_passes_by_path_by_module_and_installed(
    group: str, name: str, home: str, installed: None
) -> None:
    module, _, made = home.partition(":")
    examine(group, f"{home}")
    for spec in (f'"{HERE / module.replace(".", "/")}.py":{made}', name):
        assert type(REGISTRIES[group].build(spec)).__name__ == made


def test_all_of_a_strangers_members_restore_a_picture_together(
    installed: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from pnp.files import pictures
    from pnp.samples import photograph

    files = HERE / "pnp_stranger"
    run = ("solve", "photo.png", "--simulate", "--iterations", "40", "--lam", "8")
    red = f"0.001*red:denoiser=({files}/wiener.py:LocalWiener),sigma=0.1"
    by_path = ("--op", f"{files}/shutter.py:RollingShutter:speed=0.3",
               "--noise", f"{files}/laplace.py:Laplace:scale=0.05",
               "--prior", f"{files}/huber.py:HuberTV:mu=0.02+{red}",
               "--solver", f"{files}/fista.py:DataFISTA")  # fmt: skip
    by_name = ("--op", "rolling-shutter:speed=0.3", "--noise", "laplace:scale=0.05",
               "--prior", "huber-tv:mu=0.02+0.001*red:denoiser=wiener,sigma=0.1", "--solver", "data-fista")  # fmt: skip
    gains = []
    for folder, own in (("path", by_path), ("name", by_name)):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        pictures.write("photo.png", photograph("camera")[..., 100:148, 200:248])
        assert pnp(*run, *own) == 0, capsys.readouterr().err
        before, after = re.findall(r"(\S+) dB -> (\S+) dB", capsys.readouterr().out)[0]
        gains.append((float(before), float(after)))
        assert record()["solver"]["name"] in ("DataFISTA", "data-fista")
    assert gains[0] == gains[1] and gains[0][1] > gains[0][0] + 3  # 24.7 dB, 28.8 dB


def test_it_is_an_attribute_of_the_package() -> None:
    assert package.testing.check_operator is check_operator and package.testing.dot_test is dot_test
    assert package.dot_test is dot_test
