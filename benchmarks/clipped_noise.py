"""What it is worth to know that a noisy 8-bit picture was clipped: the same solves with and without it.

    python benchmarks/clipped_noise.py --data FOLDER          (--quick: one bundled picture, writes nothing)

FOLDER/eval/dip holds truth, sigma25 and sigma50: Set5 and the noisy inputs of Cascarano et al. (2022), of 8 bits.
Without: one part in a million less, so that black is below 0 and nothing looks clipped.  sigma is given to both.
"""

from __future__ import annotations

from typing import Any

import torch
from common import arguments, noisy_camera, save, set5

from pnp.jobs import Job, run
from pnp.metrics import psnr

LEVELS = (25, 50)
PRIORS = ("tv", "unet")


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    torch.set_num_threads(options.threads)
    rows: dict[str, Any] = {}
    for level in LEVELS:
        pictures = noisy_camera(level) if options.quick else set5(options.data, f"sigma{level}")
        for prior in PRIORS:
            job = Job(operator="identity", prior=prior, sigma=level / 255)
            found = {}
            for name, y, x in pictures:
                known, unknown = (run(job, v, truth=x).restored for v in (y, y - 1e-6))
                found[name] = {"measured": _score(y, x), "known": _score(known, x), "unknown": _score(unknown, x)}
            mean = {k: sum(row[k] for row in found.values()) / len(found) for k in ("measured", "known", "unknown")}
            rows[f"sigma {level}, {prior}"] = {"pictures": found, "mean": mean}
            print(f"sigma {level}, {prior}: " + ", ".join(f"{k} {v:.2f} dB" for k, v in mean.items()), flush=True)
    if not options.quick:
        print(save("clipped_noise", rows))


def _score(x: torch.Tensor, truth: torch.Tensor) -> float:
    return float(psnr(x, truth))


if __name__ == "__main__":
    main()
