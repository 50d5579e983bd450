"""The denoising benchmark: its protocol, its rows, and what it does with a denoiser that is not to be had."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import images as random_images
from test_cli import pnp
from torch import Tensor

from pnp.benchmark import denoising
from pnp.benchmark.denoising import compare, finished, noisy, record
from pnp.files import pictures
from pnp.registry import DENOISERS
from pnp.samples import photograph


def test_the_noise_is_that_of_the_published_tables() -> None:
    x = random_images(1, 3, 5, 7)
    np.random.seed(0)
    expected = x[0].permute(1, 2, 0).numpy() + np.random.normal(0, 25 / 255, (5, 7, 3))
    torch.testing.assert_close(noisy(x, 25 / 255)[0].permute(1, 2, 0), torch.from_numpy(expected))


def test_the_result_is_clipped_and_rounded_to_8_bits() -> None:
    x = torch.tensor([-0.3, 0.1, 0.5001, 1.2])
    assert (255 * finished(x)).tolist() == pytest.approx([0, 26, 128, 255])


def test_each_denoiser_has_a_row_a_level_and_a_missing_one_says_why() -> None:
    clean = [random_images(1, 1, 40, 40, seed=i).float() for i in range(2)]
    rows = list(compare(clean, ["tv", "deepinv:NoSuch"], [15, 50]))
    assert [(r.denoiser, r.sigma) for r in rows] == [("tv", 15), ("tv", 50), ("deepinv:NoSuch", 0)]
    assert rows[0].pictures == 2 and rows[0].seconds > 0 and rows[0].skipped is None
    assert "unknown deepinv denoiser" in rows[2].skipped
    d = DENOISERS.build("tv")
    for row in rows[:2]:
        each = [finished(d(noisy(x, row.sigma / 255), row.sigma / 255)) - x for x in clean]
        expected = np.mean([-10 * np.log10(float(e.square().mean())) for e in each])
        assert row.psnr == pytest.approx(expected, abs=1e-4)
    json.dumps(record(rows, data="x"))


@pytest.mark.parametrize("name", ["tv", "wavelet", "nlm"])
def test_classical_denoisers_gain_at_every_level(name: str) -> None:
    x = photograph("camera")[..., 100:228, 180:308].contiguous()
    for sigma, gain in ((15 / 255, 3), (50 / 255, 6)):
        y = noisy(x, sigma)
        before, after = ((v - x).square().mean() for v in (y, DENOISERS.build(name)(y, sigma)))
        assert float(10 * (before / after).log10()) > gain


def test_the_command_writes_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for i in range(2):
        pictures.write(tmp_path / f"{i}.png", random_images(1, 3, 30, 30, seed=i))
    arguments = ("bench", "denoise", "--data", str(tmp_path), "--denoiser", "tv", "--sigma", "25")
    assert pnp(*arguments, "--grey", "-o", str(tmp_path / "rows.json")) == 0
    assert "PSNR 25" in capsys.readouterr().out
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert len(rows["rows"]) == 1 and rows["rows"][0]["pictures"] == 2 and rows["environment"]["torch"]
    pictures.write(tmp_path / "grey.png", random_images(1, 1, 30, 30))
    assert pnp(*arguments) == 2
    assert "--grey takes all as grey" in capsys.readouterr().err
    assert pnp("bench", "denoise", "--data", str(tmp_path / "none")) == 2
    readme = tmp_path / "README.md"
    readme.write_text(f"a\n<!-- bench:denoise-{tmp_path.name} -->\n<!-- /bench -->\nb\n")
    assert pnp(*arguments, "--grey", "--readme", str(readme)) == 0
    assert "| PSNR 25 | SSIM 25 | ms | parameters |" in readme.read_text() and "| tv | " in readme.read_text()
    readme.write_text("nothing")
    (tmp_path / "rows.json").unlink()
    assert pnp(*arguments, "--grey", "--readme", str(readme), "-o", str(tmp_path / "rows.json")) == 2
    assert "no place for the table" in capsys.readouterr().err and not (tmp_path / "rows.json").exists()


def test_a_denoiser_that_fails_on_a_picture_costs_no_other_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def picky(x: Tensor, sigma: float) -> Tensor:
        if x.shape[-1] > 64:
            raise RuntimeError("too wide")
        return x

    build = DENOISERS.build
    monkeypatch.setattr(DENOISERS, "build", lambda spec, **c: picky if spec == "picky" else build(spec, **c))
    rows = list(compare([torch.rand(1, 1, 64, 80)], ["picky", "tv"], [25]))
    assert rows[0].skipped == "too wide" and rows[1].psnr is not None


def test_published_rows_stand_beside_ours() -> None:
    rows = list(compare([random_images(1, 1, 32, 32).float()], ["tv"], [15, 25, 50]))
    names = [str(cell) for cell in denoising.table(rows, "bsd68").columns[0].cells]
    assert names[0] == "tv" and any("FFDNet" in name for name in names)
