"""The average of the images of a descent, as it goes."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Averaging(Protocol):
    """A state that has an image, and mean and weight as `averaged` makes them."""

    @property
    def x(self) -> Tensor: ...
    @property
    def mean(self) -> Tensor: ...
    @property
    def weight(self) -> Tensor: ...


def averaged(mean: Tensor, weight: Tensor, x: Tensor, average: float) -> tuple[Tensor, Tensor]:
    """(m, w) <- average (m, w) + (1 − average)(x, 1); m/w is the mean of all x with weights average^age."""
    return torch.lerp(x, mean, average), torch.lerp(torch.ones_like(weight), weight, average)


def mean_of(state: Averaging) -> Tensor:
    """The average of a state; at the start, where there is none yet, its image."""
    return torch.where(state.weight > 0, state.mean / state.weight.clamp_min(1e-12), state.x)
