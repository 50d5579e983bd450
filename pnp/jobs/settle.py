"""What nobody gave, settled before a solve: the noise, the solver, when it stops, the weight, the first guess.

Each choice says its reason.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from ..core.loop import solve
from ..core.problem import Problem
from ..core.result import Status
from ..core.solver import Solver, fits
from ..core.stopping import Seconds, StopRule, Tolerance
from ..core.stopping import parse as parse_stop
from ..noises.base import Noise
from ..noises.clipped import ClippedGaussian, find
from ..noises.gaussian import Gaussian
from ..noises.jpeg import Jpeg, Quantised, density, survived
from ..noises.level import PoissonGaussian, estimate_noise, of_file, seen_in_file
from ..noises.poisson import Poisson
from ..parameters import rules
from ..parameters.default import default_solver
from ..parameters.rules import Rule
from ..parameters.weight import fit_lam
from ..priors.base import Prior
from ..priors.bounds import AtLeast
from ..priors.sum import Sum
from ..progress import doing, part
from ..registry import NOISES, SOLVERS, Spec, SpecError
from .evidence import Judgement, judge
from .job import SIMULATED_SIGMA, Job, Parts

DISCREPANCY = 0.97  # residual aimed at, in sigma √m: the restored picture fits a little of the noise
LIGHT, REACH, WIDE = 10.0, 12, 65  # stds of the noise above the ground; pixels
HIDDEN = 0.02  # share of the pixels; as many can be filled in
PAGES = 4  # of a stack that are looked at for its kernel
FAR_FROM_UNIT = 2.0  # mean of a picture's |values|
FEW_PHOTONS = 2.0  # on average: a denoiser beside their own likelihood gained −0.1 to 3.8 dB below, −0.3 to 0 above
# white noise in JPEG's error, and the share of it that `survived`: colour JPEGs with more lost up to 1 dB by its model
MOSTLY, SURVIVES = 0.5, 0.5
DENSE = 0.65  # of `density`: 14 blurred training JPEGs of quality 10 lost 0.03 dB to their best sigma, without it 0.13
READ_OUT = 0.05  # of the brightest sample: a camera's noise in the dark, and not an offset
BLIND = "neither known nor used"

Say = Callable[[str], None]


class Level(NamedTuple):
    """A noise with its level, and where that comes from.  told: whether the level was told with the noise.

    photons: how it grows with brightness, where nothing was told.
    """

    noise: Noise
    source: str
    told: bool = False
    photons: PoissonGaussian | None = None


class Used(NamedTuple):
    """A solver, and where it comes from."""

    solver: Solver
    source: str


class Weight(NamedTuple):
    """lam, a number or (B, 1, 1, 1), where it comes from, and a picture near the one it leads to."""

    lam: float | Tensor
    source: str
    x0: Tensor


def level(job: Job, parts: Parts, say: Say) -> Level:
    """The noise of the measurement: the one that was given, or the kind that it shows, its level told or estimated.

    Raises ValueError where it cannot be estimated.
    """
    given = job.noise
    if isinstance(given, str | Spec):
        spec = NOISES.parse(given)
        entry = NOISES[spec.name]
        said = entry.values(spec, "noise")
        if "tables" in entry.parameters() and not job.simulate and "quality" not in said:
            white = said.get("sigma", job.sigma)
            return _of_tables(job, parts, _before_jpeg(job, parts) if white is None else float(str(white)), say)
        if "sigma" in said or "sigma" not in entry.parameters():
            gain = {"gain": _gain(job, parts, say)} if "gain" in entry.missing(said) else {}
            given = NOISES.build(spec, **gain)
    if (white := _mostly_jpeg(job, parts)) is not None:
        return _of_tables(job, parts, white, say)
    if isinstance(given, Noise):
        if job.sigma is not None:
            raise SpecError(f"{given.name} noise is given with its level; leave --sigma out.")
        return Level(given, "of the noise that was given", told=True)
    if given is not None and parts.saturated is not None:
        raise SpecError("saturated pixels have a noise of their own. Leave --noise out.")
    sigma, source, photons = _sigma(job, parts, say)
    if given is not None:
        return Level(NOISES.build(given, sigma=sigma), source)
    if (assumed := _assumed(job, parts, sigma, say)) is not None:
        return Level(assumed, source)
    counted = photons is not None and bool(photons.counted.all())
    if photons is not None and counted and parts.saturated is None:  # no pixel is clipped: 0 is a count, too
        few = _of_few(job, parts, photons)
        return Level(Gaussian(sigma), source, photons=photons) if few is None else Level(few, source)
    clipped = find(parts.y, sigma, parts.operator.known()) is not None or parts.saturated is not None
    return Level(ClippedGaussian(sigma, parts.saturated) if clipped else Gaussian(sigma), source, photons=photons)


def counted(parts: Parts, noise: Noise, say: Say) -> Parts:
    """The parts with 0 for what the noise of the read-out has left below it, where the noise counts photons.

    Where y goes further down, black is not where it was told to be: `Poisson` refuses that.
    """
    y = parts.y
    below = y < 0
    if not isinstance(noise, Poisson) or not bool(below.any()) or float(y.min()) < -READ_OUT * float(y.max()):
        return parts
    say(f"noise: {float(below.float().mean()):.2%} of the samples are below black and count as no photon")
    return parts._replace(y=y.clamp_min(0))


def _mostly_jpeg(job: Job, parts: Parts) -> float | None:
    """The std of the white noise before JPEG, where nothing was told, a row of the table is for JPEG's noise, and most
    of the noise is its; else None: a sigma for all of it does as well or better.

    Grey files keep that sigma: where their quantisation has swallowed the noise, too little of it is seen.
    """
    told = job.noise is not None or job.sigma is not None or parts.asked is not None
    if told or job.tables is None or parts.y.shape[1] < 3 or parts.saturated is not None:
        return None
    if not rules.serves(parts.prior, parts.operator, Jpeg.rules, job.rules):
        return None
    white = _before_jpeg(job, parts)
    clean = white <= MOSTLY * job.hidden and float(survived(parts.y, Quantised(*job.tables)).max()) < SURVIVES
    return white if clean else None


def _before_jpeg(job: Job, parts: Parts) -> float:
    """The std of the white noise before JPEG: √(σ² − hidden²)₊, σ what shows by `noises.level.seen_in_file`."""
    seen = seen_in_file(parts.y, parts.operator.known(), job.floor, job.hidden, pixelwise=True)[0]
    return float((seen.square() - job.hidden**2).clamp_min(0).sqrt().median())


def _of_tables(job: Job, parts: Parts, white: float, say: Say) -> Level:
    """JPEG's noise by the tables of the file, with white noise of this std before it."""
    if job.tables is None:
        raise SpecError("This picture has no JPEG tables that fit its blocks. Give a quality, as the encoder had it: "
                        "--noise jpeg:quality=75.")  # fmt: skip
    noise = Jpeg(tables=Quantised(*job.tables), sigma=white)
    level = torch.as_tensor(noise.level(parts.y)).flatten()
    source = "by the quantisation tables of the file"
    say(f"sigma: {shown(level)} ({source}, and white noise of {white:.2g} before it)")
    return Level(noise, source)


def judged(job: Job, parts: Parts, noise: Noise) -> list[Judgement]:
    """What each picture's spectrum says of its operator; nothing of a simulation, whose operator is right.

    Where more than HIDDEN of the pixels are missing, or several side by side, they hide the spectrum, and saturated
    ones bend it, so nothing is said there either.  Pages of one instrument: the middle of what PAGES of them say.
    """
    y = parts.y
    if job.simulate or not parts.operator.pictorial or parts.saturated is not None or _hides(parts.operator.known()):
        return [Judgement()] * len(y)
    sigma = torch.as_tensor(noise.level(y)).flatten().expand(len(y)).tolist()
    some = range(len(y)) if job.each_page else range(0, len(y), -(-len(y) // PAGES))
    found: list[Judgement] = []
    for i in some:
        with part("page", len(found) + 1, len(some)):
            doing(f"checking the {parts.operator.called}")
            found.append(judge(parts.operator, y[i], sigma[i], job.hidden))
    if job.each_page:
        return found
    found.sort(key=lambda each: (each.rival is not None, each.factor))
    return [found[len(found) // 2]] * len(y)


def _hides(known: Tensor | None) -> bool:
    """Whether more is missing than lone pixels that can be filled in: a whole square of 2 x 2, or many."""
    if known is None:
        return False
    return 1 - float(known.float().mean()) > HIDDEN or bool((max_pool2d(known[None].float(), 2, 1) == 0).any())


def beside_error(job: Job, level: Level, judgements: list[Judgement], say: Say) -> Level:
    """The noise with the error of the operator counted in, where its level was not told."""
    factors = settled(job, torch.tensor([judgement.factor for judgement in judgements]))
    told = job.sigma is not None or isinstance(job.noise, Noise)
    if told or not bool((factors > 1).any()):
        return level
    error = "the error of the kernel"
    say(f"sigma: raised {shown(factors)} times for {error}")
    return level._replace(noise=level.noise.scaled(compact(factors)), source=f"{level.source}, raised for {error}")


def where_dense(job: Job, parts: Parts, level: Level, scale: float, say: Say) -> Level:
    """The noise, its sigma at least DENSE times the `density` of a JPEG's error, where an operator amplifies it.

    parts: in the values of the file.  scale: what a small difference there is where the solve runs.
    """
    estimated = job.sigma is None and job.noise is None and job.tables is not None
    if not estimated or parts.operator.pixelwise or parts.operator.known() is not None or not parts.operator.pictorial:
        return level
    assert job.tables is not None
    dense = DENSE * scale * density(parts.y, Quantised(*job.tables))
    sigma = torch.as_tensor(level.noise.level(parts.y)).flatten().to(dense).expand(len(dense))
    if bool((sigma >= dense).all()):
        return level
    say(f"sigma: raised to {shown(torch.maximum(sigma, dense))}, the error of JPEG where it is dense")
    source = f"{level.source}, raised to JPEG's error where it is dense"
    return level._replace(noise=level.noise.scaled(compact((dense / sigma).clamp_min(1))), source=source)


def at_least(job: Job, parts: Parts, level: Level, error: float, say: Say) -> Level:
    """The noise, its sigma raised to the error of an operator that was found, where the level was not told."""
    sigma = torch.as_tensor(level.noise.level(parts.y)).flatten()
    if job.sigma is not None or isinstance(job.noise, Noise) or bool((sigma >= error).all()):
        return level
    say(f"sigma: raised to {error:g} for the error of the {parts.operator.called} that was found")
    factors = (error / sigma).clamp_min(1)
    source = f"{level.source}, raised for the error of the operator"
    return level._replace(noise=level.noise.scaled(compact(factors)), source=source)


def _of_few(job: Job, parts: Parts, photons: PoissonGaussian) -> Noise | None:
    """Poisson noise, where a denoiser meets few photons and its solver can take it; None: white noise does as well."""
    if not parts.prior.denoises or float((photons.mean / photons.gain).max()) >= FEW_PHOTONS:
        return None
    noise = Poisson(compact(settled(job, photons.gain)))
    offers = Problem(parts.operator, parts.y, parts.prior, noise).offers()
    used = _wanted(job, parts)
    return noise if used is None or fits(used, parts.prior, offers) else None


def _gain(job: Job, parts: Parts, say: Say) -> float | Tensor:
    """The brightness of one photon in each image, by how its noise grows with brightness.

    Raises ValueError where it does not.
    """
    if not parts.operator.pictorial:
        raise ValueError("Cannot estimate the gain from compressive measurements. Give it: --noise poisson:gain=...")
    gain = estimate_noise(*parts.operator.planes(parts.y))[1].gain
    flat = [i + 1 for i, grows in enumerate((gain > 0).flatten().tolist()) if not grows]
    if flat:
        which = f"page {', '.join(map(str, flat))}" if len(parts.y) > 1 else "this picture"
        raise ValueError(
            f"The noise of {which} does not grow with its brightness, so it is not photon noise. "
            "Leave --noise out, or give the gain: --noise poisson:gain=..."
        )
    gain = settled(job, gain)
    say(f"noise: photons of gain {shown(gain)} (estimated from the measurement{_for_all(job, parts.y)})")
    return compact(gain)


def _assumed(job: Job, parts: Parts, sigma: float | Tensor, say: Say) -> Noise | None:
    """The noise that the solver is made for, as strong as this sigma on average; None where it names none."""
    used = _wanted(job, parts)
    if used is None or used.assumes is None or parts.saturated is not None or not parts.operator.pictorial:
        return None
    mean = parts.y.clamp_min(0).flatten(1).mean(1)
    gain = torch.as_tensor(sigma, dtype=mean.dtype, device=mean.device).flatten() ** 2 / mean.clamp_min(1e-12)
    say(f"noise: {used.assumes}, as {type(used).__name__} assumes; gain {shown(gain)}")
    return NOISES.build(used.assumes, gain=compact(gain))


def _wanted(job: Job, parts: Parts) -> Solver | None:
    """The solver that was asked for, or that the table has for this prior and operator."""
    if parts.asked is not None:
        return parts.asked.solver
    rule = rules.find(parts.prior, parts.operator, None, job.rules)
    return None if rule is None else rule.own()


def settled(job: Job, found: Tensor) -> Tensor:
    """What each page shows, (B,); of pages of one instrument their median, (1,)."""
    return found if job.each_page else found.quantile(0.5).view(1)


def _for_all(job: Job, y: Tensor) -> str:
    return "" if job.each_page or len(y) == 1 else f", one for all {len(y)} pages"


def _sigma(job: Job, parts: Parts, say: Say) -> tuple[float | Tensor, str, PoissonGaussian | None]:
    """sigma, where it comes from, and the photons that y shows where it was estimated."""
    if job.sigma is not None:
        return job.sigma, "given", None
    added = SIMULATED_SIGMA if job.simulate else None
    if not parts.operator.described:
        return 1.0, BLIND, None  # any number would do
    if not parts.operator.pictorial:
        if added is not None:
            return added, "simulated", None
        if parts.asked is not None and parts.asked.solver.blindly:
            return compact(parts.y.square().flatten(1).mean(1).sqrt()), BLIND, None  # any number would do
        raise ValueError(
            "Cannot estimate the noise of compressive measurements. "
            "Pass --sigma, or use --prior dae --solver mean-shift:blind=true."
        )
    pixelwise = parts.operator.pixelwise
    # a weight that fits the residual to sigma would take out as much of the picture as sigma counts beside white noise
    lost = (0.0, 0.0) if pixelwise and parts.prior.closed_convex else (job.floor, job.hidden)
    sigma, photons, source = of_file(*parts.operator.planes(parts.y), *lost, pixelwise=pixelwise)
    if added is not None and float((sigma / added).log().abs().max()) > 0.3:
        warnings.warn(f"the estimated sigma is far from the noise that was added, {added}.", stacklevel=2)
    sigma = settled(job, sigma)
    say(f"sigma: {shown(sigma)} ({source}{_for_all(job, parts.y)})")
    return compact(sigma), "estimated", photons


def above_the_darkest(parts: Parts, sigma: float | Tensor, say: Say) -> Prior:
    """The prior, and beside saturated pixels that no place near a light is darker than the darkest around it.

        x >= min over WIDE x WIDE pixels of the means of 5 x 5 of y,   within REACH pixels of y > median + LIGHT sigma

    How bright a saturated core is, is not known, and a dark ring beside it would make up for a wrong guess.  Of priors
    that are functions alone, whose solvers take a sum term by term.
    """
    used, y = parts.prior, parts.y
    splits = parts.asked is None or parts.asked.solver.splits
    if parts.saturated is None or not (used.closed_convex and splits):
        return used
    x = parts.operator.initial(y)
    means = avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    darkest = -max_pool2d(max_pool2d(-means, (WIDE, 1), 1, (WIDE // 2, 0)), (1, WIDE), 1, (0, WIDE // 2))
    lights = (x > y[~parts.saturated].median() + LIGHT * torch.as_tensor(sigma).to(y)).to(y)
    near = max_pool2d(lights, 2 * REACH + 1, 1, REACH) > 0
    say("saturated: places near a light are taken to be at least as bright as the darkest around it")
    return Sum([*(used.terms or [(1.0, used)]), (1.0, AtLeast(torch.where(near, darkest, -math.inf)))])


def rule_for(job: Job, parts: Parts, noise: Noise) -> Rule | None:
    """The row of the table for this prior on this operator, this noise, and the solver that was asked for."""
    asked = None if parts.asked is None else parts.asked.name
    rule = rules.find(parts.prior, parts.operator, asked, job.rules, noise.rules)
    y = parts.y
    if rule is not None and parts.operator.pictorial and float(y.abs().flatten(1).mean(1).max()) > FAR_FROM_UNIT:
        warnings.warn(
            f"the picture has values from {float(y.min()):g} to {float(y.max()):g}. {parts.prior.name} and its "
            "settings are for pictures from 0 to 1: divide it by its white, unless white is 1.",
            stacklevel=2,
        )
    return rule


def tuned(parts: Parts, rule: Rule | None, sigma: float | Tensor, say: Say) -> Parts:
    """The parts, their prior at the strength that its rule says, where nobody has chosen one."""
    prior = parts.prior if rule is None else rule.tuned(parts.prior, sigma)
    if prior is parts.prior or prior.name == parts.prior.name:
        return parts
    say(f"prior: {prior.name} (the strength is from the rule for {' and '.join(rules.key(prior, parts.operator))})")
    return parts._replace(prior=prior)


def solver(job: Job, parts: Parts, problem: Problem, rule: Rule | None, say: Say) -> Used:
    """The one that was asked for, else the rule's, else the first that fits; a rule also fills in what it knows.

    The rule's is left out where it does not fit the noise.
    """
    if rule is not None and (made := _by_rule(job, parts, problem, rule)) is not None:
        if not isinstance(job.solver, Solver):
            first, last = (shown(torch.as_tensor(s)) for s in rule.strength(problem.sigma))
            falls = f", √(lam tau) from {first} to {last}" if rule.start and not parts.sets("tau") else ""
            say(f"solver: {job.solver or rule.solver}, {made.iterations} iterations{falls}")
        source = _named(problem)
        return Used(made, source if parts.asked is None else f"given; what it leaves open is from {source}")
    if parts.asked is not None:
        return Used(parts.asked.solver, "given")
    name = default_solver(problem.prior, problem.offers())
    source = f"the first that fits {problem.prior.name}"
    say(f"solver: {name} ({source})")
    return Used(SOLVERS.build(name), source)


def _named(problem: Problem) -> str:
    return f"the rule for {' and '.join(rules.key(problem.prior, problem.operator))}"


def _by_rule(job: Job, parts: Parts, problem: Problem, rule: Rule) -> Solver | None:
    """The row's solver, or one of its kind that was asked for, with the row's settings; None where it has no say."""
    own = rule.own()
    if parts.asked is None:
        return rule.make(problem.sigma, job.lam) if fits(own, problem.prior, problem.offers()) else None
    if type(parts.asked.solver) is not type(own):
        return None
    return rule.fill(parts.asked.solver, parts.asked.sets, problem.sigma, job.lam)


def stop(job: Job, rule: Rule | None, used: Solver, say: Say) -> list[StopRule]:
    """The rules that were asked for, else the table's for its own solver, else a small change."""
    if job.stop is not None and not isinstance(job.stop, str):
        return list(job.stop)
    text = job.stop or (rule.stop if rule is not None and _of_rule(rule, used) else "")
    if not text:
        return [Tolerance(job.tol)]
    say(f"stop: {text}")
    return parse_stop(text)


def _of_rule(rule: Rule, used: Solver) -> bool:
    """Whether this is the row's solver, and under a constraint where the row's is."""
    own = rule.own()
    return type(used) is type(own) and used.constrained == own.constrained


def weight(job: Job, parts: Parts, problem: Problem, used: Solver, rule: Rule | None, x0: Tensor, say: Say) -> Weight:
    """The weight of the prior: given, the table's, the prior's own, or what brings the residual to the noise."""
    if not problem.operator.described:
        return Weight(1.0, "without a say: the operator is not known", x0)
    if job.lam is not None:
        if used.constrained:
            say("lam: the data are a constraint without a weight. lam sets only the strength of the prior's steps")
        return Weight(job.lam, "given", x0)
    falling = rule is not None and rule.start > 0  # then the weight belongs to that solver, else to f + lam g
    if rule is not None and (not falling or (_of_rule(rule, used) and not parts.sets("tau"))):
        source = _named(problem)
        say(f"lam: {rule.lam:g} ({source})")
        return Weight(rule.lam, source, x0)
    if problem.prior.lam is not None:
        say(f"lam: {problem.prior.lam:g} (the default of {problem.prior.name})")
        return Weight(problem.prior.lam, "default of the prior", x0)
    lam, x = fit_lam(problem, used, c=DISCREPANCY, iterations=job.iterations, seconds=_half(job),
                     together=not job.each_page)  # fmt: skip
    fit = shown(problem.residual(x) / problem.noise_norm())
    say(f"lam: {shown(lam)} (chosen to fit the noise{_for_all(job, problem.y)}; residual {fit} times the noise)")
    return Weight(compact(lam), f"discrepancy{_for_all(job, problem.y)}, residual = {fit} sigma sqrt(m)", x)


def first_guess(job: Job, problem: Problem, x0: Tensor, say: Say) -> Tensor:
    """Where something draws the picture beside one other prior: what that one restores by its rules; else x0.

    Raises KeyboardInterrupt when interrupted.
    """
    drawn = [p for _, p in problem.prior.terms if "parametrise" in p.offers()]
    rest = [p for _, p in problem.prior.terms if "parametrise" not in p.offers()]
    if not drawn or len(rest) != 1:
        return x0
    rule = rules.find(rest[0], problem.operator, None, job.rules)
    if rule is not None and not fits(rule.own(), rest[0], problem.offers()):
        rule = None
    if rule is None and not rest[0].closed_convex:
        return x0
    say(f"first guess: by {rest[0].name} alone")
    only = rest[0] if rule is None else rule.tuned(rest[0], problem.sigma)
    alone = problem.beside(only).weighted(1.0 if rule is None else rule.lam)
    if rule is None:
        plain = SOLVERS.build(default_solver(rest[0], alone.offers()))
        return fit_lam(alone, plain, c=DISCREPANCY, iterations=job.iterations, seconds=_half(job))[1]
    limits = [Tolerance(1e-4), *([Seconds(_half(job))] if job.seconds is not None else [])]
    result = solve(alone, rule.make(problem.sigma), x0=x0, stop=limits, record=())
    if Status.INTERRUPTED in result.status:
        raise KeyboardInterrupt
    return result.x


def _half(job: Job) -> float:
    """Half of the time that the job may take."""
    return math.inf if job.seconds is None else job.seconds / 2


def compact(values: float | Tensor) -> float | Tensor:
    """A number for a batch of one, (B, 1, 1, 1) for more."""
    if not isinstance(values, Tensor):
        return values
    return float(values) if values.numel() == 1 else values.view(-1, 1, 1, 1)


def shown(values: Tensor) -> str:
    return ", ".join(f"{v:.3g}" for v in values.flatten().tolist()[:8])
