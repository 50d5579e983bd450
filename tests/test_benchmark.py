"""Suites, their runner and their report."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import pnp

from pnp.benchmark import report, run, solving, suite, version
from pnp.benchmark.suite import Data, Suite
from pnp.files import pictures
from pnp.registry import SpecError

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


@pytest.fixture(scope="module")
def tiny() -> Suite:
    return suite.parse(TINY, "tiny")


@pytest.fixture(scope="module")
def ran(tiny: Suite, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A suite run once, in a worker."""
    folder = tmp_path_factory.mktemp("bench")
    rows = run.run(tiny, Data.of(tiny, None), folder / "tiny.jsonl", pictures=folder / "pictures")
    return folder, rows


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
        assert all(version.code_version(c) for c in bundled[:3])
        columns = {report.column(task.name, sigma) for task, sigma in suite.levels(found)}
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
        ({"sigmas": "5"}, "sigmas = '5' is no list of float"),
        ({"limit": "3"}, "limit = '3' is no int"),
        ({"grey": 1}, "grey = 1 is no bool"),
        ({"methods": [{"name": "TV", "prior": "tv", "iterations": 2.5}]}, "iterations = 2.5 is no int"),
        ({"tasks": [{"name": "a", "measure": "blur", "pictures": "mine"}]}, "bundled"),
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
            assert row.psnr is None and "cannot be estimated" in str(row.skipped)
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


def test_what_a_result_depends_on_is_in_its_key(
    tiny: Suite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cell = next(suite.cells(tiny, Data.of(tiny, None)))
    key = cell.key(version.code_version(cell))
    method = replace(cell.method, lam=6)
    others = [replace(cell, seed=1), replace(cell, sigma=6.0), replace(cell, picture="coffee"), replace(cell, crop=40),
              replace(cell, method=method), replace(cell, task=replace(cell.task, measure="blur:std=2"))]  # fmt: skip
    assert len({key, *(c.key(version.code_version(c)) for c in others)}) == len(others) + 1
    renamed = replace(cell, suite="other", method=replace(cell.method, name="total variation"))
    assert renamed.key(version.code_version(renamed)) == key
    for kernel in (tmp_path / "psf.npy", tmp_path / "my psf+1.npy"):
        keys = set()
        for side in (3, 5):
            np.save(kernel, np.full((side, side), 1 / side**2))
            filed = replace(cell, task=replace(cell.task, measure=f"blur:kernel={kernel}"))
            keys.add(filed.key(version.code_version(filed)))
        assert len(keys) == 2  # what a file holds, not only where it lies
    network = replace(cell, method=replace(cell.method, prior="unet"))
    before = version.code_version(network), version.code_version(cell)
    from pnp.parameters import rules
    from pnp.priors import store

    table = rules.table()
    for task, same in (("sensing", True), ("blur", False), ("other", False)):
        rows = {**table, ("denoiser", task): replace(table["denoiser", task], lam=77.0)}
        with monkeypatch.context() as patch:
            patch.setattr(rules, "table", lambda rows=rows: rows)
            assert (version.code_version(network) == before[0]) is same and version.code_version(cell) == before[1]
    inside = replace(cell, method=replace(cell.method, prior="red:denoiser=trd.7"))
    trained = version.code_version(inside)
    records = {k: {**r, "sha256": "other"} if k.startswith("trd-7x7") else r for k, r in store.manifest().items()}
    with monkeypatch.context() as patch:
        patch.setattr(store, "manifest", lambda: records)
        assert version.code_version(inside) != trained and version.code_version(network) == before[0]
    records = {k: {**r, "sha256": "other"} for k, r in store.manifest().items()}
    monkeypatch.setattr(store, "manifest", lambda: records)
    assert version.code_version(network) != before[0] and version.code_version(cell) == before[1]


def test_a_published_measurement_is_taken_as_it_is(tmp_path: Path) -> None:
    from pnp.benchmark import solving

    for folder, value in (("truth", 0.5), ("noisy", 0.7)):
        (tmp_path / folder).mkdir()
        pictures.write(tmp_path / folder / "a.png", torch.full((1, 1, 32, 32), value))
    given = {"name": "noise", "measure": "identity", "given": "{data}/noisy", "pictures": "data"}
    found = suite.parse({**TINY, "crop": 0, "grey": False, "pictures": ["truth/*.png"], "tasks": [given],
                         "published": []}, "tiny")  # fmt: skip
    (cell, *_) = suite.cells(found, Data.of(found, tmp_path))
    job, y, truth = solving._measured(cell, solving.picture(cell))
    assert y is not None and truth is not None and not job.simulate and job.sigma == 5 / 255
    assert float(y.mean()) == pytest.approx(0.7, abs=0.01) and float(truth.mean()) == pytest.approx(0.5, abs=0.01)
    key = cell.key("")
    pictures.write(tmp_path / "noisy" / "a.png", torch.full((1, 1, 32, 32), 0.6))
    suite.picture_hash.cache_clear()
    assert cell.key("") != key and cell.key("") != replace(cell, task=replace(cell.task, given=None)).key("")
    with pytest.raises(SpecError, match="given pictures"):
        suite.parse({**TINY, "tasks": [given]}, "tiny")


def test_a_results_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"key": 1, "colour": 2}\n')
    with pytest.raises(ValueError, match="line 1 is no row of results: columns colour, machine"):
        run.read(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_text('{"key": 1,\n{}\n')
    with pytest.raises(ValueError, match="line 1: no JSON"):
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
    assert any("cannot be estimated" in line for line in report.skipped(rows))
    worse = [replace(r, psnr=1.0) for r in rows if r.psnr]
    assert any("below the measured picture" in line for line in report.skipped(worse))


def test_the_page_is_whole_in_itself(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    folder, rows = ran
    page = report.html(
        replace(tiny, title="<b>Tiny</b>"), rows, run.read(folder / "tiny.jsonl")[0], folder / "pictures"
    )
    assert "&lt;b&gt;Tiny" in page and "<b>Tiny" not in page
    assert page.count("data:image/png;base64,") >= 3 + 3 * 3 and "http" not in page.replace("http-equiv", "")
    assert "cannot be estimated" in page and "Paper, published" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine")
def test_the_page_opens_in_a_browser(tiny: Suite, ran: Ran, tmp_path: Path) -> None:
    folder, rows = ran
    page = tmp_path / "page.html"
    page.write_text(report.html(tiny, rows, run.read(folder / "tiny.jsonl")[0], folder / "pictures"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "<h1>Tiny</h1>" in dom and dom.count("<tr>") > 12


def test_the_command_runs_a_suite_and_refuses_what_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(
        'title = "Mine"\ncrop = 32\ngrey = true\nsigmas = [5]\ntasks = [{name = "blur", measure = "blur:std=1"}]\n'
        'methods = [{name = "TV", prior = "tv", lam = 5, iterations = 3}]\n'
    )
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


def test_source_is_followed_through_its_imports() -> None:
    assert "pnp.solvers.fixed_point" in version._imports("pnp.solvers.anderson")
    behind = {"pnp.parameters.weight", "pnp.parameters.rules", "pnp.core.loop", "pnp.noises.level"}
    assert behind <= version._imports("pnp.jobs.restore")
    assert "pnp.core.certificate" in version._imports("pnp.core.loop")
    assert "pnp.priors.nets.trd" in version._imports("pnp.priors.nets")
    assert "pnp.priors.nets" in version._imports("pnp.priors.store")  # imported where it is needed


def test_how_sigma_is_estimated_counts_only_where_it_is(tiny: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    told = next(suite.cells(tiny, Data.of(tiny, None)))
    estimated = replace(told, method=replace(told.method, sigma="estimated"))
    before, code = [version.code_version(c) for c in (told, estimated)], version._code
    other = ast.parse("FLOOR = 77")
    monkeypatch.setattr(version, "_code", lambda name: other if name == "pnp.noises.level" else code(name))
    version._source_hash.cache_clear()
    try:
        assert [version.code_version(c) == b for c, b in zip((told, estimated), before, strict=True)] == [True, False]
    finally:
        version._source_hash.cache_clear()


def test_comments_and_docstrings_are_no_code() -> None:
    text = Path(version.__file__).read_text()
    code = ast.unparse(version._code("pnp.benchmark.version"))
    assert "_source_hash" in code and "Hash of the code of these modules" in text
    assert "Hash of the code of these modules" not in code
