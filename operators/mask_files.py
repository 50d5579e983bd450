"""Masks as people have them: alpha channels, 0/1 or 0/255, colour paint, resampled or saved as JPEG."""

from __future__ import annotations

import re
import warnings

import torch
from torch import Tensor

from ..registry import SpecError

COLOURS = {
    "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "yellow": (1.0, 1.0, 0.0),
    "magenta": (1.0, 0.0, 1.0), "cyan": (0.0, 1.0, 1.0), "white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0),
}  # fmt: skip
COLOURED = 0.3  # largest minus smallest channel: less is grey, also after JPEG
PLANAR = 0.02  # share of pixels that may differ from the colours of a mask
ALIKE = 0.15  # of a channel: nearer colours are one
LIKE = 0.3  # to a colour that is only named: paint comes in many reds
SOFT = 0.4  # at the rim of a brush stroke
# pixels around paint in a JPEG, the share of its colour from which they count, and pixels of the ground around: on a
# scratched photograph of quality 90 this finds all of the paint, and 500 of 20 000 changed pixels stay
BLEED, BLED, AROUND = 5, 0.1, 33
EXACT = 0.9  # share of the pixels near a colour that have one value exactly, where no JPEG changed it
NEAR, TWO_TONED = 0.08, 0.75  # of the two tones of a soft mask; as many of its pixels must be so near
FLAT = 0.03  # of white: a range of values that is one colour


def read_mask(file: str, shape: tuple[int, int, int], *, invert: bool = False, colour: str | None = None) -> Tensor:
    """The mask in a picture file for pictures of this shape, of 0 and 1: known is what is bright, opaque or unpainted.

    (1, H, W), or (3, H, W) where its channels differ.  An alpha channel that varies is the mask (opaque = known), but
    paint of one bright colour on transparent ground is what is missing; so is such paint on black or white.
    Two values are two, whatever they are; more are thresholded half way, with a note, where nearly all of them lie near
    two tones.  colour: pixels of this paint are missing.  invert: known and missing are swapped.
    Raises ValueError for a photograph, for a mask without a known pixel, and for one that does not fit.
    """
    from ..files.pictures import read

    picture = read(file)
    pixels = picture.pixels  # (B, C, H, W)
    if len(pixels) != 1 or pixels.shape[-2:] != shape[-2:]:
        raise ValueError(
            f"the mask {file} has {len(pixels)} page(s) of {pixels.shape[-2]}×{pixels.shape[-1]} pixels (H × W); "
            f"the picture needs one of {shape[-2]}×{shape[-1]}."
        )
    inks = pixels[0] / max(1.0, float(pixels.max()))
    alpha = None if picture.alpha is None else picture.alpha[0]
    opaque = torch.ones_like(inks[:1]) if alpha is None else (alpha > 0.5).float()
    if colour is not None:
        painted = paint(inks, colour) * opaque
        if not bool(painted.any()):
            raise ValueError(f"the mask {file} has no pixel of the colour {colour}. Name the colour of its paint.")
        known = 1 - painted
    elif alpha is not None and not bool((opaque == opaque[:, :1, :1]).all()):
        known = _by_alpha(file, inks, opaque)
    else:
        known = _by_colour(file, inks) if len(inks) == 3 and _chroma(inks).max() > COLOURED else _by_tone(file, inks)
    if bool((known == known[:1]).all()):
        known = known[:1]
    known = 1 - known if invert else known
    if len(known) not in (1, shape[0]) and not (shape[0] == 1 and bool((known.sum(0) <= 1).all())):
        raise ValueError(f"the mask {file} has {len(known)} different channels; the picture has {shape[0]}.")
    if not bool(known.any()):
        raise ValueError(f"the mask {file} is all black, so every pixel is missing. Paint the known pixels white.")
    return known


def paint(x: Tensor, colour: str) -> Tensor:
    """1 where a picture (C, H, W) in [0, 1] was painted in this colour, with the soft rim of its strokes: (1, H, W).

    colour: a name of `COLOURS`, or #rrggbb.  A name stands for the most frequent value like it: of a
    brush. Where pixels near that value are not of it exactly, as after JPEG, they all count, and those around
    them that the paint has coloured.
    """
    key = torch.tensor(_rgb(colour), dtype=x.dtype, device=x.device).view(3, 1, 1)
    x = x.expand(3, -1, -1)
    like = _apart(x, key) < (ALIKE if colour.startswith("#") else LIKE)
    if not bool(like.any()):
        return like.to(x.dtype)
    values, counts = x[:, like[0]].unique(dim=1, return_counts=True)
    apart = _apart(x, values[:, counts.argmax()].view(3, 1, 1))
    exact = int(counts.max()) >= max(4, EXACT * int((apart < ALIKE).sum()))
    if not exact:
        return _bled(x, like | (apart < ALIKE), key).to(x.dtype)
    core = apart < 1e-3
    return (core | (_grown(core) & (apart < SOFT))).to(x.dtype)


def _bled(x: Tensor, core: Tensor, key: Tensor) -> Tensor:
    """The paint with the pixels beside it whose colour JPEG has drawn towards it: it halves the resolution of colours.

        ⟨x − b, key − b⟩/‖key − b‖² > BLED,   b the mean of what is around and far from the paint

    Near the paint what is drawn by more than a half is paint, too.
    """
    near = torch.nn.functional.max_pool2d(core.to(x)[None], 4 * BLEED + 1, 1, 2 * BLEED)
    around = _means(torch.cat([x[None] * (1 - near), 1 - near], 1))[0]
    ground = torch.where(around[3:] > 0.02, around[:3] / around[3:].clamp_min(0.02), x.mean((1, 2), keepdim=True))
    way = key - ground
    share = ((x - ground) * way).sum(0, keepdim=True) / way.square().sum(0, keepdim=True)
    core, drawn = core | ((near[0] > 0) & (share > 0.5)), share > BLED
    for _ in range(BLEED):
        core = core | (_grown(core) & drawn)
    return core


def _means(x: Tensor) -> Tensor:
    return torch.nn.functional.avg_pool2d(x, AROUND, 1, AROUND // 2, count_include_pad=False)


def is_colour(text: str) -> bool:
    return text.lower() in COLOURS or re.fullmatch(r"#[0-9a-fA-F]{6}", text) is not None


def check_known(y: Tensor, known: Tensor) -> None:
    """ValueError where the known pixels of y (B, C, H, W) are all one colour, and the missing ones are not.

        max − min of the known samples of each channel = 0,
        or < FLAT over their middle 98 % where fewer than half of the pixels are known

    A note where more than half is missing.
    """
    shown = known.expand(y.shape).bool()
    share = float(shown.float().mean())
    flat, hidden = [], []
    for channel in range(y.shape[1]):
        seen, rest = (y[:, channel][which[:, channel]] for which in (shown, ~shown))
        flat.append(_spread(seen, 0.0) == 0 or (share < 0.5 and _spread(seen, 0.01) < FLAT))
        hidden.append(len(rest) > 0 and _spread(rest, 0.01) > FLAT)
    if all(flat) and (any(hidden) or (share < 0.5 and bool((y[shown] == y[shown].flatten()[0]).all()))):
        raise ValueError(
            "The known pixels are all one colour. Is the mask inverted? Then pass --mask FILE,invert=true, or "
            "--op mask:file=FILE,invert=true."
        )
    if share < 0.5:
        warnings.warn(f"{1 - share:.0%} of the pixels are missing.", stacklevel=2)


def _by_alpha(file: str, inks: Tensor, opaque: Tensor) -> Tensor:
    """The alpha channel is the mask; paint of one bright colour is what is missing."""
    seen = inks[:, opaque[0] > 0]
    middle = seen.quantile(0.5, dim=1) if seen.shape[1] < 2**24 else seen.mean(1)
    one = float(((seen - middle[:, None]).abs().amax(0) < ALIKE).float().mean()) > 1 - PLANAR
    if one and float(middle.max() - middle.min()) > COLOURED:
        warnings.warn(f"{file}: the painted pixels are missing, the transparent ones are known.", stacklevel=3)
        return 1 - opaque
    warnings.warn(f"{file}: its alpha channel is the mask. Opaque pixels are known.", stacklevel=3)
    return opaque


def _by_colour(file: str, inks: Tensor) -> Tensor:
    """Paint of one bright colour on black or white is missing; colours of several channels are a mask for each."""
    coloured = _chroma(inks) > COLOURED  # (1, H, W)
    bright, rest = inks[:, coloured[0]], inks[:, ~coloured[0]]
    key = bright.mean(1, keepdim=True)
    one = float(((bright - key).abs().amax(0) < ALIKE).float().mean()) > 0.9
    plain = rest.shape[1] and float(((rest < ALIKE) | (rest > 1 - ALIKE)).all(0).float().mean()) > 1 - PLANAR
    if one and plain:
        warnings.warn(f"{file}: the painted pixels are missing, the black or white ones are known.", stacklevel=3)
        return 1 - (coloured | (_grown(coloured) & (_apart(inks, key.view(3, 1, 1)) < SOFT))).to(inks.dtype)
    ends = float(((inks < NEAR) | (inks > 1 - NEAR)).all(0).float().mean())
    if ends < 1 - PLANAR:
        raise ValueError(
            f"the mask {file} looks like a photograph. If it was painted on, name the colour: {file},colour=red. "
            "A mask is white where pixels are known and black where they are missing."
        )
    return (inks > 0.5).to(inks.dtype)


def _by_tone(file: str, inks: Tensor) -> Tensor:
    """Two values, or two tones: the brighter one is known."""
    grey = inks.mean(0, keepdim=True)
    low, high = float(grey.min()), float(grey.max())
    if low == high:
        return (grey > 0).to(grey.dtype)
    values = grey.unique()
    known = grey > (low + high) / 2
    if len(values) > 2:
        tones = (grey[known].median(), grey[~known].median())
        near = torch.minimum(*((grey - tone).abs() for tone in tones)) < NEAR * (high - low)
        if float(near.float().mean()) < TWO_TONED or float((tones[0] - tones[1]) / (high - low)) < 0.5:
            raise ValueError(
                f"the mask {file} looks like a photograph. A mask is white where pixels are known and black where they "
                "are missing; paint it, or pass a key colour: --mask red."
            )
        many = len(values)
        warnings.warn(f"{file}: the mask has {many} grey values. Those above the middle are known.", stacklevel=3)
    return known.to(grey.dtype)


def _rgb(colour: str) -> tuple[float, ...]:
    if not is_colour(colour):
        raise SpecError(f"{colour!r} is not a colour; expected #rrggbb or one of {', '.join(COLOURS)}.")
    if colour.startswith("#"):
        return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return COLOURS[colour.lower()]


def _chroma(x: Tensor) -> Tensor:
    return x.amax(0, keepdim=True) - x.amin(0, keepdim=True)


def _apart(x: Tensor, key: Tensor) -> Tensor:
    """The largest difference of a channel: (1, H, W)."""
    return (x - key).abs().amax(0, keepdim=True)


def _grown(core: Tensor) -> Tensor:
    """With the eight neighbours of each pixel."""
    return torch.nn.functional.max_pool2d(core.float()[None], 3, 1, 1)[0] > 0


def _spread(values: Tensor, tail: float) -> float:
    """From quantile `tail` to 1 − `tail`; 0 of nothing."""
    if not len(values):
        return 0.0
    ordered = values.flatten().sort().values
    k = int(tail * len(ordered))
    return float(ordered[-1 - k] - ordered[k])
