"""What is gained by not guessing beyond the border, and which engine solves the data step of unknown borders.

    python benchmarks/valid_borders.py          (some minutes, mostly the reference; --quick: 128², two borders)

Borders: scikit-image's camera, 512², motion blur (length 26, 30°, a 25×25 kernel), y = the valid part, 488², + noise of
std 0.01, restored by TV and ADMM, PSNR over the field that y shows.  lam: one for all, the best of a grid by PSNR
(an oracle, so that no border suffers from its weight), and the one that `pnp solve` takes (discrepancy).  "exact" is
the valid model with 300 plain CG iterations a data step.  Every run: 30 iterations of ADMM, float32.
Expected: valid over 2 dB above circular, and within 0.3 dB of exact.

Engines: the same problem at 256² with the penalty rho = sigma²/tau fixed.  cg: ADMM as in pnp, data steps by
preconditioned CG from the image before.  split: one more split, w = K x on the whole canvas, whose x step is circulant
and whose w step is elementwise (Almeida & Figueiredo 2013, Matakos et al. 2013); its own penalty is the best of a grid.
Shown: seconds and iterations until the visible part is within 0.1 % of the limit (float64, 200 iterations of ADMM).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

import torch
from common import arguments, camera, save
from torch import Tensor

from pnp.core.loop import solve
from pnp.core.problem import Problem
from pnp.core.recording import Snapshot
from pnp.jobs.settle import DISCREPANCY
from pnp.linalg import conjugate_gradient
from pnp.metrics import psnr
from pnp.operators import Blur, Operator, PaddedBlur, ValidBlur
from pnp.operators.kernels import motion
from pnp.parameters.weight import fit_lam
from pnp.priors import TV
from pnp.solvers import ADMM

SIGMA, KERNEL, LAM, LAMS = 0.01, motion(26, 30), 8.0, (4.0, 8.0, 16.0, 32.0)
BORDERS = ("valid", "circular", "replicate", "reflect", "mean", "zero")


class PlainCG(ValidBlur):
    """The valid model solved without a preconditioner."""

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        return conjugate_gradient(lambda v: self.normal(v) + rho * v, b, x0, tol=1e-10, max_iter=300, acceptable=1.0).x


def operator(border: str) -> Operator:
    if border in ("valid", "circular", "exact"):
        return {"valid": ValidBlur, "circular": Blur, "exact": PlainCG}[border](KERNEL)
    return PaddedBlur(KERNEL, border)


def measured(size: int) -> tuple[Tensor, Tensor]:
    """(y, the part of the truth that y shows), float64."""
    x, blur = camera(size), ValidBlur(KERNEL)
    y = blur(x)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    return y + SIGMA * noise, blur.visible(x)


def borders(size: int, names: tuple[str, ...], lams: tuple[float, ...]) -> dict[str, dict]:
    y, truth = measured(size)

    def restored(border: str, lam: float) -> float:
        p = Problem(operator(border), y.float(), TV(), sigma=SIGMA, lam=lam)
        return float(psnr(p.operator.visible(solve(p, ADMM(iterations=30), record=()).x), truth))

    rows: dict[str, dict] = {}
    for border in names:
        begun = time.perf_counter()
        fixed = restored(border, LAM)
        seconds = time.perf_counter() - begun
        grid = {lam: restored(border, lam) for lam in lams}
        p = Problem(operator(border), y.float(), TV(), sigma=SIGMA)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lam = float(fit_lam(p, ADMM(), c=DISCREPANCY)[0])
        rows[border] = {"fixed": fixed, "seconds": seconds, "oracle": max(grid.values())}
        rows[border] |= {"oracle_lam": max(grid, key=grid.__getitem__), "discrepancy_lam": lam}
        rows[border] |= {"discrepancy": restored(border, lam), "met": not caught}
    begun = time.perf_counter()
    fixed = restored("exact", LAM)
    rows["exact"] = {"fixed": fixed, "seconds": time.perf_counter() - begun}
    rows["exact"]["discrepancy_lam"] = rows["valid"]["discrepancy_lam"]
    rows["exact"]["discrepancy"] = restored("exact", rows["valid"]["discrepancy_lam"])
    return rows


def splitting(p: Problem, rho: float, rho_w: float) -> Iterator[Tensor]:
    """ADMM on ‖M w − y‖²/(2 sigma²) + lam g(z), w = K x, z = x, with penalties rho_w/(2 sigma²) and rho/(2 sigma²).

    M keeps the pixels that y shows.
        x <- (KᵀK + rho/rho_w I)⁻¹ (Kᵀ(w − a) + rho/rho_w (z − u))
        w <- (Mᵀy + rho_w (K x + a)) / (MᵀM + rho_w)
        z <- prox_{lam tau g}(x + u), tau = sigma²/rho;   a <- a + K x − w;   u <- u + x − z
    """
    blur, prior, x = p.operator.blur, p.prior.begin(p.initial()), p.initial()
    size = x.shape[-2:]
    spectrum, power = blur._spectrum(size, x)
    (top, bottom), (left, right) = p.operator.margins
    y = torch.nn.functional.pad(p.y, (left, right, top, bottom))
    mask = torch.nn.functional.pad(torch.ones_like(p.y), (left, right, top, bottom))
    z, w, ratio = x, blur(x), rho / rho_w
    a, u = torch.zeros_like(x), torch.zeros_like(x)
    while True:
        right_side = spectrum.conj() * torch.fft.rfft2(w - a) + ratio * torch.fft.rfft2(z - u)
        spectral_x = right_side / (power + ratio)
        x, kx = torch.fft.irfft2(spectral_x, s=size), torch.fft.irfft2(spectrum * spectral_x, s=size)
        w = (y + rho_w * (kx + a)) / (mask + rho_w)
        z = prior.prox(x + u, p.lam * p.sigma**2 / rho)
        a, u = a + kx - w, u + x - z
        yield z


def engines(size: int, rhos: tuple[float, ...], most: int) -> list[dict]:
    y, truth = measured(size)
    p = Problem(ValidBlur(KERNEL), y.float(), TV(), sigma=SIGMA, lam=LAM)
    reference = Problem(ValidBlur(KERNEL), y, TV(tol=1e-6), sigma=SIGMA, lam=LAM)
    limit = p.operator.visible(solve(reference, ADMM(iterations=most), stop=(), record=()).x)

    def close(x: Tensor) -> bool:
        return float((p.operator.visible(x) - limit).norm() / limit.norm()) < 1e-3

    def by_cg(rho: float) -> tuple[float, int] | None:
        found: list[tuple[float, int]] = []

        class Near:
            converged, watches, reason = True, (), "near the limit"

            def __call__(self, now: Snapshot) -> Tensor:
                if close(now.x):
                    found.append((now.seconds, now.k + 1))
                return torch.tensor([bool(found)])

        solve(p, ADMM(tau=SIGMA**2 / rho, iterations=most), stop=(Near(),), record=())
        return found[0] if found else None

    def by_splitting(rho: float, rho_w: float) -> tuple[float, int] | None:
        seconds, steps = 0.0, splitting(p, rho, rho_w)
        for k in range(most):
            begun = time.perf_counter()
            x = next(steps)
            seconds += time.perf_counter() - begun
            if close(x):
                return seconds, k + 1
        return None

    rows = []
    for rho in rhos:
        b = p.aty + rho * p.initial()
        steps = p.operator.solve_normal_report(b, rho, p.initial()).iterations
        split = {rho_w: by_splitting(rho, rho_w) for rho_w in (0.01, 0.03, 0.1, 0.3, 1.0)}
        reached = {k: v for k, v in split.items() if v}
        best = min(reached, key=lambda k: reached[k]) if reached else None
        rows.append({"rho": rho, "size": size, "inner": steps, "cg": by_cg(rho), "split": reached.get(best)})
        rows[-1] |= {"rho_w": best}
    print(f"psnr of the limit at {size}²: {float(psnr(limit, truth)):.2f} dB")
    return rows


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    quick = options.quick
    found = borders(128 if quick else 512, BORDERS[:2] if quick else BORDERS, (8.0,) if quick else LAMS)
    print(f"{'border':12s}{f'lam={LAM:g}':>10s}{'oracle (lam)':>16s}{'discrepancy (lam)':>20s}{'seconds':>10s}")
    for name, r in found.items():
        oracle = f"{r['oracle']:10.2f} ({r['oracle_lam']:g})" if "oracle" in r else ""
        missed = "" if r.get("met", True) else ", missed"
        fitted = f"{r['discrepancy']:10.2f} ({r['discrepancy_lam']:.2f}{missed})"
        print(f"{name:12s}{r['fixed']:10.2f}{oracle:>16s}{fitted:>20s}{r['seconds']:10.2f}")
    rhos = (0.1,) if quick else (0.01, 0.03, 0.1, 0.3)
    compared = engines(128 if quick else 256, rhos, 100 if quick else 200)
    print("size    rho   CG steps (first)     cg: seconds (iterations)   split: seconds (iterations), best rho_w")
    for r in compared:
        cells = [f"{r[e][0]:.2f} ({r[e][1]})" if r[e] else "not reached" for e in ("cg", "split")]
        print(f"{r['size']}²{r['rho']:9g}{r['inner']:12d}{cells[0]:>28s}{cells[1]:>28s}   {r['rho_w']}")
    if not quick:
        results = {"borders": found, "engines": compared}
        print(save("valid_borders", results, sigma=SIGMA, lam=LAM, kernel="motion 26, 30°"))


if __name__ == "__main__":
    main()
