"""The cost of a request against the size of its range, as an SVG of our own. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from benchmarks.report import Result

_WIDTH, _HEIGHT, _MARGIN = 760, 420, 60
_COLOURS = ("#0a6", "#c40", "#a70", "#888", "#06c")


def _place(value: float, low: float, high: float, start: float, stop: float) -> float:
    """A value on a logarithmic axis."""
    return start + (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)) * (
        stop - start
    )


def render_plot(results: Sequence[Result]) -> str:
    """CPU microseconds per request, both axes logarithmic; a line for each server."""
    sized = sorted((r for r in results if r.range_bytes), key=lambda r: r.range_bytes)
    peers = list(dict.fromkeys(peer for result in sized for peer in result.peers))
    points = {
        peer: [
            (r.range_bytes, median(s.cpu_us_per_request for s in r.of(peer)))
            for r in sized
            if r.of(peer)
        ]
        for peer in peers
    }
    if not sized:
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"/>\n'
    costs = [cost for line in points.values() for _, cost in line]
    low_x, high_x = sized[0].range_bytes, max(sized[-1].range_bytes, 2 * sized[0].range_bytes)
    low_y, high_y = min(costs) / 1.5, max(costs) * 1.5

    def x(size: float) -> float:
        return _place(size, low_x, high_x, _MARGIN, _WIDTH - 150)

    def y(cost: float) -> float:
        return _place(cost, low_y, high_y, _HEIGHT - _MARGIN, 20)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN}" y="{_HEIGHT - 12}">bytes of the range</text>',
        '<text x="8" y="14">CPU us per request</text>',
    ]
    for result in sized:
        place = x(result.range_bytes)
        parts.append(
            f'<text x="{place:.0f}" y="{_HEIGHT - 34}" text-anchor="middle">'
            f"{_size(result.range_bytes)}</text>"
        )
    decade = 10.0 ** math.floor(math.log10(low_y))
    while decade < high_y:
        if decade > low_y:
            parts.append(
                f'<line x1="{_MARGIN}" x2="{_WIDTH - 150}" y1="{y(decade):.0f}" '
                f'y2="{y(decade):.0f}" stroke="#ddd"/>'
                f'<text x="{_MARGIN - 6}" y="{y(decade) + 4:.0f}" text-anchor="end">{decade:g}</text>'
            )
        decade *= 10
    for colour, (peer, line) in zip(_COLOURS, points.items(), strict=False):
        path = " ".join(f"{x(size):.1f},{y(cost):.1f}" for size, cost in line)
        end_x, end_y = x(line[-1][0]), y(line[-1][1])
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{end_x + 6:.0f}" y="{end_y + 4:.0f}" fill="{colour}">{peer}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count >> 10} KiB"
