"""The table of the README: quality and seconds of pnp beside deepinv and scikit-image, all in one run.

    python benchmarks/readme_table.py          (three to ten minutes; --quick: one small picture, writes nothing)
    python benchmarks/readme_table.py --write README.md          (the table from the results, without a run)

Four bundled photographs, grey, 256² pixels.  PSNR is the mean over them.  Seconds are seconds of the processor on one
thread, so that other programs on the machine count little: the median over the pictures, each after a warm-up, all in
turn; the import and the making of networks are left out.  No method is tuned on these pictures: pnp chooses what nobody
gave; the peers get the true noise level and the settings that their documentation gives.

- noise: sigma 25/255.  scikit-image: non-local means as in its gallery (fast, h = 0.8 sigma), TV (Chambolle, weight
  0.1 · sigma/0.1).
- blur: circular motion, 15 pixels at 30°, sigma 2.55/255.  deepinv: DPIR with pnp's network in DRUNet's place, and with
  DRUNet, whose weights are random here: its seconds are right, its picture is not looked at.  scikit-image:
  unsupervised Wiener (its Richardson-Lucy takes what lies beyond the borders for black, and is left out).
- holes: half of the pixels are missing, sigma 0.  scikit-image: biharmonic inpainting.  deepinv: none of its own here.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from common import RESULTS, arguments, luma, save
from torch import Tensor

import pnp
from pnp.files.pictures import crop_centre
from pnp.metrics import psnr
from pnp.samples import photograph

NAMES = ("camera", "astronaut", "coffee", "chelsea")
BLUR = "blur:kernel=motion,length=15,angle=30"
ROWS = ("pnp, unet", "pnp, tv", "deepinv, DPIR with pnp's network", "deepinv, DPIR with DRUNet",
        "scikit-image, non-local means", "scikit-image, TV", "scikit-image, unsupervised Wiener",
        "scikit-image, biharmonic")  # fmt: skip
TASKS = {"noise": "Noise of 25", "blur": "Motion blur, noise of 2.55", "holes": "Half of the pixels missing"}
UNSEEN = "deepinv, DPIR with DRUNet"

Calls = dict[str, Callable[[], Tensor]]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--write", type=Path, help="a file with the marks of the table")
    options = parser.parse_args()
    if options.write:
        return written(options.write)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    side = 96 if options.quick else 256
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name in NAMES[:1] if options.quick else NAMES:
        x = luma(crop_centre(photograph(name), 2 * side if name in ("camera", "astronaut") else side))
        x = torch.nn.functional.avg_pool2d(x, x.shape[-1] // side)
        for task, make in (("noise", noise), ("blur", blur), ("holes", holes)):
            calls = make(x)
            restored = {method: call() for method, call in calls.items()}  # the warm-up, too
            for method, call in calls.items():
                row = found.setdefault(task, {}).setdefault(method, {"psnr": [], "seconds": []})
                begun = time.process_time()
                call()
                row["seconds"].append(time.process_time() - begun)
                row["psnr"].append(float(psnr(restored[method].clamp(0, 1), x)))
                print(
                    f"{name:10s}{task:7s}{method:36s}{row['psnr'][-1]:7.2f} dB {row['seconds'][-1]:7.3f} s", flush=True
                )
    results = {
        task: {method: {"psnr": mean(row["psnr"]), "seconds": median(row["seconds"])} for method, row in rows.items()}
        for task, rows in found.items()
    }
    if not options.quick:
        print(save("readme_table", results, side=side, pictures=NAMES, clock="process time, one thread"))


def noise(x: Tensor) -> Calls:
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    sigma = 25 / 255
    y = x + sigma * _randn(x)
    a = y[0, 0].numpy()
    return {
        **ours(y, "identity", sigma),
        "scikit-image, non-local means": lambda: _tensor(
            denoise_nl_means(a, patch_size=5, patch_distance=6, h=0.8 * sigma, sigma=sigma, fast_mode=True)
        ),
        "scikit-image, TV": lambda: _tensor(denoise_tv_chambolle(a, weight=sigma)),
    }


def blur(x: Tensor) -> Calls:
    import deepinv
    from skimage.restoration import unsupervised_wiener

    from pnp.interop.deepinv import to_physics

    sigma = 2.55 / 255
    operator = pnp.operators.Blur(pnp.operators.kernels.motion(15, 30))
    y = operator(x) + sigma * _randn(x)
    physics = to_physics(operator, tuple(x.shape[1:]))
    unet = pnp.registry.DENOISERS.build("unet")
    drunet = deepinv.models.DRUNet(in_channels=1, out_channels=1, pretrained=None).eval().requires_grad_(False)

    def dpir(denoiser: Callable[..., Tensor]) -> Callable[[], Tensor]:
        model = deepinv.optim.DPIR(sigma=sigma, denoiser=denoiser)

        def call() -> Tensor:
            with torch.no_grad():
                return model(y, physics)

        return call

    class Ours(deepinv.models.Denoiser):
        """pnp's network where deepinv expects a module of its own."""

        def forward(self, x: Tensor, sigma: float | Tensor, **kwargs: object) -> Tensor:
            return unet(x, torch.as_tensor(sigma, dtype=x.dtype).view(-1, 1, 1, 1))

    a, kernel = y[0, 0].numpy(), pnp.operators.kernels.motion(15, 30).numpy()
    return {
        **ours(y, operator, sigma),
        "deepinv, DPIR with pnp's network": dpir(Ours()),
        UNSEEN: dpir(drunet),
        "scikit-image, unsupervised Wiener": lambda: _tensor(unsupervised_wiener(a, kernel, rng=0)[0]),
    }


def holes(x: Tensor) -> Calls:
    from skimage.restoration import inpaint_biharmonic

    known = (torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    y = known * x
    a, missing = y[0, 0].numpy(), known[0, 0].numpy() == 0
    return {
        **ours(y, pnp.operators.Mask(known[0]), 0.1 / 255),
        "scikit-image, biharmonic": lambda: _tensor(inpaint_biharmonic(a, missing)),
    }


def ours(y: Tensor, operator: object, sigma: float) -> Calls:
    """pnp with the noise level told, as the peers are; the weight of tv is chosen, and counts in the seconds."""
    told = {"operator": operator, "sigma": sigma, "noise": "gaussian", "light": "srgb", "stripes": "keep"}
    return {f"pnp, {p}": lambda p=p: pnp.restore(y, prior=p, **told).restored for p in ("unet", "tv")}


def written(path: Path) -> None:
    """Put the table between its marks: the best of a column bold, a method that lost to another package's marked."""
    import json

    stored = json.loads((RESULTS / "readme_table.json").read_text(encoding="utf-8"))
    results = stored["results"]
    lines = ["| method | " + " | ".join(f"{title}: dB | s" for title in TASKS.values()) + " |", "|---" * 7 + "|"]
    best = {task: max(row["psnr"] for m, row in rows.items() if m != UNSEEN) for task, rows in results.items()}
    fastest = {task: min(row["seconds"] for row in rows.values()) for task, rows in results.items()}
    for method in ROWS:
        cells = []
        for task in TASKS:
            row = results[task].get(method)
            if row is None:
                cells += ["", ""]
                continue
            score, seconds = f"{row['psnr']:.2f}", f"{row['seconds']:.2g}"
            cells.append("¹" if method == UNSEEN else f"**{score}**" if row["psnr"] == best[task] else score)
            cells.append(f"**{seconds}**" if row["seconds"] == fastest[task] else seconds)
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    text = path.read_text(encoding="utf-8")
    marked = re.compile(r"(<!-- table:readme -->\n).*?(<!-- /table -->)", re.S)
    if not marked.search(text):
        raise SystemExit(f"{path} has no <!-- table:readme --> and <!-- /table -->.")
    path.write_text(marked.sub(lambda m: m[1] + "\n".join(lines) + "\n" + m[2], text), encoding="utf-8")


def _randn(x: Tensor) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(0))


def _tensor(x: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x)).float()[None, None]


if __name__ == "__main__":
    main()
