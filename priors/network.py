"""Trained networks as denoisers: any picture size, bounded memory, half precision where it is faster."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from types import EllipsisType
from typing import Any, Literal

import torch
from torch import Tensor

from ..precision import Choice, Precision, autocast, choose
from ..registry import DENOISERS, PRIORS, SpecError
from .base import Denoiser, Prior, runs_in
from .nets import Network
from .pnp import PnP
from .store import WeightsError, load, load_file, manifest

Window = tuple[EllipsisType, slice, slice]


class Learned(ABC):
    """A denoiser that is made of networks."""

    @abstractmethod
    def networks(self) -> list[Network]:
        """Each network once."""


def networks(denoiser: Denoiser) -> list[Network]:
    """The networks that a denoiser is made of; none for a plain function."""
    return denoiser.networks() if isinstance(denoiser, Learned) else []


class NetworkDenoiser(Learned):
    """D(x, sigma) = x − N(x, sigma) with a trained N; a deepinv denoiser as it is.

    x: (B, C, H, W); a network for one channel takes each channel by itself.  sigma: a number, (B,) or (B, 1, 1, 1).
    precision: of N, never of the picture itself; auto takes what is fastest on x's device, by a measurement.
    N runs where x is: for each other device than its own it has a copy, made once, and stays where it is itself.
    Pictures of more than `tile`² pixels (default 512², or what the network says) are cut into tiles with a margin of
    the receptive field: the same result.
    """

    def __init__(self, net: Network, precision: Precision = "auto", tile: int | None = None) -> None:
        if not isinstance(net, Network):
            raise TypeError(f"net is a {type(net).__name__}; expected a subclass of pnp.priors.nets.Network.")
        self.net: Network = net.to(memory_format=torch.channels_last)
        self.precision = precision
        self.copies: dict[torch.device, Network] = {}  # of self.net, on other devices than its own
        self.tile = -(-(tile or net.tile) // 8) * 8

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float32, device=x.device)
        level = level.reshape(-1, 1, 1, 1).expand(len(x), 1, 1, 1)
        channels = self.net.channels
        if x.shape[1] == channels:
            return x - self._noise(x.float(), level).to(x.dtype)
        if channels != 1:
            raise ValueError(f"x has {x.shape[1]} channels; this network takes {channels}.")
        apart = x.flatten(0, 1)[:, None].float()
        noise = self._noise(apart, level.repeat_interleave(x.shape[1], 0))
        return x - noise.view_as(x).to(x.dtype)

    def networks(self) -> list[Network]:
        return [self.net]

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        """The number format in which N runs there, and why."""
        return (choose(self.precision, device),)

    def _noise(self, x: Tensor, level: Tensor) -> Tensor:
        if torch.is_grad_enabled() and x.requires_grad:
            learning = any(p.requires_grad for p in self.net.parameters())
            if learning and self._net_on(x.device) is not self.net:
                raise ValueError(f"x is on {x.device}, but the network that learns is not. Move the network there.")
            whole = learning or len(list(self._tiles(x))) == 1
            return self._run(x, level) if whole else _TileByTile.apply(x, level, self)
        out = torch.empty_like(x)
        with torch.inference_mode():
            for outer, inner, keep in self._tiles(x):
                out[inner] = self._run(x[outer], level)[keep]
        return out

    def _tiles(self, x: Tensor) -> Iterator[tuple[Window, Window, Window]]:
        return _tiles(x.shape[-2:], self.tile, self.net.receptive_radius())

    def _run(self, x: Tensor, level: Tensor) -> Tensor:
        """N(x, level) of one tile; where it leaves the range of float16, which ends at 65504, in float32."""
        net, dtype = self._net_on(x.device), choose(self.precision, x.device).dtype
        seen = x.contiguous(memory_format=torch.channels_last)
        with autocast(dtype, x.device):
            noise = net(seen, level).float()
        if dtype == torch.float16 and not bool(noise.isfinite().all()):
            with autocast(torch.float32, x.device):
                noise = net(seen, level)
        return noise

    def _net_on(self, device: torch.device) -> Network:
        """The network on a device; others may be using it where it is."""
        own = next((p.device for p in self.net.parameters()), device)
        if device == own:
            return self.net
        if device not in self.copies:
            self.copies[device] = deepcopy(self.net).to(device)
        return self.copies[device]


class _TileByTile(torch.autograd.Function):
    """N(x, sigma) tile by tile, and its vector-Jacobian product likewise: the memory of one tile, twice the forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, level: Tensor, denoiser: NetworkDenoiser) -> Tensor:
        ctx.save_for_backward(x, level)
        ctx.denoiser = denoiser
        with torch.no_grad():
            return denoiser._noise(x, level)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        x, level = ctx.saved_tensors
        total = torch.zeros_like(x)
        for outer, inner, keep in ctx.denoiser._tiles(x):
            with torch.enable_grad():
                tile = x[outer].detach().requires_grad_(True)
                noise = ctx.denoiser._run(tile, level)[keep]
            total[outer] += torch.autograd.grad(noise, tile, gradients[0][inner])[0]
        return total, None, None


def _tiles(size: tuple[int, ...], tile: int, radius: int) -> Iterator[tuple[Window, Window, Window]]:
    """(where to read, where to write, which part of the result) for tiles that start at multiples of 8."""
    radius = -(-radius // 8) * 8
    if size[0] * size[1] <= tile * tile:
        tile = -(-max(size) // 8) * 8
    for top in range(0, size[0], tile):
        for left in range(0, size[1], tile):
            spans = []
            for start, n in ((top, size[0]), (left, size[1])):
                stop, first = min(n, start + tile), max(0, start - radius)
                keep = slice(start - first, stop - first)
                spans.append((slice(first, min(n, stop + radius)), slice(start, stop), keep))
            (a, b, c), (d, e, f) = spans
            yield (..., a, d), (..., b, e), (..., c, f)


class NearestLevel(Learned):
    """Denoisers trained for one noise level each, as one for all levels: the nearest on a log scale is taken.

    members: noise level -> denoiser D_{s0}(x, sigma), which itself carries what it learned to sigma.
    x: (B, C, H, W); sigma: a number, (B,) or (B, 1, 1, 1).
    """

    def __init__(self, members: Mapping[float, Denoiser]) -> None:
        if not members:
            raise ValueError("members is empty; expected at least one denoiser.")
        self.members = members

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=torch.float64).flatten().expand(len(x)).tolist()
        parts = [self._nearest(level)(x[i : i + 1], level) for i, level in enumerate(levels)]
        return torch.cat(parts)

    def networks(self) -> list[Network]:
        return [net for member in self.members.values() for net in networks(member)]

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return tuple(choice for member in self.members.values() for choice in runs_in(member, device))

    def _nearest(self, level: float) -> Denoiser:
        return self.members[min(self.members, key=lambda s: abs(math.log(s / max(level, 1e-6))))]


@lru_cache
def shipped(name: str, precision: Precision = "auto") -> NetworkDenoiser:
    """The denoiser of a shipped network, made once."""
    return NetworkDenoiser(load(name), precision)


class ByChannels(ABC):
    """Denoisers that are made for a number of channels, as one denoiser: the picture decides, when it is there.

    x: (B, C, H, W); sigma: as the denoisers take it.
    """

    @abstractmethod
    def network(self, channels: int) -> Denoiser:
        """The denoiser for a picture of this number of channels."""

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return self.network(x.shape[1])(x, sigma)


class ByColour(ByChannels, Learned):
    """The shipped networks of one architecture: for three channels the colour one, if it exists, else the grey one.

    x: (B, C, H, W); the grey network takes each channel by itself.  sigma: a number, (B,) or (B, 1, 1, 1).
    """

    def __init__(self, architecture: str, precision: Precision = "auto") -> None:
        self.architecture, self.precision = architecture, precision
        self.colour = f"{architecture}-colour" in manifest()

    def networks(self) -> list[Network]:
        return [self.network(channels).net for channels in ((1, 3) if self.colour else (1,))]

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return self.network(1).runs_in(device)

    def network(self, channels: int) -> NetworkDenoiser:
        shade = "colour" if channels == 3 and self.colour else "grey"
        return shipped(f"{self.architecture}-{shade}", self.precision)


def exact(denoiser: Denoiser) -> Denoiser:
    """The denoiser; a network whose precision is auto in float32."""
    if isinstance(denoiser, ByColour) and denoiser.precision == "auto":
        return ByColour(denoiser.architecture, "float32")
    if isinstance(denoiser, NetworkDenoiser) and denoiser.precision == "auto":
        return NetworkDenoiser(denoiser.net, "float32", denoiser.tile)
    return denoiser


def _network(architecture: str, weights: str | None, precision: Precision) -> Denoiser:
    """From a file, else the shipped ones."""
    return ByColour(architecture, precision) if weights is None else from_file(weights, architecture, precision)


def read_for(path: str, name: str) -> Network:
    """The network of a file, for the denoiser `name`.  Raises WeightsError if it is another's."""
    net = load_file(path)
    held = net.title().partition("-")[0]
    fits = {"drunet": "unet"}.get(held, held)
    if fits != name:
        raise WeightsError(f"{path} holds a {held}, not a {name}; give {fits}:weights={path}")
    return net


def from_file(path: str, name: str, precision: Precision) -> NetworkDenoiser:
    """`read_for` as a denoiser."""
    return NetworkDenoiser(read_for(path, name), precision)


@DENOISERS.register("unet", cite=("zhang2021", "mohan2020"))
def unet(precision: Precision = "auto", weights: str | None = None) -> Denoiser:
    """Our compact universal U-Net, any noise level up to 55/255.

    weights: a file instead of the shipped ones, also KAIR's and deepinv's DRUNet.
    """
    return _network("unet", weights, precision)


@PRIORS.register("unet", cite=("venkatakrishnan2013", "zhang2021", "mohan2020"))
def unet_prior(precision: Precision = "auto", weights: str | None = None, turns: bool = True) -> Prior:
    """Plug-and-play with our compact universal U-Net, one network for every operator and noise level.

    turns: each call sees the picture in another of its eight orientations.
    """
    return PnP(unet(precision, weights), turns)


@DENOISERS.register("dncnn", cite=("zhang2017",))
def dncnn(precision: Precision = "auto", weights: str | None = None) -> Denoiser:
    """DnCNN with a noise map, any noise level up to 55/255; weights: a file, also KAIR's and deepinv's."""
    return _network("dncnn", weights, precision)


@PRIORS.register("dncnn", cite=("venkatakrishnan2013", "zhang2017"))
def dncnn_prior(precision: Precision = "auto", weights: str | None = None, turns: bool = True) -> Prior:
    """Plug-and-play with DnCNN, one network for every operator and noise level."""
    return PnP(dncnn(precision, weights), turns)


@DENOISERS.register("trd", cite=("chen2017",), examples=("trd", "trd:size=7", "trd:stages=8", "trd:noise=poisson"))
def trd(
    size: int = 5, stages: int = 5, noise: Literal["gaussian", "poisson"] = "gaussian", weights: str | None = None
) -> Denoiser:
    """Trainable nonlinear reaction diffusion with size × size filters, channel by channel; the nearest level.

    noise=poisson: for x = gain · counts, with sigma = √gain, the noise of a white pixel.
    weights: your own file instead of the shipped ones, or one for each noise level, joined by ":" as in PATH.
    """
    return NearestLevel(_trd_levels(size, stages, noise, weights))


@PRIORS.register("trd", cite=("venkatakrishnan2013", "chen2017"))
def trd_prior(
    size: int = 5, stages: int = 5, noise: Literal["gaussian", "poisson"] = "gaussian", weights: str | None = None
) -> Prior:
    """Plug-and-play with trainable nonlinear reaction diffusion; weights: as of the denoiser.

    noise: gaussian; what plug-and-play removes is white, whatever the noise of the measurement.
    """
    levels = _trd_levels(size, stages, noise, weights)
    if any(member.net.noise != "gaussian" for member in levels.values()):
        raise SpecError(
            "trd for poisson noise is not a prior: plug-and-play removes white noise. Use it as a denoiser: "
            "pnp.registry.DENOISERS.build('trd:noise=poisson')(y, sigma), sigma = √gain."
        )
    return PnP(NearestLevel(levels))


def _trd_levels(size: int, stages: int, noise: str, weights: str | None) -> dict[float, NetworkDenoiser]:
    """Noise level -> trained diffusion, in ascending order."""
    if weights is not None:
        if (size, stages, noise) != (5, 5, "gaussian"):
            raise SpecError("trd: files of weights fix size, stages and noise. Pass weights alone.")
        return _trd_files(weights.split(os.pathsep))
    configs = {name: record["config"] for name, record in manifest().items() if record["architecture"] == "trd"}
    asked = {"size": size, "stages": stages, "noise": noise}
    levels = {config["sigma"]: name for name, config in configs.items() if asked.items() <= config.items()}
    if not levels:
        known = sorted({_spec({key: config[key] for key in asked}) for config in configs.values()})
        raise SpecError(f"{_spec(asked)} is not shipped. Known: {'; '.join(known) or 'none'}")
    return {level: shipped(name, "float32") for level, name in sorted(levels.items())}


def _spec(values: Mapping[str, object]) -> str:
    return "trd:" + ",".join(f"{key}={value}" for key, value in values.items())


def _trd_files(paths: list[str]) -> dict[float, NetworkDenoiser]:
    members = [from_file(path, "trd", "float32") for path in paths]
    levels = {float(member.net.level): member for member in members}  # type: ignore[arg-type]  # every trd has one
    if len(levels) < len(members):
        raise SpecError(f"two files of {os.pathsep.join(paths)} are for the same noise level. Pass one for each level.")
    if len({member.net.noise for member in members}) > 1:
        raise SpecError(f"{os.pathsep.join(paths)} are for different kinds of noise. Pass files for one kind.")
    return dict(sorted(levels.items()))
