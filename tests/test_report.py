"""The page that people open: what it shows, that it is safe and whole, and that it moves in a browser."""

from __future__ import annotations

import json
import re
from html import escape, unescape
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import tifffile
import torch
from browser import needs_browser, opened, outside
from PIL import Image
from test_cli import pnp

from pnp.files import pictures as files
from pnp.html import notebook, pictures
from pnp.html.curves import Axis, Line, svg
from pnp.jobs import page, report

EVIL = """a <b onclick=x>&amp; "q' {{ 7*7 }}.png"""  # a name that a person may give to a file
FAST = ["--prior", "tv", "--lam", "5", "--iterations", "3"]


def noisy(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A ramp with a square and noise, 8 bits."""
    x = np.linspace(40, 200, width)[None] * np.ones((height, 1))
    x[8:20, 10:30] = 90
    return np.clip(x + np.random.default_rng(seed).normal(0, 12, x.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noisy(40, 56)).save(EVIL)
    Image.fromarray(noisy(40, 56, seed=1)).save("truth.png")
    return tmp_path


def restored(*more: str, name: str = EVIL) -> Path:
    """A noisy picture restored; the folder of its report."""
    assert pnp("solve", name, "--op", "identity", *FAST, *more) == 0
    return Path(f"{Path(name).stem}-restored-report")


def text(found: Path) -> str:
    return (found / page.NAME).read_text("utf-8")


def test_a_solve_writes_a_page_of_all_that_its_record_says(folder: Path) -> None:
    found = restored("--truth", "truth.png")
    made, record = text(found), json.loads((found / report.NAME).read_text())
    report.check(found)
    assert page.NAME in record["files"]
    shown = unescape(re.sub(r"<[^>]+>", " ", made))
    for wanted in (record["verdict"][0], record["theory"], record["noise"], record["lam"]["source"],
                   record["solver"]["source"], f"{record['metrics']['psnr'][0]:.2f} dB", record["python"]):  # fmt: skip
        assert wanted in shown
    assert f"{record['residual_over_noise'][0]:.2f} × noise" in shown and "pnp solve" in shown
    assert made.count("<svg") == len(record["history"]) - 1 == 3  # change, residual, PSNR
    names = re.findall(r"<figcaption>(.*?)</figcaption>", made)
    assert [name.split(",")[0] for name in names[:3]] == ["measured", "restored", "truth"]
    assert record["said"] and all(line in shown for line in record["said"])


def test_a_page_escapes_what_comes_from_files_and_loads_nothing(folder: Path) -> None:
    made = text(restored())
    assert "<b onclick" not in made and escape(EVIL) in made.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert "{{ 7*7 }}" in made  # is text, not a template
    assert "default-src 'none'" in made and outside(made) == []
    assert outside(made.replace("data:image/png", "http://elsewhere", 1))  # planted
    assert outside(made.replace("<main>", "<main><img src=x.png>")) == [("img", "x.png")]
    assert outside(made.replace("<style>", "<style>b { background: url(x.png) }")) == [("style", "x.png)")]


def test_notes_of_a_run_are_on_its_page(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Image.fromarray(noisy(40, 56)).save("old.gif")
    found = restored(name="old.gif")
    record = json.loads((found / report.NAME).read_text())
    np.save("deep.npy", noisy(40, 56).astype(np.float64) / 255)
    assert pnp("solve", "deep.npy", "--op", "identity", *FAST, "-o", "o/deep.png") == 0
    deep = json.loads(Path("o/deep-report", report.NAME).read_text())
    (note,) = deep["notes"]
    assert "does not hold float64" in note and escape(note) in text(Path("o/deep-report"))
    assert f"note: {note}" in capsys.readouterr().err and record["notes"] == []
    copies = ["one.npy", "two.npy"]
    for copy in copies:
        np.save(copy, noisy(40, 56).astype(np.float64) * 9)  # far from 0..1 by its own range: one note for all
    assert pnp("solve", *copies, "--op", "identity", "--range", "0..9", *FAST, "--prior", "unet") == 0
    said = capsys.readouterr().err.count("note: ")
    each = [json.loads(Path(f"{Path(copy).stem}-restored-report", report.NAME).read_text())["notes"] for copy in copies]
    assert said == 1 and len(each[0]) == len(each[1]) == 1 and each[0] == each[1]


def test_a_page_is_made_again_as_it_was(folder: Path, capsys: pytest.CaptureFixture) -> None:
    found = restored("--truth", "truth.png")
    first = text(found)
    capsys.readouterr()
    (found / page.NAME).write_text("lost")
    with pytest.raises(files.PictureError, match=r"report\.html is not the one"):
        report.check(found)
    for named in (str(found / report.NAME), str(found)):
        assert pnp("report", named) == 0
        assert text(found) == first
        (found / page.NAME).unlink()
    assert pnp("report", str(found)) == 0 and not capsys.readouterr().err
    report.check(found)  # the record has the new fingerprint


@pytest.mark.parametrize("gone", ["input", "truth"])
def test_a_page_made_again_says_what_has_moved(folder: Path, capsys: pytest.CaptureFixture, gone: str) -> None:
    found = restored("--truth", "truth.png")
    Path({"input": EVIL, "truth": "truth.png"}[gone]).rename("elsewhere.png")
    capsys.readouterr()
    assert pnp("report", str(found)) == 0
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1 and "The page is without it." in said.err
    names = [name.split(",")[0] for name in re.findall(r"<figcaption>(.*?)</figcaption>", text(found))]
    assert names[:2] == {"input": ["restored", "truth"], "truth": ["measured", "restored"]}[gone]
    assert "The page is without it." in text(found)
    next(Path.cwd().glob("*-restored.png")).unlink()
    assert pnp("report", str(found)) == 2 and pnp("report", "nowhere") == 2


def test_a_simulation_is_made_again_with_its_truth(folder: Path) -> None:
    assert pnp("solve", "truth.png", "--simulate", "--op", "blur:std=1", *FAST, "-o", "o/r.png") == 0
    first = text(Path("o/r-report"))
    assert pnp("report", "o") == 0
    assert text(Path("o/r-report")) == first and first.count("dB</figcaption>") == 2 and "truth</figcaption>" in first


def test_many_pictures_have_a_sheet_that_leads_to_their_pages(folder: Path) -> None:
    Path('bad <i>"x".png').write_text("not a picture")
    assert pnp("solve", EVIL, "truth.png", 'bad <i>"x".png', "--op", "identity", *FAST, "-o", "out") == 2
    sheet = Path("out", page.SHEET)
    made = sheet.read_text("utf-8")
    links = [unquote(unescape(link)) for link in re.findall(r'<a href="(.*?)"', made)]
    assert len(links) == 2 and all((sheet.parent / link).is_file() for link in links)
    assert "<i>" not in made and "&lt;i&gt;" in made and "is not a PNG" in made and "2 of 3 pictures" in made
    assert made.count('class="score">residual') == 2 and {tag for tag, _ in outside(made)} == {"a"}
    sheet.unlink()
    assert pnp("report", "out") == 0 and sheet.read_text("utf-8").count("<a href") == 2


SCRIPTS = {
    "png": ["a.png", "--op", "identity", *FAST],
    "range": ["dim.tif", "--op", "blur:std=1", "--range", "100..500", *FAST],
    "truth": ["a.png", "--op", "identity", "--truth", "truth.png", *FAST],
    "jpeg": ["a.jpg", "--op", "blur:std=1", "--light", "linear", "--no-guard", *FAST],
    "painted": ["a.png", "--op", "identity", "--mask", "outliers", "--sigma", "0.05", "--seed", "3", *FAST],
    "simulated": ["truth.png", "--simulate", "--op", "downsample:factor=2", "--noise", "poisson:gain=0.01", *FAST],
    "sensed": ["y.npy", "--op", "sensing:ratio=0.5", "--size", "16x16", "--sigma", "0.01", *FAST],
    "movie": ["movie.tif", "--op", "identity", "--recursive", "--prior", "dip", "--iterations", "2"],
    "bundled": ["--op", "identity", "--prior", "tv", "--lam", "5", "--iterations", "1"],
}


@pytest.mark.parametrize("case", SCRIPTS)
def test_the_python_lines_of_a_record_make_the_same_picture(folder: Path, case: str) -> None:
    Image.fromarray(noisy(40, 56)).save("a.png")
    Image.fromarray(noisy(40, 56)).convert("RGB").save("a.jpg")
    tifffile.imwrite("dim.tif", (100 + noisy(40, 56).astype(np.uint16)))
    tifffile.imwrite("movie.tif", np.stack([noisy(24, 32), noisy(24, 32, 1)]))
    np.save("y.npy", np.random.default_rng(0).normal(0, 1, 128).astype(np.float32))
    ending = Path(SCRIPTS[case][0]).suffix if case != "bundled" else ".png"
    output = Path("out", f"r{ending if case != 'sensed' else '.png'}")
    assert pnp("solve", *SCRIPTS[case], "-o", str(output)) == 0
    record = json.loads(Path("out/r-report", report.NAME).read_text())
    assert record["command"][1:3] == ["solve", SCRIPTS[case][0]]
    assert "device=" not in record["python"] and ("each_page" in record["python"]) is (case == "movie")
    assert ("measured, enlarged" in Path("out/r-report/report.html").read_text()) is (case == "simulated")
    before = output.read_bytes()
    output.unlink()
    exec(compile(record["python"], "again.py", "exec"), {})
    assert output.read_bytes() == before
    if case == "painted":  # planted: another seed or level is another picture
        exec(compile(record["python"].replace("sigma=0.05", "sigma=0.2"), "again.py", "exec"), {})
        assert output.read_bytes() != before


def test_a_page_stays_small_and_says_so() -> None:
    job = {"operator": "o", "prior": "p", "mask": None, "noise": None, "stop": None, "tol": 1e-4, "simulate": False}
    record = {
        "command": ["pnp"], "input": "x", "output": "y", "truth": None, "job": job,
        "solver": {"name": "S"}, "light": {"value": "srgb", "source": ""}, "history": {},
        "noise": "white", "sigma": {"value": 0.1, "source": ""}, "lam": {"value": 1.0, "source": ""},
        "shape": {"image": [40, 3, 900, 1300]}, "status": ["limit"] * 40, "reason": ["r"] * 40, "iterations": [1] * 40,
        "chosen": [1] * 40, "verdict": ["v"] * 40, "theory": "t", "seconds": {"solve": 1.0, "total": 1.0},
    }  # fmt: skip
    x = torch.rand(1, 3, 900, 1300)
    stack = page.page(record, page.Pictures(x.expand(40, -1, -1, -1), x.expand(40, -1, -1, -1)))
    assert 2.5e6 < len(stack) < 6e6 and "8 of 40 pages are shown" in stack and "are reduced to" in stack
    assert stack.count('class="set"') == page.PAGES and 'data-name="page 40"' in stack
    small = page.page(record, page.Pictures(torch.rand(1, 1, 60, 80)))
    assert "JPEG of high quality" not in small and "data:image/png" in small


def test_a_picture_fits_its_budget_and_keeps_its_shape() -> None:
    x = torch.rand(3, 400, 800)
    found = pictures.shown("x", x, budget=30_000)
    assert len(found.uri) * 3 / 4 <= 30_100 and found.width == pytest.approx(2 * found.height, abs=1)
    assert found.scale == pytest.approx(found.width / 800) and found.scale < 1 and not found.exact
    exact = pictures.shown("x", x[:, :20, :30])
    assert exact.exact and (exact.width, exact.height) == (30, 20) and exact.uri.startswith("data:image/png")
    holes = torch.full((1, 8, 8), torch.nan)
    assert pictures.png(holes) == pictures.png(torch.zeros(1, 8, 8))


def test_curves_go_through_their_points() -> None:
    made = str(svg([Line("a<b", [1, 2, 3], [1.0, float("nan"), 3.0])], Axis("x"), Axis("y & z"), 'to "read"'))
    points = [tuple(map(float, p.split(","))) for p in re.findall(r'points="(.*?)"', made)[0].split()]
    assert len(points) == 2 and points[0][0] < points[1][0] and points[0][1] > points[1][1]  # up is less
    assert "a&lt;b" in made and "y &amp; z" in made and 'aria-label="to &#34;read&#34;"' in made
    ticks = {float(t): float(y) for y, t in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', made)}
    low, high = min(ticks), max(ticks)
    slope = (ticks[high] - ticks[low]) / (high - low)
    for y, value in zip((points[0][1], points[1][1]), (1.0, 3.0), strict=True):
        assert y == pytest.approx(ticks[low] - 4 + slope * (value - low), abs=0.2)  # text stands 4 below its line
    log = str(svg([Line("a", [1, 10, 100], [0.1, 0.0, 10])], Axis("x", log=True), Axis("y", log=True), ""))
    assert len(re.findall(r'points="(.*?)"', log)[0].split()) == 2  # 0 has no logarithm
    assert svg([Line("a", [], [])], Axis("x"), Axis("y"), "") == ""
    gap = str(svg([Line("a", [], []), Line("b", [1, 2], [1, 2])], Axis(""), Axis(""), ""))
    assert 'class="c1"' in gap and 'class="c0"' not in gap  # b has its colour wherever a is not there
    many = str(svg([Line("a", range(5000), range(5000))], Axis(""), Axis(""), ""))
    assert len(re.findall(r'points="(.*?)"', many)[0].split()) < 500


def test_what_a_notebook_shows_is_escaped_and_small() -> None:
    shown = notebook.panels({"a <b>": torch.rand(2, 1, 900, 700)}, {"verdict": "<script>", "empty": ""})
    assert "<script>" not in shown and "<b>" not in shown and "empty" not in shown
    assert shown.count("<img alt='a &lt;b&gt;'") == 2 and len(shown) < 400_000
    assert "<img" not in notebook.panels({"five channels": torch.rand(1, 5, 8, 8)}, {})


DRIVE = """
  const [handle, stage] = [".handle", ".stage"].map((s) => document.querySelector(s));
  const out = {now: [], shown: getComputedStyle(document.querySelector(".set")).display};
  const now = () => out.now.push(Number(handle.getAttribute("aria-valuenow")));
  const key = (on, name) =>
    on.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true, cancelable: true}));
  const point = (on, kind, part, id = 1, type = "mouse") => {
    const box = stage.getBoundingClientRect();
    on.dispatchEvent(new PointerEvent(kind, {pointerId: id, pointerType: type, bubbles: true, button: 0,
      clientX: box.left + part * box.width, clientY: box.top + box.height / 2}));
  };
  const clip = () => document.querySelectorAll(".layer")[1].style.clipPath;
  const move = () => document.querySelector(".layer img").style.transform;
  now();
  key(handle, "ArrowRight"); now();
  key(handle, "Home"); now();
  point(handle, "pointerdown", 0.0); point(handle, "pointermove", 0.25); point(handle, "pointerup", 0.25); now();
  out.clip = clip();
  point(stage, "pointerdown", 0.5, 2, "touch"); point(stage, "pointermove", 0.8, 2, "touch");
  point(stage, "pointerup", 0.8, 2, "touch"); now();
  point(stage, "pointermove", 0.1); now();  // no finger is down
  out.fit = move();
  key(stage, "+"); out.zoomed = move();
  point(stage, "pointerdown", 0.5); point(stage, "pointermove", 0.45); point(stage, "pointerup", 0.45); now();
  out.panned = move();
  key(stage, "0"); out.again = move();
  document.querySelectorAll(".group button")[1].click();
  out.filter = document.querySelector(".pair").style.filter;
  out.blend = getComputedStyle(document.querySelectorAll(".layer")[1]).mixBlendMode;
  out.tag = document.querySelector(".tag").textContent;
  out.unnamed = [...document.querySelectorAll("img:not([alt])")].length;
  out.label = handle.getAttribute("aria-label");
  return out;
"""


@needs_browser
def test_the_slider_moves_by_mouse_finger_and_keys(folder: Path) -> None:
    found, console = opened(text(restored("--truth", "truth.png")), folder, DRIVE)
    assert found["now"] == [50, 52, 0, 25, 80, 80, 80] and found["clip"] == "inset(0px 0px 0px 25%)"
    assert found["zoomed"] != found["fit"] == found["again"] and found["panned"] != found["zoomed"]
    assert found["filter"] == "brightness(8)" and found["blend"] == "difference" and "× 8" in found["tag"]
    assert found["shown"] == "none" and found["unnamed"] == 0 and "measured" in found["label"]
    assert found["width"] == 360 >= found["wide"] and found["loaded"] == [] and console == []


@needs_browser
def test_a_page_with_a_fault_is_noticed(folder: Path) -> None:
    """A picture from elsewhere, a script that fails, and a line that is too wide."""
    bad = "<main><img src='https://example.org/x.png'><script>nothing()</script><p style='width:500px'>x</p>"
    found, console = opened(text(restored()).replace("<main>", bad), folder)
    assert found["wide"] > 360
    assert any("Content Security Policy" in line for line in console) and any("nothing" in line for line in console)


@needs_browser
def test_stacks_and_sheets_fit_a_narrow_screen(folder: Path) -> None:
    tifffile.imwrite("stack.tif", np.stack([noisy(24, 200), noisy(24, 200, 1)]))
    stack = text(restored(name="stack.tif"))
    script = """
      const set = document.querySelector(".tools select");
      const before = document.querySelector(".layer img").src;
      set.selectedIndex = 1;
      set.dispatchEvent(new Event("change"));
      return {names: [...set.options].map((o) => o.text), other: document.querySelector(".layer img").src !== before};
    """
    found, console = opened(stack, folder, script)
    assert found["names"] == ["page 1", "page 2"] and found["other"]
    assert found["width"] == 360 >= found["wide"] and console == []
    assert pnp("solve", EVIL, "truth.png", "--op", "identity", *FAST, "-o", "out") == 0
    found, console = opened(Path("out", page.SHEET).read_text("utf-8"), folder)
    assert found["width"] == 360 >= found["wide"] and console == []
