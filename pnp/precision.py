"""In which number format a network runs: the fastest on this device, by a measurement, not by a processor's flags."""

from __future__ import annotations

import math
import time
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d

Precision = Literal["auto", "float32", "bfloat16", "float16"]
LearningPrecision = Literal["auto", "float32", "bfloat16"]  # small gradients vanish in float16

MARGIN = 0.8  # a shorter format must take less than this share of the time, else what is equally fast would flip
ROUNDS = 9
SECONDS = 0.05  # nothing is timed later than this: a slow or busy processor gets fewer rounds, or keeps float32
PATIENCE = 20  # times as long where gradients are taken: a run of minutes or hours follows


class Choice(NamedTuple):
    """The number format of a network, and why it is this one."""

    dtype: torch.dtype
    why: str

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"


def choose(precision: Precision, device: torch.device, *, learning: bool = False) -> Choice:
    """The format that was given, or for `auto` the fastest on this device and this number of threads.

    learning: gradients are taken, too.  One small convolution is timed in each format, once in a process.
    """
    if precision != "auto":
        return Choice(getattr(torch, precision), "given")
    return _fastest(device, torch.get_num_threads(), learning)


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """A context in which convolutions run in `dtype`; in float32, whatever the caller's own context says."""
    half = dtype != torch.float32
    return torch.autocast(device.type, dtype if half else torch.bfloat16, enabled=half)


@lru_cache
def _fastest(device: torch.device, threads: int, learning: bool) -> Choice:
    """Float32, unless a shorter format wins by the margin; the same for each that follows over the one before."""
    known = offered(device, learning)
    if len(known) == 1:
        return Choice(torch.float32, "no shorter format is offered here")
    took = times(known, device, learning)
    best = known[0]
    if not all(map(math.isfinite, took.values())):
        return Choice(torch.float32, f"not every format could be timed within {1e3 * limit(learning):.0f} ms")
    for dtype in known[1:]:
        best = dtype if took[dtype] < MARGIN * took[best] else best
    others = [f"{1e3 * took[d]:.2f} ms in {Choice(d, '').name}" for d in known if d != best]
    return Choice(best, f"measured: {1e3 * took[best]:.2f} ms against {', '.join(others)}")


def limit(learning: bool) -> float:
    """Seconds after which no timing begins."""
    return SECONDS * PATIENCE if learning else SECONDS


def offered(device: torch.device, learning: bool) -> tuple[torch.dtype, ...]:
    """The formats that a device has instructions for, float32 first; whether they pay is another question."""
    if device.type == "cuda":
        bfloat16, float16 = torch.cuda.is_bf16_supported(including_emulation=False), True
    elif device.type == "cpu" and torch.backends.mkldnn.is_available():
        bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        float16 = torch.ops.mkldnn._is_mkldnn_fp16_supported()
    else:
        bfloat16 = float16 = False
    halves = ((torch.bfloat16, bfloat16), (torch.float16, float16 and not learning))
    return (torch.float32, *(dtype for dtype, there in halves if there))


def times(dtypes: tuple[torch.dtype, ...], device: torch.device, learning: bool) -> dict[torch.dtype, float]:
    """Least seconds of a 3×3 convolution of 64 channels in each format, as in the networks here.

    The formats take turns, so that a busy machine slows all of them; the first round is a warm-up.  Past the
    `limit` no further call begins; a format that was not timed by then has inf.
    """
    side = 32 if device.type == "cpu" else 256  # on a GPU a small one would time the launch alone
    begun, took = time.perf_counter(), {dtype: float("inf") for dtype in dtypes}
    with torch.inference_mode(False), torch.set_grad_enabled(learning), autocast(torch.float32, device):
        calls = {dtype: _convolution(dtype, device, side, learning) for dtype in dtypes}
        for k in range(1 + ROUNDS):
            for dtype, call in calls.items():
                start = time.perf_counter()
                if start - begun > limit(learning):
                    return took
                call()
                if k:
                    took[dtype] = min(took[dtype], time.perf_counter() - start)
    return took


def _convolution(dtype: torch.dtype, device: torch.device, side: int, learning: bool) -> partial[None]:
    draw = torch.Generator().manual_seed(0)
    x, weight = (
        torch.randn(shape, generator=draw, device="cpu").to(device, dtype, memory_format=torch.channels_last)
        for shape in ((1, 64, side, side), (64, 64, 3, 3))
    )
    return partial(_convolve, x.requires_grad_(learning), weight.requires_grad_(learning))


def _convolve(x: Tensor, weight: Tensor) -> None:
    y = conv2d(x, weight, padding=1)
    if y.requires_grad:
        torch.autograd.grad(y.sum(), (x, weight))
    if y.is_cuda:
        torch.cuda.synchronize(y.device)
