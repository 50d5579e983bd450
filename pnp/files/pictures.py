"""Picture files as tensors: read one, write the restored one like it, find the inputs, name the output.

A picture is float32 (B, C, H, W), nominally in [0, 1]: integers are divided by their peak, floats keep their values.
Pixels are upright: an orientation in the file is applied on reading, and written back as 1.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .. import checks, interrupts
from . import formats
from .atomic import WriteError, atomic, target
from .formats import Meta, Stored

SUFFIXES = tuple(formats.SUFFIXES)


class PictureError(ValueError):
    """A picture file that cannot be read or written; the message is one line that names the file."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, and what its file said beside the pixels.

    pixels: float32 (B, C, H, W), C = 1 or 3; B > 1 only for the pages of a TIFF and for NPY.
    alpha: (B, 1, H, W) in [0, 1], not multiplied into the pixels (unless `meta.extra` is 1).
    """

    pixels: Tensor
    alpha: Tensor | None
    format: str  # PNG, JPEG, BMP, WEBP, TIFF or NPY
    dtype: str  # of the file's samples: one of formats.EVERY_DEPTH; single bits count as uint8
    peak: float  # the sample value that means 1: 255, 65535, 4095 for twelve bits, 1 for floats
    meta: Meta
    rounding: float = 0.0  # std of rounding to integers, in image units; 0 for floats
    hidden: float = 0.0  # std of what JPEG has rounded away beside, in image units


def read(path: str | os.PathLike[str]) -> Picture:
    """The picture in `path`.  Raises PictureError for anything that is not a whole, finite, grey or RGB picture."""
    path = Path(path)
    _check_there(path)
    format = format_of(path)
    with _reported("read", path):
        picture = _picture(formats.decode(path, format))
    return picture


def read_array(path: str | os.PathLike[str]) -> Tensor:
    """The array in an NPY file as float32, one to four dimensions, its values as stored; any other file as `read`."""
    path = Path(path)
    _check_there(path)
    if format_of(path) != "NPY":
        return read(path).pixels
    with _reported("read", path):
        array = formats.load_npy(path)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{array.dtype} values; expected real numbers")
        if not 1 <= array.ndim <= 4:
            raise ValueError(f"shape {array.shape}; expected one to four dimensions")
        x = _finite(torch.from_numpy(_float32(array, 1.0)))
    return x


def luma(x: Tensor) -> Tensor:
    """BT.601 luma of colour pictures, (B, 1, H, W); others as they are."""
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1).to(x)
    return (x * weights).sum(1, keepdim=True) if x.shape[1] == 3 else x


def crop_centre(x: Tensor, side: int) -> Tensor:
    """The central square (…, side, side), or as much of it as there is."""
    h, w = x.shape[-2:]
    top, left = max(0, (h - side) // 2), max(0, (w - side) // 2)
    return x[..., top : top + side, left : left + side]


def write(path: str | os.PathLike[str], pixels: Tensor, like: Picture | None = None) -> None:
    """Write (B, C, H, W) or (C, H, W) in the format that the name of `path` asks for, as a whole or not at all.

    The bit depth, alpha, colour profile, EXIF and resolution are those of `like`, where the format can hold them;
    a depth it cannot hold becomes its deepest.  Without `like`: 8 bits, or float32 for TIFF and NPY.
    Integers are clipped and rounded.  JPEG is written at quality 95 without chroma subsampling, WebP without loss.
    """
    path = Path(path)
    format = format_of(path)
    x = checks.image(pixels[None] if pixels.ndim == 3 else pixels, "pixels").detach().cpu()
    x = x if x.dtype == torch.float64 else x.float()
    if x.shape[1] not in (1, 3):
        raise PictureError(f"cannot write {path}: {x.shape[1]} channels; expected 1 or 3.")
    if len(x) > 1 and format not in formats.HOLDS_PAGES:
        raise PictureError(f"cannot write {path}: {format} holds one picture, got {len(x)}; write a .tif or .npy.")
    meta = _meta(x, like) if like else Meta()
    if like and like.alpha is not None and format in formats.HOLDS_ALPHA:
        x = _with_alpha(x, like.pixels, like.alpha, premultiplied=meta.extra == 1 and format != "TIFF")
    samples = _samples(x, _depth(format, like))
    with _reported("write", path), atomic(path) as file:
        formats.encode(file, samples, format, meta)


def expand(inputs: Sequence[str]) -> list[Path]:
    """The files that `inputs` name, each once: files as they are, folders and globs as their pictures, sorted by name.

    Raises PictureError for an input that names nothing.
    """
    found: dict[Path, Path] = {}
    for text in inputs:
        if not text.strip():  # a variable of the shell that was not set; as a path it would be the whole folder
            raise PictureError("the name of a picture is empty; give a picture, or . for all of this folder.")
        path = Path(text)
        if path.is_dir():
            matches = _pictures(path.iterdir())
        elif path.exists():
            matches = [path]
        else:
            matches = _pictures(map(Path, glob.glob(text, recursive=True)))
        if not matches:
            raise PictureError(f"no picture found at {text}. Known: {', '.join(SUFFIXES)}")
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())


def default_output(path: str | os.PathLike[str], suffix: str = "-restored") -> Path:
    """photo.png -> photo-restored.png, beside the input."""
    path = Path(path)
    return path.with_name(path.stem + suffix + path.suffix)


def check_output(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """`output` as a Path, if `write` can put a picture there without touching one of `inputs`; else PictureError.

    Worth asking before a long run.  The same file is recognised behind links, `..` and another case.
    """
    format_of(Path(output))
    return check_target(output, inputs)


def check_target(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """`check_output` for a file of any format."""
    path = Path(output)
    with _reported("write", path):
        goal = target(path)
    if not goal.parent.is_dir():
        raise PictureError(f"cannot write {path}: there is no folder {path.parent}.")
    if not os.access(goal.parent, os.W_OK | os.X_OK):
        raise PictureError(f"cannot write {path}: the folder is not writable.")
    for source in inputs:
        if path.exists() and os.path.exists(source) and path.samefile(source):
            raise PictureError(f"the output {path} would overwrite the input {source}; choose another name.")
    return path


# --- from a file's samples to a picture


def _check_there(path: Path) -> None:
    if not path.exists():
        raise PictureError(f"{path}: no such file.")
    if not path.is_file():
        raise PictureError(f"{path}: not a file.")
    if path.stat().st_size == 0:
        raise PictureError(f"{path}: the file is empty.")


def format_of(path: Path) -> str:
    try:
        return formats.SUFFIXES[path.suffix.lower()]
    except KeyError:
        raise PictureError(f"{path}: unknown picture format {path.suffix!r}. Known: {', '.join(SUFFIXES)}") from None


def _picture(stored: Stored) -> Picture:
    dtype = stored.samples.dtype.name.replace("bool", "uint8")
    if dtype not in formats.EVERY_DEPTH:
        raise ValueError(f"{dtype} samples; expected bool, {', '.join(formats.EVERY_DEPTH)}: convert them first")
    x = torch.from_numpy(_float32(stored.samples, stored.peak)).permute(0, 3, 1, 2)  # (B, S, H, W)
    x = _finite(_upright(x, stored.orientation))
    colours = 3 if x.shape[1] > 2 else 1
    alpha = x[:, colours:].contiguous() if x.shape[1] > colours else None
    steps = 0.0 if dtype.startswith("float") else 12**-0.5  # of a uniform error, in levels
    lost = (steps / stored.peak, stored.error / stored.peak)
    return Picture(x[:, :colours].contiguous(), alpha, stored.format, dtype, stored.peak, stored.meta, *lost)


def _float32(array: np.ndarray, peak: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is counted
        return np.divide(array, peak, dtype=np.float32, casting="unsafe")


def _finite(x: Tensor) -> Tensor:
    if x.numel() == 0:
        raise ValueError(f"it is empty, of shape {tuple(x.shape)}")
    return checks.finite(x, "it")


def _upright(x: Tensor, orientation: int) -> Tensor:
    """Undo EXIF orientation 2 to 8: 5 to 8 are transposed first; then left-right (-1), top-bottom (-2) or both."""
    x = x.transpose(-1, -2) if 5 <= orientation <= 8 else x
    flips = {2: (-1,), 3: (-1, -2), 4: (-2,), 6: (-1,), 7: (-1, -2), 8: (-2,)}
    return x.flip(flips[orientation]) if orientation in flips else x


@contextmanager
def _reported(what: str, path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes one PictureError: decoders and encoders raise a dozen kinds.

    But for an interrupt, also where an import or a decoder made another error of it.
    """
    outside = sys.exception()
    try:
        yield
    except PictureError:
        raise
    except WriteError as error:
        raise PictureError(str(error)) from error
    except Exception as error:
        if interrupts.lost() or _interrupted(error, outside):
            raise KeyboardInterrupt from error
        raise PictureError(f"cannot {what} {path}: {_line(error)}") from error


def _interrupted(error: BaseException | None, outside: BaseException | None) -> bool:
    """Whether KeyboardInterrupt led to this error, and not to the `outside` one that is being handled anyway."""
    while error is not None and error is not outside:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _line(error: Exception) -> str:
    """The first line of an error's message, without the path that the caller names."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0].rstrip(".") + "."


# --- from pixels to a file's samples


def _meta(x: Tensor, like: Picture) -> Meta:
    """What of `like.meta` is still true of `x`: a profile is for its colours, a description may speak of the shape."""
    same_colours = x.shape[1] == like.pixels.shape[1]
    return replace(
        like.meta,
        icc=like.meta.icc if same_colours else None,
        description=like.meta.description if x.shape == like.pixels.shape else "",
    )


def _with_alpha(x: Tensor, before: Tensor, alpha: Tensor, *, premultiplied: bool) -> Tensor:
    """[x, alpha]: alpha resized to x; where it is 0 a picture of the same shape keeps the hidden colour as read.

    premultiplied: x holds colour times alpha, and the format wants the colour.
    """
    if len(alpha) != len(x):
        raise PictureError(f"{len(x)} pages to write like {len(alpha)} pages with alpha; expected as many.")
    alpha = alpha.to(x.dtype)
    if x.shape == before.shape:
        x = torch.where(alpha == 0, before.to(x.dtype), x)
    else:
        alpha = interpolate(alpha, x.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
    if premultiplied:
        x = torch.where(alpha > 0, x / alpha, x)
    return torch.cat([x, alpha], 1)


def _depth(format: str, like: Picture | None) -> str:
    depths = formats.DEPTHS.get(format, ("uint8",))
    wanted = like.dtype if like else "float32" if format in formats.HOLDS_PAGES else "uint8"
    return wanted if wanted in depths else depths[-1]


def _samples(x: Tensor, dtype: str) -> np.ndarray:
    """(B, S, H, W) as (B, H, W, S) of `dtype`; integers clipped to [0, 1], scaled and rounded."""
    if dtype.startswith("uint"):
        x = (x.clamp(0, 1) * np.iinfo(dtype).max).round()
    return x.permute(0, 2, 3, 1).contiguous().numpy().astype(dtype)


def _pictures(paths: Iterable[Path]) -> list[Path]:
    """Those of a known format, sorted by name; hidden files are passed over."""
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
