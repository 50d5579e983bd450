"""A result with amplified noise is solved again with more; texture is left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pnp.core.loop import Callback
from pnp.jobs import Job, Restoration, guard, run, settle
from pnp.noises.level import grain
from pnp.operators import ValidBlur, kernels
from pnp.samples import photograph

BLUR = ValidBlur(kernels.disk(3.0))
NOISE = 4 / 255


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return photograph("camera")[..., 100:260, 100:260]


@pytest.fixture(scope="module")
def noisy(clean: Tensor) -> Tensor:
    u = BLUR(clean)
    return u + NOISE * torch.randn(u.shape, generator=torch.Generator().manual_seed(0))


def restored(
    y: Tensor, monkeypatch: pytest.MonkeyPatch, factor: float, callbacks: Sequence[Callback] = (), **more: Any
) -> tuple[Restoration, list[str]]:
    """By a level that is wrong by a factor."""
    right, said = settle.level, list[str]()

    def wrong(*given: Any) -> settle.Level:
        level = right(*given)
        return level._replace(noise=level.noise.scaled(factor))

    monkeypatch.setattr(settle, "level", wrong)
    return run(Job(BLUR, "unet", **more), y, callbacks=callbacks, say=said.append), said


def error(done: Restoration, clean: Tensor) -> float:
    return float((done.restored - BLUR.visible(clean)).square().mean().sqrt())


def test_noise_that_was_amplified_is_taken_away(clean: Tensor, noisy: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigma is read as half of it.  Planted: no guard, which leaves ten times the error."""
    done, said = restored(noisy, monkeypatch, 0.5)
    assert any("grain" in line for line in said) and "amplified" in done.record.sigma.source
    assert float(done.record.sigma.value) > 0.7 * NOISE  # type: ignore[arg-type]
    assert error(done, clean) < 0.8 * float((noisy - BLUR.visible(clean)).square().mean().sqrt())
    monkeypatch.undo()
    unguarded, _ = restored(noisy, monkeypatch, 0.5, guard=False)
    assert error(unguarded, clean) > 4 * error(done, clean)


def test_of_a_batch_the_grainy_picture_alone_is_raised(
    noisy: Tensor, clean: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = torch.cat([noisy, BLUR(clean)])
    done, _ = restored(batch, monkeypatch, 0.5)
    alone, _ = restored(batch[1:], monkeypatch, 1.0)  # scaled by 0.5 above: the second patch is on top of the first
    values = done.record.sigma.value
    assert isinstance(values, list) and values[0] > 0.7 * NOISE and values[1] == pytest.approx(alone.record.sigma.value)


@pytest.mark.parametrize("told", [{"sigma": NOISE / 2}, {"noise": f"gaussian:sigma={NOISE / 2}"}])
def test_a_sigma_that_was_told_is_not_changed(noisy: Tensor, told: dict[str, Any]) -> None:
    said: list[str] = []
    done = run(Job(BLUR, "unet", **told), noisy, say=said.append)
    assert done.record.sigma.value == pytest.approx(NOISE / 2)
    assert any("raise --sigma" in line for line in said)


def test_a_run_of_limited_time_is_not_repeated(noisy: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a second solve without any time left, which has no grain and no detail."""
    done, said = restored(noisy, monkeypatch, 0.5, seconds=1e4)
    assert any("raise --sigma" in line for line in said) and "amplified" not in done.record.sigma.source


def test_a_run_that_was_interrupted_is_not_repeated(noisy: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(snapshot: Any) -> None:
        if snapshot.k == 7:
            raise KeyboardInterrupt

    done, said = restored(noisy, monkeypatch, 0.5, callbacks=[ended])
    assert done.record.status == ["interrupted"] and not any("grain" in line for line in said)


def test_grain_that_stays_is_texture(noisy: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A level of grain that no sigma changes.  Planted: the raised result."""
    monkeypatch.setattr(guard, "grain", lambda x: torch.full((len(x),), 9 / 255))
    done, said = restored(noisy, monkeypatch, 1.0)
    assert any("texture" in line for line in said) and "raised" not in done.record.sigma.source
    monkeypatch.undo()
    plain, _ = restored(noisy, monkeypatch, 1.0)
    assert torch.equal(done.restored, plain.restored)


@pytest.mark.parametrize("change", [{"simulate": True}, {"guard": False}, {"operator": "identity"}, {"prior": "tv"}])
def test_grain_is_looked_for_where_a_denoiser_meets_amplified_noise(change: dict[str, Any]) -> None:
    from pnp.jobs.job import build

    x = 0.3 * torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) + 0.5
    job = Job(BLUR, "unet")
    assert float(guard.left(job, build(job, x, None), x)) == float(grain(x)) > guard.GRAIN
    job = replace(job, **change)
    assert float(guard.left(job, build(job, x, None), x)) == 0


def test_grain_is_noise_at_half_size() -> None:
    noise = 0.05 * torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    assert float(grain(0.5 + noise)) == pytest.approx(0.05, rel=0.15)  # white: the same at all sizes
    assert float(grain(torch.full((1, 1, 16, 16), 0.5))) == 0
