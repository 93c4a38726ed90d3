"""What more appliances cost: `python -m benchmarks.fleet.growth` plays cold starts and reports of
more and more of them, and writes a page with what each costs.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import log
from pathlib import Path
from typing import NamedTuple

import click
import uvloop

from benchmarks.errors import LoadFailure
from benchmarks.fleet.drawing import Mark, draw
from benchmarks.fleet.lines import Line
from benchmarks.fleet.page import render_growth
from benchmarks.fleet.playing import Played, play
from benchmarks.fleet.scenarios import NOT_TAKEN, SCENARIOS
from benchmarks.fleet.stage import Size
from benchmarks.host import describe_machine
from benchmarks.processes import INTERRUPTED, signals_interrupt

MOST_FOR_TWICE = 2.1
"""Times the cost, for twice the appliances."""
_QUESTIONS = 1.0  # a second: none to speak of
_PLAYED = ("cold", "reports")


class Grown(NamedTuple):
    """Of one size. cold_s: CPU of a cold start, but for the reports that come meanwhile as they
    always do, and the more often the longer it takes; report_s: of such a report; both of the
    control plane, with all that it does beside.
    """

    appliances: int
    sites: int
    routes: int
    cold_s: float
    report_s: float
    memory_mib: float


class _Measure(NamedTuple):
    """What all appliances cost, as it grows. each: of one appliance, in a unit that is shown."""

    name: str
    unit: str
    total: Callable[[Grown], float]
    of_each: str
    each: Callable[[Grown], float]


_MEASURES = (
    _Measure("CPU of a cold start", "s", lambda grown: grown.cold_s,
             "ms an appliance", lambda grown: grown.cold_s / grown.appliances * 1e3),
    _Measure("CPU of a report of each", "s", lambda grown: grown.report_s * grown.appliances,
             "ms a report", lambda grown: grown.report_s * 1e3),
    _Measure("Memory", "MiB", lambda grown: grown.memory_mib,
             "KiB an appliance", lambda grown: grown.memory_mib / grown.appliances * 1024),
)  # fmt: skip


def sizes_between(first: int, last: int) -> list[int]:
    """Each twice the one before, and the last."""
    sizes = [first]
    while 2 * sizes[-1] < last:
        sizes.append(2 * sizes[-1])
    return [*sizes, last] if last > first else sizes


def find_least(played: Sequence[Grown]) -> list[Grown]:
    """Of each size what it cost at the least: a machine may be slow for minutes, and is never too
    fast.
    """
    sizes: dict[int, Grown] = {}
    for each in played:
        known = sizes.get(each.appliances, each)
        sizes[each.appliances] = each._replace(
            cold_s=min(each.cold_s, known.cold_s),
            report_s=min(each.report_s, known.report_s),
            memory_mib=min(each.memory_mib, known.memory_mib),
        )
    return list(sizes.values())


def weigh(grown: Sequence[Grown]) -> Iterator[Line]:
    """What twice the appliances cost, from each size to the next: of other steps by their power."""
    for measure in _MEASURES:
        for few, many in pairwise(grown):
            power = log(2) / log(many.appliances / few.appliances)
            ratio = (measure.total(many) / measure.total(few)) ** power
            what = f"{measure.name}, from {few.appliances:,} to {many.appliances:,}"
            yield Line(f"{what}: times, for twice as many", ratio, MOST_FOR_TWICE)


def plot(grown: Sequence[Grown]) -> Iterator[str]:
    """Of all appliances, beside what may be; and of each."""
    marks = [Mark(each.appliances, f"{each.appliances:,}") for each in grown]
    power = log(MOST_FOR_TWICE) / log(2)
    for measure in _MEASURES:
        first = grown[0]
        limit = [
            (each.appliances, measure.total(first) * (each.appliances / first.appliances) ** power)
            for each in grown
        ]
        told = [(each.appliances, measure.total(each)) for each in grown]
        lines = {"measured": told, f"{MOST_FOR_TWICE} for twice": limit}
        yield draw(f"{measure.name}, by appliances", lines, marks, measure.unit)
        of_each = [(each.appliances, measure.each(each)) for each in grown]
        yield draw(f"{measure.name}: {measure.of_each}", {"measured": of_each}, marks)


async def _measure(size: Size, scratch: Path, tell: Callable[[str, int], None]) -> Grown:
    """Raises LoadFailure."""
    chosen = [each for each in SCENARIOS if each.name in _PLAYED]
    cold, reports = await play(size, chosen, scratch, tell, lambda _: None)
    report_s = _cpu_of(reports) / _count(reports)
    not_taken = next(line.measured for line in cold.lines if line.what == NOT_TAKEN)
    usual = max(_count(cold) - not_taken - size.appliances, 0)
    return Grown(
        size.appliances, size.sites, cold.routes, _cpu_of(cold) - usual * report_s, report_s,
        reports.readings[-1].cost.memory_mib,
    )  # fmt: skip


def _count(played: Played) -> int:
    """Documents that were answered."""
    return played.readings[-1].reports - played.readings[0].reports


def _cpu_of(played: Played) -> float:
    return played.readings[-1].cost.cpu_s - played.readings[0].cost.cpu_s


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--appliances", default=1_000, show_default=True, type=click.IntRange(40, 40_000),
              help="To begin with; then twice as many, and so on.")  # fmt: skip
@click.option("--up-to", default=20_000, show_default=True, type=click.IntRange(40, 40_000))
@click.option("--interval", default=30.0, show_default=True, type=click.FloatRange(1, 300),
              help="Seconds between two reports of an appliance.")  # fmt: skip
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1, 20),
              help="Each plays all sizes; of each cost the least counts.")  # fmt: skip
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0))
@click.option(
    "--output", default=Path("growth.html"), show_default=True,
    type=click.Path(dir_okay=False, path_type=Path), help="The page that is written.",
)  # fmt: skip
def main(
    *, appliances: int, up_to: int, interval: float, rounds: int, seed: int, output: Path
) -> None:
    """Play cold starts and reports of more and more appliances."""
    begun, played, failure = time.monotonic(), list[Grown](), ""
    try:
        with signals_interrupt():
            for count in rounds * sizes_between(appliances, up_to):
                size = Size(
                    appliances=count, sites=max(20, count * 3 // 10), interval_s=interval,
                    seed=seed, rates=(_QUESTIONS, _QUESTIONS),
                )  # fmt: skip
                played.append(_play_one(size, begun))
    except KeyboardInterrupt:
        click.echo("benchmarks: interrupted; nothing was written", err=True)
        sys.exit(INTERRUPTED)
    except LoadFailure as error:
        failure = str(error)
        click.echo(f"benchmarks: {failure}", err=True)
    grown = find_least(played)
    lines = list(weigh(grown))
    for line in lines:
        mark = " " if line.is_kept else "!"
        click.echo(f" {mark} {line.what}: {line.measured:.2f} (≤ {line.limit:g})")
    if grown:
        minutes = (time.monotonic() - begun) / 60
        page = render_growth(
            [each._asdict() for each in grown], list(plot(grown)), lines, failure,
            describe_machine(), minutes, sys.argv[1:],
        )  # fmt: skip
        output.write_text(page)
        click.echo(f"{output}: {minutes:.1f} minutes")
    sys.exit(0 if not failure and all(line.is_kept for line in lines) else 1)


def _play_one(size: Size, begun: float) -> Grown:
    def tell(what: str, _: int) -> None:
        click.echo(f"{time.monotonic() - begun:5.0f} s: {size.appliances:,}: {what}", err=True)

    with tempfile.TemporaryDirectory(prefix="benchmarks-fleet-") as scratch:
        grown = uvloop.run(_measure(size, Path(scratch), tell))
    click.echo(
        f"{grown.appliances:,} appliances, {grown.routes:,} routes: cold {grown.cold_s:.1f} s of "
        f"CPU, a report {grown.report_s * 1e3:.2f} ms, {grown.memory_mib:.0f} MiB"
    )
    return grown


if __name__ == "__main__":
    main()
