"""Line charts as SVG, small, and the same to the last byte for the same numbers. By hand: three pictures are worth no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 640, 46, 360
LEGEND = RIGHT + 16
COLOURS = ("#57cc99", "#0b6e4f", "#b5179e", "#7b2cbf", "#c1121f", "#e07a5f", "#bc6c25", "#f4a261", "#1d3557", "#457b9d")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """What one direction shows; values outside are drawn at its ends."""

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Series:
    """A line with its name in the legend; `bars` are vertical spans (x, low, high) around its points."""

    name: str
    points: Sequence[Point]
    colour: str
    dashed: bool = False
    marked: bool = False
    bars: Sequence[tuple[float, float, float]] = field(default=())


def chart(title: str, across: Axis, up: Axis, series: Sequence[Series]) -> str:
    """The whole file."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 24, title, 'font-size="15"'),
        *_frame(across, up),
    ]
    for number, one in enumerate(series):
        parts += _line(one, across, up)
        y = TOP + 10 + 20 * number
        parts.append(f'<path d="M{LEGEND} {y}h22" {_stroke(one)}/>')
        parts.append(_text(LEGEND + 28, y + 4, one.name))
    return "\n".join([*parts, "</svg>", ""])


def _frame(across: Axis, up: Axis) -> list[str]:
    parts = []
    for tick in across.ticks:
        x = _x(across, tick)
        parts.append(f'<path d="M{x} {TOP}V{BOTTOM}" stroke="#e5e5e5"/>')
        parts.append(_text(x, BOTTOM + 18, f"{tick:g}", 'text-anchor="middle"'))
    for tick in up.ticks:
        y = _y(up, tick)
        parts.append(f'<path d="M{LEFT} {y}H{RIGHT}" stroke="#e5e5e5"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{tick:g}", 'text-anchor="end"'))
    middle = (TOP + BOTTOM) / 2
    return [
        *parts,
        f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" stroke="#333" fill="none"/>',
        _text((LEFT + RIGHT) / 2, BOTTOM + 42, across.label, 'text-anchor="middle"'),
        _text(20, middle, up.label, f'text-anchor="middle" transform="rotate(-90 20 {middle:g})"'),
    ]


def _line(one: Series, across: Axis, up: Axis) -> list[str]:
    places = [(_x(across, x), _y(up, y)) for x, y in one.points]
    parts = []
    if places:
        parts.append(f'<path d="M{"L".join(f"{x} {y}" for x, y in places)}" {_stroke(one)}/>')
    if one.marked:
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{one.colour}"/>' for x, y in places]
    for x, low, high in one.bars:
        parts.append(f'<path d="M{_x(across, x)} {_y(up, low)}V{_y(up, high)}" stroke="{one.colour}" stroke-opacity="0.5"/>')
    return parts


def _stroke(one: Series) -> str:
    dashes = ' stroke-dasharray="5 4"' if one.dashed else ""
    return f'stroke="{one.colour}" stroke-width="1.8" fill="none"{dashes}'


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.place(value) * (RIGHT - LEFT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(BOTTOM - axis.place(value) * (BOTTOM - TOP), 1)


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" {more}>{escape(words)}</text>'.replace(" >", ">")
