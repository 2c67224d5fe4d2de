"""Plots as inline SVG: pure text from numbers, nothing asked from outside, every text escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 640, 200
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 12, 24


class Line(NamedTuple):
    """One line of a plot; `None` is a gap. `color` is a class of the page's style."""

    name: str
    values: Sequence[float | None]
    color: str


def plot(title: str, marks: Sequence[str], lines: Sequence[Line], unit: str = "") -> str:
    """Lines over common marks of the horizontal axis, with a scale and a legend."""
    values = [value for line in lines for value in line.values if value is not None]
    if not values:
        nothing = '<p class="none">nothing yet</p>'
        return f"<figure><figcaption>{escape(title)}</figcaption>{nothing}</figure>"
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    body = [_grid(low, high, unit), _axis(marks)]
    body += [_path(line, low, high) for line in lines]
    legend = "".join(
        f'<span class="{escape(line.color)}">&#9644; {escape(line.name)}</span> ' for line in lines
    )
    return (
        f"<figure><figcaption>{escape(title)} <small>{legend}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(body)}</svg></figure>"
    )


def bars(title: str, parts: Sequence[tuple[str, float]], unit: str = "") -> str:
    """One bar for each part, the longest as wide as the plot; negative ones count as none."""
    widest = max((value for _, value in parts), default=0.0)
    rows = []
    for at, (name, value) in enumerate(parts):
        width = 300 * max(0.0, value) / widest if widest > 0 else 0
        y = 8 + at * 26
        rows.append(
            f'<text x="0" y="{y + 14}">{escape(name[:28])}</text>'
            f'<rect class="one" x="200" y="{y}" width="{width:.1f}" height="18"/>'
            f'<text x="{206 + width:.1f}" y="{y + 14}">{value:,.2f}{escape(unit)}</text>'
        )
    height = 16 + 26 * len(parts)
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(rows)}</svg></figure>"
    )


def _y(value: float, low: float, high: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - (value - low) / (high - low))


def _x(at: int, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (at / max(1, count - 1))


def _grid(low: float, high: float, unit: str) -> str:
    rows = []
    for part in (0.0, 0.5, 1.0):
        value = low + part * (high - low)
        y = _y(value, low, high)
        rows.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_label(value)}{escape(unit)}'
            "</text>"
        )
    return "".join(rows)


def _axis(marks: Sequence[str]) -> str:
    if not marks:
        return ""
    first, last = escape(marks[0]), escape(marks[-1])
    y = HEIGHT - 6
    return (
        f'<text x="{LEFT}" y="{y}">{first}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{y}" text-anchor="end">{last}</text>'
    )


def _path(line: Line, low: float, high: float) -> str:
    """Dots where a value has no neighbour, strokes elsewhere."""
    strokes: list[list[str]] = [[]]
    for at, value in enumerate(line.values):
        if value is None:
            strokes.append([])
        else:
            point = f"{_x(at, len(line.values)):.1f},{_y(value, low, high):.1f}"
            strokes[-1].append(point)
    drawn = []
    for points in strokes:
        if len(points) == 1:
            x, y = points[0].split(",")
            drawn.append(f'<circle class="{escape(line.color)}" cx="{x}" cy="{y}" r="3"/>')
        elif points:
            drawn.append(f'<polyline class="{escape(line.color)}" points="{" ".join(points)}"/>')
    return "".join(drawn)


def _label(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
