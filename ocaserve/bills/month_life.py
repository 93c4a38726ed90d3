"""What is kept of a month as a whole: its state, and the grouping that is its own."""

from __future__ import annotations

from typing import NamedTuple

from ocaserve.bills.months import Month, MonthState
from ocaserve.bills.parties import Grouping
from ocaserve.bills.vault import MonthTables, Vault


class MonthLife(NamedTuple):
    """What stands in the table `life`."""

    state: MonthState
    grouping: Grouping
    closed_at: int
    accepted: str
    completeness: str


def read_life(tables: MonthTables | None) -> MonthLife | None:
    """Of a month; None while it has not begun."""
    rows = (
        tables.ask("SELECT state, parties, closed_at, accepted, completeness FROM life")
        if (tables is not None)
        else []
    )
    return next((MonthLife(MonthState(r[0]), Grouping.read(r[1]), *r[2:]) for r in rows), None)


def begin_month(tables: MonthTables, month: Month, grouping: Grouping) -> MonthLife:
    """Its life; it begins with this grouping, which then is its own."""
    life = read_life(tables)
    if life is None:
        tables.ask(
            "INSERT INTO life (month, state, parties) VALUES (?, ?, ?)",
            month.name, MonthState.OPEN.value, grouping.text,
        )  # fmt: skip
        life = MonthLife(MonthState.OPEN, grouping, 0, "", "")
    return life


def find_open_month(vault: Vault, month: Month) -> Month:
    """The first from this one on that is not closed."""
    while True:
        with vault.reading(month) as tables:
            life = read_life(tables)
        if life is None or life.state is MonthState.OPEN:
            return month
        month = month.following
