"""What a run trains, and how: the contract between the loop of `run` and the ways of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..priors.nets import Network
from .objectives import Objective

if TYPE_CHECKING:
    from .run import TrainSettings


class Learner(ABC):
    """One run of training.  The loop counts, times, judges and keeps it, and knows no more of it.

    net: what learns.  step: steps that were made.  elapsed: seconds that they took.  rate: of the latest step.
    state() and load() hold all of it: a run that is restored goes on as if nothing had happened.
    """

    options: frozenset[str] = frozenset()  # which of lr, levels, mode, patch and precision mean something to it
    net: Network
    step: int = 0
    elapsed: float = 0.0
    rate: float

    @classmethod
    @abstractmethod
    def start(cls, settings: TrainSettings, net: Network, device: torch.device, *, given: bool) -> Learner:
        """A new run of `net`, whose weights are new, or `given`: of an earlier run."""

    @abstractmethod
    def advance(self, objective: Objective, progress: float) -> Tensor:
        """One step on fresh examples; `progress` through the run in [0, 1].  Returns the loss."""

    @abstractmethod
    def judge(self, objective: Objective, last: bool) -> dict[str, Any]:
        """Scores by name on the objective's judging examples, for the log; `last`: for the record, at the end."""

    @abstractmethod
    def finish(self) -> Network:
        """What was trained so far, float32 on the CPU."""

    @classmethod
    @abstractmethod
    def record(cls, settings: TrainSettings, net: Network) -> dict[str, Any]:
        """What the record of the weights says of how they were trained."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that a checkpoint has to hold."""

    @abstractmethod
    def load(self, state: dict[str, Any]) -> None:
        """Back to a `state`."""
