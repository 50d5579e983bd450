"""How often `--light auto` is right, and what linear light gains where a lens blurred and costs where software did.

    python benchmarks/light.py --data FOLDER          (--quick: one bundled picture, writes nothing)

Training pictures (FOLDER/train), other ones than the constants of `pnp.jobs.light` were chosen on, are each blurred
twice by the same kernel, in linear light with noise of a sensor and in the values of the file with white noise, of
0.5 to 3/255 and of 5 to 13/255, and stored as 8-bit PNG or as JPEG of quality 85, 90 or 95.  `unet` restores both, in
linear light and in sRGB; only the kernel is told.  The result of auto is the result in the light that it takes.
"""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from common import arguments, save
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pnp.files.curves import SRGB
from pnp.files.jpeg import quantisation_error
from pnp.files.pictures import crop_centre, read
from pnp.jobs import Job, run
from pnp.metrics import psnr
from pnp.operators import ValidBlur, kernels
from pnp.samples import photograph

SIDE, STEP = 200, 12**-0.5 / 255
# in 1/255 of the file, in the mean over its pixels
NOISE = {"0.5 to 3/255": (0.5, 3.0), "5 to 13/255": (5.0, 13.0)}
READ_OUT = 0.02  # variance of a sensor's noise at black; the photons at white have 1
QUALITIES = (None, 85, 90, 95)  # None: PNG
KERNELS: dict[str, list[dict[str, float]]] = {
    "disk": [{"radius": r} for r in (2.0, 3.0, 5.0, 7.0)],
    "gaussian": [{"std": s} for s in (1.2, 2.0, 3.0)],
    "motion": [{"length": n, "angle": a} for n, a in ((9.0, 20.0), (15.0, 75.0), (21.0, 130.0))],
}
BLURRED = ("linear", "srgb")


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.quick:
        return print(summed(cells([photograph("coffee")[..., 100:280, 180:360]])))
    if options.data is None:
        raise SystemExit("give the folder of pictures with --data or PNP_DATA, or --quick.")
    rows = cells(chosen(Path(options.data, "train")))
    print(summed(rows))
    print(save("light", {"summary": summed(rows), "rows": rows}, side=SIDE, noise=NOISE, qualities=QUALITIES))


def chosen(folder: Path) -> list[Tensor]:
    """Central crops, in colour, of pictures spread over two folders."""
    photos, bsds = (sorted(Path(folder, kind).glob("*.jpg")) for kind in ("photos", "bsds400"))
    spread = [photos[i] for i in range(7, 270, 13) if (i - 5) % 11 and (i - 5) % 17] + bsds[3::22]
    crops = (reduced(read(path).pixels) for path in spread)
    return [x for x in crops if x.shape[1:] == (3, SIDE, SIDE) and float(x.std()) > 0.08]


def reduced(x: Tensor) -> Tensor:
    return crop_centre(avg_pool2d(x, max(1, min(3, min(x.shape[-2:]) // (SIDE + 20)))), SIDE)


def cells(pictures: list[Tensor]) -> list[dict[str, Any]]:
    rows = []
    for i, x in enumerate(pictures):
        for row in (row for noise in NOISE for row in files(x, i, noise)):
            print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
            rows.append(row)
    return rows


def files(x: Tensor, i: int, noise: str) -> Iterator[dict[str, Any]]:
    """The two files of a picture, and what is made of them."""
    drawn = random.Random(i)
    kind = drawn.choice(sorted(KERNELS))
    size, quality = drawn.choice(KERNELS[kind]), QUALITIES[i % len(QUALITIES)]
    sigma = drawn.uniform(*NOISE[noise]) / 255
    operator = ValidBlur(kernels.make(kind, dict(size)))
    for blurred in BLURRED:
        y, hidden = as_file(measured(operator, x, sigma, i, linear=blurred == "linear"), quality)
        told = {"operator": operator, "prior": "unet", "floor": STEP, "hidden": hidden, "range": (0.0, 255.0)}
        done = {way: run(Job(**told, curve=SRGB, light=way), y) for way in BLURRED}
        auto = run(Job(**told, curve=SRGB, iterations=1), y).record
        taken, seconds = auto.light, auto.seconds["before"] - done["srgb"].record.seconds["before"]
        scores = {way: float(psnr(each.restored, operator.visible(x))) for way, each in done.items()}
        yield {"picture": i, "noise": noise, "blur": kind, **size, "sigma": 255 * sigma, "quality": quality or "PNG",
               "blurred in": blurred, "auto takes": taken.value, "why": taken.source, "seconds of auto": seconds,
               "input": float(psnr(y, operator.visible(x))), **scores, "auto": scores[str(taken.value)]}  # fmt: skip


def measured(operator: ValidBlur, x: Tensor, sigma: float, seed: int, *, linear: bool) -> Tensor:
    """What a camera or a program makes of x, in values of a file; noise of the std sigma there."""
    noise = torch.randn(operator(x).shape, generator=torch.Generator().manual_seed(seed))
    if not linear:
        return operator(x) + sigma * noise
    u = operator(SRGB.decode(x)).clamp_min(0)
    std = (u + READ_OUT).sqrt()
    in_file = (std / SRGB.slope(SRGB.encode(u))).square().mean().sqrt()
    return SRGB.encode(u + sigma / in_file * std * noise)


def as_file(y: Tensor, quality: int | None) -> tuple[Tensor, float]:
    """What a file of 8 bits holds, and what JPEG has hidden."""
    levels = (y.clamp(0, 1) * 255).round()
    if quality is None:
        return levels / 255, 0.0
    made = io.BytesIO()
    Image.fromarray(levels[0].permute(1, 2, 0).numpy().astype(np.uint8)).save(made, "JPEG", quality=quality)
    with Image.open(made) as im:
        stored = torch.from_numpy(np.asarray(im, dtype=np.float32)).permute(2, 0, 1)[None] / 255
        return stored, quantisation_error(im) / 255


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often auto is right, and mean PSNR."""
    found: dict[str, Any] = {}
    groups = {"all": rows} | {f"{noise}, {way}": [r for r in rows if r["noise"] == noise and r["blurred in"] == way]
                              for noise in NOISE for way in BLURRED}  # fmt: skip
    for group, members in groups.items():
        scores = {way: mean(row[way] for row in members) for way in ("input", "auto", *BLURRED)}
        best = [max(row[way] for way in BLURRED) for row in members]
        found[group] = {
            "files": len(members), "right": sum(row["auto takes"] == row["blurred in"] for row in members), **scores,
            "best of both": mean(best), "most lost": max(b - row["auto"] for b, row in zip(best, members, strict=True)),
        }  # fmt: skip
    return {**found, "seconds of auto, median": median(row["seconds of auto"] for row in rows)}


if __name__ == "__main__":
    main()
