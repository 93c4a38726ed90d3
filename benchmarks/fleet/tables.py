"""What tables and the atlas of them take: `python -m benchmarks.fleet.tables`, without HTTP.

In one process, as in the control process: tables are told route by route, an atlas is drawn of all,
and another one after one route has changed. Workers map the atlas, so they share what it takes.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import click

from bgp.prefixes import format_prefix
from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.survey import Survey
from ocaserve.fleet.tables import NO_ROUTES, Rank, Tables

_WITHIN = 16  # of so many networks one, a /20, covers the others
_IN_A_GROUP = 7  # routes with the same attributes
_FIRST = 1 << 16  # 1.0.0.0/24


def network(number: int) -> str:
    """All of them are others."""
    if number % _WITHIN:
        return format_prefix(4, 24, _FIRST + number)
    return format_prefix(4, 20, (_FIRST + number) // _WITHIN)


def routes(first: int, count: int, prefixes: int) -> Iterator[tuple[str, Rank]]:
    """Of one table: neighbours, as a provider's are; tables overlap."""
    for place in range(count):
        yield network((first + place) % prefixes), Rank(1 + place // _IN_A_GROUP % 5, 0)


def tell(what: str, begun: float) -> None:
    status = Path("/proc/self/status").read_text()
    now = int(status.partition("VmRSS:")[2].split()[0]) >> 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    click.echo(f"{what}: {time.process_time() - begun:.1f} s of CPU; {now} MiB, at most {peak}")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--prefixes", default=1_000_000, show_default=True, type=click.IntRange(1_000))
@click.option("--tables", default=3_000, show_default=True, type=click.IntRange(1))
@click.option("--each", default=1_500, show_default=True, type=click.IntRange(10),
              help="Routes of a table.")  # fmt: skip
def main(prefixes: int, tables: int, each: int) -> None:
    """Measure time and memory of so many tables."""
    interned, survey = Tables(), Survey()
    begun = time.process_time()
    known = {
        f"oca-{number}": interned.change(
            NO_ROUTES, routes(number * prefixes // tables, each, prefixes)
        )
        for number in range(tables)
    }
    tell(f"{tables:,} tables of {each:,} routes", begun)
    begun = time.process_time()
    image = survey.draw(known)
    tell(f"an atlas of {len(Atlas(image)):,} networks, {len(image) >> 20} MiB", begun)
    begun = time.process_time()
    known["oca-0"] = interned.change(known["oca-0"], [(network(1), Rank(9, 9))])
    survey.draw(known)
    tell("another one, after a change of one route", begun)


if __name__ == "__main__":
    main()
