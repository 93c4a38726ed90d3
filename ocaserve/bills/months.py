"""Months of UTC, the periods in them, and the life of a month. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

PERIOD_S = 300
HOUR_S = 3_600
DAY_S = 86_400
PERIODS_OF_HOUR = HOUR_S // PERIOD_S

_NAME = re.compile(r"(\d{4})-(0[1-9]|1[0-2])\Z", re.ASCII)


class Month(NamedTuple):
    """From `start` to before `end`, in seconds since the epoch."""

    start: int
    end: int

    @classmethod
    def of(cls, at: float) -> Month:
        """In which a moment lies."""
        given = datetime.fromtimestamp(at, UTC)
        return _month(given.year, given.month)

    @classmethod
    def parse(cls, name: str) -> Month:
        """Of `"2026-11"`. Raises ValueError."""
        found = _NAME.match(name)
        if found is None or found[1] < "1970":
            raise ValueError(f"{name[:40]!r}: must be a month such as 2026-11")
        return _month(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        return f"{datetime.fromtimestamp(self.start, UTC):%Y-%m}"

    @property
    def following(self) -> Month:
        return Month.of(self.end)

    def __str__(self) -> str:
        return self.name


def _month(year: int, month: int) -> Month:
    start = datetime(year, month, 1, tzinfo=UTC)
    end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return Month(int(start.timestamp()), int(end.timestamp()))


class MonthState(Enum):
    """The value is the word shown and kept."""

    OPEN = "open"
    CLOSED = "closed"
    CLOSED_INCOMPLETE = "closed incomplete"  # what is missing was known and accepted


class MonthEvent(Enum):
    CLOSE = "close"
    CLOSE_INCOMPLETE = "close incomplete"


MONTH_STATES: Mapping[tuple[MonthState, MonthEvent], MonthState] = {
    (MonthState.OPEN, MonthEvent.CLOSE): MonthState.CLOSED,
    (MonthState.OPEN, MonthEvent.CLOSE_INCOMPLETE): MonthState.CLOSED_INCOMPLETE,
}
"""Nothing leads back: what is found out later is an entry of a later bill."""
