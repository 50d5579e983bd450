"""Dead leaves: pictures of shapes that cover each other, as objects do, with the colours of a photograph.

Lee, Mumford & Huang 2001; Achddou, Gousseau & Ladjal 2021 (textures, depth of field, reduction).
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SMALLEST = (2.5, 12.0)  # the least radius in a picture is between these, in pixels before it is reduced
TEXTURED = 10.0  # a leaf of a smaller radius has one colour
COVERED = 2.0  # the area of all leaves, as a multiple of the picture's
TILE = 256  # side of a texture, which is repeated

Colours = np.ndarray  # uint8 (n, C), drawn from a photograph


def leaves(side: int, colours: Colours, rng: np.random.Generator) -> np.ndarray:
    """uint8 (side, side, C): leaves of radii with density ∝ r^−a, a near 3, rendered twice as large and reduced.

    Some have a texture; leaves behind are out of focus in most pictures, leaves in front in some.
    """
    canvas = Image.new("RGB" if colours.shape[1] == 3 else "L", (2 * side, 2 * side), _colour(colours, rng))
    fields = [texture(rng) for _ in range(4)]
    radii = _radii(2 * side, rng)
    behind = int(len(radii) * rng.uniform(0.3, 0.8))
    _cover(canvas, radii[:behind], fields, colours, rng)
    if rng.random() < 0.6:
        canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(1, 8)))
    _cover(canvas, radii[behind:], fields, colours, rng)
    if rng.random() < 0.2:
        canvas = _in_front(canvas, fields, colours, rng)
    return np.asarray(canvas.reduce(2)).reshape(side, side, -1)


def texture(rng: np.random.Generator) -> np.ndarray:
    """float32 (TILE, TILE) in [0, 1]: noise of a spectrum 1/f^a, or stripes that it bends; some of two values."""
    f = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)) + 1 / TILE
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) / f ** rng.uniform(0.3, 2.0)
    noise = np.fft.irfft2(spectrum, (TILE, TILE))
    field = (noise - noise.mean()) / noise.std()
    if rng.random() < 0.4:
        angle, period = rng.uniform(0, np.pi), 4 * 10 ** rng.random()
        i, j = np.mgrid[:TILE, :TILE]
        way = np.cos(angle) * i + np.sin(angle) * j
        field = 1.5 * np.sin(2 * np.pi * way / period + rng.uniform(0, 1.5) * field)
    if rng.random() < 0.25:
        field = np.sign(field)
    return np.clip(0.5 + field / 4, 0, 1).astype(np.float32)


def _radii(side: int, rng: np.random.Generator) -> np.ndarray:
    """As many as cover the picture COVERED times on average, in random order."""
    a, least = rng.uniform(2.6, 3.4), SMALLEST[0] * (SMALLEST[1] / SMALLEST[0]) ** rng.random()
    low, high = least ** (1 - a), (side / 2) ** (1 - a)
    u = rng.random(6000)
    radii = (low + u * (high - low)) ** (1 / (1 - a))
    enough = np.searchsorted(np.cumsum(np.pi * radii**2), COVERED * side**2)
    return radii[: enough + 1]


def _cover(
    canvas: Image.Image, radii: np.ndarray, fields: list[np.ndarray], colours: Colours, rng: np.random.Generator
) -> None:
    """Paint leaves on the canvas, each over those before."""
    draw = ImageDraw.Draw(canvas)
    for radius in radii:
        centre = rng.uniform(-radius, canvas.width + radius, 2)
        corners = _outline(radius, rng)
        if radius > TEXTURED and rng.random() < 0.6:
            _textured(canvas, corners + centre, fields[rng.integers(len(fields))], colours, rng)
        else:
            draw.polygon((corners + centre).ravel().tolist(), fill=_colour(colours, rng))


def _outline(radius: float, rng: np.random.Generator) -> np.ndarray:
    """(n, 2): a disk or an ellipse, a polygon, or a long bar, turned."""
    kind, turn = rng.random(), rng.uniform(0, 2 * np.pi)
    if kind < 0.5:
        n, ratio = max(8, min(64, int(2 * radius))), 1.0 if kind < 0.25 else rng.uniform(0.3, 1)
        angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
        points = radius * np.stack([np.cos(angles), ratio * np.sin(angles)], 1)
    elif kind < 0.85:
        angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        points = radius * rng.uniform(0.5, 1, (len(angles), 1)) * np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        half = radius * np.array([1, rng.uniform(0.05, 0.4)])
        points = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    c, s = math.cos(turn), math.sin(turn)
    return points @ np.array([[c, s], [-s, c]])


def _textured(
    canvas: Image.Image, corners: np.ndarray, field: np.ndarray, colours: Colours, rng: np.random.Generator
) -> None:
    """One leaf of two colours, mixed by a field."""
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + 1, canvas.size).astype(int)
    if (high <= low).any():
        return
    w, h = high - low
    mask = Image.new("L", (w, h), 0)
    ImageDraw.Draw(mask).polygon((corners - low).ravel().tolist(), fill=255)
    shift = rng.integers(0, TILE, 2)
    t = field[(shift[0] + np.arange(h))[:, None] % TILE, (shift[1] + np.arange(w)) % TILE, None]
    a, b = (colours[rng.integers(len(colours))].astype(np.float32) for _ in range(2))
    mixed = (a + (b - a) * t + 0.5).astype(np.uint8)
    canvas.paste(Image.fromarray(mixed.squeeze(2) if mixed.shape[2] == 1 else mixed), tuple(low.tolist()), mask)


def _in_front(canvas: Image.Image, fields: list[np.ndarray], colours: Colours, rng: np.random.Generator) -> Image.Image:
    """A few large leaves before all others, out of focus, their edges too."""
    front, mask, blur = canvas.copy(), Image.new("L", canvas.size, 0), ImageFilter.GaussianBlur(rng.uniform(4, 12))
    for _ in range(rng.integers(1, 4)):
        corners = _outline(canvas.width * rng.uniform(0.05, 0.2), rng) + rng.uniform(0, canvas.width, 2)
        _textured(front, corners, fields[0], colours, rng)
        ImageDraw.Draw(mask).polygon(corners.ravel().tolist(), fill=255)
    return Image.composite(front.filter(blur), canvas, mask.filter(blur))


def _colour(colours: Colours, rng: np.random.Generator) -> int | tuple[int, ...]:
    colour = tuple(colours[rng.integers(len(colours))].tolist())
    return colour[0] if len(colour) == 1 else colour
