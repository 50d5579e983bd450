"""How well the noise level of a measured picture can be estimated: `pnp.estimate_sigma` beside three others.

    python benchmarks/noise_level.py --data DATA      (about 5 minutes on one core; --quick: 20 s)

Error = |log(estimate / sigma)|, averaged over pictures (0.05 is 5 %).  Pictures: the folders train/bsds400 and
train/photos of --data, evenly spaced, else those that come with scikit-image; every second one in grey, at most 512².
They were taken by cameras: their own noise, 0.001 to 0.005, counts as error of every method at the smallest sigma.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pywt
import torch
import torch.nn.functional as F
from common import machine
from scipy import ndimage
from skimage import io
from torch import Tensor

from pnp.noises.gaussian import Gaussian
from pnp.noises.level import estimate_sigma
from pnp.samples import photograph

SIGMAS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
KINDS = ("sharp", "gaussian 1.6", "motion 15", "8 bits")
BUNDLED = ("astronaut", "camera", "coffee", "chelsea", "rocket", "brick", "grass", "coins")


def mad(y: Tensor) -> float:
    """median |diagonal db2 coefficient| / 0.6745.   Donoho & Johnstone 1994; skimage.restoration.estimate_sigma."""
    details = [pywt.dwt2(c.numpy(), "db2")[1][2] for c in y[0]]
    return float(np.median(np.abs(details)) / 0.6744897501960817)


def laplacian(y: Tensor) -> float:
    """Root mean square of (1 -2 1)ᵀ(1 -2 1) * y / 6 over the flattest tenth of 8 x 8 blocks.   After Immerkær 1996."""
    row = torch.tensor([1.0, -2.0, 1.0], dtype=y.dtype)
    residual = F.conv2d(y[0][:, None], torch.outer(row, row)[None, None] / 6)
    energy = F.avg_pool2d(residual.square(), 8).flatten().sort().values
    return float(energy[: max(1, len(energy) // 10)].mean().sqrt())


def covariance(y: Tensor) -> float:
    """The mean of the smallest eigenvalues of the covariance of 8 x 8 windows, where it meets their median.

    Chen, Zhu & Heng 2015; the method of deepinv's PatchCovarianceNoiseEstimator.
    """
    windows = F.unfold(y, 8, stride=3)[0]  # (C p², N)
    values = torch.linalg.eigvalsh(torch.cov(windows))
    sizes = range(len(values), 0, -1)
    return next(float(values[:n].mean().sqrt()) for n in sizes if values[:n].mean() <= values[:n].quantile(0.5))


METHODS: dict[str, Callable[[Tensor], float]] = {
    "MAD of db2 diagonal": mad,
    "Laplacian, flattest": laplacian,
    "patch covariance": covariance,
    "flat DCT windows (pnp)": lambda y: float(estimate_sigma(y)),
}


def pictures(folder: Path | None, count: int) -> Iterator[Tensor]:
    """(1, C, H, W) in [0, 1], the middle 512 x 512."""
    if folder is None:
        images = [photograph(name, torch.float64) for name in BUNDLED[:count]]
    else:
        sets = [sorted((folder / "train" / name).glob("*.[jp][pn]g")) for name in ("bsds400", "photos")]
        images = [read(f) for files in sets for f in files[:: max(1, 2 * len(files) // count)][: count // 2]]
    for n, x in enumerate(images):
        top, left = (max(0, (size - 512) // 2) for size in x.shape[-2:])
        x = x[..., top : top + 512, left : left + 512]
        yield x.mean(1, keepdim=True) if n % 2 else x


def read(path: Path) -> Tensor:
    return torch.from_numpy(np.atleast_3d(io.imread(path))[..., :3] / 255).permute(2, 0, 1)[None]


def degrade(x: Tensor, kind: str) -> Tensor:
    if kind == "gaussian 1.6":
        return torch.from_numpy(ndimage.gaussian_filter(x.numpy(), 1.6, axes=(2, 3)))
    if kind == "motion 15":
        line = np.zeros((15, 15))
        steps = np.linspace(-7, 7, 141)
        np.add.at(line, (np.rint(7 + steps / 2).astype(int), np.rint(7 + steps * 0.75**0.5).astype(int)), 1 / 141)
        return torch.from_numpy(ndimage.convolve(x.numpy(), line[None, None]))
    return x


def measure(images: Iterator[Tensor]) -> dict[str, dict]:
    """For each method: log(estimate / sigma) by kind and sigma, and the median milliseconds per picture."""
    logs: dict[str, list] = {m: [] for m in METHODS}
    seconds: dict[str, list[float]] = {m: [] for m in METHODS}
    for n, x in enumerate(images):
        noise = [torch.Generator().manual_seed(1000 * n + s) for s in range(len(SIGMAS) * len(KINDS))]
        ys = [Gaussian(s).draw(degrade(x, k), noise.pop()) for k in KINDS for s in SIGMAS]
        ys[-len(SIGMAS) :] = [(y.clamp(0, 1) * 255).round() / 255 for y in ys[-len(SIGMAS) :]]
        for name, method in METHODS.items():
            start = time.perf_counter()
            estimates = np.array([max(method(y), 1e-6) for y in ys]).reshape(len(KINDS), len(SIGMAS))
            seconds[name].append((time.perf_counter() - start) / len(ys))
            logs[name].append(np.log(estimates / SIGMAS))
    return {m: summary(np.array(logs[m]), seconds[m]) for m in METHODS}


def summary(logs: np.ndarray, seconds: list[float]) -> dict:
    error = np.abs(logs)
    return {
        "mean": round(float(error.mean()), 4),
        "p90": round(float(np.quantile(error, 0.9)), 4),
        "worst": round(float(error.max()), 3),
        "bias": round(float(logs.mean()), 4),
        "by_kind": {k: [round(float(v), 4) for v in error[:, i].mean(0)] for i, k in enumerate(KINDS)},
        "milliseconds": round(1e3 * float(np.median(seconds)), 1),
    }


def table(results: dict[str, dict]) -> str:
    head = f"{'mean |log(estimate/sigma)|':28s}" + "".join(f"{s:>8g}" for s in SIGMAS)
    lines = []
    for kind in KINDS:
        lines += [f"\n{kind:28s}" + head[28:]]
        lines += [f"  {m:26s}" + "".join(f"{v:8.3f}" for v in r["by_kind"][kind]) for m, r in results.items()]
    lines += [f"\n{'all':28s}{'mean':>8s}{'p90':>8s}{'worst':>8s}{'bias':>8s}{'ms':>8s}"]
    for m, r in results.items():
        lines.append(
            f"  {m:26s}{r['mean']:8.3f}{r['p90']:8.3f}{r['worst']:8.2f}{r['bias']:+8.3f}{r['milliseconds']:8.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("PNP_DATA"), help="folder that holds train/")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="two pictures, nothing written")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count = 2 if options.quick else options.pictures
    results = measure(pictures(options.data and Path(options.data), count))
    print(table(results))
    if not options.quick:
        about = {"pictures": count, "data": "train" if options.data else "scikit-image", "sigmas": SIGMAS, "threads": 1}
        about |= {"machine": machine()}
        path = Path(__file__).parent / "results" / "noise_level.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({"about": about, "methods": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
