"""What the framework costs beside the denoiser, and the exact data step of dense sensing: pnp beside deepinv.

    python benchmarks/admm_speed.py          (about a minute; --quick: fewer runs, the smallest size)

ADMM: circular blur (Gaussian, std 1.6), sigma 0.05, 100 iterations at tau = 0.01 with the denoiser (x, sigma) -> x,
B = 8, 128², float32, both from x = Aᵀy, u = 0, no stop rule, no metrics, under no_grad.  pnp: `solve` with stop=() and
record=(); deepinv: optim.ADMM with L2(sigma), BlurFFT and PnP, early_stop=False.  Each is given the operator and y and
pays for its own set-up.  Their pictures must agree to 1e-4.  Expected: pnp at most 0.65 of deepinv.

Dense sensing, 25 % Gaussian rows, float32: prox of ‖Ax − y‖²/(2 rho) at v, as a solver calls it at every iteration.
pnp: Problem.data_prox; the factorisation and Aᵀy are made once, before the timing.  deepinv: prox_l2 (conjugate
gradients from v) with the loosest tol that is as accurate as ours or 1e-6, and at its default tol.  The error is that
of x against a float64 solve.  Expected: pnp at most 1/20 at equal accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import deepinv
import torch
from common import arguments, median_time, save
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.operators import Blur, DenseSensing
from pnp.operators.kernels import gaussian
from pnp.priors import PnP
from pnp.solvers import ADMM

SIGMA, TAU = 0.05, 0.01
DEFAULT, TOLERANCES = 1e-4, (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7)  # of deepinv's prox_l2


def identity(x: Tensor, sigma: object) -> Tensor:
    return x


def admm(size: int, batch: int, repeats: int) -> dict[str, dict]:
    generator = torch.Generator().manual_seed(0)
    kernel = gaussian(1.6)
    ours = Blur(kernel)
    y = ours(torch.rand(batch, 1, size, size, generator=generator))
    y = y + SIGMA * torch.randn(y.shape, generator=generator)
    theirs = deepinv.physics.BlurFFT((1, size, size), kernel.float()[None, None])
    reference = deepinv.optim.ADMM(
        data_fidelity=deepinv.optim.L2(sigma=SIGMA),
        prior=deepinv.optim.PnP(identity),
        stepsize=TAU,
        g_param=0.1,
        max_iter=100,
        early_stop=False,
        custom_init=lambda y, physics: (physics.A_adjoint(y), torch.zeros_like(y)),
    )

    def run_ours() -> Tensor:
        problem = Problem(ours, y, PnP(identity), sigma=SIGMA)
        return solve(problem, ADMM(tau=TAU, iterations=100), x0=problem.aty, stop=(), record=()).x

    def run_theirs() -> Tensor:
        return reference(y, theirs)

    with torch.no_grad():
        difference = float((run_ours() - run_theirs()).norm() / run_theirs().norm())
        assert difference < 1e-4, f"the pictures differ by {difference:.1e}"
        return median_time({"pnp": run_ours, "deepinv": run_theirs}, repeats, warmup=2) | {"difference": difference}


def sensing(size: int, batch: int, rho: float, repeats: int) -> dict[str, dict]:
    generator = torch.Generator().manual_seed(0)
    theirs = deepinv.physics.CompressedSensing(size**2 // 4, (1, size, size), rng=generator)
    v = torch.rand(batch, 1, size, size, generator=generator)
    flat = theirs.A(torch.rand(v.shape, generator=generator))
    ours = Problem(DenseSensing(theirs._A.clone(), (1, size, size)), flat.view(batch, 1, 1, -1), PnP(identity))
    exact = DenseSensing(theirs._A.double(), (1, size, size))
    truth = exact.solve_normal(exact.adjoint(ours.y.double()) + rho * v.double(), rho)

    def run_ours() -> Tensor:
        return ours.data_prox(v, 1 / rho)  # sigma = 1

    def run_theirs(tol: float) -> Callable[[], Tensor]:
        return lambda: theirs.prox_l2(v, flat, 1 / rho, tol=tol, max_iter=50 if tol == DEFAULT else 2000)

    def error(x: Tensor) -> float:
        return float((x.double() - truth).norm() / truth.norm())

    with torch.no_grad():
        enough = max(1e-6, error(run_ours()))
        tol = next((t for t in TOLERANCES if error(run_theirs(t)()) <= enough), TOLERANCES[-1])
        calls = {"pnp": run_ours, f"deepinv tol={tol:g}": run_theirs(tol), "deepinv default": run_theirs(DEFAULT)}
        times = median_time(calls, repeats, warmup=2)
        return {name: times[name] | {"error": error(call())} for name, call in calls.items()}


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    repeats = 3 if options.quick else 15
    results = {"admm 128², B=8": admm(32 if options.quick else 128, 8, repeats)}
    difference = results["admm 128², B=8"].pop("difference")
    for size, batch, rho in product((32,) if options.quick else (32, 64), (1, 8), (1.0, 0.1, 0.01)):
        results[f"sensing {size}², B={batch}, rho={rho:g}"] = sensing(size, batch, rho, repeats)
    print(f"pictures of ADMM differ by {difference:.1e}\n{'':30s}{'':18s}       ms (low – high)     error    pnp / it")
    for name, rows in results.items():
        for who, r in rows.items():
            r["pnp_share"] = rows["pnp"]["median"] / r["median"]
            spread = f"{1e3 * r['median']:9.2f} ({1e3 * r['low']:.2f} – {1e3 * r['high']:.2f})"
            error = f"{r['error']:10.1e}" if "error" in r else f"{'':10s}"
            print(f"{name:30s}{who:18s}{spread}{error}" + ("" if who == "pnp" else f"{r['pnp_share']:10.3f}"))
    if not options.quick:
        print(save("admm_speed", results, sigma=SIGMA, tau=TAU, difference=difference, repeats=repeats))


if __name__ == "__main__":
    main()
