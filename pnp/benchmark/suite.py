"""A suite: a small TOML file that says what is compared, and the cells (one solve each) that it stands for."""

from __future__ import annotations

import hashlib
import itertools
import os
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ..registry import Spec, SpecError, unknown

BUNDLED = ("camera", "astronaut", "coffee")  # photographs that come with scikit-image
FOLDER = Path(__file__).parent / "suites"
TABLES = ("means", "differences")  # the kinds that `report` makes


@dataclass(frozen=True)
class Task:
    """What happens to a picture.  `measure` makes y; `assume` is what the solver is told, by default the same.

    {data} in a spec is the folder of --data, {picture} the file of the picture.  sigma: its own noise level, of 255, in
    place of the suite's; noise: the spec of its own noise.
    pictures: data for a task of the suite's own pictures, whose folder has its kernels too; bundled for one that stands
    in for such a task where they are not; else all.  of: patterns of those of the suite's own pictures that it is for.
    given: folder of published measurements, each under its picture's name, in place of what `measure` would make; or
    one such file; or {picture}, whose variable `variable` it is.
    camera, file: specs of what is done with y before it is stored, and of the file, which is read as by `pnp solve`.
    each: name -> texts.  The task stands for one task of each combination of them, with them in the place of {name}.
    variant: what tells tasks of one name apart; they share a column of the tables.
    """

    name: str
    measure: str
    assume: str | None = None
    sigma: float | None = None
    noise: str | None = None
    pictures: str = "all"
    given: str | None = None
    variable: str | None = None
    camera: str | None = None
    file: str | None = None
    of: tuple[str, ...] = ()
    variant: str | None = None


@dataclass(frozen=True)
class Method:
    """What restores it: a prior, by a solver; or a denoiser alone, called once at the noise level that is told.

    sigma: given to the solver, or estimated from y; for `blind` solvers neither matters.  best: of a grid of levels
    that are told the one whose result is nearest to the truth (`solving.LEVELS`).
    """

    name: str
    prior: str | None = None
    solver: str | None = None
    lam: float | None = None
    iterations: int | None = None
    sigma: str = "given"
    denoiser: str | None = None

    def __post_init__(self) -> None:
        if (self.prior is None) == (self.denoiser is None):
            raise SpecError(f"method {self.name!r} needs either a prior or a denoiser.")
        if self.denoiser is not None and said(self).keys() - {"name", "denoiser"}:
            raise SpecError(
                f"method {self.name!r}: a denoiser is called once at the given sigma; it takes no settings."
            )
        if self.sigma not in ("given", "estimated", "best"):
            raise SpecError(unknown(f"sigma of method {self.name!r}:", self.sigma, ["given", "estimated", "best"]))
        if self.lam is not None:
            object.__setattr__(self, "lam", float(self.lam))  # 5 and 5.0 are the same


@dataclass(frozen=True)
class Published:
    """A row of a paper: values per task and noise level, `note` for how far it was checked."""

    name: str
    values: dict[str, float | list[float]]  # "task @ sigma" -> mean PSNR in dB, or one a picture
    note: str = ""


@dataclass(frozen=True)
class Suite:
    """The file as it was read.  sigmas: of 255; noise: the spec of one noise, in their place.

    crop: side of the centre square to keep, 0 for whole pictures.
    draw: who draws Gaussian noise from the seed: torch, or numpy's RandomState in the order (H, W, C), as the published
    tables of denoisers have it.  rounded: clean picture and result are clipped and rounded to 8 bits.
    scores: what the tables show, psnr and ssim.  view: spec of what the scores look at.  table: its kind, means or
    differences (`report.TABLES`).  variable: that of a .mat file that holds the clean picture.
    """

    name: str
    title: str
    tasks: tuple[Task, ...]
    methods: tuple[Method, ...]
    sigmas: tuple[float, ...] = ()
    noise: str | None = None
    pictures: tuple[str, ...] = ()
    about: str = ""
    seeds: tuple[int, ...] = (0,)
    crop: int = 0
    grey: bool = False
    limit: int = 0  # at most so many pictures, 0 for all
    published: tuple[Published, ...] = ()
    draw: str = "torch"
    rounded: bool = False
    scores: tuple[str, ...] = ("psnr",)
    view: str = "whole"
    table: str = "means"
    variable: str | None = None


@dataclass(frozen=True)
class Cell:
    """One solve: everything that its result depends on but the code."""

    suite: str
    task: Task
    sigma: float  # of 255; 0 where `noise` says what there is
    method: Method
    picture: str  # a path, or the name of a bundled photograph
    seed: int
    crop: int
    grey: bool
    noise: str | None = None
    draw: str = "torch"
    rounded: bool = False
    view: str = "whole"
    variable: str | None = None

    def inputs(self) -> dict[str, Any]:
        """What was asked for, the picture by its bytes; without the names given, and without where files lie."""
        method = {**said(self.method), "prior": self.method.prior, "solver": self.method.solver}
        method.pop("name")
        method["prior"] = _placeless(method["prior"], Spec.sum)
        method |= {part: _placeless(method[part]) for part in ("solver", "denoiser") if part in method}
        task = [_placeless(spec) for spec in (self.task.measure, self.task.assume)]
        given = picture_hash(str(self.measurement())) if self.task.given else None
        parts = {**said(self), "method": method, "task": task, "picture": picture_hash(self.picture), "given": given}
        parts.pop("suite")
        more = {"noise": self.noise, "camera": self.task.camera, "file": self.task.file}
        parts |= {name: _placeless(spec) for name, spec in more.items() if spec}
        return {**parts, "given variable": self.task.variable} if self.task.variable else parts

    def measurement(self) -> Path | None:
        """The file of the published measurement, if there is one."""
        if self.task.given is None:
            return None
        given = Path(self.task.given)
        return given if self.task.variable or given.is_file() else given / Path(self.picture).name


def column(task: str, sigma: float, noise: str | None = None) -> str:
    """How a task at a noise level is called, in tables and in published rows."""
    return f"{task} @ {f'{sigma:g}' if noise is None else noise}"


def said(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not as by default, 1 as 1.0: a field that is added later changes nothing."""
    found = {f.name: (getattr(settings, f.name), f.default) for f in fields(settings)}
    return {k: float(v) if type(v) is int else v for k, (v, default) in found.items() if v != default}


def _placeless(text: str | None, read: Callable[[str], Spec] = Spec.parse) -> str | None:
    """A spec with the names of its files in place of their paths: where they lie is not an input, what they hold is."""
    if text is None:
        return None
    try:
        return str(read(text).changed(_named))
    except SpecError:  # the cell's row will say what is wrong
        return text


def _named(value: str) -> str:
    """The name of a file in place of its path, for each of a list too."""
    if Path(value).is_file():
        return Path(value).name
    return os.pathsep.join(Path(path).name if Path(path).is_file() else path for path in value.split(os.pathsep))


@lru_cache
def picture_hash(picture: str) -> str:
    path = Path(picture)
    return hashlib.sha256(path.read_bytes() if path.is_file() else picture.encode()).hexdigest()[:16]


def load(name: str) -> Suite:
    """A suite from a path or by the name of a shipped one.  Raises SpecError for what is not a suite."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise SpecError(unknown("suite", name, [p.stem for p in shipped()]) + "  Or give the path of a .toml file.")
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{path} is not TOML: {error}") from None
    return parse(read, path.stem)


def shipped() -> list[Path]:
    return sorted(FOLDER.glob("*.toml"))


def parse(read: dict[str, Any], name: str) -> Suite:
    """Check every key and make a Suite.  Raises SpecError."""
    parts = dict(read)
    lists = {"tasks": Task, "methods": Method, "published": Published}
    parts["tasks"] = [one for row in parts.get("tasks", []) for one in _each(row, f"{name}: tasks")]
    for key, kind in lists.items():
        parts[key] = tuple(_made(kind, row, f"{name}: {key}") for row in parts.get(key, []))
    suite: Suite = _made(Suite, {"name": name, **parts}, name)
    if not suite.tasks or not suite.methods or {task for task, *_ in levels(suite)} != set(suite.tasks):
        raise SpecError(f"suite {name} needs at least one task, one method, and for each task a sigma or a noise.")
    if suite.draw not in ("torch", "numpy"):
        raise SpecError(unknown(f"{name}: draw:", suite.draw, ["torch", "numpy"]))
    for score in suite.scores:
        if score not in ("psnr", "ssim"):
            raise SpecError(unknown(f"{name}: scores:", score, ["psnr", "ssim"]))
    if suite.table not in TABLES:
        raise SpecError(unknown(f"{name}: table:", suite.table, list(TABLES)))
    if (suite.noise and suite.sigmas) or any(task.noise and task.sigma is not None for task in suite.tasks):
        raise SpecError(f"{name}: give a noise or sigma, not both; sigma is Gaussian noise.")
    if suite.draw == "numpy" and any(noise for *_, noise in levels(suite)):
        raise SpecError(f"{name}: draw = 'numpy' is for Gaussian noise, given by sigma.")
    for task in suite.tasks:
        if task.pictures not in ("all", "data", "bundled"):
            raise SpecError(
                unknown(f"{name}: pictures of task {task.name!r}:", task.pictures, ["all", "bundled", "data"])
            )
        if task.given and (suite.crop or suite.grey or task.pictures != "data"):
            raise SpecError(f"{name}: task {task.name!r} has given pictures: they are whole, as they are, and of data.")
        if task.given and (task.camera or task.file):
            raise SpecError(f"{name}: task {task.name!r} has given pictures; no camera and no file changes them.")
    if len({(task.name, task.variant) for task in suite.tasks}) < len(suite.tasks):
        raise SpecError(f"suite {name} has two tasks of the same name and variant.")
    if len({method.name for method in suite.methods}) < len(suite.methods):
        raise SpecError(f"suite {name} has two methods of the same name.")
    return suite


def _each(row: dict[str, Any], where: str) -> list[dict[str, Any]]:
    """The rows that a row with `each` stands for."""
    choices = row.get("each", {})
    if not _is(choices, dict[str, list[str]]):
        raise SpecError(f"{where}: each = {choices!r} is not a table of lists of str.")
    rest = {key: value for key, value in row.items() if key != "each"}

    def placed(value: Any, chosen: dict[str, str]) -> Any:
        if not isinstance(value, str):
            return value
        for name, text in chosen.items():
            value = value.replace(f"{{{name}}}", text)
        return value

    chosen = (dict(zip(choices, texts, strict=True)) for texts in itertools.product(*choices.values()))
    return [{key: placed(value, of) for key, value in rest.items()} for of in chosen]


def _made(kind: Any, row: dict[str, Any], where: str) -> Any:
    known = [f.name for f in fields(kind)]
    for key in row:
        if key not in known:
            raise SpecError(unknown(f"key in {where}:", key, known))
    hints = get_type_hints(kind)
    for key, value in row.items():
        if not _is(value, hints[key]):
            raise SpecError(f"{where}: {key} = {value!r} is not {_article(_in_words(hints[key]))}.")
    row = {key: tuple(v) if get_origin(hints[key]) is tuple else v for key, v in row.items()}
    try:
        return kind(**row)
    except TypeError as error:
        raise SpecError(f"{where}: {str(error).partition(' ')[2]}") from None
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def _is(value: Any, hint: Any) -> bool:
    """Whether a value of a TOML file is what a field asks for; a whole number is a float, too."""
    kind, of = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        return any(_is(value, h) for h in of)
    if kind in (tuple, list):
        return isinstance(value, tuple | list) and all(_is(v, of[0]) for v in value)
    if kind is dict:
        return isinstance(value, dict) and all(_is(v, of[1]) for v in value.values())
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if hint is float else hint)


def _in_words(hint: Any) -> str:
    """What the person is to write: `list of float`, `str`."""
    of = [h for h in get_args(hint) if h not in (type(None), Ellipsis)]
    if get_origin(hint) in (tuple, list):
        return f"list of {_in_words(of[0])}"
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_in_words(h) for h in of)
    return "table" if get_origin(hint) is dict else hint.__name__


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


@dataclass(frozen=True)
class Data:
    """Where pictures come from: a folder, or nothing (bundled photographs)."""

    folder: Path | None = None
    found: tuple[str, ...] = field(default=())
    own: bool = False  # the suite's pictures, whose published figures may stand beside ours

    @classmethod
    def of(cls, suite: Suite, folder: Path | None) -> Data:
        """The suite's own pictures where the folder has them, else every picture in it.  Raises ValueError."""
        from ..files import pictures

        if folder is None:
            return cls(None, BUNDLED[: suite.limit or None])
        sets = [[str(p) for p in sorted(folder.glob(pattern))] for pattern in suite.pictures]
        if suite.limit:  # some of each pattern
            own = [p for row in itertools.zip_longest(*sets) for p in row if p is not None]
        else:
            own = [p for found in sets for p in found]
        found = own or [str(p) for p in pictures.expand([str(folder)])]
        return cls(folder, tuple(found[: suite.limit or None]), bool(own))

    def shows(self, picture: str, task: Task) -> bool:
        """Whether a task is for this picture."""
        if task.pictures not in ("all", "data" if self.own else "bundled"):
            return False
        if not (self.own and task.of and self.folder):
            return True
        return any(Path(picture).relative_to(self.folder).match(pattern) for pattern in task.of)


def levels(suite: Suite) -> list[tuple[Task, float, str | None]]:
    """(task, sigma, noise): every task at each of its noise levels; sigma is 0 where a noise stands in its place."""
    common = [(sigma, None) for sigma in suite.sigmas] if suite.noise is None else [(0.0, suite.noise)]
    found = []
    for task in suite.tasks:
        own = task.sigma is not None or task.noise is not None
        found += [(task, *level) for level in ([(task.sigma or 0.0, task.noise)] if own else common)]
    return found


def cells(suite: Suite, data: Data) -> Iterator[Cell]:
    """Every solve of the suite, picture by picture."""
    names = ("crop", "grey", "draw", "rounded", "view", "variable")
    protocol = {name: getattr(suite, name) for name in names}
    for picture, (task, sigma, noise), method, seed in itertools.product(
        data.found, levels(suite), suite.methods, suite.seeds
    ):
        if data.shows(picture, task):
            placed = _placed(task, data.folder, picture)
            yield Cell(suite.name, placed, sigma, method, picture, seed, noise=noise, **protocol)


def _placed(task: Task, folder: Path | None, picture: str) -> Task:
    """The task with the folder in place of {data} and the picture's file in place of {picture}.

    In a spec they are quoted where they have to be.
    """
    where = "" if folder is None else str(folder)

    def placed(text: str) -> str:
        return text.replace("{data}", where).replace("{picture}", picture)

    def in_spec(text: str) -> str:
        return str(Spec.parse(text).changed(placed)) if "{data}" in text or "{picture}" in text else text

    measure, assume, given = in_spec(task.measure), task.assume and in_spec(task.assume), task.given
    return replace(task, measure=measure, assume=assume, given=given and placed(given))
