"""Kernels that were stored for correlation: turned by 180° where the picture says so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pnp.jobs import Job, run
from pnp.operators import Blur, Operator, PaddedBlur, ValidBlur, kernels
from pnp.samples import photograph

SHAKE = kernels.shake(15.0, seed=3)


def blurred(name: str, noise: float, kernel: Tensor = SHAKE) -> tuple[Tensor, Tensor]:
    """8 bits of a photograph that moved, and what it shows of the sharp one."""
    operator, x = ValidBlur(kernel), photograph(name)[:, :1, 150:350, 150:350]
    y = operator(x) + noise / 255 * torch.randn(operator(x).shape, generator=torch.Generator().manual_seed(0))
    return (255 * y.clamp(0, 1)).round() / 255, operator.visible(x)


@pytest.mark.parametrize("noise", [0.0, 4.0])
@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee"])
def test_a_kernel_that_was_stored_turned_is_turned_back(name: str, noise: float) -> None:
    """Planted: the right one is turned; without the guard the result stays bad."""
    y, truth = blurred(name, noise)
    lines: list[str] = []

    def psnr(kernel: Tensor, guard: bool = True) -> float:
        lines.clear()
        record = run(Job(ValidBlur(kernel), "unet", guard=guard), y, truth=truth, say=lines.append).record
        assert record.metrics is not None
        return record.metrics["psnr"][0]

    right = psnr(SHAKE)
    assert not any("turned" in line for line in lines)
    assert psnr(SHAKE.flip(-2, -1)) == pytest.approx(right, abs=0.1)
    assert any("turned by 180°" in line for line in lines)
    assert psnr(SHAKE.flip(-2, -1), guard=False) < right - 1.0


@pytest.mark.parametrize("make", [Blur, ValidBlur, PaddedBlur])
@pytest.mark.parametrize("size", [(7, 9), (8, 9), (8, 8)])
def test_turned_is_the_correlation(make: type[Operator], size: tuple[int, int]) -> None:
    """⟨turned(A) x, y⟩ is the adjoint of A where nothing is cut; twice is A again.  Planted: a tap off by one."""
    k = torch.rand(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.rand(1, 1, 32, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    turned = make(k / k.sum()).turned()  # type: ignore[call-arg]
    assert turned is not None
    again = turned.turned()
    assert again is not None
    inner = (..., slice(10, 20), slice(10, 20))
    circular = Blur(k / k.sum())
    other = turned(x)
    if make is Blur:
        torch.testing.assert_close(other, circular.adjoint(x))
        torch.testing.assert_close(again(x), circular(x))
        assert float((other.roll(1, -1) - circular.adjoint(x)).abs().max()) > 1e-3
    elif make is PaddedBlur:
        torch.testing.assert_close(other[inner], circular.adjoint(x)[inner])


@pytest.mark.parametrize("kernel", [kernels.disk(4.0), kernels.gaussian(2.0), kernels.motion(9.0, 30.0)])
def test_a_symmetric_kernel_has_nothing_to_turn(kernel: Tensor) -> None:
    assert ValidBlur(kernel).turned() is None
