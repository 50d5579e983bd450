"""A picture restored: its parts as objects, what nobody gave settled, one solve, and its record."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import metrics
from ..core.certificate import Convergence
from ..core.loop import Callback, solve
from ..core.problem import Problem
from ..core.recording import Recorder
from ..core.result import Memory, Result, Status
from ..core.solver import Solver
from ..core.stopping import Seconds, StopRule, Tolerance
from ..html.notebook import panels
from ..noises.base import Noise
from ..noises.gaussian import Gaussian
from ..operators.base import Operator
from ..parameters.rules import Rule
from ..priors.base import Denoiser, Prior
from ..progress import doing
from ..registry import Spec
from . import guard, settle, stabilised, turned, unknown
from . import light as lights
from . import stripes as offsets
from .evidence import verdicts
from .job import Job, Parts, as_pixels, build, truth_pixels
from .record import Chosen, Light, Record, history_of, numbers, objective_of, rounded, scores, settings_of
from .space import Space

UNJUDGED = "The noise level is not known, so the residual is not judged."
UNSOLVED = "nothing was solved"
EXPLAINED = "A blur leads from the restored picture back to the measured one. This does not make every detail right."


@dataclass(frozen=True)
class Restoration:
    """A restored picture with what it was made from; pictures are cut to the measurement's field of view.

    picture: the restored one, in the kind that came in.  restored, initial, truth: (B, C, H, W); initial is the
    operator's plain guess: what the person has.  result: as it was solved, in light or in the picture's own values.
    """

    picture: Any
    restored: Tensor
    initial: Tensor
    truth: Tensor | None
    result: Result
    solver: Solver
    record: Record

    def _repr_html_(self) -> str:
        """What a notebook shows: before and after, and what was chosen."""
        record = self.record
        pictures = {"measured": self.initial, "restored": self.restored}
        lines = {
            "status": "; ".join(dict.fromkeys(f"{s} ({r})" for s, r in zip(record.status, record.reason, strict=True))),
            "solver": f"{record.solver['name']}, {record.iterations[0]} iterations",
            "sigma": f"{record.sigma.value} ({record.sigma.source})",
            "lam": f"{record.lam.value} ({record.lam.source})",
            "noise": record.noise,
            "verdict": " ".join(record.verdict),
        }
        return panels(pictures | ({} if self.truth is None else {"truth": self.truth}), lines)


def restore(
    picture: Any,
    *,
    operator: str | Spec | Operator,
    prior: str | Spec | Prior | Denoiser,
    noise: str | Spec | Noise | None = None,
    solver: str | Spec | Solver | None = None,
    sigma: float | None = None,
    lam: float | None = None,
    simulate: bool = False,
    truth: Any = None,
    seed: int = 0,
    iterations: int | None = None,
    stop: str | Sequence[StopRule] | None = None,
    tol: float = 1e-4,
    seconds: float | None = None,
    device: str | None = None,
    size: tuple[int, int, int] | None = None,
    rules: str | None = None,
    range: str | tuple[float, float] | None = None,
    light: str = "auto",
    stripes: str = "auto",
    mask: str | Tensor | None = None,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = lambda line: None,
) -> Restoration:
    """Restore a picture as `pnp solve` does, with parts as objects or as specs: `pnp.restore(y, operator="blur:std=2",
    prior="unet")`.

        min_x f(Ax; y) + lam g(x),   A the operator, f the noise, g the prior

    picture: a tensor (H, W), (C, H, W) or (B, C, H, W), or a NumPy array (H, W), (H, W, C) of integers or floats.
    range: its values that are black and white, e.g. (100, 500); `full`: 0 and the largest integer; None: found in it
    (`pnp.files.ranges`).  Everything else here is in image units, where they are 0 and 1.  What is None is settled: the
    noise is estimated, solver, stop rules and weight come from the table of rules or fit the noise (`Job`).
    light: `linear` solves where values are in proportion to light, as a lens blurs them; `srgb` solves in the picture's
    own values; `auto` tries both, for integers of 8 or 16 bits and operators that mix pixels.
    stripes: `auto`: offsets of whole columns or rows are subtracted first where they are sure; `keep`: they stay.
    mask: the known pixels of the picture: a spec as for `--mask`, or a tensor of 0 and 1, (1, H, W) or (C, H, W).  NaN
    is missing.
    truth: the clean picture, for scores, in the units of the picture where it is of the same type.
    say: hears a line about each choice.  callbacks: called with a Snapshot after each step.
    Returns the picture in the kind it came in, and the record of all choices.
    Raises ValueError (SpecError for specs), TypeError for a solver that prior or noise does not fit.
    """
    job = Job(operator, prior, solver, noise, sigma, lam, simulate, seed, iterations, stop, tol, seconds, False, device,
              size, rules, light=light, mask=mask)  # fmt: skip
    with torch.inference_mode(False):  # priors that learn, and those with a gradient, need autograd
        found = as_pixels(picture, range)
        floor = 0.0 if simulate else found.rounding
        job = replace(job, floor=floor, range=found.range, curve=found.curve, stripes=stripes)
        clean = None if truth is None else truth_pixels(truth, picture, found.range)
        done = run(job, found.x, truth=clean, callbacks=callbacks, say=say)
    return replace(done, picture=found.back(done.restored))


def run(
    job: Job,
    pixels: Tensor,
    *,
    truth: Tensor | None = None,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = lambda line: None,
    after: Memory | None = None,
    sooner: int = 1,
) -> Restoration:
    """Restore one batch of pictures (B, C, H, W), or of measurements, by a Job.

    truth, callbacks, say: as for `restore`.  after: what a solve before has left (`Result.memory`).  sooner: by what
    factor the stop rules wait less; where nothing but a small change ends the solve it has so many iterations fewer.
    Raises ValueError (SpecError for specs), TypeError for a solver that prior or noise does not fit.
    """
    begun = time.perf_counter()
    said: list[str] = []
    say = _both(said.append, say)
    parts = build(job, pixels, truth)
    for line in parts.said:
        say(line)
    y = parts.y
    _check_truth(parts, parts.operator.visible(y.new_zeros(len(y), *parts.operator.image_shape(tuple(y.shape[1:])))))
    parts, striped = offsets.subtracted(job, parts, say)
    job = replace(job, tables=None) if striped else job  # y is no longer what JPEG has written
    doing("estimating the noise")
    noise = settle.level(job, parts, say)
    parts = settle.counted(parts, noise.noise, say)
    doing(f"looking at the {parts.operator.called}")
    parts, finding = unknown.found(job, parts, say)
    if finding is not None and finding.point:
        measured = parts.operator.visible(parts.operator.initial(y))
        return _unchanged(job, parts, noise, finding, striped, measured, begun, said)
    if finding is not None:
        noise = settle.at_least(job, parts, noise, finding.error, say)
    else:
        parts = turned.righted(job, parts, noise, say)
    doing("looking at the light")
    told = parts
    space, parts, noise = stabilised.of(job, parts, noise, say) or lights.of(job, parts, noise, say)
    judgements = settle.judged(replace(job, hidden=space.hidden), parts, noise.noise)
    noise = settle.beside_error(job, noise, judgements, say)
    noise = settle.where_dense(job, told, noise, space.hidden / job.hidden if job.hidden else 1.0, say)
    metric = None if parts.truth is None else _Psnr(parts.operator, parts.truth, space)
    ways = _Ways(callbacks, say, metric, after, sooner, begun)
    done, noise = _without_grain(job, parts, _attempt(job, parts, noise.noise, ways), noise, space, ways)
    result, plain = done.result, space.encoded(parts.operator.visible(done.x0))
    # what the person has, stripes and noise and all
    initial = parts.operator.visible(parts.operator.initial(y)) if striped or space.unbiased else plain
    outside = guard.beyond(job, told, space.encoded(parts.operator.visible(result.x)), plain)
    if bool(outside.any()) and _raisable(job, noise):
        say(f"{guard.OUTSIDE}: once more with {guard.GENTLER:g} times the noise")
        gentler = _attempt(job, parts, noise.noise.scaled(guard.GENTLER), ways._replace(after=None)).result.x
        result = replace(result, x=torch.where(outside.view(-1, 1, 1, 1), gentler, result.x))
        source = f"{noise.source}; times {guard.GENTLER:g} where the result went far beyond black and white"
        noise = noise._replace(source=source)
        outside = guard.beyond(job, told, space.encoded(parts.operator.visible(result.x)), plain)
    doubt = unknown.doubt(finding, job.guard, parts.y, parts.operator.visible(result.x))
    result, kept = guard.kept(job, parts, result, done.x0, judgements, outside, doubt)
    if Status.INTERRUPTED not in result.status:  # then somebody waits for the end
        doing("checking the result")
    total = time.perf_counter() - begun - (0 if metric is None else metric.seconds)
    restored = space.encoded(parts.operator.visible(result.x))
    if space.unbiased and any(kept):
        which = torch.tensor([bool(why) for why in kept], device=y.device).view(-1, 1, 1, 1)
        restored = torch.where(which, initial, restored)
    problem = result.problem
    sigma = Chosen(None if noise.source == settle.BLIND else numbers(settle.compact(problem.sigma)), noise.source)
    seconds = {"before": done.before, "solve": result.seconds, "total": total}
    verdict = verdicts(result.convergence, judgements, kept)
    if sigma.value is None:
        verdict = [reason or (EXPLAINED if guard.explains(job, parts) else UNJUDGED) for reason in kept]
    lam = Chosen(numbers(done.weight.lam), done.weight.source)
    record = _record(job, parts, done.used, result, sigma, lam, space.chosen, seconds, verdict, initial, restored)
    record = replace(record, stripes=striped or None, kernel=None if finding is None else finding.to_json(), said=said)
    if finding is not None:
        result = replace(result, maps=finding.maps)
    return Restoration(restored, restored, initial, parts.truth, result, done.used.solver, record)


def _raisable(job: Job, noise: settle.Level) -> bool:
    """Whether sigma was not told, and can be raised."""
    return job.sigma is None and noise.noise.scaled(2.0) is not noise.noise


def _without_grain(
    job: Job, parts: Parts, done: _Done, noise: settle.Level, space: Space, ways: _Ways
) -> tuple[_Done, settle.Level]:
    """Solved again with more noise, step by step, where the result may have amplified some; and the noise then.

    Where the grain stays it is the picture's own, and the first result is returned.  So it is where somebody has ended
    the run, or has said how long it may take: a solve that was cut short has little grain, and little else.
    """

    def left(found: _Done) -> Tensor:
        return guard.left(job, parts, space.encoded(parts.operator.visible(found.result.x)))

    first = left(done)
    sigma = torch.as_tensor(noise.noise.level(parts.y)).flatten().to(first)
    grainy = first > (guard.SIGMAS * sigma).clamp_min(guard.GRAIN)
    if not bool(grainy.any()) or Status.INTERRUPTED in done.result.status:
        return done, noise
    if not _raisable(job, noise) or noise.told or job.seconds is not None:
        ways.say("The result has grain: it may be amplified noise. If so, raise --sigma.")
        return done, noise
    again = ways._replace(after=None, say=lambda line: None)  # the same choices would be said again
    factors, found, now = torch.ones_like(first), done, first
    for _ in range(guard.STEPS):
        more = grainy & (now > guard.SMOOTH)
        factors = torch.where(more, guard.STEP * factors, factors)
        ways.say(f"The result has grain: once more with {settle.shown(factors)} times the noise")
        found, before = _attempt(job, parts, noise.noise.scaled(settle.compact(factors)), again), now
        if Status.INTERRUPTED in found.result.status:
            ended = replace(done.result, status=found.result.status, reason=found.result.reason)
            return done._replace(result=ended), noise
        now = left(found)
        if not bool((grainy & (now > guard.SMOOTH) & (now < guard.STAYS * before)).any()):
            break
    fades = grainy & (now < guard.FADES * first)
    if not bool(fades.any()):
        ways.say("The grain stays, so it is taken for texture, and the first result is kept.")
        return done, noise
    factors = torch.where(fades, factors, 1.0)
    source = f"{noise.source}; raised {settle.shown(factors)} times, since it was amplified"
    raised = noise._replace(noise=noise.noise.scaled(settle.compact(factors)), source=source)
    if bool((grainy & ~fades).any()):  # of a batch, some pictures have grain that stays
        found = _attempt(job, parts, raised.noise, again)
    return found, raised


def _both(first: Callable[[str], None], second: Callable[[str], None]) -> Callable[[str], None]:
    """Say a line to both."""

    def say(line: str) -> None:
        first(line)
        second(line)

    return say


def _unchanged(
    job: Job,
    parts: Parts,
    noise: settle.Level,
    finding: unknown.Finding,
    striped: dict[str, float],
    initial: Tensor,
    begun: float,
    said: list[str],
) -> Restoration:
    """The measured picture without its stripes: what was unknown turned out to do nothing, so nothing is solved."""
    problem = Problem(parts.operator, parts.y, parts.prior, noise.noise)
    used = settle.solver(job, parts, problem, settle.rule_for(job, parts, noise.noise), lambda line: None)
    x = problem.initial()
    plain, count = parts.operator.visible(x), len(x)
    result = Result(
        x,
        (Status.CONVERGED,) * count,
        (f"the {parts.operator.called} is a point",) * count,
        (0,) * count,
        (0,) * count,
        0.0,
        Recorder((), {}).history(),
        Convergence(None, x.new_zeros(count), True, problem, x),
        problem,
        Memory({}, {}),
        finding.maps,
    )
    sigma = Chosen(numbers(settle.compact(problem.sigma)), noise.source)
    seconds = {"before": time.perf_counter() - begun, "solve": 0.0, "total": time.perf_counter() - begun}
    verdict = [unknown.doubt(finding, job.guard, parts.y, plain)] * count
    lam, light = Chosen(1.0, f"without a say: {UNSOLVED}"), Light("srgb", UNSOLVED)
    record = _record(job, parts, used, result, sigma, lam, light, seconds, verdict, initial, plain)
    record = replace(record, theory=UNSOLVED, residual_over_noise=None, residual_whiteness=None,
                     stripes=striped or None, kernel=finding.to_json(), said=said)  # fmt: skip
    return Restoration(plain, plain, initial, parts.truth, result, used.solver, record)


class _Ways(NamedTuple):
    """How a solve is told and timed, and what it goes on from: the arguments of `run`."""

    callbacks: Sequence[Callback]
    say: Callable[[str], None]
    metric: _Psnr | None
    after: Memory | None
    sooner: int
    begun: float


class _Done(NamedTuple):
    """A solve with what was settled for it; x0: the plain guess.  before: seconds until its first step."""

    result: Result
    used: settle.Used
    weight: settle.Weight
    x0: Tensor
    before: float


def _attempt(job: Job, parts: Parts, noise: Noise, ways: _Ways) -> _Done:
    """The solve for this noise, with what nobody gave settled."""
    say = ways.say
    rule = settle.rule_for(job, parts, noise)
    parts = settle.tuned(parts, rule, noise.level(parts.y), say)
    problem = Problem(parts.operator, parts.y, settle.above_the_darkest(parts, noise.level(parts.y), say), noise)
    solver, source = settle.solver(job, parts, problem, rule, say)
    stop = settle.stop(job, rule, solver, say)
    plain = problem.initial()
    _check_truth(parts, parts.operator.visible(plain))
    if parts.saturated is not None:
        weight = _without_saturated(job, parts, problem, solver, rule, stop, say)
    else:
        weight = settle.weight(job, parts, problem, solver, rule, plain, say)
    x0 = weight.x0
    if ways.after is None and solver.constrained:  # who is led by a first guess
        x0 = settle.first_guess(job, problem, x0, say)
    problem = problem.weighted(weight.lam)
    before = time.perf_counter() - ways.begun
    solver, stop = _sooner(job, parts, solver, stop, ways.sooner)
    if job.seconds is not None:
        stop = [*stop, Seconds(max(1e-3, job.seconds - before))]
    result = solve(
        problem,
        solver,
        x0=x0,
        iterations=job.iterations,
        stop=stop,
        record=("change", "residual"),
        metrics={} if ways.metric is None else {"psnr": ways.metric},
        callbacks=ways.callbacks,
        after=ways.after,
    )
    result = _spared(result, problem, solver, x0)
    if parts.operator.pixelwise and parts.operator.known() is not None and "parametrise" in parts.prior.offers():
        result = _with_what_is_known(result, problem, say)
    return _Done(result, settle.Used(solver, source), weight, plain, before)


def _without_saturated(
    job: Job,
    parts: Parts,
    problem: Problem,
    solver: Solver,
    rule: Rule | None,
    stop: list[StopRule],
    say: Callable[[str], None],
) -> settle.Weight:
    """The weight that fits the pixels that are not saturated, and the picture that these show: where to begin.

    From the plain guess a saturated core would grow by a little in each iteration.  Raises KeyboardInterrupt.
    """
    assert parts.saturated is not None
    known = ~parts.saturated.any(0)
    hidden = parts.operator.masked(known.to(parts.y)).to(parts.y.device)
    alone = Problem(hidden, parts.y, parts.prior, Gaussian(problem.sigma))
    weight = settle.weight(job, parts._replace(operator=hidden), alone, solver, rule, alone.initial(), say)
    clock = [] if job.seconds is None else [Seconds(job.seconds / 3)]
    result = solve(alone.weighted(weight.lam), solver, x0=weight.x0, iterations=job.iterations, stop=[*stop, *clock],
                   record=())  # fmt: skip
    if Status.INTERRUPTED in result.status:
        raise KeyboardInterrupt
    return weight._replace(x0=result.x)


def _record(
    job: Job,
    parts: Parts,
    used: settle.Used,
    result: Result,
    sigma: Chosen,
    lam: Chosen,
    light: Light,
    seconds: dict[str, float],
    verdict: list[str],
    initial: Tensor,
    restored: Tensor,
) -> Record:
    """The record of a solve; a residual whose noise is not known is not judged."""
    end, known = result.convergence, sigma.value is not None
    return Record(
        job=job.settings(),
        solver={**settings_of(used.solver, job.iterations or used.solver.iterations), "source": used.source},
        shape={"measurement": list(parts.y.shape), "image": list(restored.shape)},
        noise=result.problem.noise.described(),
        sigma=sigma,
        lam=lam,
        light=light,
        precision="; ".join(dict.fromkeys(map(str, parts.prior.runs_in(parts.y.device)))) or None,
        status=[s.name.lower() for s in result.status],
        reason=list(result.reason),
        iterations=list(result.iterations),
        chosen=list(result.chosen),
        theory=str(end),
        lipschitz=None if end.lipschitz is None else rounded(end.lipschitz),
        residual_over_noise=rounded(end.fit) if known else None,
        residual_whiteness=None if end.whiteness is None else rounded(end.whiteness),
        verdict=verdict,
        seconds=seconds,
        history=history_of(result),
        objective=objective_of(result),
        metrics=None if parts.truth is None else scores(initial, restored, parts.truth),
        mask=[line.removeprefix("mask: ") for line in parts.said] or None,
    )


def _sooner(job: Job, parts: Parts, solver: Solver, stop: list[StopRule], factor: int) -> tuple[Solver, list[StopRule]]:
    """Stop rules that wait less; where nothing but a small change ends the solve, fewer iterations."""
    asked = job.iterations or job.stop or parts.sets("iterations")
    if factor > 1 and not asked and all(isinstance(rule, Tolerance) for rule in stop):
        solver = replace(solver, iterations=max(1, solver.iterations // factor))  # type: ignore[call-arg]
    return solver, [rule.sooner(factor) for rule in stop]


def _check_truth(parts: Parts, like: Tensor) -> None:
    """ValueError for a truth that does not show what the restored picture shows."""
    if parts.truth is not None and parts.truth.shape != like.shape:
        raise ValueError(
            f"the truth has shape {tuple(parts.truth.shape)}; the restored picture has {tuple(like.shape)}."
        )


def _spared(result: Result, problem: Problem, solver: Solver, x0: Tensor) -> Result:
    """The result with the first guess in place of pictures whose iteration ran away before it had gained anything.

    Raises ValueError where that is all of them.
    """
    away = torch.tensor([status is Status.DIVERGED for status in result.status], device=x0.device)
    if not bool(away.any()):
        return result
    moved = problem.residual(x0) + 1e-3 * problem.noise_norm()  # a first guess may fit exactly: missing pixels
    lost = away & (problem.residual(result.x) >= moved)
    first = int(away.nonzero()[0])
    advice = f"{type(solver).__name__} diverged ({result.reason[first]}): lower its tau, or leave it out."
    if bool(lost.all()):
        raise ValueError(advice)
    warnings.warn(f"{advice}  The result is the iterate that moved least, or the first guess.", stacklevel=3)
    return replace(result, x=torch.where(lost.view(-1, 1, 1, 1), x0, result.x))


def _with_what_is_known(result: Result, problem: Problem, say: Callable[[str], None]) -> Result:
    """The result, its known pixels nearer to y where a network had not learned them up to their noise at its limit.

        x <- prox_{t f}(x), which is (sigma² x + t y)/(sigma² + t) at a known pixel;   t = (‖Ax − y‖² − m sigma²)₊/m

    is the likeliest picture if the network's is wrong by noise of variance t.  The record stays the network's.
    """
    late = torch.tensor([status is Status.LIMIT for status in result.status], device=result.x.device)
    excess = problem.residual(result.x) ** 2 - problem.noise_norm() ** 2
    which = late & (excess > 0)
    if not bool(which.any()):
        return result
    say("known pixels: the network had not learned them up to their noise; they are drawn towards the measured ones")
    t = (excess / problem.measurements()).clamp_min(1e-12).view(-1, 1, 1, 1)
    return replace(result, x=torch.where(which.view(-1, 1, 1, 1), problem.data_prox(result.x, t, result.x), result.x))


class _Psnr:
    """Of what the operator shows of an image, in the values of the file; seconds: what asking for it has taken."""

    def __init__(self, operator: Operator, truth: Tensor, space: Space) -> None:
        self.operator, self.truth, self.space, self.seconds = operator, truth, space, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        begun = time.perf_counter()
        value = metrics.psnr(self.space.encoded(self.operator.visible(x)), self.truth)
        self.seconds += time.perf_counter() - begun
        return value
