"""The command `pnp`.  Heavy imports stand inside the commands, so that --help and mistyped options answer at once."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from .images import Picture
    from .recording import Snapshot
    from .registry import Registry
    from .restore import Job, Restoration

KINDS = ("operators", "priors", "solvers", "denoisers", "noises")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pnp-restoration", prog_name="pnp")
def cli() -> None:
    """Restore pictures: any linear operator, any prior, one loop.

    \b
    pnp solve --op blur --prior tv                                         try it on a bundled photograph
    pnp solve photo.png --op blur:kernel=psf.png --prior tv -o out.png     restore a measured picture
    pnp list                                                               what there is
    """


def _positive(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A number above 0, also as a ratio: 2.55/255."""
    if value is None:
        return None
    from .registry import number

    try:
        result = number(value)
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{value!r} is not a number.") from None
    if not 0 < result < float("inf"):
        raise click.BadParameter(f"{value} is not above 0.")
    return result


def _size(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    """HxW or CxHxW."""
    if value is None:
        return None
    try:
        numbers = [int(n) for n in value.lower().split("x")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or min(numbers) < 1:
        raise click.BadParameter(f"{value!r} is no size; expected HxW or CxHxW, e.g. 64x64 or 3x64x64.")
    c, h, w = numbers if len(numbers) == 3 else (1, *numbers)
    return c, h, w


@cli.command()
@click.argument("inputs", nargs=-1, metavar="[PICTURE]...")
@click.option("--op", required=True, metavar="SPEC", help="What the camera did: blur:kernel=psf.png, ... (pnp list).")
@click.option("--prior", required=True, metavar="SPEC", help="What pictures look like, e.g. tv or tv+0.5*haar.")
@click.option("--solver", metavar="SPEC", help="Default: the first that fits the prior.")
@click.option("--sigma", callback=_positive, metavar="S", help="Noise level in [0, 1] units, e.g. 0.01 or 2.55/255. "
              "Default: estimated; with --simulate it is also what is added (0.01).")  # fmt: skip
@click.option("--lam", callback=_positive, metavar="L", help="Weight of the prior. Default: chosen to fit the noise.")
@click.option("--simulate", is_flag=True, help="The pictures are clean: degrade them first, restore, and score.")
@click.option("--noise", metavar="SPEC", help="Noise of the simulation, e.g. poisson:gain=0.01. Default: gaussian.")
@click.option("--truth", type=click.Path(path_type=Path), help="The clean picture, for scores.")
@click.option("--input", "more", multiple=True, metavar="PATH", help="Another picture, a folder or a glob.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The restored picture; a folder for many inputs.")
@click.option("--report", type=click.Path(path_type=Path), help="Folder for result.json and figure.png. "
              "Default: OUTPUT's name with -report.")  # fmt: skip
@click.option("--size", callback=_size, metavar="HxW", help="Image size behind a compressive measurement (.npy).")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--iterations", type=click.IntRange(1), help="At most so many. Default: the solver's own.")
@click.option("--tol", callback=_positive, default="1e-4", show_default=True, metavar="T",
              help="Stop at this relative change of the picture.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Stop after so many seconds.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def solve(inputs: tuple[str, ...], more: tuple[str, ...], **options: Any) -> None:
    """Restore pictures.

    A picture that is given is taken as measured: nothing is degraded, and its borders are unknown. With no picture, or
    with --simulate, a clean one is degraded, restored and scored. Written: the restored picture like its input
    (format, depth, alpha, colour profile, EXIF), result.json and figure.png.
    """
    with _one_line_errors(options.pop("debug")):
        _solve([*inputs, *more], **options)


def _solve(
    inputs: list[str],
    output: Path | None,
    report: Path | None,
    truth: Path | None,
    simulate: bool,
    **settings: Any,
) -> None:
    from .registry import SpecError
    from .restore import Job

    job = Job(simulate=simulate or not inputs, **settings)
    plans = _plans(inputs, output, report, job)
    if truth is not None and (len(plans) > 1 or job.simulate):
        raise click.UsageError("--truth is for one measured picture; a simulation has its own truth.")
    if len(plans) == 1:
        _solve_one(job, plans[0], truth)
        return
    restored = failed = 0
    try:
        for plan in plans:
            try:
                _solve_one(job, plan, None)
                restored += 1
            except SpecError:  # the same for every picture
                raise
            except Exception as error:  # whatever it is, the other pictures are not to suffer
                failed += 1
                click.echo(f"{plan.name}: error: {_line(error)}", err=True)
    finally:
        click.echo(f"{restored} of {len(plans)} pictures restored")
    if failed:
        sys.exit(2)


class Plan:
    """One input, and where what is made of it goes."""

    def __init__(self, source: Path | None, output: Path, report: Path) -> None:
        self.source, self.output, self.report = source, output, report
        self.name = "camera (bundled photograph)" if source is None else str(source)


def _plans(inputs: list[str], output: Path | None, report: Path | None, job: Job) -> list[Plan]:
    """Where everything goes, checked before anything runs."""
    from . import images

    if not inputs:
        folder = report or Path("pnp-out")
        return [Plan(None, output or folder / "restored.png", folder)]
    sources = images.expand(inputs)
    made = {images.default_output(source).resolve() for source in sources}  # an earlier run's results are no inputs
    sources = [s for s in sources if s.resolve() not in made or str(s) in inputs]
    stems = [source.stem for source in sources]
    many = len(sources) > 1
    if many and output is not None and output.suffix:
        raise images.PictureError(f"--output {output} is one file for {len(sources)} pictures; give a folder.")
    plans = []
    for source in sources:
        target = images.default_output(source, "-restored")
        if output is not None:
            target = output if output.suffix and not output.is_dir() else output / target.name
        elif report is not None:
            target = report / target.name
        if report is None:
            folder = target.with_name((target.stem if stems.count(source.stem) == 1 else target.name) + "-report")
        else:
            folder = report / (source.stem if stems.count(source.stem) == 1 else source.name) if many else report
        plans.append(Plan(source, target, folder))
    names = [plan.output.resolve() for plan in plans]
    if len(set(names)) < len(names):
        raise images.PictureError("two inputs would be written to the same file; give them different names.")
    return plans


def _solve_one(job: Job, plan: Plan, truth: Path | None) -> None:
    from . import images
    from .restore import restore

    picture, pixels = _load(job, plan)
    _check_targets(job, plan, truth, pages=len(pixels))
    clean = None if truth is None else images.read(truth).pixels
    if clean is not None and len(clean) != len(pixels):
        raise ValueError(f"the truth has {len(clean)} pages; the measurement has {len(pixels)}.")
    with _progress() as (callback, say):
        done = restore(job, pixels, truth=clean, callbacks=[callback], say=say)
    _write(job, plan, picture, done, truth)
    click.echo(_summary(plan, done))
    if "interrupted" in done.record["status"]:
        raise KeyboardInterrupt


def _load(job: Job, plan: Plan) -> tuple[Picture | None, Any]:
    """The picture (None for the bundled one and for a plain array) and its pixels."""
    from . import images

    if plan.source is None:
        import torch
        from skimage.data import camera

        return None, torch.from_numpy(camera()).float()[None, None] / 255
    if job.size is not None and plan.source.suffix.lower() == ".npy":
        array = images.read_array(plan.source)
        return None, array.reshape(1, 1, 1, -1) if array.ndim == 1 else array[(None,) * (4 - array.ndim)]
    picture = images.read(plan.source)
    return picture, picture.pixels


def _check_targets(job: Job, plan: Plan, truth: Path | None, pages: int) -> None:
    """PictureError unless everything can be written later, over no file that is read; nothing is made yet."""
    import re
    import tempfile

    from . import codecs, images

    kind = images.format_of(plan.output)
    if pages > 1 and kind not in codecs.HOLDS_PAGES:
        raise images.PictureError(f"{plan.output}: {kind} holds one picture, got {pages}; write a .tif or .npy.")

    for folder in (plan.output.parent, plan.report):
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()  # permissions alone do not tell: read-only and special folders
        except OSError as error:
            raise images.PictureError(f"cannot write to {folder}: {error.strerror} in {there}.") from None
    named = [Path(part) for part in re.split("[=:,]", f"{job.op},{job.prior}")]  # kernels, masks, weights
    sources = [p for p in (plan.source, truth, *named) if p is not None and p.is_file()]
    for target in (plan.output, *(plan.report / name for name in ("figure.png", "degraded.png", "result.json"))):
        if target.parent.is_dir():
            images.check_target(target, sources)


def _write(job: Job, plan: Plan, picture: Picture | None, done: Restoration, truth: Path | None) -> None:
    from . import images, report

    for folder in (plan.output.parent, plan.report):
        folder.mkdir(parents=True, exist_ok=True)
    images.write(plan.output, done.restored, picture)
    if job.simulate:
        images.write(plan.report / "degraded.png", done.initial[:1])
    record = {
        "command": ["pnp", *sys.argv[1:]],
        "input": plan.name,
        "output": str(plan.output),
        "truth": None if truth is None else str(truth),
        **done.record,
        "environment": report.environment(),
    }
    report.write_json(plan.report / "result.json", record)
    report.write_figure(plan.report / "figure.png", done, f"{plan.name}: {job.op}, {job.prior}")


def _summary(plan: Plan, done: Restoration) -> str:
    record, lines = done.record, []
    for i, (status, reason, n) in enumerate(
        zip(record["status"], record["reason"], record["iterations"], strict=True)
    ):
        page = f" page {i + 1}" if len(record["status"]) > 1 else ""
        scores = ""
        if "metrics" in record:
            m = record["metrics"]
            scores = f"{m['psnr_initial'][i]:.2f} dB -> {m['psnr'][i]:.2f} dB, SSIM {m['ssim'][i]:.3f}; "
        residual = f"residual {record['residual_over_noise'][i]:.2f} x noise"
        at_the_end = reason == f"{n} iterations"  # of the solver, not of a clock
        how = f"all {n} iterations" if at_the_end else f"{status} after {n} iterations ({reason})"
        lines.append(f"{plan.name}{page}: {scores}{how}; {residual}")
    lines.append(f"theory: {record['convergence']}")
    lines.append(f"wrote {plan.output}, {plan.report / 'result.json'}, {plan.report / 'figure.png'}")
    return "\n".join(lines)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[Snapshot], None], Callable[[str], None]]]:
    """A progress bar on a terminal (residual, and PSNR where the truth is known), and a line printer beside it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("choosing parameters", total=None)

        def callback(now: Snapshot) -> None:
            ratio = float((now.residual / now.problem.noise_norm()).max())
            rows = now.history.rows.get("psnr")
            score = f"  {float(rows[-1].mean()):.2f} dB" if rows else ""
            bar.update(task, completed=now.k + 1, total=now.limit, description=f"residual {ratio:.2f} x noise{score}")

        def say(line: str) -> None:
            bar.console.print(line, highlight=False, soft_wrap=True)

        yield callback, say


@contextmanager
def _one_line_errors(debug: bool) -> Iterator[None]:
    """Errors of the user become one line and exit code 2, anything else one line and 1; warnings become notes."""

    def note(message: Warning | str, *_: object) -> None:
        click.echo(f"note: {' '.join(str(message).split())}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("once")
        warnings.showwarning = note  # type: ignore[assignment]
        try:
            yield
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError) as error:
            if debug:
                raise
            click.echo(f"pnp: error: {_line(error)}", err=True)
            sys.exit(2)
        except Exception as error:
            if debug:
                raise
            click.echo(f"pnp: internal error: {type(error).__name__}: {_line(error)} (--debug shows where)", err=True)
            sys.exit(1)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@cli.command("list")
@click.argument("kind", required=False, type=click.Choice(KINDS))
def list_(kind: str | None) -> None:
    """What there is: operators, priors, solvers, denoisers, noises."""
    from rich.console import Console
    from rich.table import Table

    for name, registry in _registries().items():
        if kind in (None, name):
            table = Table(title=name, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
            for column in ("name", "what it is", "options"):
                table.add_column(column, overflow="fold")
            for entry in registry.values():
                table.add_row(entry.name, entry.summary, ", ".join(_options(entry)))
            Console().print(table, "")


@cli.command()
@click.argument("spec")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Draw it: an operator or a denoiser at work, the "
              "filters and functions of a trained diffusion. PNG, PDF or SVG.")  # fmt: skip
@click.option("--window", is_flag=True, help="Draw it in a window.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def show(spec: str, output: Path | None, window: bool, debug: bool) -> None:
    """One member in full: what it computes, its options and defaults, examples, and the record of its weights.

    SPEC is a name or a spec.
    """
    with _one_line_errors(debug):
        from .registry import Spec, SpecError, unknown

        name = Spec.parse(spec).name
        found = {kind: registry[name] for kind, registry in _registries().items() if name in registry}
        if not found:
            known = {n for registry in _registries().values() for n in registry}
            raise SpecError(unknown("member", name, sorted(known)))
        for kind, entry in found.items():
            click.echo(f"{name} ({kind[:-1]})\n")
            click.echo(_documentation(entry.make) + "\n")
            click.echo("options: " + (", ".join(_options(entry)) or "none"))
            click.echo("examples: " + "  ".join(entry.examples) + "\n")
        nets = _networks(spec) if "denoisers" in found else {}
        for title, (net, record) in nets.items():
            from . import figures

            click.echo(f"weights: {title}")
            for key, value in figures.facts(net, record).items():
                click.echo(f"  {key}: {value}")
        if output is not None or window:
            _draw(spec, set(found), [net for net, _ in nets.values()], output)


def _networks(spec: str) -> dict[str, tuple[Any, dict[str, Any]]]:
    """Title -> (network, record) of the networks behind a denoiser."""
    from . import weights
    from .registry import DENOISERS, Spec

    if Spec.parse(spec).name == "deepinv":
        return {}
    denoiser = DENOISERS.build(spec)
    members = getattr(denoiser, "members", {0: denoiser}).values()
    nets = [member.net for member in members if hasattr(member, "net")]
    return {net.title(): (net, weights.manifest().get(net.title(), {})) for net in nets}


def _draw(spec: str, kinds: set[str], nets: list[Any], output: Path | None) -> None:
    from . import figures
    from .registry import SpecError

    if not kinds & {"operators", "denoisers"}:
        raise SpecError(f"{spec} is neither an operator nor a denoiser; only those are drawn.")
    if "operators" in kinds:
        figure = figures.operator_figure(spec)
    elif nets and hasattr(nets[0], "stages"):
        figure = figures.diffusion_figure(nets[len(nets) // 2])
    else:
        figure = figures.denoiser_figure(spec)
    if output is None:
        figures.show(figure)
    else:
        figures.save(figure, output)
        click.echo(f"wrote {output}")


@cli.command()
@click.option("--op", metavar="SPEC")
@click.option("--prior", metavar="SPEC")
@click.option("--solver", metavar="SPEC")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cite(debug: bool, **specs: str | None) -> None:
    """BibTeX of the methods behind an operator, a prior and a solver, and of pnp."""
    with _one_line_errors(debug):
        import re

        from . import citations
        from .registry import Spec
        from .report import environment

        registries = _registries()
        keys: list[str] = []
        for option, kind in (("op", "operators"), ("prior", "priors"), ("solver", "solvers")):
            for part in re.split(r"(?<![0-9][eE])\+", specs[option] or ""):
                if part:
                    keys += registries[kind][Spec.parse(part.rpartition("*")[2]).name].cite
        click.echo("\n\n".join(filter(None, [citations.OURS % environment()["pnp"], citations.bibtex(keys)])))


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """90s, 45m, 2h or plain seconds."""
    if value is None:
        return None
    unit = {"s": 1, "m": 60, "h": 3600}.get(value[-1:].lower())
    try:
        result = float(value[:-1]) * unit if unit else float(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no duration; expected e.g. 90s, 45m or 2h.") from None
    if not result > 0:
        raise click.BadParameter(f"{value} is not above 0.")
    return result


def _levels(context: click.Context, parameter: click.Parameter, value: str) -> tuple[float, float]:
    """LOW..HIGH, or one level."""
    from .registry import number

    low, dots, high = value.partition("..")
    try:
        return number(low), number(high if dots else low)
    except ValueError:
        raise click.BadParameter(f"{value!r}: expected LOW..HIGH or one level, e.g. 0..55/255.") from None


@cli.command()
@click.argument("net", metavar="NETWORK")
@click.option("--data", required=True, multiple=True, metavar="PATH", help="Folder or glob of pictures; repeatable.")
@click.option("--val", multiple=True, metavar="PATH", help="Pictures to judge by. Default: one in 32 of the data.")
@click.option("--channels", type=click.Choice(["1", "3"]), default="1", show_default=True)
@click.option("--budget", callback=_seconds, metavar="TIME", help="Length of the run: 90s, 45m, 2h.")
@click.option("--steps", type=click.IntRange(1), help="Length of the run in steps, instead of a budget.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for checkpoint, log and weights.")
@click.option("--levels", default="0..55/255", show_default=True, callback=_levels, metavar="LOW..HIGH",
              help="Noise levels to train for.")  # fmt: skip
@click.option("--mode", default="joint", show_default=True, help="Of trd: joint, greedy or greedy+joint.")
@click.option("--init", metavar="WEIGHTS", help="Start from these: a file, or the name of shipped weights.")
@click.option("--licence", default="unknown", help="Licences of the data, for the record.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--seed", default=0, show_default=True)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def train(debug: bool, **options: Any) -> None:
    """Train a denoiser on a folder of pictures, and export its weights with their record.

    NETWORK is unet, dncnn or trd, with options as in trd:size=7,stages=5,sigma=25/255.
    """
    with _one_line_errors(debug):
        _train(**options)


def _train(
    net: str,
    data: tuple[str, ...],
    val: tuple[str, ...],
    channels: str,
    budget: float | None,
    steps: int | None,
    out: Path,
    levels: tuple[float, float],
    mode: Any,
    init: str | None,
    licence: str,
    resume: bool,
    seed: int,
) -> None:
    import datetime

    from rich.progress import Progress as Bar

    from . import images, training, weights

    name, config = training.parse_network(net)
    settings = training.TrainSettings(
        name, channels=int(channels), budget=budget, steps=steps, config=config, levels=levels, mode=mode, seed=seed
    )
    if resume:
        settings = training.resumed(out, settings)
    with Bar(disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("training", total=1.0)

        def report(now: training.Progress) -> None:
            score = " ".join(f"{v:.2f}" for v in now.psnr.values())
            text = f"step {now.step}, {now.seconds_left / 60:.0f} min left, {score or 'not judged yet'}"
            bar.update(task, completed=now.progress, description=text)

        judges = images.expand(list(val)) if val else None
        trained = training.train(
            settings,
            images.expand(list(data)),
            out,
            validation=judges,
            resume=resume,
            initial=None if init is None else weights.load_file(init) if Path(init).suffix else weights.load(init),
            report=report,
        )
    last = training.last_line(out)
    name = trained.title()  # type: ignore[operator]
    record = {
        "architecture": settings.net,
        "sigma": training.levels(settings, trained),
        "data": [Path(d).name for d in data],
        "licence": licence,
        "steps": last["step"],
        "date": datetime.date.today().isoformat(),
        "psnr": last["psnr"],
    }
    weights.export(trained, name, record, out)
    click.echo(f"wrote {out / name}.safetensors: {last['psnr']} dB after {last['step']} steps")


@cli.group()
def bench() -> None:
    """Compare methods on pictures whose truth is known."""


@bench.command()
@click.option("--data", multiple=True, envvar="PNP_DATA", metavar="PATH", help="Folder or glob of clean pictures. "
              "Default: photographs that come with scikit-image.")  # fmt: skip
@click.option("--denoiser", "specs", multiple=True, metavar="SPEC", help="Default: all that are at hand.")
@click.option("--sigma", "sigmas", multiple=True, type=click.FloatRange(0, min_open=True), default=(15, 25, 50),
              show_default=True, metavar="S", help="Noise level, of 255; repeatable.")  # fmt: skip
@click.option("--grey/--as-stored", default=False, help="Take colour pictures as grey ones.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the rows and the machine as JSON.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def denoise(debug: bool, **options: Any) -> None:
    """PSNR, SSIM and time per picture of each denoiser.

    The standard protocol: noise from seed 0 for each picture, neither clipped nor rounded; the result clipped and
    rounded to 8 bits; whole pictures.
    """
    with _one_line_errors(debug):
        _denoise(**options)


def _denoise(
    data: tuple[str, ...], specs: tuple[str, ...], sigmas: tuple[float, ...], grey: bool, output: Path | None
) -> None:
    from rich.console import Console

    from . import denoising, images, report

    if output is not None:
        images.check_target(output)
    pictures = denoising.load(images.expand(list(data)) if data else [], grey)
    console = Console(stderr=True)
    rows = []
    with console.status("denoising") as status:
        for row in denoising.compare(pictures, list(specs or denoising.DEFAULT), list(sigmas), say=status.update):
            rows.append(row)
    name = Path(data[0]).name if len(data) == 1 else "bundled photographs" if not data else "several folders"
    Console(width=None if sys.stdout.isatty() else 130).print(denoising.table(rows, name))
    if output is not None:
        report.write_json(output, denoising.record(rows, data=name, grey=grey, pictures=len(pictures)))
        click.echo(f"wrote {output}")


def _registries() -> dict[str, Registry]:
    from . import noise as noise
    from . import operators as operators
    from . import priors as priors
    from . import registry
    from . import solvers as solvers

    every = (registry.OPERATORS, registry.PRIORS, registry.SOLVERS, registry.DENOISERS, registry.NOISES)
    return dict(zip(KINDS, every, strict=True))


def _options(entry: Any) -> list[str]:
    """`name=default` for each option that a spec can set; what the program fills in is left out."""
    shown = []
    for p in entry.parameters().values():
        if p.name not in ("shape", "seed"):
            shown.append(p.name if p.default is p.empty else f"{p.name}={p.default}".lower())
    return shown


def _documentation(make: Any) -> str:
    import inspect

    return inspect.getdoc(make) or ""


def main() -> None:
    """Entry point of the console script: a mistyped command is one line and exit code 2, like every other mistake."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
    except click.ClickException as error:
        click.echo(f"pnp: error: {_line_of(error)}", err=True)
        sys.exit(2)
    except click.Abort:
        sys.exit(130)


def _line_of(error: click.ClickException) -> str:
    return " ".join(error.format_message().split())


if __name__ == "__main__":
    main()
