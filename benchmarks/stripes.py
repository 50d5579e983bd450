"""How often stripes are found where there are none, and how much is left of those that there are.

    python benchmarks/stripes.py --data FOLDER          (--quick: one bundled picture, writes nothing)

All training pictures (FOLDER/train), rows and columns, as they are, and as JPEGs of quality 30: false alarms, and what
one costs in PSNR.  A tenth of them with offsets of the columns of std 0.01 and 0.03, white or smoothed, and white noise
of std 0.01, rounded to 8 bits: how many are found, and the PSNR before and after the offsets are subtracted.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, camera, save
from PIL import Image
from torch import Tensor

from pnp.files.pictures import read
from pnp.metrics import psnr
from pnp.noises.stripes import find_stripes

NOISE, EVERY = 0.01, 10
KINDS = {  # std of the offsets, and of the Gaussian that smooths them, in columns
    "white 0.01": (0.01, 0.0), "white 0.03": (0.03, 0.0), "smoothed 0.01": (0.01, 0.7), "smoothed 0.03": (0.03, 0.7),
}  # fmt: skip


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    torch.set_num_threads(options.threads)
    if options.quick:
        return print(striped([camera(256).float()]))
    if options.data is None:
        raise SystemExit("give the folder of pictures with --data or PNP_DATA, or --quick.")
    paths = [p for kind in ("photos", "bsds400") for p in sorted(Path(options.data, "train", kind).glob("*.jpg"))]
    results: dict[str, Any] = {"pictures": len(paths), "false alarms": {}}
    for quality in (None, 30):
        costs = [cost for path in paths if (cost := alarm(load(path), quality)) is not None]
        results["false alarms"]["as they are" if quality is None else f"JPEG {quality}"] = costs
    results["stripes"] = striped([load(path) for path in paths[::EVERY]])
    print(results, save("stripes", results, noise=NOISE, every=EVERY), sep="\n")


def load(path: Path) -> Tensor:
    """A picture, halved where it is large."""
    x = read(path).pixels
    return torch.nn.functional.avg_pool2d(x, 2) if max(x.shape) > 1000 else x


def alarm(x: Tensor, quality: int | None) -> float | None:
    """PSNR in dB, to the picture itself, of what a false alarm leaves; None where there is none."""
    y = x if quality is None else jpeg(x, quality)
    found = find_stripes(y)
    return None if found is None else float(psnr(found.without(y), y))


def jpeg(x: Tensor, quality: int) -> Tensor:
    file = io.BytesIO()
    pixels = (x[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.atleast_3d(np.asarray(Image.open(file))) / np.float32(255)).permute(2, 0, 1)[None]


def striped(pictures: list[Tensor]) -> dict[str, Any]:
    """By kind of stripes: the share of pictures in which they are found, mean PSNR before and after."""
    found = {}
    for kind, (std, smooth) in KINDS.items():
        rows = [_one(x, std, smooth, torch.Generator().manual_seed(i)) for i, x in enumerate(pictures)]
        told, before, after = zip(*rows, strict=True)
        found[kind] = {"found": np.mean(told), "before": np.mean(before), "after": np.mean(after),
                       "worst change": np.min(np.subtract(after, before))}  # fmt: skip
    return found


def _one(x: Tensor, std: float, smooth: float, generator: torch.Generator) -> tuple[bool, float, float]:
    from scipy.ndimage import gaussian_filter1d

    offsets = torch.randn(1, x.shape[1], 1, x.shape[-1], generator=generator)
    if smooth:
        offsets = torch.from_numpy(gaussian_filter1d(offsets.numpy(), smooth))
    noise = NOISE * torch.randn(x.shape, generator=generator)
    y = ((x + std * offsets / offsets.std() + noise).clamp(0, 1) * 255).round() / 255
    stripes = find_stripes(y)
    before = float(psnr(y, x))
    return stripes is not None, before, before if stripes is None else float(psnr(stripes.without(y), x))


if __name__ == "__main__":
    main()
