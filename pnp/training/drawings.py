"""Plots and icons: hard edges, thin lines, saturated colours and flat grounds, as on screens and in slides."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]


def drawing(side: int, rng: np.random.Generator, fonts: list[Path]) -> Image.Image:
    """RGB side × side: a plot or a screen of icons, with edges of whole pixels or smoothed ones."""
    scale = int(rng.choice([1, 1, 2, 3]))  # 1: pixels are on or off, as many screens draw
    dark = rng.random() < 0.25
    ground = _shade(rng, dark)
    canvas = Image.new("RGB", (scale * side, scale * side), ground)
    (_plot if rng.random() < 0.5 else _icons)(canvas, scale, dark, rng, fonts)
    return canvas.reduce(scale) if scale > 1 else canvas


def vivid(rng: np.random.Generator) -> Colour:
    """A saturated colour, bright or not."""
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.5, 1) ** 0.5, rng.uniform(0.3, 1) ** 0.5)
    return _bytes(rgb)


def _shade(rng: np.random.Generator, dark: bool) -> Colour:
    """Of a ground: white or black in most pictures, else a pale or a deep colour."""
    if rng.random() < 0.6:
        return (0, 0, 0) if dark else (255, 255, 255)
    rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.4), rng.uniform(0, 0.3) if dark else rng.uniform(0.8, 1))
    return _bytes(rgb)


def _bytes(rgb: tuple[float, float, float]) -> Colour:
    r, g, b = (round(255 * v) for v in rgb)
    return r, g, b


def _plot(canvas: Image.Image, scale: int, dark: bool, rng: np.random.Generator, fonts: list[Path]) -> None:
    """Axes with ticks, perhaps a grid, and curves, bars or points."""
    draw, n = ImageDraw.Draw(canvas), canvas.width
    ink = (230, 230, 230) if dark else (0, 0, 0) if rng.random() < 0.6 else (70, 70, 70)
    left, right, top, bottom = (round(n * f) for f in (0.1, 0.95, 0.05, 0.88))
    step = round(n * rng.uniform(0.08, 0.2))
    font = _font(fonts, max(8, round(scale * rng.uniform(9, 14))), rng)
    for x in range(left, right, step):
        if rng.random() < 0.5:
            draw.line((x, top, x, bottom), fill=(128, 128, 128), width=max(1, scale // 2))
        draw.line((x, bottom, x, bottom + 4 * scale), fill=ink, width=scale)
        if font:
            draw.text((x, bottom + 5 * scale), f"{rng.integers(-99, 999)}", font=font, fill=ink)
    for y in range(top, bottom, step):
        draw.line((left - 4 * scale, y, left, y), fill=ink, width=scale)
    for _ in range(rng.integers(1, 6)):
        _series(draw, (left, right, top, bottom), scale, rng)
    draw.line((left, top, left, bottom, right, bottom), fill=ink, width=scale)


def _series(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], scale: int, rng: np.random.Generator) -> None:
    """One set of values: a curve, bars, or points."""
    left, right, top, bottom = box
    n = int(rng.integers(5, 60))
    walk = np.cumsum(rng.standard_normal(n)) if rng.random() < 0.7 else rng.random(n)
    heights = (walk - walk.min()) / max(float(np.ptp(walk)), 1e-6) * rng.uniform(0.3, 1)
    y = bottom - heights * (bottom - top)
    x = np.linspace(left, right, n)
    colour, kind, width = vivid(rng), rng.random(), scale * int(rng.integers(1, 4))
    if kind < 0.6:
        draw.line(np.stack([x, y], 1).ravel().tolist(), fill=colour, width=width)
    elif kind < 0.8:
        half = (right - left) / n * rng.uniform(0.2, 0.5)
        for a, b in zip(x, y, strict=True):
            draw.rectangle((a - half, b, a + half, bottom), fill=colour)
    else:
        r = scale * rng.uniform(1.5, 4)
        for a, b in zip(x, y, strict=True):
            draw.ellipse((a - r, b - r, a + r, b + r), fill=colour)


def _icons(canvas: Image.Image, scale: int, dark: bool, rng: np.random.Generator, fonts: list[Path]) -> None:
    """Rows of signs in frames, with letters where there is a font."""
    cell = round(canvas.width / rng.integers(3, 9))
    line = (230, 230, 230) if dark else (40, 40, 40)
    font = _font(fonts, max(8, cell // 3), rng)
    draw = ImageDraw.Draw(canvas)
    for top in range(0, canvas.width, cell):
        for left in range(0, canvas.width, cell):
            box = (left + 0.1 * cell, top + 0.1 * cell, left + 0.9 * cell, top + 0.9 * cell)
            edge = line if rng.random() < 0.4 else None
            if rng.random() < 0.7:
                draw.rounded_rectangle(box, cell * rng.uniform(0, 0.4), vivid(rng), edge, scale)
            _sign(draw, left, top, cell, scale, rng)
            if font and rng.random() < 0.4:
                draw.text((left + 0.2 * cell, top + 0.3 * cell), _letters(rng), font=font, fill=vivid(rng))


def _sign(draw: ImageDraw.ImageDraw, left: int, top: int, cell: int, scale: int, rng: np.random.Generator) -> None:
    """An ellipse, an arc, a star, or a stroke of several corners."""
    points = [(left + cell * a, top + cell * b) for a, b in rng.uniform(0.2, 0.8, (int(rng.integers(3, 7)), 2))]
    box = (left + 0.25 * cell, top + 0.25 * cell, left + 0.75 * cell, top + 0.75 * cell)
    width = scale * int(rng.integers(1, 5))
    kind = rng.integers(4)
    if kind == 0:
        draw.ellipse(box, fill=vivid(rng), outline=vivid(rng), width=width)
    elif kind == 1:
        start = rng.uniform(0, 360)
        draw.arc(box, start, start + rng.uniform(60, 300), fill=vivid(rng), width=width)
    elif kind == 2:
        draw.polygon(points, fill=vivid(rng))
    else:
        draw.line(points, fill=vivid(rng), width=width)


def _letters(rng: np.random.Generator) -> str:
    return "".join(chr(ord("A") + int(i)) for i in rng.integers(26, size=2))


def _font(fonts: list[Path], size: int, rng: np.random.Generator) -> ImageFont.FreeTypeFont | None:
    if not fonts:
        return None
    return ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), size, layout_engine=ImageFont.Layout.BASIC)
