"""deepinv's physics and denoisers as ours, and our operators as deepinv's physics.

deepinv is imported inside the functions: it is optional, and importing it costs seconds.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import socket
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from .. import checks
from ..linalg import norm
from ..operators.base import Operator
from ..priors.base import Denoiser, Prior
from ..priors.network import ByChannels
from ..priors.pnp import PnP
from ..registry import DENOISERS, PRIORS, SpecError, unknown

Shape = tuple[int, int, int]


def from_physics(physics: Any, image_shape: Shape) -> Operator:
    """y = A x for any deepinv `LinearPhysics`, without its noise.

    image_shape: (C, H, W) of x.  The physics is wrapped, not copied.
    Raises TypeError for a physics that is not linear, or whose measurement is not one real tensor.
    """
    linear = _deepinv().physics.LinearPhysics
    if not isinstance(physics, linear):
        raise TypeError(f"physics is a {type(physics).__name__}; expected a deepinv LinearPhysics.")
    written = type(physics).A_adjoint is not linear.A_adjoint or physics.A_adj is not None
    operator = PhysicsOperator(physics, image_shape, own_adjoint=not written)
    operator.closed_form = type(physics).prox_l2 is not linear.prox_l2 and operator.prox_is_exact()
    return operator


def to_physics(operator: Operator, image_shape: Shape) -> Any:
    """A deepinv `LinearPhysics` with A, Aᵀ and the exact `prox_l2` of `operator`, for deepinv's solvers.

    image_shape: (C, H, W) of x.  The operator is wrapped, not copied.
    """
    return _physics_class()(operator, image_shape)


def denoiser(name: str, *, channels: int, pretrained: str | None = "download") -> DeepinvDenoiser:
    """D(x, sigma) of a deepinv denoiser, by class name: TVDenoiser, DRUNet, DnCNN, Restormer, ...

    channels: 1 or 3, for the denoisers that are made for one of them.
    pretrained: 'download' (the weights that deepinv publishes), a path, or None for random weights.
    sigma is a number or (B, 1, 1, 1).  TVDenoiser and WaveletDenoiser take it as their threshold: a prox with
    tau = sigma, where the other denoisers expect noise of variance sigma².
    Raises ImportError without deepinv, SpecError for an unknown name, ValueError for a denoiser without published
    weights, RuntimeError when the weights cannot be downloaded.
    """
    kind = _kind(name)
    with torch.random.fork_rng(devices=[]):  # random initial weights leave the caller's random numbers alone
        model = _make(kind, channels, pretrained)
    return DeepinvDenoiser(model)


class Pretrained(ByChannels):
    """deepinv's denoiser of a name, made for the channels of the picture when one is there.

    Raises SpecError for an unknown name; at the first call what `denoiser` raises.
    """

    def __init__(self, name: str, pretrained: str = "download") -> None:
        self.__name__, self.pretrained = _kind(name).__name__, pretrained
        self.made: dict[int, DeepinvDenoiser] = {}  # channels -> denoiser

    def network(self, channels: int) -> DeepinvDenoiser:
        if channels not in self.made:
            self.made[channels] = denoiser(self.__name__, channels=channels, pretrained=self.pretrained)
        return self.made[channels]


@DENOISERS.register("deepinv", examples=("deepinv:TVDenoiser",))
def by_name(name: str, pretrained: str = "download", *, shape: Shape | None = None) -> Denoiser:
    """Any denoiser of deepinv by the name of its class; weights from deepinv's site, or a file (pretrained)."""
    found = Pretrained(name, pretrained)
    if shape is not None:
        found.network(shape[0])  # what keeps it from being made is said before anything runs
    return found


@PRIORS.register("deepinv", cite=("venkatakrishnan2013", "tachella2025"), examples=("deepinv:TVDenoiser",))
def prior_by_name(name: str, pretrained: str = "download", *, shape: Shape | None = None) -> Prior:
    """Plug-and-play with any denoiser of deepinv, by the name of its class."""
    return PnP(by_name(name, pretrained, shape=shape))


def _deepinv() -> ModuleType:
    try:
        import deepinv
    except ImportError as error:
        raise ImportError("deepinv is missing: pip install 'pnp-restoration[deepinv]'") from error
    return deepinv


# Physics -> Operator


class PhysicsOperator(Operator):
    """y = A x, with A, Aᵀ and, where it is exact, the data step of a deepinv physics."""

    closed_form: bool = False  # take the physics' own prox_l2 instead of conjugate gradients
    like: Tensor

    def __init__(self, physics: Any, image_shape: Shape, *, own_adjoint: bool) -> None:
        super().__init__()
        self.physics: Any = physics
        self.shape, self.own_adjoint = image_shape, own_adjoint
        buffer = max((b for b in physics.buffers() if b.is_floating_point()), key=Tensor.numel, default=torch.zeros(()))
        self.register_buffer("like", buffer.new_zeros(()), persistent=False)  # follows .to(device) and .double()
        with torch.no_grad():
            y = physics.A(self._zeros(image_shape))
        if not isinstance(y, Tensor) or y.is_complex():
            kind = f"complex {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(f"{self.name} makes a {kind}; expected a physics whose measurement is one real tensor.")
        self.y_shape = tuple(y.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        """A x."""
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; {self.name} takes (B, {', '.join(map(str, self.shape))}).")
        return self.physics.A(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """Aᵀ y."""
        # deepinv's automatic adjoint works in float32 alone; ours is the same product in any dtype
        return super().adjoint(y) if self.own_adjoint else self.physics.A_adjoint(y)

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """(AᵀA + rho I)⁻¹ b = argmin_x ‖Ax − y‖²/(2 rho) + ‖x − z‖²/2 with y = 0, z = b/rho: a `prox_l2`.

        Conjugate gradients from `x0` where that `prox_l2` is missing or not exact.
        """
        if not self.closed_form:
            return super().solve_normal(b, rho, x0)
        checks.positive_tensor(rho, "rho")
        return self.physics.prox_l2(b / rho, b.new_zeros(b.shape[0], *self.y_shape), 1 / rho)

    def prox_is_exact(self) -> bool:
        """Whether the physics' `prox_l2` solves its equation for one image and for two with a rho each.

        Several of deepinv 0.5 do not: Decolorize and SinglePixelCamera(fast=False) lose the null space of A,
        Downsampling cuts a filter that is wider than the picture.
        """
        rho = torch.tensor([0.1, 2.0]).to(self.like).view(2, 1, 1, 1)
        b = torch.randn(2, *self.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(self.like)
        self.closed_form = True
        try:
            with torch.no_grad():
                return all(self._residual(b[:n], r) < 1e-5 for n, r in ((1, 0.1), (2, rho)))
        except (RuntimeError, ValueError, TypeError):  # a prox_l2 that takes no gamma for each image
            return False
        finally:
            self.closed_form = False

    def _residual(self, b: Tensor, rho: float | Tensor) -> float:
        x = self.solve_normal(b, rho)
        return float((norm(self.normal(x) + rho * x - b) / norm(b)).max())

    def image_shape(self, y_shape: tuple[int, ...] | None) -> Shape:
        """The one image shape that this operator is made for."""
        return self.shape

    def known(self) -> Tensor | None:
        """The mask of an Inpainting, a Demosaicing, ...: a physics that multiplies each pixel by 0 or 1."""
        mask = getattr(self.physics, "mask", None)
        if not isinstance(mask, Tensor) or tuple(mask.shape[-2:]) != self.y_shape[-2:] or self.y_shape != self.shape:
            return None
        return mask if bool(((mask == 0) | (mask == 1)).all()) else None

    @property
    def name(self) -> str:
        return type(self.physics).__name__

    def _zeros(self, image_shape: Shape) -> Tensor:
        return self.like.new_zeros(1, *image_shape)


# Operator -> Physics


@functools.cache
def _physics_class() -> type:
    """The subclass of deepinv's `LinearPhysics` that holds one of our operators."""
    linear = _deepinv().physics.LinearPhysics

    class OperatorPhysics(linear):  # type: ignore[misc, valid-type]
        """y = A x, A an Operator of pnp."""

        def __init__(self, operator: Operator, image_shape: Shape) -> None:
            device = next((b.device for b in operator.buffers()), torch.device("cpu"))
            super().__init__(img_size=image_shape, device=device)
            self.operator = operator

        def A(self, x: Tensor) -> Tensor:
            """A x."""
            return self.operator(x)

        def A_adjoint(self, y: Tensor) -> Tensor:
            """Aᵀ y."""
            return self.operator.adjoint(y)

        def prox_l2(
            self,
            z: Tensor | float | None,
            y: Tensor,
            gamma: float | Tensor,
            solver: str | None = None,
            max_iter: int | None = None,
            tol: float | None = None,
            verbose: bool = False,
        ) -> Tensor:
            """argmin_x gamma/2 ‖Ax − y‖² + ‖x − z‖²/2 = (AᵀA + rho I)⁻¹ (Aᵀy + rho z), rho = 1/gamma.

            gamma: a number, (B,) or (B, 1, 1, 1).  The last four arguments are deepinv's; our solve needs none.
            """
            rho = 1 / (gamma.reshape(-1, 1, 1, 1) if isinstance(gamma, Tensor) else gamma)
            b = self.operator.adjoint(y) + rho * (0.0 if z is None else z)
            return self.operator.solve_normal(b, rho, z if isinstance(z, Tensor) else None)

    return OperatorPhysics


# Denoisers


class DeepinvDenoiser:
    """x -> D(x, sigma) of a deepinv denoiser, in evaluation mode, the same for every call.

    x: (B, C, H, W) of any device and dtype; sigma: a number or (B, 1, 1, 1).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.__name__ = type(model).__name__
        known = inspect.signature(model.forward).parameters
        self.level = next((n for n in ("sigma", "ths", "t") if n in known), None)  # None: a blind denoiser
        # an algorithm stops on the whole batch, and starts from its last result: one picture would reach into another
        self.alone = next(model.parameters(), None) is None

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1).expand(x.shape[0])  # (B,)
        self.model.to(x)
        parts = x.split(1 if self.alone else x.shape[0])
        return torch.cat([self._denoise(*part) for part in zip(parts, level.split(parts[0].shape[0]), strict=True)])

    def _denoise(self, x: Tensor, level: Tensor) -> Tensor:
        if hasattr(self.model, "restart"):
            self.model.restart = True
        return self.model(x, **({self.level: level} if self.level else {}))


# need a data set, another model, a physics or a task to be of use
_INCOMPLETE = frozenset(
    ("Denoiser", "MMSE", "MPRNet", "PromptIR", "Poisson2Sparse", "ScoreModelWrapper", "DiffusersDenoiserWrapper")
)
_CHANNELS = ("in_channels", "out_channels", "channels", "img_channels", "in_nc", "in_chans")  # its names for one number


def _denoisers(models: ModuleType) -> dict[str, type]:
    """The denoisers of deepinv that can be made from their default settings, by class name."""
    members = inspect.getmembers(models, lambda m: inspect.isclass(m) and issubclass(m, models.Denoiser))
    return {n: c for n, c in members if n not in _INCOMPLETE and not _required(c)}


def _kind(name: str) -> type:
    """The class of a denoiser.  Raises SpecError for an unknown name."""
    classes = _denoisers(_deepinv().models)
    if name not in classes:
        raise SpecError(unknown("deepinv denoiser", name, classes))
    return classes[name]


def _required(kind: type) -> list[str]:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    known = inspect.signature(kind).parameters.values()
    return [p.name for p in known if p.default is p.empty and p.kind not in variadic]


def _make(kind: type, channels: int, pretrained: str | None) -> nn.Module:
    known = inspect.signature(kind).parameters
    # a sequence as default (RAM) means that one model takes several numbers of channels
    settings: dict[str, Any] = {n: channels for n in _CHANNELS if n in known and isinstance(known[n].default, int)}
    if pretrained != "download":
        return kind(**settings, **({"pretrained": pretrained} if "pretrained" in known else {}))
    model = _download(kind, settings)  # their default is to download, under several names
    if "pretrained" not in known and any(True for _ in model.parameters()):
        raise ValueError(f"deepinv lacks weights for {kind.__name__}. pretrained=None makes a random network.")
    return model


def _download(kind: type, settings: dict[str, Any]) -> nn.Module:
    if not set(settings.values()) <= {1, 3}:
        raise ValueError(f"{kind.__name__} has weights for 1 or 3 channels; got {set(settings.values())}.")
    try:
        with _patience(10):
            return kind(**settings)
    except OSError as error:  # deepinv's DownloadError, urllib's URLError and a timeout are OSErrors
        raise RuntimeError(
            f"the weights of deepinv's {kind.__name__} could not be downloaded ({error}).  Without a network take "
            f"TVDenoiser, which needs no weights, or give pretrained=<path of a weight file>."
        ) from error


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    """Limit every wait for the network: torch.hub sets no limit, and a blocked port would hang for minutes."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
