"""Everything is made where the picture is: a device other than the CPU, played by tensors that refuse to mix."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from conftest import images
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from pnp import priors, solve
from pnp import solvers as solvers
from pnp.core.problem import Problem
from pnp.core.solver import fits
from pnp.noises.level import estimate_noise
from pnp.priors.network import NetworkDenoiser, shipped
from pnp.registry import OPERATORS, PRIORS, SOLVERS

META = torch.device("meta")
CROSSING = {"_to_copy", "copy_", "_local_scalar_dense", "equal"}


class There(Tensor):
    """A tensor that says it is elsewhere, and holds its numbers on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=META
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})

    def item(self) -> Any:
        return self.held.item()

    def tolist(self) -> Any:
        return self.held.tolist()


def run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on what is held; a tensor of the CPU beside one from there is an error, as on a real device."""
    name, kwargs = function.overloadpacket.__name__, dict(kwargs)
    found: list[Tensor] = []
    tree_map(lambda t: found.append(t) if isinstance(t, Tensor) else None, (args, kwargs))
    away = any(isinstance(t, There) for t in found)
    here = [t for t in found if not isinstance(t, There) and t.ndim]
    indices = name.startswith(("index", "_index", "_unsafe_index"))
    if away and here and name not in CROSSING and not (indices and all(t.dtype == torch.int64 for t in here)):
        raise RuntimeError(f"{name}: a tensor of the CPU beside one of the device")
    target = kwargs.get("device")
    there = away if target is None else torch.device(target).type == "meta"
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    held = function(*tree_map(bare, args), **tree_map(bare, kwargs))
    if "out" in kwargs:
        return kwargs["out"]
    if name.endswith("_") and not name.endswith("__") and args and isinstance(args[0], Tensor):
        return args[0]
    return tree_map(lambda t: There(t) if there and isinstance(t, Tensor) else t, held)


def bare(t: Any) -> Any:
    return t.held if isinstance(t, There) else t


class Made(TorchFunctionMode):
    """What is made of numbers for there is there: torch would leave it without them."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.tensor, torch.as_tensor) and torch.device(kwargs.get("device") or "cpu") == META:
            del kwargs["device"]
            made = function(*args, **kwargs)
            return made if isinstance(made, There) else There(made)
        return function(*args, **kwargs)


class Elsewhere(TorchDispatchMode):
    """What is made with device=meta comes from there."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(function, args, kwargs or {})


def check(work: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """It runs there without a tensor of the CPU beside one of the device, and what comes out is there."""
    with Elsewhere(), Made():
        found = work(x.to(META))
    assert isinstance(found, There) and bool(found.held.isfinite().all())


def operate(spec: str) -> Callable[[Tensor], Tensor]:
    """What an operator does, all of it, beside a picture that is somewhere."""

    def work(x: Tensor) -> Tensor:
        operator = OPERATORS.build(spec, shape=tuple(x.shape[1:]), seed=0).to(x.device)
        y = operator(x)
        operator.norm(operator.adjoint(y))
        return operator.solve_normal(operator.adjoint(y), 0.5) + operator.initial(y)

    return work


def restore(prior: str, solver: str) -> Callable[[Tensor], Tensor]:
    def work(x: Tensor) -> Tensor:
        shape = tuple(x.shape[1:])
        operator = OPERATORS.build("blur", shape=shape, seed=0).to(x.device)
        problem = Problem(operator, operator(x), priors.parse(prior, shape=shape, seed=0), sigma=0.05)  # type: ignore[arg-type]
        return solve(problem, SOLVERS.build(solver), iterations=2).x

    return work


def first_solver(spec: str) -> str:
    prior = priors.parse(spec, shape=(1, 32, 32))
    if "parametrise" in prior.offers():
        return "gd:optimizer=Adam,lr=0.01"  # a network has no step of its own
    return next(name for name in SOLVERS if fits(SOLVERS.build(name), prior))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch refuses a context of half precision for the device that is played, and of inference for its tensors."""
    monkeypatch.setattr(torch, "inference_mode", lambda on=True: torch.no_grad() if on else nullcontext())
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())


def test_a_tensor_that_is_made_without_the_pictures_device_is_found() -> None:
    x = images(1, 1, 16, 16)
    check(lambda x: x * torch.arange(16.0, device=x.device), x)
    for fault in (lambda x: x * torch.arange(16.0), lambda x: x + torch.zeros(1), lambda x: x.cpu()):
        with pytest.raises((RuntimeError, AssertionError)):
            check(fault, x)


@pytest.mark.filterwarnings("ignore:conjugate gradients")
@pytest.mark.parametrize("spec", [spec for name in OPERATORS for spec in OPERATORS[name].examples])
def test_an_operator_works_where_the_picture_is(spec: str) -> None:
    check(operate(spec), images(1, 1, 16, 16))


@pytest.mark.parametrize("prior", sorted({s for name in PRIORS for s in PRIORS[name].examples or (name,)}))
def test_a_prior_works_where_the_picture_is(prior: str) -> None:
    check(restore(prior, first_solver(prior)), images(1, 1, 32, 32, dtype=torch.float32))


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_works_where_the_picture_is(solver: str) -> None:
    some = ("tikhonov", "tv", "red", "dip:depth=2", "dip:depth=2+tv")
    prior = next(p for p in some if fits(SOLVERS.build(solver), priors.parse(p)))
    check(restore(prior, solver), images(1, 1, 16, 16, dtype=torch.float32))


def test_noise_is_estimated_where_the_picture_is() -> None:
    check(lambda y: estimate_noise(y)[0], images(1, 1, 96, 96))


def test_a_network_follows_the_picture_and_stays_where_it_is_for_others() -> None:
    """Two devices in one process share a shipped network; planted: one that is moved."""
    denoiser, x = NetworkDenoiser(shipped("unet-grey").net, "float32"), images(1, 1, 16, 16, dtype=torch.float32)
    before = [p.data_ptr() for p in denoiser.net.parameters()]
    check(lambda x: denoiser(x, 0.1), x)
    copies = dict(denoiser.copies)
    check(lambda x: denoiser(x, 0.1), x)
    assert denoiser.copies == copies and set(copies) == {META}
    assert [p.data_ptr() for p in denoiser.net.parameters()] == before and torch.isfinite(denoiser(x, 0.1)).all()
    denoiser._net_on = lambda device: denoiser.net  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="beside one of the device"):
        check(lambda x: denoiser(x, 0.1), x)


def test_what_learns_is_not_copied_behind_its_owners_back() -> None:
    net = nn.Conv2d(1, 1, 1)
    net.channels, net.receptive_radius = 1, lambda: 0  # type: ignore[assignment]
    with Elsewhere(), Made(), pytest.raises(ValueError, match="only a copy of this network would learn"):
        NetworkDenoiser(net, "float32")(images(1, 1, 8, 8).to(META).requires_grad_(True), 0.1)
