"""Suites, their runner and their report."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
import torch
from browser import needs_browser, opened, outside
from test_cli import pnp

from pnp import priors
from pnp.benchmark import keys, report, run, solving, suite
from pnp.benchmark.suite import Cell, Data, Suite
from pnp.files import pictures
from pnp.parameters import rules
from pnp.priors import store
from pnp.progress import Doing, heard
from pnp.registry import DENOISERS, NOISES, OPERATORS, PRIORS, SOLVERS, STOPS, Registry, Spec, SpecError

Ran = tuple[Path, list[run.Row]]  # the folder of the results, and the rows

TINY = {
    "title": "Tiny",
    "crop": 32,
    "grey": True,
    "limit": 2,
    "sigmas": [5],
    "tasks": [
        {"name": "blur", "measure": "blur:std=1"},
        {"name": "inside", "measure": "blur:std=1,border=valid", "assume": "blur:std=1,border=valid"},
        {"name": "sensed", "measure": "sensing:kind=block,ratio=0.3,block=8", "sigma": 2},
    ],
    "methods": [
        {"name": "TV", "prior": "tv", "lam": 5, "iterations": 4},
        {"name": "TV, blind", "prior": "tv", "iterations": 3, "sigma": "estimated"},
    ],
    "published": [{"name": "Paper", "values": {"blur @ 5": [30.0, 31.0]}, "note": "recalled"}],
}  # fmt: skip


MINE = (
    'title = "Mine"\ncrop = 32\ngrey = true\nsigmas = [5]\ntasks = [{name = "blur", measure = "blur:std=1"}]\n'
    'methods = [{name = "TV", prior = "tv", lam = 5, iterations = 3}]\n'
)


@pytest.fixture(scope="module")
def tiny() -> Suite:
    return suite.parse(TINY, "tiny")


@pytest.fixture(scope="module")
def ran(tiny: Suite, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A suite run once, in a worker."""
    folder = tmp_path_factory.mktemp("bench")
    rows = run.run(tiny, Data.of(tiny, None), folder / "tiny.jsonl", pictures=folder / "pictures")
    return folder, rows


def test_a_run_tells_how_many_results_there_are_and_of_what(tiny: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")

    class Future:
        def release(self) -> None: ...

    class Client:
        def submit(self, *_: object, **__: object) -> Future:
            return Future()

        def cancel(self, futures: list[Future]) -> None: ...

    monkeypatch.setattr(run, "_client", lambda *_: nullcontext(Client()))
    monkeypatch.setattr(distributed, "as_completed", lambda futures, with_results: [(f, None) for f in futures])
    wanted = dict(enumerate(suite.cells(tiny, Data.of(tiny, None))))
    told: list[Doing] = []
    with heard(told.append):
        assert [key for key, _ in run._outcomes(wanted, 1, 1, None, keep=False)] == list(wanted)  # type: ignore[arg-type]
    results = [now for now in told if now.what == "result"]
    assert [(now.done, now.total) for now in results] == [(i + 1, len(wanted)) for i in wanted]
    cell = wanted[0]
    assert results[0].told() == f"{cell.method.name}, {cell.task.name} @ {cell.sigma:g}, {Path(cell.picture).stem}"


def test_a_worker_sends_back_its_machine_and_its_pictures(tiny: Suite) -> None:
    cell = next(suite.cells(tiny, Data.of(tiny, None)))
    outcome = solving.solve_cell(cell, threads=1, keep=True)
    assert outcome.machine["threads"] == 1 and outcome.machine["cpu"]
    assert set(outcome.pictures) == {"restored", "initial", "truth"}
    assert all(png.startswith(b"\x89PNG") for png in outcome.pictures.values())
    assert solving.solve_cell(cell, threads=1, keep=False).pictures == {}
    broken = replace(cell, method=replace(cell.method, prior="nothing"))
    assert "unknown prior" in solving.solve_cell(broken, threads=1, keep=True).columns["skipped"]


def test_a_worker_keeps_its_memory() -> None:
    with run._client(1, None) as client:
        (environment,) = client.run(lambda: dict(os.environ)).values()
    assert "MALLOC_TRIM_THRESHOLD_" not in environment and environment["OMP_NUM_THREADS"] == "1"


def test_every_shipped_suite_is_read_and_stands_for_cells() -> None:
    names = [path.stem for path in suite.shipped()]
    assert {"five-tasks", "deblurring", "borders", "super-resolution", "inpainting", "sensing", "mean-shift"} <= set(
        names
    )
    for name in names:
        found = suite.load(name)
        bundled = list(suite.cells(found, Data.of(found, None)))
        assert bundled and all("{data}" not in c.task.measure + str(c.task.assume) for c in bundled)
        assert all(("not built",) not in keys.parts(c) for c in bundled[:3])
        columns = {suite.column(task.name, *level) for task, *level in suite.levels(found)}
        assert all(set(paper.values) <= columns for paper in found.published), name


def test_a_suite_is_every_task_at_its_levels_with_every_method(tiny: Suite) -> None:
    cells = list(suite.cells(tiny, Data.of(tiny, None)))
    assert len(cells) == 2 * 3 * 2 and {c.sigma for c in cells if c.task.name == "sensed"} == {2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma": [5]}, "Did you mean 'sigmas'"),
        ({"methods": [{"name": "TV", "prio": "tv"}]}, "Did you mean 'prior'"),
        ({"methods": [{"name": "TV"}]}, "prior"),
        ({"methods": [{"name": "TV", "prior": "tv", "sigma": "known"}]}, "given"),
        ({"methods": [{"name": "TV", "prior": "tv"}] * 2}, "two methods of the same name"),
        ({"tasks": []}, "at least one task"),
        ({"tasks": [{"name": "a", "measure": "blur"}] * 2}, "two tasks of the same name"),
        ({"sigmas": "5"}, "sigmas = '5' is not a list of float"),
        ({"limit": "3"}, "limit = '3' is not an int"),
        ({"grey": 1}, "grey = 1 is not a bool"),
        ({"methods": [{"name": "TV", "prior": "tv", "iterations": 2.5}]}, "iterations = 2.5 is not an int"),
        ({"tasks": [{"name": "a", "measure": "blur", "pictures": "mine"}]}, "bundled"),
        ({"methods": [{"name": "TV", "prior": "tv", "denoiser": "tv"}]}, "either a prior or a denoiser"),
        ({"methods": [{"name": "TV", "denoiser": "tv", "lam": 5}]}, "takes no settings"),
        ({"methods": [{"name": "TV", "denoiser": "tv", "sigma": "estimated"}]}, "takes no settings"),
        ({"sigmas": [], "tasks": [{"name": "a", "measure": "blur"}]}, "for each task a sigma or a noise"),
        ({"noise": "poisson:gain=0.02"}, "a noise or sigma, not both"),
        ({"tasks": [{"name": "a", "measure": "blur", "sigma": 5, "noise": "poisson:gain=0.02"}]}, "not both"),
        (
            {"draw": "numpy", "tasks": [{"name": "a", "measure": "blur", "noise": "poisson:gain=0.02"}]},
            "is for Gaussian",
        ),
        ({"draw": "dice"}, "unknown tiny: draw"),
        ({"scores": ["mse"]}, "unknown tiny: scores"),
    ],
)
def test_a_suite_with_a_mistake_is_refused(change: dict, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        suite.parse({**TINY, **change}, "tiny")


def test_a_folder_without_the_suites_pictures_has_the_tasks_that_need_nothing_else(tmp_path: Path) -> None:
    pictures.write(tmp_path / "a.png", torch.rand(1, 1, 48, 48))
    for name in ("deblurring", "super-resolution", "mean-shift", "borders"):
        found = suite.load(name)
        cells = list(suite.cells(found, Data.of(found, tmp_path)))
        assert cells and all(str(tmp_path) not in c.task.measure for c in cells)
        assert {c.picture for c in cells} == {str(tmp_path / "a.png")}


def test_each_row_has_scores_or_says_why_not(tiny: Suite, ran: Ran) -> None:
    _, rows = ran
    assert len(rows) == 12
    for row in rows:
        if (row.method, row.task) == ("TV, blind", "sensed"):
            assert row.psnr is None and "Cannot estimate the noise" in str(row.skipped)
        else:
            assert row.skipped is None and row.psnr and row.psnr_initial and row.seconds and row.curve
            assert row.psnr == pytest.approx(row.curve[-1][2], abs=0.01) and row.iterations == row.curve[-1][0]
    better = [r for r in rows if r.method == "TV" and r.task == "blur"]
    assert all(r.psnr > r.psnr_initial + 0.5 for r in better)  # type: ignore[operator]


def test_a_second_run_runs_nothing_and_a_killed_one_goes_on(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    folder, rows = ran
    results = tmp_path / "tiny.jsonl"
    shutil.copy(folder / "tiny.jsonl", results)
    seen: list[str] = []
    again = run.run(tiny, Data.of(tiny, None), results, say=lambda done, total, row: seen.append(row.key))
    failed = {r.key for r in rows if r.skipped}
    assert set(seen) == failed and [r.key for r in again] == [r.key for r in rows]  # what failed is tried again
    seen.clear()
    renamed = replace(tiny, methods=tuple(replace(m, name=f"my {m.name}") for m in tiny.methods))
    assert {r.method for r in run.run(renamed, Data.of(tiny, None), results)} == {"my TV", "my TV, blind"}
    text = results.read_text()
    lines = text.splitlines(keepends=True)
    results.write_text("".join(lines[:-2]) + lines[-2][:40])  # killed in the middle of a line
    again = run.run(tiny, Data.of(tiny, None), results, say=lambda done, total, row: seen.append(row.key))
    assert len(seen) >= 2 and [r.key for r in again] == [r.key for r in rows]
    assert (
        sum(
            "machine" in json.loads(line) and "key" not in json.loads(line) for line in results.read_text().splitlines()
        )
        == 1
    )


def test_workers_of_a_scheduler_give_the_rows_of_a_local_one(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    from distributed import LocalCluster

    results = tmp_path / "tiny.jsonl"
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        rows = run.run(tiny, Data.of(tiny, None), results, threads=1, scheduler=cluster.scheduler_address)
    scores = [[(r.key, r.psnr or 0, r.ssim or 0) for r in found] for found in (rows, ran[1])]
    assert [key for key, *_ in scores[0]] == [key for key, *_ in scores[1]]
    for remote, local in zip(*scores, strict=True):
        assert remote[1:] == pytest.approx(local[1:], abs=2e-3)
    machines, _ = run.read(results)
    assert {machine["workers"] for machine in machines.values()} == {"remote"}


@pytest.fixture
def cell(tiny: Suite) -> Cell:
    """Total variation with a given weight on a blurred photograph."""
    return next(suite.cells(tiny, Data.of(tiny, None)))


def by(cell: Cell, prior: str, **changes: object) -> Cell:
    """The same cell with another method."""
    return replace(cell, method=replace(cell.method, prior=prior, **changes))


def test_a_key_is_of_the_inputs_and_not_of_their_names(cell: Cell, tmp_path: Path) -> None:
    others = [replace(cell, seed=1), replace(cell, sigma=6.0), replace(cell, picture="coffee"), replace(cell, crop=40),
              by(cell, "tv", lam=6.0), replace(cell, task=replace(cell.task, measure="blur:std=2")),
              by(cell, "red:sigma=5/255"), by(cell, "red:sigma=25/255")]  # fmt: skip
    assert len({keys.key(c) for c in (cell, *others)}) == len(others) + 1
    assert keys.key(replace(cell, suite="other", method=replace(cell.method, name="total"))) == keys.key(cell)
    for name in ("psf.npy", "my psf+1.npy"):
        found = {}
        for folder, side in (("a", 3), ("b", 3), ("c", 5)):
            (tmp_path / folder).mkdir(exist_ok=True)
            np.save(tmp_path / folder / name, np.full((side, side), 1 / side**2))
            task = replace(cell.task, measure=f"blur:kernel={tmp_path / folder / name}")
            found[folder] = keys.key(replace(cell, task=task))
        assert found["a"] == found["b"] != found["c"]  # what a file holds, not where it lies


def test_a_key_stays_as_it_is_when_code_moves(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The committed results hang on this; another value here is right only with a version that was raised."""
    assert keys.key(cell) == "81ac8ab445b51898"
    before = keys.key(by(cell, "trd"))
    for registry, name in ((PRIORS, "trd"), (DENOISERS, "trd"), (SOLVERS, "hqs"), (OPERATORS, "blur")):
        entry = registry[name]
        monkeypatch.setattr(entry.make, "__module__", "elsewhere")
        monkeypatch.setattr(entry.make, "__doc__", "Said in other words.")
    assert keys.key(by(cell, "trd")) == before


def raised(registry: Registry, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._entries, name, replace(registry[name], version=registry[name].version + 1))


@pytest.mark.parametrize(
    ("registry", "name", "changed"),
    [
        (OPERATORS, "blur", {"TV", "TV+", "unet", "red", "moreau", "dip", "asked"}),
        (OPERATORS, "mask", set()),
        (PRIORS, "tv", {"TV", "TV+", "moreau", "dip"}),
        (PRIORS, "wtv", {"TV+"}),
        (PRIORS, "moreau", {"moreau"}),
        (DENOISERS, "unet", {"unet", "asked"}),
        (DENOISERS, "trd", {"red"}),
        (DENOISERS, "tv", set()),
        (SOLVERS, "hqs", {"unet"}),
        (SOLVERS, "admm", {"TV", "moreau", "dip", "asked"}),
        (SOLVERS, "fista", set()),
        (STOPS, "wmv", set()),
        (STOPS, "discrepancy", {"dip"}),
    ],
)
def test_a_version_that_is_raised_changes_the_keys_of_what_uses_the_part_alone(
    cell: Cell, registry: Registry, name: str, changed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {
        "TV": cell,
        "TV+": by(cell, "tv+0.5*wtv"),
        "unet": by(cell, "unet", lam=None),
        "asked": by(cell, "unet", solver="admm", lam=None),
        "red": by(cell, "red:denoiser=trd.7", lam=None),
        "moreau": by(cell, "moreau:prior=tv", lam=None),
        "dip": by(cell, "dip+tv", lam=None),
    }
    before = {label: keys.key(c) for label, c in cells.items()}
    raised(registry, name, monkeypatch)
    assert {label for label, c in cells.items() if keys.key(c) != before[label]} == changed


@pytest.mark.parametrize(
    ("part", "changed"),
    [("core", {0, 1, 2, 3}), ("scores", {0, 1, 2, 3}), ("noise level", {1}), ("lam", {2})],
)
def test_the_noise_level_and_the_search_for_lam_count_only_where_they_run(
    cell: Cell, part: str, changed: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [cell, by(cell, "tv", sigma="estimated"), by(cell, "tv", lam=None), by(cell, "unet", lam=None)]
    before = [keys.key(c) for c in cells]
    monkeypatch.setitem(keys.NUMERICS, part, keys.NUMERICS[part] + 1)
    assert {i for i, c in enumerate(cells) if keys.key(c) != before[i]} == changed


def test_the_row_of_the_rules_that_a_cell_uses_is_in_its_key(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    network, table = by(cell, "unet", lam=None), rules.table()
    before = keys.key(network), keys.key(cell)
    for task, same in (("sensing", True), ("other", True), ("blur", False)):
        rows = {**table, ("denoiser", task): replace(table["denoiser", task], lam=77.0)}
        with monkeypatch.context() as patch:
            patch.setattr(rules, "table", lambda *_, rows=rows: rows)
            assert (keys.key(network) == before[0]) is same and keys.key(cell) == before[1]


def test_the_weights_for_the_pictures_channels_are_in_the_key(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    colour = replace(cell, picture="coffee", grey=False)
    cells = [by(c, spec) for c in (cell, colour) for spec in ("unet", "red", "red:denoiser=trd.7")]
    before = [keys.key(c) for c in cells]
    grey = priors.parse("unet").denoiser.network(1).net.record  # type: ignore[attr-defined]
    monkeypatch.setitem(grey, "sha256", "other")
    assert [keys.key(c) == b for c, b in zip(cells, before, strict=True)] == [False, False, True, True, True, True]
    (net, *_) = priors.parse("trd:size=7").denoiser.members.values()  # type: ignore[attr-defined]
    monkeypatch.setitem(store.record_of(net.net), "sha256", "other")
    assert [keys.key(c) == b for c, b in zip(cells, before, strict=True)] == [False, False, False, True, True, False]


@pytest.fixture
def mine() -> Iterator[None]:
    """A denoiser, and a prior with one, that do not come with the package."""

    def blank(strength: float = 0.5) -> object:
        return lambda x, sigma: strength * x

    def hazy(denoiser: Annotated[priors.Denoiser, DENOISERS] = DENOISERS.part("blank")) -> priors.Prior:  # noqa: B008
        return priors.PnP(denoiser)

    hazy.__annotations__ = {"denoiser": Annotated[priors.Denoiser, DENOISERS], "return": priors.Prior}

    DENOISERS.register("blank", version=3)(blank)
    PRIORS.register("hazy")(hazy)
    yield
    del DENOISERS._entries["blank"], PRIORS._entries["hazy"]


@pytest.mark.usefixtures("mine")
def test_a_member_from_elsewhere_has_a_version_too(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    found = by(cell, "hazy")
    assert {("prior", "hazy", 1), ("denoiser", "blank", 3)} <= set(keys.parts(found))
    before = keys.key(found), keys.key(by(found, "hazy:denoiser=nlm"))
    raised(DENOISERS, "blank", monkeypatch)
    assert keys.key(found) != before[0] and keys.key(by(found, "hazy:denoiser=nlm")) == before[1]


def test_a_published_measurement_is_taken_as_it_is(tmp_path: Path) -> None:
    from pnp.benchmark import solving

    for folder, value in (("truth", 0.5), ("noisy", 0.7)):
        (tmp_path / folder).mkdir()
        pictures.write(tmp_path / folder / "a.png", torch.full((1, 1, 32, 32), value))
    given = {"name": "noise", "measure": "identity", "given": "{data}/noisy", "pictures": "data"}
    found = suite.parse({**TINY, "crop": 0, "grey": False, "pictures": ["truth/*.png"], "tasks": [given],
                         "published": []}, "tiny")  # fmt: skip
    (cell, *_) = suite.cells(found, Data.of(found, tmp_path))
    y, truth, *_ = measured = solving._measured(cell, solving.picture(cell), tmp_path)
    job = solving._job(cell, solving.picture(cell), measured)
    assert not job.simulate and job.sigma == 5 / 255
    assert float(y.mean()) == pytest.approx(0.7, abs=0.01) and float(truth.mean()) == pytest.approx(0.5, abs=0.01)
    key = keys.key(cell)
    pictures.write(tmp_path / "noisy" / "a.png", torch.full((1, 1, 32, 32), 0.6))
    suite.picture_hash.cache_clear()
    told = replace(cell, task=replace(cell.task, given=None))
    assert len({key, keys.key(cell), keys.key(told)}) == 3
    with pytest.raises(SpecError, match="given pictures"):
        suite.parse({**TINY, "tasks": [given]}, "tiny")


def test_a_results_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"key": 1, "colour": 2}\n')
    with pytest.raises(ValueError, match="line 1 is not a row of results: columns colour, machine"):
        run.read(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"key": 1,\n{}\n')
    with pytest.raises(ValueError, match="line 1: not JSON"):
        run.read(tmp_path / "b.jsonl")


def test_tables_hold_the_means_and_the_published_rows(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    _, rows = ran
    mine = [r.psnr for r in rows if r.method == "TV" and r.task == "blur"]
    mean = sum(mine) / len(mine)  # type: ignore[arg-type]
    text = report.markdown(tiny, rows)
    assert f"| TV | {mean:.2f} |" in text and "| Paper, published (recalled) | 30.50 |" in text and "measured" in text
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- bench:tiny -->\nold\n<!-- /bench -->\nb\n")
    report.into_readme(readme, tiny.name, text)
    assert text in readme.read_text() and "old" not in readme.read_text()
    readme.write_text("nothing")
    with pytest.raises(ValueError, match="no place for the table"):
        report.into_readme(readme, tiny.name, text)
    assert readme.read_text() == "nothing"


def test_a_cell_that_lost_or_was_left_out_is_marked_and_a_footnote_says_why(tiny: Suite, ran: Ran) -> None:
    _, rows = ran
    (missing,) = report.footnotes(rows)
    assert missing.startswith("– did not run: ") and "Cannot estimate the noise" in missing
    assert report.markdown(tiny, rows).endswith(missing) and "↓" not in report.markdown(tiny, rows)
    assert report.marks(rows)["TV, blind", "sensed @ 2"] == "–"
    victim = next(r for r in rows if r.method == "TV" and r.task == "blur")  # one picture of two
    assert victim.psnr_initial is not None
    text = report.markdown(tiny, [replace(r, psnr=r.psnr_initial - 1.25) if r is victim else r for r in rows])  # type: ignore[operator]
    assert text.count("↓") == 2 and "↓ |" in next(line for line in text.splitlines() if line.startswith("| TV |"))
    assert "below the measured picture on at least one picture, by at most 1.25 dB (TV, blur @ 5)" in text


def test_the_page_is_whole_in_itself(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    folder, rows = ran
    page = report.html(
        replace(tiny, title="<b>Tiny</b>"), rows, run.read(folder / "tiny.jsonl")[0], folder / "pictures"
    )
    assert "&lt;b&gt;Tiny" in page and "<b>Tiny" not in page
    assert page.count("data:image/png;base64,") >= 3 + 3 * 2 and outside(page) == []
    assert page.count("<svg") == 2 * len({r.column for r in rows if r.curve}) > 0
    assert "Cannot estimate the noise" in page and "Paper, published" in page


SORT = """
  const table = document.querySelector("table.sortable"), button = table.tHead.querySelectorAll("button")[1];
  const column = () => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent.trim());
  const out = {columns: [column()], tags: []};
  button.click(); out.columns.push(column()); out.sorted = button.parentNode.ariaSort;
  button.click(); out.columns.push(column());
  button.focus(); out.focus = document.activeElement === button && button.tagName === "BUTTON";
  const tags = () => out.tags.push([...document.querySelectorAll(".tag")].map((tag) => tag.textContent));
  tags();
  document.querySelector(".set:not([hidden]) figure:last-child").click(); tags();
  out.tasks = document.querySelector(".tools select").options.length;
  out.strip = getComputedStyle(document.querySelector(".set")).display;
  return out;
"""


@needs_browser
def test_the_page_sorts_and_compares_in_a_browser(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    folder, rows = ran
    page = report.html(tiny, rows, run.read(folder / "tiny.jsonl")[0], folder / "pictures")
    found, console = opened(page, tmp_path, SORT)
    before, up, down = found["columns"]
    numbers = sorted(float(cell) for cell in before if cell)
    assert len(numbers) > 2 and [float(cell) for cell in up if cell] == numbers != [float(c) for c in before if c]
    assert [float(cell) for cell in down if cell] == numbers[::-1] and found["sorted"] == "ascending" and found["focus"]
    assert all(cell == "" for cell in up[len(numbers):] + down[len(numbers):])
    (left, right), (same, last) = found["tags"]
    assert left == same and left.startswith("measured") and last == "truth" != right
    assert found["tasks"] == 3 and found["strip"] == "flex"
    assert found["width"] == 360 >= found["wide"] and found["loaded"] == [] and console == []


def test_the_command_runs_a_suite_and_refuses_what_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(MINE)
    assert pnp("bench", "mine.toml", "--limit", "1", "--report", "page.html") == 0
    assert "TV" in capsys.readouterr().out and "data:image" in (tmp_path / "page.html").read_text()
    assert len((tmp_path / "pnp-bench" / "mine.jsonl").read_text().splitlines()) == 2
    assert pnp("bench", "deblurrin") == 2
    assert "Did you mean 'deblurring'" in capsys.readouterr().err
    assert pnp("bench", "suites") == 0 and "Compressive sensing" in capsys.readouterr().out
    assert pnp("bench", "mine.toml", "--data", "nowhere") == 2
    Path("README.md").write_text("<!-- bench:mine -->\n<!-- /bench -->")
    assert pnp("bench", "mine.toml", "--limit", "1", "--readme", "README.md") == 2
    Path("README.md").write_text("nothing")
    assert pnp("bench", "mine.toml", "--readme", "README.md", "--results", "fresh") == 2
    assert "no place for the table" in capsys.readouterr().err and not Path("fresh").exists()  # before the run


def line_of(row: run.Row) -> bytes:
    return json.dumps(run._compact(row), ensure_ascii=False).encode() + b"\n"


MACHINE = {"id": "0", "machine": {"cpu": "one"}}
ROW = run.Row("a" * 16, "tiny", "17×17", 5.0, "TV, naïve\u2028\u0085", "wörld", 0, "0", 20.0, 25.0)


def test_a_file_that_was_cut_anywhere_goes_on(tmp_path: Path) -> None:
    results, next_row = tmp_path / "tiny.jsonl", replace(ROW, key="c" * 16)
    for key in ("a", "b"):
        run._append(results, MACHINE, replace(ROW, key=key * 16))
    whole = results.read_bytes()
    assert whole.count(b"\n") == 3 and [row.method for row in run.read(results)[1]] == [ROW.method] * 2
    for cut in range(len(whole) + 1):
        results.write_bytes(whole[:cut])
        machines, before = run.read(results)
        run._append(results, MACHINE, next_row)
        assert run.read(results) == ({"0": MACHINE["machine"]}, [*before, next_row]), cut
        kept = whole[:cut].count(b"\n") + (whole[cut - 1 : cut] == b"}" and whole[cut : cut + 1] == b"\n")
        assert len(before) == max(0, kept - 1) and len(machines) == min(1, kept)


def test_an_append_leaves_what_is_there_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between opening and writing must find every row: nothing but the broken end is ever cut off."""
    results = tmp_path / "tiny.jsonl"
    run._append(results, MACHINE, ROW)
    whole, inode = results.read_bytes(), results.stat().st_ino
    results.write_bytes(whole + line_of(ROW)[:40])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "_compact", killed)
        with pytest.raises(KeyboardInterrupt):
            run._append(results, MACHINE, ROW)
    assert results.read_bytes() == whole and results.stat().st_ino == inode


APPENDING = """
import sys
from dataclasses import replace
from pathlib import Path
from pnp.benchmark import run
results, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
row = run.Row("", "tiny", "blur", 5.0, "TV", "camera", 0, name, 20.0, 25.0)
for i in range(count):
    run._append(results, {"id": name, "machine": {"cpu": name}}, replace(row, key=f"{name}{i}"))
"""


def test_two_processes_on_one_file_lose_nothing(tmp_path: Path) -> None:
    results, names, count = tmp_path / "tiny.jsonl", ("one", "two"), 100
    both = [subprocess.Popen([sys.executable, "-c", APPENDING, results, name, str(count)]) for name in names]
    while any(process.poll() is None for process in both):  # this one replaces the file meanwhile, as --prune does
        time.sleep(0.001)
        if results.is_file():
            with run._locked(results) as file:
                (tmp_path / "part").write_bytes(file.read())
                os.replace(tmp_path / "part", results)
    assert [process.returncode for process in both] == [0, 0]
    machines, rows = run.read(results)
    assert {row.key for row in rows} == {f"{name}{i}" for name in names for i in range(count)}
    assert set(machines) == set(names) and len(results.read_bytes().splitlines()) == 2 * count + 2


def test_pruning_drops_what_no_cell_reaches_and_nothing_else(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    folder, rows = ran
    data, results = Data.of(tiny, None), tmp_path / "tiny.jsonl"
    shutil.copy(folder / "tiny.jsonl", results)
    own = sorted(results.read_bytes().splitlines())
    away = replace(rows[0], key="f" * 16, picture="not here")
    (described,) = (line for line in own if b'"key"' not in line)
    for machine, row in ((MACHINE, replace(rows[0], key="e" * 16, machine="0")), (json.loads(described), away)):
        run._append(results, machine, row)
    run._append(results, MACHINE, rows[0])  # once more: the newest counts
    assert len(results.read_bytes().splitlines()) == len(own) + 4
    assert run.prune(tiny, data, results) == run.Pruned(kept=13, elsewhere=1, rows=2, machines=1)
    assert sorted(results.read_bytes().splitlines()) == sorted([*own, line_of(away).strip()])
    other = replace(tiny, methods=tuple(replace(m, iterations=9) for m in tiny.methods))
    before = results.read_bytes()
    with pytest.raises(ValueError, match=r"has no result of suite tiny with these pictures\.  Give the --data"):
        run.prune(other, data, results)
    assert results.read_bytes() == before


def test_a_table_of_a_run_is_the_table_of_its_file(tiny: Suite, ran: Ran) -> None:
    folder, rows = ran
    there = {row.key: row for row in run.read(folder / "tiny.jsonl")[1]}
    assert [there[row.key] for row in rows] == rows


def test_verifying_finds_a_result_that_is_another_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def here(missing: dict[str, Cell], *_: object, **__: object) -> Iterator[tuple[str, solving.Outcome]]:
        yield from ((key, solving.solve_cell(cell, 1, False)) for key, cell in missing.items())

    monkeypatch.setattr(run, "_outcomes", here)  # in this process: what a worker adds has its own tests
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(MINE)
    assert pnp("bench", "mine.toml", "--verify", "1") == 2
    assert "has no result of suite mine" in capsys.readouterr().err and not Path("pnp-bench").exists()
    assert pnp("bench", "mine.toml") == 0
    results = Path("pnp-bench", "mine.jsonl")
    before = results.read_bytes()
    capsys.readouterr()
    assert pnp("bench", "mine.toml", "--verify", "2") == 0 and results.read_bytes() == before
    assert "2 results run again, 0 differ" in capsys.readouterr().out
    row = run.read(results)[1][0]
    assert row.psnr is not None
    results.write_bytes(before.replace(f'"psnr": {row.psnr}'.encode(), f'"psnr": {row.psnr + 0.02:.3f}'.encode()))
    assert pnp("bench", "mine.toml", "--verify", "9") == 1
    said = capsys.readouterr().out
    assert f"TV, blur @ 5, {row.picture}: {row.psnr + 0.02:.3f} dB" in said and "3 results run again, 1 differ" in said
    assert run.differs(row, replace(row, skipped="why"))
    assert pnp("bench", "mine.toml", "--prune") == 0
    assert "dropped 0 rows and 0 machines; 3 rows stay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('prior = "tv"', 'prior = "red:denoiser=nothing"', "method 'TV': unknown denoiser 'nothing'"),
        ('prior = "tv"', 'prior = "tv", solver = "nothing"', "method 'TV': unknown solver 'nothing'"),
        ('prior = "tv"', 'prior = "trd:size=9"', "method 'TV': trd:size=9,stages=5,noise=gaussian is not shipped"),
        ('measure = "blur:std=1"', 'measure = "blurr"', "task 'blur': unknown operator 'blurr'"),
        ("blur:std=1", "blur:stdev=1", "unknown option of operator 'blur': 'stdev'"),
        ('"blur:std=1"', '"blur", pictures = "data", assume = "blurr"', "task 'blur': unknown operator 'blurr'"),
        ('"blur:std=1"', '"blur:std=1", assume = "blur:stdev=1"', "unknown option of operator 'blur': 'stdev'"),
        (
            '"blur:std=1"',
            '"blur:std=1", noise = "poisson:gian=1"',
            "task 'blur': unknown option of noise 'poisson': 'gian'",
        ),
        ('prior = "tv", lam = 5, iterations = 3', 'denoiser = "nothing"', "method 'TV': unknown denoiser 'nothing'"),
    ],
)
def test_a_suite_that_names_what_does_not_exist_is_refused_before_it_runs(
    old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(MINE.replace(old, new))
    assert pnp("bench", "mine.toml") == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1 and not Path("pnp-bench").exists()


def test_a_worker_has_one_thread_unless_more_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, threads in ((None, 1), ("", 1), ("3", 3), ("2,1", 2), ("0", 1), ("many", 1)):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if value is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert run._threads() == threads


DENOISING = {
    "title": "Denoising",
    "crop": 48,
    "limit": 2,
    "sigmas": [25],
    "draw": "numpy",
    "rounded": True,
    "scores": ["psnr", "ssim"],
    "tasks": [{"name": "noise", "measure": "identity"}],
    "methods": [{"name": "TV", "denoiser": "tv"}, {"name": "trd", "denoiser": "trd"}],
    "grey": True,
}  # fmt: skip


@pytest.fixture
def denoising() -> list[Cell]:
    found = suite.parse(DENOISING, "denoising")
    return list(suite.cells(found, Data.of(found, None)))


def test_the_noise_of_numpy_is_that_of_the_published_tables(denoising: list[Cell]) -> None:
    x = torch.rand(1, 3, 5, 7)
    np.random.seed(0)
    expected = x[0].permute(1, 2, 0).numpy() + np.random.normal(0, 25 / 255, (5, 7, 3))
    drawn = solving._drawn(denoising[0], x)[0].permute(1, 2, 0)
    torch.testing.assert_close(drawn, torch.from_numpy(expected).float())
    assert float(solving._drawn(replace(denoising[0], sigma=255.0), x).min()) < 0  # nothing is clipped


def test_a_denoiser_is_called_once_at_the_told_level_and_its_result_rounded(denoising: list[Cell]) -> None:
    for cell in denoising:
        x, sigma = solving.picture(cell), cell.sigma / 255
        d = DENOISERS.build(str(cell.method.denoiser), shape=(1, 48, 48))
        rounded = (255 * d(solving._drawn(cell, x), sigma).clamp(0, 1)).round() / 255
        found = solving.solve_cell(cell, 1, keep=False).columns
        assert found["psnr"] == pytest.approx(-10 * float((rounded - x).square().mean().log10()), abs=1e-4)
        as_floats = solving.solve_cell(replace(cell, rounded=False), 1, keep=False).columns
        assert abs(as_floats["psnr"] - found["psnr"]) > 1e-5
        assert found["psnr"] > found["psnr_initial"] + 3 and found["sigma_used"] == pytest.approx(sigma)
        assert found["parameters"] == {"TV": None, "trd": 31335}[cell.method.name]


def test_the_key_of_a_denoiser_has_its_version_its_weights_and_the_protocol(
    denoising: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    tv, trd = denoising[:2]
    before = keys.key(tv), keys.key(trd)
    others = [replace(tv, draw="torch"), replace(tv, rounded=False), by(tv, "tv", denoiser=None), trd]
    assert len({before[0], *map(keys.key, others)}) == 5
    assert any(part[0] == "weights" for part in keys.parts(trd))
    raised(DENOISERS, "trd", monkeypatch)
    assert (keys.key(tv) == before[0], keys.key(trd) == before[1]) == (True, False)


def test_a_row_of_a_set_stands_for_its_pictures_and_for_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(missing: dict[str, Cell], *_: object, **__: object) -> Iterator[tuple[str, solving.Outcome]]:
        yield from ((key, solving.solve_cell(cell, 1, False)) for key, cell in missing.items())

    monkeypatch.setattr(run, "_outcomes", here)
    (tmp_path / "set").mkdir()
    for name in "ab":
        x = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(ord(name)))
        pictures.write(tmp_path / "set" / f"{name}.png", x.repeat_interleave(8, 2).repeat_interleave(8, 3))
    wanted = suite.parse({**DENOISING, "pictures": ["set/*.png"]}, "denoising")
    data, single, results = Data.of(wanted, tmp_path), tmp_path / "single.jsonl", tmp_path / "denoising.jsonl"
    rows = [row for row in run.run(wanted, data, single) if row.method == "TV"]
    psnr, ssim = (round(sum(getattr(r, score) for r in rows) / 2, 4) for score in ("psnr", "ssim"))
    whole = replace(rows[0], key=keys.key_of_set(r.key for r in rows), psnr=psnr, ssim=ssim, pictures=2, picture="set")
    run._append(results, MACHINE, whole)
    ran: list[run.Row] = []
    found = run.run(wanted, data, results, say=lambda done, total, row: ran.append(row))
    assert {row.method for row in ran} == {"trd"} and [r for r in found if r.method == "TV"] == [whole]
    text = report.markdown(wanted, found)
    assert f"| TV | {psnr:.2f} | {ssim:.4f} |" in text and "SSIM, noise @ 25" in text and "| 31 k |" in text
    assert all(not run.differs(row, now) for row, now in run.verify(wanted, data, results, 3))
    run._append(results, MACHINE, replace(whole, psnr=psnr + 0.02))
    assert [row.picture for row, now in run.verify(wanted, data, results, 3) if run.differs(row, now)] == ["set"]
    assert run.prune(wanted, data, results).kept == 3
    one = replace(wanted, limit=1)
    assert {r.pictures for r in run.run(one, Data.of(one, tmp_path), results)} == {None}
    other = replace(wanted, sigmas=(30,))
    run.run(other, data, results)
    assert whole.key not in {r.key for r in run.run(other, data, results)}
    run.prune(other, data, results)
    assert whole.key not in {r.key for r in run.read(results)[1]}


def test_the_row_of_a_set_stands_until_each_of_its_pictures_has_one(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for name in "ab":
        x = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(ord(name)))
        pictures.write(tmp_path / "set" / f"{name}.png", x)
    wanted = suite.parse({**DENOISING, "pictures": ["set/*.png"]}, "denoising")
    data = Data.of(wanted, tmp_path)
    one, two = (key for key, (cell,) in run._wanted(wanted, data, ()) if cell.method.name == "TV")
    whole = keys.key_of_set((one, two))
    for have, stands in (({whole}, True), ({whole, one}, True), ({whole, one, two}, False), ({one}, False)):
        assert (whole in {key for key, _ in run._wanted(wanted, data, have)}) is stands


def test_a_task_may_have_any_noise(tiny: Suite) -> None:
    tasks = [
        {"name": "dim", "measure": "identity", "noise": "poisson:gain=0.02"},
        {"name": "grain", "measure": "identity"},
    ]
    methods = [
        {"name": "D", "denoiser": "tv"},
        {"name": "TV", "prior": "tv", "lam": 5, "sigma": "estimated", "iterations": 3},
    ]
    parts = {**TINY, "published": [], "tasks": tasks, "methods": methods, "limit": 1}
    cells = list(suite.cells(suite.parse(parts, "mine"), Data(None, ("camera",))))
    assert [(c.noise, c.sigma) for c in cells] == [("poisson:gain=0.02", 0)] * 2 + [(None, 5)] * 2
    x = solving.picture(cells[0])
    expected = NOISES.build("poisson:gain=0.02").draw(x, torch.Generator().manual_seed(0))
    torch.testing.assert_close(solving._drawn(cells[0], x), expected)
    outcomes = [solving.solve_cell(c, 1, keep=False).columns for c in cells[:2]]
    assert all(o["psnr"] > 10 for o in outcomes)
    assert outcomes[0]["sigma_used"] == pytest.approx((0.02 * float(expected.mean())) ** 0.5, rel=1e-3)
    assert outcomes[0]["psnr_initial"] == pytest.approx(
        -10 * float((expected.clamp(0, 1) - x).square().mean().log10()), abs=1e-3
    )
    assert outcomes[1]["psnr_initial"] == pytest.approx(outcomes[0]["psnr_initial"], abs=1e-3)
    assert ("noise", "poisson", 1) in keys.parts(cells[0]) and ("noise", "gaussian", 1) in keys.parts(cells[2])
    assert len({keys.key(c) for c in [*cells, replace(cells[0], noise="poisson:gain=0.01")]}) == 5
    common = suite.parse({**parts, "sigmas": [], "noise": "saltpepper:fraction=0.1", "tasks": tasks[1:]}, "mine")
    assert [suite.column(t.name, *level) for t, *level in suite.levels(common)] == ["grain @ saltpepper:fraction=0.1"]


def test_a_place_with_commas_is_quoted_and_is_not_in_the_key(tmp_path: Path) -> None:
    found = {}
    for place in ("a", "b, c+d (1)"):
        folder = tmp_path / place
        folder.mkdir()
        np.save(folder / "psf.npy", np.full((3, 3), 1 / 9))
        pictures.write(folder / "x.png", torch.full((1, 1, 32, 32), 0.5))
        (folder / "mine.py").write_text("from pnp.priors import TV\n\n\nclass Mine(TV):\n    pass\n")
        task = {"name": "blur", "measure": "blur:kernel={data}/psf.npy,border=circular", "pictures": "data"}
        wanted = suite.parse({**TINY, "pictures": ["x.png"], "tasks": [task], "published": []}, "mine")
        cell = next(suite.cells(wanted, Data.of(wanted, folder)))
        assert tuple(OPERATORS.build(cell.task.measure, shape=(1, 32, 32)).kernel.shape[-2:]) == (3, 3)
        own = str(Spec(f"{folder / 'mine.py'}:Mine"))
        found[place] = keys.key(cell), keys.key(by(cell, own))
        assert ("not built",) not in keys.parts(cell) + keys.parts(by(cell, own))
    assert found["a"] == found["b, c+d (1)"]
