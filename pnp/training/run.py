"""Train a network on an objective: the loop behind `pnp train`, and descent, the way of most networks."""

from __future__ import annotations

import inspect
import io
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

from ..files import atomic
from ..optimizer import Muon
from ..precision import LearningPrecision, autocast, choose
from ..priors.nets import ARCHITECTURES, Network
from ..registry import Spec, SpecError, convert, unknown
from .em import EM
from .learner import Learner
from .mixture import Mixture
from .objectives import OBJECTIVES, Objective
from .patches import held_out

Mode = Literal["joint", "greedy", "greedy+joint"]
LOGGED = ("step", "elapsed", "progress", "lr", "loss", "pictures")  # of a line of the log; the rest are scores
PATIENCE = 50  # gradients in a row that are not finite end a run


@dataclass(frozen=True)
class TrainSettings:
    """What defines a run.  One of `budget` (seconds of training) and `steps` says how long it is.

    The learning rate warms up linearly over the first 2 % of the run and then falls along a half cosine to 1 % of its
    peak.  Patches grow on the way, batches shrink to the same number of pixels: most steps are cheap ones on small
    patches, the last ones see the context that whole pictures have.
    """

    net: str
    channels: int = 1
    budget: float | None = None
    steps: int | None = None
    config: dict[str, Any] = field(default_factory=dict)  # arguments of the architecture
    batch: int | None = None  # None: as the network says, or else the objective
    patch: int | None = None  # side in pixels
    growth: tuple[tuple[float, float], ...] = ((0.6, 2), (0.8, 4))  # (progress, factor in pixels of a patch)
    lr: float | None = None  # peak; None: the architecture's own
    weight_decay: float = 1e-3
    clip: float = 0.1
    ema: float = 0.999
    levels: tuple[float, float] | None = None  # noise is drawn between these; None: as the objective says
    mixture: Mixture = field(default_factory=Mixture)  # what the patches are drawn from
    precision: LearningPrecision = "auto"
    mode: Mode = "joint"  # of a network in stages: all at once, one after the other (greedy), or first so, then all
    seed: int = 0
    sources: dict[str, Any] = field(default_factory=dict)  # data, licences, earlier steps, for the record

    def __post_init__(self) -> None:
        if (self.budget is None) == (self.steps is None):
            raise ValueError("give either --budget or --steps.")
        if self.net not in ARCHITECTURES:
            raise ValueError(unknown("network", self.net, list(ARCHITECTURES)))
        if self.mode not in get_args(Mode):
            raise ValueError(unknown("mode", self.mode, list(get_args(Mode))))
        if self.precision not in get_args(LearningPrecision):
            raise ValueError(unknown("precision", self.precision, list(get_args(LearningPrecision))))
        if self.levels is not None and (not 0 <= self.levels[0] <= self.levels[1] < math.inf or self.levels[1] == 0):
            raise ValueError(f"noise levels are {self.levels}; expected LOW..HIGH, 0 <= LOW <= HIGH, HIGH above 0.")

    def phase(self, progress: float, stages: int) -> tuple[int, int, float]:
        """(stages that run, how many of them are fixed, progress within the phase): the rate starts anew in each."""
        share = {"joint": 0.0, "greedy": 1.0, "greedy+joint": 0.5}[self.mode]
        if progress >= share:
            return stages, 0, (progress - share) / (1 - share) if share < 1 else 1.0
        stage = progress / share * stages
        return int(stage) + 1, int(stage), stage % 1

    def shape(self, progress: float) -> tuple[int, int]:
        """(batch, side of a patch) at this progress, the number of pixels about constant."""
        factor = max([f for at, f in self.growth if progress >= at], default=1)
        net, kind = ARCHITECTURES[self.net], self.objective()
        batch, patch = self.batch or net.batch or kind.batch, self.patch or net.patch or kind.patch
        return max(1, int(batch / factor)), int(patch * math.sqrt(factor)) // 8 * 8

    def largest(self) -> int:
        """The side of the largest patch of the run."""
        return max(self.shape(at)[1] for at in (0.0, *(at for at, _ in self.growth)))

    def objective(self) -> type[Objective]:
        """What the network is trained for."""
        return OBJECTIVES[ARCHITECTURES[self.net].objective]

    def peak(self) -> float:
        """The highest learning rate."""
        return self.lr or ARCHITECTURES[self.net].lr

    def rate(self, progress: float) -> float:
        """Learning rate at this progress in [0, 1]."""
        warm, peak = 0.02, self.peak()
        if progress < warm:
            return peak * (0.01 + 0.99 * progress / warm)
        return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, (progress - warm) / (1 - warm)))))


def growing(low: int, high: int) -> dict[str, Any]:
    """Settings of patches of `low` pixels a side that end with `high`, by way of the geometric mean."""
    if not 8 <= low <= high:
        raise ValueError(f"patches are {low}..{high} pixels; expected LOW..HIGH, 8 <= LOW <= HIGH.")
    pixels = (high / low) ** 2
    return {"patch": low, "growth": ((0.6, math.sqrt(pixels)), (0.8, pixels))}


def parse_network(spec: str) -> tuple[str, dict[str, Any]]:
    """`trd:size=7,stages=5` or `unet:widths=32x64x128` -> an architecture and its arguments.  Raises SpecError."""
    parsed = Spec.parse(spec)
    if parsed.name not in ARCHITECTURES:
        raise SpecError(unknown("network", parsed.name, list(ARCHITECTURES)))
    if parsed.first is not None:
        raise SpecError(f"{parsed.first!r} in {spec!r} has no value; expected key=value")
    if "channels" in parsed.options:
        raise SpecError(f"{spec}: set the number of channels with --channels.")
    hints = get_type_hints(ARCHITECTURES[parsed.name].__init__)
    known = [h for h in hints if h not in ("return", "channels")]
    for key in parsed.options:
        if key not in known:
            raise SpecError(unknown(f"option of network {parsed.name!r}:", key, known))
    return parsed.name, {k: _argument(str(v), hints[k], f"{parsed.name}:{k}") for k, v in parsed.options.items()}


def _argument(text: str, hint: Any, where: str) -> Any:
    """The value of one option; several whole numbers have an x between them."""
    if get_origin(hint) is not tuple:
        return convert(text, hint, where)
    parts, n = text.split("x"), len(get_args(hint))
    if len(parts) != n or not all(p.isdecimal() and int(p) for p in parts):
        raise SpecError(f"{where}={text!r}: expected {n} whole numbers above 0 with an x between them.")
    return tuple(map(int, parts))


@dataclass
class Run(Learner):
    """Descent: everything that a checkpoint holds, so that restoring it continues as if nothing had happened."""

    options = frozenset({"lr", "levels", "mode", "patch", "precision"})
    settings: TrainSettings
    device: torch.device
    net: Network
    average: Network  # exponential moving average of the weights: what is validated and exported
    optimizer: Muon
    generator: torch.Generator
    step: int = 0
    elapsed: float = 0.0
    typical: float = math.inf  # running mean of the gradient's length
    failed: int = 0  # gradients in a row that were not finite

    @classmethod
    def start(cls, settings: TrainSettings, net: Network, device: torch.device, *, given: bool) -> Run:
        average = _new(settings)
        average.requires_grad_(False).load_state_dict(net.state_dict())
        for each in (net, average):
            each.to(device).to(memory_format=torch.channels_last)
        maps: list[Tensor] = [p for p in net.parameters() if p.ndim == 4]
        optimizer = Muon(
            net.parameters(), settings.rate(0), weight_decay=settings.weight_decay, betas=(0.9, 0.99), inner=maps[1:-1]
        )
        return cls(settings, device, net, average, optimizer, torch.Generator().manual_seed(settings.seed))

    @property
    def rate(self) -> float:  # type: ignore[override]
        return self.optimizer.param_groups[0]["lr"]

    def advance(self, objective: Objective, progress: float) -> Tensor:
        return step(self.settings, self, objective, progress, self.device)

    def judge(self, objective: Objective, last: bool) -> dict[str, Any]:
        if last:
            _enter_phase(self.settings, self, 1.0)
        with torch.inference_mode():
            return objective.judge(in_format(self.average, self.device, self.settings.precision), self.device)

    def finish(self) -> Network:
        _enter_phase(self.settings, self, 1.0)
        return self.average.float().cpu()

    @classmethod
    def record(cls, settings: TrainSettings, net: Network) -> dict[str, Any]:
        found = {"sigma": levels(settings, net), "mode": settings.mode, "lr": settings.peak()}
        return {**found, "patch": (settings.shape(0)[1], settings.largest())}

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "elapsed": self.elapsed,
            "typical": self.typical,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.elapsed, self.typical = state["step"], state["elapsed"], state["typical"]


LEARNERS: dict[str, type[Learner]] = {"descent": Run, "em": EM}


def learner(network: str) -> type[Learner]:
    """The way in which an architecture says that it is trained."""
    return LEARNERS[ARCHITECTURES[network].fitted_by]


@dataclass(frozen=True)
class Progress:
    """What the caller hears after each step."""

    step: int
    progress: float
    seconds_left: float
    loss: float
    scores: dict[str, float]  # of the last validation


def train(
    settings: TrainSettings,
    data: list[Path],
    out: Path,
    *,
    validation: list[Path] | None = None,
    resume: bool = False,
    initial: Network | None = None,
    checkpoint_every: float = 240,
    validate_every: float = 300,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Network:
    """Run the training and return the averaged network (float32, on the CPU).

    data: pictures; `validation`: pictures to judge by, left out of the data; by default one in 32 of these.
    initial: a network of the same shape whose weights are the first ones (fine-tuning).
    out: receives checkpoint.pt (every few minutes and on Ctrl-C, replaced atomically) and log.jsonl.  Where one of them
    cannot be written the run warns and goes on; at its end it raises OSError.
    Raises ValueError for unreadable data, a resume without a checkpoint, a new run beside one.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not resume and (out / "checkpoint.pt").exists():
        raise ValueError(f"{out} has the checkpoint of another run: use --resume or another --out.")
    if validation is None:
        data, validation = held_out(data)
    judging = {p.resolve() for p in validation}
    data = [p for p in data if p.resolve() not in judging]
    run = start(settings, device, initial)
    kind = settings.objective()
    objective = kind.of(run.net, data, validation, levels(settings, run.net), settings.largest(), settings.mixture)
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        run.load(_stored(out)[1])
    scores: dict[str, Any] = {}
    losses: list[Tensor] = []
    warned: set[str] = set()
    saved = judged = time.monotonic()
    try:
        for progress, left in pace(settings, run):
            losses.append(run.advance(objective, progress))
            now = time.monotonic()
            if now - judged > validate_every:
                scores = run.judge(objective, last=False)
                _try(warned, log, out, run, progress, losses, scores, objective.judges)
                losses, judged = [], time.monotonic()
            if now - saved > checkpoint_every:
                _try(warned, checkpoint, out, settings, run)
                saved = time.monotonic()
            said = next((v for v in scores.values() if isinstance(v, dict)), scores)
            report(Progress(run.step, progress, left, float(losses[-1]) if losses else math.nan, said))
    except KeyboardInterrupt:
        _try(warned, checkpoint, out, settings, run)
        raise
    checkpoint(out, settings, run)
    log(out, run, 1.0, losses, run.judge(objective, last=True), objective.judges)
    return run.finish()


def start(settings: TrainSettings, device: torch.device, initial: Network | None = None) -> Learner:
    """A new run: weights drawn with the seed, or copied from `initial`."""
    net = _new(settings)
    if settings.mode != "joint" and not net.stages:
        raise ValueError(f"mode {settings.mode} needs a network in stages, e.g. trd, not {settings.net}.")
    if initial is not None:
        if type(initial) is not type(net) or initial.config() != net.config():
            ours, theirs = ({"network": type(m).__name__, **m.config()} for m in (net, initial))
            raise ValueError(f"the initial weights are of {theirs}; this run trains {ours}.")
        net.load_state_dict(initial.state_dict())
    return learner(settings.net).start(settings, net, device, given=initial is not None)


def _new(settings: TrainSettings) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)
        return ARCHITECTURES[settings.net](channels=settings.channels, **settings.config)


def pace(settings: TrainSettings, run: Learner) -> Iterator[tuple[float, float]]:
    """Yield (progress, seconds left) before each step until steps or budget are spent.

    The clock adds up the steps, each counted at most five times the median, so that a suspended machine costs nothing.
    """
    recent: list[float] = []
    while True:
        progress = run.step / settings.steps if settings.steps else run.elapsed / (settings.budget or math.inf)
        if progress >= 1:
            return
        begun = time.monotonic()
        left = run.elapsed / progress * (1 - progress) if progress else math.nan
        yield progress, left
        recent = [*recent[-49:], time.monotonic() - begun]
        run.elapsed += min(recent[-1], 5 * median(recent))


def step(settings: TrainSettings, run: Run, objective: Objective, progress: float, device: torch.device) -> Tensor:
    """One optimiser step on fresh examples; returns the loss.

    Raises RuntimeError after PATIENCE gradients that are not finite.
    """
    rate = settings.rate(_enter_phase(settings, run, progress))
    net = in_format(run.net, device, settings.precision)
    loss = objective.loss(net, *settings.shape(progress), run.generator, device)
    run.net.zero_grad()
    loss.backward()
    length = float(nn.utils.clip_grad_norm_(run.net.parameters(), settings.clip))
    run.step += 1
    run.failed = 0 if math.isfinite(length) else run.failed + 1
    if run.failed == PATIENCE:
        raise RuntimeError(f"{PATIENCE} gradients in a row were not finite, at step {run.step}; lower --lr.")
    if length > 4 * run.typical or not math.isfinite(length):  # one such gradient would stay in the momentum for long
        run.typical *= 1.05
        return loss.detach()
    run.typical = length if math.isinf(run.typical) else 0.98 * run.typical + 0.02 * length
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    keep = min(settings.ema, (run.step + 1) / (run.step + 10))  # a short memory while the weights still move fast
    with torch.no_grad():
        torch._foreach_lerp_(list(run.average.parameters()), list(run.net.parameters()), 1 - keep)
    return loss.detach()


def levels(settings: TrainSettings, net: Network) -> tuple[float, float]:
    """The noise levels that the network is trained for: its own one, else the run's, else the objective's."""
    if net.level is not None:
        return net.level, net.level
    return settings.levels or settings.objective().levels


def in_format(
    net: Network, device: torch.device, precision: LearningPrecision = "auto"
) -> Callable[[Tensor, Tensor | float], Tensor]:
    """N(x, sigma) in a number format, by default the one that learns fastest there, its result in float32."""

    def call(x: Tensor, sigma: Tensor | float) -> Tensor:
        with autocast(choose(precision, device, learning=True).dtype, device):
            return net(x.contiguous(memory_format=torch.channels_last), sigma).float()

    return call


def _enter_phase(settings: TrainSettings, run: Run, progress: float) -> float:
    """Tell a network in stages which of them run and learn; returns the progress within the phase."""
    if not run.net.stages:
        return progress
    used, fixed, within = settings.phase(progress, len(run.net.stages))
    for net in (run.net, run.average):
        net.used, net.fixed = used, fixed
    for i, stage in enumerate(run.net.stages):
        stage.requires_grad_(fixed <= i < used)
    return within


def log(out: Path, run: Learner, progress: float, losses: list[Tensor], scores: dict[str, Any], pictures: int) -> None:
    """Append one JSON line; what is not finite is null.  scores: means over `pictures` pictures."""

    def rounded(value: Any, digits: int = 3) -> Any:
        if isinstance(value, dict):
            return {k: rounded(v) for k, v in value.items()}
        return round(value, digits) if math.isfinite(value) else None

    line = {
        "step": run.step,
        "elapsed": round(run.elapsed, 1),
        "progress": round(progress, 4),
        "lr": run.rate,
        "loss": rounded(float(torch.stack(losses).mean()), 9) if losses else None,
        **rounded(scores),
        "pictures": pictures,
    }
    path = out / "log.jsonl"
    try:
        with path.open("a") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}.") from error


def last_line(out: Path) -> dict[str, Any]:
    """The last line of the log."""
    return json.loads((out / "log.jsonl").read_text().splitlines()[-1])


def checkpoint(out: Path, settings: TrainSettings, run: Learner) -> None:
    """Replace checkpoint.pt as a whole or not at all."""
    stored = io.BytesIO()  # torch raises RuntimeError where a file cannot take all of it
    torch.save({"settings": asdict(settings), "run": run.state()}, stored)
    atomic.write(out / "checkpoint.pt", stored.getvalue())


def _try(warned: set[str], write: Callable[..., None], *arguments: Any) -> None:
    """Write; a failure is a warning, the first time it happens."""
    try:
        write(*arguments)
    except OSError as error:
        if write.__name__ not in warned:
            warnings.warn(f"{str(error).rstrip('.')}; the training goes on.", stacklevel=3)
        warned.add(write.__name__)


def resumed(out: Path, given: dict[str, Any]) -> TrainSettings:
    """The settings of the run in `out`, its length replaced by `budget` or `steps` in `given`.

    given: settings that are asked for now.  Raises ValueError where one differs from the run's, or without a run.
    """
    stored = _stored(out)[0]
    if "mixture" not in stored:
        raise ValueError(
            f"cannot resume {out}: an earlier version of pnp began it and drew its patches in another way. "
            "Finish it with that version, or start a new run in another --out."
        )
    stored["mixture"] = Mixture(**stored["mixture"])
    stored["growth"] = tuple(tuple(g) for g in stored["growth"])
    stored["levels"] = None if stored["levels"] is None else tuple(stored["levels"])
    settings = TrainSettings(**stored)
    had = {"network": settings.net, **{f"--{k}": stored[k] for k in ("channels", "mode", "seed", "precision")}}
    had |= {f"--{share}": value for share, value in asdict(settings.mixture).items()}
    had["--patch"] = settings.shape(0)[1], settings.largest()
    had["--lr"], had["--levels"] = settings.peak(), settings.levels or settings.objective().levels
    now = {"network" if k == "net" else f"--{k}": v for k, v in given.items()}
    if now.get("network") == settings.net:
        arguments = inspect.signature(ARCHITECTURES[settings.net]).parameters
        for key, value in given.get("config", {}).items():
            name = f"{settings.net}:{key}"
            now[name], had[name] = value, settings.config.get(key, arguments[key].default)
    for name in had:
        if name in now and now[name] != had[name]:
            raise ValueError(f"{name} is {now[name]}, but {had[name]} in {out}; leave it out, or use another --out.")
    length: dict[str, Any] = {k: given.get(k) for k in ("budget", "steps")}
    return replace(settings, **length) if any(length.values()) else settings


def _stored(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings, state of the run) in the checkpoint.  Raises ValueError without a readable one."""
    path = out / "checkpoint.pt"
    if not path.is_file():
        raise ValueError(f"cannot resume: {path} does not exist.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        return found["settings"], found["run"]
    except Exception as error:  # torch raises a dozen kinds
        raise ValueError(f"cannot read {path}: it is not a checkpoint ({type(error).__name__}).") from error
