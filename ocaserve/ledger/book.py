"""The sums of the periods that are still open, and how far each spool is in them. Pure.

Both belong together: who writes them down together, and starts again from what was written, counts
every record once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from ocaserve.ledger.networks import OTHER
from ocaserve.ledger.spool import Record

PERIOD_S = 300
HOUR_S = 3_600
GRACE_S = 10  # a worker tells within a second; one that was held up for longer counts a little late


class Period(Struct):
    """Bytes by network, of `seconds` from `start` on (seconds since the epoch)."""

    start: int
    seconds: int
    sent: dict[str, int]

    @property
    def end(self) -> int:
        return self.start + self.seconds

    @property
    def total(self) -> int:
        return sum(self.sent.values())


class Book(Struct):
    """`closed_to`: the end of the last period that was closed. `read_to`: by name of the spool."""

    closed_to: int = 0
    open: dict[int, Period] = {}
    read_to: dict[str, int] = {}

    def add(self, spool: str, stop: int, records: Iterable[Record], most: int) -> None:
        """Take what a spool holds up to `stop`; at most so many networks are told apart.

        A record of a period that is closed counts in the next: what was billed stays as it was.
        """
        for record in records:
            start = max(record.at // PERIOD_S * PERIOD_S, self.closed_to)
            period = self.open.get(start)
            if period is None:
                period = self.open[start] = Period(start, PERIOD_S, {})
            add_up(period.sent, record.sent, most)
        self.read_to[spool] = stop

    def due(self, now: float) -> Iterator[Period]:
        """Periods to be closed, the oldest first. Each is to be archived, then `close`d."""
        for start in sorted(self.open):
            if start + PERIOD_S + GRACE_S <= now:
                yield self.open[start]

    def close(self, period: Period) -> None:
        """It is archived."""
        del self.open[period.start]
        self.closed_to = max(self.closed_to, period.end)

    def forget(self, spools: Iterable[str]) -> None:
        """These are no more."""
        for spool in spools:
            self.read_to.pop(spool, None)


def add_up(into: dict[str, int], sent: Mapping[str, int], most: int) -> None:
    """Add bytes by network; where there are `most` networks already, new ones are `other`."""
    for network, count in sent.items():
        if network in into or len(into) < most:
            into[network] = into.get(network, 0) + count
        else:
            into[OTHER] = into.get(OTHER, 0) + count


def merge(periods: Iterable[Period], start: int, seconds: int, most: int) -> Period:
    """Their sum, as one period."""
    merged = Period(start, seconds, {})
    for period in periods:
        add_up(merged.sent, period.sent, most)
    return merged
