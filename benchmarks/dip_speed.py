"""Deep image prior: time to a PSNR, beside deepinv.models.DeepImagePrior, and what stopping by itself costs.

    python benchmarks/dip_speed.py          (--quick: 64², a few iterations, writes nothing)

scikit-image's cameraman, grey 256², noise of 25/255, as it is and behind a Gaussian blur of std 1.6.  deepinv runs its
ConvDecoder with the settings of its own example (64 channels, start of 2×2, Adam at 0.01) for 500 iterations.  The
target is the best PSNR of them all, and its time when that was reached, metrics not counted; ours is the time of the
first iterate of that PSNR.  Then ours as it stops itself: its seconds are those of the whole solve as a person waits
for it, stop rules and all, without metrics.  A second solve goes on past that stop to the last iteration, its stop
rules not obeyed, and says what the best of all its iterates was.  All run in turn on the same threads.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from common import arguments, camera, save
from torch import Tensor, nn

from pnp import Problem, operators, priors, solve
from pnp.core import stopping
from pnp.interop.deepinv import to_physics
from pnp.metrics import psnr
from pnp.parameters import rules

SIGMA = 25 / 255
TASKS: dict[str, operators.Operator] = {
    "denoising": operators.Identity(),
    "deblurring": operators.Blur(operators.kernels.gaussian(1.6)),
}


class Watched(nn.Module):
    """A generator that notes the time and the PSNR of each picture that it draws; scoring is not on the clock."""

    def __init__(self, net: nn.Module, truth: Tensor) -> None:
        super().__init__()
        self.net, self.truth = net, truth
        self.curve: list[tuple[float, float]] = []  # (seconds, PSNR)
        self.begun, self.scoring = time.perf_counter(), 0.0

    def forward(self, z: Tensor) -> Tensor:
        x = self.net(z)
        now = time.perf_counter()
        self.curve.append((now - self.begun - self.scoring, float(psnr(x.detach(), self.truth))))
        self.scoring += time.perf_counter() - now
        return x


def theirs(y: Tensor, x: Tensor, operator: operators.Operator, iterations: int) -> dict[str, Any]:
    """deepinv's best PSNR, and when it was reached."""
    import deepinv

    torch.manual_seed(0)
    decoder = deepinv.models.ConvDecoder(img_size=tuple(x.shape[1:]), in_size=(2, 2), channels=64)
    watched = Watched(decoder, x)
    prior = deepinv.models.DeepImagePrior(watched, img_size=(64, 2, 2), iterations=iterations, learning_rate=1e-2)
    prior(y, to_physics(operator, tuple(x.shape[1:])))
    best = max(range(len(watched.curve)), key=lambda k: watched.curve[k][1])
    seconds, score = watched.curve[best]
    return {"psnr": score, "seconds": seconds, "iterations": best, "per iteration": seconds / max(1, best)}


def ours(y: Tensor, x: Tensor, operator: operators.Operator, target: float, iterations: int | None) -> dict[str, Any]:
    """Our time to `target`, what the default stop rules return and when, and the best of all our iterates."""
    prior = priors.parse("dip", shape=tuple(x.shape[1:]))
    rule = rules.find(prior, operator)
    assert rule is not None
    problem, solver = Problem(operator, y, prior, sigma=SIGMA, lam=rule.lam), rule.make(SIGMA)
    begun = time.perf_counter()
    stopped = solve(problem, solver, iterations=iterations, stop=stopping.parse(rule.stop), record=())
    wall = time.perf_counter() - begun
    on = solve(problem, solver, iterations=iterations, stop=(), record=(), metrics={"psnr": lambda v: psnr(v, x)})
    scores, seconds = on.history["psnr"][:, 0], on.history["seconds"]
    reached = (scores >= target).nonzero()
    best = int(scores.argmax())
    return {
        "seconds to target": float(seconds[int(reached[0])]) if len(reached) else None,
        "best psnr": float(scores[best]),
        "best iteration": best + 1,
        "last psnr": float(scores[-1]),
        "last iteration": len(scores),
        "psnr": float(psnr(stopped.x, x)),
        "seconds": wall,
        "iterations": stopped.iterations[0],
        "chosen": stopped.chosen[0],
        "reason": stopped.reason[0],
        "per iteration": wall / stopped.iterations[0],
        "step": stopped.seconds / stopped.iterations[0],
    }


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    side, mine, other = (64, 20, 10) if options.quick else (256, None, 500)
    x = camera(side).float()
    rows: dict[str, Any] = {}
    for name, operator in TASKS.items():
        y = operator(x) + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        peer = theirs(y, x, operator, other)
        own = ours(y, x, operator, peer["psnr"], mine)
        rows[name] = {"deepinv": peer, "pnp": own}
        there = own["seconds to target"]
        share = f"{peer['seconds'] / there:.1f} times faster" if there else "not reached"
        print(f"{name}: deepinv {peer['psnr']:.2f} dB after {peer['seconds']:.1f} s ({peer['iterations']} iterations); "
              f"pnp the same after {there or float('nan'):.1f} s: {share}")  # fmt: skip
        print(f"  pnp stops with {own['psnr']:.2f} dB after {own['seconds']:.1f} s ({own['reason']}), its best of "
              f"{own['last iteration']} iterates is {own['best psnr']:.2f} dB at {own['best iteration']}")  # fmt: skip
    if not options.quick:
        print(save("dip_speed", rows, side=side, sigma=SIGMA))


if __name__ == "__main__":
    main()
