"""Time of TV denoising to a relative duality gap of 1e-4: pnp beside deepinv and scikit-image.

    python benchmarks/tv_denoising.py          (about 20 minutes, nearly all scikit-image's; --quick: 128², one t)

min_x P(x) = ½‖x − v‖² + t TV(x), camera 512² + noise of std 0.1, t = lam tau in {0.05, 0.1, 0.2}, float32, from zero.
P and the dual value D are computed here, in float64, by code that belongs to none of the three; gap = (P − D)/P.
pnp runs TV(tol=1e-4).prox as it is, its own gap checks included.  The others have no gap to stop by: each runs with its
own rule off for just the iterations that bisection, outside the timing, found enough, once for each criterion:
  gap     P(x) − D(q) with the method's own dual point q: deepinv's u2, projected.  For scikit-image, whose q is hidden,
          x = v − Dᵀq gives D(q) = ½‖v‖² − ½‖x‖².
  primal  P(x) − D*, D* from a long run of ours: x need not be proved good, which favours them once more.
deepinv's step tau is timed at its default, 0.01, and at the best of a grid.  Expected: pnp at most 1/5 (goal 1/10).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from common import arguments, camera, median_time, save
from deepinv.models import TVDenoiser
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

from pnp.priors import TV, dual

ACCURACY = 1e-4
Run = Callable[[int], tuple[Tensor, Tensor | None]]  # iterations -> x and its dual point (2, H, W), None if x = v − Dᵀq


class Judge:
    """P, D and the gaps of one problem, in float64."""

    def __init__(self, v: Tensor, t: float) -> None:
        self.v, self.t = v[0, 0].double(), t
        tv, start = TV(), dual.DualState(torch.zeros_like(v.double())[:, None].repeat(1, 2, 1, 1, 1))
        _, state = dual.prox(tv.analysis, v.double(), t, start, tol=ACCURACY / 100, max_iter=20000)
        self.best = self.dual(t * state.p[0, :, 0])

    def primal(self, x: Tensor) -> float:
        """½‖x − v‖² + t Σ |Dx|."""
        x = x.double().reshape(self.v.shape)
        return float(((x - self.v) ** 2).sum() / 2 + self.t * torch.hypot(*differences(x)).sum())

    def dual(self, p: Tensor) -> float:
        """½‖v‖² − ½‖v − Dᵀq‖², q = p projected onto |q| <= t: below P(x) for every x."""
        q = p.double() / (torch.hypot(*p.double()) / self.t).clamp_min(1)
        x = torch.zeros_like(self.v).requires_grad_(True)
        (adjoint,) = torch.autograd.grad((torch.stack(differences(x)) * q).sum(), x)
        return float((self.v**2).sum() - ((self.v - adjoint) ** 2).sum()) / 2

    def gap(self, x: Tensor, p: Tensor | None) -> float:
        own = float((self.v**2).sum() - (x.double() ** 2).sum()) / 2 if p is None else self.dual(p)
        return (self.primal(x) - own) / self.primal(x)

    def suboptimality(self, x: Tensor, p: Tensor | None) -> float:
        return (self.primal(x) - self.best) / self.primal(x)


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences of (H, W), zero beyond the last row and column."""
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[:-1], right[:, :-1] = x[1:] - x[:-1], x[:, 1:] - x[:, :-1]
    return down, right


def deepinv_tv(v: Tensor, t: float, tau: float) -> Run:
    def run(n: int) -> tuple[Tensor, Tensor]:
        denoiser = TVDenoiser(tau=tau, n_it_max=n, crit=0.0)  # a new one each time: it starts from its last result
        x = denoiser(v, ths=t)
        return x, denoiser.u2[0, 0].movedim(-1, 0)

    return run


def skimage_tv(v: Tensor, t: float) -> Run:
    picture = v[0, 0].numpy()
    return lambda n: (torch.from_numpy(denoise_tv_chambolle(picture, weight=t, eps=0, max_num_iter=n)), None)


def fewest(good: Callable[[int], bool], most: int = 20000) -> int | None:
    """The fewest iterations that do, to 1 %, by doubling and bisection; None if `most` do not."""
    high = 16
    while not good(high):
        if high >= most:
            return None
        high *= 2
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def compare(v: Tensor, t: float, grid: list[float], repeats: int) -> list[dict]:
    """Rows of one threshold: pnp, then each competitor at the iterations that each criterion needs."""
    judge = Judge(v, t)
    runs = {f"deepinv tau={tau:g}": deepinv_tv(v, t, tau) for tau in grid} | {"skimage": skimage_tv(v, t)}
    rows: list[dict] = []
    for criterion, measure in (("gap", judge.gap), ("primal", judge.suboptimality)):
        needed = {n: fewest(lambda k, r=r, m=measure: m(*r(k)) <= ACCURACY) for n, r in runs.items()}
        tuned = min((n for n in runs if "deepinv" in n), key=lambda n: needed[n] or math.inf)  # steps cost the same
        names = [n for n in runs if n in ("deepinv tau=0.01", tuned, "skimage") and needed[n]]
        rows += [{"name": n, "criterion": criterion, "iterations": needed[n]} for n in names]
    calls = {f"{i}": lambda r=r: runs[r["name"]](r["iterations"]) for i, r in enumerate(rows)}
    seconds = median_time({"pnp": lambda: TV(tol=ACCURACY).prox(v, t), **calls}, repeats)
    ours = TV(tol=ACCURACY).prox(v, t)
    best = {"name": "pnp", "criterion": "gap", **seconds["pnp"], "gap": judge.gap(ours, None)}
    best["suboptimality"] = judge.suboptimality(ours, None)
    for i, row in enumerate(rows):
        point = runs[row["name"]](row["iterations"])
        row |= seconds[f"{i}"] | {"gap": judge.gap(*point), "suboptimality": judge.suboptimality(*point)}
        row["pnp_share"] = seconds["pnp"]["median"] / row["median"]
    return [best, *rows]


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    size, thresholds, repeats = (128, [0.1], 2) if options.quick else (512, [0.05, 0.1, 0.2], 3)
    grid = [0.01, 0.03]
    x = camera(size)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = (x + 0.1 * noise).float()
    results = {t: compare(v, t, grid, repeats) for t in thresholds}
    for t, rows in results.items():
        print(f"\nt = {t:<20}criterion iterations    gap   (P−D*)/P   seconds (low – high)   pnp / it")
        for r in rows:
            spread = f"{r['median']:9.3f} ({r['low']:.3f} – {r['high']:.3f})"
            share = f"{r['pnp_share']:9.3f}" if "pnp_share" in r else ""
            count = r.get("iterations", "own stop")
            reached = f"{r['gap']:9.1e}{r['suboptimality']:9.1e}"
            print(f"{r['name']:24s}{r['criterion']:9s}{count:>11}{reached}{spread}{share}")
    if not options.quick:
        print(save("tv_denoising", results, size=size, noise=0.1, accuracy=ACCURACY, repeats=repeats))


if __name__ == "__main__":
    main()
