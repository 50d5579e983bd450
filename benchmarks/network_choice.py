"""Two choices about the shipped networks: how wide the U-Net is, and that the mean-shift prior has none of its own.

    python benchmarks/network_choice.py --data FOLDER          (about 20 minutes; --quick: a few steps, writes nothing)

widths: grey U-Nets of three widths, trained from nothing with the same seeds for the same STEPS; validation PSNR per
noise level beside the time of a 512² picture and of a step.
mean shift: a network of its own for noise of 11/255, its best chance being the shipped unet-grey trained on at that
level alone, beside the shipped one; validation PSNR at 11/255.
Trained on FOLDER/train/photos, judged by 24 pictures of FOLDER/train/bsds400.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from common import arguments, median_time, save
from torch import nn

from pnp.priors import store
from pnp.priors.network import NetworkDenoiser
from pnp.training import run
from pnp.training.objectives import Denoising
from pnp.training.run import TrainSettings

WIDTHS = ((32, 64, 128), (48, 96, 192), (64, 128, 256))
LEVEL = 11 / 255
STEPS, FURTHER = 400, 600


def trained(
    settings: TrainSettings, folder: Path, initial: nn.Module | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, and the last line of its log: PSNR per noise level, seconds."""
    with tempfile.TemporaryDirectory() as out:
        net = run.train(
            settings, photographs(folder), Path(out), validation=judges(folder), initial=initial, validate_every=1e9
        )
        return net, json.loads(Path(out, "log.jsonl").read_text().splitlines()[-1])


def photographs(folder: Path) -> list[Path]:
    return sorted((folder / "train" / "photos").glob("*.jpg"))


def judges(folder: Path) -> list[Path]:
    return sorted((folder / "train" / "bsds400").glob("*.jpg"))[::17][:24]


def widths(folder: Path, steps: int) -> dict[str, Any]:
    x, rows, nets = torch.rand(1, 1, 512, 512), {}, {}
    for width in WIDTHS:
        name = "-".join(map(str, width))
        settings = TrainSettings("unet", steps=steps, config={"widths": width})
        net, line = trained(settings, folder)
        nets[name] = NetworkDenoiser(net)
        parameters = sum(p.numel() for p in net.parameters())
        rows[name] = {"psnr": line["psnr"], "seconds a step": line["elapsed"] / steps, "parameters": parameters}
        print(f"{name}: {line['psnr']} dB after {steps} steps of {rows[name]['seconds a step']:.2f} s", flush=True)
    for name, seconds in median_time({n: lambda d=d: d(x, 25 / 255) for n, d in nets.items()}).items():
        rows[name]["seconds at 512²"] = seconds
        print(f"{name}: {1000 * seconds['median']:.0f} ms at 512²")
    return rows


def mean_shift(folder: Path, steps: int) -> dict[str, Any]:
    shipped = store.load("unet-grey")
    settings = TrainSettings("unet", steps=steps, levels=(LEVEL, LEVEL), lr=5e-4)
    cpu, judging = torch.device("cpu"), judges(folder)
    level, mixture = (LEVEL, LEVEL), settings.mixture
    objective = Denoising.of(shipped, judging, judging, level, settings.largest(), mixture)
    with torch.inference_mode():
        before = objective.judge(run.in_format(shipped, cpu), cpu)["psnr"]
    own = trained(settings, folder, initial=shipped)[1]["psnr"]
    print(f"noise 11: unet {before}, trained on at that level for {steps} steps {own} dB")
    return {"unet": before, "its own": own}


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    if options.data is None:
        raise SystemExit("give the folder of pictures with --data or PNP_DATA.")
    torch.set_num_threads(options.threads)
    steps, further = (2, 2) if options.quick else (STEPS, FURTHER)
    rows = {"mean shift": mean_shift(options.data, further), "widths": widths(options.data, steps)}
    if not options.quick:
        print(save("network_choice", rows, steps=steps, further=further))


if __name__ == "__main__":
    main()
