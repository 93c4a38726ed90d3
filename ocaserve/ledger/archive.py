"""Periods as files: closed ones in two rings, and the book of the open ones.

A file is a line that names the format, the CRC-32 of the rest (four bytes, big-endian), and
MessagePack. It is written under another name, brought to the disk and renamed, so it is there
whole or not at all. The rings are folders of one file for each period, named by its start; the
oldest go when their time or the room is over.
"""

from __future__ import annotations

import calendar
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from ocaserve.ledger.book import HOUR_S, PERIOD_S, Book, Period, merge
from ocaserve.settings.ledger import LedgerSettings

_log = logging.getLogger(__name__)

_MAGIC = b"ocaserve ledger 1\n"
_CHECK_BYTES = 4
_SUFFIX = ".ledger"
_NAME = "%Y%m%dT%H%M%SZ"
_DAY_S = 86_400
_RINGS = {PERIOD_S: "five_minutes", HOUR_S: "hours"}

Kept = TypeVar("Kept")


class DamagedFileError(Exception):
    """The file is not what was written: its name stands in the text."""


class Archive:
    """What is kept below `folder`. All methods may wait for the disk and raise OSError."""

    def __init__(self, folder: Path, settings: LedgerSettings) -> None:
        self.folder = folder
        self._settings = settings
        self._book_file = folder / f"open{_SUFFIX}"
        for name in _RINGS.values():
            (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- the book --------------------------------------------------------------------------------

    def load_book(self) -> Book:
        """The book as it was committed last; an empty one at the beginning.

        A damaged one is put aside, and what the spools hold is counted from their beginnings.
        """
        try:
            return _read(self._book_file, Book)
        except FileNotFoundError:
            return Book()
        except DamagedFileError as error:
            _log.error("ledger: %s; it is put aside", error)
            self._book_file.rename(self._book_file.with_suffix(".damaged"))
            return Book()

    def commit(self, book: Book) -> None:
        """Replace the book."""
        _write(self._book_file, book)

    # -- the rings -------------------------------------------------------------------------------

    def close(self, period: Period) -> None:
        """Keep a period of five minutes, and the hour if it was its last. To do it again is right.

        The book may not have been committed after it was done; then it is closed again, with
        whatever has been added to it.
        """
        _write(self._file(period), period)
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
        _write(
            self.folder / "hours" / _name(hour),
            merge(self.periods(PERIOD_S, hour, hour + HOUR_S), hour, HOUR_S, most),
        )

    def _file(self, period: Period) -> Path:
        return self.folder / _RINGS[period.seconds] / _name(period.start)

    def starts(self, seconds: int) -> list[int]:
        """When the kept periods of this length begin, in order."""
        names = (entry.name for entry in os.scandir(self.folder / _RINGS[seconds]))
        return sorted(_start(name) for name in names if name.endswith(_SUFFIX))

    def periods(self, seconds: int, since: float, until: float) -> Iterator[Period]:
        """Kept periods of this length that begin within [since, until), in order."""
        for start in self.starts(seconds):
            if since <= start < until:
                try:
                    yield _read(self.folder / _RINGS[seconds] / _name(start), Period)
                except FileNotFoundError:  # it went while we were at it
                    continue
                except DamagedFileError as error:
                    _log.error("ledger: %s; its bytes are missing in sums", error)

    def remove_old(self, now: float) -> None:
        """Let go of what is older than it is to be kept, or too much, the oldest first."""
        ages = {
            PERIOD_S: self._settings.five_minutes_days * _DAY_S,
            HOUR_S: self._settings.hours_days * _DAY_S,
        }
        kept: list[tuple[int, int, Path]] = []
        for seconds, most_s in ages.items():
            for start in self.starts(seconds):
                file = self.folder / _RINGS[seconds] / _name(start)
                if start + seconds < now - most_s:
                    file.unlink(missing_ok=True)
                else:
                    kept.append((start, file.stat().st_size, file))
        excess = sum(size for _, size, _ in kept) - self._settings.size_bytes
        for _, size, file in sorted(kept):
            if excess <= 0:
                break
            file.unlink(missing_ok=True)
            excess -= size


def _name(start: int) -> str:
    return time.strftime(_NAME, time.gmtime(start)) + _SUFFIX


def _start(name: str) -> int:
    return calendar.timegm(time.strptime(name.removesuffix(_SUFFIX), _NAME))


def _write(file: Path, value: object) -> None:
    payload = msgspec.msgpack.encode(value)
    hidden = file.with_suffix(".new")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as out:
        out.write(_MAGIC + zlib.crc32(payload).to_bytes(_CHECK_BYTES) + payload)
        out.flush()
        os.fsync(descriptor)
    hidden.rename(file)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    """So that the rename is on the disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # some file systems cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(file: Path, shape: type[Kept]) -> Kept:
    """Raises DamagedFileError, FileNotFoundError, OSError."""
    data = file.read_bytes()
    start = len(_MAGIC) + _CHECK_BYTES
    check = int.from_bytes(data[len(_MAGIC) : start])
    if not data.startswith(_MAGIC) or zlib.crc32(data[start:]) != check:
        raise DamagedFileError(f"{file} is damaged")
    try:
        return msgspec.msgpack.decode(data[start:], type=shape)
    except msgspec.DecodeError as error:
        raise DamagedFileError(f"{file} is of another version: {error}") from error
