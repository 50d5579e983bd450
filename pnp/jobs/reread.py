"""The page of a result made once more, from what is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn.functional import interpolate

from ..files import atomic, pictures
from ..files.pictures import PictureError
from ..files.ranges import Range
from ..samples import photograph
from . import page, report
from .page import Pictures


class Reread(NamedTuple):
    """A record with the pictures that are still there.  missing: a line for each that is not."""

    record: dict[str, Any]
    seen: Pictures
    missing: list[str]


def results(path: Path) -> list[Path]:
    """The folders of the results at a path: a result.json, the folder of one, or a folder that holds many.

    Raises PictureError where there is none.
    """
    if path.name == report.NAME and path.is_file():
        return [path.parent]
    if (path / report.NAME).is_file():
        return [path]
    found = sorted(file.parent for file in path.rglob(report.NAME)) if path.is_dir() else []
    if not found:
        raise PictureError(f"{path} is neither a {report.NAME} nor a folder with one.")
    return found


def reread(folder: Path) -> Reread:
    """What a page of the result in a folder can show.  Raises PictureError without a record or the restored picture."""
    record = report.load(folder)
    missing = list(report.changed(folder, record, besides=page.NAME))
    restored = _restored(folder, record)
    before, truth = (_tried(make, folder, record, missing) for make in (_before, _truth))
    if truth is not None and truth.shape[1:] != restored.shape[1:]:
        missing.append("The clean picture is of another size than the restored one, so it is not shown.")
        truth = None
    if before is not None and before.shape[1:] != restored.shape[1:]:
        if before.shape[-2:] != restored.shape[-2:]:
            missing.append("The measured picture is shown in the size of the restored one.")
            before = interpolate(before.nan_to_num(0.0), restored.shape[-2:], mode="bicubic", antialias=True)
        before = before.expand(-1, restored.shape[1], -1, -1)
    maps = {name: file for name in _maps(record) if (file := folder / f"{name}.png").is_file()}
    residual = folder / report.RESIDUAL
    seen = Pictures(
        restored, before, truth, {name: pictures.read(file).pixels[0] for name, file in maps.items()},
        pictures.read(residual).pixels[0] if residual.name in record["files"] and residual.is_file() else None,
    )  # fmt: skip
    return Reread(record, seen, missing)


def write(folder: Path, found: Reread) -> Path:
    """The page in its folder, and its fingerprint in the record.  Raises WriteError."""
    with atomic.together() as written:
        made = report.write_page(folder, found.record, found.seen, found.missing)
        found.record["files"] |= report.fingerprints(folder, written)
        report.write_json(folder / report.NAME, found.record)
    return made


def _restored(folder: Path, record: dict[str, Any]) -> Tensor:
    path = report.beside(folder, next(iter(record["files"])))
    same = path.suffix.lower() == Path(record["input"]).suffix.lower()  # in the units of the input
    return pictures.read(path, _range(record) if same else "auto").pixels


def _range(record: dict[str, Any]) -> Range | Any:
    ends = record["job"].get("range")
    return Range(*ends) if ends else "auto"


def _source(folder: Path, record: dict[str, Any], which: str) -> Path | None:
    """Where an input lies, seen from the folder, or as the command named it; None where it was the bundled picture."""
    if name := record.get("sources", {}).get(which):
        return report.beside(folder, name)
    return None


def _tried(make: Any, folder: Path, record: dict[str, Any], missing: list[str]) -> Tensor | None:
    try:
        return make(folder, record)
    except PictureError as error:
        missing.append(f"{error} The page is without it.")
        return None


def _before(folder: Path, record: dict[str, Any]) -> Tensor | None:
    if record["job"]["simulate"]:
        return pictures.read(folder / "degraded.png").pixels
    path = _source(folder, record, "input")
    if path is None or record["job"].get("size") is not None:
        raise PictureError("The measurement is not a picture.")
    return pictures.read(path, _range(record), holes=True).pixels


def _truth(folder: Path, record: dict[str, Any]) -> Tensor | None:
    if not record["job"]["simulate"]:
        path = _source(folder, record, "truth")
        return None if path is None else pictures.read(path, "auto", holes=True).pixels
    path = _source(folder, record, "input")
    return photograph("camera") if path is None else pictures.read(path, _range(record)).pixels


def _maps(record: dict[str, Any]) -> Iterator[str]:
    """Names of which there are the values and a picture of them."""
    names = [Path(name) for name in record["files"]]
    return (name.stem for name in names if name.suffix == ".npy" and name.with_suffix(".png") in names)
