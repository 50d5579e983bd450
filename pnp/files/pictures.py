"""Picture files as tensors: read one, write the restored one like it, find the inputs, name the output.

A picture is float32 (B, C, H, W), nominally in [0, 1]: its range, the values of the file that are black and white,
goes there on reading and back on writing (`pnp.files.ranges`).
Pixels are upright: an orientation in the file is applied on reading, and written back as 1.
"""

from __future__ import annotations

import difflib
import glob
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from .. import checks, interrupts
from . import curves, exif, formats, ranges
from .atomic import WriteError, atomic, target
from .curves import Curve
from .formats import Meta, Stored
from .jpeg import Tables
from .ranges import Range, Wanted

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
    format: str  # one of formats.SUFFIXES' values
    dtype: str  # of the file's samples: one of formats.INTEGERS or EVERY_DEPTH; fewer than eight bits count as uint8
    peak: float  # the full scale of the samples: 255, 65535, 4095 for twelve bits, 1 for floats
    meta: Meta
    rounding: float = 0.0  # std of rounding to integers, in image units; 0 for floats
    hidden: float = 0.0  # std of what JPEG has rounded away beside, in image units
    range: Range | None = None  # the values of the file that are 0 and 1 here; None: 0 and the peak
    tables: Tables | None = None  # how a JPEG was quantised, where its blocks lie as in the file and 255 is 1
    quantised: Tables | None = None  # the same, however it was turned

    @property
    def ends(self) -> Range:
        """The values of the file that are 0 and 1 here."""
        return self.range or Range(0.0, self.peak)

    @property
    def whole_scale(self) -> bool:
        """Whether that is the full scale of its samples."""
        return self.ends == Range(0.0, self.peak)

    @property
    def curve(self) -> Curve | None:
        """The transfer curve from its values to light; None where they are no encoded light, as counts are not."""
        if self.format in formats.IN_LIGHT:
            return None
        return curves.of_samples(self.dtype, self.whole_scale, self.meta.icc)

    @property
    def from_camera(self) -> bool:
        """Whether its EXIF names a camera or an exposure."""
        return exif.of_camera(self.meta.exif)


def read(path: str | os.PathLike[str], range: Wanted = "full", *, holes: bool = False) -> Picture:
    """The picture in `path`.  Raises PictureError for anything that is not a whole, finite picture.

    range: what is black and white, in units of the file; `full`: 0 and the largest integer, floats as they are; `auto`:
    by its values (`ranges.find`).  holes: pixels may be NaN, which is missing.
    """
    path = Path(path)
    _check_there(path)
    format = format_of(path)
    with _reported("read", path):
        picture = _picture(formats.decode(path, format), range, holes)
    return picture


def read_like(path: str | os.PathLike[str], like: Picture) -> Picture:
    """The truth of `like`: by the same range where it is in the same units, else by its own (`ranges.of_truth`)."""
    own = read(path, "auto", holes=True)
    ends = ranges.of_truth(own.ends, like.ends, same_type=own.dtype == like.dtype)
    return own if own.ends == ends else read(path, ends, holes=True)


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
        with np.errstate(over="ignore"):
            x = _finite(torch.from_numpy(array.astype(np.float32)))
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

    The type, units, axes, alpha, colour profile, EXIF and resolution are those of `like`, where the format can hold
    them.  A type that it cannot hold becomes one that holds all its values, else its deepest, with black and white at
    the ends; a warning says so.  Without `like`: 8 bits, or float32 for TIFF, NPY and FITS.
    Integers are clipped and rounded.  JPEG is written at quality 95 without chroma subsampling, WebP without loss.
    """
    path = Path(path)
    format = written_format(path)
    x = checks.image(pixels[None] if pixels.ndim == 3 else pixels, "pixels").detach().cpu()
    x = x if x.dtype == torch.float64 else x.float()
    if x.shape[1] not in (1, 3):
        raise PictureError(f"cannot write {path}: {x.shape[1]} channels; expected 1 or 3.")
    if len(x) > 1 and format not in formats.HOLDS_PAGES:
        raise PictureError(f"cannot write {path}: {format} holds one picture, got {len(x)}; write a .tif or .npy.")
    meta = _meta(x, like) if like else Meta()
    if like and like.alpha is not None and format in formats.HOLDS_ALPHA:
        x = _with_alpha(x, like.pixels, like.alpha, premultiplied=meta.extra == 1 and format != "TIFF")
    dtype, ends, peak = _depth(path, format, like)
    samples = _samples(x, dtype, ends, peak)
    with _reported("write", path), atomic(path) as file:
        formats.encode(file, samples, format, meta, peak)


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
            raise PictureError(_nothing(text))
        for match in matches:
            found.setdefault(match.resolve(), match)
    return list(found.values())


def _nothing(text: str) -> str:
    """Why an input names no picture."""
    path = Path(text)
    if path.is_dir() or glob.has_magic(text):
        return f"no picture found at {text}. Known: {', '.join(SUFFIXES)}"
    near = difflib.get_close_matches(path.name, [p.name for p in _pictures(path.absolute().parent.glob("*"))], n=1)
    return f"{text} does not exist." + (f" Did you mean {path.with_name(near[0])}?" if near else "")


def default_output(path: str | os.PathLike[str], suffix: str = "-restored") -> Path:
    """photo.png -> photo-restored.png, beside the input; with another ending where the format is only read."""
    path = Path(path)
    format = formats.SUFFIXES.get(path.suffix.lower(), "")
    ending = formats.INSTEAD.get(format, path.suffix)
    if ending != path.suffix and formats.moves(path):
        ending = ".tif"
    stem = path.stem
    if stem.lower().endswith(".ome"):
        stem, ending = stem[:-4], stem[-4:] + ending
    return path.with_name(stem + suffix + ending)


def check_output(output: str | os.PathLike[str], inputs: Iterable[str | os.PathLike[str]] = ()) -> Path:
    """`output` as a Path, if `write` can put a picture there without touching one of `inputs`; else PictureError.

    Worth asking before a long run.  The same file is recognised behind links, `..` and another case.
    """
    written_format(Path(output))
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


def written_format(path: Path) -> str:
    """The format that the name of `path` asks for; PictureError where it is only read, or lacks a package."""
    format = format_of(path)
    if format in formats.INSTEAD:
        raise PictureError(f"cannot write {path}: {format} is only read. Write a {formats.INSTEAD[format]}.")
    with _reported("write", path):
        formats.need(format)
    return format


def _picture(stored: Stored, range: Wanted, holes: bool = False) -> Picture:
    dtype = stored.samples.dtype.name
    if dtype not in (*formats.INTEGERS, *formats.EVERY_DEPTH):
        raise ValueError(f"{dtype} samples; expected integers or floats: convert them first")
    colours = 3 if stored.samples.shape[-1] > 2 else 1
    inks, rest = stored.samples[..., :colours], stored.samples[..., colours:]
    all_of_it = Range(0.0, stored.peak)
    ends = ranges.settled(range, inks, all_of_it)
    x = _planes(inks, ends, stored.orientation)
    _finite(torch.where(x.isnan(), 0.0, x) if holes and x.isnan().any() else x)
    alpha = _finite(_planes(rest, all_of_it, stored.orientation)) if rest.shape[-1] else None
    counted = np.dtype(dtype).kind in "iu"
    step = 1 / (ends.white - ends.black)
    lost = (12**-0.5 * step if counted else 0.0, stored.error * step)  # a uniform error has a std of 1/√12
    as_stored = stored.orientation == 1 and ends == Range(0.0, 255.0)
    tables = stored.tables if as_stored else None
    return Picture(x, alpha, stored.format, dtype, stored.peak, stored.meta, *lost, ends, tables, stored.tables)


def _planes(samples: np.ndarray, ends: Range, orientation: int) -> Tensor:
    """(B, H, W, S) as (B, S, H, W), in image units, upright."""
    x = torch.from_numpy(ends.inside(samples)).permute(0, 3, 1, 2)
    return _upright(x, orientation).contiguous()


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
    """What of `like.meta` is still true of `x`: a profile is for its colours; descriptions may speak of the shape.

    ImageJ's speaks of the pages alone.
    """
    same_colours = x.shape[1] == like.pixels.shape[1]
    same_shape = x.shape == like.pixels.shape
    pages = like.meta.description.startswith(b"ImageJ=") and len(x) == len(like.pixels)
    return replace(
        like.meta,
        icc=like.meta.icc if same_colours else None,
        description=like.meta.description if same_shape or pages else b"",
        tags=like.meta.tags if same_shape else (),
    )


def _with_alpha(x: Tensor, before: Tensor, alpha: Tensor, *, premultiplied: bool) -> Tensor:
    """[x, alpha]: alpha resized to x; where it is 0 a picture of the same shape keeps the hidden colour as read.

    premultiplied: x holds colour times alpha, and the format wants the colour.
    """
    if len(alpha) != len(x):
        raise PictureError(f"{len(x)} pages to write like {len(alpha)} pages with alpha; expected as many.")
    alpha = alpha.to(x.dtype)
    if x.shape == before.shape:
        x = torch.where((alpha == 0) & ~before.isnan(), before.to(x.dtype), x)
    else:
        alpha = interpolate(alpha, x.shape[-2:], mode="bicubic", antialias=True).clamp(0, 1)
    if premultiplied:
        x = torch.where(alpha > 0, x / alpha, x)
    return torch.cat([x, alpha], 1)


def _depth(path: Path, format: str, like: Picture | None) -> tuple[str, Range, float]:
    """The type to write, the values that are black and white in it, and its full scale."""
    depths = formats.DEPTHS.get(format, ("uint8",))
    if like is None:
        dtype = "float32" if format in formats.HOLDS_PAGES else "uint8"
        return dtype, ranges.full(dtype), formats.full_scale(np.dtype(dtype))
    if held := [dtype for dtype in (like.dtype, *depths) if dtype in depths and np.can_cast(like.dtype, dtype)]:
        if held[0] != like.dtype:
            warnings.warn(f"{path}: {format} does not hold {like.dtype}. {held[0]} holds its values.", stacklevel=3)
        return held[0], like.ends, like.peak
    white = ranges.full(depths[-1])
    becomes = f"{like.ends.black:g} becomes 0 and {like.ends.white:g} becomes {white.white:g}."
    warnings.warn(f"{path}: {format} does not hold {like.dtype}. {becomes}", stacklevel=3)
    return depths[-1], white, white.white


def _samples(x: Tensor, dtype: str, ends: Range, peak: float) -> np.ndarray:
    """(B, S, H, W) as (B, H, W, S) of `dtype`: colours in the units of the file, alpha by its full scale."""
    planes = x.permute(0, 2, 3, 1).contiguous().numpy()
    colours = 3 if planes.shape[-1] > 2 else 1
    inks = ends.outside(planes[..., :colours], dtype)
    if planes.shape[-1] == colours:
        return inks
    return np.concatenate([inks, Range(0.0, peak).outside(planes[..., colours:], dtype)], axis=-1)


def _pictures(paths: Iterable[Path]) -> list[Path]:
    """Those of a known format, sorted by name; hidden files are passed over."""
    return sorted(p for p in paths if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file())
