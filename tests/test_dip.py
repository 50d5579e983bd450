"""The deep image prior: fresh networks, one for each picture, that a descent fits, and when it stops."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from conftest import squares
from torch import Tensor, nn

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.recording import Snapshot
from pnp.core.result import Memory, Result
from pnp.core.solver import fits
from pnp.core.stopping import _Windowed
from pnp.core.stopping import parse as parse_stop
from pnp.jobs import Job
from pnp.jobs import run as run_job
from pnp.metrics import psnr
from pnp.operators import Blur, Identity, Mask, kernels
from pnp.priors import DIP, TV, Prior, Sum, parse
from pnp.priors.nets import UNTRAINED, AsUntrained, ConvDecoder, Decoder, Hourglass
from pnp.registry import PRIORS, SOLVERS, SpecError
from pnp.samples import photograph
from pnp.solvers import ADMM, ADMMDescent, Descent, FixedPoint, GradientDescent
from pnp.solvers.descent import Drawn

SMALL = "dip:width=8,widest=8,depth=2"
ADAM = Descent(optimizer="Adam", lr=0.01, iterations=6)


def small(**settings: object) -> DIP:
    return DIP(Hourglass(width=8, widest=8, depth=2), precision="float32", **settings)  # type: ignore[arg-type]


def noisy(batch: int = 1, side: int = 16, sigma: float = 0.1) -> tuple[Tensor, Tensor]:
    """(truth, measurement)."""
    x = squares(batch, 1, side, side, dtype=torch.float32)
    return x, x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))


def run(prior: Prior, y: Tensor, iterations: int = 6, **settings: object) -> Result:
    solver = replace(ADAM, iterations=iterations)
    return solve(Problem(Identity(), y, prior, sigma=0.1), solver, stop=(), **settings)  # type: ignore[arg-type]


# The networks


@pytest.mark.parametrize("name", UNTRAINED)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_draws_pictures_of_its_size_and_learns(name: str, channels: int) -> None:
    net = UNTRAINED[name](channels=channels, width=8, depth=2)
    z = torch.rand(1, net.inputs, *(32 // net.shrink,) * 2)
    x = net(z)
    assert x.shape == (1, channels, 32, 32) and bool((x > 0).all() and (x < 1).all())
    x.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in net.parameters())
    assert UNTRAINED[name](width=8, depth=2, bounded=False)(z).amin() < 0


def test_a_convolutional_decoder_has_the_size_that_its_settings_say() -> None:
    """Its size is that of z times 2^depth, and it counts: two convolutions a scale, two numbers a norm, a 1×1 tail."""
    net = ConvDecoder(channels=3, inputs=8, width=4, widest=8, depth=2)
    assert net(torch.rand(1, 8, 5, 3)).shape == (1, 3, 20, 12)
    units = (8 * 8 * 9 + 16) + (8 * 8 * 9 + 16 + 8 * 8 + 16) + (8 * 4 * 9 + 8 + 4 * 4 + 8)
    assert sum(p.numel() for p in net.parameters()) == units + 4 * 3 + 3


@pytest.mark.parametrize("name", ["convdecoder", "hourglass"])
def test_a_width_above_the_widest_is_the_widest(name: str) -> None:
    made = UNTRAINED[name](channels=3, width=64, widest=8, depth=2)
    same = UNTRAINED[name](channels=3, width=8, widest=8, depth=2)
    assert [p.shape for p in made.parameters()] == [p.shape for p in same.parameters()]


@pytest.mark.parametrize(("size", "depth"), [((16, 64), 4), ((181, 400), 4), ((182, 400), 5), ((512, 512), 6)])
def test_the_decoder_has_more_scales_for_a_larger_picture(size: tuple[int, int], depth: int) -> None:
    """Planted: by the longer side."""
    for shape in ((1, *size), (3, *reversed(size))):
        assert len(PRIORS.build("dip", shape=shape).net.scales) == depth
        assert len(PRIORS.build("dip:depth=3", shape=shape).net.scales) == 3
    assert PRIORS.build("dip:net=hourglass", shape=(1, 512, 512)).net.multiple == 32


def test_the_published_hourglass_has_the_published_size() -> None:
    # five scales of 128 channels, skips of 4, counted by hand: convolutions without biases, two numbers a norm
    down = 32 * 128 * 9 + 9 * 128 * 128 * 9
    up = 5 * (132 * 128 * 9 + 128 * 128)
    skips = 32 * 4 + 4 * 128 * 4
    norms = 2 * (10 * 128 + 5 * 4 + 5 * (132 + 128 + 128))
    published = Hourglass(channels=3, width=128, widest=128)
    assert sum(p.numel() for p in published.parameters()) == down + up + skips + norms + 128 * 3 + 3


def test_a_decoder_cannot_draw_noise_and_an_hourglass_can() -> None:
    noise = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))

    def left(net: nn.Module) -> float:
        return float((run(DIP(net, noise=0, precision="float32"), noise, 60).x - noise).square().mean())

    assert left(Decoder(inputs=8, width=8, depth=2)) > 2 * left(Hourglass(width=16, widest=16, depth=2))


def test_a_module_of_ones_own_takes_32_channels_unless_it_is_wrapped_with_what_it_takes() -> None:
    """Planted: the wrapper's own numbers are forgotten."""
    _, y = noisy()
    plain, narrow = (nn.Sequential(nn.Conv2d(inputs, 1, 1), nn.Sigmoid()) for inputs in (32, 4))
    assert run(DIP(plain), y).x.shape == y.shape and DIP(plain).name == "DIP(sequential)"
    assert run(DIP(AsUntrained(narrow, inputs=4, multiple=8)), y[..., :13]).x.shape == y[..., :13].shape
    with pytest.raises(RuntimeError, match="32 channels"):
        run(DIP(narrow), y)


# One network for each picture, begun anew


def test_the_same_seed_gives_the_same_bits_and_another_seed_another_picture() -> None:
    _, y = noisy()
    again = [run(small(seed=seed), y).x for seed in (0, 0, 1)]
    assert torch.equal(again[0], again[1]) and not torch.equal(again[0], again[2])


def test_the_seed_of_a_job_is_that_of_its_prior_unless_the_prior_names_one() -> None:
    _, y = noisy()
    specs = {"job 0": ("dip:width=8", 0), "job 1": ("dip:width=8", 1), "both": ("dip:width=8,seed=0", 1)}
    drawn = {n: run_job(Job("identity", p, sigma=0.1, seed=s, iterations=2), y).result.x for n, (p, s) in specs.items()}
    assert torch.equal(drawn["job 0"], drawn["both"]) and not torch.equal(drawn["job 0"], drawn["job 1"])


def test_a_picture_of_a_batch_is_drawn_as_if_it_were_alone() -> None:
    _, y = noisy(3)
    together = run(small(), y)
    for i in range(3):
        assert torch.equal(together.x[i : i + 1], run(small(), y[i : i + 1]).x)
    assert not torch.allclose(together.x[0], together.x[1], atol=1e-3)


@pytest.mark.parametrize(
    "spec", ["gd:optimizer=Adam,lr=0.02,average=0.5", "gd:optimizer=Muon,lr=0.01", "admm-descent:inner=2"]
)
def test_a_picture_that_ends_sooner_has_learned_what_it_learns_alone(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its picture, the iteration chosen, its network and its optimiser's moments; planted: it goes on moving."""
    _, y = noisy(2)
    y[1] = y[1] * 0.1 + 0.4
    prior = small() if spec.startswith("gd") else Sum([(1.0, small()), (1.0, TV())])
    rule = parse_stop("wmv:window=3,patience=4,fit=inf")

    def run(y: Tensor) -> Result:
        solver = replace(SOLVERS.build(spec), iterations=40)
        return solve(Problem(Identity(), y, prior, sigma=0.1, lam=0.1), solver, stop=rule)

    def of(i: int, memory: Memory) -> list[Tensor]:
        own = [v for k, v in sorted(memory.learned.items()) if k.removeprefix("0/").startswith(f"{i}.")]
        return own + [v for of in memory.solver["moments"][i].values() for v in flat(of)]

    def equal(i: int, both: Result, one: Result) -> bool:
        pairs = list(zip(of(i, both.memory), of(0, one.memory), strict=True))
        assert len(pairs) > 20
        return all(torch.equal(a, b) for a, b in pairs)

    together, singles = run(y), [run(y[i : i + 1]) for i in range(2)]
    assert together.iterations[0] != together.iterations[1]
    for i, one in enumerate(singles):
        assert (together.iterations[i], together.chosen[i]) == (one.iterations[0], one.chosen[0])
        assert torch.equal(together.x[i : i + 1], one.x) and equal(i, together, one)
    monkeypatch.setattr(Drawn, "rest", lambda *_: None)
    moving = run(y)
    sooner = moving.iterations.index(min(moving.iterations))
    assert not equal(sooner, moving, singles[sooner]) and equal(1 - sooner, moving, singles[1 - sooner])


def flat(value: object) -> list[Tensor]:
    if isinstance(value, dict):
        return [v for part in value.values() for v in flat(part)]
    return [value] if isinstance(value, Tensor) else []


def test_what_the_caller_owns_stays_as_it_was() -> None:
    net = Hourglass(width=8, widest=8, depth=2).requires_grad_(False).eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    generator = torch.random.get_rng_state()
    prior = DIP(net)
    first = run(prior, noisy()[1])
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert torch.equal(generator, torch.random.get_rng_state())
    assert prior.nets == [] and torch.equal(first.x, run(prior, noisy()[1]).x)


def test_no_generator_is_seeded_for_a_fresh_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: torch.manual_seed, which seeds those of CUDA as well, where there are none as where there are."""
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    prior, (_, y) = small(), noisy()
    before = torch.random.get_rng_state()
    prior.begin(y)
    assert seeded == [] and torch.equal(before, torch.random.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
    assert seeded == [5]


def test_a_second_solve_does_not_start_from_the_first() -> None:
    """Planted: a prior that gives back the networks that it has already fitted."""

    class Leaking(DIP):
        def begin(self, x0: Tensor) -> DIP:
            self.kept = getattr(self, "kept", None) or super().begin(x0)
            return self.kept

    _, y = noisy()
    results = {make: [run(prior, y).x for _ in range(2)] for make in (DIP, Leaking) for prior in [make(small().net)]}
    assert torch.equal(*results[DIP]) and not torch.equal(*results[Leaking])


def test_it_starts_from_what_another_solve_has_learned() -> None:
    _, y = noisy(2)
    first = run(small(noise=0), y, 40)
    learned = first.problem.prior.learned()
    drawn = [p.draw() for p in small(noise=0).starting(learned).begin(y).parametrise(y)]
    assert torch.equal(torch.cat(drawn), first.x)
    anew = [p.draw() for p in small(noise=0).begin(y).parametrise(y)]
    assert not torch.allclose(torch.cat(anew), first.x, atol=0.05)
    with pytest.raises(ValueError, match="of another network"):
        run(small().starting(learned), y[:1], 1)
    summed = Sum([(1.0, small(noise=0)), (1.0, parse("tikhonov"))])
    of_first = {f"0/{name}": value for name, value in learned.items()}
    assert summed.starting(of_first).drawing.start == learned  # type: ignore[union-attr]
    assert TV().starting(learned).learned() == {}


@pytest.mark.parametrize("size", [(1, 13, 21), (2, 16, 9), (3, 30, 17)])
def test_a_picture_of_any_size_and_number_of_channels_is_drawn(size: tuple[int, int, int]) -> None:
    prior = PRIORS.build(SMALL, shape=size)
    y = torch.rand(1, *size, dtype=torch.float64)
    result = run(prior, y, 2)
    assert result.x.shape == y.shape and result.x.dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: run(PRIORS.build("dip", shape=(1, 12, 40)), torch.rand(1, 1, 12, 40)), ValueError, "12×40.* of 16"),
        (lambda: run(PRIORS.build(SMALL, shape=(1, 16, 16)), torch.rand(1, 3, 16, 16)), ValueError, "draws"),
        (lambda: PRIORS.build("dip:net=decoder,skip=2"), SpecError, "unknown option of network 'decoder': 'skip'"),
        (lambda: PRIORS.build("dip:depth=0"), SpecError, "above 0"),
        (lambda: PRIORS.build("dip:noise=-1"), ValueError, "0 or more"),
        (lambda: PRIORS.build("dip:net=hourglas"), SpecError, "Did you mean 'hourglass'"),
        (lambda: parse("dip+dip"), ValueError, "both draw"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(make: Callable[[], object], error: type, says: str) -> None:
    with pytest.raises(error, match=says) as told:
        make()
    assert "\n" not in str(told.value)


# Going on


@pytest.mark.parametrize("noise", [0, 1 / 30])
@pytest.mark.parametrize("average", [0, 0.9])
def test_a_solve_that_goes_on_is_a_longer_solve(noise: float, average: float) -> None:
    """Planted: what another picture's solve carries, with no average and the noise from its beginning."""
    _, y = noisy()
    solver = replace(ADAM, average=average, iterations=20)
    problem = Problem(Identity(), y, small(noise=noise), sigma=0.1)
    first = solve(problem, solver, stop=())
    kept = deepcopy(first.memory)
    on, longer = solve(problem, solver, stop=(), after=first.memory), solve(problem, solver, iterations=40, stop=())
    assert torch.equal(on.x, longer.x) and not torch.equal(on.x, first.x)
    moments, before = (m.solver["moments"][0][0]["exp_avg"] for m in (first.memory, kept))
    assert torch.equal(moments, before)  # the memory is the caller's
    other = solve(problem, solver, stop=(), after=replace(first.memory, y=y + 1))
    assert torch.equal(other.x, longer.x) == (not noise and not average)


def test_a_descent_on_the_image_goes_on_from_it() -> None:
    problem = Problem(Identity(), noisy()[1], parse("tikhonov"), sigma=0.1)
    for solver in (GradientDescent(momentum=0.5, tau=0.002, average=0.5), replace(ADAM, average=0.5)):
        first = solve(problem, solver, iterations=3, stop=())
        on = solve(problem, solver, iterations=3, stop=(), after=first.memory)
        assert torch.equal(on.x, solve(problem, solver, iterations=6, stop=()).x)


def test_a_new_learning_rate_is_the_one_that_is_used() -> None:
    _, y = noisy()
    problem = Problem(Identity(), y, small(noise=0), sigma=0.1)
    first = solve(problem, ADAM, stop=())
    still = solve(problem, replace(ADAM, lr=1e-12, iterations=2), stop=(), after=first.memory)
    moved = solve(problem, replace(ADAM, iterations=2), stop=(), after=first.memory)
    torch.testing.assert_close(still.x, first.x)
    assert not torch.allclose(moved.x, first.x, atol=1e-3)


def test_what_another_solver_or_optimizer_has_carried_is_refused_in_one_line() -> None:
    _, y = noisy()
    problem = Problem(Identity(), y, parse(f"{SMALL}+tikhonov"), sigma=0.1)
    memory = solve(problem, ADAM, stop=()).memory
    for solver, says in [
        (replace(ADAM, optimizer="RMSprop"), "from optimizer Adam, not RMSprop"),
        (ADMMDescent(iterations=2), "of Descent, not ADMMDescent"),
    ]:
        with pytest.raises(ValueError, match=says) as told:
            solve(problem, solver, stop=(), after=memory)
        assert "\n" not in str(told.value)


# The descent


def test_only_a_solver_that_moves_what_draws_fits() -> None:
    for prior in (small(), parse(f"{SMALL}+tikhonov"), parse(f"{SMALL}+tv")):
        assert not fits(ADMM, prior) and not fits(FixedPoint, prior)
    assert fits(Descent, small()) and fits(Descent, parse(f"{SMALL}+tikhonov"))
    with pytest.raises(TypeError, match=r"Solvers that fit: descent"):
        solve(Problem(Identity(), noisy()[1], parse(f"{SMALL}+tikhonov")), ADMM())


def test_the_gradient_of_the_parameters_is_autograds_of_the_objective() -> None:
    """One step of SGD against d/dθ of f(x(θ)) + lam g(x(θ)) written out; planted: the same without g."""
    _, y = noisy()
    y = y.double()
    operator, prior = Blur(kernels.gaussian(1.0, 5).double()), parse(f"{SMALL},noise=0,precision=float32+3*tikhonov")
    problem = Problem(operator, y, prior, sigma=0.5, lam=0.7).begin(y)
    ((variables, draw),) = problem.prior.parametrise(y)
    before = [v.detach().clone() for v in variables]
    x = draw()
    value = (operator(x) - y).square().sum() / (2 * 0.5**2) + 0.7 * 3 * x.square().sum() / 2
    gradients = torch.autograd.grad(value, variables)
    solver = Descent(optimizer="SGD", lr=0.01)
    solver.step(problem, solver.init(problem, y), 0)
    moved = problem.prior.parametrise(y)[0].variables
    for v, old, g in zip(moved, before, gradients, strict=True):
        torch.testing.assert_close(v.detach() - old, -0.01 * g, rtol=1e-3, atol=1e-5)
    assert max(float(g.abs().max()) for g in gradients) > 1e-2


def test_the_average_is_the_mean_with_weights_that_fall_with_age() -> None:
    _, y = noisy()
    last: list[Tensor] = []
    run(small(), y, 6, callbacks=[lambda now: last.append(now.x)])
    averaged = solve(Problem(Identity(), y, small(), sigma=0.1), replace(ADAM, average=0.7), stop=()).x
    weights = torch.tensor([0.7**age for age in range(5, -1, -1)])
    expected = (torch.stack(last) * weights.view(-1, 1, 1, 1, 1)).sum(0) / weights.sum()
    torch.testing.assert_close(averaged, expected)
    assert not torch.allclose(averaged, last[-1], atol=1e-3)
    with pytest.raises(ValueError, match="below 1"):
        GradientDescent(average=1.0)


@pytest.mark.parametrize("operator", [Identity(), Blur(kernels.gaussian(1.0, 5)), Mask(torch.rand(1, 32, 32) > 0.3)])
def test_it_restores_without_training(operator: nn.Module) -> None:
    x = squares(1, 1, 32, 32, dtype=torch.float32)
    y = operator(x) + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    problem = Problem(operator, y, DIP(Hourglass(width=16, widest=16, depth=3)), sigma=0.05)  # type: ignore[arg-type]
    result = solve(problem, Descent(optimizer="Adam", lr=0.02, average=0.9), iterations=120, stop=())
    assert psnr(result.x, x) > psnr(problem.initial(), x) + 2


# The command


def test_known_pixels_that_were_not_learned_in_time_are_as_measured() -> None:
    x = squares(1, 1, 32, 32)
    job = Job("mask:keep=0.5", "dip:width=8,depth=2", sigma=1e-3, simulate=True, iterations=5)
    done = run_job(job, x)
    mask = done.result.problem.operator.known().bool()
    network = done.record.residual_over_noise[0]
    assert network > 20 and done.record.verdict[0].startswith("The residual is larger")
    known = (done.restored - x)[mask.expand_as(x)]
    assert float(known.std()) < 1.5e-3 and done.record.metrics["psnr"][0] > done.record.history["psnr"][-1][0] + 2
    stopped = run_job(replace(job, stop="discrepancy:c=1000"), x)  # a rule's picture stays
    assert float((stopped.restored - x)[mask.expand_as(x)].std()) > 1e-2


def test_the_table_says_how_it_descends_and_when_it_stops() -> None:
    said: list[str] = []
    x = squares(1, 1, 24, 24, dtype=torch.float32)
    job = Job(operator="blur:std=1", prior="dip:width=8,depth=2", sigma=0.1, simulate=True, iterations=80)
    done = run_job(job, x, say=said.append)
    assert "solver: gd:optimizer=Muon" in said[0] and any(line.startswith("stop: wmv") for line in said)
    assert "variance" in done.result.history and done.record.chosen == list(done.result.chosen)
    asked = run_job(replace(job, stop="tolerance:tol=10"), x)
    assert asked.record.reason == ["relative change at most 10"] and asked.record.iterations == [1]
    both = run_job(replace(job, prior="dip:width=8,depth=2+tv", iterations=3), x, say=said.append)
    assert type(both.solver) is ADMMDescent and both.record.solver["within"] == 0.975
    assert any(line.startswith("first guess: by ") for line in said) and "stop: discrepancy:c=0.99" in said
    free: list[str] = []  # without the constraint nothing goes by a first guess, and the row's stop is not its own
    run_job(replace(job, prior="dip:width=8,depth=2+tv", solver="admm-descent", iterations=3), x, say=free.append)
    assert not any(line.startswith(("first guess", "stop")) for line in free)


def test_an_interrupt_returns_the_best_so_far() -> None:
    x = squares(1, 1, 16, 16, dtype=torch.float32)
    rule = "wmv:window=3,patience=500,fit=inf"
    job = Job(operator="identity", prior="dip:width=8,depth=2", sigma=0.1, simulate=True, stop=rule)
    seen: list[Snapshot] = []

    def interrupt(now: Snapshot) -> None:
        seen.append(now)
        if now.k == 40:
            raise KeyboardInterrupt

    done = run_job(job, x, callbacks=[interrupt])
    variance = done.result.history["variance"][:, 0]
    assert done.record.status == ["interrupted"] and done.record.iterations == [41]
    assert done.record.chosen == [int(variance.argmin()) + 1]
    assert torch.equal(done.restored, seen[int(variance.argmin())].x)


@pytest.mark.parametrize("rule", ["wmv:fit=inf", "emv:fit=inf"])
def test_a_moving_variance_finds_the_best_picture_without_the_noise_level(rule: str) -> None:
    """Planted: the variance of the averages, which only falls."""
    x = photograph("coffee", torch.float64)
    x = torch.nn.functional.avg_pool2d(x, 4)[..., :96, :96]
    y = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    problem = Problem(Identity(), y, PRIORS.build("dip:depth=4", shape=(3, 96, 96)), sigma=0.2)
    solver = Descent(optimizer="Muon", lr=0.01, average=0.995, iterations=400)
    averages = _Windowed(50)
    fooled: list[float] = []

    def callback(now: Snapshot) -> None:
        fooled.append(float(averages(now.x)))

    result = solve(problem, solver, stop=parse_stop(rule), metrics={"psnr": lambda v: psnr(v, x)}, callbacks=[callback])
    assert result.reason[0].startswith("the moving variance of the images") and result.chosen[0] < result.iterations[0]
    best = float(result.history["psnr"].max())
    assert float(psnr(result.x, x)) > best - 0.4 > float(psnr(y, x)) + 8
    assert fooled.index(min(fooled)) > result.chosen[0] + 50
