"""The contract of every noise: f, minus the log-likelihood of a measurement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class Noise(ABC):
    """How y differs from u = A x.   value(u, y) = −log p(y | u), up to a constant of y, image by image.

    u, y: (B, C, H, W), or the shape of another measurement.  Everything is elementwise in u and y but the sums over an
    image, or so in an orthonormal basis of its blocks (`block`).  A noise gives `value` and what it has of the rest:

        slope(u, y)      the derivative of value with respect to u
        prox(v, y, tau)  argmin_u value(u, y) + ‖u − v‖²/(2 tau), exact; tau a variance: a number or (B, 1, 1, 1)
        curvature(y)     a Lipschitz constant of slope, a number or (B, 1, 1, 1)
        pulls(u, y)      (a, b) of slope = a − b, both >= 0 where u >= 0: what draws u down, and what draws it up
        completed(u, y)  E[ỹ | y, u], of noise that has cut a ỹ = u + level · n: what y would have been before

    A member that leaves one out does not override it.  What each image says of itself (which pixels were clipped, how
    bright it is) is found once, by `begin`.
    """

    quadratic: ClassVar[bool] = False  # value = ‖u − y‖²/(2 level²): a linear A then has an exact step of its own
    bounded: ClassVar[bool] = False  # y lies between black, 0, and white, 1: compressive measurements do not
    convex: ClassVar[bool] = True  # value is convex in u
    block: ClassVar[int] = 1  # side of the blocks within which samples hang together; 1: all is elementwise
    rules: ClassVar[str] = ""  # rows of the table that are for this noise have task+rules for their task
    everywhere: ClassVar[bool] = True  # the curvature holds for every u; False: for u >= 0 alone

    def begin(self, y: Tensor, known: Tensor | None = None) -> Noise:
        """The noise of one measurement: all that it needs to know of y.  known: 1 where y was measured; None: all."""
        return self

    @abstractmethod
    def draw(self, u: Tensor, generator: torch.Generator) -> Tensor:
        """A noisy measurement of u, drawn on the CPU in float64: the same on every device and in every dtype."""

    @abstractmethod
    def value(self, u: Tensor, y: Tensor) -> Tensor:
        """−log p(y | u) up to a constant, (B,)."""

    @abstractmethod
    def level(self, y: Tensor) -> float | Tensor:
        """The standard deviation of white Gaussian noise that is as strong, a number or (B, 1, 1, 1)."""

    def slope(self, u: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name} noise has no slope.")

    def prox(self, v: Tensor, y: Tensor, tau: float | Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name} noise has no prox.")

    def curvature(self, y: Tensor) -> float | Tensor:
        return float("inf")

    def pulls(self, u: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError(f"{self.name} noise has no slope in two parts.")

    def completed(self, u: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{self.name} noise cuts nothing.")

    def misfit(self, u: Tensor, y: Tensor) -> Tensor:
        """What u leaves of y, in image units, of equal variance everywhere when u is the truth; default: u − y."""
        return u - y

    def expected(self, y: Tensor) -> float | Tensor:
        """The root mean square of the misfit at the truth over the measured samples: a number or (B,)."""
        return batched(self.level(y))

    def offers(self) -> set[str]:
        """Which of slope, prox, curvature, pulls and completed this noise has."""
        every = ("slope", "prox", "curvature", "pulls", "completed")
        return {m for m in every if getattr(type(self), m) is not getattr(Noise, m)}

    def scaled(self, factor: float | Tensor) -> Noise:
        """The noise of the same kind where values, and with them its level, are `factor` times as large.

        factor: a number or (B, 1, 1, 1).  Default: itself, a noise whose numbers are of light already, as photons are.
        """
        return self

    def plain(self, y: Tensor) -> Tensor | None:
        """The images of a batch whose noise is white and Gaussian after all, (B,) of bool; None: no image."""
        return None

    def described(self) -> str:
        """The noise in words, for the record."""
        return self.name

    @property
    def name(self) -> str:
        return type(self).__name__


def batched(value: float | Tensor) -> float | Tensor:
    """A number as it is, (B, 1, 1, 1) as (B,)."""
    return value.flatten() if isinstance(value, Tensor) else value


def around(x: Tensor, known: Tensor | None = None) -> Tensor:
    """The mean of the 3×3 measured pixels at each pixel; x itself where it is not a picture."""
    from torch.nn.functional import avg_pool2d

    if x.ndim != 4 or min(x.shape[-2:]) < 2:
        return x

    def mean(v: Tensor) -> Tensor:
        return avg_pool2d(v, 3, stride=1, padding=1, count_include_pad=False)

    if known is None:
        return mean(x)
    seen = known.to(x).expand_as(x)
    return mean(x * seen) / mean(seen).clamp_min(1e-6)
