"""What a network says of itself: one that was trained, N(x, sigma), and one that is fitted to a picture, N(z)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from torch import Tensor, nn


class Part(NamedTuple):
    """Filters and the functions that belong to them, for a person to look at.

    label: of the row.  kernels: (n, s, s).  functions: (n, points), each over equally spaced responses about 0.
    """

    label: str
    kernels: Tensor
    functions: Tensor


class Network(nn.Module, ABC):
    """N(x, sigma), an estimate of the noise in x; the denoiser is D(x, sigma) = x − N(x, sigma).

    x: (B, channels, H, W); sigma: a number or (B, 1, 1, 1), in image units.  A subclass has forward(x, sigma),
    `receptive_radius` and `config`, sets `channels`, and states what differs from these values.
    """

    channels: int = 1
    lr: float = 1.5e-3  # peak learning rate that trains it well
    batch: int | None = None  # examples of a training step, and the side of their patches; None: as the objective says
    patch: int | None = None
    tile: int = 512  # a picture of more than tile² pixels is cut into tiles
    level: float | None = None  # the one noise level that it is trained for; None: a range of levels
    noise: str = "gaussian"  # or poisson, with sigma = √gain
    objective: str = "denoising"  # what it is trained for
    direct: bool = False  # it restores a measurement in one call, and needs no operator
    fitted_by: str = "descent"  # how its weights are found: or em, expectation-maximisation
    record: dict[str, Any] | None = None  # of the file of its weights

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList()  # what greedy training trains one after the other; empty: only the whole
        self.used, self.fixed = 0, 0  # how many stages run, and how many of them do not learn

    @abstractmethod
    def receptive_radius(self) -> int:
        """Pixels on each side that can change an output pixel."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The arguments that make another of its kind."""

    def title(self) -> str:
        """The name of its weights."""
        return type(self).__name__.lower()

    def parts(self, sigma: float) -> tuple[str, list[Part]]:
        """What it is made of at a noise level, where that can be read, and a line that says what is drawn."""
        return "", []


class Untrained(nn.Module):
    """u = N(z): (1, inputs, h, w) -> (1, C, shrink h, shrink w), a picture that the weights hold, not the input.

    shrink h and shrink w are multiples of `multiple` and at least `smallest`.  These values are for any input of 32
    channels; a subclass states its own.
    """

    inputs: int = 32
    multiple: int = 1
    smallest: int = 1
    shrink: int = 1

    def title(self) -> str:
        return type(self).__name__.lower()


class AsUntrained(Untrained):
    """A module of your own as an Untrained network: `AsUntrained(nn.Sequential(...), inputs=8)`."""

    def __init__(
        self, net: nn.Module, *, inputs: int = 32, multiple: int = 1, smallest: int = 1, shrink: int = 1
    ) -> None:
        super().__init__()
        self.net, self.inputs, self.multiple, self.smallest, self.shrink = net, inputs, multiple, smallest, shrink

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)

    def title(self) -> str:
        return type(self.net).__name__.lower()
