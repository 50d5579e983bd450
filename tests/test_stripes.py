"""Stripes are found where they are, subtracted, and said; pictures keep their fences, gratings and edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pnp
from pnp.metrics import psnr
from pnp.noises import stripes
from pnp.noises.stripes import find_stripes
from pnp.samples import PHOTOGRAPHS, photograph

GENERATOR = torch.Generator().manual_seed(0)
OFFSETS = 0.03 * torch.randn(1, 3, 1, 300, generator=GENERATOR)
NOISE = 0.01 * torch.randn(1, 3, 200, 300, generator=GENERATOR)


def crop(name: str, h: int = 200, w: int = 300) -> Tensor:
    x = photograph(name)
    top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
    return x[..., top : top + h, left : left + w]


def rounded(x: Tensor, levels: int = 255) -> Tensor:
    return (x.clamp(0, 1) * levels).round() / levels


@pytest.mark.parametrize("levels", [255, 65535])
@pytest.mark.parametrize("name", ["camera", "coffee", "chelsea"])
def test_offsets_of_columns_are_estimated(name: str, levels: int) -> None:
    x = crop(name)
    y = rounded(x + OFFSETS[:, : x.shape[1]] + NOISE[:, : x.shape[1]], levels)
    found = find_stripes(y)
    assert found is not None
    assert found.std()["columns"] == pytest.approx(0.03, rel=0.2) and "rows" not in found.std()
    gained = float(psnr(found.without(y), x) - psnr(y, x))
    assert gained > 4
    assert float(psnr(y + found.columns, x) - psnr(y, x)) < -2  # planted: the other sign


def test_rows_are_columns_of_the_picture_on_its_side() -> None:
    y = rounded(crop("coffee") + OFFSETS + NOISE)
    upright, turned = find_stripes(y), find_stripes(y.mT)
    assert upright is not None and turned is not None
    torch.testing.assert_close(turned.rows, upright.columns.mT)
    assert not turned.columns.any()


def test_missing_pixels_and_clipped_ones_change_little() -> None:
    y = rounded(crop("camera") + OFFSETS[:, :1] + NOISE[:, :1])
    known = (torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) > 0.6).float()
    whole, part = find_stripes(y), find_stripes(y * known, known)
    assert whole is not None and part is not None
    assert float((part.columns - whole.columns).square().mean().sqrt()) < 0.012
    dark = y == 0
    assert dark.any() and bool((whole.without(y)[dark] == 0).all())
    blind = find_stripes(y * known)  # planted: missing pixels taken as black
    assert blind is None or float((blind.columns - whole.columns).square().mean().sqrt()) > 0.015


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_have_no_stripes(name: str) -> None:
    x = photograph(name)
    assert find_stripes(x) is None
    assert find_stripes(rounded(x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))) is None


I, J = torch.meshgrid(torch.arange(200.0), torch.arange(300.0), indexing="ij")
PATTERNS = {
    "grating": 0.5 + 0.05 * torch.sin(0.7 * J),
    "chirp": 0.5 + 0.05 * torch.sin(0.05 * J**1.5),
    "bars": torch.where((J // 5) % 2 == 0, 0.4, 0.5),
    "ramp": rounded(0.2 + 0.5 * J / 300),
    "blocks": 0.5 + 0.05 * torch.randn(40, generator=GENERATOR).repeat_interleave(8)[:300].expand(200, 300),
    "flat": torch.full((200, 300), 0.5),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_that_all_rows_share_are_pictures(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    y = PATTERNS[name][None, None]
    assert find_stripes(y) is None and find_stripes(y.mT) is None
    if name in ("grating", "chirp", "ramp"):  # planted: agreement of all rows alone
        monkeypatch.setattr(stripes, "_by_chance", lambda offsets: True)
        assert find_stripes(y) is not None


def test_a_solve_subtracts_them_and_says_so() -> None:
    x = crop("camera", 160, 160)
    y = rounded(x + OFFSETS[:, :1, :, :160] + NOISE[:, :1, :160, :160])
    said: list[str] = []
    kept, gone = (
        pnp.restore(y, operator="identity", prior="tv", sigma=0.01, lam=3.0, iterations=20, truth=x, stripes=stripes,
                    say=said.append)
        for stripes in ("keep", "auto")
    )  # fmt: skip
    assert sum(line.startswith("stripes: column offsets of std 0.0") for line in said) == 1
    assert gone.record.stripes is not None and set(gone.record.stripes) == {"columns"}
    assert kept.record.stripes is None and "stripes" not in kept.record.to_json()
    assert kept.record.metrics is not None and gone.record.metrics is not None
    assert gone.record.metrics["psnr_initial"] == kept.record.metrics["psnr_initial"]  # what the person has
    assert gone.record.metrics["psnr"][0] > kept.record.metrics["psnr"][0] + 2


def test_a_noise_that_was_given_is_what_y_has() -> None:
    y = rounded(crop("camera", 160, 160) + OFFSETS[:, :1, :, :160] + NOISE[:, :1, :160, :160])
    done = pnp.restore(y, operator="identity", prior="tv", noise="gaussian:sigma=0.01", lam=3.0, iterations=2)
    assert done.record.stripes is None
    with pytest.raises(ValueError, match="auto or keep"):
        pnp.restore(y, operator="identity", prior="tv", stripes="none")
