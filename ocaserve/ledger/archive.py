"""Periods as files: closed ones in two rings, and the book of the open ones.

The rings are folders of one file for each period, named by its start; the oldest go when their time
or the room is over.
"""

from __future__ import annotations

import calendar
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ocaserve.ledger.book import HOUR_S, PERIOD_S, Book, Period, merge
from ocaserve.ledger.folding import fold
from ocaserve.ledger.sealed_files import (
    SUFFIX,
    DamagedFileError,
    put_aside,
    read_sealed,
    write_sealed,
)
from ocaserve.settings.ledger import LedgerSettings

_log = logging.getLogger(__name__)

_NAME = "%Y%m%dT%H%M%SZ"
_DAY_S = 86_400
_RINGS = {PERIOD_S: "five_minutes", HOUR_S: "hours"}


class Archive:
    """What is kept below `folder`. All methods may wait for the disk and raise OSError."""

    def __init__(self, folder: Path, settings: LedgerSettings) -> None:
        self.folder = folder
        self._settings = settings
        self._book_file = folder / f"open{SUFFIX}"
        for name in _RINGS.values():
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- the book --------------------------------------------------------------------------------

    def load_book(self) -> Book:
        """The book as it was committed last; an empty one at the beginning.

        A damaged one is put aside, and what the spools hold is counted from their beginnings.
        """
        try:
            return read_sealed(self._book_file, Book)
        except FileNotFoundError:
            return Book()
        except DamagedFileError as error:
            _log.error("ledger: %s; it is put aside", error)
            put_aside(self._book_file)
            return Book()

    def commit(self, book: Book) -> None:
        """Replace the book."""
        write_sealed(self._book_file, book)

    # -- the rings -------------------------------------------------------------------------------

    def close(self, period: Period) -> None:
        """Keep a period of five minutes, and the hour if it was its last. To do it again is right.

        The book may not have been committed after it was done; then it is closed again, with
        whatever has been added to it.
        """
        write_sealed(self._file(period), period)
        hour = period.start // HOUR_S * HOUR_S
        if period.end == hour + HOUR_S:
            self._close_hour(hour)

    def close_hours(self, before: int) -> None:
        """Make up for hours whose last period had no traffic: those that ended by `before`."""
        latest = before // HOUR_S * HOUR_S - HOUR_S
        for hour in {start // HOUR_S * HOUR_S for start in self.starts(PERIOD_S)}:
            if hour <= latest and not (self.folder / "hours" / _name(hour)).exists():
                self._close_hour(hour)

    def _close_hour(self, hour: int) -> None:
        most = self._settings.networks
        write_sealed(
            self.folder / "hours" / _name(hour),
            merge(self.periods(PERIOD_S, hour, hour + HOUR_S), hour, HOUR_S, most),
        )

    def _file(self, period: Period) -> Path:
        return self.folder / _RINGS[period.seconds] / _name(period.start)

    def starts(self, seconds: int) -> list[int]:
        """When the kept periods of this length begin, in order."""
        names = (entry.name for entry in os.scandir(self.folder / _RINGS[seconds]))
        return sorted(_start(name) for name in names if name.endswith(SUFFIX))

    @property
    def end(self) -> int:
        """Of the last period of five minutes that is kept; 0 without any."""
        return max(self.starts(PERIOD_S), default=-PERIOD_S) + PERIOD_S

    def periods(self, seconds: int, since: float, until: float) -> Iterator[Period]:
        """Kept periods of this length that begin within [since, until), in order."""
        for start in self.starts(seconds):
            if since <= start < until:
                try:
                    yield read_sealed(self.folder / _RINGS[seconds] / _name(start), Period)
                except FileNotFoundError:  # it went while we were at it
                    continue
                except DamagedFileError as error:
                    _log.error("ledger: %s; its bytes are missing in sums", error)

    def remove_old(self, now: float) -> None:
        """Let go of what is older than it is to be kept, and make room where it is too much.

        First periods that are larger than their share give up networks with few bytes, the oldest
        first; only where that is not enough the oldest go. So a flood of networks costs their
        detail, and not the month of everybody else.
        """
        ages = {
            PERIOD_S: self._settings.five_minutes_days * _DAY_S,
            HOUR_S: self._settings.hours_days * _DAY_S,
        }
        kept: list[_Kept] = []
        for seconds, most_s in ages.items():
            for start in self.starts(seconds):
                file = self.folder / _RINGS[seconds] / _name(start)
                if start + seconds < now - most_s:
                    file.unlink(missing_ok=True)
                else:
                    kept.append(_Kept(start, file.stat().st_size, file))
        excess = sum(each.size for each in kept) - self._settings.size_bytes
        if excess > 0:
            share = self._settings.size_bytes // sum(age // s for s, age in ages.items())
            self._make_room(sorted(kept), excess, share)

    def _make_room(self, kept: list[_Kept], excess: int, share: int) -> None:
        thinned = removed = 0
        for each in kept:
            if excess > 0 and each.size > share:
                excess -= self._thin(each, share)
                thinned += 1
        for each in kept:
            if excess <= 0:
                break
            excess -= each.file.stat().st_size
            each.file.unlink(missing_ok=True)
            removed += 1
        _log.warning(
            "ledger: ledger.size_bytes = %d is full: %d periods keep fewer networks, %d are gone",
            self._settings.size_bytes, thinned, removed,
        )  # fmt: skip

    def _thin(self, kept: _Kept, share: int) -> int:
        """Keep so many networks of a period as its share has room for; returns the bytes saved."""
        try:
            period = read_sealed(kept.file, Period)
        except (DamagedFileError, FileNotFoundError):
            return 0
        most = max(1, len(period.sent) * share // kept.size)
        write_sealed(kept.file, Period(period.start, period.seconds, fold(period.sent, most).sent))
        return kept.size - kept.file.stat().st_size


class _Kept(NamedTuple):
    """A period that is kept, in the order of its begin. size: of its file."""

    start: int
    size: int
    file: Path


def _name(start: int) -> str:
    return time.strftime(_NAME, time.gmtime(start)) + SUFFIX


def _start(name: str) -> int:
    return calendar.timegm(time.strptime(name.removesuffix(SUFFIX), _NAME))
