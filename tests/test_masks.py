"""Missing, dead and saturated pixels: masks as people have them, NaN, what is found, and what is censored."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import pnp
from pnp import metrics
from pnp.files import pictures
from pnp.jobs import Job, holes, run
from pnp.noises import ClippedGaussian, outliers
from pnp.operators import Identity, Mask, Masked, Mosaic, ValidBlur, mask_files
from pnp.operators.kernels import make
from pnp.priors.bounds import AtLeast
from pnp.registry import OPERATORS, SpecError
from pnp.samples import photograph
from pnp.testing import check_noise, check_operator

SIDE = 96


def colour() -> Tensor:
    return photograph("astronaut")[..., 20 : 20 + SIDE, 160 : 160 + SIDE]


def grey() -> Tensor:
    return photograph("camera")[..., 100 : 100 + SIDE, 180 : 180 + SIDE]


def scratches() -> Tensor:
    known = torch.ones(1, SIDE, SIDE)
    known[:, 30:34] = 0
    known[:, 50:80, 60:66] = 0
    return known


def bytes_of(x: Tensor) -> np.ndarray:
    return (x * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).squeeze(-1).numpy()


def save(path: Path, array: np.ndarray, **options: int) -> str:
    Image.fromarray(array).save(path, **options)
    return str(path)


def read(file: str, **options: object) -> Tensor:
    return mask_files.read_mask(file, (3, SIDE, SIDE), **options)  # type: ignore[arg-type]


def rgba(ink: Tensor, alpha: Tensor) -> np.ndarray:
    return bytes_of(torch.cat([ink.expand(3, SIDE, SIDE), alpha.expand(1, SIDE, SIDE)]))


def test_zeros_and_ones_are_a_mask_and_one_value_is_not(tmp_path: Path) -> None:
    for white in (1, 200, 255):
        assert torch.equal(read(save(tmp_path / "m.png", (bytes_of(scratches()) // 255) * white)), scratches())
    with pytest.raises(ValueError, match="all black"):
        read(save(tmp_path / "black.png", np.zeros((SIDE, SIDE), np.uint8)))


@pytest.mark.filterwarnings("error")
def test_alpha_is_the_mask_also_of_a_photograph_and_that_is_said(tmp_path: Path) -> None:
    for ink in (torch.zeros(3, 1, 1), colour()[0]):
        with pytest.warns(UserWarning, match="alpha channel is the mask"):
            assert torch.equal(read(save(tmp_path / "a.png", rgba(ink, scratches()))), scratches())
    with pytest.raises(ValueError, match="looks like a photograph"):  # no hole in its alpha: nothing to go by
        read(save(tmp_path / "b.png", rgba(colour()[0], torch.ones(1))))


def test_bright_paint_is_missing_on_transparent_black_and_white_ground(tmp_path: Path) -> None:
    red, known = torch.tensor([1.0, 0, 0]).view(3, 1, 1), scratches()
    files = [save(tmp_path / "clear.png", rgba(red, 1 - known))]
    files += [save(tmp_path / f"{g}.png", bytes_of(torch.where(known > 0, float(g), red))) for g in (0, 1)]
    for file in files:
        with pytest.warns(UserWarning, match="painted pixels are missing"):
            assert torch.equal(read(file), known)
    assert torch.equal(read(files[1], colour="red", invert=True), 1 - known)


def test_jpeg_and_resampled_masks_are_thresholded_with_a_note_and_photographs_refused(tmp_path: Path) -> None:
    picture = bytes_of(scratches())
    soft = np.asarray(Image.fromarray(picture).resize((3 * SIDE,) * 2).resize((SIDE,) * 2, Image.Resampling.BICUBIC))
    for file in (save(tmp_path / "m.jpg", picture, quality=75), save(tmp_path / "soft.png", soft)):
        with pytest.warns(UserWarning, match="grey values. Those above the middle are known"):
            assert (read(file) != scratches()).float().mean() < 0.002
    for name, x in {"grey.png": grey(), "colour.png": colour(), "painted.png": painted()}.items():
        with pytest.raises(ValueError, match="looks like a photograph"):
            read(save(tmp_path / name, bytes_of(x[0])))


def painted() -> Tensor:
    return torch.where(scratches() > 0, colour(), torch.tensor([237, 28, 36]).view(3, 1, 1) / 255)


def test_paint_on_the_picture_is_found_by_its_name_or_value_and_nothing_else() -> None:
    known = scratches()
    for name in ("red", "#ed1c24"):
        found = mask_files.paint(painted()[0], name)
        assert not ((known == 0) & (found == 0)).any() and float(found.mean() - (1 - known).mean()) < 0.01
    assert not mask_files.paint(painted()[0], "green").any()
    assert not mask_files.paint(colour()[0], "#ed1c24").any()
    buffer = io.BytesIO()
    Image.fromarray(bytes_of(painted()[0])).save(buffer, "JPEG", quality=85)
    jpeg = torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1) / 255
    found = mask_files.paint(jpeg, "red")
    assert not ((known == 0) & (found == 0)).any() and (found.mean() - (1 - known).mean()) < 0.05  # the rim is coloured


def test_thin_paint_in_a_jpeg_takes_the_pixels_along_that_it_has_coloured() -> None:
    """Chroma of half the resolution draws what is beside a line towards it; planted: the core alone."""
    picture = colour()[0]
    line = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    for i in range(SIDE):  # three pixels wide, across all places of the blocks
        line[0, (i // 3 + 20) % SIDE, i] = line[0, (i // 3 + 21) % SIDE, i] = line[0, (i // 3 + 22) % SIDE, i] = True
    scratched = torch.where(line, torch.tensor([1.0, 0, 0]).view(3, 1, 1), picture)
    jpegs = []
    for x in (picture, scratched):
        buffer = io.BytesIO()
        Image.fromarray(bytes_of(x)).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
        jpegs.append(torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1) / 255)
    changed = (jpegs[1] - jpegs[0]).abs().amax(0, keepdim=True) > 0.15
    found = mask_files.paint(jpegs[1], "red") > 0
    assert not (line & ~found).any() and float((changed & ~found).sum()) < 0.1 * float(changed.sum())
    assert float(found.float().mean()) < 5 * float(line.float().mean())
    core = (jpegs[1] - torch.tensor([1.0, 0, 0]).view(3, 1, 1)).abs().amax(0, keepdim=True) < 0.3
    assert (line & ~core).any() and float((changed & ~core).sum()) > 0.2 * float(changed.sum())


def test_a_swapped_mask_is_refused_and_a_right_one_is_not() -> None:
    known = scratches()
    holed = colour() * known
    mask_files.check_known(holed, known)
    mask_files.check_known(0.3 + 0 * holed, known)  # a flat picture: nothing tells
    with pytest.raises(ValueError, match="Is the mask inverted"):
        mask_files.check_known(holed, 1 - known)
    with pytest.warns(UserWarning, match="pixels are missing"):
        mask_files.check_known(colour(), 1 - known)
    scan = holed + (1 - known) * (0.97 + 0.005 * torch.randn(holed.shape, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="Is the mask inverted"):
        mask_files.check_known(scan, 1 - known)


def test_more_than_half_missing_is_said() -> None:
    with pytest.warns(UserWarning, match="60% of the pixels are missing"):
        mask_files.check_known(colour(), OPERATORS.build("mask:keep=0.4", shape=(3, SIDE, SIDE), seed=0).mask)


def kernel(std: float = 1.2) -> Tensor:
    return make("gaussian", {"std": std, "size": 9})


def test_masked_operators_keep_the_contract() -> None:
    known = (torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.2).float()
    check_operator(Masked(known, ValidBlur(kernel()[..., 2:-2, 2:-2])), (1, 20, 20), bound=0.2)
    check_operator(OPERATORS.build("mosaic:pattern=grbg", shape=(3, 12, 10)), (3, 12, 10))
    check_operator(OPERATORS.build("mosaic", shape=(3, 16, 16)).masked(known), (3, 16, 16))
    assert isinstance(Identity().masked(known), Mask)


class Blurred(Mosaic):
    """A planted fault: y is no number of x as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return 0.9 * super().forward(x)


def test_the_contract_catches_a_pixelwise_operator_that_is_not() -> None:
    with pytest.raises(AssertionError, match="pixelwise"):
        check_operator(Blurred(OPERATORS.build("mosaic", shape=(3, 8, 8)).mask), (3, 8, 8))


def test_a_blur_with_dead_pixels_is_restored_as_without_them() -> None:
    x, blur = grey(), ValidBlur(kernel())
    y = blur(x) + 0.01 * torch.randn(1, 1, SIDE - 8, SIDE - 8, generator=torch.Generator().manual_seed(0))
    dead = torch.rand(y.shape[-2:], generator=torch.Generator().manual_seed(1)) < 0.003
    hot = torch.where(dead, (torch.arange(SIDE - 8) % 2).float(), y)
    options = {"operator": blur, "prior": "tv", "truth": x, "sigma": 0.01, "range": (0, 1)}

    def score(picture: Tensor, mask: str | Tensor | None) -> float:
        return pnp.restore(picture, mask=mask, **options).record.metrics["psnr"][0]  # type: ignore[index,arg-type]

    best, spoilt = score(y, None), score(hot, "none")
    assert spoilt < best - 1.5
    for picture, mask in (
        (torch.where(dead, math.nan, y), None), (hot, (~dead)[None].float()), (hot, "outliers"), (hot, None),
    ):  # fmt: skip
        assert score(picture, mask) > best - 0.15


@pytest.mark.parametrize("name", ["camera", "astronaut", "coffee", "text", "page"])
def test_no_pixel_of_a_good_picture_is_taken_for_dead(name: str) -> None:
    try:
        x = photograph(name)[..., :200, :200]
    except Exception:
        pytest.skip(f"{name} is not bundled")
    for blur in (ValidBlur(kernel()), ValidBlur(make("disk", {"radius": 3.0}))):
        for y in (blur(x), x):  # the right kernel, and a sharp picture with a wrong one
            y = y + 0.004 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
            seen = holes.look(None, blur, (y.clamp(0, 1) * 255).round() / 255)
            assert seen.operator is blur and seen.said == ()


def test_a_star_behind_its_own_blur_is_no_hot_pixel_and_one_pixel_is() -> None:
    sky = torch.full((1, 1, 64, 64), 0.1)
    sky[..., 20, 20] = 20.0
    blur = ValidBlur(kernel())
    y = blur(sky) + 0.001 * torch.randn(1, 1, 56, 56, generator=torch.Generator().manual_seed(0))
    rank, share = outliers.spread(blur, (1, 56, 56))
    assert rank == 3 and 0.4 < share < 0.8
    assert outliers.spread(Identity(), (1, 56, 56))[1] == 0
    sigma = torch.tensor(0.001).view(1, 1, 1, 1)
    share *= holes.MARGIN
    assert not outliers.lone(y, sigma, rank, share).any()
    y[..., 40, 40], y[..., 40, 41], y[..., 50, 9] = 0.9, 0.8, 0.0
    assert outliers.lone(y, sigma, rank, share).nonzero()[:, 2:].tolist() == [[40, 40], [40, 41], [50, 9]]


def test_saturated_pixels_are_a_plateau_and_one_bright_pixel_is_none() -> None:
    y, known = grey() * 0.5, torch.ones(1, SIDE, SIDE, dtype=torch.bool)
    y[..., 40, 40] = 0.9
    assert holes.saturated_pixels(y, known) is None
    y[..., 40:44, 40:44] = 0.9
    found = holes.saturated_pixels(y, known)
    assert found is not None and torch.equal(found, y == 0.9)


def told() -> ClippedGaussian:
    y = torch.full((1, 1, 5, 5), 0.7)
    return ClippedGaussian(0.1, y > 0.5).begin(y)  # type: ignore[return-value]


def test_a_told_pixel_is_at_least_as_bright_as_it_is_whatever_its_neighbours_are() -> None:
    """−log P(u + sigma n >= y) = −log Φ((u − y)/sigma): Tobin 1958."""
    y, noise = torch.full((1, 1, 5, 5), 0.7), told()
    expected = -torch.special.log_ndtr(torch.tensor([-2.0, 0.0, 3.0])) * 25
    found = torch.cat([noise.value(torch.full_like(y, u), y) for u in (0.5, 0.7, 1.0)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    bright = torch.full_like(y, 4.0)
    torch.testing.assert_close(noise.prox(bright, y, 0.01), bright)  # nothing pulls a bright core down
    assert (noise.prox(torch.full_like(y, 0.2), y, 0.01) > 0.3).all()
    plain = ClippedGaussian(0.1).begin(y)
    assert (plain.prox(bright, y, 0.01) < 3).all()  # the fault that this would catch


def test_a_told_noise_keeps_the_contract() -> None:
    check_noise(ClippedGaussian(0.1))


def test_a_floor_is_a_projection() -> None:
    floor, v = torch.tensor([-math.inf, 0.2]).view(1, 1, 1, 2), torch.tensor([-1.0, 0.1]).view(1, 1, 1, 2)
    p = AtLeast(floor).prox(v, 0.3)
    assert p.flatten().tolist() == [-1.0, pytest.approx(0.2)]
    assert AtLeast(floor).value(p).tolist() == [0.0] and AtLeast(floor).value(v).tolist() == [math.inf]
    with pytest.raises(ValueError, match="floor"):
        AtLeast(math.nan)


def test_no_ring_beside_a_saturated_star_and_its_light_is_kept() -> None:
    sky = torch.full((1, 1, 72, 72), 0.05)
    for i, j, light in ((20, 20, 60.0), (45, 50, 3.0), (55, 20, 1.0)):
        sky[..., i, j] += light
    blur = ValidBlur(make("gaussian", {"std": 1.5, "size": 13}))
    y = blur(sky) + 0.003 * torch.randn(1, 1, 60, 60, generator=torch.Generator().manual_seed(0))
    cut = y.clamp(0, 1)

    def light(x: Tensor) -> float:
        return float((x[..., 4:25, 4:25] - 0.05).sum())

    options = {"sigma": 0.003, "guard": False, "range": (0.0, 1.0)}
    found = run(Job(blur, "tv", mask="saturated", **options), cut)  # type: ignore[arg-type]
    by_hand = run(Job(blur, "tv", mask=(cut < 1)[0].float(), **options), cut)  # type: ignore[arg-type]
    naive = run(Job(blur, "tv", mask="none", noise="gaussian:sigma=0.003", guard=False), cut)
    assert abs(light(found.restored) / light(by_hand.restored) - 1) < 0.2
    assert found.restored[..., 4:25, 4:25].min() > 0.03
    assert min(light(naive.restored) / light(by_hand.restored), float(naive.restored.min())) < 0.0 or (
        light(naive.restored) < 0.8 * light(by_hand.restored)
    )
    assert any("saturated" in line for line in found.record.mask or [])


def test_a_truth_with_nan_is_scored_elsewhere() -> None:
    x, y = grey(), grey() + 0.05
    holed = x.clone()
    holed[..., 10:20, 10:20] = math.nan
    seen = ~holed.isnan()
    expected = -10 * (y.clamp(0, 1) - x)[seen].square().mean().log10()
    torch.testing.assert_close(metrics.psnr(y, holed)[0], expected)
    assert 0.5 < float(metrics.ssim(y, holed)) < 1 and float(metrics.ssim(x, holed)) == pytest.approx(1)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "grbg", "gbrg"])
def test_a_bayer_pattern_starts_with_its_letters(pattern: str) -> None:
    op = OPERATORS.build(f"mosaic:pattern={pattern}", shape=(3, 4, 6))
    x = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    assert op(x)[0, 0, :2, :2].flatten().tolist() == ["rgb".index(c) for c in pattern]
    assert torch.equal(op.initial(op(x)), x)


def test_a_grey_bayer_picture_becomes_a_colour_one(tmp_path: Path) -> None:
    x = photograph("astronaut")[..., :128, 150:278]
    op = OPERATORS.build("mosaic", shape=(3, 128, 128))
    y = bytes_of(op(x)[0])
    done = pnp.restore(y, operator="mosaic", prior="unet", range="full", truth=bytes_of(x[0]))
    assert done.picture.shape == (128, 128, 3) and done.picture.dtype == np.uint8
    assert done.record.metrics["psnr"][0] > done.record.metrics["psnr_initial"][0] + 5  # type: ignore[index]
    assert done.record.metrics["psnr"][0] > 34  # type: ignore[index]
    wrong = pnp.restore(y, operator="mosaic:pattern=bggr", prior="unet", range="full", truth=bytes_of(x[0]))
    assert wrong.record.metrics["psnr"][0] < 25  # type: ignore[index]
    file = save(tmp_path / "bayer.png", bytes_of(op.mask))
    by_file = OPERATORS.build(f"mask:{file}", shape=(1, 128, 128), measured=True)
    assert isinstance(by_file, Mosaic) and torch.equal(by_file.mask, op.mask)


def command(*arguments: str) -> tuple[int, str]:
    from click.testing import CliRunner

    from pnp.cli.solve import solve

    result = CliRunner().invoke(solve, list(arguments))
    return result.exit_code, result.output


def test_the_command_takes_nan_and_masks_and_writes_whole_pictures(tmp_path: Path) -> None:
    y = grey()[0, 0].numpy().copy()
    y[5:9, 7] = np.nan
    np.save(tmp_path / "y.npy", y)
    file = save(tmp_path / "mask.png", bytes_of(scratches()))
    noise = ("--sigma", "0.02")
    code, said = command(str(tmp_path / "y.npy"), "--op", "identity", "--prior", "tv", "--mask", file, *noise)
    assert code == 0, said
    assert "4 pixels are NaN" in said and "564 pixels are missing" in said
    restored = np.load(tmp_path / "y-restored.npy")
    assert np.isfinite(restored).all() and restored.dtype == np.float32
    record = json.loads((tmp_path / "y-restored-report/result.json").read_text())
    assert record["job"]["mask"] == file and len(record["mask"]) == 2


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("red", "for colour pictures"), ("nothing", "is not a mask"), ("gone.png", "no such file"),
        ("mask.png,invert=maybe", "expected true or false"), ("mask.png,soft=1", "no option 'soft'"),
        ("mask.png,invert=true", "Is the mask inverted"), ("photo.png", "looks like a photograph"),
    ],
)  # fmt: skip
def test_a_wrong_mask_is_one_line_and_nothing_is_written(
    mask: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("mask.png"), bytes_of(scratches()))
    save(Path("photo.png"), bytes_of(grey()[0]))
    save(Path("y.png"), bytes_of((grey() * scratches())[0]))
    code, said = command("y.png", "--op", "identity", "--prior", "tv", "--mask", mask)
    assert code == 2 and message in said.splitlines()[-1], said
    assert sorted(p.name for p in Path().iterdir()) == ["mask.png", "photo.png", "y.png"]


def test_the_mask_is_not_overwritten_and_sensing_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("mask.png"), bytes_of(scratches()))
    save(Path("y.png"), bytes_of(grey()[0]))
    code, said = command("y.png", "--op", "identity", "--prior", "tv", "--mask", "mask.png", "-o", "mask.png")
    assert code == 2 and "overwrit" in said
    op = OPERATORS.build("sensing:ratio=0.5", shape=(1, 8, 8), seed=0)
    with pytest.raises(SpecError, match="a mask is for pictures"):
        holes.look("saturated", op, torch.zeros(1, 1, 1, 32))


def test_other_pictures_still_refuse_nan(tmp_path: Path) -> None:
    np.save(tmp_path / "k.npy", np.full((9, 9), np.nan, np.float32))
    with pytest.raises(pictures.PictureError, match="NaN"):
        pictures.read(tmp_path / "k.npy")
    with pytest.raises(ValueError, match="every pixel"):
        holes.look(None, Identity(), torch.full((1, 1, 8, 8), math.nan))
    with pytest.raises(ValueError, match="infinite"):
        holes.look(None, Identity(), torch.full((1, 1, 8, 8), math.inf))
