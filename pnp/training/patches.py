"""Training pictures in memory, and the patches drawn from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..files.pictures import luma, read
from .jitter import jittered
from .mixture import Mixture

if TYPE_CHECKING:
    from .synthetic import Scenes

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


def sizes(picture: Tensor, number: int, smallest: int = 128) -> dict[str, Tensor]:
    """A photograph in up to four sizes: whole, halved (2×2 means), small (Lanczos), and small from a JPEG file.

    A large photograph has little detail as fine as its pixels, and its file was a JPEG mostly.  Reduced at least
    twofold it has neither fault.  A copy from a JPEG file is what most small pictures are, their colour at half the
    resolution of their brightness.  A smaller photograph has no copies, the smallest no half.

    smallest: the side that all have at least, small ones continued by their borders.  number: seeds the copies.
    """
    found, short = {"whole": _at_least(picture, smallest)}, min(picture.shape[1:])
    if short >= 2 * smallest:
        found["halved"] = _half(picture)
    if short >= 4 * smallest:
        draw = np.random.default_rng(number)
        side = draw.uniform(330, 480)
        found["jpeg"] = _at_least(as_jpeg(reduced(picture, side), int(draw.integers(90, 97))), smallest)
        found["small"] = _at_least(reduced(picture, min(side, short / 2)), smallest)
    return found


class PatchPool:
    """Random patches by the shares of a `Mixture`, flipped and turned.

    pictures: photographs, uint8 (C, H, W).  smallest: the largest patch's side.  scenes: the rendered pictures, which a
    mixture with a synthetic part needs.
    """

    def __init__(
        self,
        pictures: list[Tensor],
        smallest: int = 128,
        mixture: Mixture | None = None,
        scenes: Scenes | None = None,
    ) -> None:
        self.mixture, self.scenes = mixture or Mixture(), scenes
        if self.mixture.synthetic and scenes is None:
            raise ValueError("a mixture with a synthetic part needs scenes.")
        self.sizes = []  # of each photograph: pairs of a share and a picture
        for number, picture in enumerate(pictures):
            found = sizes(picture, number, smallest)
            self.sizes.append([(share, found[name]) for name, share in self.mixture.weights(found).items()])

    def draw(self, batch: int, side: int, generator: torch.Generator) -> Tensor:
        """float32 (batch, C, side, side) in [0, 1]; nine in ten flat patches are drawn again, of the same origin."""
        rendered = [self._happens(self.mixture.synthetic, generator) for _ in range(batch)]
        return torch.stack([self._lively(each, side, generator) for each in rendered])

    def _lively(self, rendered: bool, side: int, generator: torch.Generator) -> Tensor:
        while True:
            patch = self._one(rendered, side, generator)
            if float(patch.std()) > FLAT or self._int(10, generator) == 0:
                return patch

    def _one(self, rendered: bool, side: int, generator: torch.Generator) -> Tensor:
        if rendered and self.scenes is not None:
            picture = self.scenes[self._int(self.scenes.stock, generator)]
        else:
            picture = self._photograph(generator)
        top = self._int(picture.shape[1] - side + 1, generator)
        left = self._int(picture.shape[2] - side + 1, generator)
        patch = picture[:, top : top + side, left : left + side].float() / 255
        turn = self._int(8, generator)
        patch = torch.rot90(patch, turn % 4, (1, 2))
        patch = patch.flip(2) if turn >= 4 else patch
        if not rendered and self._happens(self.mixture.jitter, generator):
            patch = jittered(patch, rng_of(generator))
        return patch

    def _photograph(self, generator: torch.Generator) -> Tensor:
        """One size of one photograph, by the shares."""
        found = self.sizes[self._int(len(self.sizes), generator)]
        at = float(torch.rand(1, generator=generator))
        for share, picture in found:
            at -= share
            if at < 0:
                return picture
        return found[-1][1]  # the shares add up to 1 but for rounding

    @staticmethod
    def _happens(share: float, generator: torch.Generator) -> bool:
        """With this chance; no number is drawn where there is none."""
        return share > 0 and float(torch.rand(1, generator=generator)) < share

    @staticmethod
    def _int(high: int, generator: torch.Generator) -> int:
        return int(torch.randint(max(1, high), (1,), generator=generator))


def pool_of(paths: list[Path], channels: int, smallest: int, mixture: Mixture) -> PatchPool:
    """The pool of photographs in these files, and of rendered pictures where the mixture has some."""
    pictures = read_pictures(paths, channels)
    scenes = None
    if mixture.synthetic:
        from .synthetic import Scenes, printers

        scenes = Scenes(pictures, printers()[0], max(224, smallest + 64))
    return PatchPool(pictures, smallest, mixture, scenes)


def rng_of(generator: torch.Generator) -> np.random.Generator:
    """NumPy's generator, seeded by torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))


def _half(picture: Tensor) -> Tensor:
    return avg_pool2d(picture.float()[None], 2)[0].round().to(torch.uint8)


def reduced(picture: Tensor, side: float) -> Tensor:
    """uint8 (C, H, W) with a shorter side of so many pixels, by Lanczos."""
    image = _image(picture)
    scale = side / min(image.size)
    return _tensor(image.resize((round(scale * image.width), round(scale * image.height)), Image.Resampling.LANCZOS))


def as_jpeg(picture: Tensor, quality: int) -> Tensor:
    """uint8 (C, H, W): what a JPEG file of it holds, with its colour at half the resolution (4:2:0)."""
    file = io.BytesIO()
    _image(picture).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return _tensor(Image.open(file))


def _image(picture: Tensor) -> Image.Image:
    return Image.fromarray(picture.permute(1, 2, 0).squeeze(2).numpy())


def _tensor(image: Image.Image) -> Tensor:
    """uint8 (C, H, W)."""
    return torch.from_numpy(np.atleast_3d(np.asarray(image)).copy()).permute(2, 0, 1).contiguous()


def _at_least(picture: Tensor, side: int) -> Tensor:
    """The picture, its borders repeated where it is smaller than `side`."""
    h, w = picture.shape[1:]
    if min(h, w) >= side:
        return picture
    grow = (0, max(0, side - w), 0, max(0, side - h))
    return torch.nn.functional.pad(picture.float()[None], grow, mode="replicate")[0].to(torch.uint8)
