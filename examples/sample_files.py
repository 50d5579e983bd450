"""Write the files that the guides use: blurred, scratched, small and noisy pictures, a stack, a movie.

    python examples/sample_files.py samples          (into the folder `samples`; --quick: small files)

The pictures come with scikit-image, and their owners gave them to the public domain (CC0).  What happened to each file
is written below it; its truth is in the folder `truth`.
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import tifffile
import torch
from cells import cells
from PIL import Image
from torch import Tensor

from pnp import operators
from pnp.files import pictures
from pnp.operators import kernels
from pnp.registry import OPERATORS
from pnp.samples import photograph
from pnp.training.pages import typeset

PHOTONS = 150  # of the brightest pixel of the stack


def noise(x: Tensor, sigma: float, seed: int = 0) -> Tensor:
    """x + sigma n, n ~ N(0, I)."""
    return x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def lens(x: Tensor, kernel: Tensor) -> Tensor:
    """A blur as a lens makes it: in light, not in the values of the file.  Its borders are lost."""
    light = torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    seen = operators.ValidBlur(kernel)(light).clamp(0, 1)
    return torch.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


def inner(x: Tensor, like: Tensor) -> Tensor:
    """The middle of x, as large as the other."""
    top, left = ((a - b) // 2 for a, b in zip(x.shape[-2:], like.shape[-2:], strict=True))
    return x[..., top : top + like.shape[-2], left : left + like.shape[-1]]


def scratches(height: int, width: int, count: int, seed: int = 1) -> Tensor:
    """True on some bent lines of 3 pixels, (H, W)."""
    draw = np.random.default_rng(seed)
    painted = torch.zeros(height, width, dtype=torch.bool)
    for _ in range(count):
        (r0, c0), (r1, c1) = draw.uniform(0, 1, (2, 2)) * (height, width)
        bend, t = draw.normal(0, 0.08) * height, np.linspace(0, 1, 4 * (height + width))
        rows, columns = r0 + t * (r1 - r0) + bend * np.sin(np.pi * t), c0 + t * (c1 - c0)
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                r, c = (rows + i).round().clip(0, height - 1), (columns + j).round().clip(0, width - 1)
                painted[r.astype(int), c.astype(int)] = True
    return painted


def nuclei(planes: int, side: int) -> Tensor:
    """Cells of a tissue section, bright on dark: how much red light its blue stain takes, (planes, 1, side, side)."""
    from skimage import data

    stained = torch.from_numpy(data.immunohistochemistry()[..., 0] / 255).float()
    dark = ((0.9 - stained) / 0.8).clamp(0, 1)
    return torch.stack([dark[None, 250 - 20 * k :, 180:][:, :side, :side] for k in range(planes)])


def save_counts(path: Path, x: Tensor) -> None:
    """Pages (P, 1, H, W) as a TIFF of 16 bits: x rounded, or x · 60000 of a picture in [0, 1]."""
    x = 60000 * x if x.max() <= 1.5 else x
    tifffile.imwrite(path, x[:, 0].clamp(0, 65535).round().numpy().astype(np.uint16), photometric="minisblack")


def write_all(folder: Path, quick: bool = False) -> None:
    """All of the files into a folder; quick: small ones, for tests."""
    (folder / "truth").mkdir(parents=True, exist_ok=True)

    def save(name: str, x: Tensor, truth: Tensor) -> None:
        pictures.write(folder / name, x)
        pictures.write(folder / "truth" / Path(name).with_suffix(".png").name, truth)

    coffee, cat, woman = (photograph(name) for name in ("coffee", "chelsea", "astronaut"))
    coffee, cat, woman = coffee[..., :380, 140:520], cat[..., 20:276, 60:380], woman[..., :320, 100:420]
    halved = OPERATORS.build("downsample:factor=2")
    whole = cat
    if quick:
        coffee, whole = coffee[..., 40:220, 90:270], cat[..., :170, 60:240]  # kernels are sought in these
        cat, woman = cat[..., 40:136, 90:186], woman[..., 40:136, 90:186]

    out_of_focus = kernels.disk(4.0)
    y = noise(lens(coffee, out_of_focus), 1 / 255)
    save("photo.jpg", y, inner(coffee, y))  # out of focus, a JPEG
    y = noise(lens(whole, kernels.motion(13, 20)), 1 / 255)
    save("moved.jpg", y, inner(whole, y))  # the camera moved in a straight line

    shake = kernels.shake(13, seed=2)
    pictures.write(folder / "psf.png", (shake / shake.max())[None, None].float())  # a picture of a point
    y = noise(operators.ValidBlur(shake)(woman), 2 / 255)
    save("shaken.png", y, inner(woman, y))  # its kernel is psf.png

    painted = scratches(*cat.shape[-2:], 9)
    pictures.write(folder / "mask.png", (~painted)[None, None].float())  # white = known
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    save("scratched.png", torch.where(painted, red, cat), cat)  # red paint where something is missing
    save("holes.png", torch.where(painted, 0.0, cat), cat)  # the same, black; mask.png says where

    sharp = woman[..., : woman.shape[-2] // 2 * 2, : woman.shape[-1] // 2 * 2]
    save("small.png", halved(sharp), sharp)  # half the size
    save("noisy.png", noise(woman, 25 / 255), woman)  # a high ISO number
    pictures.write(folder / "clean.png", cat)  # to be degraded, for tests with --simulate
    words = 8 * ["Most", "pages", "come", "from", "a", "phone", "that", "was", "held", "too", "near."]
    font = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    page = typeset(words, font, 18, (160, 240) if quick else (300, 460))[0][None]
    save("page.png", noise(operators.ValidBlur(kernels.disk(3.0))(page), 0.01), page)  # out of focus
    bytes_of = (woman[0].permute(1, 2, 0) * 255).round().byte().numpy()
    Image.fromarray(bytes_of).save(folder / "old.jpg", quality=15)  # a JPEG of poor quality
    pictures.write(folder / "truth" / "old.png", woman)

    stack = nuclei(2 if quick else 3, 72 if quick else 212)  # a microscope: photons, a blur, 16 bits
    psf = kernels.gaussian(1.6)
    save_counts(folder / "psf.tif", (psf / psf.max())[None, None])
    seen = operators.ValidBlur(psf)(stack)
    photons = torch.poisson(PHOTONS * seen, generator=torch.Generator().manual_seed(0))
    save_counts(folder / "stack.tif", 100 + 20 * photons)  # black of the camera 100, 20 values a photon
    save_counts(folder / "truth" / "stack.tif", 100 + 20 * PHOTONS * inner(stack, seen))

    movie = cells(frames=3 if quick else 8, side=40 if quick else 64, count=4).frames
    save_counts(folder / "movie.tif", noise(halved(movie), 0.05))  # small frames of moving cells
    save_counts(folder / "truth" / "movie.tif", movie)

    grey = photograph("camera")[..., 40:238, 140:338]
    measured = OPERATORS.build("sensing:kind=block,ratio=0.25", shape=tuple(grey.shape[1:]), seed=0)
    np.save(folder / "measured.npy", noise(measured(grey), 0.01).numpy())
    pictures.write(folder / "truth" / "measured.png", grey)


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if not name.startswith("-")] or ["samples"]
    write_all(Path(names[0]), quick="--quick" in sys.argv)
    print(f"wrote {len(list(Path(names[0]).glob('*.*')))} files into {names[0]}")
    # prints: wrote 15 files into samples
