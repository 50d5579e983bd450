"""The network that tells straight motions, and the field that it makes."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.data import camera
from torch.testing import assert_close

from pnp.jobs import field
from pnp.operators import kernels
from pnp.priors.nets.motion import ANGLES, LENGTHS, MOTIONS, Motion, motions, soft_label
from pnp.samples import photograph
from pnp.training.objectives import Motion as Patches
from pnp.training.patches import PatchPool
from pnp.training.run import TrainSettings, start, step

CPU = torch.device("cpu")


def test_the_motions_are_none_and_six_lengths_at_twelve_angles() -> None:
    ways = motions()
    assert ways.shape == (MOTIONS, 2) == (73, 2) and not ways[0].any()
    assert sorted({round(float(w.norm()), 3) for w in ways}) == [0.0, *LENGTHS]
    assert_close(ways[1 + 2 * ANGLES], torch.tensor([0.0, 13.0]), atol=1e-5, rtol=0)  # angle 0: along the row
    assert_close(ways[1 + ANGLES // 2], torch.tensor([-5.0, 0.0]), atol=1e-5, rtol=0)  # 90 degrees: upwards


@pytest.mark.parametrize(("length", "angle"), [(0.0, 40.0), (2.0, 0.0), (9.0, 30.0), (11.0, 37.5), (26.0, 172.0)])
def test_a_label_has_the_mean_of_the_motion(length: float, angle: float) -> None:
    label = soft_label(length, angle)
    assert float(label.sum()) == pytest.approx(1, abs=1e-6) and (label > 0).sum() <= 4 and float(label.min()) >= 0
    lengths = torch.tensor([0.0, *[size for size in LENGTHS for _ in range(ANGLES)]])
    assert float((label * lengths).sum()) == pytest.approx(min(length, 25), abs=1e-4)
    if length == 9:
        assert label.max() == 1 and int(label.argmax()) == 1 + ANGLES + 2


def test_a_label_goes_round_at_180_degrees() -> None:
    label = soft_label(9.0, 176.25)  # a quarter of a step below 180, which is 0
    assert float(label[1 + ANGLES]) == pytest.approx(0.75) and float(label[1 + 2 * ANGLES - 1]) == pytest.approx(0.25)


def opinion(ways: torch.Tensor, chosen: torch.Tensor, sure: float) -> torch.Tensor:
    """log p that is for one motion a cell."""
    logs = torch.zeros(len(ways), *chosen.shape)
    logs.scatter_(0, chosen[None], sure)
    return logs.log_softmax(0)


def test_cells_that_know_tell_those_that_do_not() -> None:
    points = field.doubled(motions())
    chosen = torch.full((12, 12), 1 + ANGLES + 3)  # length 9 at 45 degrees
    logs = opinion(points, chosen, 12.0)
    logs[:, 5:8, 4:9] = -math.log(MOTIONS)  # a flat part: no opinion
    logs[:, 6, 6] = opinion(points, torch.tensor([[30]]), 2.0)[:, 0, 0]  # and one that errs a little
    found = field.smoothed(logs, points, smooth=0.15)
    assert_close(found, points[1 + ANGLES + 3][:, None, None].expand_as(found), atol=1.5, rtol=0)
    alone = field.smoothed(logs, points, smooth=0.0)
    assert float((alone - found)[:, 6, 6].norm()) > 3  # the field did it


def test_a_sure_border_between_two_motions_stays() -> None:
    points = field.doubled(motions())
    chosen = torch.full((16, 16), 1)
    chosen[:, 8:] = 1 + 3 * ANGLES + 6
    found = field.smoothed(opinion(points, chosen, 60.0), points)
    assert_close(found[:, 8, 2], points[1], atol=1.0, rtol=0)
    assert_close(found[:, 8, 13], points[1 + 3 * ANGLES + 6], atol=1.0, rtol=0)


def test_rotations_ask_for_the_angles_between(monkeypatch: pytest.MonkeyPatch) -> None:
    logs, ways = field.opinions(torch.rand(1, 1, 64, 64), Motion(widths=(4, 4, 4)))
    assert logs.shape == (361, 8, 8) and ways.shape == (361, 2)
    angles = torch.rad2deg(torch.atan2(ways[1:, 1], ways[1:, 0])) / 2 % 180
    assert sorted({round(float(a)) % 180 for a in angles}) == list(range(0, 180, 3))


@pytest.mark.parametrize("turn", [30.0, -30.0, 90.0])
def test_a_picture_is_rotated_counter_clockwise(turn: float) -> None:
    x = torch.zeros(1, 1, 65, 65)
    x[..., 32, 32:60] = 1  # from the centre to the right
    rows, columns = (field._rotated(x, turn)[0, 0] > 0.3).nonzero().float().unbind(1)
    end = (rows - 32).square() + (columns - 32).square()
    found = math.degrees(math.atan2(32 - float(rows[end.argmax()]), float(columns[end.argmax()]) - 32))
    assert found == pytest.approx(turn, abs=2)


def test_the_field_of_a_photograph_finds_its_motion() -> None:
    kernel = kernels.motion(15, 30)
    x = photograph("astronaut").mean(1, keepdim=True)
    y = torch.nn.functional.conv2d(x, kernel.flip(0, 1)[None, None].float())[0]
    seen = field.motions_of((255 * y).round() / 255)
    found = seen.field
    assert seen.sure and not seen.point
    assert found.shape == (*y.shape[1:], 2)
    true = 15 * torch.tensor([math.cos(math.radians(30)), -math.sin(math.radians(30))])
    error = torch.minimum((found - true).norm(dim=-1), (found + true).norm(dim=-1))
    assert float(error.mean()) < 3


def test_motion_learns_from_pictures() -> None:
    settings = TrainSettings("motion", steps=40, config={"widths": (8, 8, 16), "blocks": 1}, batch=8, patch=48, lr=1e-2)
    run, pool = start(settings, CPU), PatchPool([torch.from_numpy(camera()[None].copy())], 128)
    patches = Patches(pool, pool, (0.0, 0.01), 1)

    def loss() -> float:
        with torch.no_grad():
            return float(patches.loss(run.net, 16, 48, torch.Generator().manual_seed(5), CPU))

    before = loss()
    for k in range(40):
        step(settings, run, patches, k / 40, CPU)
    assert loss() < 0.98 * before
    assert set(patches.judge(run.net, CPU)["motion"]) == {"error", "within 3 pixels"}
