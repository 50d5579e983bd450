"""Checks at the door: each says what was expected, what came, and what to do."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def image(x: Tensor, name: str = "x") -> Tensor:
    """`x` itself if it is a finite floating (B, C, H, W) tensor, else ValueError or TypeError."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is a {type(x).__name__}; expected a torch tensor (B, C, H, W).")
    if not x.is_floating_point():
        raise TypeError(f"{name} has dtype {x.dtype}; expected float32 or float64 in [0, 1].")
    if x.ndim != 4:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; expected (B, C, H, W).")
    if x.numel() == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}: it is empty.")
    return finite(x, name)


def finite(x: Tensor, name: str = "x") -> Tensor:
    """`x` itself if it has neither NaN nor infinity."""
    bad = int((~torch.isfinite(x)).sum())
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite; replace them or mask them out.")
    return x


def device(name: str) -> torch.device:
    """The device of this name, if it is here and holds numbers; else ValueError, which names those that are."""
    try:
        found = torch.device(name)
        torch.zeros(1, device=found).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        raise ValueError(f"device {name!r} is not available. Use one of: {', '.join(here)}.") from None
    return found


def part(value: Any, name: str, kinds: tuple[Any, ...], expected: str) -> None:
    """TypeError unless `value` is an object of one of these kinds."""
    if isinstance(value, type):
        raise TypeError(f"{name} is the class {value.__name__}; expected an object: {value.__name__}(...).")
    if not isinstance(value, kinds):
        raise TypeError(f"{name} is a {type(value).__name__}; expected {expected}.")


def positive(value: float, name: str) -> float:
    """`value` itself if it is a finite number above 0."""
    if not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}; expected a number above 0.")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value}; expected a number above 0.")
    return value


def share(value: float, name: str) -> float:
    """`value` itself if it is a number from 0 to below 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value:g}; expected a number from 0 to below 1.")
    return value


def per_image(value: float | Tensor, name: str, batch: int) -> float | Tensor:
    """`value` itself if it is a number above 0, or a tensor of one or `batch` of them: (B, 1, 1, 1)."""
    positive_tensor(value, name)
    if isinstance(value, Tensor) and value.ndim and tuple(value.shape) not in ((1, 1, 1, 1), (batch, 1, 1, 1)):
        raise ValueError(f"{name} has shape {tuple(value.shape)}; expected a number or ({batch}, 1, 1, 1).")
    return value


def positive_tensor(value: float | Tensor, name: str) -> float | Tensor:
    """`value` itself if it is above 0: a number, or a tensor (B, 1, 1, 1)."""
    if isinstance(value, Tensor):
        if not bool((value > 0).all()):
            raise ValueError(f"{name} has entries of 0 or below. All must be above 0.")
        return value
    return positive(value, name)
