"""Linear light: a lens blurs light, software blurs the values of a file; which of the two is found in the file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import Tensor

import pnp
from pnp.files import curves, exif, pictures
from pnp.files.curves import SRGB, Curve, gamma
from pnp.jobs import Job, light, run
from pnp.metrics import psnr
from pnp.operators import Blur, Identity, ValidBlur, kernels
from pnp.samples import photograph

STEP = 12**-0.5 / 255
DISK = ValidBlur(kernels.make("disk", {"radius": 3.0}))


def blurred(linear: bool, side: int = 134, name: str = "camera") -> tuple[Tensor, Tensor]:
    """A photograph out of focus as a file of 8 bits holds it, blurred by a lens or by software; and the sharp one."""
    x = photograph(name)[..., 100 : 100 + side, 180 : 180 + side]
    y = SRGB.encode(DISK(SRGB.decode(x)).clamp_min(0)) if linear else DISK(x)
    y = y + torch.randn(y.shape, generator=torch.Generator().manual_seed(0)) / 255
    return (y.clamp(0, 1) * 255).round() / 255, DISK.visible(x)


def as_bytes(y: Tensor) -> np.ndarray:
    return (y[0, 0] * 255).round().numpy().astype(np.uint8)


# --- the curve


@pytest.mark.parametrize("curve", [SRGB, gamma(1.8), gamma(2.2)], ids=lambda c: c.name)
def test_a_curve_rises_everywhere_is_undone_by_its_inverse_and_keeps_black_and_white(curve: Curve) -> None:
    v = torch.linspace(-0.5, 1.6, 4001, dtype=torch.float64)
    u = curve.decode(v)
    assert bool((u.diff() > 0).all())
    assert float((curve.encode(u) - v).abs().max()) < 1e-12
    ends = torch.tensor([0.0, 1.0])
    assert torch.equal(curve.decode(ends), ends) and torch.equal(curve.encode(ends), ends)
    planted = Curve(curve.g, curve.a, curve.c * 2, curve.d, "a toe that is too steep")
    assert not bool((planted.decode(v).diff() > 0).all())


def test_srgb_is_that_of_the_standard_and_its_slope_that_of_autograd() -> None:
    v = torch.tensor([0.02, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    expected = [0.02 / 12.92, ((0.5 + 0.055) / 1.055) ** 2.4, ((0.9 + 0.055) / 1.055) ** 2.4]
    assert SRGB.decode(v).tolist() == pytest.approx(expected, rel=1e-12)
    (slope,) = torch.autograd.grad(SRGB.decode(v).sum(), v)
    assert SRGB.slope(v.detach()).tolist() == pytest.approx(slope.tolist(), rel=1e-9)
    assert gamma(2.2).slope(v.detach()).tolist() != pytest.approx(slope.tolist(), rel=0.01)  # planted: another curve


def profile(tag: bytes, name: bytes = b"rTRC") -> bytes:
    """As much of an ICC profile as its curve takes."""
    return bytes(128) + struct.pack(">I4sII", 1, name, 144, len(tag)) + tag


def table(values: np.ndarray) -> bytes:
    return b"curv" + struct.pack(">II", 0, len(values)) + (values * 65535).round().astype(">u2").tobytes()


def test_the_curve_of_a_profile_is_read_in_each_of_its_forms() -> None:
    x = np.linspace(0, 1, 1024)
    srgb = SRGB.decode(torch.from_numpy(x)).numpy()
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert curves.of_profile(made) is SRGB
    assert curves.of_profile(profile(table(srgb))) is SRGB
    adobe = b"curv" + struct.pack(">IIH", 0, 1, 563)
    for tag in (adobe, b"para" + struct.pack(">IHHi", 0, 0, 0, round(563 / 256 * 65536)), table(x ** (563 / 256))):
        found = curves.of_profile(profile(tag, b"kTRC"))
        assert found is not None and found.g == pytest.approx(563 / 256, abs=0.01)
    planted = curves.of_profile(profile(table(x**1.8)))
    assert planted is not None and planted.g == pytest.approx(1.8, abs=0.01)


def test_a_broken_profile_counts_as_srgb_and_one_of_light_as_no_curve() -> None:
    for broken in (b"", bytes(200), profile(b"curv" + bytes([255] * 8)), profile(b"para" + bytes([0] * 5 + [9] * 9))):
        assert curves.of_profile(broken) is None
        assert curves.of_samples("uint8", True, broken) is SRGB
    assert curves.of_samples("uint16", True, profile(b"curv" + bytes(8))) is None
    assert curves.of_samples("float32", True) is None and curves.of_samples("uint16", False) is None


# --- the choice


@pytest.mark.parametrize("name", ["camera", "astronaut", "chelsea"])
def test_a_blur_of_light_and_one_of_values_are_told_apart(name: str) -> None:
    for linear in (True, False):
        y, _ = blurred(linear, name=name)
        better = light.preference(DISK, y, 1 / 255, SRGB)
        assert (better > light.NATS) if linear else (better < -light.NATS)


def test_without_a_blur_and_on_a_flat_picture_nothing_is_told() -> None:
    y, _ = blurred(True)
    assert light.preference(Blur(torch.ones(1, 1)), y, 1 / 255, SRGB) == pytest.approx(0, abs=light.NATS)
    assert light.preference(DISK, torch.full_like(y, 0.5), 1 / 255, SRGB) == 0
    assert light.preference(DISK, y[..., :60, :60], 1 / 255, SRGB) == 0  # too small
    assert abs(light.preference(DISK, y, 1 / 255, SRGB)) > light.NATS  # planted: a blur that is there


def test_what_the_file_does_not_tell_its_camera_does() -> None:
    flat = torch.full((1, 1, 130, 130), 0.5)
    told = {}
    for camera in (True, False):
        job = Job(operator=DISK, prior="tv", curve=SRGB, camera=camera, sigma=0.01, lam=1.0, iterations=2)
        told[camera] = run(job, flat).record.light
    assert told[True].value == "linear" and "from a camera" in told[True].source
    assert told[False].value == "srgb" and "does not tell" in told[False].source


def test_a_camera_is_known_by_its_make_or_its_exposure() -> None:
    for tag, value in ((271, "Maker"), (272, "Model"), (0x829A, 0.01)):
        made = Image.Exif()
        (made.get_ifd(exif.EXIF) if tag == 0x829A else made)[tag] = value
        assert exif.of_camera(made.tobytes())
    scanner = Image.Exif()
    scanner[305] = "a program"
    assert not exif.of_camera(scanner.tobytes()) and not exif.of_camera(b"nothing") and not exif.of_camera(None)


# --- the solve


def test_a_picture_that_a_lens_blurred_gains_more_in_linear_light_and_auto_takes_it() -> None:
    y, sharp = blurred(True)
    heard: list[str] = []
    done = {
        each: pnp.restore(
            as_bytes(y), operator=DISK, prior="tv", truth=as_bytes(sharp), light=each, iterations=40, say=heard.append
        )
        for each in ("auto", "linear", "srgb")
    }
    score = {each: d.record.metrics["psnr"][0] for each, d in done.items() if d.record.metrics}
    assert score["linear"] > score["srgb"] + 0.3
    assert torch.equal(done["auto"].restored, done["linear"].restored)
    assert done["auto"].record.light == ("linear", "it explains the file better")
    assert done["srgb"].record.light == ("srgb", "given")
    assert sum("light: linear" in line for line in heard) == 1


def test_scores_and_pictures_are_in_the_values_of_the_file() -> None:
    y, sharp = blurred(True)
    done = pnp.restore(as_bytes(y), operator=DISK, prior="tv", truth=as_bytes(sharp), light="linear", iterations=30)
    assert float((done.initial - y).abs().max()) < 1e-6
    assert done.record.metrics is not None
    assert done.record.metrics["psnr"][0] == pytest.approx(float(psnr(done.restored, sharp)), abs=1e-4)
    assert float(done.result.history["psnr"][-1]) == pytest.approx(done.record.metrics["psnr"][0], abs=1e-3)
    there = DISK.visible(done.result.x)
    assert float((SRGB.encode(there) - done.restored).abs().max()) < 1e-6
    assert float(psnr(there, sharp)) < done.record.metrics["psnr"][0] - 3  # planted: light taken for values


def test_the_noise_in_light_is_that_of_the_file_times_the_slope() -> None:
    y = 0.4 * blurred(True)[0]
    drawn = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    there = float((SRGB.decode(y.double() + 1e-3 * drawn) - SRGB.decode(y.double())).square().mean().sqrt())
    done = run(Job(operator=DISK, prior="tv", sigma=1e-3, lam=1.0, light="linear", iterations=2), y)
    assert done.record.sigma.value == pytest.approx(there, rel=0.02)
    assert there < 0.9e-3 or there > 1.1e-3  # planted: the file's own level would not do


def test_each_image_of_a_batch_has_its_own_light() -> None:
    pair = torch.cat([blurred(True)[0], blurred(False)[0]])
    job = Job(operator=DISK, prior="tv", curve=SRGB, floor=STEP, sigma=0.01, lam=1.0, iterations=10)
    both = run(job, pair)
    assert both.record.light.value == ["linear", "srgb"]
    for i in range(2):
        assert float((run(job, pair[i : i + 1]).restored - both.restored[i : i + 1]).abs().max()) < 2e-4


@pytest.mark.parametrize("made", ["floats", "identity", "simulated", "dim"])
def test_what_is_no_encoded_light_or_mixes_no_pixels_stays_as_it_is(made: str) -> None:
    y, _ = blurred(True)
    given = y[0, 0].numpy() if made == "floats" else as_bytes(y)
    given = given.astype(np.uint16) * 4 if made == "dim" else given
    operator = Identity() if made == "identity" else "blur:std=1" if made == "simulated" else DISK
    done = pnp.restore(given, operator=operator, prior="tv", iterations=3, simulate=made == "simulated")
    assert done.record.light.value == "srgb" and done.record.light.source != "it explains the file better"
    planted = pnp.restore(as_bytes(y), operator=DISK, prior="tv", iterations=3)
    assert planted.record.light.value == "linear"


def test_light_that_is_not_known_or_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="light is 'bright'"):
        Job(operator="blur:std=1", prior="tv", light="bright")
    with pytest.raises(ValueError, match="--light linear"):
        Job(operator="blur:std=1", prior="tv", light="linear", simulate=True)


def test_the_command_reads_the_curve_and_the_camera_of_a_file(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from pnp.cli.solve import solve

    y, _ = blurred(True)
    said = Image.Exif()
    said[271] = "Maker"
    icc = profile(b"curv" + struct.pack(">IIH", 0, 1, round(1.8 * 256)), b"kTRC")
    Image.fromarray(as_bytes(y)).save(tmp_path / "photo.png", exif=said, icc_profile=icc)
    picture = pictures.read(tmp_path / "photo.png")
    assert picture.from_camera and picture.curve is not None and picture.curve.name == "gamma 1.8"
    told = ["--op", "blur:kernel=disk,radius=3", "--prior", "tv", "--iterations", "5", "--light", "linear"]
    ran = CliRunner().invoke(solve, [str(tmp_path / "photo.png"), *told])
    assert ran.exit_code == 0, ran.output
    record = json.loads((tmp_path / "photo-restored-report" / "result.json").read_text())
    assert record["light"] == {"value": "linear", "source": "given"} and record["job"]["curve"] == "gamma 1.8"
    with Image.open(tmp_path / "photo-restored.png") as im:
        written = np.asarray(im, dtype=float)
    assert abs(written.mean() - as_bytes(y).mean()) < 3  # in the file's values: light of gamma 1.8 is far darker
