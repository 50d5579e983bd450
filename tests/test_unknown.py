"""What is not known of a kernel and found in the picture: its numbers, or all of it; and what is said of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import images
from PIL import Image
from torch import Tensor

import pnp
from pnp.benchmark.views import Aligned, Beyond
from pnp.cli import cli
from pnp.files.pictures import read
from pnp.jobs import blind, run, unknown
from pnp.jobs.evidence import DITHER, Evidence
from pnp.metrics import psnr
from pnp.operators import ConvolveWith, ValidBlur, kernels
from pnp.priors import L0, Simplex
from pnp.registry import OPERATORS, SpecError
from pnp.samples import photograph


def blurred(name: str, kernel: Tensor, sigma: float = 1.5, quality: int | None = 90) -> tuple[np.ndarray, Tensor]:
    """A photograph through a kernel as a file holds it, and the sharp one over the same field."""
    x = photograph(name)
    operator = ValidBlur(kernel)
    y = operator(x) + sigma / 255 * torch.randn(operator(x).shape, generator=torch.Generator().manual_seed(0))
    pixels = (y[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    if quality is not None:
        made = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(made, "JPEG", quality=quality)
        pixels = np.asarray(Image.open(made)).reshape(pixels.shape)
    return pixels, operator.visible(x)


def asked(spec: str) -> unknown.Unknown:
    found = OPERATORS.build(spec, shape=(1, 64, 64), measured=True).unknown()
    assert found is not None
    return found


def pixels_of(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255


# the two steps


def test_convolving_with_a_picture_is_the_blur_of_that_picture() -> None:
    x, k = images(1, 2, 30, 27), kernels.shake(9.0, seed=2)
    operator = ConvolveWith(x[0], tuple(k.shape))
    torch.testing.assert_close(operator(k.to(x)[None, None]), ValidBlur(k)(x), rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="at least"):
        ConvolveWith(x[0], 28)


def test_the_whole_convolution_has_the_normal_operator_of_its_two_halves() -> None:
    x, k, y = images(1, 2, 30, 27), images(2, 1, 5, 7), images(2, 2, 34, 33)
    operator = ConvolveWith(x[0], (5, 7), whole=True)
    full = ConvolveWith(torch.nn.functional.pad(x[0], (6, 6, 4, 4)), (5, 7))
    torch.testing.assert_close(operator(k), full(k), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(operator.normal(k), operator.adjoint(operator(k)), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close((operator(k) * y).sum(), (k * operator.adjoint(y)).sum())
    assert operator.norm() >= float(operator(k).norm() / k.norm())


@pytest.mark.parametrize("largest", [3, 8])
def test_a_small_kernel_is_sought_where_no_more_is_asked_for(largest: int) -> None:
    found = pnp.estimate_kernel(photograph("camera")[0, 0, 200:300, 200:300], largest=largest).maps["kernel"]
    assert max(found.shape) <= largest and float(found.sum()) == pytest.approx(1)


def test_pieces_of_a_kernel_with_little_weight_go() -> None:
    kernel = torch.zeros(9, 9)
    kernel[2:5, 2], kernel[5, 3], kernel[8, 8] = 0.3, 0.06, 0.04
    found = blind.together(kernel)
    assert found[8, 8] == 0 and found[5, 3] > 0.06 and float(found.sum()) == pytest.approx(1)


@pytest.mark.parametrize("total", [1.0, 3.0])
def test_the_simplex_prox_is_the_nearest_kernel(total: float) -> None:
    v = torch.randn(2, 1, 3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p = Simplex(total).prox(v, 0.7)
    torch.testing.assert_close(p.sum((2, 3)), torch.full((2, 1), total, dtype=torch.float64))
    assert bool((p >= 0).all()) and bool(Simplex(total).value(p).isfinite().all())
    others = torch.distributions.Dirichlet(torch.full((6,), 0.3, dtype=torch.float64)).sample((20000, 2))
    nearest = ((others.view(-1, 2, 1, 3, 2) * total - v) ** 2).flatten(2).sum(2).amin(0)
    assert bool((((p - v) ** 2).flatten(1).sum(1) <= nearest).all())
    assert bool((Simplex(total).value(p * 1.01) == torch.inf).all())
    assert torch.equal(Simplex(None).prox(v, 0.7), v.clamp_min(0))
    torch.testing.assert_close(Simplex(None, spread=2.0).prox(v, 0.5), v.clamp_min(0) / 2)


def test_l0_keeps_a_pixel_where_that_costs_less() -> None:
    v, tau = images(1, 2, 8, 9) - 0.5, 0.05
    p = L0().prox(v, tau)
    kept = (p != 0).any(1)
    assert 0 < int(kept.sum()) < kept.numel()
    cost = 1.0 * kept + (p - v).square().sum(1) / (2 * tau)
    assert bool((cost <= torch.minimum(torch.ones_like(cost), v.square().sum(1) / (2 * tau)) + 1e-12).all())


# numbers of a shape

FORMS = [
    ("disk,radius=?", lambda: kernels.disk(4.3), {"radius": (4.3, 0.1)}),
    ("gaussian,std=?", lambda: kernels.gaussian(2.2), {"std": (2.2, 0.1)}),
    ("motion,length=?,angle=?", lambda: kernels.motion(14.0, 35.0), {"length": (14.0, 0.15), "angle": (35.0, 5 / 35)}),
    ("box,size=?", lambda: kernels.box(7), {"size": (7, 0.01)}),
]


@pytest.mark.parametrize(("form", "kernel", "right"), FORMS, ids=[form for form, *_ in FORMS])
def test_the_numbers_of_a_kernel_are_found_in_a_jpeg(form: str, kernel, right: dict) -> None:  # type: ignore[no-untyped-def]
    picture, _ = blurred("astronaut", kernel())
    found = unknown.numbers(asked(f"blur:kernel={form}"), pixels_of(picture), 1.6 / 255)
    assert found.values.keys() == right.keys() and not found.point
    for name, (value, within) in right.items():
        assert found.values[name] == pytest.approx(value, rel=within), found.said


def test_a_number_that_is_told_stays() -> None:
    found = asked("blur:kernel=motion,length=?,angle=30")
    assert list(found.spans) == ["length"]
    made = kernels.of(found.at({"length": 9.0}))
    torch.testing.assert_close(made, kernels.motion(9.0, 30.0)[None])


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("blur:kernel=shake,length=?", "cannot find the length of kernel=shake"),
        ("blur:kernel=estimate,std=2", "takes one option, size"),
        ("downsample:kernel=gaussian,std=?", "downsample cannot find its kernel"),
    ],
)
def test_what_cannot_be_found_is_said(spec: str, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        OPERATORS.build(spec, shape=(1, 64, 64), measured=True)
    with pytest.raises(SpecError, match=r"expected a number or \?"):
        OPERATORS.build("blur:kernel=disk,radius=wide", shape=(1, 64, 64), measured=True)
    with pytest.raises(SpecError, match="from a measured picture"):
        OPERATORS.build("blur:std=?", shape=(1, 64, 64))


def test_missing_pixels_stay_missing_once_the_kernel_is_found() -> None:
    known = torch.ones(1, 20, 20)
    known[0, 3, 4] = 0
    operator = OPERATORS.build("blur:std=?", shape=(1, 20, 20), measured=True).masked(known)
    found = operator.unknown()
    assert found is not None
    torch.testing.assert_close(found.at({"std": 1.0}).known(), known)
    torch.testing.assert_close(found.of(kernels.disk(2.0)).known(), known)


# a kernel of no known form


@pytest.fixture(scope="module")
def shaken() -> tuple[np.ndarray, Tensor, Tensor]:
    kernel = kernels.shake(15.0, seed=7)
    picture, truth = blurred("astronaut", kernel, quality=None)
    return picture, truth, kernel


def test_a_shake_is_estimated_and_undone(shaken: tuple[np.ndarray, Tensor, Tensor]) -> None:
    picture, truth, kernel = shaken
    result = pnp.estimate_kernel(picture)
    found = result.maps["kernel"]
    assert unknown.likeness(found, kernel) > 0.85, result.reason
    assert found.min() >= 0 and float(found.sum()) == pytest.approx(1) and max(found.shape) < 30
    lines: list[str] = []
    moved = Aligned(cut=15, reach=4, step=0.5)  # where a picture lies cannot be known
    job = pnp.Job("blur:kernel=estimate", "unet", guard=False, range=(0.0, 255.0))  # whether or not it is believed
    done = run(job, pixels_of(picture)[None], say=lines.append)
    assert unknown.likeness(done.result.maps["kernel"], found) > 0.95  # the same in both ways
    before, after = (float(psnr(*moved(x, truth, Beyond(0, 0, 0, 0)))) for x in (done.initial, done.restored))
    assert after > before + 5.5 and done.record.kernel is not None
    assert any(line.startswith("kernel:") for line in lines)


def test_a_kernel_that_is_not_believed_leaves_the_picture(
    shaken: tuple[np.ndarray, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, kernel = shaken[0], unknown.Kernel(kernels.disk(3.0), {}, False, False, "doubtful")
    monkeypatch.setattr(unknown, "candidates", lambda *_: (kernel, None))
    done = pnp.restore(picture, operator="blur:kernel=estimate", prior="tv", iterations=3)
    assert np.array_equal(done.picture, picture) and "not sure" in done.record.verdict[0]
    job = pnp.Job("blur:kernel=estimate", "tv", iterations=3, guard=False)
    assert not torch.equal(run(job, pixels_of(picture)[None]).restored, pixels_of(picture)[None])


@pytest.mark.parametrize(
    "nats, spread, said",
    [(0.08, 1.1, ""), (0.066, 1.4, "not that of"), (0.13, 1.4, ""), (0.2, 3.0, "not that of"), (0.05, 1.0, "too")],
)
def test_a_kernel_is_believed_that_explains_much_and_fits(
    nats: float, spread: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = photograph("camera")[0, :, :300, :300]
    evidence = Evidence(unknown._part(y), dither=DITHER, clipped=1.0)
    fit = evidence.explain(ValidBlur(torch.ones(1, 1, dtype=torch.float64)))
    assert fit is not None and unknown.heard(fit) < len(evidence.seen)
    fit = fit._replace(cost=fit.cost - nats * spread * unknown.heard(fit), spread=spread)
    runs = [blind.Found(kernels.shake(13.0, seed=4), fit, None)]  # type: ignore[arg-type]
    monkeypatch.setattr(blind, "estimates", lambda *_: runs)
    found, _ = unknown.candidates(y)
    assert found.sure is not bool(said) and said in found.said


def test_much_evidence_is_enough_where_the_model_fits_half_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nats for each of all frequencies.  Planted: the limit for those above the noise, which is not reached."""
    y = photograph("camera")[0, :, :300, :300]
    evidence = Evidence(unknown._part(y), dither=DITHER, clipped=1.0)
    fit = evidence.explain(ValidBlur(torch.ones(1, 1, dtype=torch.float64)))
    assert fit is not None
    for share, sure in ((1.1, True), (0.9, False)):
        gain = share * unknown.MUCH * len(evidence.seen)
        monkeypatch.setattr(unknown, "heard", lambda _, gain=gain: gain / (unknown.SURE - 0.01))
        found = fit._replace(cost=fit.cost - gain * 1.6, spread=1.6)
        monkeypatch.setattr(blind, "estimates", lambda *_, f=found: [blind.Found(kernels.shake(13.0, seed=4), f, None)])
        assert unknown.candidates(y)[0].sure is sure


@pytest.mark.parametrize("op", ["blur:kernel=estimate,size=15", "blur:kernel=disk,radius=?"])
def test_a_sharp_picture_comes_back_unchanged(op: str) -> None:
    picture = (photograph("camera")[0, 0, 100:292, 100:292] * 255).round().byte().numpy()
    done = pnp.restore(picture, operator=op, prior="tv")
    assert np.array_equal(done.picture, picture)
    assert "Nothing to estimate" in done.record.verdict[0] or "not sure" in done.record.verdict[0]


def test_a_point_ends_the_run_before_anything_is_solved(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    picture = (photograph("camera")[0, 0, 100:228, 100:228] * 255).round().byte().numpy()
    Image.fromarray(picture).save(tmp_path / "sharp.png")
    _run("solve", tmp_path / "sharp.png", "--op", "blur:std=?", "--prior", "tv", "--truth", tmp_path / "sharp.png")
    said = capsys.readouterr()
    text = said.out + said.err
    assert "Nothing to estimate" in text and "nothing was solved" in text
    assert not any(word in text for word in ("raised", "lam:", "solver:", "light:", "residual"))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "sharp-restored.png")), picture)
    record = json.loads((tmp_path / "sharp-restored-report" / "result.json").read_text())
    assert record["iterations"] == [0] and record["metrics"]["psnr"] == record["metrics"]["psnr_initial"]
    assert (tmp_path / "sharp-restored-report" / "report.html").is_file()


def test_a_truth_of_another_size_is_told_before_a_kernel_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown, "found", lambda *_: pytest.fail("too late"))
    picture = photograph("camera")[..., 100:228, 100:228]
    with pytest.raises(ValueError, match="the truth has shape"):
        pnp.restore(picture, operator="blur:std=?", prior="tv", truth=photograph("camera")[..., :100, :100])


@pytest.mark.parametrize("op", ["blur:kernel=estimate", "blur:std=?"])
@pytest.mark.parametrize("kind", ["flat", "small", "white"])
def test_a_picture_that_tells_nothing_is_refused_in_one_line(op: str, kind: str) -> None:
    picture = {
        "flat": np.full((200, 200), 120, np.uint8),
        "small": (photograph("camera")[0, 0, :60, :60] * 255).byte().numpy(),
        "white": np.where(np.indices((200, 200)).sum(0) % 20 < 10, 255, 0).astype(np.uint8),
    }[kind]
    with pytest.raises(ValueError, match=r"Cannot (find|estimate)") as error:
        pnp.restore(picture, operator=op, prior="tv", sigma=0.01)
    assert "\n" not in str(error.value)


def test_likeness_does_not_mind_where_a_kernel_lies() -> None:
    k = kernels.shake(11.0, seed=1)
    moved = torch.nn.functional.pad(k, (5, 0, 0, 2))
    assert unknown.likeness(k, moved) == pytest.approx(1)
    assert unknown.likeness(k, k.flip(0, 1)) < 0.95


def test_the_command_writes_a_kernel_that_it_takes_again(tmp_path: Path) -> None:
    picture, _ = blurred("coffee", kernels.disk(3.5))
    Image.fromarray(picture[:300, :300]).save(tmp_path / "photo.jpg", quality=92)
    out = tmp_path / "out.png"
    _run("solve", tmp_path / "photo.jpg", "--op", "blur:kernel=disk,radius=?", "--prior", "tv", "--iterations", 5,
         "-o", out)  # fmt: skip
    folder = tmp_path / "out-report"
    kernel = np.load(folder / "kernel.npy")
    assert kernel.sum() == pytest.approx(1) and read(folder / "kernel.png").pixels.shape[-2:] == kernel.shape
    record = json.loads((folder / "result.json").read_text())
    assert record["kernel"]["radius"] == pytest.approx(3.5, rel=0.1) and "kernel.npy" in record["files"]
    _run("solve", tmp_path / "photo.jpg", "--op", f"blur:kernel={folder / 'kernel.npy'}", "--prior", "tv",
         "--iterations", 5, "-o", tmp_path / "again.png")  # fmt: skip
    assert (tmp_path / "again.png").is_file()


def _run(*arguments: object) -> None:
    assert cli([str(a) for a in arguments], standalone_mode=False) in (0, None)
