"""Missing pixels: inpainting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from .. import checks
from ..registry import OPERATORS, SpecError
from .base import Operator
from .compose import Composition
from .mask_files import read_mask
from .mosaic import Mosaic
from .unknown import Unknown, UnknownMotion


class Mask(Operator):
    """y = m x, pixel by pixel: m is 1 where a pixel is known and 0 where it is missing, so A = Aᵀ = AᵀA.

    mask: (1, H, W), shared by all channels, or (C, H, W), of 0 and 1.  y has the image's shape, with zeros at missing
    pixels; whatever a measured picture holds there is not looked at.  Exact: (AᵀA + rho I)⁻¹ b = b / (m + rho).
    Raises ValueError for a mask of other values or without a known pixel.
    """

    task, pixelwise = "mask", True
    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        if mask.ndim != 3 or mask.numel() == 0:
            raise ValueError(f"mask has shape {tuple(mask.shape)}; expected (1, H, W) or (C, H, W).")
        if not bool(((mask == 0) | (mask == 1)).all()):
            raise ValueError("mask has values other than 0 (missing) and 1 (known); threshold it first.")
        if not bool(mask.any()):
            raise ValueError("mask is 0 everywhere, so every pixel is missing. Set the known pixels to 1.")
        self.register_buffer("mask", mask.detach().float().clone())

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, "x", "takes")
        return x * self.mask.to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        self._check(y, "y", "makes")
        return y * self.mask.to(y.dtype)

    def normal(self, x: Tensor) -> Tensor:
        return self.forward(x)  # m² = m

    def solve_normal(self, b: Tensor, rho: float | Tensor, x0: Tensor | None = None) -> Tensor:
        """b / (m + rho)."""
        self._check(b, "b", "takes")
        return b / (self.mask.to(b.dtype) + checks.positive_tensor(rho, "rho"))

    def norm(self, x: Tensor | None = None) -> float:
        return 1.0

    def known(self) -> Tensor:
        return self.mask

    def masked(self, known: Tensor) -> Mask:
        return Mask(self.mask * known.to(self.mask))

    def image_shape(self, y_shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        channels, height, width = self.mask.shape if y_shape is None else y_shape
        self._check(torch.empty(1, channels, height, width, device="meta"), "y", "makes")
        return (channels, height, width)

    def measurement_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        return image_shape

    def initial(self, y: Tensor) -> Tensor:
        """The known pixels, and at missing ones an average of those nearby."""
        known = self.mask.to(y.dtype).expand(y.shape[1:])[None]
        return fill(self.adjoint(y), known)

    def _check(self, x: Tensor, name: str, does: str) -> None:
        c, h, w = self.mask.shape
        if x.ndim != 4 or x.shape[-2:] != (h, w) or c not in (1, x.shape[1]):
            channels = "C" if c == 1 else c
            raise ValueError(f"{name} has shape {tuple(x.shape)}; {self.name} {does} (B, {channels}, {h}, {w}).")


class Masked(Composition):
    """y = m (A x): A measures, and some pixels of that are missing.   m: `Mask`, (1, H, W) or (C, H, W) of y.

    All else is asked of A: the rows of default parameters, its kernel and rivals, its periodic solve as preconditioner
    and its norm, which m cannot enlarge.
    """

    def __init__(self, known: Tensor, inner: Operator) -> None:
        super().__init__(Mask(known), inner)
        self.task, self.called = inner.task, inner.called

    def preconditioner(self, b: Tensor, rho: float | Tensor) -> Callable[[Tensor], Tensor]:
        return self.inner.preconditioner(b, rho)

    def norm(self, x: Tensor | None = None) -> float:
        return self.inner.norm(x)

    def transfer(self, size: tuple[int, int]) -> Tensor | None:
        return self.inner.transfer(size)

    def rivals(self) -> dict[str, Operator]:
        return self.inner.rivals()

    def unknown(self) -> Unknown | UnknownMotion | None:
        found, known = self.inner.unknown(), self.outer.known()
        return found if found is None or known is None else found.masked(known)

    def masked(self, known: Tensor) -> Operator:
        mine = self.outer.known()
        return self.inner.masked(known if mine is None else mine * known.to(mine))


def fill(y: Tensor, known: Tensor) -> Tensor:
    """Keep y where known = 1; elsewhere take it, interpolated, from a picture of half the size, filled likewise.

    y: (B, C, H, W); known: (1, C, H, W) of 0 and 1.  Each pixel of the smaller picture is the mean of the known ones
    among its four.  A channel with no known pixel at all keeps y.
    Gortler et al. 1996, The Lumigraph ("pull-push").
    """
    height, width = y.shape[-2:]
    if bool(known.all()) or height == width == 1:
        return y
    share = avg_pool2d(known, 2, ceil_mode=True)  # (1, C, ⌈H/2⌉, ⌈W/2⌉)
    mean = avg_pool2d(y * known, 2, ceil_mode=True) / torch.where(share > 0, share, 1)
    coarse = fill(mean, (share > 0).to(y.dtype))
    smooth = interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return torch.where(known > 0, y, smooth)


@OPERATORS.register(
    "mask",
    examples=("mask", "mask:keep=0.3,per_channel=true", "mask:kind=boxes,boxes=4,size=3", "mask:kind=block,size=5"),
)
def mask(
    file: str | None = None,
    kind: Literal["random", "boxes", "block"] = "random",
    keep: float = 0.5,
    per_channel: bool = False,
    boxes: int = 10,
    size: int | None = None,
    invert: bool = False,
    colour: str | None = None,
    *,
    shape: tuple[int, int, int],
    seed: int = 0,
    measured: bool = False,
) -> Mask | Mosaic:
    """Missing pixels, from a picture (file, white = known) or at random pixels, scattered boxes, or a centre block.

    A file may be an alpha channel, 0 and 1, or paint of one colour, which is missing (colour names it: red, #ff0000).
    invert: what is white is missing.  A colour mask of one channel a pixel makes a mosaic of a grey picture.

    keep: the fraction of random pixels that is known, drawn for all channels together or per_channel.
    boxes, size: how many squares of which side are missing (default side: an eighth of the shorter side of the
    picture, a quarter for the block).
    """
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = shape
    if file is not None:
        known = read_mask(file, shape, invert=invert, colour=colour)
        return Mosaic(known) if len(known) > shape[0] else Mask(known)
    if invert or colour is not None:
        raise SpecError("invert and colour are for a mask file. Pass file=mask.png as well.")
    if measured and kind != "block":
        raise SpecError(
            "cannot tell which pixels are missing. Pass the mask: mask:file=mask.png (white = known), or --op identity "
            "with --mask."
        )
    if kind == "random":
        return Mask(random_pixels((channels if per_channel else 1, height, width), keep, generator))
    side = size if size is not None else max(1, min(height, width) // (8 if kind == "boxes" else 4))
    if not 1 <= side <= min(height, width):
        raise ValueError(f"size is {side}; expected 1 to {min(height, width)}, the shorter side of the picture.")
    if kind == "boxes":
        return Mask(scattered_boxes((1, height, width), boxes, side, generator))
    return Mask(centre_block((1, height, width), side))


def random_pixels(shape: tuple[int, int, int], keep: float, generator: torch.Generator) -> Tensor:
    """A mask (C, H, W) that knows round(keep C H W) pixels, every choice equally likely."""
    if not 0 < keep <= 1:
        raise ValueError(f"keep is {keep}; expected a fraction above 0 and at most 1.")
    known = torch.zeros(shape).flatten()
    known[torch.randperm(known.numel(), generator=generator)[: max(1, round(keep * known.numel()))]] = 1
    return known.view(shape)


def scattered_boxes(shape: tuple[int, int, int], boxes: int, side: int, generator: torch.Generator) -> Tensor:
    """A mask (C, H, W) without `boxes` squares, each inside the picture; they may overlap."""
    if boxes < 1:
        raise ValueError(f"boxes is {boxes}; expected 1 or more.")
    known = torch.ones(shape)
    tops = torch.randint(shape[1] - side + 1, (boxes,), generator=generator).tolist()
    lefts = torch.randint(shape[2] - side + 1, (boxes,), generator=generator).tolist()
    for top, left in zip(tops, lefts, strict=True):
        known[:, top : top + side, left : left + side] = 0
    return known


def centre_block(shape: tuple[int, int, int], side: int) -> Tensor:
    """A mask (C, H, W) without the square in the middle."""
    known = torch.ones(shape)
    top, left = (shape[1] - side) // 2, (shape[2] - side) // 2
    known[:, top : top + side, left : left + side] = 0
    return known
