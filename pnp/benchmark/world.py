"""What the world does to a picture between the lens and the disk: a camera or an editor, and then a file.

Both are objects of a task, named by specs: `camera = "demosaic"`, `file = "jpeg:quality=85,chroma=420"`.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from ..registry import Registry

if TYPE_CHECKING:
    from ..files.pictures import Picture

Noisy = Callable[[Tensor], Tensor]  # u with the noise of the task


class Camera(ABC):
    """What is done with the noisy picture before it is stored."""

    @abstractmethod
    def shoot(self, u: Tensor, noisy: Noisy, generator: torch.Generator) -> Tensor:
        """What is stored of the clean u = A x, (1, C, H, W).  Raises ValueError for a picture that does not fit."""

    def truth(self, x: Tensor) -> Tensor:
        """What a perfect restoration of that would be, from the clean picture."""
        return x


class FileKind(ABC):
    """How numbers from black (0) to white (1) are stored as samples.

    suffix: of the files; back: of the file that a restored picture is written to, one without loss.
    """

    suffix: ClassVar[str]
    back: ClassVar[str]

    @abstractmethod
    def encode(self, y: Tensor) -> bytes:
        """A whole file of (1, C, H, W)."""

    def ends(self) -> tuple[float, float]:
        """The samples that stand for 0 and 1."""
        return 0.0, 255.0

    def values(self, path: Path) -> Tensor:
        """The samples of a file of this kind as numbers from 0 to 1, (1, C, H, W)."""
        from ..files import formats, pictures

        samples = formats.decode(path, pictures.format_of(path)).samples.astype(np.float64)
        black, white = self.ends()
        return torch.from_numpy((samples - black) / (white - black)).permute(0, 3, 1, 2).float()


CAMERAS: Registry[Camera] = Registry(
    "camera", homes=("pnp.benchmark.world",), contract="pnp.benchmark.world:Camera"
)  # fmt: skip
FILES: Registry[FileKind] = Registry(
    "kind of file", homes=("pnp.benchmark.world",), contract="pnp.benchmark.world:FileKind"
)  # fmt: skip


class Filed:
    """A picture that went through a file, and the way of a restored one through another.

    scale: what a difference of 1, from black to white, is in the picture that was read.
    """

    def __init__(self, kind: FileKind, y: Tensor, folder: Path) -> None:
        from ..files import atomic, pictures

        self.kind, self.folder = kind, folder
        source = folder / f"measured{kind.suffix}"
        atomic.write(source, kind.encode(y))
        self.picture: Picture = pictures.read(source, "auto")
        self.scale = float(self.picture.pixels.std() / y.std().clamp_min(1e-6))  # of the units that a solver works in

    def written(self, restored: Tensor) -> Tensor:
        """A restored picture as `pnp solve` writes it, read again, from 0 to 1."""
        from ..files import pictures

        path = self.folder / f"restored{self.kind.back}"
        pictures.write(path, restored, self.picture)
        return self.kind.values(path)


# --- cameras


@CAMERAS.register("plain")
@dataclass(frozen=True)
class Plain(Camera):
    """The noise, and nothing else."""

    def shoot(self, u: Tensor, noisy: Noisy, generator: torch.Generator) -> Tensor:
        return noisy(u)


@CAMERAS.register("demosaic")
@dataclass(frozen=True)
class Demosaic(Camera):
    """One noisy colour a pixel (red, green / green, blue), the other two by linear filters.

    The noise of the result is neither white nor alike in the channels.   Malvar, He & Cutler 2004, figure 2.
    """

    def shoot(self, u: Tensor, noisy: Noisy, generator: torch.Generator) -> Tensor:
        if u.shape[1] != 3:
            raise ValueError(f"A mosaic of colours needs a colour picture, got {u.shape[1]} channel.")
        return demosaicked(noisy(_mosaic(u)))


@CAMERAS.register("resize", examples=("resize:factor=0.7",))
@dataclass(frozen=True)
class Resize(Camera):
    """The noisy picture made smaller (bicubic, without aliasing), which leaves noise of low frequencies alone."""

    factor: float = 0.7

    def shoot(self, u: Tensor, noisy: Noisy, generator: torch.Generator) -> Tensor:
        return self.truth(noisy(u))

    def truth(self, x: Tensor) -> Tensor:
        size = [round(self.factor * n) for n in x.shape[-2:]]
        return interpolate(x, size, mode="bicubic", antialias=True)


@CAMERAS.register("stripes", examples=("stripes:columns=0.03",))
@dataclass(frozen=True)
class Stripes(Camera):
    """Noise, and an error of each column that all its pixels share: of standard deviation `columns`, in image units."""

    columns: float = 0.03

    def shoot(self, u: Tensor, noisy: Noisy, generator: torch.Generator) -> Tensor:
        error = torch.randn(1, u.shape[1], 1, u.shape[-1], generator=generator, dtype=torch.float64)
        return noisy(u) + self.columns * error.to(u)


def _mosaic(x: Tensor) -> Tensor:
    """(1, 1, H, W) of (1, 3, H, W): red where row and column are even, blue where both are odd, else green."""
    made = x[:, 1:2].clone()
    made[..., ::2, ::2] = x[:, 0:1, ::2, ::2]
    made[..., 1::2, 1::2] = x[:, 2:3, 1::2, 1::2]
    return made


def demosaicked(y: Tensor) -> Tensor:
    """(1, 3, H, W) of a mosaic (1, 1, H, W), borders mirrored."""
    cross = [[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]
    row = [[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]]
    corner = [[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]
    filters = torch.tensor([cross, row, list(zip(*row, strict=True)), corner], dtype=torch.float64)[:, None] / 8
    found = conv2d(pad(y, (2, 2, 2, 2), mode="reflect"), filters.to(y))
    green, beside, above, across = found.unbind(1)  # beside: from neighbours in the row; above: in the column
    red, blue = y[:, 0].clone(), y[:, 0].clone()
    middle = y[:, 0].clone()
    middle[:, ::2, ::2], middle[:, 1::2, 1::2] = green[:, ::2, ::2], green[:, 1::2, 1::2]
    red[:, ::2, 1::2], red[:, 1::2, ::2] = beside[:, ::2, 1::2], above[:, 1::2, ::2]
    blue[:, ::2, 1::2], blue[:, 1::2, ::2] = above[:, ::2, 1::2], beside[:, 1::2, ::2]
    red[:, 1::2, 1::2], blue[:, ::2, ::2] = across[:, 1::2, 1::2], across[:, ::2, ::2]
    return torch.stack([red, middle, blue], 1)


# --- files


@FILES.register("png")
@dataclass(frozen=True)
class Png(FileKind):
    """8 bits, clipped and rounded."""

    suffix, back = ".png", ".png"

    def encode(self, y: Tensor) -> bytes:
        return _by_pillow(y, "PNG")


@FILES.register("jpeg", version=3, examples=("jpeg:quality=85", "jpeg:quality=85,chroma=420"))
@dataclass(frozen=True)
class Jpeg(FileKind):
    """JPEG of this quality (libjpeg's scale), colour whole (444) or at half the resolution (420).

    What is restored is written as PNG, so that a second compression is not counted.
    """

    quality: int = 85
    chroma: Literal["444", "420"] = "444"
    suffix, back = ".jpg", ".png"

    def encode(self, y: Tensor) -> bytes:
        return _by_pillow(y, "JPEG", quality=self.quality, subsampling={"444": 0, "420": 2}[self.chroma])


@FILES.register("tiff", examples=("tiff:black=100,white=600",))
@dataclass(frozen=True)
class Tiff(FileKind):
    """TIFF of 16 bits: 0 is the count `black`, 1 the count `white`, and there may be more than that."""

    black: int = 0
    white: int = 65535
    suffix, back = ".tif", ".tif"

    def __post_init__(self) -> None:
        if not 0 <= self.black < self.white <= 65535:
            raise ValueError(f"black={self.black}, white={self.white}; expected 0 <= black < white <= 65535.")

    def ends(self) -> tuple[float, float]:
        return float(self.black), float(self.white)

    def encode(self, y: Tensor) -> bytes:
        from tifffile import imwrite

        counts = (self.black + (self.white - self.black) * y[0].double()).round().clamp(0, 65535)
        planes = counts.permute(1, 2, 0).numpy().astype(np.uint16)
        file = io.BytesIO()
        if y.shape[1] == 1:
            imwrite(file, planes.squeeze(-1), photometric="minisblack")
        else:
            imwrite(file, planes, photometric="rgb")
        return file.getvalue()


def _by_pillow(y: Tensor, format: str, **options: int) -> bytes:
    from PIL import Image

    samples = (255 * y[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(samples.squeeze(-1) if y.shape[1] == 1 else samples).save(file, format, **options)
    return file.getvalue()
