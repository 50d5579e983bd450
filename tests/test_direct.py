"""Networks that need no operator: text."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import pnp
from torch.testing import assert_close

import pnp as package
from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.jobs import Job, run
from pnp.operators import Identity, Undescribed, ValidBlur, kernels
from pnp.priors import Direct, parse
from pnp.priors.nets import DnCNN, Text
from pnp.priors.network import NetworkDenoiser
from pnp.registry import PRIORS
from pnp.samples import photograph
from pnp.solvers import ADMM, HQS, DirectCall
from pnp.training.objectives import Text as Pages
from pnp.training.objectives.text import centred, drawn_kernel
from pnp.training.pages import Printer, scripts, typeset
from pnp.training.run import TrainSettings, start, step

FONTS = sorted(Path(__import__("matplotlib").get_data_path(), "fonts", "ttf").glob("DejaVuS*.ttf"))
assert len(FONTS) > 4
CPU = torch.device("cpu")


def page(height: int = 120, width: int = 200) -> torch.Tensor:
    """(1, 1, H, W): a sharp page."""
    words = ["The", "camera", "moved", "while", "the", "picture", "was", "taken", "of", "this", "page"]
    return typeset(3 * words, FONTS[0], 18, (height, width))[0][None]


def test_a_page_is_restored_in_one_call_and_the_result_says_so() -> None:
    prior, y = parse("text"), page()
    result = solve(Problem(Undescribed(), y, prior), DirectCall())
    assert_close(result.x, prior.restore(y))
    assert result.status[0].name == "CONVERGED" and result.iterations == (2,)


def test_a_blurred_page_comes_out_sharper_than_it_went_in() -> None:
    x = page(160, 260)
    blur = ValidBlur(kernels.disk(2.5))
    y = (255 * blur(x)).round() / 255
    done = package.restore(y, operator="unknown", prior="text", truth=blur.visible(x))
    scores = done.record.metrics
    assert scores is not None and scores["psnr"][0] > scores["psnr_initial"][0] + 3
    assert done.record.sigma.value is None and done.record.solver["name"] == "DirectCall"


@pytest.mark.parametrize("picture", ["photograph", "sharp page"])
def test_what_is_not_a_blurred_page_stays_as_it_was_measured(picture: str) -> None:
    y = photograph("camera")[..., 100:300, 150:350] if picture == "photograph" else page(160, 260)
    y = (255 * y).round() / 255
    done = package.restore(y, operator="unknown", prior="text")
    assert_close(done.restored, done.initial)
    assert "No blur leads from the restored picture back" in done.record.verdict[0]
    written = run(replace(job(), guard=False), y)
    assert not torch.equal(written.restored, y) and "A blur leads" not in written.record.verdict[0]


def test_a_verdict_claims_nothing_where_nothing_can_be_told() -> None:
    small = run(job(), page()[..., :40, :60]).record.verdict
    assert small == ["The noise level is not known, so the residual is not judged."]
    flat = run(job(), torch.full((1, 1, 96, 96), 0.5))
    assert "No blur leads" in flat.record.verdict[0] and bool((flat.restored == 0.5).all())


def job() -> Job:
    return Job("unknown", "text", floor=12**-0.5 / 255, range=(0.0, 255.0))


@pytest.mark.parametrize(
    ("operator", "prior", "message"),
    [
        ("unknown", "unet", "The operator is not known, and .* needs it. Use a network that needs none"),
        ("unknown", "tv", "--prior text"),
        ("blur:std=2", "text", "finds out by itself what was done"),
    ],
)
def test_what_needs_an_operator_is_told_from_what_does_not(operator: str, prior: str, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        package.restore(page(), operator=operator, prior=prior)


def test_a_solver_that_needs_an_operator_does_not_fit_a_network_that_restores() -> None:
    with pytest.raises(TypeError, match="Solvers that fit: direct"):
        solve(Problem(Identity(), page(), parse("text")), ADMM())
    with pytest.raises(TypeError, match="The operator is not known"):
        solve(Problem(Undescribed(), page(), parse("tv")), HQS())


def test_a_denoiser_restores_nothing_by_itself() -> None:
    with pytest.raises(TypeError, match="it is a denoiser"):
        Direct(NetworkDenoiser(DnCNN(depth=3, width=4)))


def test_the_noise_level_changes_nothing() -> None:
    net = PRIORS.build("text").network
    assert_close(net(page(), 0.0), net(page(), 0.3))


def test_the_command_restores_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray((255 * ValidBlur(kernels.disk(2))(page())[0, 0]).round().byte().numpy()).save("page.png")
    assert pnp("solve", "page.png", "--op", "unknown", "--prior", "text") == 0
    assert Image.open("page-restored.png").size == Image.open("page.png").size
    assert pnp("solve", "page.png", "--op", "unknown", "--prior", "unet") == 2


# Pages


def test_a_page_is_drawn_by_its_seed() -> None:
    printer = Printer(FONTS)
    a, b, c = (printer.page(96, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c) and a.shape == (1, 96, 96)
    assert float(a.min()) >= 0 and float(a.max()) <= 1 and float(a.std()) > 0.02


def test_scripts_are_read_off_a_font(tmp_path: Path) -> None:
    assert scripts(FONTS[0]) == ["latin", "greek", "cyrillic"]
    (tmp_path / "no.ttf").write_bytes(b"no font")
    assert scripts(tmp_path / "no.ttf") == []
    with pytest.raises(ValueError, match="none of 1 files is a font"):
        Printer([tmp_path / "no.ttf"])


def test_printed_lines_are_on_the_page() -> None:
    words = [str(n) for n in range(100, 130)]
    sheet, lines = typeset(words, FONTS[0], 20, (200, 150))
    printed = " ".join(lines).split()
    assert printed == words[: len(printed)]
    assert len(lines) > 2 and float(sheet.min()) == 0 and float(sheet.max()) == 1


@pytest.mark.parametrize("seed", range(12))
def test_kernels_have_their_centre_of_mass_in_the_middle(seed: int) -> None:
    kernel = drawn_kernel(np.random.default_rng(seed))
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-6) and max(kernel.shape) < 48
    for axis, n in enumerate(kernel.shape):
        t = torch.arange(n, dtype=kernel.dtype) - n // 2
        assert float((kernel.sum(1 - axis) * t).sum()) == pytest.approx(0, abs=1e-6)


def test_centring_moves_a_kernel_by_part_of_a_pixel() -> None:
    found = centred(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64))
    assert float(found.sum()) == pytest.approx(1)
    middle = len(found) // 2, found.shape[1] // 2
    assert_close(found[middle[0], middle[1] - 1 : middle[1] + 2], torch.tensor([0.25, 0.5, 0.25], dtype=torch.float64))


def test_text_learns_from_pages() -> None:
    settings = TrainSettings("text", steps=40, config={"widths": (8, 8, 8), "blocks": 1}, batch=4, patch=48, lr=1e-2)
    run, printer = start(settings, CPU), Printer(FONTS[:2])
    pages = Pages(printer, printer, (0.0, 0.01), pages=2)

    def loss() -> float:
        with torch.no_grad():
            return float(pages.loss(run.net, 16, 48, torch.Generator().manual_seed(5), CPU))

    before = loss()
    assert loss() == before
    for k in range(40):
        step(settings, run, pages, k / 40, CPU)
    assert loss() < 0.995 * before


def test_the_command_trains_from_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["train", "text:widths=4x4x4,blocks=1", "--data", *map(str, FONTS[:1]), "--val", str(FONTS[1])]
    assert pnp(*command, "--steps", "2", "--out", "run") == 0
    record = json.loads(Path("run/manifest.json").read_text())["text-grey"]
    assert record["sigma"] == [0.0, 7 / 255] and set(record["psnr"]) == {"text", "blurred"}
    assert pnp("train", "text", "--data", "nowhere", "--steps", "2", "--out", "other") == 2
    assert pnp("train", "text", "--data", str(FONTS[0]), "--channels", "3", "--steps", "2", "--out", "other") == 2


def test_the_network_has_the_field_of_view_that_it_says() -> None:
    net = Text(widths=(4, 4, 4))
    torch.nn.init.normal_(net.tail.weight)
    for block in net.modules():
        if hasattr(block, "b"):
            torch.nn.init.normal_(block.b.weight)
    x = torch.rand(1, 1, 8, 512, requires_grad=True)
    net(x)[0, 0, 4, 256].backward()
    assert x.grad is not None
    reached = x.grad[0, 0].abs().amax(0).nonzero().flatten()
    assert 256 - int(reached.min()) <= net.receptive_radius() and int(reached.max()) - 256 <= net.receptive_radius()
