"""Reading the spools, closing periods, and answering what was sent.

One process at a time writes into a ledger: it holds a lock on it. During an upgrade two versions of
control may run for a moment; the younger waits.

All methods of `Collector` may wait for the disk and belong into a thread, one at a time.
"""

from __future__ import annotations

import fcntl
import ipaddress
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from time import gmtime, monotonic, strftime, time
from typing import NamedTuple

from ocaserve.ledger.archive import Archive
from ocaserve.ledger.book import GRACE_S, HOUR_S, PERIOD_S, Book, Period
from ocaserve.ledger.places import record_folder, spool_folder
from ocaserve.ledger.record_files import RecordFiles
from ocaserve.ledger.records import LedgerRecord
from ocaserve.ledger.set_clock import WallWatch
from ocaserve.ledger.spool import SUFFIX, read_spool
from ocaserve.ledger.summary import (
    MOST_NETWORKS,
    Highest,
    NetworkSum,
    Summary,
    add_networks,
    count_highest,
    find_top,
    measure,
)
from ocaserve.settings.ledger import LedgerSettings

_log = logging.getLogger(__name__)

COMMIT_S = 10.0  # what can be lost when the power goes; each commit waits for the disk
_REMOVE_OLD_S = 600.0
_DAY_S = 86_400
TOTAL = "total"


class EarlyCloseError(Exception):
    """The running period is closed already; the text says until when."""


class LedgerTotals(NamedTuple):
    """`bytes`: all. `other`: those that no network has. places: in use in the open period.

    records: that are kept. seq: the number of the last one that is.
    """

    bytes: int
    other: int
    places: int
    records: int
    seq: int


class Collector:
    """Keeps the ledger below `folder`."""

    def __init__(
        self,
        folder: Path,
        settings: LedgerSettings,
        appliance: str,
        wall: Callable[[], float] = time,
        steady: Callable[[], float] = monotonic,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self._appliance = appliance
        self._wall = wall
        self._steady = steady
        self._clock = WallWatch()
        self.records = RecordFiles(record_folder(folder), settings)
        self._kept = self._seq = 0
        self._ahead: tuple[str, int] | None = None
        self._lock: int | None = None
        self._archive: Archive | None = None
        self._book = Book()
        self._done: set[str] = set()  # spools that are read to their end, but not yet committed so
        self._committed_at = float("-inf")
        self._removed_at = float("-inf")
        self._reading = threading.Lock()  # the book may be looked at from other threads

    @property
    def totals(self) -> LedgerTotals:
        """Of the ledger since it was begun, and the places in use now."""
        book = self._book
        latest = max(book.open, default=0)
        used = len(book.open[latest].sent) if latest else 0
        places = min(used, self._settings.networks)
        return LedgerTotals(book.total, book.other, places, self._kept, self._seq)

    @property
    def is_open(self) -> bool:
        """Whether the ledger is ours to write."""
        return self._lock is not None

    def collect(self) -> None:
        """Once a second: read what workers have told; close and commit what is due."""
        if self._archive is None and not self._open():
            return
        assert self._archive is not None
        with self._reading:
            self._read_spools()
        wall, now = self._wall(), self._steady()
        has_closed = self._clock.believes(wall, now) and self._close_due(self._archive, wall)
        if has_closed or now - self._committed_at >= COMMIT_S:
            self.commit()
        if now - self._removed_at >= _REMOVE_OLD_S:
            self._removed_at = now
            self._archive.close_hours(int(wall))
            self._archive.remove_old(wall)
            self._kept = self.records.remove_old()

    def close_early(self) -> LedgerRecord:
        """Close the period that runs, too; what is sent in the rest of it counts in the next.

        Returns its record. Raises EarlyCloseError where that was done already.
        """
        self.collect()
        if self._archive is None:
            raise EarlyCloseError("another process keeps the ledger")
        now = self._wall()
        if self._book.closed_to > now:
            until = strftime("%H:%M:%SZ", gmtime(self._book.closed_to))
            raise EarlyCloseError(f"the ledger is closed until {until} already")
        while self._book.closed_to <= now:
            self._close_due(self._archive, now + PERIOD_S + GRACE_S)
        record = self._book.closed[-1]
        self.commit()
        return record

    def renew(self, book: str, seq: int) -> None:
        """The fleet has record `seq` of a book; if we have not, this ledger is an older copy, put
        back in place of a later one, and goes on in another book. From any thread.
        """
        self._ahead = book, seq

    def _open(self) -> bool:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(
            self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        archive = Archive(self._folder, self._settings)
        book = archive.load_book()
        if not book.closed_to:  # what is closed was told; a spool may still have it
            book.since = max(archive.end, self.records.end)
        with self._reading:
            self._book = book
        self._lock, self._archive = lock, archive
        self._seq = 0 if book.chain is None else book.chain.seq
        return True

    def _read_spools(self) -> None:
        files = {file.name: file for file in self._spools()}
        for name, file in sorted(files.items()):
            if name in self._done:
                continue
            start = self._book.read_to.get(name, 0)
            part = read_spool(file, start)
            if part.stop != start:
                self._book.add(name, part.stop, part.records, self._settings.networks)
            if part.is_complete:
                self._done.add(name)
        self._book.forget(self._book.read_to.keys() - files.keys())

    def _spools(self) -> Iterable[Path]:
        try:
            entries = list(os.scandir(spool_folder(self._folder)))
        except FileNotFoundError:  # no worker has told anything yet
            return ()
        return [Path(entry.path) for entry in entries if entry.name.endswith(SUFFIX)]

    def _close_due(self, archive: Archive, now: float) -> bool:
        book, fresh = self._book, str(uuid.uuid4())
        longest_s = self._settings.records_days * _DAY_S
        ahead, self._ahead = self._ahead, None
        if is_older := ahead is not None and book.leave(*ahead, fresh, now):
            _log.error("ledger: an older copy: of book %s the fleet has record %d", *ahead)
        if book.begin(self._appliance, fresh, now, longest_s) or is_older:
            level = logging.WARNING if book.since or book.total else logging.INFO  # not the first
            _log.log(level, "ledger: book %s begins, of %s", fresh, self._appliance)
        due = list(book.due(now))
        for period in due:
            with self._reading:
                book.settle(period, self._settings.networks)
            if period.sent:
                archive.close(period)
            with self._reading:
                book.close(period)
        return bool(due)

    def commit(self) -> None:
        """Write the book down; then its closed records can be shown, and what is in it can go.

        A record that was shown before might be closed again, as another one.
        """
        if self._archive is None:
            return
        self._archive.commit(self._book)
        self._committed_at = self._steady()
        for record in self._book.closed:
            self.records.keep(record)
        if closed := len(self._book.closed):
            self._kept, self._seq = self._kept + closed, self._book.closed[-1].seq
            self._book.closed.clear()
        for name in self._done:
            (spool_folder(self._folder) / name).unlink(missing_ok=True)
        self._done.clear()

    def close(self) -> None:
        """The last reading and the last commit."""
        try:
            self.collect()
            self.commit()
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = self._archive = None

    # -- answers ---------------------------------------------------------------------------------

    def summarize(
        self,
        since: float,
        until: float,
        *,
        top: int,
        within: str | None = None,
        rename: Callable[[str], str] | None = None,
    ) -> Summary:
        """What was sent in [since, until), by the periods that begin in it, open ones too.

        top: how many networks to tell. within: only networks that overlap this one. rename: from a
        network to what it is counted under instead. Where periods of five minutes are no longer
        kept, sums are of hours, and rates leave that time out.
        """
        until = min(until, self._wall() + PERIOD_S)  # nothing was sent in what has not begun
        view = _View(within, rename)
        archive = self._archive or Archive(self._folder, self._settings)
        running = self._open_periods(since, until)
        # A period that is being closed may be in both places; the open one is never the lesser.
        besides = {period.start for period in running}
        kept = [start for start in archive.starts(PERIOD_S) if start not in besides]
        fine_from = min([*kept, *besides], default=int(until))

        def closed() -> Iterator[Period]:
            fine = archive.periods(PERIOD_S, since, until)
            return view.of(period for period in fine if period.start not in besides)

        hours = archive.periods(HOUR_S, since, min(until, fine_from - HOUR_S + 1))
        sums = add_networks(chain(view.of(hours), closed(), view.of(running)))
        names = find_top(sums, top)
        count = _count_periods(max(since, fine_from), min([until, *besides]))
        samples = _sample(closed(), names, count_highest(count))
        total = sum(sums.values())

        def measured(name: str, sent: int) -> NetworkSum:
            return measure(name, sent, samples[name], PERIOD_S, count, total)

        return Summary(
            since=since,
            until=until,
            periods=count,
            total=measured(TOTAL, total),
            networks=[measured(name, sums[name]) for name in names],
            networks_seen=len(sums),
        )

    def _open_periods(self, since: float, until: float) -> list[Period]:
        """Copies, as the book goes on meanwhile."""
        with self._reading:
            return [
                Period(period.start, period.seconds, dict(period.sent))
                for period in self._book.open.values()
                if since <= period.start < until
            ]


def _count_periods(since: float, until: float) -> int:
    """How many periods of five minutes begin in [since, until)."""
    return max(0, -int(-until // PERIOD_S) + int(-since // PERIOD_S))


def _sample(periods: Iterable[Period], names: list[str], most: int) -> dict[str, Highest]:
    """The highest bytes of a period, in all and of the networks named."""
    samples = {name: Highest(most) for name in (*names, TOTAL)}
    for period in periods:
        samples[TOTAL].add(period.total)
        for name in names:
            if sent := period.sent.get(name):
                samples[name].add(sent)
    return samples


class _View:
    """Periods with only those networks that lie in `within`, or in which it lies, under the names
    that `rename` gives.
    """

    def __init__(self, within: str | None, rename: Callable[[str], str] | None) -> None:
        self._outer = None if within is None else ipaddress.ip_network(within, strict=False)
        self._rename = rename
        self._known: dict[str, str | None] = {}

    def of(self, periods: Iterable[Period]) -> Iterator[Period]:
        if self._outer is None and self._rename is None:
            yield from periods
            return
        for period in periods:
            sent: dict[str, int] = {}
            for network, count in period.sent.items():
                name = self._name(network)
                if name is not None:
                    sent[name] = sent.get(name, 0) + count
            yield Period(period.start, period.seconds, sent)

    def _name(self, network: str) -> str | None:
        """What it is counted under; None: not at all."""
        if network not in self._known:
            if len(self._known) >= MOST_NETWORKS:
                self._known.clear()
            is_in = self._outer is None or _overlaps(network, self._outer)
            name = network if self._rename is None else self._rename(network)
            self._known[network] = name if is_in else None
        return self._known[network]


def _overlaps(name: str, outer: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        inner = ipaddress.ip_network(name)
    except ValueError:  # local, other
        return False
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.overlaps(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.overlaps(outer)
