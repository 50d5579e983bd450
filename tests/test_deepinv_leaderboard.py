"""pnp as a model of deepinv's benchmarks: its operators are their physics, and it restores on all four tasks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

deepinv = pytest.importorskip("deepinv")

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "deepinv_leaderboard.py"
FOUR = ("cbsd68_gaussian_denoising", "div2k_gaussian_deblurring", "div2k_inpainting_easy", "div2k_super_resolution_2x")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module(SCRIPT.stem)


@pytest.mark.parametrize("name", FOUR)
def test_the_operator_is_the_physics_of_the_task(board: ModuleType, name: str) -> None:
    x = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    physics = board.TASKS[name].physics(48)
    clean = physics.A(x)
    operator = board.operator_of(physics, clean)
    torch.testing.assert_close(operator(x), clean, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(operator(x.mT), clean, atol=1e-3)  # planted: a picture on its side
    assert operator.task == ("identity", "blur", "mask", "downsample")[FOUR.index(name)]


@pytest.mark.parametrize("name", FOUR)
def test_the_model_is_one_that_deepinv_runs_and_gains(board: ModuleType, name: str) -> None:
    class Plain(deepinv.models.Reconstructor):
        """What the person has."""

        def forward(self, y: torch.Tensor, physics: Any, **kwargs: Any) -> torch.Tensor:
            return board.operator_of(physics, y).initial(y)

    task, data = board.TASKS[name], board.pictures(48, ("astronaut",))
    before, after = (board.scored(model, task, data)["psnr"] for model in (Plain(), board.Pnp("unet")))
    assert after > before + 1


def test_noise_is_told_as_it_is(board: ModuleType) -> None:
    assert [round(board.level(board.TASKS[name].physics(48)), 3) for name in FOUR] == [0.1, 0.05, 0.0, 0.0]


def test_the_quick_run_prints_every_row_and_writes_nothing(
    board: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "--quick", "--threads", "1"])
    monkeypatch.setattr(board, "save", lambda *_, **__: pytest.fail("a quick run writes results"))
    board.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.endswith(" s")]
    assert len(rows) == 7 and all(any(line.startswith(name) for name in FOUR) for line in rows)


def test_the_table_is_that_of_the_results(board: ModuleType, tmp_path: Path) -> None:
    page = SCRIPT.with_name("README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(page.replace(" dB | s |", "|", 1), encoding="utf-8")  # planted: another heading
    board.written(copy)
    assert copy.read_text(encoding="utf-8") == page and "| pnp, unet | " in page


def test_the_official_run_says_what_is_missing(board: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "--official", FOUR[0]])
    monkeypatch.setitem(sys.modules, "deepinv_bench", None)
    with pytest.raises(SystemExit, match="needs deepinv_bench: pip install"):
        board.main()
