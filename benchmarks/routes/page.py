"""ROUTES.md, from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.results import OURS, Bar, Figure, Results, judge, spread

ALONE = "ExaBGP alone"
LIVE, INSIDE = "live", "inside"

FIGURES: Mapping[tuple[str, str], Figure] = {
    (LIVE, "load_s"): Figure("all routes, from the router's first to the report's last, s", ",.1f"),
    (LIVE, "exabgp_cpu_s"): Figure("CPU of ExaBGP for that, s", ",.1f"),
    (LIVE, "control_cpu_s"): Figure("CPU of the control process for that, s", ",.1f"),
    (LIVE, "status_p50_ms"): Figure("another request meanwhile, p50 ms", ",.1f"),
    (LIVE, "status_p99_ms"): Figure("another request meanwhile, p99 ms", ",.1f"),
    (LIVE, "status_max_ms"): Figure("another request meanwhile, the longest, ms", ",.0f"),
    (LIVE, "memory_mb"): Figure("memory of the control process, MB", ",.0f"),
    (LIVE, "peak_mb"): Figure("the most that it had, reports included, MB", ",.0f"),
    (LIVE, "report_s"): Figure("whole report fetched, s", ",.1f"),
    (LIVE, "report_mb"): Figure("its size, MB", ",.1f"),
    (LIVE, "report_max_ms"): Figure("another request meanwhile, the longest, ms", ",.0f"),
    (LIVE, "gzip_s"): Figure("whole report fetched, gzip, s", ",.1f"),
    (LIVE, "gzip_mb"): Figure("its size, MB", ",.1f"),
    (LIVE, "gzip_max_ms"): Figure("another request meanwhile, the longest, ms", ",.0f"),
    (LIVE, "changes_ms"): Figure("1,000 changes, from the router to the consumer, ms", ",.0f"),
    (LIVE, "withdrawal_s"): Figure("withdrawal of all by the router, s", ",.1f"),
    (LIVE, "withdrawal_max_ms"): Figure("another request meanwhile, the longest, ms", ",.0f"),
    (INSIDE, "apply_cpu_s"): Figure("CPU of decoding and applying all routes, s", ",.1f"),
    (INSIDE, "lookups_per_s"): Figure("longest matches a second", ",.0f"),
    (INSIDE, "identity_held_ms"): Figure("event loop held by a report, ms", ",.0f"),
    (INSIDE, "gzip_held_ms"): Figure("event loop held by a report, gzip, ms", ",.0f"),
    (INSIDE, "told_ms"): Figure("1,000 changes, from arrival to the consumer, ms", ",.0f"),
    (INSIDE, "closed_s"): Figure("a session closed, its routes gone, s", ",.1f"),
    (INSIDE, "closed_held_ms"): Figure("event loop held by that, ms", ",.0f"),
}

BARS = (
    Bar(LIVE, "load_s", "≤", 1.10, ALONE),
    Bar(LIVE, "memory_mb", "≤", 450, None),
    Bar(LIVE, "report_s", "≤", 10, None),
    Bar(LIVE, "status_p99_ms", "≤", 50, None),
    Bar(INSIDE, "lookups_per_s", "≥", 250_000, None),
    Bar(INSIDE, "identity_held_ms", "≤", 50, None),
    Bar(INSIDE, "gzip_held_ms", "≤", 50, None),
    Bar(INSIDE, "told_ms", "≤", 100, None),
)
"""Of a million routes; memory is to hold with fewer too."""

_ABOUT = {
    LIVE: "The whole appliance, seen from outside, beside the same ExaBGP with a child that reads "
    "its lines and does nothing. A router of ours sends both the same bytes. Times of the "
    "appliance end when its API tells all; another request is `/v1/status`, asked each 5 ms, and "
    "those are counted too who would have asked during a stall. Medians; in brackets the least "
    "and the most.",
    INSIDE: "The control process's application in one process with this program: what cannot be "
    "seen from outside.",
}


class Run(NamedTuple):
    """What the page says beside the figures."""

    command: str
    length: str
    routes: str
    machine: Mapping[str, str]


def render(run: Run, results: Results) -> str:
    """The whole page."""
    lines = [
        "# A million routes", "",
        f"Written by `{run.command}`: {run.length}, all in one run. {run.routes}.", "",
        "## The bars", "", *_bar_lines(results), "",
        "## Figures", "", *(line for part in _ABOUT for line in _part_lines(part, results)),
        *(f"* Failed: {error}." for error in results.errors()),
        *([""] if results.errors() else []),
        "## Machine", "", *_table(("", ""), run.machine.items()), "",
    ]  # fmt: skip
    return "\n".join(lines)


def summary(results: Results) -> str:
    """In a line: how many bars are reached."""
    reached = sum(judge(bar, results).outcome == "reached" for bar in BARS)
    return f"{reached} of {len(BARS)} bars reached"


def _bar_lines(results: Results) -> Iterator[str]:
    rows = []
    for bar in BARS:
        figure, verdict = FIGURES[bar.scenario, bar.figure], judge(bar, results)
        title, form = figure.title, figure.form
        if bar.against is not None:
            title, form = f"{title} ÷ {bar.against}", ".2f"
        limit = f"{bar.limit:{form if bar.against else ',.0f'}}"
        value = "-" if verdict.value is None else f"{verdict.value:{form}}"
        rows.append((title, f"{bar.relation} {limit}", value, verdict.outcome))
    return _table(("figure", "bar", "measured", ""), rows)


def _part_lines(part: str, results: Results) -> Iterator[str]:
    yield from (_ABOUT[part], "")
    peers = results.peers(part)
    rows = [
        (figure.title, *(_show(results.values(part, peer, name), figure) for peer in peers))
        for (of, name), figure in FIGURES.items()
        if of == part
    ]
    yield from (*_table(("", *(f"**{p}**" if p == OURS else p for p in peers)), rows), "")


def _show(values: Sequence[float], figure: Figure) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return figure.show(values[0])
    least, most = spread(values)
    return f"{figure.show(median(values))} [{figure.show(least)} to {figure.show(most)}]"


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|---" * len(heading) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
