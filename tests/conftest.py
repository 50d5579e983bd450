"""What several test files share: one thread, fixed seeds, and the Gaussian prior whose answers are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from elsewhere import played
from torch import Tensor

torch.set_num_threads(1)

# One small network of each architecture that `pnp train` knows.
SMALL: dict[str, dict] = {
    "unet": {"widths": (4, 6, 8), "blocks": 1},
    "dncnn": {"depth": 4, "width": 6},
    "drunet": {"widths": (4, 6, 8, 10), "blocks": 1},
    "trd": {"size": 3, "stages": 2},
    "epll": {"components": 3, "size": 3},
    "wcrr": {"layers": (2, 3, 4), "size": 3},
}


@dataclass(frozen=True)
class GaussianDenoiser:
    """D(x, σ) = x s²/(s² + σ²): the best denoiser of images N(0, s²), and the prox of ‖x‖²/(2 s²) at tau = σ²."""

    s: float

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        return x * self.s**2 / (self.s**2 + sigma**2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(params=["cpu", "played", *(["cuda"] if torch.cuda.is_available() else [])])
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    """Where the pictures of a test are: the CPU, a device that is played (elsewhere.py), a GPU where there is one."""
    if request.param == "played":
        with played() as there:
            yield there
    else:
        yield torch.device(request.param)


def images(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Uniform random images of this (B, C, H, W), the same in every run."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def squares(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images of a few flat rectangles: what TV and Haar expect; each image of the batch is another one."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.full(shape, 0.2, dtype=torch.float64)
    for image in x:
        for _ in range(4):
            top, left = torch.randint(0, shape[-1] // 2, (2,), generator=generator).tolist()
            value = torch.rand(shape[1], 1, 1, generator=generator, dtype=torch.float64)
            image[:, top : top + shape[-2] // 2, left : left + shape[-1] // 3] = value
    return x.to(dtype)
