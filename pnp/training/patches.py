"""Training pictures in memory, and the patches drawn from them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..files.pictures import luma, read

FLAT = 2 / 255  # a patch whose standard deviation is below this teaches little


def read_pictures(paths: list[Path], channels: int) -> list[Tensor]:
    """Each picture, and each page of a file of several, as uint8 (C, H, W).

    Raises ValueError when there is none, and for a file that cannot be read or has values outside [0, 1].
    """
    pictures: list[Tensor] = []
    for path in paths:
        x = read(path).pixels
        low, high = float(x.min()), float(x.max())
        if low < 0 or high > 1:
            raise ValueError(f"{path} has values from {low:g} to {high:g}; expected [0, 1]: scale them first.")
        x = luma(x) if channels == 1 else x.expand(-1, channels, -1, -1)
        pictures.extend((255 * x).round().clamp(0, 255).to(torch.uint8))
    if not pictures:
        raise ValueError("no picture to train on; expected a folder with PNG, JPEG or TIFF files.")
    return pictures


def held_out(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """(training, validation): every 32nd picture in the order of names is held out, or else the last one."""
    if len(paths) < 2:
        raise ValueError(f"{len(paths)} picture is too few to train and validate. Add some, or use --val.")
    validation = paths[31::32] or paths[-1:]
    return [p for p in paths if p not in set(validation)], validation


def sizes(picture: Tensor, number: int, smallest: int = 128) -> list[Tensor]:
    """A large photograph eight times: as it is, its half (2×2 means), six times a small copy; a small one as it is.

    A large photograph has little detail as fine as its pixels.  Its small copy is about 400 pixels a side (Lanczos),
    saved as a camera or a web site would: what most pictures are, small, and their colour at half the resolution of
    their brightness.

    smallest: the side that all have at least, small ones continued by their borders.  number: seeds the copy.
    """
    if min(picture.shape[1:]) < 4 * smallest:
        return [_at_least(picture, smallest)]
    return [picture, _half(picture), *6 * [_at_least(_resaved(picture, number), smallest)]]


class PatchPool:
    """Random patches from pictures in all their `sizes`, flipped and turned; smallest: the largest patch's side."""

    def __init__(self, pictures: list[Tensor], smallest: int = 128) -> None:
        self.sizes = [sizes(p, i, smallest) for i, p in enumerate(pictures)]

    def draw(self, batch: int, side: int, generator: torch.Generator) -> Tensor:
        """float32 (batch, C, side, side) in [0, 1]; nine in ten flat patches are drawn again."""
        patches: list[Tensor] = []
        while len(patches) < batch:
            patch = self._one(side, generator)
            if float(patch.std()) > FLAT or self._int(10, generator) == 0:
                patches.append(patch)
        return torch.stack(patches)

    def _one(self, side: int, generator: torch.Generator) -> Tensor:
        sizes = self.sizes[self._int(len(self.sizes), generator)]
        picture = sizes[self._int(len(sizes), generator)]
        top = self._int(picture.shape[1] - side + 1, generator)
        left = self._int(picture.shape[2] - side + 1, generator)
        patch = picture[:, top : top + side, left : left + side].float() / 255
        turn = self._int(8, generator)
        patch = torch.rot90(patch, turn % 4, (1, 2))
        return patch.flip(2) if turn >= 4 else patch

    @staticmethod
    def _int(high: int, generator: torch.Generator) -> int:
        return int(torch.randint(max(1, high), (1,), generator=generator))


def _half(picture: Tensor) -> Tensor:
    return avg_pool2d(picture.float()[None], 2)[0].round().to(torch.uint8)


def _resaved(picture: Tensor, number: int) -> Tensor:
    """The picture with a shorter side of 330 to 480 pixels, out of a JPEG file of quality 90 to 96."""
    draw = np.random.default_rng(number)
    image = Image.fromarray(picture.permute(1, 2, 0).squeeze(2).numpy())
    scale = draw.uniform(330, 480) / min(image.size)
    image = image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(draw.integers(90, 97)), subsampling="4:2:0")
    return _tensor(Image.open(file))


def _tensor(image: Image.Image) -> Tensor:
    """uint8 (C, H, W)."""
    return torch.from_numpy(np.atleast_3d(np.asarray(image)).copy()).permute(2, 0, 1).contiguous()


def _at_least(picture: Tensor, side: int) -> Tensor:
    """The picture, its borders repeated where it is smaller than `side`."""
    h, w = picture.shape[1:]
    grow = (0, max(0, side - w), 0, max(0, side - h))
    return torch.nn.functional.pad(picture.float()[None], grow, mode="replicate")[0].to(torch.uint8)
