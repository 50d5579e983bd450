"""The report that people open: one HTML page of a record and its pictures, and a sheet that leads to several."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from torch import Tensor

from ..core.certificate import COLOURED, LOOSE, TIGHT
from ..html import pictures
from ..html.curves import Axis, Line, svg
from ..html.pictures import Shown
from ..html.render import render

NAME = "report.html"
SHEET = "reports.html"
BUDGET = 4_200_000  # bytes of the pictures of a page: base64 makes 5.6 MB of them
PAGES = 8  # of a stack that are shown
SEVERAL = 4  # numbers of a stack that a cell holds
SIDE, THUMB = 240, 80  # pixels, and the quality of JPEG, of a picture on a sheet
HERE = Path(__file__).parent
TITLES = {"change": "relative change of the picture", "residual": "‖Ax − y‖", "psnr": "PSNR, dB",
          "objective": "f + lam g"}  # fmt: skip


class Pictures(NamedTuple):
    """What a page shows.  restored, before, truth: (B, C, H, W), or fewer pages than the restored one; None: not here.

    maps: further pictures (C, H, W) by name.  residual: what the result leaves of the measurement, (C, H, W).
    """

    restored: Tensor
    before: Tensor | None = None
    truth: Tensor | None = None
    maps: Mapping[str, Tensor] = {}
    residual: Tensor | None = None


class Choice(NamedTuple):
    """What was given, found or chosen, and why."""

    what: str
    value: str
    why: str


class Entry(NamedTuple):
    """A picture on a sheet.  page: its own; without one it was not restored, and `said` is why."""

    name: str
    page: Path | None = None
    thumb: str = ""
    score: str = ""
    said: str = ""

    def link(self, folder: Path) -> str:
        """The way to its page from a sheet in `folder`, as an address; '' where there is none."""
        if self.page is None:
            return ""
        return quote(Path(os.path.relpath(self.page.resolve(), folder.resolve())).as_posix())


def page(record: Mapping[str, Any], seen: Pictures, notes: Sequence[str] = ()) -> str:
    """The page of a record, as result.json has it.  notes: what is to be said beside those of the record."""
    which = _pages(len(seen.restored))
    sets = _sets(record, seen, which)
    return render(
        HERE / "report.html.j2",
        record=record,
        title=Path(record["input"]).name,
        sets=sets,
        facts=list(_facts(record)),
        verdicts=_verdicts(record["verdict"]),
        choices=list(_choices(record)),
        maps=[_map(name, x) for name, x in seen.maps.items()],
        residual=None if seen.residual is None else pictures.shown("residual", seen.residual, 400_000, 900),
        curves=list(_curves(record, which)),
        ends=_ends(record),
        shown=len(which),
        pages=len(seen.restored),
        tested=list(_tested(record)),
        command=shlex.join(record["command"]),
        python=record.get("python"),  # newer than some records, as are the next two
        said=record.get("said"),
        environment=record.get("environment") or {},
        notes=[*record.get("notes", ()), *notes],
    )


def sheet(folder: Path, entries: Sequence[Entry]) -> str:
    """A page, to lie in `folder`, of thumbnails with name, score and verdict that lead to the pages of the pictures."""
    linked = [(entry, entry.link(folder)) for entry in entries if entry.page is not None]
    failed = [entry for entry in entries if entry.page is None]
    return render(HERE / "sheet.html.j2", title=f"{len(entries)} pictures", linked=linked, failed=failed)


def entry(record: Mapping[str, Any], seen: Pictures, path: Path) -> Entry:
    """A picture on a sheet: its left half as it was measured, its right half restored."""
    x = seen.restored[0].detach().cpu()
    if seen.before is not None and seen.before[0].shape == x.shape:
        half = x.shape[-1] // 2
        x = x.clone()
        x[..., :half] = seen.before[0, ..., :half]
    thumb = pictures.uri(pictures.jpeg(pictures.reduced(x, SIDE), THUMB), "jpeg")
    return Entry(record["input"], path, thumb, _score(record), " ".join(dict.fromkeys(record["verdict"])))


def _map(name: str, x: Tensor) -> Shown:
    """A kernel is grey, a field of motions has colours (`report.seen`)."""
    means = "White is its largest value." if len(x) == 1 else "The hue is the direction, the brightness the length."
    return pictures.shown(f"{name}, {x.shape[-2]}×{x.shape[-1]}. {means}", x, 200_000, 600)


def _pages(count: int) -> list[int]:
    """Those of a stack that are shown, the first and the last among them."""
    if count <= PAGES:
        return list(range(count))
    return [round(i * (count - 1) / (PAGES - 1)) for i in range(PAGES)]


def _measured(record: Mapping[str, Any]) -> str:
    """What the measured picture is called: one that was small is shown as large as the restored one."""
    large = record["shape"]["image"][-2:]
    small = record["shape"].get("measurement", large)[-2:]
    enlarged = all(1 < n < m for n, m in zip(small, large, strict=True))
    return "measured, enlarged" if enlarged else "measured"


def _sets(record: Mapping[str, Any], seen: Pictures, which: Sequence[int]) -> list[tuple[str, list[Shown]]]:
    """For each page its pictures side by side, together within the budget."""
    stacks = [
        (_measured(record), seen.before, "psnr_initial"),
        ("restored", seen.restored, "psnr"),
        ("truth", seen.truth, ""),
    ]
    there = [(i, name, x[i], score) for i in which for name, x, score in stacks if x is not None and i < len(x)]
    scores, sets = record.get("metrics") or {}, {i: [] for i in which}  # type: dict[str, Any], dict[int, list[Shown]]
    for i, name, x, score in there:
        decibels = f", {scores[score][i]:.2f} dB" if scores.get(score) and scores[score][i] is not None else ""
        sets[i].append(pictures.shown(name + decibels, x, BUDGET // len(there)))
    return [(f"page {i + 1}" if len(seen.restored) > 1 else "", shown) for i, shown in sets.items()]


def _verdicts(each: Sequence[str]) -> list[tuple[str, str]]:
    """(the pages that it is of, verdict); no pages where it is of all."""
    found: dict[str, list[int]] = {}
    for i, verdict in enumerate(each):
        found.setdefault(verdict, []).append(i + 1)
    if len(found) == 1:
        return [("", verdict) for verdict in found]
    named = {v: f"page{'s' * (len(which) > 1)} {_several(which, 'd')}" for v, which in found.items()}
    return [(pages, verdict) for verdict, pages in named.items()]


def _facts(record: Mapping[str, Any]) -> Iterator[Choice]:
    """The few things that one looks for first: (what, value, more)."""
    if scores := record.get("metrics"):
        before, after, ssim_before, ssim = (_mean(scores[k]) for k in ("psnr_initial", "psnr", "ssim_initial", "ssim"))
        more = _minus(f"{after - before:+.2f} dB; SSIM {ssim_before:.3f} → {ssim:.3f}")
        yield Choice("PSNR" if len(scores["psnr"]) == 1 else "PSNR, mean", f"{before:.2f} → {after:.2f} dB", more)
    counts = record["iterations"]
    span = f"{counts[0]}" if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
    ended = ", ".join(dict.fromkeys(record["status"]))
    why = [f"{span} iteration{'s' * (span != '1')}", *record["reason"]]
    yield Choice("Ended", ended, "; ".join(list(dict.fromkeys(why))[:SEVERAL]))
    if record.get("residual_over_noise"):
        fit = _several(record["residual_over_noise"], ".2f")
        yield Choice("Residual", f"{fit} × noise", "1 is what the noise leaves")
    seconds = record["seconds"]
    yield Choice("Time", f"{seconds['total']:.3g} s", f"{seconds['solve']:.3g} s of it in iterations")
    b, c, h, w = record["shape"]["image"]
    pages = f", {b} pages" if b > 1 else ""
    yield Choice("Picture", f"{w} × {h}", ("colour" if c == 3 else "grey") + pages)


def _choices(record: Mapping[str, Any]) -> Iterator[Choice]:
    """Every choice of the record with its reason, what was given first."""
    job = record["job"]
    yield Choice("operator", str(job["operator"]), "given: what the camera did")
    if found := record.get("kernel"):
        value, _, why = found["said"].partition(" (")
        yield Choice("found", value, why.rstrip(")"))
    yield Choice("prior", str(job["prior"]), "what pictures look like")
    if ends := record.get("range"):
        yield Choice("range", f"{ends['value'][0]:g} to {ends['value'][1]:g} of the file", ends["source"])
    light = record["light"]
    names = light["value"] if isinstance(light["value"], str) else ", ".join(dict.fromkeys(light["value"]))
    yield Choice("light", names, light["source"])
    for line in record.get("mask") or ():
        yield Choice("mask", line, "given" if job["mask"] else "found in the picture")
    for direction, std in (record.get("stripes") or {}).items():
        yield Choice("stripes", f"{direction}, std {std:.3g}", "found in the picture, and subtracted first")
    yield Choice("noise", record["noise"], "given" if job["noise"] else "what the picture and its file show")
    sigma = record["sigma"]
    if sigma["value"] is not None:
        eight_bits = f" ({255 * sigma['value']:.3g}/255)" if isinstance(sigma["value"], float) else ""
        yield Choice("sigma", _several(sigma["value"], ".3g") + eight_bits, sigma["source"])
    else:
        yield Choice("sigma", "not known", sigma["source"])
    solver = {k: v for k, v in record["solver"].items() if v is not None and k not in ("name", "source")}
    settings = ", ".join(f"{k}={_setting(v)}" for k, v in solver.items())
    yield Choice("solver", f"{record['solver']['name']}, {settings}", record["solver"].get("source", ""))
    yield Choice("lam", _several(record["lam"]["value"], ".4g"), record["lam"]["source"])
    yield Choice("stop", job["stop"] or f"relative change below {job['tol']:g}", "given" if job["stop"] else "default")
    if record.get("precision"):
        yield Choice("precision", *_parted(record["precision"]))
    if job["simulate"]:
        yield Choice("seed", str(job["seed"]), "of the noise that was added")


def _parted(text: str) -> tuple[str, str]:
    """`value (reason)` in two."""
    value, _, why = text.partition(" (")
    return value, why.removesuffix(")")


def _curves(record: Mapping[str, Any], which: Sequence[int]) -> Iterator[Any]:
    """A drawing for each recorded quantity, with a line for each page that is shown."""
    history = record["history"]
    frames = [(0, history)] if isinstance(history, dict) else list(enumerate(history))  # a movie has one for each
    for name in dict.fromkeys(name for _, each in frames for name in each if name != "seconds"):
        columns: dict[int, list[Any]] = {}
        for t, each in frames:
            for row in each.get(name, ()):
                for b, value in enumerate(row if isinstance(row, list) else [row]):
                    columns.setdefault(t + b, []).append(float("nan") if value is None else value)
        several = len(columns) > 1
        lines = [
            Line(f"page {i + 1}" if several else name, range(1, len(values) + 1), values)
            for i, values in columns.items()
            if i in which and (len(values) > 1)
        ]
        title, values = TITLES.get(name, name), [v for line in lines for v in line.y if math.isfinite(v)]
        wide = bool(values) and min(values) > 0 and max(values) > 10 * min(values)
        yield svg(lines, Axis("iteration"), Axis(title, log=wide), f"{title} against iterations")


def _tested(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What the verdict is made from: (quantity, here, what noise has)."""
    if fit := record.get("residual_over_noise"):
        yield "size, in units of the noise", _several(fit, ".2f"), f"{TIGHT:g} to {LOOSE:g}"
        if rho := record.get("residual_whiteness"):
            yield "correlation of neighbours", _minus(_several(rho, ".2f")), f"−{COLOURED:g} to {COLOURED:g}"


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _ends(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """How each page of a stack ended: head -> cells of its column, without columns that have nothing."""
    count, scores = len(record["status"]), record.get("metrics") or {}
    if count < 2:
        return {}
    numbers = {
        "residual / noise": record.get("residual_over_noise"),
        "correlation": record.get("residual_whiteness"),
        "PSNR before": scores.get("psnr_initial"),
        "PSNR": scores.get("psnr"),
    }
    shown = {k: ["" if x is None else _minus(f"{x:.2f}") for x in v] for k, v in numbers.items() if v}
    return {
        "page": [str(i + 1) for i in range(count)],
        "ended": record["status"],
        "iterations": [str(n) for n in record["iterations"]],
        **{name: cells for name, cells in shown.items() if len(cells) == count},
        "verdict": record["verdict"],
    }


def _score(record: Mapping[str, Any]) -> str:
    if scores := record.get("metrics"):
        return f"{_mean(scores['psnr_initial']):.2f} → {_mean(scores['psnr']):.2f} dB"
    fit = record.get("residual_over_noise")
    return f"residual {_several(fit, '.2f')} × noise" if fit else ""


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else float("nan")


def _several(values: Any, form: str) -> str:
    """A number, or the first few of many with their count."""
    if not isinstance(values, list):
        return "" if values is None else format(values, form)
    texts = ["–" if v is None else format(v, form) for v in values]
    return ", ".join(texts) if len(texts) <= SEVERAL else f"{', '.join(texts[:SEVERAL])}, … ({len(texts)})"


def _setting(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{k}={_setting(v)}" for k, v in value.items() if v is not None) + ")"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and all(isinstance(v, int | float) for v in value):
        return _several(value, ".4g")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
