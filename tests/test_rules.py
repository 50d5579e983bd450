"""The table of default parameters, and the search that fills it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pnp import priors
from pnp.core.solver import require
from pnp.jobs.restore import Job, restore
from pnp.operators import Blur, Identity, Mask, kernels
from pnp.parameters import rules, tuning
from pnp.parameters.rules import Rule
from pnp.registry import OPERATORS, PRIORS
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
    found = {p.kind: p for p in (priors.parse(spec, shape=(1, 16, 16)) for spec in [*specs, "dip+tv", "dip+unet"])}
    assert kinds and kinds <= set(found)
    for (kind, _), rule in table.items():
        require(rule.make(0.01), found[kind])


def test_every_operator_has_a_row_for_every_learned_prior() -> None:
    tasks = {OPERATORS.build(e.examples[0], shape=(1, 16, 16), seed=0).task for e in OPERATORS.values()}
    assert tasks == {"blur", "downsample", "identity", "mask", "sensing"}
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
        record = restore(Job("mask:keep=0.5", "red", solver, sigma=0.05, simulate=True, iterations=1), clean).record
        assert record["lam"] == {"value": rules.table()["red", "mask"].lam, "source": "rule"}
    own = Job("mask:keep=0.5", "unet", "hqs:tau=0.01", sigma=0.05, simulate=True, iterations=1)
    record = restore(own, clean).record
    assert record["lam"]["source"] == "default of the prior"  # the row's goes with a strength that falls


def test_a_table_is_read_as_it_was_written_under_its_own_head(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text("# lam of blur: by hand\n# and more\n\n[red.blur]\n# gone\n")
    rows = {("denoiser", "blur"): RULE, ("dae", "mask"): Rule("mean-shift:blind=true", 30, 1.0)}
    rules.write(rows, path)
    assert rules.table(path) == rows
    assert path.read_text().startswith("# lam of blur: by hand\n# and more\n\n[dae.mask]\n")
    assert "gone" not in path.read_text()
    rules.write(rows, tmp_path / "new.toml")
    assert (tmp_path / "new.toml").read_text().splitlines()[0] == rules.TABLE.read_text().splitlines()[0]


def test_a_network_with_a_denoiser_runs_on_and_one_with_variation_stops_at_the_noise() -> None:
    denoised = ("dip+unet", "dip+red", "dip+projector")
    for spec in (*denoised, "dip+tv", "dip+wtv", "dip+unet+tv"):
        kind = "dip-denoiser" if spec in denoised else "dip-split"
        prior = priors.parse(spec, shape=(1, 32, 32))
        assert prior.kind == kind, spec
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
    with pytest.raises(ValueError, match="at least 64×64"):
        tuning.crops(paths[8:], 3, 64, 1)


def test_tuning_betters_a_bad_row_on_real_cases() -> None:
    truth = photograph("camera")[..., 100:148, 200:248].contiguous()
    prior = priors.parse("pnp:denoiser=wavelet", shape=(1, 48, 48))
    measured = tuning.cases("identity", truth)
    bad = Rule("hqs", 1, 0.23, start=0.001, end=0.2, floor=0.0)
    *_, (best, value) = tuning.search(bad, lambda rule: tuning.score(rule, prior, measured))
    assert value > tuning.score(bad, prior, measured) + 2 and 0.5 < best.end < 2


