"""Deep image prior: what its stop rules cost against the best iterate, and what never stopping would.

    python benchmarks/dip_stopping.py --data FOLDER          (--quick: one bundled picture, a few steps, writes nothing)

FOLDER/eval/dip holds truth, sigma25 and sigma50: Set5 and the noisy inputs of Cascarano et al. (2022), of 8 bits.
Every run goes to ITERATIONS with the table's settings; its stop rules are asked at each, but not obeyed.  Beside the
table's rule stand the moving variances alone, which know no noise level.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from common import arguments, noisy_camera, save, set5
from torch import Tensor

from pnp import Problem, operators, priors, solve
from pnp.core import stopping
from pnp.core.recording import Measure, Snapshot
from pnp.metrics import psnr
from pnp.parameters import rules

LEVELS = (25, 50)
ITERATIONS = 1000
ENDS = ("best", "stopped", "wmv", "emv", "last")
VARIANCES = {"wmv": stopping.WindowedVariance(fit=math.inf), "emv": stopping.ExponentialVariance(fit=math.inf)}


class Overheard(stopping.StopRule):
    """A rule that never stops; `fired` is the iteration, from 1, at which it would have, 0 if at none."""

    def __init__(self, rule: stopping.StopRule) -> None:
        self.rule, self.fired = rule, 0

    @property
    def reason(self) -> str:
        return self.rule.reason

    @property
    def watches(self) -> tuple[str, ...]:
        return self.rule.watches

    def measures(self) -> dict[str, Measure]:
        return self.rule.measures()

    def __call__(self, now: Snapshot) -> Tensor:
        asked = self.rule(now)
        if not self.fired and bool(asked):
            self.fired = now.k + 1
        return torch.zeros_like(asked)


class Watching(stopping.StopRule):
    """Never stops; lets the moving variances be recorded under their own names."""

    reason = "never"

    def measures(self) -> dict[str, Measure]:
        return {name: rule.measures()["variance"] for name, rule in VARIANCES.items()}

    def __call__(self, now: Snapshot) -> Tensor:
        return torch.zeros(len(now.x), dtype=torch.bool)


def run(y: Tensor, x: Tensor, sigma: float, iterations: int) -> dict[str, Any]:
    """The best iterate, the ones that the rules would return, and the last: PSNR in dB and iteration of each."""
    prior, operator = priors.parse("dip", shape=tuple(x.shape[1:])), operators.Identity()
    rule = rules.find(prior, operator)
    assert rule is not None
    asked = [Overheard(r) for r in stopping.parse(rule.stop)]
    problem = Problem(operator, y, prior, sigma=sigma, lam=rule.lam)
    stop, metrics = (*asked, Watching()), {"psnr": lambda v: psnr(v, x)}
    done = solve(problem, rule.make(sigma), iterations=iterations, stop=stop, record=(), metrics=metrics)
    scores = done.history["psnr"][:, 0]
    fired = [r for r in asked if r.fired]
    first = min(fired, key=lambda r: r.fired) if fired else None
    ranked = next((r.rule.ranks for r in asked if r.rule.ranks), None) if first is None else first.rule.ranks
    end = len(scores) if first is None else first.fired
    chosen = 1 + int(done.history[ranked][:end, 0].argmin()) if ranked else end
    ends = {"best": 1 + int(scores.argmax()), "stopped": chosen, "last": len(scores)}
    ends |= {name: least(done.history[name][:, 0].tolist(), r.patience) for name, r in VARIANCES.items()}
    return {
        **{name: {"psnr": float(scores[k - 1]), "iteration": k} for name, k in ends.items()},
        "reason": first.reason if first else "its last iteration",
        "seconds": done.seconds,
    }


def least(values: list[float], patience: int) -> int:
    """The iteration, from 1, of the first value that `patience` others do not go below; the least of all if none is."""
    best = 0
    for k, value in enumerate(values):
        best = k if value < values[best] else best
        if k - best >= patience and math.isfinite(values[best]):
            break
    return best + 1


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    torch.set_num_threads(options.threads)
    rows: dict[str, Any] = {}
    for level in LEVELS:
        found = {}
        for name, y, x in noisy_camera(level) if options.quick else set5(options.data, f"sigma{level}"):
            found[name] = run(y, x, level / 255, 20 if options.quick else ITERATIONS)
            print(f"sigma {level}, {name}: {_line(found[name])} ({found[name]['reason']})", flush=True)
        means = {k: {"psnr": sum(r[k]["psnr"] for r in found.values()) / len(found)} for k in ENDS}
        rows[f"sigma {level}"] = {"pictures": found, "mean": means}
        print(f"sigma {level}, mean: " + ", ".join(f"{k} {v['psnr']:.2f} dB" for k, v in means.items()))
    if not options.quick:
        print(save("dip_stopping", rows, iterations=ITERATIONS))


def _line(row: dict[str, Any]) -> str:
    return ", ".join(f"{k} {row[k]['psnr']:.2f} dB @ {row[k]['iteration']}" for k in ENDS)


if __name__ == "__main__":
    main()
