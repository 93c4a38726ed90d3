"""Lines over time, as SVG that a page holds inline. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 860, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 700, 28, 190
_COLOURS = ("#0b7a4b", "#c8400f", "#1f5fbf", "#b8860b", "#7a3fb0", "#777777")
_STEPS = 4

Dots = Sequence[tuple[float, float]]


class Mark(NamedTuple):
    """A time that has a name."""

    at: float
    name: str


def draw(title: str, lines: Mapping[str, Dots], marks: Sequence[Mark] = (), unit: str = "") -> str:
    """One plot; each line has a name. Times are of one clock, in seconds. marks: upright lines."""
    drawn = {name: dots for name, dots in lines.items() if dots}
    if not drawn:
        return ""
    first = min(dots[0][0] for dots in drawn.values())
    last = max(max(dots[-1][0] for dots in drawn.values()), first + 1)
    most = max(max(value for _, value in dots) for dots in drawn.values()) or 1.0

    def across(at: float) -> float:
        return _LEFT + (at - first) / (last - first) * (_RIGHT - _LEFT)

    def up(value: float) -> float:
        return _BOTTOM - value / most * (_BOTTOM - _TOP)

    parts = [f'<text x="{_LEFT}" y="16">{escape(title)}</text>']
    for step in range(_STEPS + 1):
        value, y = most * step / _STEPS, up(most * step / _STEPS)
        parts.append(f'<line x1="{_LEFT}" x2="{_RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        shown = f"{value:,.4g} {unit}"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    for mark in marks:
        if first <= mark.at <= last:
            x = across(mark.at)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_BOTTOM}" stroke="#999"'
                f' stroke-dasharray="3"/><text x="{x + 3:.1f}" y="{_BOTTOM + 16}"'
                f' font-size="10">{escape(mark.name)}</text>'
            )
    for place, (name, dots) in enumerate(drawn.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        path = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in dots)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
        y = _TOP + 12 + 15 * place
        parts.append(f'<text x="{_RIGHT + 10}" y="{y}" fill="{colour}">{escape(name)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}"'
        f' width="{_WIDTH}" font-family="sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def worst_by_second(dots: Dots) -> Dots:
    """The highest of each second."""
    found: dict[int, float] = {}
    for at, value in dots:
        found[int(at)] = max(found.get(int(at), 0.0), value)
    return sorted((float(at), value) for at, value in found.items())
