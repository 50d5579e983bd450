"""Stop rules that say which image was the best: moving variances, and what the loop returns by them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from conftest import squares
from test_loop import scripted
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.recording import Snapshot
from pnp.core.result import Status
from pnp.core.stopping import (
    SAMPLES,
    Discrepancy,
    ExponentialVariance,
    Objective,
    Plateau,
    StopRule,
    Tolerance,
    WindowedVariance,
    _Windowed,
    parse,
)
from pnp.operators import Identity
from pnp.priors import DIP
from pnp.priors.nets import Hourglass
from pnp.registry import STOPS, SpecError
from pnp.solvers import Descent

LEAST = WindowedVariance(window=3, patience=5, fit=math.inf)
# moves shrink towards iteration 12 and grow again behind it
VALLEY = [(5 + 3 * 0.6**k,) for k in range(12)] + [(5 - 0.02 * 1.5**k,) for k in range(12)]


def test_the_windowed_variance_is_that_of_the_last_images() -> None:
    result = solve(*scripted(*VALLEY), stop=(WindowedVariance(window=4, patience=100, fit=math.inf),))
    rows = torch.tensor(VALLEY)[:, 0]
    expected = rows.unfold(0, 4, 1).var(1, correction=0)
    assert bool(result.history["variance"][:3].isinf().all())
    torch.testing.assert_close(result.history["variance"][3:, 0], expected)


def test_the_exponential_variance_is_its_recursion() -> None:
    result = solve(*scripted(*VALLEY), stop=(ExponentialVariance(rate=0.5, patience=100, fit=math.inf),))
    mean, variance = VALLEY[0][0], 0.0
    for k, (x,) in enumerate(VALLEY):
        variance = 0.5 * (variance + 0.5 * (x - mean) ** 2)
        mean = 0.5 * mean + 0.5 * x
        if k >= 4:
            assert float(result.history["variance"][k, 0]) == pytest.approx(variance, rel=1e-4)
    assert bool(result.history["variance"][:4].isinf().all())


@pytest.mark.parametrize("rule", [LEAST, ExponentialVariance(rate=0.4, patience=5, fit=math.inf)])
def test_the_image_of_least_variance_is_returned_and_not_the_last(rule: StopRule) -> None:
    seen: list[Snapshot] = []
    result = solve(*scripted(*VALLEY), stop=(rule,), callbacks=[seen.append])
    variance = result.history["variance"][:, 0]
    best = int(variance.argmin())
    assert result.status == (Status.CONVERGED,) and result.reason == (rule.reason,)
    assert result.chosen == (best + 1,) and result.iterations == (best + 6,) and result.iterations[0] < len(VALLEY)
    assert torch.equal(result.x, seen[best].x) and not torch.equal(result.x, seen[-1].x)
    assert f"the image of iteration {best + 1}" in str(result)


def test_a_rule_that_ranks_nothing_returns_the_last_image() -> None:
    """The planted fault of the tests above: the same solve without a ranking rule."""
    result = solve(*scripted(*VALLEY), stop=(Tolerance(1e-12),))
    assert result.chosen == result.iterations == (len(VALLEY),)
    assert float(result.x.mean()) == pytest.approx(VALLEY[-1][0])
    both = (replace(LEAST, patience=50), Discrepancy(5.1))  # |x| <= 5.1
    fired = solve(*scripted(*VALLEY), stop=both)
    assert "discrepancy" in fired.reason[0] and fired.chosen == fired.iterations


def test_each_image_has_its_own_best_whatever_its_neighbours_do() -> None:
    late = [(5 + 3 * 0.8**k,) for k in range(24)]
    rows = [(a, b) for (a,), (b,) in zip(VALLEY, late, strict=True)]
    together = solve(*scripted(*rows), stop=(LEAST,))
    for i, script in enumerate((VALLEY, late)):
        alone = solve(*scripted(*script), stop=(LEAST,))
        assert together.chosen[i] == alone.chosen[0] and together.iterations[i] == alone.iterations[0]
        assert torch.equal(together.x[i], alone.x[0])
    assert len(set(together.chosen)) == 2


def test_a_limit_and_an_interrupt_return_the_best_so_far() -> None:
    rule = replace(LEAST, patience=50)
    limited = solve(*scripted(*VALLEY), stop=(rule,))
    assert limited.status == (Status.LIMIT,) and limited.chosen[0] < limited.iterations[0] == len(VALLEY)

    def interrupt(now: Snapshot) -> None:
        if now.k == 19:
            raise KeyboardInterrupt

    stopped = solve(*scripted(*VALLEY), stop=(rule,), callbacks=[interrupt])
    assert stopped.status == (Status.INTERRUPTED,) and stopped.chosen == limited.chosen
    assert torch.equal(stopped.x, limited.x)
    early = solve(*scripted(*VALLEY), iterations=2, stop=(rule,))  # nothing is ranked yet
    assert early.chosen == (2,) and float(early.x.mean()) == pytest.approx(VALLEY[1][0])


def test_a_picture_that_is_not_learned_yet_is_never_the_best() -> None:
    """Still and far from y at first: the least variance, but not of a picture that explains the measurement."""
    rows = [(9.0,)] * 6 + [(9.0 * 0.7**k,) for k in range(1, 9)] + [(0.5 - 0.04 * k,) for k in range(8)]
    fooled = solve(*scripted(*rows), stop=(replace(LEAST, patience=50),))
    result = solve(*scripted(*rows), stop=(WindowedVariance(window=3, patience=50, fit=1.0),))
    default = solve(*scripted(*rows), stop=(WindowedVariance(window=3, patience=50),))
    assert default.chosen[0] > 12
    assert fooled.chosen[0] <= 6 and float(fooled.x.mean()) == 9
    assert result.chosen[0] > 12 and float(result.x.mean()) <= 1


def test_a_plateau_returns_its_best() -> None:
    rows = [(2.0,), (1.0,), (0.25,), (0.5,), (0.5,), (0.5,)]
    result = solve(*scripted(*rows), stop=(Plateau("residual", window=3),))
    assert result.chosen == (3,) and float(result.x.mean()) == 0.25 and result.iterations == (6,)


def test_the_memory_of_a_moving_variance_does_not_grow_with_the_picture() -> None:
    measure = _Windowed(5)
    x = torch.rand(2, 3, 300, 301)
    for k in range(5):
        found = measure(x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(k)))
    assert measure.kept.numel() <= 5 * 2 * 2 * SAMPLES
    torch.testing.assert_close(found, torch.full((2,), 0.01 * 4 / 5), rtol=0.05, atol=0)  # of all pixels as of some


def test_the_windowed_variance_does_not_lose_digits_over_many_images() -> None:
    """Images that drift away from the first while their moves grow small, beside the formula in double precision.

    Planted: the same running sums kept in single precision.
    """
    measure, rough = _Windowed(20), _Windowed(20)
    generator = torch.Generator().manual_seed(0)
    drift = torch.rand(2, 1, 12, 12, generator=generator)
    seen: list[Tensor] = []
    lost = 0.0
    for k in range(400):
        size = 0.1 * 0.97**k + 1e-4
        seen.append(0.01 * k * drift + size * torch.randn(drift.shape, generator=generator))
        found, also = measure(seen[-1]), rough(seen[-1])
        rough.sum, rough.squares, rough.kept = (v.float() for v in (rough.sum, rough.squares, rough.kept))
        if k >= 19:
            expected = torch.stack(seen[-20:]).double().flatten(2).var(0, correction=0).mean(1)
            torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
            lost = max(lost, float((also / expected - 1).abs().max()))
    assert lost > 1e-6
    still = torch.ones_like(drift)
    assert [float(measure(still).max()) for _ in range(20)][-1] < 1e-12


def test_two_solves_with_one_rule_know_nothing_of_each_other() -> None:
    rule = LEAST
    first, second = (solve(*scripted(*VALLEY), stop=(rule,)) for _ in range(2))
    assert first.chosen == second.chosen and torch.equal(first.history["variance"], second.history["variance"])


def test_rules_are_parsed_and_their_mistakes_told() -> None:
    assert parse("wmv:window=30+discrepancy") == [WindowedVariance(window=30), Discrepancy()]
    assert all(isinstance(STOPS.build(spec), StopRule) for entry in STOPS.values() for spec in entry.examples)
    for text, says in [("wmw", "Did you mean 'wmv'"), ("wmv:window=1", "2 images"), ("emv:rate=2", "between 0 and 1")]:
        with pytest.raises(ValueError, match=says):
            parse(text)
    assert parse("objective:target=1e+3+tolerance") == [Objective(1000), Tolerance()]
    for text in ("wmv+emv", "wmv+wmv:window=9"):
        with pytest.raises(SpecError, match="one moving variance"):
            parse(text)
    assert WindowedVariance().fit == ExponentialVariance().fit == 1.05
    with pytest.raises(SpecError, match="patience"):
        parse("wmv:patiense=3")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("plateau:quantity=psnr", "unknown quantity of a plateau: 'psnr'"),
        ("plateau:quantity=residuals", "Did you mean 'residual'"),
        ("plateau:window=0", "window is 0"),
        ("plateau:tol=-3", "tol is -3"),
        ("plateau:tol=1", "below 1"),
        ("objective:target=nan", "target is nan"),
        ("discrepancy:c=-1", "c is -1"),
        ("discrepancy:c=inf", "c is inf"),
        ("wmv:fit=-1", "fit is -1"),
        ("wmv:fit=nan", "fit is nan"),
        ("wmv:patience=0", "patience is 0"),
        ("emv:fit=0", "fit is 0"),
        ("emv:patience=-1", "patience is -1"),
    ],
)
def test_a_rule_that_means_nothing_is_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as told:
        parse(text)
    assert "\n" not in str(told.value)


def test_a_deep_image_prior_stops_where_the_noise_is_left() -> None:
    x = squares(1, 1, 16, 16, dtype=torch.float32)
    y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    prior = DIP(Hourglass(width=16, widest=16, depth=2), noise=0, precision="float32")
    solver = Descent(optimizer="Adam", lr=0.02, average=0.9, iterations=100)
    problem = Problem(Identity(), y, prior, sigma=0.2)
    stopped, never = (solve(problem, solver, stop=stop) for stop in ((Discrepancy(),), ()))
    assert stopped.status == (Status.CONVERGED,) and stopped.iterations[0] < 100
    error = [float((result.x - x).square().mean()) for result in (stopped, never)]
    assert error[0] < 0.9 * error[1] < 0.2**2
