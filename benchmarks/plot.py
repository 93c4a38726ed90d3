"""The cost of a request against the size of its range, as SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 620, 40, 384
_COLOURS = ("#0b7a4b", "#c8400f", "#b8860b", "#777777", "#1f5fbf")
_LABEL_STEP = 14  # between the names of lines that end at the same place


class Point(NamedTuple):
    """A median: CPU microseconds for a request of so many bytes."""

    range_bytes: int
    cost_us: float


class _Axis(NamedTuple):
    """A logarithmic axis: values from `low` to `high`, drawn from `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float

    def place(self, value: float) -> float:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.stop - self.start)


def show_bytes(count: int) -> str:
    """1 KiB, 8 MiB."""
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"


def render_plot(lines: Mapping[str, Sequence[Point]]) -> str:
    """A line for each server, both axes logarithmic; servers without points are left out."""
    drawn = {name: sorted(points) for name, points in lines.items() if points}
    if not drawn:
        return _document(['<text x="64" y="60">no hot scenario was played</text>'])
    points = [point for line in drawn.values() for point in line]
    sizes = sorted({point.range_bytes for point in points})
    costs = [max(point.cost_us, 0.1) for point in points]
    across = _Axis(sizes[0], max(sizes[-1], sizes[0] * 2), _LEFT, _RIGHT)
    up = _Axis(min(costs) / 1.5, max(costs) * 1.5, _BOTTOM, _TOP)
    parts = [
        f'<text x="{_LEFT}" y="22">CPU µs per request, by the size of its range</text>',
        *_grid(up),
        *(
            f'<text x="{across.place(size):.0f}" y="{_BOTTOM + 22}" text-anchor="middle">'
            f"{show_bytes(size)}</text>"
            for size in sizes
        ),
    ]
    for colour, (name, line) in zip(_COLOURS, drawn.items(), strict=False):
        parts.append(_polyline(colour, name, line, across, up))
    parts += _names(drawn, up)
    return _document(parts)


def _grid(up: _Axis) -> list[str]:
    first, last = math.ceil(math.log10(up.low)), math.floor(math.log10(up.high))
    parts = []
    for value in (10.0**power for power in range(first, last + 1)):
        y = up.place(value)
        parts += [
            f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>',
        ]
    return parts


def _polyline(colour: str, name: str, line: Sequence[Point], across: _Axis, up: _Axis) -> str:
    path = " ".join(
        f"{across.place(point.range_bytes):.1f},{up.place(max(point.cost_us, 0.1)):.1f}"
        for point in line
    )
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2">'
        f"<title>{name}</title></polyline>"
    )


def _names(drawn: Mapping[str, Sequence[Point]], up: _Axis) -> list[str]:
    """The names at the ends of the lines, moved apart where they would cover each other."""
    ends = [
        (up.place(max(line[-1].cost_us, 0.1)), colour, name)
        for colour, (name, line) in zip(_COLOURS, drawn.items(), strict=False)
    ]
    parts, lowest = [], 0.0
    for y, colour, name in sorted(ends):
        lowest = max(y, lowest + _LABEL_STEP)
        parts.append(f'<text x="{_RIGHT + 10}" y="{lowest + 4:.1f}" fill="{colour}">{name}</text>')
    return parts


def _document(parts: Sequence[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
            f' width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            "</svg>\n",
        ]
    )
