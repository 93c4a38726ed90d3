"""The chain of an appliance's book, as far as it lies in one month: which numbers are held.

A record begins where the one before it ended. So its number tells its period, once one record of
the book is known, and what is missing is known by number and by time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

from ocaserve.bills.months import PERIOD_S
from ocaserve.bills.vault import MonthTables
from ocaserve.ledger.records import LedgerRecord

ChainKey: TypeAlias = tuple[str, str]
"""Appliance and book."""

_COLUMNS = "id, appliance, book, begun, first_seq, last_seq, last_digest, held, bytes, late_bytes"
_ASKED = 50  # appliances of one statement
_CHANGED = ("first_seq", "last_seq", "last_digest", "held", "bytes", "late_bytes")


class ChainLink(NamedTuple):
    """What the neighbours of a record must fit to."""

    digest: str
    prev: str


@dataclass(slots=True)
class Chain:
    """begun: the start of record 1. held: how many, from first_seq to last_seq; fewer than those
    are holes. bytes: of records in samples; late_bytes: of those in entries.
    """

    id: int
    appliance: str
    book: str
    begun: int
    first_seq: int = 0
    last_seq: int = 0
    last_digest: str = ""
    held: int = 0
    bytes: int = 0
    late_bytes: int = 0

    @classmethod
    def find(cls, tables: MonthTables, key: ChainKey) -> Chain | None:
        """None where nothing of it is held."""
        where = "WHERE appliance = ? AND book = ?"
        rows = tables.ask(f"SELECT {_COLUMNS} FROM chains {where}", *key)  # noqa: S608
        return cls(*rows[0]) if rows else None

    @classmethod
    def begin(cls, number: int, record: LedgerRecord) -> Chain:
        """With a record of it, which is not added yet. number: that no other one has."""
        return cls(number, record.appliance, record.book, begin_of(record))

    @classmethod
    def read_of(cls, tables: MonthTables, appliances: Iterable[str]) -> list[Chain]:
        """All books of some appliances."""
        found: list[Chain] = []
        left = iter(appliances)
        places = ", ".join("?" * _ASKED)
        asked = f"SELECT {_COLUMNS} FROM chains WHERE appliance IN ({places})"  # noqa: S608
        while some := list(islice(left, _ASKED)):
            padded = [*some, *some[:1] * (_ASKED - len(some))]  # so that it is one statement
            found += [cls(*row) for row in tables.ask(asked, *padded)]
        return found

    @classmethod
    def read_all(cls, tables: MonthTables) -> list[Chain]:
        rows = tables.ask(f"SELECT {_COLUMNS} FROM chains")  # noqa: S608 - our own names
        return [cls(*row) for row in rows]

    @property
    def key(self) -> ChainKey:
        return self.appliance, self.book

    def links(self, tables: MonthTables, low: int, high: int) -> dict[int, ChainLink]:
        """Records held within [low, high], by number."""
        if not self.held or high < self.first_seq or low > self.last_seq:
            return {}
        if low == self.last_seq:  # as nearly always: what comes is the next one
            return {low: ChainLink(self.last_digest, "")}
        rows = tables.ask(
            "SELECT seq, digest, prev FROM records WHERE chain = ? AND seq BETWEEN ? AND ?",
            self.id, low, high,
        )  # fmt: skip
        return {row[0]: ChainLink(*row[1:]) for row in rows}

    def starts(self, tables: MonthTables, since: int, until: int) -> set[int]:
        """Of the records held that begin within [since, until)."""
        first, end = ((at - self.begun) // PERIOD_S + 1 for at in (since, until))
        if not self.held or end <= self.first_seq or first > self.last_seq:
            return set()
        rows = tables.ask(
            "SELECT start FROM records WHERE chain = ? AND seq >= ? AND seq < ?",
            self.id, first, end,
        )  # fmt: skip
        return {row[0] for row in rows}

    def add(self, records: Sequence[LedgerRecord], *, is_late: bool) -> None:
        """They are held from now on. In order, one at least."""
        first, last = records[0].seq, records[-1].seq
        self.first_seq = min(self.first_seq or first, first)
        if last > self.last_seq:
            self.last_seq, self.last_digest = last, records[-1].digest
        self.held += len(records)
        total = sum(each.total for each in records)
        if is_late:
            self.late_bytes += total
        else:
            self.bytes += total


def write_chains(tables: MonthTables, chains: Iterable[Chain]) -> None:
    """As they are now, each once."""
    values = ", ".join("?" * (_COLUMNS.count(",") + 1))
    changed = ", ".join(f"{name} = excluded.{name}" for name in _CHANGED)
    tables.run_many(
        f"INSERT INTO chains ({_COLUMNS}) VALUES ({values}) "  # noqa: S608 - our own names
        f"ON CONFLICT (id) DO UPDATE SET {changed}",
        [
            (each.id, each.appliance, each.book, each.begun, *(getattr(each, n) for n in _CHANGED))
            for each in chains
        ],
    )


def begin_of(record: LedgerRecord) -> int:
    """When record 1 of its book begins, or began."""
    return record.start - (record.seq - 1) * PERIOD_S


def find_break(record: LedgerRecord, held: Mapping[int, ChainLink]) -> str:
    """Why it is not of the chain that its neighbours are of; empty if it may be."""
    before, after = held.get(record.seq - 1), held.get(record.seq + 1)
    if before is not None and before.digest != record.prev:
        return "its prev is not the digest of the one before it"
    if after is not None and after.prev != record.digest:
        return "its digest is not the prev of the one behind it"
    return ""
