"""What the model of JPEG's quantisation gains over one sigma for the whole picture.

    python benchmarks/jpeg_noise.py --data FOLDER          (--quick: one bundled picture, writes nothing)

Training pictures (FOLDER/train) are reduced, so that the blocks of their own files are gone: bsds400 by 2, photos by 4;
crops of 128 × 96 are written as JPEGs, without noise and with 4 and 10/255, and restored with `unet`: with one sigma
for all of the noise, the best of four constant ones, `--noise jpeg`, and by the default, which takes one of the first
and the third.  Blurred ones by a disk of radius 2, with noise of 1/255.  PSNR in dB, mean; gains over the one sigma:
mean and worst.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import arguments, save
from PIL import Image

from pnp.files.pictures import crop_centre, read
from pnp.jobs import Job, run
from pnp.jobs.job import of_file
from pnp.operators import Identity, ValidBlur, kernels
from pnp.samples import photograph

COLOURS = {"grey": 0, "4:4:4": 0, "4:2:0": 2}  # with Pillow's number of the subsampling
QUALITIES, NOISES, FACTORS = (10, 30, 50, 75, 90), (4, 10), (0.6, 0.8, 1.3)
PICTURES = {"photos": 4, "bsds400": 2}  # reduced by
EACH = {"clean": 6, "noisy": 3, "blurred": 2}  # pictures of a folder
SIDES = 128, 96


def main() -> None:
    options = arguments(__doc__, data=True).parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            picture = Image.fromarray((crop_centre(photograph("coffee"), 144)[0].permute(1, 2, 0) * 255).byte().numpy())
            return print(row([picture], "4:2:0", 30, 0, False, Path(folder)))
        if options.data is None:
            raise SystemExit("give the folder of pictures with --data or PNP_DATA, or --quick.")
        rows = table(Path(options.data, "train"), Path(folder))
    print(save("jpeg_noise", rows, pictures=EACH))


def table(data: Path, folder: Path) -> list[dict[str, Any]]:
    rows = []
    cells = [("clean", c, q, 0, False) for c in COLOURS for q in QUALITIES]
    cells += [("noisy", c, q, n, False) for c in ("grey", "4:2:0") for q in (50, 85) for n in NOISES]
    cells += [("blurred", c, q, 1, True) for c in ("grey", "4:2:0") for q in (50, 90)]
    for kind, colour, quality, noise, blurred in cells:
        rows.append(row(crops(data, EACH[kind]), colour, quality, noise, blurred, folder))
        print(rows[-1], flush=True)
    return rows


def crops(data: Path, each: int) -> list[Image.Image]:
    """Central crops of pictures spread over two folders, without traces of their own files."""
    found = []
    for kind, factor in PICTURES.items():
        paths = sorted(Path(data, kind).glob("*.jpg"))
        for path in paths[3 :: len(paths) // each][:each]:
            im = Image.open(path).convert("RGB").reduce(factor)
            left, top = (im.width - SIDES[0]) // 2, (im.height - SIDES[1]) // 2
            found.append(im.crop((left, top, left + SIDES[0], top + SIDES[1])))
    return found


def row(
    pictures: list[Image.Image], colour: str, quality: int, noise: int, blurred: bool, folder: Path
) -> dict[str, Any]:
    scores = np.array([_one(im, i, colour, quality, noise, blurred, folder) for i, im in enumerate(pictures)])
    means = dict(zip(("measured", "one sigma", "best sigma", "jpeg", "default"), scores.mean(0).tolist(), strict=True))
    gains = {name: {"mean": gain.mean(), "worst": gain.min()} for name, gain in (
        ("jpeg", scores[:, 3] - scores[:, 1]), ("default", scores[:, 4] - scores[:, 1]))}  # fmt: skip
    told = {"colour": colour, "quality": quality, "noise": noise, "blurred": blurred, "pictures": len(pictures)}
    return {**told, "psnr": means, "gain": gains}


def _one(im: Image.Image, seed: int, colour: str, quality: int, noise: int, blurred: bool, folder: Path) -> list[float]:
    clean = np.atleast_3d(np.asarray(im.convert("L") if colour == "grey" else im, dtype=np.float32))
    x = torch.from_numpy(clean / 255).permute(2, 0, 1)[None]
    operator = ValidBlur(kernels.disk(2.0)) if blurred else Identity()
    y = operator(x)
    y = y + noise / 255 * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    pixels = (y[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy().squeeze()
    Image.fromarray(pixels).save(folder / "y.jpg", quality=quality, subsampling=COLOURS[colour])
    picture, truth = read(folder / "y.jpg"), operator.visible(x)
    job = of_file(Job(operator=operator, prior="unet"), picture)

    def score(job: Job) -> tuple[float, float, Any]:
        done = run(job, picture.pixels, truth=truth)
        assert done.record.metrics is not None
        return done.record.metrics["psnr_initial"][0], done.record.metrics["psnr"][0], done.record.sigma.value

    before, plain, sigma = score(replace(job, tables=None))
    best = max(plain, *(score(replace(job, tables=None, sigma=sigma * factor))[1] for factor in FACTORS))
    jpeg = score(replace(job, noise="jpeg"))[1]
    return [before, plain, best, jpeg, score(job)[1]]


if __name__ == "__main__":
    main()
