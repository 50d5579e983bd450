"""The deep image prior: a picture is what an untrained network draws."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from inspect import signature
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..precision import Choice, LearningPrecision, autocast, choose
from ..registry import PRIORS, SpecError, unknown
from .base import Drawing, Prior
from .nets import UNTRAINED, AsUntrained, Untrained
from .nets.convdecoder import depth_for

INPUT = 0.1  # z is uniform in [0, INPUT]
NOISE = "noise"  # the name, in what a picture has learned, of the state of its noise's generator


class DIP(Prior):
    """g = 0 on the pictures x = N_θ(z) that a network draws from a fixed random z: a descent moves θ, not x.

    Each picture of a batch has a network and a θ of its own, which `begin` makes from `seed` as if it were alone: `net`
    is copied, and every part of the copy that has reset_parameters() drawn anew; `net` itself never changes.
    Each draw sees another z + noise · n, n ~ N(0, I), the same in every run.

    net: z -> x, in [0, 1]: an `Untrained` network of pnp.priors.nets, which declares how many channels it takes and
    which sides it can draw (x is cut out of something larger).  Any other module takes 32 channels and every size; wrap
    it as AsUntrained(net, inputs=..., multiple=...) where that is not so.
    precision: as for a trained network, without float16, in which small gradients vanish.
    Raises ValueError for a picture that is smaller than the `multiple`.
    Ulyanov, Vedaldi & Lempitsky 2018.
    """

    lam = 1.0  # of nothing: g = 0
    kind = "dip"

    def __init__(
        self, net: nn.Module, *, noise: float = 1 / 30, seed: int = 0, precision: LearningPrecision = "auto"
    ) -> None:
        if not 0 <= noise < float("inf"):
            raise ValueError(f"noise of a deep image prior is {noise:g}; expected 0 or more.")
        self.net = net if isinstance(net, Untrained) else AsUntrained(net)
        self.noise, self.seed, self.precision = noise, seed, precision
        self.start: dict[str, Tensor] = {}  # what a solve before has learned
        self.nets: list[nn.Module] = []  # of one solve, one for each picture
        self.generators: list[torch.Generator] = []  # of the noise that each sees
        self.before: list[Tensor] = []  # the state of each generator, as it was before the last draw

    @property
    def name(self) -> str:
        return f"DIP({self.net.title()})"

    def grad(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def value(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))

    def runs_in(self, device: torch.device) -> tuple[Choice, ...]:
        return (choose(self.precision, device, learning=True),)

    def begin(self, x0: Tensor) -> DIP:
        begun = DIP(self.net, noise=self.noise, seed=self.seed, precision=self.precision)
        begun.nets = [_fresh(self.net, self.seed).to(x0.device) for _ in range(len(x0))]
        begun.generators = [torch.Generator().manual_seed(self.seed) for _ in begun.nets]
        if self.start:
            _load(begun.nets, {k: v for k, v in self.start.items() if not _of_noise(k)})
        for i, generator in enumerate(begun.generators):
            if (state := self.start.get(f"{i}.{NOISE}")) is not None:
                generator.set_state(state.cpu())
        begun.before = [generator.get_state() for generator in begun.generators]
        return begun

    def parametrise(self, x0: Tensor) -> list[Drawing]:
        begun = self if self.nets else self.begin(x0)
        z, (chosen,) = _input(self.net, x0, self.seed), self.runs_in(x0.device)
        draws = [partial(begun._draw, i, z, x0[:1], chosen.dtype) for i in range(len(begun.nets))]
        return [Drawing(list(net.parameters()), draw) for net, draw in zip(begun.nets, draws, strict=True)]

    def _draw(self, i: int, z: Tensor, like: Tensor, dtype: torch.dtype) -> Tensor:
        """Picture i, of the shape and dtype of `like`: (1, C, H, W)."""
        if self.noise:
            self.before[i] = self.generators[i].get_state()
            z = z + self.noise * torch.randn(z.shape, generator=self.generators[i]).to(z)
        with autocast(dtype, z.device):
            drawn = self.nets[i](z.contiguous(memory_format=torch.channels_last))
        x = drawn[..., : like.shape[-2], : like.shape[-1]].to(like.dtype)
        if x.shape != like.shape:
            raise ValueError(f"{self.name} draws pictures of shape {tuple(x.shape)}; expected {tuple(like.shape)}.")
        return x

    def learned(self) -> dict[str, Tensor]:
        nets = {f"{i}.{k}": v.detach().clone() for i, net in enumerate(self.nets) for k, v in net.state_dict().items()}
        return {**nets, **{f"{i}.{NOISE}": state for i, state in enumerate(self.before)}}

    def elsewhere(self, learned: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in learned.items() if not _of_noise(k)}

    def starting(self, learned: dict[str, Tensor]) -> DIP:
        other = DIP(self.net, noise=self.noise, seed=self.seed, precision=self.precision)
        other.start = learned
        return other


def _of_noise(name: str) -> bool:
    return name.partition(".")[2] == NOISE


def _fresh(net: nn.Module, seed: int) -> nn.Module:
    """A copy of `net` that has learned nothing, the same for the same seed; torch's generators stay as they were."""
    copy = deepcopy(net).cpu().to(memory_format=torch.channels_last).requires_grad_(True).train()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed those of CUDA, too
        for part in copy.modules():
            reset: Any = getattr(part, "reset_parameters", None)
            if reset is not None:
                reset()
    return copy


def _input(net: Untrained, x0: Tensor, seed: int) -> Tensor:
    """z, (1, inputs, H, W), H and W as in x0, or the next larger that the network can draw.  Raises ValueError."""
    h, w = x0.shape[-2:]
    if min(h, w) < net.multiple:
        raise ValueError(
            f"the picture has {h}×{w} pixels, and this network draws sides that are multiples of {net.multiple}. "
            "Give a smaller depth, e.g. dip:depth=3."
        )
    sides = [max(n + -n % net.multiple, net.smallest) // net.shrink for n in (h, w)]
    z = torch.rand((1, net.inputs, *sides), generator=torch.Generator().manual_seed(seed)) * INPUT
    return z.to(x0.device)


def _load(nets: list[nn.Module], learned: dict[str, Tensor]) -> None:
    """Give each network its own part of what was learned.  Raises ValueError where that is of other networks."""
    expected = {f"{i}.{k}": v.shape for i, net in enumerate(nets) for k, v in net.state_dict().items()}
    if {k: v.shape for k, v in learned.items()} != expected:
        raise ValueError(
            f"what was learned is of another network or number of pictures: {len(learned)} tensors, expected "
            f"{len(expected)} of these shapes.  Give the same --prior and the same pictures."
        )
    for i, net in enumerate(nets):
        net.load_state_dict({k.partition(".")[2]: v for k, v in learned.items() if k.partition(".")[0] == str(i)})


@PRIORS.register(
    "dip",
    cite=("ulyanov2018", "darestani2021", "heckel2019", "cascarano2021video"),
    examples=("dip", "dip:net=hourglass", "dip:net=decoder", "dip:width=16,depth=3,noise=0"),
)
def dip(
    net: Literal["convdecoder", "hourglass", "decoder"] = "convdecoder",
    width: int | None = None,
    widest: int | None = None,
    depth: int | None = None,
    skip: int | None = None,
    noise: float = 1 / 30,
    bounded: bool = True,
    seed: int = 0,
    precision: LearningPrecision = "auto",
    *,
    shape: tuple[int, int, int] | None = None,
) -> Prior:
    """The deep image prior: what an untrained network draws; no training set.

    As published: net=hourglass,width=128,widest=128.

    width, widest, depth, skip: of the network (`UNTRAINED`), where it has them; the depth of a convdecoder grows with
    the picture, where its `shape` is known.  noise: of its input, at each draw.  bounded: x stays within (0, 1).
    """
    if depth is None and net == "convdecoder" and shape is not None:
        depth = depth_for(*shape[1:])
    options = {"width": width, "widest": widest, "depth": depth, "skip": skip}
    given = {k: v for k, v in options.items() if v is not None}
    make = UNTRAINED[net]
    known = signature(make).parameters
    for name, value in given.items():
        if name not in known:
            raise SpecError(unknown(f"option of network {net!r}:", name, list(known)))
        least = 0 if name == "skip" else 1
        if value < least:
            raise SpecError(f"dip:{name}={value}; expected a whole number above {least - 1}.")
    made = make(channels=1 if shape is None else shape[0], bounded=bounded, **given)
    return DIP(made, noise=noise, seed=seed, precision=precision)
