"""Pages of text, rendered from fonts: words, lines, margins, rules, paper and ink of many shades."""

from __future__ import annotations

import string
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SCRIPTS = {
    "latin": "eeeeeeetttttaaaaaoooooiiiiinnnnnsssshhhhrrrrddlllcccuuummmwwffggyyppbbvkjxqz",
    "greek": "ααααεεεειιιιοοοττττσσσνννηηυυρρπππκκλλμμςςωωγγδδθθχχφβξζψ",
    "cyrillic": "ооооооеееееааааииииннннттттссссррррвввлллкккммммдддпппуууяяыыььггззббччййххжжшшююццщщээфф",
}
ENDS = (*[" "] * 20, *[", "] * 3, *[". "] * 3, "; ", ": ", " – ", "? ", "! ")
SIZES = (13.0, 44.0)  # of a font, in pixels
FONTS = 64  # that are kept in memory


class Printer:
    """Prints pages with the fonts of these files, each in the scripts that it has.

    Raises ValueError where no file is a font that has one of the scripts.
    """

    def __init__(self, files: list[Path]) -> None:
        self.fonts = [(file, found) for file in files if (found := scripts(file))]
        if not self.fonts:
            raise ValueError(f"none of {len(files)} files is a font with {', '.join(SCRIPTS)} letters.")

    def page(self, side: int, rng: np.random.Generator) -> Tensor:
        """float32 (1, side, side) in [0, 1]: a part of a page of words that mean nothing."""
        file, known = self.fonts[rng.integers(len(self.fonts))]
        script = known[0] if "latin" in known and rng.random() < 0.6 else known[rng.integers(len(known))]
        size = int(SIZES[0] * (SIZES[1] / SIZES[0]) ** rng.random())
        font = _font(file, size)
        canvas = Image.new("L", (side, side), 0)
        draw = ImageDraw.Draw(canvas)
        step = max(size * rng.uniform(1.0, 1.8), 4)
        y, left = -rng.uniform(0, step), rng.uniform(-2 * size, 2 * size)
        while y < side:
            if rng.random() < 0.92:  # else an empty line
                draw.text((left, y), _line(script, rng, 2 * side // size + 8), font=font, fill=255)
            y += step
        if rng.random() < 0.15:
            _rules(draw, side, rng)
        if rng.random() < 0.5:
            canvas = canvas.rotate(rng.normal(0, 1.5), Image.Resampling.BICUBIC)
        return _printed(canvas, rng)


def typeset(words: list[str], file: Path, size: int, page: tuple[int, int]) -> tuple[Tensor, list[str]]:
    """Black on white, float32 (1, height, width), and the lines that fit on the page, as they were printed."""
    font, (height, width) = _font(file, size), page
    canvas = Image.new("L", (width, height), 255)
    draw, rest, lines = ImageDraw.Draw(canvas), list(words), []
    for y in range(size, height - 2 * size, round(1.5 * size)):
        line = ""
        while rest and font.getlength(f"{line} {rest[0]}") < width - 2 * size:
            line = f"{line} {rest.pop(0)}".strip()
        if line:
            draw.text((size, y), line, font=font, fill=0)
            lines.append(line)
    return torch.from_numpy(np.array(canvas))[None].float() / 255, lines


def installed(most: int = 64) -> list[Path]:
    """Fonts of this machine, at most so many of them, spread over all in the order of names."""
    from matplotlib.font_manager import findSystemFonts

    found = sorted(Path(p) for p in findSystemFonts() if p.endswith((".ttf", ".otf")))
    return found[:: -(-len(found) // most)] if found else []


def scripts(file: Path) -> list[str]:
    """Which scripts a font has; none of a file that is not a font."""
    try:
        font = _font(file, 20)
        absent = bytes(font.getmask("\U0010ffff"))
        return [name for name, letters in SCRIPTS.items()
                if all(_drawn(font, letter, absent) for letter in {letters[0], letters[-1]})]  # fmt: skip
    except (OSError, ValueError):
        return []


def _drawn(font: ImageFont.FreeTypeFont, letter: str, absent: bytes) -> bool:
    mask = bytes(font.getmask(letter))
    return any(mask) and mask != absent


@lru_cache(FONTS)
def _font(file: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(file), size, layout_engine=ImageFont.Layout.BASIC)


def _line(script: str, rng: np.random.Generator, letters: int) -> str:
    """Words of drawn letters, by how often a language has them, some with capitals, some numbers."""
    alphabet = SCRIPTS[script]
    text = ""
    while len(text) < letters:
        n = int(np.clip(rng.poisson(4.5), 1, 12))
        if rng.random() < 0.08:
            word = "".join(rng.choice(list(string.digits + ".-%/")) for _ in range(n))
        else:
            word = "".join(alphabet[i] for i in rng.integers(len(alphabet), size=n))
            case = rng.random()
            word = word.upper() if case < 0.08 else word.capitalize() if case < 0.25 else word
        text += word + ENDS[rng.integers(len(ENDS))]
    return text


def _rules(draw: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Lines of a table, and a box."""
    for _ in range(rng.integers(1, 5)):
        at, width = int(rng.integers(side)), int(rng.integers(1, 4))
        ends = (0, at, side, at) if rng.random() < 0.5 else (at, 0, at, side)
        draw.line(ends, fill=255, width=width)
    if rng.random() < 0.3:
        x, y, w, h = rng.integers(0, side, 4)
        draw.rectangle((x, y, x + w // 3 + 4, y + h // 3 + 4), fill=int(rng.integers(64, 256)))


def _printed(canvas: Image.Image, rng: np.random.Generator) -> Tensor:
    """Ink on paper, sometimes light on dark, lit evenly or not."""
    ink = torch.from_numpy(np.asarray(canvas, np.float32) / 255)[None]
    paper = 1 - 0.3 * rng.random() ** 2
    dark = min(0.45 * rng.random() ** 2, paper - 0.3)
    page = paper + (dark - paper) * ink
    if rng.random() < 0.1:
        page = 1 - page
    if rng.random() < 0.3:  # a lamp at one side
        n = page.shape[-1]
        slope = rng.uniform(-0.3, 0.3, 2)
        t = torch.linspace(-0.5, 0.5, n)
        page = page * (0.85 + slope[0] * t[:, None] + slope[1] * t).clamp(max=1)
    return page.float().clamp(0, 1)
