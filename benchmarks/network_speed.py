"""How fast the networks run: pnp's beside the same architectures in deepinv, in time and in memory.

    python benchmarks/network_speed.py          (about 10 minutes; --quick: one small size, writes nothing)

unet 512²: our U-Net (in the number format that is measured to be fastest) beside deepinv's DRUNet and DnCNN-17 in
float32, random weights.  Expected: at most 1/20 of DRUNet's time and 1/4 of DnCNN's.
dncnn 512²: DnCNN-17 with the same random weights in our runtime and in deepinv's.  Expected: at most 1/2 of the time,
outputs within 0.02 dB of each other (PSNR between them above 60 dB stands for that: it bounds the loss at 40 dB).
trd 7×7, 5 stages: 256² to 3072² beside the times that its authors report for a multi-threaded CPU (0.56, 1.17, 3.64,
13.0, 30.1 s).  Expected: at most a third, linear in the pixels.
memory: peak resident memory of a process that denoises 16 megapixels (4096²) with the U-Net.  Expected: below 2 GB.
"""

from __future__ import annotations

import subprocess
import sys

import torch
from common import arguments, median_time, save
from torch import Tensor

from pnp.priors.nets import TRD, DnCNN, UNet
from pnp.priors.network import NetworkDenoiser

SIGMA = 25 / 255
REPORTED = {256: 0.56, 512: 1.17, 1024: 3.64, 2048: 13.0, 3072: 30.1}  # seconds, Chen & Pock 2017
PEAK = """
import resource, torch
from pnp.priors.network import unet
denoiser = unet()
x = torch.rand(1, 1, 4096, 4096)
y = denoiser(x, 0.1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


def random_weights(net: torch.nn.Module) -> torch.nn.Module:
    """All convolutions random: the zeros of a new network might be fast."""
    torch.manual_seed(0)
    for p in net.parameters():
        if p.ndim == 4:
            torch.nn.init.kaiming_normal_(p)
    return net.eval().requires_grad_(False)


def networks(side: int, repeats: int) -> dict[str, dict]:
    import deepinv

    x = torch.rand(1, 1, side, side)
    drunet = deepinv.models.DRUNet(in_channels=1, out_channels=1, pretrained=None).eval().requires_grad_(False)
    dncnn = deepinv.models.DnCNN(1, 1, depth=17, bias=False, pretrained=None).eval().requires_grad_(False)
    same = DnCNN(1, 17, 64, False, False)
    theirs = [p for p in dncnn.parameters() if p.ndim == 4]
    for i, (ours, value) in enumerate(zip(same.parameters(), theirs, strict=True)):
        ours.data.copy_(-value if i == 16 else value)  # deepinv adds the output, we subtract it
    calls = {
        "unet (pnp)": lambda: NetworkDenoiser(unet)(x, SIGMA),
        "unet (pnp, float32)": lambda: NetworkDenoiser(unet, "float32")(x, SIGMA),
        "DRUNet (deepinv)": lambda: drunet(x, SIGMA),
        "DnCNN-17 (deepinv)": lambda: dncnn(x),
        "DnCNN-17 (pnp)": lambda: NetworkDenoiser(same)(x, SIGMA),
    }
    unet = random_weights(UNet())
    with torch.no_grad():
        rows = median_time(calls, repeats)
        rows["DnCNN-17 (pnp)"]["psnr_to_deepinv"] = _psnr(calls["DnCNN-17 (pnp)"](), calls["DnCNN-17 (deepinv)"]())
    for row in rows.values():
        row["share_of_unet"] = rows["unet (pnp)"]["median"] / row["median"]
    return rows


def diffusion(sides: list[int], repeats: int) -> dict[str, dict]:
    denoiser, rows = NetworkDenoiser(TRD(size=7), "float32"), {}
    for side in sides:
        x = torch.rand(1, 1, side, side)
        row = median_time({"trd": lambda x=x: denoiser(x, SIGMA)}, repeats if side < 2000 else 3)["trd"]
        rows[str(side)] = row | {"reported": REPORTED[side], "nanoseconds_a_pixel": 1e9 * row["median"] / side**2}
    return rows


def peak_memory() -> float:
    """GiB."""
    return float(subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout)


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * (a - b).square().mean().log10())


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    repeats = 2 if options.quick else 7
    results = {"networks": networks(128 if options.quick else 512, repeats)}
    for name, row in results["networks"].items():
        print(f"{name:24s}{1e3 * row['median']:9.1f} ms   unet takes {row['share_of_unet']:.3f} of it")
    print(f"DnCNN, ours to deepinv's: {results['networks']['DnCNN-17 (pnp)']['psnr_to_deepinv']:.1f} dB")
    results["trd 7×7, 5 stages"] = diffusion([256] if options.quick else list(REPORTED), repeats)
    for side, row in results["trd 7×7, 5 stages"].items():
        pace = f"{row['nanoseconds_a_pixel']:.0f} ns a pixel"
        print(f"trd {side:>5s}²  {row['median']:7.3f} s, reported {row['reported']:5.2f} s, {pace}")
    if not options.quick:
        results["peak GiB of 16 megapixels"] = peak_memory()
        print(f"16 megapixels with unet: peak {results['peak GiB of 16 megapixels']:.2f} GiB")
        print(save("network_speed", results, sigma=SIGMA, repeats=repeats))


if __name__ == "__main__":
    main()
