"""What the spectrum of a picture says of its kernel, and what is kept where the kernel is wrong."""

from __future__ import annotations

import inspect
import sys

import pytest
import torch

import pnp
from pnp.jobs.evidence import judge
from pnp.operators import ValidBlur, kernels
from pnp.optimizer import LBFGS
from pnp.samples import photograph


def blurred(radius: float = 4.0, sigma: float = 2 / 255) -> tuple[torch.Tensor, torch.Tensor]:
    """A photograph out of focus as an 8-bit file holds it, and the sharp one over the same field."""
    operator = ValidBlur(kernels.make("disk", {"radius": radius}))
    x = photograph("camera")[..., 100:340, 120:360]
    y = operator(x)
    y = y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return (y.clamp(0, 1) * 255).round() / 255, operator.visible(x)


def disk(radius: float) -> ValidBlur:
    return ValidBlur(kernels.make("disk", {"radius": radius}))


def test_the_right_kernel_has_no_better_rival() -> None:
    y, _ = blurred()
    found = judge(disk(4.0), y[0], 2 / 255)
    assert found.tested and found.rival is None and found.worth
    assert found.factor < 1.6


@pytest.mark.parametrize("told, smaller", [(5.1, True), (3.1, False)])
def test_a_kernel_of_the_wrong_size_is_told_and_which_way(told: float, smaller: bool) -> None:
    y, _ = blurred()
    found = judge(disk(told), y[0], 2 / 255)
    assert found.rival is not None and "times as large" in found.rival
    assert (float(found.rival.split()[2]) < 1) == smaller


def test_an_operator_without_rivals_is_not_judged() -> None:
    y, _ = blurred()
    assert not judge(pnp.operators.Identity(), y[0], 0.01).tested


def test_a_far_too_large_kernel_leaves_the_measured_picture_and_says_so() -> None:
    y, _ = blurred()
    picture = (y[0, 0] * 255).numpy().astype("uint8")
    done = pnp.restore(picture, operator="blur:kernel=disk,radius=7", prior="unet")
    assert (done.picture == picture).all()
    assert "measured picture is kept" in done.record.verdict[0] and "probably wrong" in done.record.verdict[0]


def test_the_verdict_on_the_right_kernel_does_not_doubt_it_and_the_picture_gains() -> None:
    y, sharp = blurred()
    done = pnp.restore((y[0, 0] * 255).numpy().astype("uint8"), operator="blur:kernel=disk,radius=4", prior="unet")
    assert "wrong" not in done.record.verdict[0]
    error = (done.restored - sharp).square().mean()
    assert error < 0.5 * (y - sharp).square().mean()


def test_a_fit_does_without_the_import_of_torch_s_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    monkeypatch.delattr(wrapped, "__dynamo_disable", raising=False)  # of another test
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    x = torch.zeros(2, requires_grad=True)

    def cost() -> torch.Tensor:
        optimizer.zero_grad()
        value = (x - torch.tensor([3.0, -1.0])).square().sum()
        value.backward()
        return value

    optimizer = LBFGS(x, 20, remembered=4)
    optimizer.step(cost)
    torch.testing.assert_close(x.detach(), torch.tensor([3.0, -1.0]))
    with pytest.raises(ImportError):  # what torch's own does
        torch.optim.LBFGS([x])
