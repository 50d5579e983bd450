"""The command as a user meets it: what it writes, what it refuses, and that it never shows a traceback."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_files import write_all
from skimage.data import astronaut

from pnp import cli
from pnp import priors as priors
from pnp import solvers as solvers
from pnp.cli import catalogue
from pnp.files import pictures
from pnp.noises import gaussian as gaussian  # they fill the registries
from pnp.operators import ValidBlur, kernels
from pnp.registry import NOISES, OPERATORS, PRIORS, SOLVERS
from pnp.samples import photograph

FAST = ["--iterations", "3"]
ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
COMMAND = r"(?:^|`)pnp ((?:solve|show|cite|list|check|doctor|report) [^`\n#]+)"  # in a block or backticks
FOUND = [c.strip() for page in PAGES for c in re.findall(COMMAND, page.read_text("utf-8"), re.M)]
LEFT_OUT = ("estimate", "kernel.npy", "run/")  # minutes, and what other commands have written
COMMANDS = [c for c in dict.fromkeys(FOUND) if not any(part in c for part in LEFT_OUT)]
BLUR = "blur:std=1.6"
OTHERS = ("deepinv", "text")  # tested elsewhere; text takes no operator
EVERY_PRIOR = [*(e.examples[0] for name, e in PRIORS.items() if name not in OTHERS), "tv+0.5*haar"]
assert all(map(len, (OPERATORS, PRIORS, SOLVERS, NOISES, COMMANDS)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clean picture, its valid blur with noise, the kernel, a mask and a picture with holes."""
    monkeypatch.chdir(tmp_path)
    clean = photograph("astronaut")[..., 110:182, 190:270]
    kernel = kernels.motion(5, 30)
    np.save("psf.npy", kernel.numpy())
    Image.fromarray((kernel / kernel.max() * 255).round().byte().numpy()).save("psf.png")
    y = ValidBlur(kernel)(clean)
    y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(1, 1, *clean.shape[-2:], generator=torch.Generator().manual_seed(1)) > 0.3).float()
    pictures.write("clean.png", clean)
    pictures.write("photo.png", y)
    pictures.write("mask.png", mask)
    pictures.write("holes.png", clean * mask)
    return tmp_path


def pnp(*arguments: str) -> int:
    """Run the command in this process; its exit code."""
    before, sys.argv = sys.argv, ["pnp", *arguments]
    try:
        cli.main()
    except SystemExit as leave:
        return int(leave.code or 0)
    finally:
        sys.argv = before
    return 0


def record(path: str = "photo-restored-report") -> dict:
    return json.loads((Path(path) / "result.json").read_text())


def test_a_bundled_photograph_is_degraded_restored_and_scored(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert pnp("solve", "--op", "blur", "--prior", "tv", "--lam", "10", "--iterations", "12") == 0
    scores = record("pnp-out")["metrics"]
    assert scores["psnr"][0] > scores["psnr_initial"][0] + 2
    assert {p.name for p in Path("pnp-out").iterdir()} == {
        "restored.png", "degraded.png", "residual.png", "report.html", "result.json", "figure.png",
    }  # fmt: skip
    assert pictures.read("pnp-out/restored.png").pixels.shape == (1, 1, 512, 512)
    assert "solver: admm" in capsys.readouterr().err
    history = record("pnp-out")["history"]
    assert {"change", "residual", "psnr", "seconds"} <= history.keys() and len(history["change"]) == 12
    assert history["psnr"][-1] == pytest.approx(scores["psnr"], abs=1e-3)


@pytest.mark.parametrize(
    "command",
    [
        "solve --op blur:std=1 --prior tv --lam 10 --iterations 2",
        "solve clean.png --simulate --op identity --noise poisson:gain=0.01 --prior tv --lam 10 --iterations 2",
        "solve photo.png --op identity --prior unet --sigma 0.05",
        "list noises",
        "show poisson",
    ],
)
def test_a_command_imports_what_it_needs(folder: Path, command: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pnp", *command.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the guides, small."""
    folder = tmp_path_factory.mktemp("samples")
    write_all(folder, quick=True)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_readme_and_guides_run(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)
    few = ["--iterations", "2"] if arguments[0] == "solve" else []
    if arguments[0] in ("check", "report"):
        assert pnp("solve", "noisy.png", "--op", "identity", "--prior", "unet") == 0
        shutil.copytree("noisy-restored-report", "out/noisy-restored-report")
        shutil.copy("noisy-restored.png", "out")
    if "--resume" in arguments:
        assert pnp(*(a for a in arguments if a != "--resume"), *few) == 0
    assert pnp(*arguments, *few) == 0


def test_the_prior_is_unet_where_none_is_named(folder: Path) -> None:
    assert pnp("solve", "photo.png", "--op", "identity", *FAST) == 0
    assert record()["job"]["prior"] == "unet"


def test_the_record_says_that_the_objective_never_rose(folder: Path) -> None:
    arguments = ("--op", "blur:std=1", "--prior", "dae:form=gradient-step", "--iterations", "4")
    assert pnp("solve", "clean.png", "--simulate", *arguments, "--report", "r") == 0
    certificate = record("r")["objective"]
    assert certificate["first"] > certificate["last"] and certificate["rise"] == [0.0]


def test_a_measured_picture_is_not_degraded_and_its_borders_are_unknown(folder: Path) -> None:
    assert pnp("solve", "photo.png", "--op", "blur:kernel=psf.npy", "--prior", "tv", "--truth", "clean.png") == 0
    done = record()
    assert pictures.read("photo-restored.png").pixels.shape == pictures.read("photo.png").pixels.shape
    assert done["metrics"]["psnr"][0] > done["metrics"]["psnr_initial"][0] + 2
    assert done["shape"]["measurement"] == done["shape"]["image"]  # cut to what the camera saw
    assert done["sigma"]["source"] == "estimated" and abs(done["sigma"]["value"] / 0.01 - 1) < 0.3
    assert done["lam"]["source"].startswith("discrepancy") and abs(done["residual_over_noise"][0] - 0.97) < 0.03


def test_the_record_repeats_the_run(folder: Path) -> None:
    arguments = ["solve", "clean.png", "--simulate", "--op", "mask:keep=0.6", "--prior", "tv", "--seed", "3", *FAST]
    assert pnp(*arguments, "--report", "a") == 0
    job = record("a")["job"]
    again = ["solve", "clean.png", "--simulate", "--op", job["operator"], "--prior", job["prior"]]
    numbers = ["--seed", str(job["seed"]), "--iterations", str(job["iterations"])]
    assert pnp(*again, *numbers, "--report", "b") == 0
    assert Path("a/clean-restored.png").read_bytes() == Path("b/clean-restored.png").read_bytes()
    assert {"pnp", "torch", "python", "threads"} <= record("a")["environment"].keys()


@pytest.mark.parametrize(
    "op", ["blur:std=1", "downsample:factor=3", "sensing:kind=structured,ratio=0.5", "identity", "mask:kind=block"]
)
@pytest.mark.parametrize("prior", EVERY_PRIOR)
def test_operators_and_priors_run_in_every_pair(folder: Path, op: str, prior: str) -> None:
    settings = ("--op", op, "--prior", prior, "--lam", "5", *FAST, "--report", "out")
    assert pnp("solve", "clean.png", "--simulate", *settings) == 0
    assert pictures.read("out/clean-restored.png").pixels.shape == pictures.read("clean.png").pixels.shape


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_every_solver_is_reached(folder: Path, solver: str) -> None:
    built = SOLVERS.build(solver)
    prior = "tv" if "prox" in built.needs or solver in ("chambolle-pock", "condat-vu") else "tikhonov"
    op, prior = (BLUR, prior) if built.needs_operator else ("unknown", "text")
    assert pnp("solve", "photo.png", "--op", op, "--prior", prior, "--solver", solver, "--lam", "5", *FAST) == 0
    assert record()["solver"]["name"] == type(SOLVERS.build(solver)).__name__


@pytest.mark.parametrize("prior", ["tv", "nlm", "red:denoiser=nlm", "dae:denoiser=nlm"])
def test_each_page_has_its_own_noise_level_where_that_is_asked(folder: Path, prior: str) -> None:
    pages = pictures.read("clean.png").pixels[:, :1].repeat(2, 1, 1, 1)
    noise = torch.randn(pages.shape, generator=torch.Generator().manual_seed(0))
    pictures.write("pages.tif", pages + torch.tensor([0.02, 0.08]).view(2, 1, 1, 1) * noise)
    solve = ("solve", "pages.tif", "--op", "identity", "--prior", prior, "--iterations", "2")
    assert pnp(*solve) == 0
    assert 0.02 < record("pages-restored-report")["sigma"]["value"] < 0.08  # one for the stack
    assert pnp(*solve, "--each-page") == 0
    found = record("pages-restored-report")
    assert found["sigma"]["value"] == pytest.approx([0.02, 0.08], rel=0.3) and len(found["status"]) == 2
    assert pictures.read("pages-restored.tif").pixels.shape == pages.shape


def test_a_small_picture_grows_and_keeps_its_alpha(folder: Path) -> None:
    rgba = np.dstack([astronaut()[:40, :44], np.full((40, 44), 200, np.uint8)])
    Image.fromarray(rgba).save("small.png")
    assert pnp("solve", "small.png", "--op", "downsample:factor=2", "--prior", "tv", "--lam", "5", *FAST) == 0
    with Image.open("small-restored.png") as restored:
        assert restored.size == (88, 80) and restored.mode == "RGBA"


def test_a_compressive_measurement_needs_the_size_of_its_image(folder: Path, capsys: pytest.CaptureFixture) -> None:
    x = pictures.read("clean.png").pixels[:, :1, :64, :64]
    y = OPERATORS.build("sensing:ratio=0.5", shape=(1, 64, 64), seed=0)(x)
    np.save("y.npy", y.flatten().numpy())
    spec = ["--op", "sensing:ratio=0.5", "--prior", "tv", "--sigma", "0.001", "--lam", "100", "-o", "x.png"]
    assert pnp("solve", "y.npy", *spec, "--size", "64x64") == 0
    assert float((pictures.read("x.png").pixels - x).square().mean()) < 2e-3
    assert pnp("solve", "y.npy", *spec) == 2


def test_many_inputs_go_on_after_a_bad_one(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("in").mkdir()
    for name in ("a.png", "b.png"):
        (Path("in") / name).write_bytes(Path("photo.png").read_bytes())
    (Path("in") / "bad.png").write_bytes(Path("photo.png").read_bytes()[:500])
    assert pnp("solve", "--input", "in", "--op", BLUR, "--prior", "tv", "--lam", "5", *FAST, "-o", "out") == 2
    assert {p.name for p in Path("out").glob("*.png")} == {"a-restored.png", "b-restored.png"}
    said = capsys.readouterr()
    assert "2 of 3 pictures restored" in said.out and "bad.png: error:" in said.err


def test_equal_names_get_reports_of_their_own_and_results_are_no_inputs(folder: Path) -> None:
    Path("in").mkdir()
    for name in ("a.png", "a.tif", "b.png"):
        pictures.write(f"in/{name}", pictures.read("photo.png").pixels[..., :40, :40])
    arguments = ("solve", "--input", "in", "--op", "identity", "--prior", "tv", "--lam", "5", *FAST)
    assert pnp(*arguments) == 0
    first = {p.name for p in Path("in").iterdir()}
    assert {"a-restored.png-report", "a-restored.tif-report", "b-restored-report"} <= first
    assert pnp(*arguments) == 0
    assert {p.name for p in Path("in").iterdir()} == first


def test_block_sensing_is_not_taken_for_a_picture(folder: Path) -> None:
    arguments = ("--op", "sensing:kind=block,ratio=0.3", "--prior", "tv", "--lam", "20")
    assert pnp("solve", "clean.png", "--simulate", *arguments, *FAST) == 0
    assert record("clean-restored-report")["sigma"] == {"value": 0.01, "source": "simulated"}
    assert record("clean-restored-report")["solver"]["iterations"] == 3


def test_ctrl_c_keeps_the_last_iterate_and_ends_the_whole_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from pnp.priors import TV

    calls = []

    def interrupted(self: TV, v: torch.Tensor, tau: float) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.8 * v

    monkeypatch.setattr(TV, "prox", interrupted)
    monkeypatch.setattr(TV, "begin", lambda self, x0: self)
    assert pnp("solve", "photo.png", "holes.png", "--op", "identity", "--prior", "tv", "--lam", "5", "-o", "out") == 130
    assert record("out/photo-restored-report")["status"] == ["interrupted"] and len(calls) == 3
    assert not Path("out/holes-restored.png").exists()


def test_ctrl_c_before_the_first_step_is_over_leaves_the_first_guess(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from pnp.priors import TV

    def interrupted(self: TV, v: torch.Tensor, tau: float) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(TV, "prox", interrupted)
    assert pnp("solve", "photo.png", "--op", "identity", "--prior", "tv", "--lam", "5") == 130
    assert record()["status"] == ["interrupted"] and record()["iterations"] == [0]
    assert "error" not in capsys.readouterr().err and Path("photo-restored-report/figure.png").exists()


BAD = {
    "unknown operator": (["photo.png", "--op", "blurr", "--prior", "tv"], "Did you mean 'blur'"),
    "unknown prior": (["photo.png", "--op", BLUR, "--prior", "tvv"], "Did you mean 'tv'"),
    "unknown solver": (["photo.png", "--op", BLUR, "--prior", "tv", "--solver", "adm"], "Did you mean 'admm'"),
    "unknown option": (["photo.png", "--op", "blur:kernell=x", "--prior", "tv"], "Did you mean 'kernel'"),
    "wrong value": (["photo.png", "--op", "blur:std=abc", "--prior", "tv"], "expected a number"),
    "no kernel file": (["photo.png", "--op", "blur:kernel=no.png", "--prior", "tv"], "does not exist"),
    "kernel too large": (["photo.png", "--op", "blur:std=30", "--prior", "tv"], "larger than the picture"),
    "NaN pixels": (["nan.npy", "--op", BLUR, "--prior", "tv"], "NaN"),
    "empty mask": (["holes.png", "--op", "mask:file=black.png", "--prior", "tv"], "every pixel is missing"),
    "mask of another size": (["holes.png", "--op", "mask:file=psf.png", "--prior", "tv"], "needs one of"),
    "sigma 0": (["photo.png", "--op", BLUR, "--prior", "tv", "--sigma", "0"], "not above 0"),
    "sigma in 8 bits": (["photo.png", "--op", BLUR, "--prior", "tv", "--sigma", "10"], "10/255"),
    "lam below 0": (["photo.png", "--op", BLUR, "--prior", "tv", "--lam", "-1"], "not above 0"),
    "truncated": (["cut.png", "--op", BLUR, "--prior", "tv"], "truncated"),
    "missing": (["no.png", "--op", BLUR, "--prior", "tv"], "no.png"),
    "overwriting": (["photo.png", "--op", BLUR, "--prior", "tv", "-o", "photo.png"], "overwrite the input"),
    "unwritable": (["photo.png", "--op", BLUR, "--prior", "tv", "-o", "/proc/no/x.png"], "cannot write"),
    "unfit solver": (["photo.png", "--op", BLUR, "--prior", "tv", "--solver", "gd"], "Solvers that fit: admm"),
    "truth of another size": (["photo.png", "--op", BLUR, "--prior", "tv", "--truth", "psf.png"], "the truth has"),
    "noise of no size": (["photo.png", "--op", BLUR, "--prior", "tv", "--noise", "poisson:gain=0"], "gain is 0"),
    "overwriting the mask": (["holes.png", "--op", "mask:file=mask.png", "--prior", "tv", "-o", "mask.png"], "overwri"),
    "overwriting the truth": (
        ["photo.png", "--op", BLUR, "--prior", "tv", "--truth", "clean.png", "-o", "clean.png"],
        "overwrite",
    ),
    "no mask": (["holes.png", "--op", "mask", "--prior", "tv"], "mask:file="),
    "unknown format": (["photo.png", "--op", BLUR, "--prior", "tv", "-o", "new/x.xyz"], "xyz"),
    "pages into one picture": (["pages.tif", "--op", "identity", "--prior", "tv", "-o", "new/x.png"], "holds one"),
    "tol NaN": (["photo.png", "--op", BLUR, "--prior", "tv", "--tol", "nan"], "not above 0"),
    "angle NaN": (["photo.png", "--op", "blur:kernel=motion,length=5,angle=nan", "--prior", "tv"], "expected degrees"),
    "size of a picture": (["photo.png", "--op", BLUR, "--prior", "tv", "--size", "9x9"], "compressive"),
    "too many levels": (["photo.png", "--op", BLUR, "--prior", "haar:levels=30"], "1 to 10"),
    "patch below 0": (["photo.png", "--op", BLUR, "--prior", "nlm:patch=-1"], "above 0"),
    "diverging": (["photo.png", "--op", BLUR, "--prior", "tv", "--solver", "pgd:tau=1", "--lam", "9"], "diverged"),
    "no operator": (["photo.png", "--prior", "tv"], "--op"),
    "an input that would be overwritten": (
        ["photo.png", "photo-restored.png", "--op", BLUR, "--prior", "tv"],
        "photo-restored.png is an input",
    ),
    "a file of the report": (
        ["photo.png", "--op", BLUR, "--prior", "tv", "-o", "new/figure.png", "--report", "new"],
        "a file of the report",
    ),
    "a picture in place of a row": (["photo.png", "--op", "sensing", "--prior", "tv"], "--size HxW"),
    "two moving variances": (["photo.png", "--op", BLUR, "--prior", "dip", "--stop", "wmv+emv"], "one moving"),
    "unknown stop rule": (["photo.png", "--op", BLUR, "--prior", "tv", "--stop", "wmvv"], "Did you mean 'wmv'"),
    "seconds NaN": (["photo.png", "--op", BLUR, "--prior", "tv", "--seconds", "nan"], "not above 0"),
    "an empty name": (["", "--op", BLUR, "--prior", "tv"], "the name of a picture is empty"),
    "seed too large": (["photo.png", "--op", BLUR, "--prior", "tv", "--seed", "9" * 30], "seed is 999"),
    "a file that ends itself": (["photo.png", "--op", "./ends.py:Mine", "--prior", "tv"], "ends.py cannot be run"),
    "nothing to go on from": (["photo.png", "--op", BLUR, "--prior", "tv", "--resume"], "there is no checkpoint"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    folder: Path, capsys: pytest.CaptureFixture, case: str
) -> None:
    np.save("nan.npy", np.full((40, 40), np.nan))
    pictures.write("black.png", torch.zeros(1, 1, 72, 80))
    pictures.write("pages.tif", torch.rand(2, 1, 72, 80))
    Path("photo-restored.png").write_bytes(Path("photo.png").read_bytes())
    Path("cut.png").write_bytes(Path("photo.png").read_bytes()[:900])
    Path("ends.py").write_text("raise SystemExit(7)")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    arguments, says = BAD[case]
    assert pnp("solve", *arguments) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(error) == 1 and says in error[0] and "Traceback" not in error[0]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize("name", ["flat.png", "party 🎉.png"])
def test_what_the_figure_cannot_draw_is_no_note(folder: Path, capsys: pytest.CaptureFixture, name: str) -> None:
    pictures.write(name, torch.full((1, 1, 40, 40), 0.5) if name == "flat.png" else pictures.read("photo.png").pixels)
    assert pnp("solve", name, "--op", "identity", "--prior", "tv", "--sigma", "0.1", "--lam", "1", *FAST) == 0
    assert "note" not in capsys.readouterr().err


def test_a_picture_in_other_units_is_noted_but_for_convex_priors(folder: Path, capsys: pytest.CaptureFixture) -> None:
    photo = pictures.read("photo.png").pixels[0].numpy()
    np.save("one.npy", photo)
    np.save("255.npy", 255 * photo)
    cases = (("one", "nlm", "0..1", False), ("255", "nlm", "0..1", True), ("255", "tv", "0..1", False))
    for name, prior, span, noted in (*cases, ("255", "nlm", "auto", False)):
        asked = ("--op", "identity", "--prior", prior, "--range", span, "--iterations", "2")
        assert pnp("solve", f"{name}.npy", *asked) == 0
        assert ("divide it by its white" in capsys.readouterr().err) is noted


def test_an_earlier_result_is_no_input_unless_it_is_named(folder: Path, capsys: pytest.CaptureFixture) -> None:
    fast = ("--op", "identity", "--prior", "tv", "--lam", "5", "--iterations", "2")
    Path("in").mkdir()
    pictures.write("in/a.png", pictures.read("photo.png").pixels)
    for _ in range(2):  # the second time with the results of the first
        assert pnp("solve", "in/*.png", *fast) == 0
        assert sorted(path.name for path in Path("in").glob("*.png")) == ["a-restored.png", "a.png"]
    for named in (("in/a.png", "in/a-restored.png"), ("./in/a.png", "./in/a-restored.png")):
        assert pnp("solve", *named, *fast) == 2
        assert pnp("solve", *named, *fast, "-o", "out") == 0


def test_without_a_picture_everything_goes_beside_the_output(folder: Path) -> None:
    fast = ("solve", "--op", "identity", "--prior", "tv", "--lam", "5", "--iterations", "1")
    assert pnp(*fast, "-o", "x.png") == 0 and pnp(*fast, "-o", "folder") == 0
    assert Path("x.png").is_file() and Path("x-report/result.json").is_file()
    assert Path("folder/restored.png").is_file() and Path("folder/result.json").is_file()


def test_debug_shows_the_traceback(folder: Path) -> None:
    with pytest.raises(ValueError, match="larger than the picture"):
        pnp("solve", "photo.png", "--op", "blur:std=30", "--prior", "tv", "--debug")


def test_list_names_every_member(capsys: pytest.CaptureFixture) -> None:
    assert pnp("list") == 0
    said = capsys.readouterr().out
    names = [name for registry in (OPERATORS, PRIORS, SOLVERS, NOISES) for name in registry]
    assert names and all(name in said for name in names)


@pytest.mark.parametrize("name", [*OPERATORS, *PRIORS, *SOLVERS, *NOISES])
def test_show_tells_options_and_examples(name: str, capsys: pytest.CaptureFixture) -> None:
    assert pnp("show", name) == 0
    said = capsys.readouterr().out
    assert "options: " in said and "examples: " in said


@pytest.mark.parametrize("spec", ["blur:kernel=motion", "downsample", "mask", "sensing:kind=structured", "identity"])
def test_show_draws_an_operator(folder: Path, spec: str) -> None:
    assert pnp("show", spec, "-o", "op.png") == 0
    assert pictures.read("op.png").pixels.std() > 0.1


def test_show_tells_the_record_of_a_network_and_draws_it(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert pnp("show", "unet", "-o", "unet.pdf") == 0
    text = capsys.readouterr().out
    assert "parameters: 4,166,720" in text and "receptive field" in text and "sha256" in text
    assert Path("unet.pdf").read_bytes().startswith(b"%PDF")
    assert pnp("show", "unet", "-o", "unet.tif") == 2 and not Path("unet.tif").exists()
    assert pnp("show", "admm", "-o", "admm.png") == 2


def test_show_takes_the_options_of_any_member_of_the_name(capsys: pytest.CaptureFixture) -> None:
    assert pnp("show", "tv:isotropic=false") == 0 and pnp("show", "unet:turns=false") == 0  # priors and denoisers
    assert pnp("show", "haar:level=3") == 2
    said = capsys.readouterr()
    assert "Did you mean 'levels'" in said.err and "haar" not in said.out


def test_cite_gives_bibtex_of_each_part(capsys: pytest.CaptureFixture) -> None:
    assert pnp("cite", "--noise", "poisson:gain=0.1") == 0 and "anscombe1948" in capsys.readouterr().out
    assert pnp("cite", "--op", "blur", "--prior", "tv+0.5*haar", "--solver", "admm") == 0
    said = capsys.readouterr().out
    assert all(f"{{{key}," in said for key in ("pnp", "zhao2016", "rudin1992", "donoho1995", "boyd2011"))
    assert pnp("cite", "--op", "sensing", "--prior", "dip+red:denoiser=trd.7", "--stop", "wmv+discrepancy") == 0
    said = capsys.readouterr().out
    keys = ("kulkarni2016", "ulyanov2018", "romano2017", "chen2017", "wang2023", "morozov1966")
    assert all(f"{{{key}," in said for key in keys)


def test_every_paper_at_hand_is_cited_by_something() -> None:
    from pnp import citations

    used = {key for registry in catalogue.registries().values() for entry in registry.values() for key in entry.cite}
    assert used == set(citations.entries())


def test_the_file_of_references_holds_entries_alone() -> None:
    from pnp import citations

    path = Path(citations.__file__).with_name("references.bib")
    found = citations.entries()
    assert path.read_text(encoding="utf-8") == "\n\n".join(found.values()) + "\n" and list(found) == sorted(found)
    assert all(entry.count("{") == entry.count("}") for entry in found.values())


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, pnp.cli; print([m for m in ('torch', 'numpy', 'scipy', 'rich') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
