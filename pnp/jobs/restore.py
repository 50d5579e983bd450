"""From spec strings and a picture to a restored picture: what `pnp solve` does with each input."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .. import checks, metrics, priors
from .. import operators as operators
from .. import solvers as solvers  # they fill their registries
from ..core.loop import Callback, Memory, Result, Status, solve
from ..core.problem import Problem
from ..core.solver import Solver
from ..core.stopping import Seconds, StopRule, Tolerance
from ..core.stopping import parse as parse_stop
from ..noises import ClippedGaussian, Gaussian
from ..noises.clipped import find
from ..noises.level import of_file
from ..operators.base import Operator
from ..parameters import rules
from ..parameters.default import default_solver
from ..parameters.weight import fit_lam
from ..registry import NOISES, OPERATORS, SOLVERS, Spec, SpecError

DISCREPANCY = 0.97  # residual aimed at, in sigma √m: the restored picture fits a little of the noise
SIMULATED_SIGMA = 0.01
BLIND = "neither known nor used"
UNJUDGED = {  # of a record, where sigma is not known
    "sigma": {"value": None, "source": BLIND},
    "residual_over_noise": None,
    "verdict": ["the noise level is not known, so that the residual is not judged"],
}
FAR_FROM_UNIT = 2.0  # mean of a picture's |values|


@dataclass(frozen=True)
class Job:
    """What to do with a picture, all of it as text and numbers, so that it can be repeated from a record.

    simulate: the picture is clean; degrade it first with `noise` (default: Gaussian of `sigma`, 0.01 if not given).
    sigma: noise level told to the solver; None: estimated, with what the file's format has rounded away: floor and
    hidden are stds in image units (`Picture.rounding`, `Picture.hidden`).  lam: weight of the prior; None: that of the
    table of rules, the prior's own, or fitted by discrepancy.  solver: None is the table's, or the first that fits.
    stop: specs of stop rules, `wmv+discrepancy`; None is the table's, or a relative change of `tol`.
    size: (C, H, W) of the image, where y does not tell.  recursive: the pages are frames (`movie.restore_movie`).
    rules: file of a table whose rows go before those of the shipped one.
    """

    op: str
    prior: str
    solver: str | None = None
    sigma: float | None = None
    lam: float | None = None
    simulate: bool = False
    noise: str | None = None
    seed: int = 0
    iterations: int | None = None
    stop: str | None = None
    tol: float = 1e-4
    seconds: float | None = None
    recursive: bool = False
    device: str = "cpu"
    size: tuple[int, int, int] | None = None
    rules: str | None = None
    floor: float = 0.0
    hidden: float = 0.0


@dataclass(frozen=True)
class Restoration:
    """A restored batch with what it was made from; pictures are cut to the measurement's field of view."""

    restored: Tensor
    initial: Tensor  # the operator's plain guess: what the person has
    truth: Tensor | None
    result: Result
    solver: Solver
    record: dict[str, Any]  # the numbers, ready for JSON


def restore(
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

    truth: the clean pictures, for scores only.  callbacks: passed to the loop.  say: hears one line about each choice.
    after: what a solve before has left (`Result.memory`).  sooner: by what factor the stop rules wait less; where
    nothing but a small change ends the solve it has so many iterations fewer.
    Raises ValueError (SpecError for specs), TypeError for a solver that the prior does not fit.
    """
    begun = time.perf_counter()
    pixels = pixels.to(checks.device(job.device))
    _check_range(job.sigma, pixels)
    if job.simulate:
        truth = pixels
    operator, y = simulated(job, pixels) if job.simulate else _measured(job, pixels)
    shape = operator.image_shape(tuple(y.shape[1:]))
    prior = priors.parse(job.prior, shape=shape, seed=job.seed)
    sigma, sigma_source = _sigma(job, operator, y, say)
    rule = rules.find(prior, operator, job.solver, job.rules)
    if rule is not None and operator.pictorial and float(pixels.abs().flatten(1).mean(1).max()) > FAR_FROM_UNIT:
        warnings.warn(
            f"the picture has values from {float(pixels.min()):g} to {float(pixels.max()):g}; {job.prior} and its "
            "settings are for pictures from 0 to 1: divide it by its white, unless white is 1.",
            stacklevel=2,
        )
    solver = _solver(job, prior, rule, sigma, say)
    stop = _stop(job, rule, solver, say)
    noise = Gaussian(sigma) if find(y, sigma, operator.known()) is None else ClippedGaussian(sigma)
    problem = Problem(operator, y, prior, noise)
    x0 = problem.initial()
    initial = operator.visible(x0)
    target = None if truth is None else _visible_truth(operator, truth.to(job.device), shape, initial)
    lam, lam_source, x0 = _lam(job, problem, solver, rule, x0, say)
    if after is None and getattr(solver, "within", None) is not None:  # who is led by a first guess
        x0 = _by_the_rest(problem, x0, math.inf if job.seconds is None else job.seconds / 2, say, job.rules)
    problem = problem.weighted(lam)
    before = time.perf_counter() - begun
    left = None if job.seconds is None else max(1e-3, job.seconds - before)
    metric = None if target is None else _Psnr(operator, target)
    asked = job.iterations or job.stop or _sets(job, "iterations")
    if sooner > 1 and not asked and all(isinstance(r, Tolerance) for r in stop):
        solver = replace(solver, iterations=max(1, solver.iterations // sooner))  # type: ignore[call-arg]
    stop = [r.sooner(sooner) for r in stop] + ([Seconds(left)] if left else [])
    result = solve(
        problem,
        solver,
        x0=x0,
        iterations=job.iterations,
        stop=stop,
        record=("change", "residual"),
        metrics={} if metric is None else {"psnr": metric},
        callbacks=callbacks,
        after=after,
    )
    total = time.perf_counter() - begun - (0 if metric is None else metric.seconds)
    result = _spared(result, problem, solver, x0)
    if operator.task == "mask" and "parametrise" in prior.offers():
        result = _with_what_is_known(result, problem, say)
    restored = operator.visible(result.x)
    limit = job.iterations or solver.iterations
    record = {
        "job": asdict(job),
        "solver": {"name": type(solver).__name__, **_plain({**asdict(solver), "iterations": limit})},
        "shape": {"measurement": list(y.shape), "image": list(restored.shape)},
        "sigma": {"value": _numbers(sigma), "source": sigma_source},
        "lam": {"value": _numbers(lam), "source": lam_source},
        "precision": "; ".join(dict.fromkeys(map(str, prior.runs_in(y.device)))) or None,  # of networks
        "status": [s.name.lower() for s in result.status],
        "reason": list(result.reason),
        "iterations": list(result.iterations),
        "chosen": list(result.chosen),
        "theory": str(result.convergence),
        "lipschitz": _maybe(result.convergence.lipschitz),
        "residual_over_noise": _numbers(result.convergence.fit),
        "residual_whiteness": _maybe(result.convergence.whiteness),
        "verdict": list(result.convergence.verdict),
        **_certificate(result),
        **(UNJUDGED if sigma_source == BLIND else {}),
        **({} if target is None else {"metrics": _scores(initial, restored, target)}),
        "seconds": {"before": before, "solve": result.seconds, "total": total},
        "history": {name: [_numbers(row, 5) for row in rows] for name, rows in result.history.items()},
    }
    return Restoration(restored, initial, target, result, solver, record)


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
    warnings.warn(f"{advice}  What is written is the iterate that moved least, or the first guess.", stacklevel=3)
    return replace(result, x=torch.where(lost.view(-1, 1, 1, 1), x0, result.x))


def _with_what_is_known(result: Result, problem: Problem, say: Callable[[str], None]) -> Result:
    """The result, its known pixels nearer to y where a network had not learned them up to their noise at its limit.

        x <- prox_{t f}(x), which is (sigma² x + t y)/(sigma² + t) at a known pixel;   t = (‖Ax − y‖² − m sigma²)₊/m

    is the likeliest picture if the network's is wrong by noise of variance t.  The report stays that of the network.
    """
    late = torch.tensor([status is Status.LIMIT for status in result.status], device=result.x.device)
    excess = problem.residual(result.x) ** 2 - problem.noise_norm() ** 2
    which = late & (excess > 0)
    if not bool(which.any()):
        return result
    say("known pixels: the network had not learned them up to their noise; they are drawn towards the measured ones")
    t = (excess / problem.measurements()).clamp_min(1e-12).view(-1, 1, 1, 1)
    return replace(result, x=torch.where(which.view(-1, 1, 1, 1), problem.data_prox(result.x, t, result.x), result.x))


def _check_range(sigma: float | None, pixels: Tensor) -> None:
    if sigma is not None and sigma > 1 and float(pixels.min()) >= 0 and float(pixels.max()) <= 1:
        raise ValueError(
            f"sigma is {sigma:g}, more than the whole range of the picture, 0 to 1; a level of {sigma:g} in units of 8 "
            f"bits is {sigma:g}/255."
        )


def simulated(job: Job, clean: Tensor) -> tuple[Operator, Tensor]:
    """The operator of the job, and what it measures of a clean picture, with noise."""
    operator = OPERATORS.build(job.op, shape=tuple(clean.shape[1:]), seed=job.seed).to(clean.device)
    add = NOISES.build(job.noise or f"gaussian:sigma={SIMULATED_SIGMA if job.sigma is None else job.sigma}")
    return operator, add.draw(operator(clean), torch.Generator().manual_seed(job.seed))


def _measured(job: Job, y: Tensor) -> tuple[Operator, Tensor]:
    if job.noise is not None:
        raise SpecError("--noise is for --simulate; nothing is added to a measured picture.")
    if job.size is None and job.op.startswith("sensing"):
        raise SpecError(
            f"what {job.op} measures is no picture but a row of numbers: give it as .npy, and --size HxW of its image; "
            "or --simulate, to measure a clean picture first."
        )
    shape = tuple(y.shape[1:]) if job.size is None else job.size
    context: dict[str, Any] = {"border": "valid", "seed": job.seed, "measured": True}
    if not job.op.startswith("downsample"):  # its image is larger than y, by a factor that y does not tell
        context["shape"] = shape
    operator = OPERATORS.build(job.op, **context).to(y.device)
    if job.size is not None and operator.pictorial:
        raise SpecError(f"--size is for compressive measurements; {operator.name} knows the size from the picture.")
    return operator, y


def _solver(
    job: Job, prior: priors.Prior, rule: rules.Rule | None, sigma: float | Tensor, say: Callable[[str], None]
) -> Solver:
    """The one that was asked for, else the rule's, else the first that fits; a rule also fills in what it knows."""
    if rule is not None and (job.solver is None or type(SOLVERS.build(job.solver)) is type(SOLVERS.build(rule.solver))):
        solver = rule.make(sigma, job.lam, job.solver)
        first, last = (_shown(torch.as_tensor(s)) for s in rule.strength(sigma))
        what = "the root of tau" if prior.kind == "projector" else "strength"
        falls = f", {what} {first} to {last}" if rule.start and not _sets(job, "tau") else ""
        say(f"solver: {job.solver or rule.solver}, {solver.iterations} iterations{falls}")
    elif job.solver is None:
        spec = default_solver(prior)
        solver = SOLVERS.build(spec)
        say(f"solver: {spec} (the first that fits {prior.name})")
    else:
        solver = SOLVERS.build(job.solver)
    return solver


def _stop(job: Job, rule: rules.Rule | None, solver: Solver, say: Callable[[str], None]) -> list[StopRule]:
    """The rules that were asked for, else the table's for its own solver, else a small change."""
    text = job.stop or (rule.stop if rule is not None and _of_rule(rule, solver) else "")
    if not text:
        return [Tolerance(job.tol)]
    say(f"stop: {text}")
    return parse_stop(text)


def _of_rule(rule: rules.Rule, solver: Solver) -> bool:
    """Whether this is the row's solver, and under a constraint where the row's is."""
    own = SOLVERS.build(rule.solver)
    constrained = [getattr(s, "within", None) is not None for s in (own, solver)]
    return type(solver) is type(own) and constrained[0] == constrained[1]


def _sets(job: Job, option: str) -> bool:
    return job.solver is not None and option in Spec.parse(job.solver).options


def _sigma(job: Job, operator: Operator, y: Tensor, say: Callable[[str], None]) -> tuple[float | Tensor, str]:
    if job.sigma is not None:
        return job.sigma, "given"
    added = SIMULATED_SIGMA if job.simulate and job.noise is None else None
    if not operator.pictorial:
        if added is not None:
            return added, "simulated"
        if job.solver is not None and getattr(SOLVERS.build(job.solver), "blind", False):
            return _compact(y.square().flatten(1).mean(1).sqrt()), BLIND  # any number would do
        raise ValueError(
            "this measurement is no picture, so its noise cannot be estimated.  Give sigma, or a blind solver."
        )
    sigma, _, source = of_file(y, operator.known(), job.floor, job.hidden, pixelwise=operator.pixelwise)
    if added is not None and float((sigma / added).log().abs().max()) > 0.3:
        warnings.warn(f"the estimated sigma is far from the noise that was added, {added}.", stacklevel=2)
    say(f"sigma: {_shown(sigma)} ({source})")
    return _compact(sigma), "estimated"


def _lam(
    job: Job, problem: Problem, solver: Solver, rule: rules.Rule | None, x0: Tensor, say: Callable[[str], None]
) -> tuple[float | Tensor, str, Tensor]:
    if job.lam is not None:
        if getattr(solver, "within", None) is not None:
            say("lam: under a constraint the data have no weight; it sets the strength of the prior's steps alone")
        return job.lam, "given", x0
    falling = rule is not None and rule.start > 0  # then the weight belongs to that solver, else to f + lam g
    if rule is not None and (not falling or (_of_rule(rule, solver) and not _sets(job, "tau"))):
        say(f"lam: {rule.lam:g} (the rule for {' and '.join(rules.key(problem.prior, problem.operator))})")
        return rule.lam, "rule", x0
    if problem.prior.lam is not None:
        say(f"lam: {problem.prior.lam:g} (the default of {problem.prior.name})")
        return problem.prior.lam, "default of the prior", x0
    lam, x = fit_lam(problem, solver, c=DISCREPANCY, seconds=math.inf if job.seconds is None else job.seconds / 2)
    say(f"lam: {_shown(lam)} (chosen to bring the residual to {DISCREPANCY} sigma √m)")
    return _compact(lam), f"discrepancy, residual = {DISCREPANCY} sigma sqrt(m)", x


def _by_the_rest(problem: Problem, x0: Tensor, seconds: float, say: Callable[[str], None], own: str | None) -> Tensor:
    """Where something draws the picture beside one other prior: what that one restores by its rules; else x0.

    Raises KeyboardInterrupt when interrupted.
    """
    drawn = [p for _, p in problem.prior.terms if "parametrise" in p.offers()]
    rest = [p for _, p in problem.prior.terms if "parametrise" not in p.offers()]
    if not drawn or len(rest) != 1:
        return x0
    rule = rules.find(rest[0], problem.operator, None, own)
    if rule is None and not rest[0].closed_convex:
        return x0
    say(f"first guess: by {rest[0].name} alone")
    alone = replace(problem, prior=rest[0], lam=1.0 if rule is None else rule.lam)
    if rule is None:
        return fit_lam(alone, SOLVERS[default_solver(rest[0])].make(), c=DISCREPANCY, seconds=seconds)[1]
    limits = [Tolerance(1e-4), *([Seconds(seconds)] if math.isfinite(seconds) else [])]
    result = solve(alone, rule.make(problem.sigma), x0=x0, stop=limits, record=())
    if Status.INTERRUPTED in result.status:
        raise KeyboardInterrupt
    return result.x


def _visible_truth(operator: Operator, truth: Tensor, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """The truth over the field of view, whether it shows just that or the whole image.  Raises ValueError."""
    if tuple(truth.shape[1:]) == shape:
        truth = operator.visible(truth)
    if truth.shape != like.shape:
        raise ValueError(f"the truth has shape {tuple(truth.shape)}; the restored picture has {tuple(like.shape)}.")
    return truth


class _Psnr:
    """Of what the operator shows of an image; seconds: what asking for it has taken."""

    def __init__(self, operator: Operator, truth: Tensor) -> None:
        self.operator, self.truth, self.seconds = operator, truth, 0.0

    def __call__(self, x: Tensor) -> Tensor:
        begun = time.perf_counter()
        value = metrics.psnr(self.operator.visible(x), self.truth)
        self.seconds += time.perf_counter() - begun
        return value


def _scores(initial: Tensor, restored: Tensor, truth: Tensor) -> dict[str, list[float] | float]:
    """PSNR and SSIM per picture."""
    return {
        "psnr_initial": _numbers(metrics.psnr(initial, truth)),
        "psnr": _numbers(metrics.psnr(restored, truth)),
        "ssim_initial": _numbers(metrics.ssim(initial, truth)),
        "ssim": _numbers(metrics.ssim(restored, truth)),
    }


def _compact(values: Tensor) -> float | Tensor:
    """A number for a batch of one, (B, 1, 1, 1) for more."""
    return float(values) if values.numel() == 1 else values.view(-1, 1, 1, 1)


def _numbers(value: float | Tensor, digits: int = 9) -> list[float] | float:
    if not isinstance(value, Tensor):
        return float(value)
    found = [float(f"{v:.{digits}g}") for v in value.flatten().tolist()]
    return found if value.ndim else found[0]


def _certificate(result: Result) -> dict[str, Any]:
    """Of a solver that has the objective: how far it fell, and by how much of that it ever rose in one iteration."""
    values = result.history.get("objective")
    if values is None:
        return {}
    rises = (values[1:] - values[:-1]).clamp_min(0).amax(0) if len(values) > 1 else torch.zeros_like(values[0])
    fall = (values[0] - values[-1]).abs().clamp_min(1e-30)
    return {"objective": {"first": _numbers(values[0]), "last": _numbers(values[-1]), "rise": _numbers(rises / fall)}}


def _maybe(values: Tensor | None) -> list[float] | float | None:
    return None if values is None else _numbers(values)


def _shown(values: Tensor) -> str:
    return ", ".join(f"{v:.3g}" for v in values.flatten().tolist()[:8])


def _plain(value: Any) -> Any:
    """Settings as JSON knows them."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Tensor):
        return _numbers(value)
    return value if isinstance(value, int | float | str | None) else repr(value)
