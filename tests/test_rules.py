"""The table of default parameters, and the search that fills it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from pnp import priors
from pnp.cli import cli
from pnp.core.loop import Result
from pnp.core.problem import Problem
from pnp.core.solver import fits
from pnp.jobs import Job, run, settle
from pnp.operators import Blur, Identity, Mask, kernels
from pnp.parameters import rules, tuning
from pnp.parameters.rules import Rule
from pnp.priors import PnP, Sum
from pnp.registry import OPERATORS, PRIORS, SpecError
from pnp.samples import photograph

RULE = Rule("hqs", 8, 0.23, start=0.2, end=1.5, floor=0.01)


def test_the_strength_falls_from_start_to_a_multiple_of_sigma_but_not_below_the_floor() -> None:
    assert RULE.strength(0.02) == (0.2, pytest.approx(0.03))
    assert RULE.strength(0.001) == (0.2, 0.01)
    assert RULE.strength(0.5) == (0.75, 0.75)  # never upwards
    first, last = RULE.strength(torch.tensor([0.02, 0.001, 0.5]).view(3, 1, 1, 1))
    torch.testing.assert_close(first.flatten(), torch.tensor([0.2, 0.2, 0.75]))  # type: ignore[union-attr]
    torch.testing.assert_close(last.flatten(), torch.tensor([0.03, 0.01, 0.75]))  # type: ignore[union-attr]


def test_a_solver_of_a_rule_has_its_schedule_and_what_is_given_stays() -> None:
    solver = RULE.make(0.02)
    tau = solver.tau  # type: ignore[attr-defined]
    assert (
        solver.iterations == 8
        and (0.23 * tau.start) ** 0.5 == pytest.approx(0.2)
        and (0.23 * tau.end) ** 0.5 == pytest.approx(0.03)
    )
    assert RULE.make(0.02, lam=1.0).tau.start == pytest.approx(0.04)  # type: ignore[attr-defined]
    given = RULE.make(0.02, spec="hqs:tau=0.5,iterations=3")
    assert (given.tau, given.iterations) == (0.5, 3)  # type: ignore[attr-defined]


def test_every_row_of_the_table_makes_a_solver_that_fits_its_kind() -> None:
    table = rules.table()
    kinds = {kind for kind, _ in table}
    specs = [spec for entry in PRIORS.values() for spec in entry.examples if not spec.startswith("deepinv")]
    built = [priors.parse(spec, shape=(1, 16, 16)) for spec in [*specs, "dip+tv", "dip+unet"]]
    found = {rules.kind_of(prior): prior for prior in built}
    assert kinds and kinds <= set(found)
    for (kind, _), rule in table.items():
        assert fits(rule.make(0.01), found[kind]), kind


def test_every_operator_has_a_row_for_every_learned_prior() -> None:
    tasks = {OPERATORS.build(e.examples[0], shape=(1, 16, 16), seed=0).task for e in OPERATORS.values()}
    assert tasks == {"blur", "downsample", "identity", "mask", "sensing", "other"}  # other: its image is a kernel
    for kind in ("denoiser", "projector", "red", "dae", "dae-autoencoder", "dae-gradient-step"):
        assert all((kind, task) in rules.table() for task in tasks)
    prior = priors.parse("dae", shape=(1, 16, 16))
    assert rules.find(prior, Blur(kernels.gaussian(1.0, 5))) == rules.table()["dae", "blur"]
    assert rules.find(priors.TV(), Identity()) is None
    blur, unet = Blur(kernels.gaussian(1.0, 5)), priors.parse("unet", shape=(1, 16, 16))
    assert rules.find(unet, blur, "admm:iterations=9") == rules.table()["denoiser", "blur-admm"]
    assert rules.find(unet, blur, "fista") == rules.table()["denoiser", "blur-fista"]
    assert rules.find(unet, blur, "gd") == rules.find(unet, blur) == rules.table()["denoiser", "blur"]
    odd = Mask(torch.ones(1, 4, 4))
    assert rules.find(unet, odd, "admm") == rules.find(unet, odd) == rules.table()["denoiser", "mask"]
    assert rules.find(unet, odd, "hqs") == rules.table()["denoiser", "mask-hqs"]
    odd.task = "never heard of"
    assert rules.find(prior, odd) == rules.table()["dae", "other"]


def test_the_weight_of_an_objective_is_the_same_for_every_solver() -> None:
    clean = torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    for solver in (None, "gd", "admm", "anderson"):
        record = run(Job("mask:keep=0.5", "red", solver, sigma=0.05, simulate=True, iterations=1), clean).record
        assert record.lam == (rules.table()["red", "mask"].lam, "the rule for red and mask")
    own = Job("mask:keep=0.5", "unet", "hqs:tau=0.01", sigma=0.05, simulate=True, iterations=1)
    record = run(own, clean).record
    assert record.lam.source == "default of the prior"  # the row's goes with a strength that falls


def test_a_table_is_read_as_it_was_written_under_its_own_head(tmp_path: Path) -> None:
    path = tmp_path / "rules.tsv"
    path.write_text("# lam of blur: by hand\n# and more\n\nred\tblur\n# gone\n")
    rows = {
        ("denoiser", "blur"): replace(RULE, lam=0.1 + 0.2),  # a number of 17 digits
        ("denoiser", "blur-chambolle-pock"): Rule("chambolle-pock", 9, 2.0, stop="wmv:window=9,patience=6"),
        ("dae", "mask"): Rule("mean-shift:blind=true", 30, 1.0),
    }
    tuning.write(rows, path)
    assert rules.table(path) == rows
    assert path.read_text().splitlines()[:4] == [
        "# lam of blur: by hand", "# and more", "\t".join(rules.COLUMNS), "dae\tmask\t\tmean-shift:blind=true\t30\t1"
    ]  # fmt: skip
    assert "gone" not in path.read_text()
    tuning.write(rows, tmp_path / "new.tsv")
    assert rules.table(tmp_path / "new.tsv") == rows and "--rules" in (tmp_path / "new.tsv").read_text()
    head = [line for line in rules.TABLE.read_text().splitlines() if line.startswith("#")]
    assert rules.as_text(rules.table(), head) == rules.TABLE.read_text()  # the shipped table is as pnp would write it


HEADER = "\t".join(rules.COLUMNS)


def test_rows_of_an_own_table_go_before_the_shipped_ones_of_their_place_alone(tmp_path: Path) -> None:
    own = tmp_path / "mine.tsv"
    own.write_text(f"# by hand\n{HEADER}\ndenoiser\tmask\thqs\thqs\t7\t0.5\nnew\tother\t\tgd\t5\t25/255\n")
    unet, odd = priors.parse("unet", shape=(1, 16, 16)), Mask(torch.ones(1, 4, 4))
    assert rules.find(unet, odd, "hqs", own) == Rule("hqs", 7, 0.5) != rules.find(unet, odd, "hqs")
    assert rules.find(unet, odd, None, own) == rules.find(unet, odd) == rules.table()["denoiser", "mask"]
    tv = priors.TV()
    tv.kind = "new"
    assert rules.find(tv, odd, None, str(own)) == Rule("gd", 5, 25 / 255) and rules.find(tv, odd) is None
    own.write_text(own.read_text().replace("\t7\t", "\t8\t"))
    assert rules.find(unet, odd, "hqs", own) == Rule("hqs", 8, 0.5)  # read anew


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["kind,task,solver"], "line 2: expected the names of the columns"),
        ([], "line 1: expected the names of the columns"),
        ([HEADER, "", "red\tblur\t\thqs\t5"], "line 4: lam left out"),
        ([HEADER, "red\tblur\t\thqs\tmany\t1"], "line 3: iterations='many': expected a whole number"),
        ([HEADER, "red\tblur\t\thqs\t5\t-1"], "line 3: lam is -1.0; expected a number above 0"),
        ([HEADER, "red\tblur\t\thqs\t5\t1\t0.1\t1\t-1"], "line 3: floor is -1.0; expected 0 or more"),
        ([HEADER, "red\tblur\t\thqz\t5\t1"], "line 3: unknown solver 'hqz'. Did you mean 'hqs'"),
        ([HEADER, "red\tblur\tadmn\thqs\t5\t1"], "line 3: unknown solver 'admn'. Did you mean 'admm'"),
        ([HEADER, "red\tblur\t\tfixed-point\t5\t1\t0.1\t1"], "line 3: FixedPoint does not take a falling strength"),
        ([HEADER, "red\tblur\t\thqs\t5\t1\t\t\t\tnever"], "line 3: unknown stop rule 'never'"),
        ([HEADER, "red\tblur-admm\t\thqs\t5\t1"], "line 3: task 'blur-admm' has a hyphen"),
        ([HEADER, *2 * ["red\tblur\t\thqs\t5\t1"]], "line 4: red and blur already has a row"),
        ([HEADER, "red\tblur\t\thqs\t5\t1\t0\t0\t0\t\t0\t0"], "line 3: this row has 12 cells"),
    ],
)
def test_a_wrong_table_is_one_line_with_its_number(lines: list[str], message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.tsv"
    path.write_text("\n".join(["# head", *lines] if lines else lines))
    with pytest.raises(SpecError) as caught:
        rules.table(path)
    assert str(caught.value).startswith(f"{path}, {message}") and "\n" not in str(caught.value)


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    for name, why in (("missing.tsv", "No such file"), ("picture.png", "not a text file")):
        with pytest.raises(SpecError, match=f"cannot read the rules in .*{name}: .*{why}"):
            rules.table(tmp_path / name)


def test_what_stands_beside_a_drawing_prior_is_asked_what_it_is() -> None:
    class Mine(PnP):
        kind = "a kind that nobody knows"

    drawing = priors.parse("dip", shape=(1, 32, 32))
    beside = Mine(lambda x, sigma: x)
    assert rules.kind_of(Sum([(1.0, drawing), (1.0, beside)])) == "dip-denoiser"
    beside.denoises = False
    assert rules.kind_of(Sum([(1.0, drawing), (1.0, beside)])) == "dip-split"
    assert rules.kind_of(priors.parse("dip+tv-smooth", shape=(1, 32, 32))) == "dip"  # no prox to split off
    assert rules.kind_of(priors.parse("unet+tv", shape=(1, 32, 32))) == "other"


def test_a_network_with_a_denoiser_runs_on_and_one_with_variation_stops_at_the_noise() -> None:
    denoised = ("dip+unet", "dip+red", "dip+projector")
    for spec in (*denoised, "dip+tv", "dip+wtv", "dip+unet+tv"):
        kind = "dip-denoiser" if spec in denoised else "dip-split"
        prior = priors.parse(spec, shape=(1, 32, 32))
        assert rules.key(prior, Identity()) == (kind, "identity"), spec
        rule = rules.find(prior, Identity())
        assert rule is not None and ("discrepancy" in rule.stop) == (kind == "dip-split")


def test_the_search_finds_the_top_of_a_hill_and_leaves_zeros_alone() -> None:
    def hill(rule: Rule) -> float:
        return 30 - (rule.lam - 0.5) ** 2 * 20 - (rule.end - 1.2) ** 2 * 10 - (rule.floor - 0.02) ** 2 * 1000

    *_, (best, value) = tuning.search(replace(RULE, floor=0.0), hill)
    assert value > 29.5 and abs(best.lam - 0.5) < 0.15 and abs(best.end - 1.2) < 0.2 and best.floor == 0
    values = [v for _, v in tuning.search(RULE, hill)]
    assert values == sorted(values)


def test_tuning_sees_large_photographs_mostly_as_small_copies(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 500), dtype=np.uint8)
    for i in range(9):
        Image.fromarray(noise if i < 8 else noise[:40, :60]).save(tmp_path / f"{i}.png")
    paths = sorted(tmp_path.iterdir())
    found = tuning.crops(paths, 8, 40, 1)
    assert found.shape == (8, 1, 40, 40)
    assert found[0].mul(255).round().equal(torch.from_numpy(noise[180:220, 230:270]).float()[None])
    deviations = found.std((1, 2, 3))  # of white noise: halved by 2×2 means, less by a copy not much smaller
    assert float(deviations[1]) == pytest.approx(float(deviations[0]) / 2, rel=0.1)
    assert (deviations[2:] < 0.95 * deviations[0]).all()
    small = tuning.crops(paths[8:], 3, 40, 1)
    assert small.mul(255).round().equal(torch.from_numpy(noise[:40, 10:50]).float()[None, None])
    with pytest.raises(ValueError, match="64×64 pixels or more"):
        tuning.crops(paths[8:], 3, 64, 1)


def test_tuning_betters_a_bad_row_on_real_cases() -> None:
    truth = photograph("camera")[..., 100:148, 200:248].contiguous()
    prior = priors.parse("pnp:denoiser=wavelet", shape=(1, 48, 48))
    measured = tuning.cases("identity", truth)
    bad = Rule("hqs", 1, 0.23, start=0.001, end=0.2, floor=0.0)
    *_, (best, value) = tuning.search(bad, lambda rule: tuning.score(rule, prior, measured))
    assert value > tuning.score(bad, prior, measured) + 2 and 0.5 < best.end < 2


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two training pictures inside the current one."""
    from skimage.data import camera

    (tmp_path / "train").mkdir()
    for i in range(2):
        Image.fromarray(camera()[100 + 60 * i : 160 + 60 * i, 200:260]).save(tmp_path / "train" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "train"


TUNE = ("nlm", "--task", "identity", "--count", "2", "--side", "32")


def test_tune_writes_a_table_of_your_own_that_solve_goes_by(training: Path) -> None:
    """In a process of its own, where nothing has filled the registries yet."""
    shipped = rules.TABLE.read_bytes()
    command = [sys.executable, "-m", "pnp", "tune", *TUNE, "--data", str(training)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    *steps, last = ran.stdout.splitlines()
    assert last == "wrote rules.tsv. Use it with: pnp solve --rules rules.tsv ..."
    scores = [float(line.split()[2]) for line in steps]
    assert len(scores) > 1 and scores == sorted(scores)
    mine = rules.table("rules.tsv")
    assert set(mine) == {("denoiser", "identity")} and mine != {k: rules.table()[k] for k in mine}
    assert rules.TABLE.read_bytes() == shipped

    solve = ["solve", "train/0.png", "--op", "identity", "--prior", "nlm", "--sigma", "0.05", "-o"]
    row = replace(mine["denoiser", "identity"], lam=0.77, iterations=3)
    tuning.write({("denoiser", "identity"): row}, Path("rules.tsv"))
    assert CliRunner().invoke(cli, [*solve, "a.png", "--rules", "rules.tsv"]).exit_code == 0
    record = json.loads(Path("a-report/result.json").read_text())
    assert record["lam"] == {"value": 0.77, "source": "the rule for denoiser and identity"}
    assert record["solver"]["iterations"] == 3
    assert record["job"]["rules"] == "rules.tsv"


def test_tune_keeps_the_other_rows_of_its_table_and_begins_from_its_own(training: Path) -> None:
    kept = {("red", "blur"): Rule("gd", 5, 3.0)}
    begun = Rule("hqs", 1, 0.23, start=0.0001, end=0.5)
    tuning.write({**kept, ("denoiser", "identity"): begun}, Path("mine.tsv"))
    ran = CliRunner().invoke(cli, ["tune", *TUNE, "--data", str(training), "-o", "mine.tsv"])
    assert ran.exit_code == 0, ran.output
    assert "start=0.0001 end=0.5 " in ran.output.splitlines()[0]
    found = rules.table("mine.tsv")
    assert found.pop(("denoiser", "identity")).end > 0.5 and found == kept


def test_the_first_guess_by_a_second_prior_goes_by_the_own_table_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, found = str(tmp_path / "mine.tsv"), []
    tuning.write({("denoiser", "identity"): Rule("hqs", 1, 0.5, start=0.1, end=1.0)}, Path(own))
    find = rules.find
    monkeypatch.setattr(rules, "find", lambda *given: found.append(find(*given)) or find(*given))
    run(Job("identity", "dip:width=8,depth=2+nlm", sigma=0.1, iterations=1, rules=own), torch.rand(1, 1, 16, 16))
    assert [*dict.fromkeys(rule and rule.solver.partition(":")[0] for rule in found)] == ["admm-descent", "hqs"]
    assert found[-1] == rules.table(own)["denoiser", "identity"]


def test_the_first_guess_has_the_weight_of_its_own_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, weights = str(tmp_path / "mine.tsv"), []
    tuning.write({("denoiser", "identity"): Rule("hqs", 1, 0.5, start=0.1, end=1.0)}, Path(own))
    solve = settle.solve

    def seen(problem: Problem, *given: Any, **named: Any) -> Result:
        weights.append(problem.lam)
        return solve(problem, *given, **named)

    monkeypatch.setattr(settle, "solve", seen)
    run(Job("identity", "dip:width=8,depth=2+nlm", sigma=0.1, iterations=1, rules=own), torch.rand(1, 1, 16, 16))
    assert weights == [0.5]


def test_a_wrong_table_ends_a_command_with_one_line(training: Path) -> None:
    Path("mine.tsv").write_text(f"{HEADER}\nred\tblur\n")
    solve = ("solve", "train/0.png", "train/1.png", "--op", "identity", "--prior", "tv", "--rules", "mine.tsv")
    for arguments in (solve, ("tune", *TUNE, "--data", str(training), "-o", "mine.tsv")):
        ran = CliRunner().invoke(cli, list(arguments))
        assert ran.exit_code == 2 and ran.output.count("error") == 1, ran.output
        assert "pnp: error: mine.tsv, line 2: solver and iterations and lam left out" in ran.output


def test_the_list_shows_every_row_of_the_shipped_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    ran = CliRunner().invoke(cli, ["list", "rules"])
    assert ran.exit_code == 0, ran.output
    printed = [line.split() for line in ran.output.splitlines()]
    rows = rules.cells(rules.table())
    told = [list(filter(None, row[1:])) for row in rows]
    assert [line for line in printed if len(line) > 1 and line[0] != "task"] == told
    assert [line[0] for line in printed if len(line) == 1] == sorted({row[0] for row in rows})
