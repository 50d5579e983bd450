"""How well the motion at each pixel is found, and what that is worth beside one kernel for the whole picture.

    python benchmarks/motion_field.py --data FOLDER          (--quick: one bundled picture, writes nothing)

Training pictures (FOLDER/train); the constants of `pnp.jobs.field` were chosen on others (--tune).
Each is blurred by a field that is linear in the place, v(p) = t + M (p − c), as of a camera that turns and moves, with
motions of up to 20 pixels; noise of 1/255, 8 bits, grey, up to 320 pixels a side.  The error of a motion is its
distance from the true one or from its opposite, in pixels.  PSNR with 20 pixels cut: the field found, the field told,
and one motion for the whole picture (`blur:kernel=motion,length=?,angle=?`), all by `unet` and without the guard; and
what the program writes by itself.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import arguments, save
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pnp.files.pictures import crop_centre, luma, read
from pnp.jobs import Job, field, run
from pnp.jobs.unknown import NothingFound
from pnp.metrics import psnr
from pnp.operators import Operator, Varying
from pnp.samples import photograph

SIDE, CUT, LONGEST = 320, 20, 20.0
SIGMA = 1 / 255


def main() -> None:
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tune", action="store_true", help="on the pictures that constants were chosen on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.quick:
        return print(row(luma(photograph("astronaut"))[..., :SIDE, :SIDE], 0))
    if options.data is None:
        sys.exit("give the folder of pictures with --data or PNP_DATA, or --quick.")
    if options.tune:
        return tune([*chosen(Path(options.data, "train"), 4)])
    rows = [row(x, i) for i, x in enumerate(chosen(Path(options.data, "train"), 17))]
    summary = {name: mean(r[name] for r in rows) for name in rows[0] if name not in ("picture", "sure", "sharp")}
    summary |= {"pictures": len(rows), "sure": sum(r["sure"] for r in rows), "sharp": sum(r["sharp"] for r in rows),
                "below the input": sum(r["written"] < r["input"] - 0.1 for r in rows)}  # fmt: skip
    print(summary)
    print(save("motion_field", {"summary": summary, "rows": rows}, side=SIDE, sigma=255 * SIGMA))


def chosen(folder: Path, start: int) -> list[Tensor]:
    """Grey pictures of two origins."""
    photos, bsds = (sorted(Path(folder, kind).glob("*.jpg")) for kind in ("photos", "bsds400"))
    pictures = [luma(read(path).pixels) for path in photos[start::64] + bsds[start::88]]
    halved = (avg_pool2d(x, 2) if min(x.shape[-2:]) > 700 else x for x in pictures)
    return [crop_centre(x, min(SIDE, *x.shape[-2:])) for x in halved if float(x.std()) > 0.1]


def field_of(size: tuple[int, int], seed: int) -> Tensor:
    """(h, w, 2), to the right and down: linear in the place, the longest motion LONGEST pixels."""
    draw = torch.Generator().manual_seed(seed)
    matrix, shift = torch.randn(2, 2, generator=draw), torch.randn(2, generator=draw)
    rows, columns = (torch.linspace(-1, 1, n) for n in size)
    place = torch.stack([columns.expand(size), rows[:, None].expand(size)], -1)
    v = place @ matrix.T + 1.5 * shift
    return (LONGEST / v.norm(dim=-1).max() * v).double()


def blurred(x: Tensor, i: int) -> tuple[Operator, Tensor, Tensor]:
    """The operator of field i, the field where y shows it, and y in 8 bits."""
    reach = int(LONGEST) // 2 + 1
    size = (x.shape[-2] - 2 * reach, x.shape[-1] - 2 * reach)
    motion = field_of(size, i)
    operator = Varying.motion(motion)
    margins = [(n - m) // 2 for n, m in zip(x.shape[-2:], operator.image_size, strict=True)]
    inner = x[..., margins[0] : margins[0] + operator.image_size[0], margins[1] : margins[1] + operator.image_size[1]]
    u = operator(inner)
    y = u + SIGMA * torch.randn(u.shape, generator=torch.Generator().manual_seed(i))
    return operator, motion, (255 * y).round().clamp(0, 255) / 255


def row(x: Tensor, i: int) -> dict[str, Any]:
    operator, motion, y = blurred(x, i)
    reach = [(n - m) // 2 for n, m in zip(x.shape[-2:], y.shape[-2:], strict=True)]
    truth = x[..., reach[0] : reach[0] + y.shape[-2], reach[1] : reach[1] + y.shape[-1]]
    found = field.motions_of(y[0])
    still = field.motions_of(((255 * truth + torch.randn(truth.shape, generator=torch.Generator().manual_seed(i)))
                              .round().clamp(0, 255) / 255)[0])  # fmt: skip
    result: dict[str, Any] = {"picture": i, "error": error(found.field, motion), "sure": found.sure and not found.point,
                              "sharp": still.point or not still.sure, "input": score(y, truth)}  # fmt: skip
    single = "blur:kernel=motion,length=?,angle=?"
    for name, used, guard in (("found", "varying:kernel=estimate", False), ("told", operator, False),
                              ("one motion", single, False), ("written", "varying:kernel=estimate", True)):  # fmt: skip
        told = {"floor": 12**-0.5 / 255, "range": (0.0, 255.0), "guard": guard, "light": "srgb"}
        try:
            result[name] = score(run(Job(used, "unet", **told), y).restored, truth)
        except NothingFound:
            result[name] = result["input"]
    print({k: round(v, 3) if isinstance(v, float) else v for k, v in result.items()}, flush=True)
    return result


def tune(pictures: list[Tensor]) -> None:
    """The mean error for some constants of the random field, and `spread` beside the error."""
    seen = []
    for i, x in enumerate(pictures):
        _, motion, y = blurred(x, 100 + i)
        seen.append((motion, *field.looked_at(y[0])))
    for trust in (0.1, 0.3, 1.0):
        for smooth in (0.005, 0.02, 0.05, 0.15):
            errors = []
            for motion, logs, ways, size in seen:
                means = field.smoothed(trust * logs, ways, smooth)
                errors.append(error(field.as_field(means, size)[: motion.shape[0], : motion.shape[1]], motion))
            print(trust, smooth, f"{mean(errors):.3f}", [round(e, 2) for e in errors], flush=True)
    for motion, logs, ways, size in seen:
        means = field.smoothed(logs, ways)
        away = error(field.as_field(means, size)[: motion.shape[0], : motion.shape[1]], motion)
        print(f"error {away:.2f}, spread {field.spread(logs, ways, means):.2f}")


def error(found: Tensor, motion: Tensor) -> float:
    found = found.to(motion)
    return float(torch.minimum((found - motion).norm(dim=-1), (found + motion).norm(dim=-1)).mean())


def score(x: Tensor, truth: Tensor) -> float:
    inner = (..., slice(CUT, -CUT), slice(CUT, -CUT))
    return float(psnr(x[inner].clamp(0, 1), truth[inner]))


if __name__ == "__main__":
    main()
