"""How well unknown kernels are found, what is said of them, and what that costs in PSNR beside the kernel told.

    python benchmarks/kernel_estimation.py --data FOLDER          (--quick: one bundled picture, writes nothing)

Training pictures (FOLDER/train), other ones than the constants of `pnp.jobs.unknown` and `pnp.jobs.blind` were chosen
on.  Disks, Gaussians and straight motions: in colour, noise of 1 to 3/255, JPEG of quality 90; sigma is not told; the
numbers are found in up to 600 pixels a side, and `unet` restores the middle.  Shakes: grey, 8 bits, noise of 0.5 to
3/255, 255 pixels a side; PSNR after the best shift.  Sharp pictures: the same without a blur.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import RESULTS, arguments, save
from light import as_file
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pnp.benchmark.views import Aligned, Beyond
from pnp.files.pictures import crop_centre, read
from pnp.jobs import Job, run, unknown
from pnp.metrics import psnr
from pnp.operators import ValidBlur, kernels
from pnp.registry import OPERATORS
from pnp.samples import photograph

LARGEST, SIDE, SHAKEN = 600, 256, 255
FORMS: dict[str, dict[str, tuple[float, float]]] = {
    "disk": {"radius": (1.5, 7.0)},
    "gaussian": {"std": (1.0, 4.0)},
    "motion": {"length": (7.0, 25.0), "angle": (0.0, 180.0)},
}
WITHIN = {"radius": 0.1, "std": 0.1, "length": 0.15, "angle": 5.0}  # of the number; degrees
LENGTHS = (9.0, 13.0, 17.0, 21.0)


def main() -> None:
    parser = arguments(__doc__, data=True)
    parser.add_argument("--shakes", action="store_true", help="shakes alone; the other rows stay as they are")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.quick:
        return print(summed(rows([photograph("astronaut")])))
    if options.data is None:
        sys.exit("give the folder of pictures with --data or PNP_DATA, or --quick.")
    pictures = chosen(Path(options.data, "train"))
    if options.shakes:
        stored = json.loads((RESULTS / "kernel_estimation.json").read_text(encoding="utf-8"))["results"]["rows"]
        found = [row for row in stored if row["blur"] in FORMS] + rows(pictures, forms=())
    else:
        found = rows(pictures)
    print(summed(found))
    print(save("kernel_estimation", {"summary": summed(found), "rows": found}, side=SIDE, largest=LARGEST))


def chosen(folder: Path) -> list[Tensor]:
    """Colour pictures of two origins with some contrast."""
    photos, bsds = (sorted(Path(folder, kind).glob("*.jpg")) for kind in ("photos", "bsds400"))
    pictures = [read(path).pixels for path in photos[9::45] + bsds[20::57]]
    halved = (avg_pool2d(x, 2) if min(x.shape[-2:]) > 600 else x for x in pictures)
    return [x for x in halved if x.shape[1] == 3 and min(x.shape[-2:]) >= SHAKEN + 24 and float(x.std()) > 0.1]


def rows(pictures: list[Tensor], forms: Iterable[str] = tuple(FORMS)) -> list[dict[str, Any]]:
    found = []
    for i, x in enumerate(pictures):
        for row in (*(numbers(x[..., :LARGEST, :LARGEST], form, i) for form in forms), *shakes(x, i)):
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
            found.append(row)
    return found


def numbers(x: Tensor, form: str, i: int) -> dict[str, Any]:
    """A kernel of a known form: its numbers found, and the middle restored with them and with the right ones."""
    drawn = random.Random(f"{form} {i}")
    right = {name: drawn.uniform(*span) for name, span in FORMS[form].items()}
    sigma, operator = drawn.uniform(1, 3) / 255, ValidBlur(kernels.make(form, dict(right)))
    y, hidden = as_file(operator(x) + sigma * torch.randn(operator(x).shape, generator=_seed(i)), 90)
    row: dict[str, Any] = {"picture": i, "blur": form, **right, "sigma": 255 * sigma}
    spec = f"blur:kernel={form}," + ",".join(f"{name}=?" for name in right)
    asked = OPERATORS.build(spec, shape=tuple(x.shape[1:]), measured=True, border="valid").unknown()
    assert asked is not None
    try:
        kernel = unknown.numbers(asked, y[0], hidden)
    except unknown.NothingFound:
        return {**row, "sure": False, "right": False}
    away = {name: _away(name, kernel.values[name], value) for name, value in right.items()}
    scores = {}
    part, truth = (crop_centre(each, min(SIDE, *each.shape[-2:])) for each in (y, operator.visible(x)))
    for name, used in (("found", asked.at(kernel.values)), ("told", operator)):
        done = run(Job(used, "unet", hidden=hidden, floor=12**-0.5 / 255, range=(0.0, 255.0)), part)
        scores[name] = float(psnr(done.restored, truth))
    return {
        **row, **{f"{name} found": kernel.values[name] for name in right}, "sure": kernel.sure and not kernel.point,
        "right": all(away[name] <= WITHIN[name] for name in right), "input": float(psnr(part, truth)), **scores,
    }  # fmt: skip


def shakes(x: Tensor, i: int) -> Iterator[dict[str, Any]]:
    """A shake and no blur at all: what is estimated, whether it is believed, and what is written."""
    drawn = random.Random(f"shake {i}")
    grey = avg_pool2d(x.mean(1, keepdim=True), max(1, min(x.shape[-2:]) // (SHAKEN + 40)))
    length, sigma = drawn.choice(LENGTHS), drawn.uniform(0.5, 3) / 255
    for blur in ("shake", "none"):
        kernel = kernels.shake(length, seed=i) if blur == "shake" else torch.ones(1, 1, dtype=torch.float64)
        operator = ValidBlur(kernel)
        sharp = crop_centre(grey, min(SHAKEN + len(kernel) - 1, *grey.shape[-2:]))
        u = operator(sharp)
        y, _ = as_file((u + sigma * torch.randn(u.shape, generator=_seed(i))).expand(-1, 3, -1, -1), None)
        y, truth = y[:, :1], operator.visible(sharp)
        row = {"picture": i, "blur": blur, "length": length, "sigma": 255 * sigma}
        told = {"prior": "unet", "floor": 12**-0.5 / 255, "range": (0.0, 255.0)}
        done = run(Job("blur:kernel=estimate", **told), y)
        assert done.record.kernel is not None
        found = done.result.maps["kernel"]
        row |= {"likeness": unknown.likeness(found, kernel), "sure": done.record.kernel["sure"], "written": "",
                "input": _score(y, truth), "found": _score(done.restored, truth)}  # fmt: skip
        row["written"] = "as measured" if torch.equal(done.restored, y) else "restored"
        if blur == "shake":
            row["told"] = _score(run(Job(operator, **told), y).restored, truth)
        yield row


def summed(found: list[dict[str, Any]]) -> dict[str, Any]:
    """By blur: how many are right, believed, restored and below the input, and mean PSNR.

    Numbers that are not sure count as what the program then writes: the measured picture.
    """
    summary = {}
    for blur in dict.fromkeys(row["blur"] for row in found):
        members = [row for row in found if row["blur"] == blur]
        members = [{**row, "found": row["input"]} if "found" in row and not row["sure"] else row for row in members]
        scored = [row for row in members if "found" in row]
        summary[blur] = {
            "pictures": len(members),
            "sure": sum(row["sure"] for row in members),
            **({"right": sum(row["right"] for row in members)} if "right" in members[0] else {}),
            **({"restored": sum(row["written"] == "restored" for row in members)} if "written" in members[0] else {}),
            "below the input": sum(row["found"] < row["input"] - 0.1 for row in scored),
            "worst": min(row["found"] - row["input"] for row in scored),
            **{name: mean(row[name] for row in scored) for name in ("input", "found", "told") if name in scored[0]},
        }
    return summary


def _away(name: str, value: float, right: float) -> float:
    return abs((value - right + 90) % 180 - 90) if name == "angle" else abs(value / right - 1)


def _score(x: Tensor, truth: Tensor) -> float:
    return float(psnr(*Aligned(cut=15, reach=5, step=0.25)(x, truth, Beyond(0, 0, 0, 0))))


def _seed(i: int) -> torch.Generator:
    return torch.Generator().manual_seed(i)


if __name__ == "__main__":
    main()
