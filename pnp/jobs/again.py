"""The lines of Python that do once more what `pnp solve` has done for a file."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from ..files.ranges import Wanted
from .job import Job

OF_FILE = ("floor", "hidden", "tables", "range", "curve", "camera")  # what `of_file` reads


def lines(
    job: Job, source: Path | None, output: Path, span: Wanted, truth: Path | None = None, *, pages: int = 1
) -> str:
    """A script for the folder in which the command ran.

    job: as it was asked for, before `of_file`.  source: the picture, of so many pages; None for the bundled one.
    span: its range, as it was asked for.
    """
    measurement = job.size is not None and source is not None and source.suffix.lower() == ".npy"
    file = source is not None and not measurement
    imports = ["from pnp.files import pictures"]
    if file and not isinstance(span, str):
        imports.append("from pnp.files.ranges import Range")
    names = ["Job", *(["of_file"] if file else []), *([] if job.recursive else ["run"])]
    imports.append(f"from pnp.jobs import {', '.join(names)}")
    imports += ["from pnp.jobs.movie import restore_movie"] if job.recursive else []
    imports += ["from pnp.samples import photograph"] if source is None else []

    body, like, pixels = [_job(job, several=pages > 1)], "", "picture"
    if file:
        wanted = repr(span) if isinstance(span, str) else f"Range({span.black!r}, {span.white!r})"
        body.insert(0, f"picture = pictures.read({str(source)!r}, {wanted}, holes=True)")
        body.append("job = of_file(job, picture)")
        like, pixels = ", picture", "picture.pixels"
    elif measurement:
        body.insert(0, f"picture = pictures.read_array({str(source)!r}).reshape(1, 1, 1, -1)")
    else:
        body.insert(0, "picture = photograph('camera')")
    known = ""
    if truth is not None:
        reader = "pictures.read_like({!r}, picture)" if file else "pictures.read({!r}, 'auto', holes=True)"
        body.append(f"truth = {reader.format(str(truth))}.pixels")
        known = ", truth=truth"
    body += [
        f"done = {'restore_movie' if job.recursive else 'run'}(job, {pixels}{known})",
        "print(done.record.verdict)",
        f"pictures.write({str(output)!r}, done.restored{like})",
    ]
    return "\n".join([*imports, "", *body, ""])


def _job(job: Job, several: bool) -> str:
    """`job = Job(...)` with the settings that are not its defaults, each on a line of its own."""
    said = {field.name: getattr(job, field.name) for field in fields(job)
            if field.name not in OF_FILE and getattr(job, field.name) != field.default}  # fmt: skip
    if said.get("device") == "cpu":  # where pictures are read to
        del said["device"]
    if not several:
        said.pop("each_page", None)  # it is about pages
    given = [f"    {name}={value!r}," for name, value in said.items()]
    return "\n".join(["job = Job(", *given, ")"])
