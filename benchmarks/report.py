"""From samples to figures: medians, paired ratios, and whether a bar is met. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.clients import Sample

Figure = Callable[[Sample], float]


@dataclass(frozen=True)
class Bar:
    """What a scenario must show: the median of paired ratios, ours by the peer's."""

    peer: str
    what: str
    figure: Figure
    limit: float
    at_most: bool

    def is_met(self, ratio: float) -> bool:
        return ratio <= self.limit if self.at_most else ratio >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:.2f}"


@dataclass(frozen=True)
class Result:
    """All samples of one scenario, in the order in which they were taken."""

    name: str
    title: str
    columns: tuple[tuple[str, Figure, str], ...]  # heading, figure, format
    bars: tuple[Bar, ...]
    samples: tuple[Sample, ...]
    range_bytes: int = 0

    def of(self, peer: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.peer == peer]

    @property
    def peers(self) -> list[str]:
        return list(dict.fromkeys(sample.peer for sample in self.samples))


def paired_ratio(ours: Sequence[Sample], theirs: Sequence[Sample], figure: Figure) -> float:
    """The median over the rounds of ours by theirs: neighbours in time share the noise."""
    return median(figure(a) / max(figure(b), 1e-12) for a, b in zip(ours, theirs, strict=True))


def render(results: Sequence[Result], facts: Mapping[str, str], ours: str) -> str:
    """The whole of RESULTS.md."""
    lines = ["# Results", "", _PREFACE.strip(), "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    lines += ["", "## The bars", "", _render_bars(results, ours), ""]
    lines += ["![CPU cost against range size](cost.svg)", ""]
    for result in results:
        lines += [f"## {result.title}", "", _render_table(result, ours), ""]
    return "\n".join(lines)


_PREFACE = """
Written by `python -m benchmarks`; every figure is from one run on one machine. One worker of each
server is pinned to one core and the client to the other. Rounds are interleaved; figures are medians
over the rounds, ratios are medians of the ratios within a round. CPU is that of all processes and
threads of the server, the supervisor included. Access logs are on, written in batches by both
ocaserve and nginx.
"""


def _render_bars(results: Sequence[Result], ours: str) -> str:
    lines = ["| scenario | figure | beside | ratio | bar | met |", "|---|---|---|---|---|---|"]
    for result in results:
        for bar in result.bars:
            theirs = result.of(bar.peer)
            if not theirs:
                continue
            ratio = paired_ratio(result.of(ours), theirs, bar.figure)
            met = "yes" if bar.is_met(ratio) else "**no**"
            lines.append(
                f"| {result.name} | {bar.what} | {bar.peer} | {ratio:.2f} | {bar} | {met} |"
            )
    return "\n".join(lines)


def _render_table(result: Result, ours: str) -> str:
    headings = [heading for heading, _, _ in result.columns]
    lines = [
        f"| server | {' | '.join(headings)} | errors |",
        f"|---|{'---|' * (len(headings) + 1)}",
    ]
    for peer in result.peers:
        samples = result.of(peer)
        cells = [format(median(map(figure, samples)), form) for _, figure, form in result.columns]
        errors = sum(sample.errors for sample in samples)
        name = f"**{peer}**" if peer == ours else peer
        lines.append(f"| {name} | {' | '.join(cells)} | {errors} |")
    return "\n".join(lines)
