"""Bytes by party and five minutes, over all appliances: rows of an hour."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import msgspec

from ocaserve.bills.months import HOUR_S, PERIOD_S, PERIODS_OF_HOUR, Month
from ocaserve.bills.parties import Grouping
from ocaserve.bills.vault import MonthTables, Row

_CELLS = ", ".join(f"s{n}" for n in range(PERIODS_OF_HOUR))
_ADD = (
    f"INSERT INTO samples VALUES (?, ?, {', '.join('?' * PERIODS_OF_HOUR)}) "  # noqa: S608
    "ON CONFLICT (hour, party) DO UPDATE SET "
    + ", ".join(f"s{n} = samples.s{n} + excluded.s{n}" for n in range(PERIODS_OF_HOUR))
)

Cells: TypeAlias = dict[tuple[str, int], int]
"""Bytes by party and start of the period."""


def add_samples(tables: MonthTables, parts: Iterable[tuple[int, Mapping[str, int]]]) -> None:
    """Add bytes by party, each with the start of its period."""
    hours: dict[tuple[int, str], list[int]] = {}
    for start, by_party in parts:
        hour, cell = start // HOUR_S * HOUR_S, start % HOUR_S // PERIOD_S
        for party, count in by_party.items():
            row = hours.get((hour, party))
            if row is None:
                row = hours[hour, party] = [0] * PERIODS_OF_HOUR
            row[cell] += count
    tables.run_many(_ADD, [(*key, *row) for key, row in sorted(hours.items())])


def read_cells(tables: MonthTables, since: int, until: int) -> Cells:
    """Those that are not 0, of periods within [since, until)."""
    first = since // HOUR_S * HOUR_S
    rows = tables.stream(
        f"SELECT hour, party, {_CELLS} FROM samples WHERE hour >= ? AND hour < ?",  # noqa: S608
        first, until,
    )  # fmt: skip
    return {
        (party, start): count
        for hour, party, *counts in rows
        for start, count in zip(range(hour, hour + HOUR_S, PERIOD_S), counts, strict=True)
        if count and since <= start < until
    }


def group_records(tables: MonthTables, grouping: Grouping, since: int, until: int) -> Cells:
    """The same, added up anew from the records held that are not late."""
    found: Cells = {}
    for start, site, networks in tables.stream(
        "SELECT start, site, networks FROM records WHERE start >= ? AND start < ? AND is_late = 0",
        since, until,
    ):  # fmt: skip
        by_network = msgspec.json.decode(networks, type=dict[str, int])
        for party, count in grouping.at(start).split(by_network, site).items():
            if count:
                found[party, start] = found.get((party, start), 0) + count
    return found


def read_curves(tables: MonthTables, month: Month, party: str = "") -> dict[str, array[int]]:
    """Of each party, or of one, all periods of the month in order."""
    curves: dict[str, array[int]] = {}
    for hour, name, *counts in _read_rows(tables, party):
        curve = curves.get(name)
        if curve is None:
            curve = curves[name] = array("q", bytes(8 * ((month.end - month.start) // PERIOD_S)))
        place = (hour - month.start) // PERIOD_S
        curve[place : place + PERIODS_OF_HOUR] = array("q", counts)
    return curves


def _read_rows(tables: MonthTables, party: str) -> Iterator[Row]:
    every = f"SELECT hour, party, {_CELLS} FROM samples"  # noqa: S608 - our own names
    return tables.stream(f"{every} WHERE party = ?", party) if party else tables.stream(every)
