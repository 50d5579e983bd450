"""Which acceleration of plug-and-play pays: time and iterations to a given quality, by each of them.

    python benchmarks/acceleration.py --data DATA          (about 5 minutes; --quick: one picture, writes nothing)

RED with the U-Net at strength 0.03 on training photographs (256², grey), motion blur, noise of 2.55/255.  All these
iterations share their limit: the limit's PSNR comes from 400 plain steps, and what is counted is the first iterate from
which PSNR stays within 0.1 dB of it.  HQS with a falling strength is beside them as what is usual; it has no limit of
its own, so its time is that of all its steps, and its PSNR is given.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median

import torch
from common import arguments, save

from pnp import Problem, operators, priors, solve, solvers
from pnp.files import pictures as files
from pnp.metrics import psnr
from pnp.parameters import rules, tuning
from pnp.solvers import Solver

SIGMA, LAM = 2.55 / 255, 0.5
WAYS: dict[str, Solver] = {
    "fixed point": solvers.FixedPoint(backtrack=False, iterations=200),
    "Anderson, memory 2": solvers.Anderson(memory=2, iterations=100),
    "Anderson, memory 5": solvers.Anderson(memory=5, iterations=100),
    "gradient descent": solvers.GradientDescent(iterations=300),
    "gradient descent, momentum 0.9": solvers.GradientDescent(momentum=0.9, nesterov=True, iterations=200),
    "FISTA with restart": solvers.FISTA(iterations=200),
    "ADMM": solvers.ADMM(tau=0.03**2 / LAM, iterations=100),
}


def main() -> None:
    parser = arguments(__doc__, data=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.data is None:
        parser.error("pictures are needed: --data or PNP_DATA")
    count = 1 if options.quick else 4
    side = 64 if options.quick else 256
    pictures = tuning.crops(files.expand([str(Path(options.data) / "train" / "photos")]), count, side, 1)
    blur = operators.Blur(operators.kernels.motion(13, 60))
    rows: dict[str, list[dict]] = {name: [] for name in (*WAYS, "HQS, falling strength")}
    for x in pictures.split(1):
        y = blur(x) + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        prior = priors.parse("red:denoiser=unet,sigma=0.03", shape=(1, side, side))
        problem = Problem(blur, y, prior, sigma=SIGMA, lam=LAM)
        long = solvers.FixedPoint(backtrack=False, iterations=40 if options.quick else 400)
        limit = float(psnr(solve(problem, long, stop=(), record=()).x, x))
        for name, solver in WAYS.items():
            result = solve(problem, solver, stop=(), record=(), metrics={"psnr": lambda v, x=x: psnr(v, x)})
            away = ((result.history["psnr"][:, 0] - limit).abs() > 0.1).nonzero()
            first = int(away[-1]) + 1 if len(away) else 0
            reached = first < solver.iterations
            seconds = float(result.history["seconds"][first]) if reached else None
            rows[name].append({"iterations": first + 1 if reached else None, "seconds": seconds, "limit": limit})
        plain = priors.parse("unet", shape=(1, side, side))
        rule = rules.find(plain, blur)
        assert rule is not None
        hqs = solve(Problem(blur, y, plain, sigma=SIGMA, lam=rule.lam), rule.make(SIGMA), stop=(), record=())
        rows["HQS, falling strength"].append(
            {"iterations": rule.iterations, "seconds": hqs.seconds, "limit": float(psnr(hqs.x, x))}
        )
    print(f"{'':32s}{'iterations':>12s}{'seconds':>10s}{'PSNR':>8s}")
    for name, found in rows.items():
        done = [r for r in found if r["seconds"] is not None]
        mean = sum(r["limit"] for r in found) / len(found)
        middle = [median(r[what] for r in done) if done else float("nan") for what in ("iterations", "seconds")]
        print(f"{name:32s}{middle[0]:12g}{middle[1]:10.2f}{mean:8.2f}   reached on {len(done)} of {len(found)}")
    if not options.quick:
        print(save("acceleration", rows, sigma=SIGMA, lam=LAM, strength=0.03, side=side))


if __name__ == "__main__":
    main()
