"""A published row reproduced: FISTA-TV deblurring of the ten pictures of NCSR (Dong et al. 2013).

    python benchmarks/deblur_sanity.py --data DATA          (--tune: lam on training pictures; --quick: one)

Circular blur, uniform 9×9 or Gaussian of std 1.6 (25×25), noise of std √2/255, PSNR on luma (BT.601).  As in their code
a colour picture is blurred and made noisy in RGB and restored in Y, where the noise is 0.574 times as large.
Ours: FISTA + TV, each picture with the sigma of its luma, and lam chosen in two ways: one value a kernel, tuned on
training pictures by --tune (never on these); and per picture by the discrepancy ‖Ax − y‖ = 0.97 sigma √m, as
`pnp solve` does.
Pictures, each once: butterfly, leaves and starfish in colour (set3c), the others grey (set12); lena, barbara and boat
are 512² here and 256² there, so averages agree to some tenths of a dB at best.  Published averages: 28.2 and 29.2 dB.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import torch
from common import LUMA, arguments, load, load_grey, luma, save
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.stopping import Tolerance
from pnp.jobs.settle import DISCREPANCY
from pnp.metrics import psnr
from pnp.operators import Blur
from pnp.operators.kernels import box, gaussian
from pnp.parameters.weight import fit_lam
from pnp.priors import TV
from pnp.solvers import FISTA

SIGMA = 2**0.5 / 255
KERNELS = {"uniform 9×9": box(9), "Gaussian 1.6": gaussian(1.6, 25)}
PUBLISHED = {"uniform 9×9": 28.2, "Gaussian 1.6": 29.2}
LAM = {"uniform 9×9": 7.0, "Gaussian 1.6": 7.0}  # by --tune
GRID = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
PICTURES = {
    "butterfly": "set3c/butterfly.png",
    "boats": "set12/10.png",
    "cameraman": "set12/01.png",
    "house": "set12/02.png",
    "parrot": "set12/07.png",
    "lena": "set12/08.png",
    "barbara": "set12/09.png",
    "starfish": "set3c/starfish.png",
    "peppers": "set12/03.png",
    "leaves": "set3c/leaves.png",
}


def problem(x: Tensor, kernel: Tensor, lam: float) -> tuple[Problem, Tensor]:
    """The luma of a blurred, noisy picture as a float32 problem, and its true luma."""
    blur = Blur(kernel)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    y, truth = luma(blur(x) + SIGMA * noise), luma(x)
    sigma = SIGMA * (1.0 if x.shape[1] == 1 else float(LUMA.norm()))
    return Problem(blur, y.float(), TV(), sigma=sigma, lam=lam), truth.float()


def restore(p: Problem) -> Tensor:
    return solve(p, FISTA(), stop=(Tolerance(1e-5),), record=()).x


def evaluate(folder: Path, names: list[str], kernels: list[str]) -> dict[str, dict]:
    results: dict[str, dict] = {}
    for kernel in kernels:
        for name in names:
            p, truth = problem(load(folder / "eval" / PICTURES[name]), KERNELS[kernel], LAM[kernel])
            begun = time.perf_counter()
            fixed = float(psnr(restore(p), truth))
            seconds = time.perf_counter() - begun
            lam, _ = fit_lam(p, FISTA(), c=DISCREPANCY)
            x = restore(replace(p, lam=lam))
            row = {"blurred": float(psnr(p.y, truth)), "fixed": fixed, "discrepancy": float(psnr(x, truth))}
            results.setdefault(kernel, {})[name] = row | {"lam": float(lam), "seconds": seconds}
    return results


def tune(folder: Path, count: int) -> None:
    """Mean PSNR over 256² crops of training pictures for each lam of the grid."""
    files = sorted((folder / "train" / "bsds400").glob("*.jpg"))
    crops = [load_grey(f)[..., 32:288, 32:288] for f in files[:: len(files) // count][:count]]
    for kernel, k in KERNELS.items():
        print(f"{kernel}: mean PSNR of {len(crops)} training crops")
        for lam in GRID:
            p, truth = problem(torch.cat(crops), k, lam)
            print(f"  lam {lam:5g}  {float(psnr(restore(p), truth).mean()):.3f} dB")


def main() -> None:
    parser = arguments(__doc__, data=True)
    parser.add_argument("--tune", action="store_true", help="look for LAM on train/bsds400")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.data is None:
        parser.error("pictures are needed: --data or PNP_DATA")
    if options.tune:
        return tune(Path(options.data), 2 if options.quick else 20)
    names, kernels = (["house"], ["Gaussian 1.6"]) if options.quick else (list(PICTURES), list(KERNELS))
    results = evaluate(Path(options.data), names, kernels)
    for kernel, rows in results.items():
        print(f"\n{kernel:14s} blurred    lam={LAM[kernel]:g}  discrepancy (lam)   seconds")
        for name, r in rows.items():
            fitted = f"{r['discrepancy']:13.2f} ({r['lam']:.2f})"
            print(f"{name:14s}{r['blurred']:8.2f}{r['fixed']:11.2f}{fitted}{r['seconds']:9.1f}")
        means = {c: sum(r[c] for r in rows.values()) / len(rows) for c in ("blurred", "fixed", "discrepancy")}
        print(f"{'mean':14s}{means['blurred']:8.2f}{means['fixed']:11.2f}{means['discrepancy']:13.2f}", end="")
        print(f"    published FISTA-TV over the ten: {PUBLISHED[kernel]}")
        rows["mean"] = means
    if not options.quick:
        print(save("deblur_sanity", results, sigma=SIGMA, lam=LAM, published=PUBLISHED))


if __name__ == "__main__":
    main()
