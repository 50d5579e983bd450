"""What each ingredient of the training pictures is worth: the shipped colour U-Net trained on with each, equal steps.

    python benchmarks/training_mixture.py --data FOLDER          (about 20 minutes; --quick: two steps, writes nothing)
    python benchmarks/training_mixture.py --write benchmarks/README.md     (the table from the results, without a run)

`unet-colour` is trained on for STEPS steps of BATCH patches of 64² with each mixture, from the same seed.  Half of the
photographs of FOLDER/train/photos train; HELD others judge, in the origins of `pnp train`: reduced fourfold, the same
as JPEG, saturated close-ups, drawings and text.  The shipped weights were trained on all these photographs, so compare
the rows with each other.  BSDS: pictures of FOLDER/train/bsds400 as their files are, which neither has seen.
Denoising: mean PSNR at sigma 15, 25 and 50.  Deblurring: FEW pictures of each origin, a shake, noise of 2.55 of 255,
HQS by the default rule.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from common import RESULTS, arguments, save
from torch import Tensor

import pnp
from pnp.files.pictures import crop_centre
from pnp.precision import LearningPrecision, choose
from pnp.priors import store
from pnp.priors.nets import Network
from pnp.training import run
from pnp.training.mixture import Mixture
from pnp.training.objectives import Denoising
from pnp.training.origins import SIDE, origins
from pnp.training.patches import PatchPool, read_pictures
from pnp.training.run import TrainSettings
from pnp.training.synthetic import Scenes, printers

MIXTURES = {
    "as before": Mixture(jpeg=0.75, whole=0.125, halved=1.0),
    "no JPEG": Mixture(jpeg=0.0),
    "no JPEG, jitter": Mixture(jpeg=0.0, jitter=0.3),
    "no JPEG, rendered": Mixture(jpeg=0.0, synthetic=0.3),
    "a quarter JPEG, jitter, rendered": Mixture(jpeg=0.25, jitter=0.3, synthetic=0.3),
}
STEPS, BATCH, PATCH, LR = 400, 16, 64, 2e-4
HELD, FEW, BSDS = 20, 4, 12
BLUR, SIGMA = "blur:kernel=shake,length=17,seed=3", 2.55 / 255
COLUMNS = ("reduced", "jpeg", "saturated", "drawings", "text", "BSDS")
CPU = torch.device("cpu")

Row = dict[str, Any]


def main() -> None:
    parser = arguments(__doc__, data=True)
    parser.add_argument("--write", type=Path, help="a file with the marks of the table")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of each mixture (default: {STEPS})")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"),
                        help="of training and judging; on a busy machine auto may take the slower one")  # fmt: skip
    options = parser.parse_args()
    if options.write:
        return written(options.write)
    if options.data is None:
        raise SystemExit("give the folder of pictures with --data or PNP_DATA.")
    torch.set_num_threads(options.threads)
    precision = options.precision
    print(f"training in {choose(precision, CPU, learning=True)}", flush=True)
    every, steps = (40, 2) if options.quick else (1, options.steps)
    train, judging = pictures(options.data, every)
    rows = {"shipped": judged(store.load("unet-colour"), judging, precision)}
    scenes = Scenes(train, printers()[0], 224)
    for name, mixture in MIXTURES.items():
        pool = PatchPool(train, 128, mixture, scenes)
        net, seconds = trained(pool, steps, precision)
        rows[name] = {"seconds a step": seconds, **judged(net, judging, precision)}
        print(name, json.dumps(rows[name]), flush=True)
        if not options.quick:
            shares = {n: vars(m) for n, m in MIXTURES.items() if n in rows}
            kept = {"steps": steps, "batch": BATCH, "patch": PATCH, "lr": LR, "mixtures": shares}
            print(save("training_mixture", rows, **kept, training=str(choose(precision, CPU, learning=True))))


def pictures(folder: Path, every: int) -> tuple[list[Tensor], dict[str, list[Tensor]]]:
    """Photographs that train, and pictures that judge, by origin."""
    photos = sorted((folder / "train" / "photos").glob("*.jpg"))
    held = photos[7::16][:HELD]
    train = read_pictures([p for p in photos if p not in held][:: 2 * every], 3)
    judging = origins(read_pictures(held[::every], 3), printers()[1])
    bsds = read_pictures(sorted((folder / "train" / "bsds400").glob("*.jpg"))[:: 400 // BSDS][:BSDS], 3)
    return train, {**judging, "BSDS": [crop_centre(p, SIDE) for p in bsds]}


def trained(pool: PatchPool, steps: int, precision: LearningPrecision) -> tuple[Network, float]:
    """`unet-colour` trained on, and the seconds of the processor for a step."""
    settings = TrainSettings(
        "unet", channels=3, steps=steps, batch=BATCH, patch=PATCH, growth=(), lr=LR, precision=precision
    )
    objective = Denoising(pool, {}, "gaussian", (0.0, 55 / 255))
    learner, begun = run.start(settings, CPU, store.load("unet-colour")), time.process_time()
    for progress, _ in run.pace(settings, learner):
        learner.advance(objective, progress)
    return learner.finish(), (time.process_time() - begun) / steps


def judged(net: Network, judging: dict[str, list[Tensor]], precision: LearningPrecision) -> Row:
    """PSNR in dB of each origin: denoising at three levels, and deblurring."""
    objective = Denoising(None, judging, "gaussian", (0.0, 55 / 255))  # type: ignore[arg-type]
    with torch.inference_mode():
        denoising = objective.judge(run.in_format(net, CPU, precision), CPU)["origins"]
    with tempfile.TemporaryDirectory() as folder:
        store.export(net, net.title(), {"architecture": "unet"}, Path(folder))
        prior = f"unet:weights={folder}/{net.title()}.safetensors,precision={precision}"
        deblurring = {name: mean(deblurred(p, prior) for p in few[:FEW]) for name, few in judging.items()}
    return {"denoising": denoising, "deblurring": deblurring}


def deblurred(picture: Tensor, prior: str) -> float:
    """PSNR in dB of one picture, blurred and restored."""
    pixels = picture.permute(1, 2, 0).numpy()
    done = pnp.restore(pixels, operator=BLUR, prior=prior, sigma=SIGMA, simulate=True)
    return float(done.record.metrics["psnr"][0])


def written(path: Path) -> None:
    """Put the table between its marks: the shipped weights in dB, the others as differences from `as before`."""
    rows = json.loads((RESULTS / "training_mixture.json").read_text(encoding="utf-8"))["results"]
    heads = [f"{c}: {task}" for c in COLUMNS for task in ("noise", "blur")]
    lines = ["| mixture | " + " | ".join([*heads, "mean: noise", "mean: blur"]) + " |", "|---" * (len(heads) + 3) + "|"]
    base = figures(rows["as before"])
    for name, row in rows.items():
        values = figures(row)
        told = [f"{v:.2f}" if name in ("shipped", "as before") else f"{v - b:+.2f}".replace("-", "−")
                for v, b in zip(values, base, strict=True)]  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(told) + " |")
    marks = re.compile(r"(<!-- table:mixture -->\n).*?(<!-- /table -->)", re.S)
    text = path.read_text(encoding="utf-8")
    if not marks.search(text):
        raise SystemExit(f"{path} has no <!-- table:mixture --> and <!-- /table -->.")
    path.write_text(marks.sub(lambda m: m[1] + "\n".join(lines) + "\n" + m[2], text), encoding="utf-8")


def figures(row: Row) -> list[float]:
    """Noise and blur of each column, then their means over the five origins without BSDS, which the trainer has."""
    found = {c: (mean(row["denoising"][c].values()), row["deblurring"][c]) for c in COLUMNS}
    means = [mean(found[c][k] for c in COLUMNS[:-1]) for k in (0, 1)]
    return [*(value for pair in found.values() for value in pair), *means]


if __name__ == "__main__":
    main()
