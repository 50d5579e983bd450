"""The time of one plug-and-play deblurring: pnp with its U-Net beside deepinv's DPIR with DRUNet.

    python benchmarks/dpir_speed.py          (about 2 minutes; --quick: 64², writes nothing)

A grey 256² picture, circular motion blur, noise of 2.55/255, eight steps each; import and the making of networks are
not timed.  DRUNet has random weights: its time is the same, its picture is not looked at.  PSNR is ours.
Expected: ours under 0.4 s, and at most 1/20 of deepinv's, goal 1/40.
"""

from __future__ import annotations

import torch
from common import arguments, camera, median_time, save

from pnp import Problem, operators, priors, solve
from pnp.interop.deepinv import to_physics
from pnp.metrics import psnr
from pnp.parameters import rules

SIGMA = 2.55 / 255


def main() -> None:
    options = arguments(__doc__).parse_args()
    torch.set_num_threads(options.threads)
    import deepinv

    side, repeats = (64, 1) if options.quick else (256, 5)
    x = camera(side).float()
    blur = operators.Blur(operators.kernels.motion(15 if side > 64 else 5, 30))
    y = blur(x) + SIGMA * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    prior = priors.parse("unet", shape=(1, side, side))
    rule = rules.find(prior, blur)
    assert rule is not None
    problem = Problem(blur, y, prior, sigma=SIGMA, lam=rule.lam)
    drunet = deepinv.models.DRUNet(in_channels=1, out_channels=1, pretrained=None).eval().requires_grad_(False)
    dpir = deepinv.optim.DPIR(sigma=SIGMA, denoiser=drunet)
    physics = to_physics(blur, (1, side, side))

    def theirs() -> None:
        with torch.no_grad():
            dpir(y, physics)

    times = median_time(
        {
            "pnp, unet": lambda: solve(problem, rule.make(SIGMA), stop=(), record=()),
            "deepinv, DRUNet": theirs,
        },
        repeats,
    )
    restored = solve(problem, rule.make(SIGMA), stop=(), record=())
    share = times["pnp, unet"]["median"] / times["deepinv, DRUNet"]["median"]
    scores = {"blurred": float(psnr(y, x)), "restored": float(psnr(restored.x, x)), "steps": restored.iterations[0]}
    for name, t in times.items():
        print(f"{name:18s}{t['median']:8.3f} s   ({t['low']:.3f} to {t['high']:.3f})")
    print(f"share 1/{1 / share:.0f}; {scores['blurred']:.2f} -> {scores['restored']:.2f} dB in {scores['steps']} steps")
    if not options.quick:
        print(save("dpir_speed", {"times": times, "share": share, "psnr": scores}, side=side, sigma=SIGMA))


if __name__ == "__main__":
    main()
