"""RESULTS.md, from what was measured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.plot import Point
from benchmarks.results import FIGURES, OURS, Bar, Results, Verdict, judge, spread
from benchmarks.scenarios import GROUPS, PLOTTED, SCENARIOS, Scenario

_BESIDE = "nginx"
_COST = "cpu_us_per_request"
_RATIO_FIGURES = (
    "cpu_us_per_request", "requests_per_s", "cpu_us_per_handshake", "handshakes_per_s",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Everything the page says beside the figures."""

    command: str
    length: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    commands: Mapping[str, str]
    notes: Sequence[str] = field(default_factory=tuple)


def render(run: Run, results: Results, bars: Iterable[Bar]) -> str:
    """The whole page."""
    lines = [
        "# Results", "",
        f"Written by `{run.command}`: {run.length}, all in one run. How it is measured and what the"
        " figures mean: [README.md](README.md). A million routes: [ROUTES.md](ROUTES.md).", "",
        "## The bars", "", *_bar_lines(results, bars), "",
        "![CPU cost against the size of the range](cost.svg)", "",
        *(line for group in GROUPS for line in _group_lines(group, results)),
        "## Notes and failures", "", *_note_lines(run, results), "",
        "## Machine and versions", "", *_table(("", ""), {**run.machine, **run.versions}.items()),
        "",
        "## Commands", "", *(f"* {name}: `{command}`" for name, command in run.commands.items()),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def lines_of_plot(results: Results) -> dict[str, list[Point]]:
    """For each server its medians, where it was measured."""
    lines: dict[str, list[Point]] = {}
    for name, size in PLOTTED.items():
        for peer in results.peers(name):
            cost = results.median(name, peer, _COST)
            if cost is not None:
                lines.setdefault(peer, []).append(Point(size, cost))
    return lines


def summary(results: Results, bars: Iterable[Bar]) -> str:
    """In a line: how many bars are reached."""
    outcomes = [judge(bar, results).outcome for bar in bars]
    reached = outcomes.count("reached")
    measured = sum(outcome != "not measured" for outcome in outcomes)
    return f"{reached} of {measured} bars reached"


# -- bars --------------------------------------------------------------------------------------


def _bar_lines(results: Results, bars: Iterable[Bar]) -> Iterator[str]:
    yield "Medians of the ratios within a round, ours ÷ theirs; in brackets the least and the most."
    yield ""
    rows = [_bar_row(judge(bar, results)) for bar in bars]
    yield from _table(("scenario", "figure", "beside", "bar", "measured", ""), rows)


def _bar_row(verdict: Verdict) -> tuple[str, ...]:
    bar = verdict.bar
    return (
        SCENARIOS[bar.scenario].title,
        FIGURES[bar.figure].title,
        bar.against or "(absolute)",
        f"{bar.relation} {bar.limit:.2f}",
        "-" if verdict.value is None else _with_spread(verdict.value, verdict.spread),
        verdict.outcome,
    )


def _with_spread(value: float, ends: tuple[float, float] | None) -> str:
    return f"{value:.2f}" if ends is None else f"{value:.2f} [{ends[0]:.2f} to {ends[1]:.2f}]"


# -- figures -----------------------------------------------------------------------------------


def _group_lines(group: str, results: Results) -> Iterator[str]:
    mine = [scenario for scenario in SCENARIOS.values() if scenario.group == group]
    played = [scenario for scenario in mine if results.of(scenario.name)]
    skipped = [scenario for scenario in mine if scenario.name in results.skipped]
    if not played and not skipped:
        return
    yield from (f"## {GROUPS[group].title}", "", GROUPS[group].about, "")
    for scenario in skipped:
        yield from (f"{scenario.title}: not measured: {results.skipped[scenario.name]}.", "")
    if played:
        yield from _figure_table(played, results)
        yield ""


def _figure_table(played: Sequence[Scenario], results: Results) -> Iterator[str]:
    figures = played[0].load.traits.figures
    compared = [figure for figure in _RATIO_FIGURES if figure in figures]
    heading = (
        "scenario", "server", *(FIGURES[figure].title for figure in figures),
        *(f"{FIGURES[figure].title} ÷ {_BESIDE}'s" for figure in compared),
    )  # fmt: skip
    rows = [
        (
            scenario.title,
            f"**{peer}**" if peer == OURS else peer,
            *(
                FIGURES[figure].show(results.median(scenario.name, peer, figure))
                for figure in figures
            ),
            *(_ratio(scenario.name, peer, figure, results) for figure in compared),
        )
        for scenario in played
        for peer in results.peers(scenario.name)
    ]
    yield from _table(heading, rows)


def _ratio(scenario: str, peer: str, figure: str, results: Results) -> str:
    ratios = results.ratios(scenario, figure, _BESIDE, of=peer)
    if peer == _BESIDE or not ratios:
        return "-"
    return _with_spread(median(ratios), spread(ratios))


# -- the rest ----------------------------------------------------------------------------------


def _note_lines(run: Run, results: Results) -> Iterator[str]:
    yield from (f"* {note}." for note in run.notes)
    errors = results.errors()
    yield from (f"* Failed: {error}." for error in errors)
    if not errors:
        yield "* No sample failed."


def _table(heading: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield "|---" * len(heading) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '/') for cell in row)} |"
