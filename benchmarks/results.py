"""What was measured, and the arithmetic on it: medians, paired ratios, bars. Pure.

A machine's speed drifts by tens of per cent in minutes, and two neighbours in a round share the
drift. So servers are compared by the ratio of neighbours, round by round, and by the median of
these ratios; a ratio of two medians would mix moments that have nothing to do with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

OURS = "ocaserve"


@dataclass(frozen=True)
class Figure:
    """A quantity: how a table calls it, and the format of its values."""

    title: str
    form: str

    def show(self, value: float | None) -> str:
        """The value as text; a dash for one that was not measured."""
        return "-" if value is None else format(value, self.form)


FIGURES: Mapping[str, Figure] = {
    "cpu_us_per_request": Figure("CPU µs/request", ",.1f"),
    "cpu_s_per_gb": Figure("CPU s/GB", ",.3f"),
    "requests_per_s": Figure("requests/s", ",.0f"),
    "cpu_us_per_handshake": Figure("CPU µs/handshake", ",.0f"),
    "handshakes_per_s": Figure("handshakes/s", ",.0f"),
    "gb_per_s": Figure("GB/s", ",.2f"),
    "p50_ms": Figure("p50 ms", ",.2f"),
    "p99_ms": Figure("p99 ms", ",.2f"),
    "max_ms": Figure("max ms", ",.1f"),
    "kib_per_call": Figure("KiB per sendfile call", ",.0f"),
    "slowest_share": Figure("slowest client, of its rate", ".3f"),
    "client_load": Figure("load of the clients' core", ".0%"),
    "client_limit_per_s": Figure("requests/s that would fill it", ",.0f"),
    "cold_mb_per_s": Figure("cold MB/s", ",.1f"),
    "kib_per_connection": Figure("KiB per connection", ",.2f"),
    "startup_ms": Figure("ms to the first response", ",.0f"),
    "failed": Figure("failed requests", ",.0f"),
}


@dataclass(frozen=True)
class Sample:
    """One server under one load, once. `figures` are named as in FIGURES; `errors` in words."""

    scenario: str
    peer: str
    turn: int
    figures: Mapping[str, float]
    errors: tuple[str, ...] = ()


@dataclass
class Results:
    """All samples of a run, and the scenarios that could not be played, with the reason."""

    samples: list[Sample] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def of(self, scenario: str, peer: str | None = None) -> list[Sample]:
        """The samples of a scenario, of one server or of all, in the order they were taken."""
        return [
            sample
            for sample in self.samples
            if sample.scenario == scenario and peer in (None, sample.peer)
        ]

    def peers(self, scenario: str) -> list[str]:
        """The servers measured in a scenario, in the order of the rounds."""
        return list(dict.fromkeys(sample.peer for sample in self.of(scenario)))

    def values(self, scenario: str, peer: str, figure: str) -> list[float]:
        """What was measured of one figure, round by round."""
        samples = self.of(scenario, peer)
        return [sample.figures[figure] for sample in samples if figure in sample.figures]

    def median(self, scenario: str, peer: str, figure: str) -> float | None:
        """The median over the rounds; None where nothing was measured."""
        values = self.values(scenario, peer, figure)
        return median(values) if values else None

    def ratios(self, scenario: str, figure: str, against: str, of: str = OURS) -> list[float]:
        """The figure of `of` divided by that of `against`, for each round that has both."""
        below = {sample.turn: sample.figures.get(figure) for sample in self.of(scenario, against)}
        return [
            sample.figures[figure] / base
            for sample in self.of(scenario, of)
            if figure in sample.figures and (base := below.get(sample.turn))
        ]

    def errors(self) -> list[str]:
        """Each error, with the scenario, the server and the round it happened in."""
        return [
            f"{sample.scenario}, {sample.peer}, round {sample.turn + 1}: {error}"
            for sample in self.samples
            for error in sample.errors
        ]


@dataclass(frozen=True)
class Bar:
    """What a figure has to reach.

    `against`: the limit is of the median of paired ratios to this server; None: of our own median.
    `of`: the server whose figure it is.
    `if_reached_by`: the bar stands only where this server reaches it on the same machine.
    """

    scenario: str
    figure: str
    relation: str
    limit: float
    against: str | None = "nginx"
    if_reached_by: str | None = None
    of: str = OURS

    def holds(self, value: float) -> bool:
        """Whether the value, rounded as it is printed, is on the right side."""
        shown = round(value, 2)
        return shown <= self.limit if self.relation == "≤" else shown >= self.limit


@dataclass(frozen=True)
class Verdict:
    """A bar, what was measured (None: nothing), the spread of the rounds, and the outcome."""

    bar: Bar
    value: float | None
    spread: tuple[float, float] | None
    outcome: str


def judge(bar: Bar, results: Results) -> Verdict:
    """Hold a bar against the results. Samples with errors prove nothing: missed."""
    if bar.against is None:
        values = results.values(bar.scenario, bar.of, bar.figure)
    else:
        values = results.ratios(bar.scenario, bar.figure, bar.against, bar.of)
    if not values:
        return Verdict(bar, None, None, "not measured")
    return Verdict(bar, median(values), spread(values), _outcome(bar, median(values), results))


def _outcome(bar: Bar, value: float, results: Results) -> str:
    if any(sample.errors for sample in results.of(bar.scenario, bar.of)):
        return "**missed** (errors)"
    if bar.holds(value):
        return "reached"
    if bar.if_reached_by is not None:
        theirs = results.median(bar.scenario, bar.if_reached_by, bar.figure)
        if theirs is None or not bar.holds(theirs):
            return f"does not stand: {bar.if_reached_by} does not reach it either"
    return "**missed**"


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest."""
    return min(values), max(values)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the ordered values lie: nearest rank."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def with_those_not_asked(latencies_s: Iterable[float], interval_s: float) -> list[float]:
    """Latencies as seen by clients that ask at any moment, not only when the last answer is in.

    A client that waits for its answer asks nothing during a stall, and so the stall counts once,
    however long. For each interval that an answer took longer, one more client is counted who would
    have asked then and waited for the rest (the correction of HdrHistogram). Ordered.
    """
    seen: list[float] = []
    for latency in latencies_s:
        waited = latency
        while waited > 0:
            seen.append(waited)
            waited -= interval_s
    return sorted(seen)
