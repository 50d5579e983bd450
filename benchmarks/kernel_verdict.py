"""How often a wrong kernel is told, how often a right one is doubted, and what the default then writes.

    python benchmarks/kernel_verdict.py --data FOLDER          (--quick: one bundled picture, writes nothing)

Training pictures (FOLDER/train) are blurred by a disk, a Gaussian, a straight motion and a shake, as 8-bit PNGs without
noise and with 3/255, and as JPEGs of quality 90 with 1/255; each is restored by `unet` with its own kernel and with
wrong ones, nothing else told.  A wrong kernel costs what its result is below the right one's.  FOLDER/eval/levin32: the
32 really blurred pictures of Levin et al. 2009 with their measured kernels, right, and larger or smaller; not restored.
"""

from __future__ import annotations

import io
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, camera, save
from PIL import Image
from torch import Tensor

from pnp.files.jpeg import quantisation_error
from pnp.files.pictures import crop_centre, luma, read
from pnp.jobs import Job, run
from pnp.jobs.evidence import judge
from pnp.metrics import psnr
from pnp.noises import estimate_sigma
from pnp.operators import ValidBlur, kernels
from pnp.operators.rivals import transformed

SIDE, PICTURES, CUT, COSTS = 200, 4, 8, 2.0
STEP = 12**-0.5 / 255
FORMS: dict[str, tuple[float, int | None]] = {"png": (0, None), "png, noise 3": (3, None), "jpeg 90, noise 1": (1, 90)}


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.quick:
        return print(summed(cells([camera(256).float()], {"png, noise 3": FORMS["png, noise 3"]})))
    if options.data is None:
        raise SystemExit("give the folder of pictures with --data or PNP_DATA, or --quick.")
    rows = cells(chosen(Path(options.data, "train")), FORMS)
    results = {"summary": summed(rows), "levin32": levin(Path(options.data, "eval", "levin32")), "rows": rows}
    print(results["summary"], results["levin32"], sep="\n")
    print(save("kernel_verdict", results, side=SIDE, costs=COSTS))


def chosen(folder: Path) -> list[Tensor]:
    """Central crops of pictures spread over two folders, other ones than the constants of `evidence` were chosen on."""
    found = []
    for kind, step in (("photos", 41), ("bsds400", 53)):
        crops = (reduced(luma(read(path).pixels)) for path in sorted(Path(folder, kind).glob("*.jpg"))[20::step])
        found += [x for x in crops if float(x.std()) > 0.08][: PICTURES // 2]
    return found


def reduced(x: Tensor) -> Tensor:
    times = max(1, min(x.shape[-2:]) // (SIDE + 60))
    return crop_centre(torch.nn.functional.avg_pool2d(x, times), SIDE + 30)


def told_kernels() -> dict[str, dict[str, Tensor]]:
    """Kernels by name, `right` the one that blurs."""
    make = kernels.make
    disks = {f"radius {r:g}": make("disk", {"radius": r}) for r in (2.0, 3.0, 4.0, 4.5, 5.5, 6.0, 7.0)}
    gaussians = {f"std {s:g}": make("gaussian", {"std": s}) for s in (1.0, 1.5, 2.5, 3.0)}
    motions = {"right": (13.0, 30.0), "longer": (18.0, 30.0), "shorter": (8.0, 30.0), "turned 20°": (13.0, 50.0),
               "turned 60°": (13.0, 90.0)}  # fmt: skip
    shake = make("shake", {"length": 15.0}, seed=4)
    return {
        "disk": {"right": make("disk", {"radius": 5.0}), **disks, "Gaussian": make("gaussian", {"std": 2.5})},
        "Gaussian": {"right": make("gaussian", {"std": 2.0}), **gaussians, "disk": make("disk", {"radius": 4.0})},
        "motion": {name: make("motion", {"length": n, "angle": angle}) for name, (n, angle) in motions.items()},
        "shake": {"right": shake, "turned 180°": shake.flip(0, 1), "another": make("shake", {"length": 15.0}, seed=7)},
    }


def as_file(u: Tensor, noise: float, quality: int | None, seed: int) -> tuple[Tensor, float]:
    """What a file of 8 bits holds of u with noise, and what JPEG has hidden."""
    y = u + noise / 255 * torch.randn(u.shape, generator=torch.Generator().manual_seed(seed))
    levels = (y.clamp(0, 1) * 255).round()
    if quality is None:
        return levels / 255, 0.0
    made = io.BytesIO()
    Image.fromarray(levels[0, 0].numpy().astype(np.uint8)).save(made, "JPEG", quality=quality)
    with Image.open(made) as im:
        return torch.from_numpy(np.asarray(im, dtype=np.float32))[None, None] / 255, quantisation_error(im) / 255


def cells(pictures: list[Tensor], forms: dict[str, tuple[float, int | None]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, x in enumerate(pictures):
        for form, (noise, quality) in forms.items():
            for name, told in told_kernels().items():
                true = ValidBlur(told["right"])
                y, hidden = as_file(true(x), noise, quality, i)
                seen = cut(true.visible(x))
                before, best = float(psnr(cut(y), seen)), 0.0
                for which, kernel in told.items():
                    done = run(Job(operator=ValidBlur(kernel), prior="unet", floor=STEP, hidden=hidden), y)
                    score = float(psnr(cut(done.restored), seen))
                    best = score if which == "right" else best
                    verdict = done.record.verdict[0]
                    row = {"picture": i, "form": form, "blur": name, "told": which, "input": before, "result": score,
                           "costs": best - score, "doubted": "probably wrong" in verdict,
                           "kept": "picture is kept" in verdict}  # fmt: skip
                    print({k: round(v, 2) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
                    rows.append(row)
    return rows


def cut(x: Tensor) -> Tensor:
    return x[..., CUT:-CUT, CUT:-CUT]


def summed(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many wrong kernels that cost COSTS dB or more are told, how many right ones doubted; what is gained."""
    found: dict[str, Any] = {}
    groups = defaultdict(list)
    for row in rows:
        for group in ("all", row["form"], row["blur"]):
            groups[group].append(row)
    for group, members in groups.items():
        right = [row for row in members if row["told"] == "right"]
        wrong = [row for row in members if row["told"] != "right" and row["costs"] >= COSTS]
        gains = [row["result"] - row["input"] for row in members]
        found[group] = {
            "right": len(right), "right doubted": sum(row["doubted"] for row in right),
            "wrong": len(wrong), "wrong told": sum(row["doubted"] for row in wrong),
            "results": len(gains), "below the input": sum(g < -0.05 for g in gains),
            "worst against the input": min(gains),
        }  # fmt: skip
    return found


def levin(folder: Path) -> dict[str, int]:
    """How many of Levin's kernels are doubted: right, a fifth smaller, a quarter larger."""
    from scipy.io import loadmat

    stretches = {"right": 1.0, "0.79 times as large": 0.79, "1.26 times as large": 1.26}
    doubted = dict.fromkeys(stretches, 0)
    paths = sorted(folder.glob("im*.mat"))
    for path in paths:
        stored = loadmat(path)
        y = torch.from_numpy(stored["y"].astype(np.float32))[None, None]
        kernel = torch.from_numpy(stored["f"].astype(np.float64))[None].flip(-2, -1)
        sigma = max(float(estimate_sigma(y)), STEP)
        for name, stretch in stretches.items():
            told = kernel if stretch == 1 else transformed(kernel, stretch=stretch)
            doubted[name] += judge(ValidBlur(told / told.sum()), y[0], sigma).rival is not None
    return {"pictures": len(paths), **doubted}


if __name__ == "__main__":
    main()
