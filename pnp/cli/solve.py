"""`pnp solve`: restore pictures."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .. import interrupts
from .completion import files, members
from .lead import lead_on
from .options import device, exit_code, line, noted, one_line_errors, positive, size, span
from .progress import shown

if TYPE_CHECKING:
    from ..core.result import Memory
    from ..files.pictures import Picture
    from ..files.ranges import Wanted
    from ..jobs import Job, Restoration
    from ..jobs.page import Entry


@click.command()
@click.argument("inputs", nargs=-1, metavar="[PICTURE]...", shell_complete=files)
@click.option("--op", "operator", metavar="SPEC", shell_complete=members("OPERATORS"), help="What the camera did, e.g. "
              "identity (noise alone) or blur:kernel=psf.png (pnp help operators). Required.")  # fmt: skip
@click.option("--prior", default="unet", show_default=True, metavar="SPEC", shell_complete=members("PRIORS"),
              help="What pictures look like, e.g. tv or tv+0.5*haar (pnp list priors).")  # fmt: skip
@click.option("--solver", metavar="SPEC", shell_complete=members("SOLVERS"), help="The algorithm (pnp list solvers). "
              "Default: from the table for a learned prior, else the first that fits.")  # fmt: skip
@click.option("--sigma", callback=positive, metavar="S", help="Noise level in [0, 1] units, e.g. 0.01 or 2.55/255. "
              "Default: estimated. --simulate adds noise of this level (default 0.01).")  # fmt: skip
@click.option("--lam", callback=positive, metavar="L", help="Weight of the prior. Default: from the table, or chosen "
              "to fit the noise.")  # fmt: skip
@click.option("--simulate", is_flag=True, help="The pictures are clean: degrade them first, restore, and score.")
@click.option("--noise", metavar="SPEC", shell_complete=members("NOISES"), help="How the noise falls, e.g. "
              "poisson:gain=0.01 (pnp help noise). --simulate adds this noise. Default: gaussian; clipped where the "
              "picture shows it.")  # fmt: skip
@click.option("--truth", type=click.Path(path_type=Path), help="The clean picture, for scores.")
@click.option("--input", "more", multiple=True, metavar="PATH", shell_complete=files, help="Another picture, a folder "
              "or a pattern such as \"*.png\".")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The restored picture; a folder for many inputs.")
@click.option("--report", type=click.Path(path_type=Path), help="Folder for report.html, result.json and figure.png. "
              "Default: OUTPUT's name with -report.")  # fmt: skip
@click.option("--range", "span", callback=span, default="auto", show_default=True, metavar="LOW..HIGH",
              help="The values of the file that are black and white, e.g. 100..500. auto: found in the file. "
              "full: 0 and the largest value of its type.")  # fmt: skip
@click.option("--light", type=click.Choice(("auto", "linear", "srgb")), default="auto", show_default=True,
              help="Values in which the picture is solved. linear: in proportion to light, as a lens blurs it. srgb: "
              "those of the file, as software blurs it. auto: those that explain the picture better, or in which noise "
              "that grows with brightness is even.")  # fmt: skip
@click.option("--mask", metavar="SPEC", shell_complete=files, help="Known pixels of the picture: a mask file (white = "
              "known), a colour of paint (red, #ff0000: missing), saturated, outliers, or a sum of them. none: do not "
              "look for dead, hot and saturated pixels. NaN is always missing.")  # fmt: skip
@click.option("--size", callback=size, metavar="HxW", help="Picture size of a compressive measurement (.npy).")
@click.option("--seed", default=0, show_default=True, help="Seed of everything random.")
@click.option("--iterations", type=click.IntRange(1), help="Largest number of iterations. Default: set by the solver.")
@click.option("--stop", metavar="SPEC", shell_complete=members("STOPS"), help="When to stop, e.g. wmv or "
              "wmv+discrepancy (pnp list stops). Default: from the table for dip, else --tol.")  # fmt: skip
@click.option("--tol", callback=positive, default="1e-4", show_default=True, metavar="T",
              help="Stop at this relative change of the picture.")  # fmt: skip
@click.option("--rules", metavar="PATH", shell_complete=files, help="Your own table of default parameters, as pnp tune "
              "writes it. Its rows go before those of the package.")  # fmt: skip
@click.option("--seconds", callback=positive, metavar="T", help="Stop after T seconds.")
@click.option("--each-page", is_flag=True, help="Choose noise and weight for each page of a stack. Default: once for "
              "all pages.")  # fmt: skip
@click.option("--recursive", is_flag=True, help="The pages are frames of a movie. Each starts from what the prior has "
              "learned on the frame before (dip).")  # fmt: skip
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in the folder of the report (dip).")
@click.option("--guard/--no-guard", default=True, help="Keep the measured picture where pnp sees that the result would "
              "be worse. Default: --guard.")  # fmt: skip
@click.option("--stripes", type=click.Choice(("auto", "keep")), default="auto", show_default=True, help="Offsets of "
              "columns or rows. auto: subtract them first where they are sure. keep: leave them.")  # fmt: skip
@click.option("--device", callback=device, default="cpu", show_default=True, help="cpu, cuda, cuda:1, ...")
@click.option("--json", "as_json", is_flag=True, help="Print the record (result.json) on standard output, one line of "
              "JSON for each picture. Everything else goes to standard error.")  # fmt: skip
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def solve(inputs: tuple[str, ...], more: tuple[str, ...], **options: Any) -> None:
    """Restore pictures.

    A picture that you pass is measured: pnp restores it as it is, and takes what lies beyond its borders as unknown.
    Without a picture, or with --simulate, pnp degrades a clean picture, restores it and scores the result. The
    restored picture is written like its input (format, type, units, axes, alpha, colour profile, EXIF). In a folder
    beside it are a page to open in a browser (report.html), result.json and figure.png. Several pictures get a page of
    thumbnails, too (reports.html).
    """
    with one_line_errors(options.pop("debug")):
        _solve([*inputs, *more], **options)


def _solve(
    inputs: list[str],
    output: Path | None,
    report: Path | None,
    truth: Path | None,
    simulate: bool,
    resume: bool,
    span: Wanted,
    as_json: bool,
    **settings: Any,
) -> None:
    from ..jobs import Job
    from ..jobs.page import Entry
    from ..registry import SpecError

    if settings["operator"] is None:
        lead_on(inputs, look=not simulate and settings["size"] is None)
    job = Job(simulate=simulate or not inputs, **settings)
    plans = _plans(inputs, output, report, job)
    if truth is not None and (len(plans) > 1 or job.simulate):
        raise click.UsageError("--truth works with one measured picture. A simulation has its own truth.")
    if resume and (len(plans) > 1 or job.recursive):
        raise click.UsageError("--resume works with one picture, not with a movie or a folder.")
    if len(plans) == 1:
        _solve_one(job, plans[0], span, truth, resume, as_json)
        return
    entries: list[Entry] = []
    codes: set[int] = set()
    try:
        for i, plan in enumerate(plans):
            try:
                entries.append(_solve_one(job, plan, span, None, False, as_json, f"picture {i + 1} of {len(plans)}"))
            except SpecError:  # the same for every picture
                raise
            except Exception as error:  # whatever it is, the other pictures are not to suffer
                if interrupts.lost():
                    raise KeyboardInterrupt from error
                codes.add(exit_code(error))
                click.echo(f"{plan.name}: error: {line(error)}", err=True)
                entries.append(Entry(plan.name, said=line(error)))
            interrupts.check()
    finally:
        restored = sum(entry.page is not None for entry in entries)
        click.echo(f"{restored} of {len(plans)} pictures restored", err=as_json)
        if restored:
            with interrupts.held():
                _write_sheet(report or plans[0].report.parent, entries, as_json)
    if codes:
        sys.exit(min(codes))  # what failed on the way weighs more than wrong input


def _write_sheet(folder: Path, entries: list[Entry], as_json: bool) -> None:
    from ..files import atomic
    from ..jobs import page

    atomic.write(folder / page.SHEET, page.sheet(folder, entries))
    click.echo(f"wrote {folder / page.SHEET}", err=as_json)


class Plan:
    """One input, and where what is made of it goes."""

    def __init__(self, source: Path | None, output: Path, report: Path) -> None:
        self.source, self.output, self.report = source, output, report
        self.name = "camera (bundled photograph)" if source is None else str(source)


def _plans(inputs: list[str], output: Path | None, report: Path | None, job: Job) -> list[Plan]:
    """Where everything goes, checked before anything runs."""
    from ..files import pictures

    file = None if output is None or not output.suffix or output.is_dir() else output
    if not inputs:
        target = file or (output or report or Path("pnp-out")) / "restored.png"
        return [Plan(None, target, report or (target.with_name(f"{target.stem}-report") if file else target.parent))]
    sources = pictures.expand(inputs)
    targets = {source: file or _target(source, output or report) for source in sources}
    made = {target.resolve(): source for source, target in targets.items()}
    by_name = set(map(Path, inputs))
    sources = [s for s in sources if s.resolve() not in made or s in by_name]  # an earlier run's results are no inputs
    for source in sources if file is None else ():
        if (maker := made.get(source.resolve(), source)) != source:
            raise pictures.PictureError(
                f"{source} is an input, and the result of {maker} would overwrite it. Leave it out if it is an earlier "
                "result, or pass another folder with -o."
            )
    stems = [source.stem for source in sources]
    many = len(sources) > 1
    if many and file is not None:
        raise pictures.PictureError(f"--output {output} is one file for {len(sources)} pictures. Pass a folder.")
    plans = []
    for source in sources:
        target = targets[source]
        if report is None:
            folder = target.with_name((target.stem if stems.count(source.stem) == 1 else target.name) + "-report")
        else:
            folder = report / (source.stem if stems.count(source.stem) == 1 else source.name) if many else report
        plans.append(Plan(source, target, folder))
    names = [plan.output.resolve() for plan in plans]
    if len(set(names)) < len(names):
        raise pictures.PictureError("two results would go to the same file. Give the inputs different names.")
    return plans


def _target(source: Path, folder: Path | None) -> Path:
    """Where the restored picture goes, in a folder or beside its source."""
    from ..files import pictures

    beside = pictures.default_output(source, "-restored")
    if beside.suffix != source.suffix:
        warnings.warn(f"{source}: this format is only read. The result is a {beside.suffix}.", stacklevel=1)
    return beside if folder is None else folder / beside.name


def _solve_one(
    job: Job, plan: Plan, span: Wanted, truth: Path | None, resume: bool, as_json: bool, place: str = ""
) -> Entry:
    with noted() as notes:
        return _restore(job, plan, span, truth, resume, as_json, place, notes)


def _restore(
    job: Job, plan: Plan, span: Wanted, truth: Path | None, resume: bool, as_json: bool, place: str, notes: list[str]
) -> Entry:
    """notes: those of this picture so far, and more as they come."""
    from ..jobs import again, checkpoint, of_file, run
    from ..jobs.movie import restore_movie

    picture, pixels = _load(job, plan, span)
    script = again.lines(job, plan.source, plan.output, span, truth, pages=len(pixels))
    interrupts.check()
    _check_targets(job, plan, truth, pages=len(pixels))
    if picture is not None:
        job = of_file(job, picture)
    clean = None if truth is None else _truth(truth, picture)
    if clean is not None and len(clean) != len(pixels):
        raise ValueError(f"the truth has {len(clean)} pages; the measurement has {len(pixels)}.")
    saved = plan.report / checkpoint.NAME
    after = _left(plan, job, pixels) if resume else None
    with shown(place) as say:
        if picture is not None and not picture.whole_scale:
            say(f"range: {picture.ends} of the file is black to white")
        if job.recursive:
            done = restore_movie(job, pixels, truth=clean, say=say)
        else:
            keeper = checkpoint.keeper(saved, job, pixels)
            done = run(job, pixels, truth=clean, callbacks=[keeper], say=say, after=after)
    last = max(0, sum(n > 0 for n in done.record.iterations) - 1)  # frame of a movie that was reached
    interrupted = "interrupted" in done.record.status
    if interrupted:
        interrupts.answered()
    with interrupts.held():
        entry = _write(job, plan, picture, done, truth, {"python": script, "range": _span(picture, span)}, notes)
        click.echo(_summary(plan, done), err=as_json)
        if as_json:
            click.echo(json.dumps(json.loads((plan.report / "result.json").read_text(encoding="utf-8"))))
        try:
            checkpoint.write(saved, done.result.memory, job, pixels[last : last + 1] if job.recursive else pixels)
        except OSError as error:  # what was asked for is there
            warnings.warn(f"{error}  --resume cannot continue this run.", stacklevel=1)
    if interrupted:
        raise KeyboardInterrupt
    return entry


def _span(picture: Picture | None, asked: Wanted) -> dict[str, Any] | None:
    """The values of the file that are black and white, and where they come from."""
    if picture is None:
        return None
    how = {"auto": "found in the file", "full": "the whole range of its type"}
    return {"value": list(picture.ends), "source": how[asked] if isinstance(asked, str) else "given"}


def _left(plan: Plan, job: Job, pixels: Any) -> Memory:
    """What an earlier run has left to go on from; a note where it was killed in the middle of writing."""
    from ..files.pictures import PictureError
    from ..jobs import checkpoint, report

    memory = checkpoint.read(plan.report / checkpoint.NAME, job, pixels)
    if (plan.report / report.NAME).is_file():
        try:
            report.check(plan.report)
        except PictureError as error:
            warnings.warn(str(error), stacklevel=1)
    return memory


def _truth(path: Path, picture: Picture | None) -> Any:
    """The pixels of the clean picture, by the range of the measured one."""
    from ..files import pictures

    clean = pictures.read(path, "auto", holes=True) if picture is None else pictures.read_like(path, picture)
    return clean.pixels


def _load(job: Job, plan: Plan, span: Wanted) -> tuple[Picture | None, Any]:
    """The picture (None for the bundled one and for a plain array) and its pixels."""
    from ..files import pictures
    from ..samples import photograph

    if plan.source is None:
        return None, photograph("camera")
    if job.size is not None and plan.source.suffix.lower() == ".npy":
        array = pictures.read_array(plan.source)
        return None, array.reshape(1, 1, 1, -1) if array.ndim == 1 else array[(None,) * (4 - array.ndim)]
    picture = pictures.read(plan.source, span, holes=True)
    return picture, picture.pixels


def _check_targets(job: Job, plan: Plan, truth: Path | None, pages: int) -> None:
    """PictureError unless everything can be written later, over no file that is read; nothing is made yet."""
    import tempfile

    from ..files import formats, pictures
    from ..jobs import checkpoint, holes, page, report
    from ..registry import OPERATORS, PRIORS

    kind = pictures.written_format(plan.output)
    if pages > 1 and kind not in formats.HOLDS_PAGES:
        raise pictures.PictureError(f"{plan.output}: {kind} holds one picture, got {pages}; write a .tif or .npy.")

    for folder in (plan.output.parent, plan.report):
        if folder.is_symlink() and not folder.exists():
            raise pictures.PictureError(f"cannot write to {folder}: it is a link to a folder that does not exist.")
        there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()  # permissions alone do not tell: read-only and special folders
        except OSError as error:
            raise pictures.PictureError(f"cannot write to {folder}: {error.strerror} in {there}.") from None
    op, prior = (str(part) for part in (job.operator, job.prior))
    texts = [*OPERATORS.parse(op).texts(), *PRIORS.parse(prior).texts()]  # kernels, masks, weights, own files
    named = [Path(part) for text in texts for part in (text, *text.split(":"))]
    sources = [p for p in (plan.source, truth, *named, *holes.files(job.mask)) if p is not None and p.is_file()]
    made = ("figure.png", "degraded.png", page.NAME, report.RESIDUAL, report.NAME, checkpoint.NAME)
    if plan.output.resolve() in {(plan.report / name).resolve() for name in made}:
        raise pictures.PictureError(f"{plan.output} would be overwritten by a file of the report. Choose another name.")
    for target in (plan.output, *(plan.report / name for name in made)):
        if target.parent.is_dir():
            pictures.check_target(target, sources)


def _write(
    job: Job,
    plan: Plan,
    picture: Picture | None,
    done: Restoration,
    truth: Path | None,
    said: dict[str, Any],
    notes: list[str],
) -> Entry:
    """All of it or nothing; the record last, with the fingerprints of the others.  said: what it has beside.

    Returns what a sheet shows of it.
    """
    from ..files import atomic, pictures
    from ..jobs import page, report
    from ..machine import environment

    for folder in (plan.output.parent, plan.report):
        atomic.make_folder(folder)
    seen = report.of(done, None if picture is None or job.simulate else picture.pixels)
    with atomic.together() as written:
        pictures.write(plan.output, done.restored, picture)
        if job.simulate:
            pictures.write(plan.report / "degraded.png", done.initial[:1])
        report.write_maps(plan.report, done.result.maps)
        if seen.residual is not None:
            pictures.write(plan.report / report.RESIDUAL, seen.residual)
        report.write_figure(plan.report / "figure.png", done, f"{plan.name}: {job.operator}, {job.prior}")
        sources = {"input": plan.source, "truth": truth}
        record = {
            "command": ["pnp", *sys.argv[1:]],
            **said,
            "input": plan.name,
            "output": str(plan.output),
            "truth": None if truth is None else str(truth),
            "sources": {name: report.way(path, plan.report) for name, path in sources.items() if path is not None},
            "notes": list(notes),
            **done.record.to_json(),
            "environment": environment(),
        }
        report.write_page(plan.report, record, seen)
        record["files"] = report.fingerprints(plan.report, written)
        report.write_json(plan.report / report.NAME, record)
    return page.entry(record, seen, plan.report / page.NAME)


def _summary(plan: Plan, done: Restoration) -> str:
    record, lines = done.record, []
    for i, (status, reason, n) in enumerate(zip(record.status, record.reason, record.iterations, strict=True)):
        page = f" page {i + 1}" if len(record.status) > 1 else ""
        scores = ""
        if (m := record.metrics) is not None:
            scores = f"{m['psnr_initial'][i]:.2f} dB -> {m['psnr'][i]:.2f} dB, SSIM {m['ssim'][i]:.3f}; "
        fit = record.residual_over_noise
        residual = "" if fit is None else f"; residual {fit[i]:.2f} x noise"
        at_the_end = reason == f"{n} iterations"  # of the solver, not of a clock
        how = f"all {n} iterations" if at_the_end else f"{status} after {n} iterations ({reason})"
        if record.chosen[i] < n:
            how += f", the image of iteration {record.chosen[i]}"
        lines.append(f"{plan.name}{page}: {scores}{how}{residual}")
    lines.append(f"noise: {record.noise}")
    lines.append(f"theory: {record.theory}")
    lines += [f"verdict: {verdict}" for verdict in dict.fromkeys(record.verdict)]
    lines.append(f"wrote {plan.output}, {plan.report / 'report.html'}, {plan.report / 'result.json'}")
    return "\n".join(lines)
