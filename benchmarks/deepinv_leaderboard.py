"""pnp in deepinv's benchmarks: its solvers as the models that `deepinv_bench.run_benchmark` takes, on the four tasks.

    python benchmarks/deepinv_leaderboard.py                (three minutes; --quick: one small picture, writes nothing)
    python benchmarks/deepinv_leaderboard.py --official cbsd68_gaussian_denoising
    python benchmarks/deepinv_leaderboard.py --write benchmarks/README.md       (the table, from the results)

A model is called with (y, physics) and returns the picture.  `Pnp` takes operator and noise level from the physics and
chooses all else by pnp's rules.  The tasks are those of deepinv's benchmarks: physics, noise, size (256², squeezed to a
square) and scores by `deepinv.test`.  The pictures are not: CBSD68 and DIV2K have to be downloaded, so without
--official bundled photographs of scikit-image stand in for them.  Their dB must not be compared with the leaderboard's.

--official runs the real benchmark.  It needs deepinv_bench (github.com/deepinv/benchmarks) and a network.
`deepinv, DPIR` is deepinv's algorithm with pnp's network in the place of DRUNet, whose weights have to be downloaded.
Where there is no noise it is told 0.05, which is deepinv's own setting for missing pixels.  Seconds are seconds of the
processor, each model after a warm-up.
"""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deepinv
import torch
from common import RESULTS, arguments, save
from deepinv.physics import Blur, Denoising, Downsampling, GaussianNoise, Inpainting
from torch import Tensor
from torch.utils.data import DataLoader

import pnp
from pnp.interop.deepinv import from_physics
from pnp.operators import Identity, Mask, Operator, ValidBlur
from pnp.samples import photograph

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
SCRIPT = "deepinv_leaderboard"
FAINT = 1e-4  # a noise level for measurements without noise


@dataclass(frozen=True)
class Task:
    """One of deepinv's benchmarks; crop: pixels of each border that its PSNR leaves out."""

    title: str
    physics: Callable[[int], Any]
    crop: int | None = None
    without: tuple[str, ...] = ()  # models that are not made for it


DPIR = "deepinv, DPIR with pnp's network"
TASKS = {
    "cbsd68_gaussian_denoising": Task("Noise of 0.1", lambda side: Denoising(GaussianNoise(0.1)), without=(DPIR,)),
    "div2k_gaussian_deblurring": Task(
        "Gaussian blur of 2, noise of 0.05",
        lambda side: Blur(deepinv.physics.functional.gaussian_blur(sigma=(2.0, 2.0)), noise_model=GaussianNoise(0.05)),
        crop=-16,
    ),
    "div2k_inpainting_easy": Task("70 % of the pixels missing", lambda side: Inpainting((3, side, side), mask=0.3)),
    "div2k_super_resolution_2x": Task("Half the size, bicubic", lambda side: Downsampling(factor=2, filter="bicubic")),
}


class Pnp(deepinv.models.Reconstructor):
    """A prior of pnp as a model of deepinv: (y, physics) -> x in [0, 1]."""

    def __init__(self, prior: str) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, y: Tensor, physics: Any, **kwargs: Any) -> Tensor:
        done = pnp.restore(
            y, operator=operator_of(physics, y), prior=self.prior, sigma=level(physics) or FAINT, noise="gaussian",
            range=(0, 1), light="srgb", stripes="keep", mask="none",
        )  # fmt: skip
        return done.result.x.clamp(0, 1)


class Dpir(deepinv.models.Reconstructor):
    """deepinv's DPIR, told the noise level, with a network of pnp."""

    def __init__(self, denoiser: str) -> None:
        super().__init__()
        self.denoiser = Network(denoiser)

    def forward(self, y: Tensor, physics: Any, **kwargs: Any) -> Tensor:
        return deepinv.optim.DPIR(sigma=level(physics) or 0.05, denoiser=self.denoiser)(y, physics).clamp(0, 1)


class Network(deepinv.models.Denoiser):
    """A denoiser of pnp where deepinv expects a module of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.denoise = pnp.registry.DENOISERS.build(name)

    def forward(self, x: Tensor, sigma: Any = None, **kwargs: Any) -> Tensor:
        return self.denoise(x, float(torch.as_tensor(sigma).flatten()[0]))


def models(priors: list[str]) -> dict[str, Callable[[], deepinv.models.Reconstructor]]:
    """Title -> what makes the model: one for each prior of pnp, and deepinv's own algorithm."""
    return {**{f"pnp, {prior}": lambda prior=prior: Pnp(prior) for prior in priors}, DPIR: lambda: Dpir("unet")}


def level(physics: Any) -> float:
    """The standard deviation of the noise of a physics; 0 where it has none."""
    return float(getattr(physics.noise_model, "sigma", 0.0))


def operator_of(physics: Any, y: Tensor) -> Operator:
    """The operator of pnp that is this physics: our own where there is one, else the physics, wrapped."""
    ours: dict[type, Callable[[], Operator]] = {
        Denoising: Identity,
        Blur: lambda: ValidBlur(physics.filter[0]),
        Inpainting: lambda: Mask(physics.mask[0]),
    }
    if type(physics) in ours:
        return ours[type(physics)]()
    wrapped = from_physics(physics, tuple(physics.A_adjoint(y).shape[1:]))
    wrapped.task = "downsample"
    return wrapped


def pictures(side: int, names: tuple[str, ...]) -> list[Tensor]:
    """Bundled photographs as deepinv's benchmarks have theirs: (3, side, side), squeezed to a square."""
    squeeze = torch.nn.functional.interpolate
    return [squeeze(photograph(n), (side, side), mode="bilinear", antialias=True)[0].clamp(0, 1) for n in names]


def scored(model: deepinv.models.Reconstructor, task: Task, data: list[Tensor]) -> dict[str, float]:
    """PSNR by `deepinv.test`, and the seconds of a picture; the same noise and holes for every model."""
    torch.manual_seed(0)
    physics = task.physics(data[0].shape[-1])
    begun = time.process_time()
    found = deepinv.test(
        model, DataLoader(data), physics, online_measurements=True, compare_no_learning=False, verbose=False,
        show_progress_bar=False, metrics=[deepinv.loss.PSNR(center_crop=task.crop)],
    )  # fmt: skip
    return {
        "psnr": found["PSNR"],
        "psnr_std": found["PSNR_std"],
        "seconds": (time.process_time() - begun) / len(data),
    }


def written(path: Path) -> None:
    """Put the table of the stored results between its marks in a file."""
    results = json.loads((RESULTS / f"{SCRIPT}.json").read_text(encoding="utf-8"))["results"]
    titles = dict.fromkeys(title for rows in results.values() for title in rows)
    lines = ["| method | " + " | ".join(f"{TASKS[name].title}: dB | s" for name in results) + " |"]
    lines.append("|---" * (1 + 2 * len(results)) + "|")
    for title in titles:
        rows = [results[name].get(title) for name in results]
        cells = [f"{row['psnr']:.2f} | {row['seconds']:.2g}" if row else " | " for row in rows]
        lines.append(f"| {title}{' ¹' if title == DPIR else ''} | " + " | ".join(cells) + " |")
    table = "\n".join(("<!-- table:leaderboard -->", *lines, "<!-- /table -->"))
    text = path.read_text(encoding="utf-8")
    marks = re.compile("<!-- table:leaderboard -->.*?<!-- /table -->", re.S)
    path.write_text(marks.sub(lambda _: table, text), encoding="utf-8")


def official(name: str, priors: list[str]) -> None:
    """The real benchmark, on the pictures that it downloads."""
    try:
        from deepinv_bench import run_benchmark
    except ImportError as error:
        raise SystemExit(
            "--official needs deepinv_bench: pip install git+https://github.com/deepinv/benchmarks.git"
        ) from error
    for prior in priors:
        print(run_benchmark(Pnp(prior), name, model_name=f"pnp, {prior}"))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--official", choices=TASKS, help="run this benchmark of deepinv_bench itself")
    parser.add_argument("--write", type=Path, help="a file with the marks of the table; without a run")
    parser.add_argument("--prior", nargs="+", default=["unet"], help="priors of pnp to enter")
    options = parser.parse_args()
    if options.write:
        return written(options.write)
    torch.set_num_threads(options.threads)
    if options.official:
        return official(options.official, options.prior)
    warnings.filterwarnings("ignore", message="non_blocking_transfers")
    side, names = (48, NAMES[:1]) if options.quick else (256, NAMES)
    data = pictures(side, names)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, task in TASKS.items():
        for title, make in models(options.prior).items():
            if title in task.without:
                continue
            model = make()
            if not options.quick:
                scored(model, task, pictures(64, NAMES[:1]))  # a warm-up
            row = results.setdefault(name, {})[title] = scored(model, task, data)
            print(f"{name:28s}{title:36s}{row['psnr']:7.2f} dB {row['seconds']:7.2f} s", flush=True)
    if not options.quick:
        settings = {"side": side, "pictures": names, "data": "bundled photographs", "clock": "process time"}
        print(save(SCRIPT, results, **settings))


if __name__ == "__main__":
    main()
