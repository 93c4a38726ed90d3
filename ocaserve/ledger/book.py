"""The sums of the periods that are still open, and how far each spool is in them. Pure.

Both belong together: who writes them down together, and starts again from what was written, counts
every record once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from ocaserve.ledger.folding import add_up, fold
from ocaserve.ledger.networks import OTHER
from ocaserve.ledger.records import RECORD_S, ChainEnd, LedgerRecord, end_of, next_record
from ocaserve.ledger.spool import SpoolRecord

PERIOD_S = RECORD_S
HOUR_S = 3_600
GRACE_S = 10  # a worker tells within a second; one that was held up for longer counts a little late
_MOST_DUE = 288  # told at once: a day, of an appliance that was off for long


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
    """`closed_to`: the end of the last period that was closed. `read_to`: by name of the spool.

    total: all bytes that were ever added. other: those of them that no network has, since the
    places were not enough. chain: where the chain of records is; None before the first. closed:
    records that are to become files once the book is on the disk. since: what spools tell of before
    that is in records of another book.
    """

    closed_to: int = 0
    open: dict[int, Period] = {}
    read_to: dict[str, int] = {}
    total: int = 0
    other: int = 0
    chain: ChainEnd | None = None
    closed: list[LedgerRecord] = []
    since: int = 0

    def add(self, spool: str, stop: int, records: Iterable[SpoolRecord], most: int) -> None:
        """Take what a spool holds up to `stop`; so many networks have places in a period.

        A record of a period that is closed counts in the next: what was billed stays as it was.
        """
        assert stop >= self.read_to.get(spool, 0), "read twice it would be billed twice"
        for record in records:
            if record.at < self.since:
                continue
            start = max(record.at // PERIOD_S * PERIOD_S, self.closed_to)
            period = self.open.get(start)
            if period is None:
                period = self.open[start] = Period(start, PERIOD_S, {})
            moved = add_up(period.sent, record.sent, most)
            self.total += sum(record.sent.values())
            self.other += moved + record.sent.get(OTHER, 0)
        self.read_to[spool] = stop

    def begin(self, appliance: str, name: str, now: float, longest_s: int) -> bool:
        """Have a chain to go on with; returns whether it is a new one, which gets that name.

        longest_s: beyond which time without a record is not filled in.
        """
        first = min(self.open, default=int(now) // PERIOD_S * PERIOD_S)
        goes_on = self.chain is not None and first - self.closed_to <= longest_s
        if goes_on and self.chain and self.chain.appliance == appliance:
            return False
        self.chain = ChainEnd(appliance=appliance, book=name)
        if not goes_on:
            self.closed_to = max(self.closed_to, self.since, first)
        return True

    def leave(self, name: str, seq: int, fresh: str, now: float) -> bool:
        """Go on in a book `fresh` behind record `seq` of this one, which others have told.

        Returns whether that was so: `name` is the book in use, and has no such record yet.
        """
        chain = self.chain
        if chain is None or chain.book != name or seq <= chain.seq:
            return False
        told_to = self.closed_to + (seq - chain.seq) * PERIOD_S
        self.since = self.closed_to = min(told_to, int(now) // PERIOD_S * PERIOD_S)
        self.open = {start: each for start, each in self.open.items() if start >= self.since}
        self.chain = ChainEnd(appliance=chain.appliance, book=fresh)
        return True

    def due(self, now: float) -> Iterator[Period]:
        """Periods to be closed, the oldest first, with those in which nothing was sent.

        Each is to be archived, then `close`d.
        """
        latest = int(now) - PERIOD_S - GRACE_S
        for start in range(self.closed_to, latest + 1, PERIOD_S)[:_MOST_DUE]:
            yield self.open.get(start) or Period(start, PERIOD_S, {})

    def settle(self, period: Period, most: int) -> None:
        """Bring a period that is due down to its places."""
        folded = fold(period.sent, most)
        period.sent, self.other = folded.sent, self.other + folded.moved

    def close(self, period: Period) -> None:
        """It is archived: its record follows the last one."""
        assert self.chain is not None, "a chain is begun before anything is closed"
        assert period.start == self.closed_to, "a chain has no holes in time"
        record = next_record(self.chain, period.start, period.sent)
        self.closed.append(record)
        self.chain, self.closed_to = end_of(record), period.end
        self.open.pop(period.start, None)

    def forget(self, spools: Iterable[str]) -> None:
        """These are no more."""
        for spool in spools:
            self.read_to.pop(spool, None)


def merge(periods: Iterable[Period], start: int, seconds: int, most: int) -> Period:
    """Their sum, as one period."""
    merged = Period(start, seconds, {})
    for period in periods:
        add_up(merged.sent, period.sent, most)
    merged.sent = fold(merged.sent, most).sent
    return merged
