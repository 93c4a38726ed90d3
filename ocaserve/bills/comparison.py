"""Comparing two ledgers, day by day: of every party and five minutes, and what else they hold.

Where a month is grouped otherwise on both sides, the records of the left are added up by the
grouping of the right; nothing but the grouping may then make a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from ocaserve.bills.discrepancies import (
    BothRecords,
    Discrepancy,
    HeldRecord,
    explain_cells,
)
from ocaserve.bills.month_life import MonthLife, read_life
from ocaserve.bills.months import DAY_S, PERIOD_S, Month
from ocaserve.bills.parties import Grouping
from ocaserve.bills.samples import group_records, read_cells
from ocaserve.bills.vault import MonthTables, Row, Vault

MOST_SHOWN = 200
"""Discrepancies that are told; further ones are counted."""
_MOST_STARTS = 100  # periods of a day whose records are looked at
_HELD = (
    "SELECT appliance, book, seq, start, site, networks FROM records "
    "JOIN chains ON chains.id = records.chain WHERE is_late = 0 AND "
)


@dataclass(slots=True)
class Comparison:
    """cells: that were compared. unequal: how many differ; `discrepancies` has the first.

    faults: of months as a whole, in words.
    """

    cells: int = 0
    unequal: int = 0
    discrepancies: list[Discrepancy] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        return not (self.unequal or self.faults)


class Pair(NamedTuple):
    """The tables of a month on both sides, and its grouping on the right."""

    left: MonthTables
    right: MonthTables
    is_same_grouping: bool
    grouping: Grouping


def compare(
    left: Vault,
    right: Vault,
    since: int,
    turn: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Comparison:
    """All from `since` on. turn: held for a day at a time, so that nothing comes in between."""
    found = Comparison()
    for month in sorted({*left.months(), *right.months()}):
        if month.end <= since:
            continue
        with turn(), left.reading(month) as ours, right.reading(month) as theirs:
            found.faults += _compare_lives(month, ours, theirs)
        for start in range(max(month.start, since // DAY_S * DAY_S), month.end, DAY_S):
            with turn(), left.reading(month) as ours, right.reading(month) as theirs:
                life, other = read_life(ours), read_life(theirs)
                if ours is None or theirs is None or life is None or other is None:
                    break
                same = life.grouping.digest == other.grouping.digest
                _compare_day(found, Pair(ours, theirs, same, other.grouping), start)
    return found


def _compare_lives(
    month: Month, ours: MonthTables | None, theirs: MonthTables | None
) -> Iterator[str]:
    life, other = read_life(ours), read_life(theirs)
    if ours is None or theirs is None or life is None or other is None:
        yield f"{month} is on one side alone"
        return
    if life.state is not other.state:
        yield f"{month} is {life.state.value} here and {other.state.value} there"
    for table, what in (
        ("bills", "party, document"),
        ("entries", "reference, party, start, bytes, reason, billed_in"),
        ("chains", "appliance, book, held, bytes, late_bytes"),
    ):
        asked = f"SELECT {what} FROM {table}"  # noqa: S608 - our own names
        one, two = (set(tables.ask(asked)) for tables in (ours, theirs))
        if _is_open_to_grouping(table, life, other):
            continue
        if one != two:
            names = sorted({" ".join(map(str, row[:2])) for row in one ^ two})
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            yield f"{month}: {table} differ: {', '.join(names[:3])}{more}"


def _is_open_to_grouping(table: str, life: MonthLife, other: MonthLife) -> bool:
    """Corrections by hand are of a party, which the other grouping may not have."""
    return table == "entries" and life.grouping.digest != other.grouping.digest


def _compare_day(found: Comparison, pair: Pair, start: int) -> None:
    until = start + DAY_S
    ours = (
        read_cells(pair.left, start, until)
        if pair.is_same_grouping
        else group_records(pair.left, pair.grouping, start, until)
    )
    theirs = read_cells(pair.right, start, until)
    if not pair.is_same_grouping:  # so samples of the left count as well
        sums = [sum(cells.values()) for cells in (read_cells(pair.left, start, until), theirs)]
        if sums[0] != sums[1]:
            found.faults.append(f"the day from {start}: {sums[0]} and {sums[1]} bytes in all")
    cells = ours.keys() | theirs.keys()
    found.cells += len(cells)
    unequal = {
        cell: (ours.get(cell, 0), theirs.get(cell, 0))
        for cell in cells
        if ours.get(cell, 0) != theirs.get(cell, 0)
    }
    found.unequal += len(unequal)
    room = MOST_SHOWN - len(found.discrepancies)
    if unequal and room > 0:
        starts = sorted({at for _, at in unequal})[:_MOST_STARTS]
        looked_at = {cell: both for cell, both in unequal.items() if cell[1] in set(starts)}
        found.discrepancies += list(explain_cells(looked_at, _gather(pair, starts)))[:room]


# -- the records of both sides -------------------------------------------------------------------


def _gather(pair: Pair, starts: list[int]) -> BothRecords:
    # A neighbour's records tell what is counted at the wrong period.
    around = sorted({at + step for at in starts for step in (-PERIOD_S, 0, PERIOD_S)})
    left, right = (_read(tables, pair.grouping, around) for tables in (pair.left, pair.right))
    return BothRecords(
        left=left,
        right=right,
        elsewhere_left=dict(_find(pair.left, right.keys() - left.keys())),
        elsewhere_right=dict(_find(pair.right, left.keys() - right.keys())),
    )


def _read(tables: MonthTables, grouping: Grouping, starts: Iterable[int]) -> dict[str, HeldRecord]:
    found: dict[str, HeldRecord] = {}
    for at in starts:
        for row in tables.stream(f"{_HELD} start = ?", at):
            name, record = _hold(row, grouping)
            found[name] = record
    return found


def _hold(row: Row, grouping: Grouping) -> tuple[str, HeldRecord]:
    appliance, book, seq, start, site, networks = row
    sent = msgspec.json.decode(networks, type=dict[str, int])
    parts = grouping.at(start).split(sent, site)
    content = (appliance, start, tuple(sorted(sent.items())))
    return f"{appliance}/{book}/{seq}", HeldRecord(start, parts, content)


def _find(tables: MonthTables, names: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Where records of these names stand in the month."""
    for name in sorted(names):
        appliance, book, seq = name.rsplit("/", 2)
        rows = tables.ask(
            f"{_HELD} appliance = ? AND book = ? AND seq = ?", appliance, book, int(seq)
        )
        for row in rows:
            yield name, row[3]


def start_of_day(at: float) -> int:
    """In UTC."""
    return int(at) // DAY_S * DAY_S
