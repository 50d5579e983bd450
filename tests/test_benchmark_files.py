"""Suites of files, of cut and of aligned scores: cameras, kinds of files, views, and the table of differences."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from scipy.ndimage import shift
from tifffile import imread

from pnp.benchmark import keys, report, run, solving, suite, world
from pnp.benchmark.suite import Cell, Data, Suite
from pnp.benchmark.views import VIEWS, Beyond
from pnp.benchmark.world import CAMERAS, FILES, Filed
from pnp.files import pictures
from pnp.jobs import Job
from pnp.jobs.job import of_file
from pnp.operators import ValidBlur
from pnp.registry import SpecError
from pnp.samples import photograph

NOWHERE = Beyond(0, 0, 0, 0)
LEVIN = (  # differences of Levin's sparse deconvolution with the true kernels, pictures in rows (PMP's evaluation code)
    "33.2452 37.8673 26.1407 48.3362 21.0029 15.8103 20.6043 26.1233 48.3678 51.6701 42.9596 72.8446 27.9074 20.3612 "
    "39.6822 40.9937 31.8456 36.5485 18.6523 39.4669 14.8198 10.0371 13.1905 23.4166 30.0886 44.1580 15.3129 39.8219 "
    "15.4713 17.9402 14.8388 23.1270"
)


def levelled(x: torch.Tensor) -> float:
    return -10 * float(x.square().mean().log10())


def some(name: str, side: int = 64) -> torch.Tensor:
    """A detailed part of a photograph."""
    return photograph(name)[..., 100 : 100 + side, 180 : 180 + side].contiguous()


# --- views


@pytest.mark.parametrize(("margin", "more"), [(0, 30), (13, 17), (40, 0)])
def test_a_cut_is_of_the_whole_picture_and_not_of_what_is_left_of_it(margin: int, more: int) -> None:
    whole = torch.arange(100.0 * 90).view(1, 1, 100, 90)
    seen = whole[..., margin : 100 - margin, margin : 90 - margin]
    x, truth = VIEWS.build("cut:pixels=30")(seen, seen + 1, Beyond(*[margin] * 4))
    most = max(margin, 30)
    assert torch.equal(x, whole[..., most : 100 - most, most : 90 - most]) and torch.equal(truth, x + 1)
    assert x.shape[-2] == seen.shape[-2] - 2 * more
    with pytest.raises(ValueError, match="nothing is left"):
        VIEWS.build("cut:pixels=50")(seen, seen, Beyond(*[margin] * 4))


def test_what_lies_beyond_a_measurement_is_counted_at_each_side() -> None:
    x, operator = torch.rand(1, 1, 30, 40), ValidBlur(torch.full((4, 7), 1 / 28))
    top, bottom, left, right = solving._beyond(operator, x)
    assert torch.equal(operator.visible(x), x[..., top : 30 - bottom, left : 40 - right])
    assert sorted([top, bottom]) == [1, 2] and (left, right) == (3, 3)
    assert solving._beyond(solving._operator(CELL, "blur:std=2", x), x) == NOWHERE


def test_the_published_differences_of_levin_make_their_published_psnr() -> None:
    """32.73 dB is Levin's sparse deconvolution in the table; 225 = 255 − 2 · 15 pixels at each side are left."""
    differences = np.array(LEVIN.split(), dtype=float)
    assert len(differences) == 32 and 10 * np.log10(225**2 / differences).mean() == pytest.approx(32.73, abs=0.005)
    truth = torch.rand(1, 1, 255, 255, generator=torch.Generator().manual_seed(0))
    x, cut = VIEWS.build("aligned:cut=15,reach=0")(truth * 0.9, truth, NOWHERE)
    assert tuple(x.shape[-2:]) == (225, 225)
    assert levelled(x - cut) == pytest.approx(10 * np.log10(225**2 / float((x - cut).square().sum())), abs=1e-4)


@pytest.mark.parametrize(("a", "b"), [(0.0, 0.0), (1.25, -2.5), (-5.0, 4.75)])
def test_an_aligned_picture_is_moved_back_by_quarters_of_a_pixel(a: float, b: float) -> None:
    """scipy's linear interpolation is the other opinion."""
    truth = some("camera", 80)
    moved = torch.from_numpy(shift(some("camera", 80)[0, 0].numpy(), (a, b), order=1))[None, None]
    x, cut = VIEWS.build("aligned:cut=15,reach=5,step=0.25")(moved, truth, NOWHERE)
    again = shift(moved[0, 0].double().numpy(), (-a, -b), order=1)[15:-15, 15:-15]  # linear twice is not exact
    np.testing.assert_allclose(x[0, 0].numpy(), again, atol=1e-5)
    assert torch.equal(cut, truth[..., 15:-15, 15:-15])
    beyond_reach = VIEWS.build("aligned:cut=15,reach=1")(moved, truth, NOWHERE)
    assert (a, b) == (0, 0) or levelled(x - cut) > levelled(beyond_reach[0] - beyond_reach[1]) + 3
    with pytest.raises(ValueError, match="a reach from 0 to the cut"):
        VIEWS.build("aligned:cut=3,reach=5")


# --- cameras


def test_a_mosaic_keeps_what_was_measured_and_a_ramp_of_grey_is_exact() -> None:
    ramp = (torch.arange(24.0)[:, None] / 60 + torch.arange(20.0) / 50).expand(1, 3, 24, 20)
    made = CAMERAS.build("demosaic").shoot(ramp, lambda u: u, torch.Generator())
    torch.testing.assert_close(made[..., 2:-2, 2:-2], ramp[..., 2:-2, 2:-2])
    x = some("coffee")
    made = CAMERAS.build("demosaic").shoot(x, lambda u: u, torch.Generator())
    for channel, (i, j) in ((0, (0, 0)), (1, (0, 1)), (1, (1, 0)), (2, (1, 1))):
        assert torch.equal(made[:, channel, i::2, j::2], x[:, channel, i::2, j::2])
    assert levelled(made - x) > levelled(world._mosaic(x).expand_as(x) - x) + 8
    with pytest.raises(ValueError, match="needs a colour picture"):
        CAMERAS.build("demosaic").shoot(x[:, :1], lambda u: u, torch.Generator())


def test_resizing_leaves_noise_of_low_frequencies_and_stripes_are_alike_in_a_column() -> None:
    flat = torch.full((1, 1, 200, 200), 0.5)
    noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(0))

    def noisy(u: torch.Tensor) -> torch.Tensor:
        return u + 0.1 * noise

    small = CAMERAS.build("resize:factor=0.7").shoot(flat, noisy, torch.Generator())
    assert tuple(small.shape[-2:]) == (140, 140) == tuple(CAMERAS.build("resize:factor=0.7").truth(flat).shape[-2:])
    z = small[0, 0] - 0.5
    assert (
        float((z[:, 1:] * z[:, :-1]).mean() / z.square().mean())
        > 0.1
        > float((noise[..., 1:] * noise[..., :-1]).mean())
    )
    striped = CAMERAS.build("stripes:columns=0.03").shoot(flat, lambda u: u, torch.Generator().manual_seed(1))
    assert float(striped.std(-2).max()) < 1e-6 and 0.025 < float(striped.mean(-2).std()) < 0.035


# --- files


def test_a_jpeg_has_the_tables_of_its_quality_and_its_chroma(tmp_path: Path) -> None:
    x = some("coffee")
    for quality, chroma, sampling in ((85, "444", 0), (50, "420", 2)):
        data = FILES.build(f"jpeg:quality={quality},chroma={chroma}").encode(x)
        with Image.open(io.BytesIO(data)) as im:
            expected = io.BytesIO()
            Image.new("RGB", (8, 8)).save(expected, "JPEG", quality=quality)
            assert im.quantization == Image.open(expected).quantization  # type: ignore[attr-defined]
            assert (im.layer[0][1], im.layer[0][2]) == ((2, 2) if sampling == 2 else (1, 1))  # type: ignore[attr-defined]
    filed = Filed(FILES.build("jpeg:quality=50"), x, tmp_path)
    assert filed.picture.format == "JPEG" and filed.picture.hidden > 0.01
    job = of_file(Job("identity", "tv"), filed.picture)
    assert (job.floor, job.hidden) == (filed.picture.rounding, filed.picture.hidden)
    torch.testing.assert_close(filed.written(x), x)  # 8 bits in a PNG: no second loss


def test_a_dim_file_has_its_counts_and_comes_back_between_black_and_white(tmp_path: Path) -> None:
    x = some("camera")
    kind = FILES.build("tiff:black=100,white=600")
    filed = Filed(kind, x, tmp_path)
    counts = torch.from_numpy(imread(tmp_path / "measured.tif").astype(np.float32))
    torch.testing.assert_close(counts, 100 + 500 * x[0, 0], atol=0.51, rtol=0)
    read = filed.picture.pixels  # whatever reading takes for black and white
    torch.testing.assert_close(read - read.mean(), filed.scale * (x - x.mean()), atol=0.01 * filed.scale, rtol=0)
    torch.testing.assert_close(filed.written(filed.picture.pixels), x, atol=1.01 / 1000, rtol=0)
    colour = Filed(kind, some("coffee"), tmp_path)
    torch.testing.assert_close(colour.written(colour.picture.pixels), some("coffee"), atol=1.01 / 1000, rtol=0)
    with pytest.raises(ValueError, match="black < white"):
        FILES.build("tiff:black=7,white=7")


# --- suites

ONE = {
    "title": "Files",
    "crop": 48,
    "limit": 1,
    "table": "differences",
    "tasks": [
        {"name": "JPEG {quality}", "measure": "identity", "file": "jpeg:quality={quality},chroma={chroma}",
         "variant": "{chroma}", "sigma": 0, "each": {"quality": ["30", "95"], "chroma": ["444", "420"]}},
        {"name": "dim", "measure": "identity", "file": "tiff:black=100,white=600", "sigma": 10},
        {"name": "small", "measure": "identity", "camera": "resize:factor=0.5", "sigma": 10},
    ],
    "methods": [
        {"name": "default", "prior": "tv", "lam": 1, "iterations": 5, "sigma": "estimated"},
        {"name": "best", "prior": "tv", "lam": 1, "iterations": 5, "sigma": "best"},
    ],
}  # fmt: skip


@pytest.fixture
def one() -> Suite:
    return suite.parse(ONE, "one")


CELL = next(suite.cells(suite.parse(ONE, "one"), Data(None, ("camera",))))


def test_a_task_for_each_choice_shares_a_column_and_has_a_key_of_its_own(one: Suite) -> None:
    cells = list(suite.cells(one, Data(None, ("coffee",))))
    assert [(c.task.name, c.task.variant) for c in cells[::2]] == [
        ("JPEG 30", "444"), ("JPEG 30", "420"), ("JPEG 95", "444"), ("JPEG 95", "420"), ("dim", None), ("small", None)
    ]  # fmt: skip
    assert cells[2].task.file == "jpeg:quality=30,chroma=420"
    assert report.columns_of(one, [row(c, 1.0) for c in cells]) == [
        "JPEG 30 @ 0",
        "JPEG 95 @ 0",
        "dim @ 10",
        "small @ 10",
    ]
    named = replace(cells[0], task=replace(cells[0].task, variant="other"))
    assert len({keys.key(c) for c in cells}) == len(cells) and keys.key(named) == keys.key(cells[0])
    assert {("part", "files", keys.NUMERICS["files"]), ("kind of file", "jpeg", 3)} <= set(keys.parts(cells[0]))
    assert ("camera", "resize", 1) in keys.parts(cells[-1]) and ("view", "cut", 1) in keys.parts(
        replace(cells[0], view="cut")
    )
    assert keys.key(replace(cells[0], view="cut:pixels=3")) != keys.key(replace(cells[0], view="cut"))
    with pytest.raises(SpecError, match="two tasks of the same name and variant"):
        suite.parse({**ONE, "tasks": [{**ONE["tasks"][0], "variant": "one"}]}, "one")  # type: ignore[index]
    with pytest.raises(SpecError, match="not a table of lists"):
        suite.parse({**ONE, "tasks": [{**ONE["tasks"][0], "each": {"quality": "30"}}]}, "one")  # type: ignore[index]
    with pytest.raises(SpecError, match="table"):
        suite.parse({**ONE, "table": "sums"}, "one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"view": "cutt"}, "view: unknown view 'cutt'"),
        (
            {"tasks": [{"name": "a", "measure": "identity", "sigma": 1, "file": "gif"}]},
            "task 'a': unknown kind of file",
        ),
        ({"tasks": [{"name": "a", "measure": "identity", "sigma": 1, "camera": "x"}]}, "task 'a': unknown camera"),
    ],
)
def test_a_suite_that_names_no_view_camera_or_file_is_refused_before_it_runs(change: dict, message: str) -> None:
    found = suite.parse({**ONE, **change}, "one")
    with pytest.raises(SpecError, match=message):
        run.check(found, Data(None, ("camera",)))


def test_a_cell_of_a_file_is_what_the_file_alone_tells(one: Suite, tmp_path: Path) -> None:
    """The same numbers by hand: encode, read, restore, write, read again."""
    cells = {c.task.name: c for c in suite.cells(one, Data(None, ("camera",))) if c.method.name == "default"}
    for name in ("JPEG 30", "dim"):
        cell = cells[name]
        found = solving.solve_cell(cell, 1, keep=False).columns
        x = solving.picture(cell)
        y = solving._drawn(cell, x)
        assert (name == "JPEG 30") is torch.equal(y, x)  # no noise at a sigma of 0
        filed = Filed(FILES.build(str(cell.task.file)), y, tmp_path)
        before = filed.kind.values(tmp_path / f"measured{filed.kind.suffix}")
        assert found["psnr_initial"] == pytest.approx(levelled(before.clamp(0, 1) - x), abs=0.02)
        job = of_file(Job("identity", "tv", lam=1.0, iterations=5), filed.picture)
        restored = solving_run(job, filed)
        assert found["psnr"] == pytest.approx(levelled(restored.clamp(0, 1) - x), abs=1e-3)


def solving_run(job: Job, filed: Filed) -> torch.Tensor:
    from pnp.jobs import run as restore

    return filed.written(restore(job, filed.picture.pixels).restored)


def test_the_best_level_is_that_of_the_whole_grid(one: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = next(c for c in suite.cells(one, Data(None, ("camera",))) if (c.task.name, c.method.name) == ("dim", "best"))
    cell = replace(cell, task=replace(cell.task, file="png"))
    asked: list[float] = []
    restored = solving._restored

    def counted(*args: object, sigma: float, **more: object) -> object:
        asked.append(sigma)
        return restored(*args, sigma=sigma, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(solving, "_restored", counted)
    found = solving.solve_cell(cell, 1, keep=False).columns
    assert 4 < len(asked) == len(set(asked)) <= 14
    by_hand = []
    for sigma in solving.LEVELS:
        told = replace(cell, method=replace(cell.method, sigma="given"))
        monkeypatch.setattr(solving, "_restored", lambda c, x, m, sigma=sigma: restored(c, x, m, sigma=sigma))
        by_hand.append(solving.solve_cell(told, 1, keep=False).columns["psnr"])
    assert found["psnr"] == pytest.approx(max(by_hand), abs=1e-4)
    level = solving.LEVELS[by_hand.index(max(by_hand))]
    assert found["sigma_used"] == pytest.approx(level, rel=0.04) and 3 / 255 < level < 30 / 255
    assert solving.LEVELS[4] / solving.LEVELS[0] == pytest.approx(1.5)


def test_a_level_that_is_told_is_in_the_units_of_the_file(one: Suite, tmp_path: Path) -> None:
    cell = next(c for c in suite.cells(one, Data(None, ("camera",))) if c.task.name == "dim")
    x, told = solving.picture(cell), replace(cell, method=replace(cell.method, sigma="given"))
    measured = solving._measured(told, x, tmp_path)
    assert solving._job(told, x, measured).sigma == pytest.approx(10 / 255 * measured.scale)
    drawn = solving._drawn(cell, x)
    assert measured.scale == pytest.approx(float(measured.y.std() / drawn.std()), rel=1e-3)
    assert solving._job(cell, x, solving._measured(cell, x, tmp_path)).sigma is None


def row(cell: Cell, psnr: float, before: float = 20.0) -> run.Row:
    return run._named(run.Row("", "", "", 0.0, "", "", 0, "", before, psnr, total=1.0), cell)


def test_the_table_of_differences_has_mean_and_worst_and_counts_who_is_below(one: Suite) -> None:
    cells = list(suite.cells(one, Data(None, ("coffee",))))[:4]  # JPEG 30: 444 and 420, default and best
    rows = [row(c, psnr) for c, psnr in zip(cells, (21.0, 21.5, 19.0, 21.1), strict=True)]
    (name, line), *_ = report.TABLES["differences"].lines(one, rows)
    assert name == "JPEG 30 @ 0" and line == ["2", "20.00", "+0.00", "-1.00", "-1.30", "-2.10", "1", "1"]
    heads = report.TABLES["differences"].heads(one, rows)
    assert heads == ["pictures", "default", "mean − measured", "worst − measured", "mean − best", "worst − best",
                     "below measured", "s"]  # fmt: skip
    text = report.markdown(one, rows)
    assert "| JPEG 30 @ 0 | 2 | 20.00 |" in text and "mean − best" in text and text.count("| all |") == 0
    more = [row(c, 25.0) for c in list(suite.cells(one, Data(None, ("coffee",))))[4:6]]
    assert "| all | 3 | 21.67 |" in report.markdown(one, [*rows, *more])
    assert set(report.TABLES) == set(suite.TABLES)


def test_a_picture_of_a_mat_file_has_its_measurement_and_its_kernel_in_it(tmp_path: Path) -> None:
    x = some("camera", 60)[0, 0].double().numpy()
    y = np.clip(x + 0.1, 0, 1)
    savemat(tmp_path / "a.mat", {"x": x, "y": y, "f": np.full((3, 3), 1 / 9)})
    task = {"name": "real", "measure": "blur:kernel={picture},index=0,border=valid", "given": "{picture}",
            "variable": "y", "pictures": "data"}  # fmt: skip
    parts = {**ONE, "crop": 0, "pictures": ["*.mat"], "variable": "x", "sigmas": [2], "table": "means", "tasks": [task]}
    found = suite.parse(parts, "one")
    cell, *_ = suite.cells(found, Data.of(found, tmp_path))
    assert str(tmp_path / "a.mat") in cell.task.measure and ("not built",) not in keys.parts(cell)
    np.testing.assert_allclose(solving.picture(cell)[0, 0], x, atol=1e-6)
    measured = solving._measured(cell, solving.picture(cell), tmp_path)
    np.testing.assert_allclose(measured.y[0, 0], y, atol=1e-6)
    found = solving.solve_cell(cell, 1, keep=False).columns  # of the same field, though the blur has seen more
    assert found["psnr_initial"] == pytest.approx(levelled(measured.y - torch.from_numpy(x)), abs=0.01)
    with pytest.raises(ValueError, match=r"has no variable 'z'\. Known: "):
        solving.picture(replace(cell, variable="z"))
    before = keys.key(cell)
    savemat(tmp_path / "a.mat", {"x": x, "y": y, "f": np.full((5, 5), 1 / 25)})
    suite.picture_hash.cache_clear()
    assert keys.key(cell) != before != keys.key(replace(cell, variable="y"))


def test_a_task_of_some_pictures_has_no_others_and_a_limit_takes_some_of_each(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pictures.write(tmp_path / name, torch.rand(1, 1, 8, 8))
    tasks = [{"name": n, "measure": "identity", "of": [f"{n}/*.png"]} for n in "ab"]
    parts = {**ONE, "pictures": ["a/*.png", "b/*.png"], "sigmas": [2], "tasks": tasks}
    for limit, expected in ((0, ["a1", "a2", "b1", "b2"]), (2, ["a1", "b1"]), (3, ["a1", "b1", "a2"])):
        found = suite.parse({**parts, "limit": limit}, "one")
        cells = [c for c in suite.cells(found, Data.of(found, tmp_path)) if c.method.name == "default"]
        assert [c.task.name + Path(c.picture).stem for c in cells] == expected
        assert all(Path(c.picture).parent.name == c.task.name for c in cells)


def test_the_pictures_of_a_suite_of_8_bits_are_of_8_bits() -> None:
    cell = replace(CELL, rounded=True, picture="camera", crop=0)  # its average over 2×2 pixels is not of 8 bits
    x = 255 * solving.picture(cell)
    torch.testing.assert_close(x, x.round(), atol=1e-4, rtol=0)
    assert not torch.allclose(255 * solving.picture(replace(cell, rounded=False)), x, atol=0.2)


@pytest.mark.parametrize(
    ("name", "columns"),
    [("noise-blind", ["Set12 @ 12.75", "Levin's four @ 2.55"]), ("levin32", ["32 pictures @ 1.5"])],
)
def test_the_published_rows_stand_over_columns_of_ours(name: str, columns: list[str]) -> None:
    found = suite.load(name)
    there = {suite.column(task.name, *level) for task, *level in suite.levels(found)}
    assert set(columns) <= there and all(set(paper.values) <= there for paper in found.published) and found.published
