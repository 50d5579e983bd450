"""The contract of a training objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...files.pictures import expand
from ...priors.nets import Network
from ..mixture import Mixture

Net = Callable[[Tensor, Tensor | float], Tensor]  # N(x, sigma), in the number format that the run has chosen


class Objective(ABC):
    """Examples, a loss and a score.  Drawn with the generator alone, so that a resumed run sees the same examples.

    batch, patch, levels: of the examples, their side in pixels, and of the noise, where the run names none.
    judges: how many pictures the score is a mean of.
    mixed: whether its examples are drawn from a `Mixture`.
    """

    batch: ClassVar[int] = 32
    patch: ClassVar[int] = 64
    levels: ClassVar[tuple[float, float]] = (0.0, 55 / 255)
    mixed: ClassVar[bool] = False
    judges: int

    @classmethod
    def files(cls, inputs: Sequence[str]) -> list[Path]:
        """The files that --data names; default: pictures.  Raises ValueError where there are none."""
        return expand(inputs)

    @classmethod
    @abstractmethod
    def of(
        cls,
        network: Network,
        data: list[Path],
        validation: list[Path],
        levels: tuple[float, float],
        largest: int,
        mixture: Mixture,
    ) -> Objective:
        """For these files; levels: of the noise; largest: the side of the largest patch.  Raises ValueError."""

    @abstractmethod
    def loss(self, net: Net, batch: int, side: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """The loss on `batch` fresh examples of side × side pixels."""

    @abstractmethod
    def judge(self, net: Net, device: torch.device) -> dict[str, Any]:
        """Scores by kind and name, of the same examples every time: `{"psnr": {"25": 29.1}}`. The first counts."""


def peak_snr(restored: Tensor, clean: Tensor) -> float:
    """PSNR in dB of the restored picture within 0..1."""
    error = (restored.clamp(0, 1) - clean).square().mean().clamp_min(1e-12)
    return float(-10 * error.log10())
