"""Stop rules: each says, per image, whether to stop, and why; some say which image was the best."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..checks import positive
from ..registry import STOPS, SpecError, unknown
from .recording import Measure, Snapshot

QUANTITIES = ("change", "residual", "objective")  # of a Snapshot
SAMPLES = 16384  # pixels of an image that a moving variance looks at: its memory is bounded


class StopRule(ABC):
    """Called after each iteration; True for an image ends its iteration.

    converged: True where the rule means that the answer is found, False for a limit.
    """

    converged: ClassVar[bool] = True

    @property
    @abstractmethod
    def reason(self) -> str:
        """Why, in words."""

    @property
    def watches(self) -> tuple[str, ...]:
        """Quantities whose history the rule looks back at."""
        return ()

    @property
    def ranks(self) -> str | None:
        """The quantity in the history that is least at the best image, which is then the result; None: the last is."""
        return None

    def measures(self) -> dict[str, Measure]:
        """More such quantities, name -> function of a Snapshot, made anew for each solve: they may remember."""
        return {}

    def sooner(self, factor: int) -> StopRule:
        """The rule for a solve that starts near its end: what it waits for is shortened."""
        return self

    @abstractmethod
    def __call__(self, now: Snapshot) -> Tensor:
        """Which images to stop, (B,)."""


@STOPS.register("tolerance")
@dataclass(frozen=True)
class Tolerance(StopRule):
    """Stop when the relative change of an iteration (`Solver.change`) is at most tol."""

    tol: float = 1e-4

    def __post_init__(self) -> None:
        positive(self.tol, "tol")

    @property
    def reason(self) -> str:
        return f"relative change at most {self.tol:g}"

    def __call__(self, now: Snapshot) -> Tensor:
        return now.change <= self.tol


@STOPS.register("plateau")
@dataclass(frozen=True)
class Plateau(StopRule):
    """Stop when the best value of a quantity has not fallen by a factor 1 − tol within `window` iterations.

    The result is the image of the best value.
    """

    quantity: str = "objective"
    window: int = 20
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise SpecError(unknown("quantity of a plateau:", self.quantity, list(QUANTITIES)))
        positive(self.window, "window")
        if not 0 <= self.tol < 1:
            raise ValueError(f"tol is {self.tol:g}; expected a number from 0 to below 1.")

    @property
    def watches(self) -> tuple[str, ...]:
        return (self.quantity,)

    @property
    def ranks(self) -> str | None:
        return self.quantity

    @property
    def reason(self) -> str:
        return f"{self.quantity} on a plateau for {self.window} iterations"

    def sooner(self, factor: int) -> StopRule:
        return Plateau(self.quantity, max(1, self.window // factor), self.tol)

    def __call__(self, now: Snapshot) -> Tensor:
        return _stagnates(now.history.rows[self.quantity], self.window, self.tol)


@STOPS.register("objective", examples=("objective:target=100",))
@dataclass(frozen=True)
class Objective(StopRule):
    """Stop when f(x) + lam g(x) <= target."""

    target: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.target):
            raise ValueError(f"target is {self.target:g}; expected a number.")

    @property
    def reason(self) -> str:
        return f"objective at most {self.target:g}"

    def __call__(self, now: Snapshot) -> Tensor:
        return now.objective <= self.target


@STOPS.register("discrepancy", cite=("morozov1966",))
@dataclass(frozen=True)
class Discrepancy(StopRule):
    """Stop when ‖Ax − y‖ <= c sigma √m: the measurement is explained as well as its noise allows (Morozov 1966)."""

    c: float = 1.0

    def __post_init__(self) -> None:
        positive(self.c, "c")

    @property
    def reason(self) -> str:
        return f"residual at most {self.c:g} sigma √m (discrepancy)"

    def __call__(self, now: Snapshot) -> Tensor:
        return now.residual <= self.c * now.problem.noise_norm()


class _LeastVariance(StopRule):
    """What both moving variances share: the image with the least one is the best, and `patience` what it waits for.

    fit: an image whose residual is above fit sigma √m is not learned yet, whatever its variance; inf asks for nothing.
    """

    patience: int
    fit: float

    def __post_init__(self) -> None:
        positive(self.patience, "patience")
        if not self.fit > 0:
            raise ValueError(f"fit is {self.fit:g}; expected a number above 0, or inf.")

    @property
    def ranks(self) -> str | None:
        return "variance"

    @property
    def reason(self) -> str:
        return f"the moving variance of the images was smallest {self.patience} iterations before"

    def __call__(self, now: Snapshot) -> Tensor:
        return _stagnates(now.history.rows["variance"], self.patience, 0.0)


@STOPS.register("wmv", cite=("wang2023",))
@dataclass(frozen=True)
class WindowedVariance(_LeastVariance):
    """Stop `patience` iterations after the variance of the last `window` images was smallest; the result is that image.

        VAR_k = 1/W Σ_w ‖x_{k−w} − mean_w x_{k−w}‖²/n,   n pixels

    The images are those that are drawn, where the result is an average of them.  It falls while a network learns the
    picture and rises when it turns to the noise.  Wang et al. 2023 (ES-WMV).
    """

    window: int = 50
    patience: int = 100
    fit: float = 1.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 2:
            raise ValueError(f"window is {self.window}; expected 2 images or more.")

    def measures(self) -> dict[str, Measure]:
        return {"variance": _of_learned(_Windowed(self.window), self.fit)}

    def sooner(self, factor: int) -> StopRule:
        return WindowedVariance(max(2, self.window // factor), max(1, self.patience // factor), self.fit)


@STOPS.register("emv", cite=("wang2023",))
@dataclass(frozen=True)
class ExponentialVariance(_LeastVariance):
    """Stop `patience` iterations after the exponential moving variance was smallest; the result is that image.

        EMV <- (1 − rate)(EMV + rate ‖x − EMA‖²/n),   EMA <- EMA + rate (x − EMA),   n pixels

    As `wmv`, with the memory of one image.  Asked after 2/rate iterations.  Wang et al. 2023 (ES-EMV).
    """

    rate: float = 0.05
    patience: int = 100
    fit: float = 1.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise ValueError(f"rate is {self.rate:g}; expected a number between 0 and 1.")

    def measures(self) -> dict[str, Measure]:
        return {"variance": _of_learned(_Exponential(self.rate), self.fit)}

    def sooner(self, factor: int) -> StopRule:
        rate = max(self.rate, min(0.5, self.rate * factor))
        return ExponentialVariance(rate, max(1, self.patience // factor), self.fit)


@dataclass(frozen=True)
class Seconds(StopRule):
    """Stop when the steps have taken `limit` seconds together; a batch shares its clock."""

    limit: float
    converged = False

    def __post_init__(self) -> None:
        positive(self.limit, "seconds")

    @property
    def reason(self) -> str:
        return f"time limit of {self.limit:g} s"

    def __call__(self, now: Snapshot) -> Tensor:
        return torch.full((now.x.shape[0],), now.seconds >= self.limit, device=now.x.device)


def parse(text: str) -> list[StopRule]:
    """Rules from specs joined by `+`, the first that fires ends: `wmv:window=100+discrepancy`.

    Raises SpecError, for two moving variances as well: the history has room for one.
    """
    rules = [STOPS.build(term) for term in STOPS.parse(text).terms]
    if len({name for rule in rules for name in rule.measures()}) < sum(len(rule.measures()) for rule in rules):
        raise SpecError(f"{text}: only one moving variance at a time. Pass wmv or emv, once.")
    return rules


def _stagnates(rows: list[Tensor], window: int, tol: float) -> Tensor:
    """Whether the least of the last `window` rows is no lower than (1 − tol) times the least before, (B,)."""
    if len(rows) <= window:
        return torch.zeros_like(rows[-1], dtype=torch.bool)
    before = torch.stack(rows[:-window]).amin(0)
    lately = torch.stack(rows[-window:]).amin(0)
    return (lately > before - tol * before.abs()) & before.isfinite()


def _of_learned(variance: Callable[[Tensor], Tensor], fit: float) -> Measure:
    """The variance of what is drawn (of averages it only falls), inf where the residual is above fit sigma √m."""

    def measure(now: Snapshot) -> Tensor:
        found = variance(now.drawn)
        if fit == math.inf:
            return found
        return torch.where(now.residual <= fit * now.problem.noise_norm(), found, math.inf)

    return measure


class _Windowed:
    """x -> the variance of the last `window` images a pixel, (B,); inf while there are fewer.

        VAR = 1/W Σ_w ‖d_w‖² − ‖1/W Σ_w d_w‖²,   d_w = x_w − x_0

    The sum of the d_w is kept, so that an image costs what it measures and not what the window does.
    """

    def __init__(self, window: int) -> None:
        self.window, self.seen = window, 0
        self.origin = self.sum = self.squares = self.kept = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor:
        seen, slot = _sampled(x), self.seen % self.window
        if not self.seen:
            self.origin, self.sum = seen, torch.zeros_like(seen, dtype=torch.float64)
            self.kept = self.sum.new_zeros((self.window, *seen.shape))  # of d, a ring
            self.squares = self.sum.new_zeros((self.window, len(x)))
        d = seen.double() - self.origin
        self.sum += d - self.kept[slot]
        self.kept[slot], self.squares[slot] = d, d.square().mean(1)
        self.seen += 1
        if self.seen < self.window:
            return seen.new_full((len(x),), float("inf"))
        variance = self.squares.mean(0) - (self.sum / self.window).square().mean(1)
        return variance.clamp_min(0).to(seen)


class _Exponential:
    """x -> the exponential moving variance a pixel, (B,); inf for the first 2/rate images."""

    def __init__(self, rate: float) -> None:
        self.rate, self.seen = rate, 0
        self.mean = self.variance = torch.empty(0)

    def __call__(self, x: Tensor) -> Tensor:
        seen = _sampled(x)
        if not self.seen:
            self.mean, self.variance = seen, seen.new_zeros(len(x))
        away = seen - self.mean
        self.variance = (1 - self.rate) * (self.variance + self.rate * away.square().mean(1))
        self.mean = self.mean + self.rate * away
        self.seen += 1
        return self.variance if self.seen > 2 / self.rate else torch.full_like(self.variance, float("inf"))


def _sampled(x: Tensor) -> Tensor:
    """At most about SAMPLES pixels of each image, spread evenly, (B, pixels): they are as noisy as the whole."""
    flat = x.detach().flatten(1)
    return flat[:, :: max(1, flat.shape[1] // SAMPLES)].float()
