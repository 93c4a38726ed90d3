"""Closed records as files, for as long as somebody may want to fetch them.

A book is a folder, named by its begin and its UUID, so that books stand in their order; a record is
a file in it, named by its number. A record's file appears once the book that closed it is on the
disk, and never changes. The oldest go when their time or the room is over.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from ocaserve.ledger.records import RECORD_S, LedgerRecord
from ocaserve.ledger.sealed_files import (
    SUFFIX,
    DamagedFileError,
    put_aside,
    read_sealed,
    write_sealed,
)
from ocaserve.settings.ledger import LedgerSettings

_log = logging.getLogger(__name__)

_BEGIN = "%Y%m%dT%H%M%SZ"
_UUID_CHARACTERS = 36
_DAY_RECORDS = 86_400 // RECORD_S


class KeptBook(NamedTuple):
    """`seqs`: the numbers of its records that are kept, in order; never empty."""

    name: str
    seqs: list[int]


class RecordFiles:
    """What is kept below `folder`. All methods may wait for the disk and raise OSError."""

    def __init__(self, folder: Path, settings: LedgerSettings) -> None:
        self._folder = folder
        self._settings = settings

    def keep(self, record: LedgerRecord) -> None:
        """To do it again is right."""
        folder = self._folders().get(record.book)
        if folder is None:
            begin = time.strftime(_BEGIN, time.gmtime(record.start))
            folder = self._folder / f"{begin}-{record.book}"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_sealed(folder / _name(record.seq), record)

    def books(self) -> list[KeptBook]:
        """All that have records, the oldest first."""
        found = (KeptBook(name, _seqs_in(folder)) for name, folder in self._folders().items())
        return [book for book in found if book.seqs]

    def read(self, book: str, seqs: Iterable[int], most_bytes: int) -> list[LedgerRecord]:
        """Those that are kept, as many as have room in an answer of so many bytes, or one.

        A damaged one is put aside: from then on it is a hole.
        """
        folder = self._folders().get(book)
        records: list[LedgerRecord] = []
        size = 0
        for record in _read_each(folder, seqs) if folder else ():
            size += len(msgspec.json.encode(record))
            if records and size > most_bytes:
                break
            records.append(record)
        return records

    @property
    def end(self) -> int:
        """Of the last record that is kept, as far as it can be read; 0 without any."""
        books = self.books()
        last = self.read(books[-1].name, books[-1].seqs[-1:], 0) if books else []
        return last[0].end if last else 0

    def remove_old(self) -> int:
        """Let go of what is more than is to be kept; returns how many are left."""
        files = [
            folder / _name(seq) for folder in self._folders().values() for seq in _seqs_in(folder)
        ]
        sizes = [file.stat().st_size for file in files]
        excess = sum(sizes) - self._settings.records_bytes
        gone = max(0, len(files) - self._settings.records_days * _DAY_RECORDS)
        excess -= sum(sizes[:gone])
        in_time = gone
        while excess > 0:
            excess -= sizes[gone]
            gone += 1
        for file in files[:gone]:
            file.unlink()
        for folder in {file.parent for file in files[:gone]}:
            if not any(folder.iterdir()):
                folder.rmdir()
        if gone > in_time:
            _log.warning(
                "ledger: ledger.records_bytes = %d is full: %d records are gone before their time",
                self._settings.records_bytes, gone - in_time,
            )  # fmt: skip
        return len(files) - gone

    def _folders(self) -> dict[str, Path]:
        """By name of the book, the oldest first."""
        try:
            names = sorted(os.listdir(self._folder))
        except FileNotFoundError:  # nothing was closed yet
            return {}
        return {name[-_UUID_CHARACTERS:]: self._folder / name for name in names}


def _name(seq: int) -> str:
    return f"{seq:012}{SUFFIX}"


def _seqs_in(folder: Path) -> list[int]:
    names = (name for name in os.listdir(folder) if name.endswith(SUFFIX) and name[0] != ".")
    return sorted(int(name.removesuffix(SUFFIX)) for name in names)


def _read_each(folder: Path, seqs: Iterable[int]) -> Iterator[LedgerRecord]:
    for seq in seqs:
        file = folder / _name(seq)
        try:
            yield read_sealed(file, LedgerRecord)
        except FileNotFoundError:  # it went while we were at it
            continue
        except DamagedFileError as error:
            _log.error("ledger: %s; it is put aside, and record %d is missing", error, seq)
            put_aside(file)
