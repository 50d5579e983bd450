"""Curves of a page as inline SVG: no script, no font and no colour of their own, so that they follow its theme."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 44  # margins
MOST = 400  # points of a line: more cannot be seen
COLOURS = 8  # that the style sheet has, `.c0` ...; from the ninth line on they are dashed


class Line(NamedTuple):
    """A curve with its name; points that are not finite are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Axis(NamedTuple):
    """What an axis is of; log: equal factors are equal lengths, and what is not above 0 is left out."""

    name: str
    log: bool = False


class _Scale(NamedTuple):
    """From values to pixels of the drawing."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        low, high, v = (math.log10(t) if self.log else t for t in (self.low, self.high, value))
        return self.start + (v - low) / (high - low) * (self.end - self.start)


def svg(lines: Sequence[Line], x: Axis, y: Axis, title: str) -> Markup:
    """Lines over two axes, with a legend below where there are several; '' where there is no point to draw.

    A line without points keeps its colour free, so that drawings of the same lines agree.  title: what the drawing is
    called where it is read aloud.
    """
    every = [Line(line.name, *_points(line, x.log, y.log)) for line in lines]
    styled = [(f"c{i % COLOURS}" + " dashed" * (i >= COLOURS), line) for i, line in enumerate(every) if line.x]
    drawn = [line for _, line in styled]
    if not drawn:
        return Markup("")
    across = _scale([v for line in drawn for v in line.x], x.log, LEFT, WIDTH - RIGHT)
    up = _scale([v for line in drawn for v in line.y], y.log, HEIGHT - BOTTOM, TOP)
    parts = [*_grid(across, up, x.name, y.name), *(_drawn(line, across, up, style) for style, line in styled)]
    picture = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )
    names = [Markup('<li class="{}">{}</li>').format(style, line.name) for style, line in styled]
    legend = Markup('<ul class="legend">{}</ul>').format(Markup("").join(names)) if len(drawn) > 1 else Markup("")
    return Markup('<figure class="curves">{}{}</figure>').format(picture, legend)


def _points(line: Line, log_x: bool, log_y: bool) -> tuple[list[float], list[float]]:
    """Those that can be drawn; of very many every second, third, ..., and the last."""
    kept = [
        (a, b)
        for a, b in zip(line.x, line.y, strict=True)
        if math.isfinite(a) and math.isfinite(b) and (a > 0 or not log_x) and (b > 0 or not log_y)
    ]
    step = -(-len(kept) // MOST) or 1
    kept = [*kept[:-1:step], *kept[-1:]]
    return [a for a, _ in kept], [b for _, b in kept]


def _scale(values: Sequence[float], log: bool, start: float, end: float) -> _Scale:
    """A little more than the values need."""
    low, high = min(values), max(values)
    if log:
        low, high = (low / 1.5, high * 1.5) if high <= 1.5 * low else (low, high)
        margin = (high / low) ** 0.04
        return _Scale(low / margin, high * margin, start, end, log)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        low, high = low - 0.5, high + 0.5
    margin = 0.04 * (high - low)
    return _Scale(low - margin, high + margin, start, end, log)


def _ticks(scale: _Scale) -> list[float]:
    """Three to ten round numbers within."""
    if scale.log:
        powers = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        for digits in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
            found = [d * 10.0**p for p in powers for d in digits if scale.low <= d * 10.0**p <= scale.high]
            if len(found) >= 3:
                return found[:: -(-len(found) // 9)]
    span = scale.high - scale.low
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(n * power for n in (1, 2, 5, 10) if span / (n * power) <= 6)
    return [n * step for n in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1)]


def _grid(across: _Scale, up: _Scale, x: str, y: str) -> Iterator[Markup]:
    line = Markup('<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    for tick in _ticks(across):
        yield line.format(across(tick), across(tick), TOP, HEIGHT - BOTTOM)
        yield text.format(across(tick), HEIGHT - BOTTOM + 16, "middle", number(tick))
    for tick in _ticks(up):
        yield line.format(LEFT, WIDTH - RIGHT, up(tick), up(tick))
        yield text.format(LEFT - 7, up(tick) + 4, "end", number(tick))
    yield text.format((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle", x)
    yield Markup('<text transform="translate(13 {:.1f}) rotate(-90)" text-anchor="middle">{}</text>').format(
        (TOP + HEIGHT - BOTTOM) / 2, y
    )


def _drawn(line: Line, across: _Scale, up: _Scale, style: str) -> Markup:
    places = [(across(a), up(b)) for a, b in zip(line.x, line.y, strict=True)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    said = Markup("<title>{}: {} at {}</title>")
    dots = [
        Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3">{}</circle>').format(
            *at, said.format(line.name, number(value), number(where))
        )
        for at, where, value in zip(places, line.x, line.y, strict=True)
    ]
    dots = dots if len(dots) <= 40 else dots[-1:]
    return Markup('<g class="{}"><polyline points="{}"/>{}</g>').format(style, path, Markup("").join(dots))


def number(value: float) -> str:
    """Short, without a power of ten where it is near 1."""
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}".replace("-", "−")
