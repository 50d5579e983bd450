"""PSNR of `wcrr` on BSD68 at three noise levels, beside the published figures, and what its theorems rest on.

    python benchmarks/ridge_denoising.py --data DATA          (hours on one core; --quick: 6 pictures, --weights FILE)

The protocol of the suite `denoising`: whole grey pictures, noise from seed 0 for each, drawn in the order (H, W, C) and
neither clipped nor rounded; the result clipped and rounded to 8 bits.  residual: the largest root mean square of the
energy's gradient at the results, in units of sigma.  The constants are those of the stored filters and splines.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from common import save
from torch import Tensor

from pnp.files.pictures import luma, read
from pnp.priors import Ridges
from pnp.priors.nets import WCRR
from pnp.priors.ridge import shipped
from pnp.priors.store import load_file

SIGMAS = (5, 15, 25)
PUBLISHED = {  # recalled, not re-read: Goujon, Neumayer & Unser 2024
    "WCRR": {"5": 37.65, "15": 31.21, "25": 28.68},
    "CRR": {"5": 36.96, "15": 30.54, "25": 28.10},
}


def noisy(x: Tensor, sigma: float) -> Tensor:
    draw = np.random.RandomState(0).normal(0, sigma, (*x.shape[-2:], 1))
    return x + torch.from_numpy(draw[..., 0])[None, None].float()


def one(net: WCRR, x: Tensor, sigma: float) -> tuple[float, float]:
    """PSNR in dB, and the residual in units of sigma."""
    y = noisy(x, sigma)
    with torch.inference_mode():
        z = y - net(y, sigma)
        residual = (z - y + net.at(sigma).grad(z)).square().mean().sqrt() / sigma
    rounded = (255 * z.clamp(0, 1)).round() / 255
    return -10 * math.log10(float((rounded - x).square().mean())), float(residual)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds bsd68")
    parser.add_argument("--weights", help="a file in place of the shipped one")
    parser.add_argument("--quick", action="store_true", help="6 pictures, and nothing is written")
    given = parser.parse_args()
    net = shipped() if given.weights is None else load_file(given.weights)
    assert isinstance(net, WCRR)
    paths = sorted((given.data / "bsd68").glob("*.png"))
    paths = paths[:: len(paths) // 6][:6] if given.quick else paths
    results: dict[str, object] = {}
    for sigma in SIGMAS:
        every = [one(net, luma(read(path).pixels).float(), sigma / 255) for path in paths]
        results[str(sigma)] = {"psnr": sum(p for p, _ in every) / len(every), "residual": max(r for _, r in every)}
        print(f"sigma {sigma}: {results[str(sigma)]}", flush=True)
    prior = Ridges(net, 1.0)
    constants = {
        "norm_squared": prior.ridge.norm_squared(),
        "modulus": prior.weakness(),
        "lipschitz": prior.lipschitz(),
    }
    print(constants)
    if not given.quick:
        save("ridge_denoising", results, pictures=len(paths), constants=constants, published=PUBLISHED)


if __name__ == "__main__":
    main()
