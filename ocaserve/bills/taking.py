"""Records are taken: inserted or compared, and their bytes added to the samples, exactly once.

A record is named by appliance, book and number. Taken again it changes nothing; another one of the
same name, or one that does not fit to its neighbours in the chain, is parked: kept aside, billed to
nobody, and for an operator to look at. One of a month that is closed becomes entries of the next
bill, a reference, a reason and bytes for each party.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import msgspec

from ocaserve.bills.chains import Chain, ChainKey, ChainLink, begin_of, find_break, write_chains
from ocaserve.bills.month_life import MonthLife, begin_month, find_open_month
from ocaserve.bills.months import DAY_S, Month, MonthState
from ocaserve.bills.parties import Grouping
from ocaserve.bills.samples import add_samples
from ocaserve.bills.vault import MonthTables, Vault
from ocaserve.ledger.records import ChainError, LedgerRecord, check_record

LATE = "a record that came when the month was closed"
_OLDEST_S = 400 * DAY_S  # each month is a file, so who tells of 1970 must not make all since
_MOST_BOOKS = 100  # of an appliance in a month: what is missing of each is asked for
_MOST_PARKED = 1_000  # likewise: who parks more has been seen
_MOST_BYTES = 1 << 50  # 30 Tbit/s of one appliance: sums of a month stay within 63 bits


class TakenAs(Enum):
    """What became of a record. The value is the word of the API and of the metric."""

    NEW = "new"
    KNOWN = "known"
    LATE = "late"
    PARKED = "parked"
    REFUSED = "refused"


class Complaint(NamedTuple):
    """Of a record that was not taken."""

    record: str
    why: str


@dataclass(slots=True)
class Taken:
    """What became of some records."""

    counts: Counter[TakenAs] = field(default_factory=Counter)
    complaints: list[Complaint] = field(default_factory=list)


def name_of(record: LedgerRecord) -> str:
    """As entries refer to it."""
    return f"{record.appliance}/{record.book}/{record.seq}"


def find_record_fault(record: LedgerRecord, now: float) -> str:
    """What makes it no record at all; empty if nothing does."""
    try:
        check_record(record)
    except ChainError as error:
        return str(error)
    if record.start > now + DAY_S:
        return f"start {record.start} is more than a day ahead"
    if record.start < now - _OLDEST_S:
        return f"start {record.start} is more than {_OLDEST_S // DAY_S} days ago"
    if begin_of(record) < 0:
        return f"number {record.seq} cannot have come by {record.start}"
    if record.total > _MOST_BYTES:
        return f"total {record.total} is more than {_MOST_BYTES} bytes in five minutes"
    return ""


def take(
    vault: Vault,
    grouping: Grouping,
    records: Iterable[LedgerRecord],
    sites: Mapping[str, str],
    now: float,
) -> Taken:
    """Take what may come in any order, doubled, late. Raises LedgerUnavailableError, and then those
    of some months may have been taken: all may be brought again.

    grouping: of months that begin. sites: of appliances. now: seconds since the epoch.
    """
    taken = Taken()
    by_month: defaultdict[Month, list[LedgerRecord]] = defaultdict(list)
    month = Month(0, 0)
    for record in records:
        if why := find_record_fault(record, now):
            taken.counts[TakenAs.REFUSED] += 1
            taken.complaints.append(Complaint(name_of(record), why))
            continue
        if not month.start <= record.start < month.end:
            month = Month.of(record.start)
        by_month[month].append(record)
    for month, group in sorted(by_month.items()):
        with vault.writing(month) as tables:
            life = begin_month(tables, month, grouping)
            intake = _MonthIntake(vault, month, tables, life)
            intake.take(group, sites, int(now))
        taken.counts += intake.taken.counts  # it is committed
        taken.complaints += intake.taken.complaints
    return taken


class _MonthIntake:
    """Records of one month, in one transaction."""

    def __init__(self, vault: Vault, month: Month, tables: MonthTables, life: MonthLife) -> None:
        self.taken = Taken()
        self._vault = vault
        self._month = month
        self._tables = tables
        self._life = life
        self._is_late = life.state is not MonthState.OPEN
        self._last_id = 0  # of chains; unknown while none begins
        self._told: defaultdict[str, dict[int, str]] = defaultdict(dict)  # of this transaction

    def take(self, records: Sequence[LedgerRecord], sites: Mapping[str, str], now: int) -> None:
        chains: defaultdict[ChainKey, list[LedgerRecord]] = defaultdict(list)
        for record in records:
            chains[record.appliance, record.book].append(record)
        added: list[tuple[int, LedgerRecord]] = []
        changed: list[Chain] = []
        books_of: defaultdict[str, dict[str, Chain]] = defaultdict(dict)
        for each in Chain.read_of(self._tables, dict.fromkeys(name for name, _ in chains)):
            books_of[each.appliance][each.book] = each
        for key, group in chains.items():
            group.sort(key=lambda each: each.seq)
            books = dict(books_of[key[0]])
            chain = books.pop(key[1], None)
            if chain is None and len(books) >= _MOST_BOOKS:
                self._refuse(group, f"{len(books)} books of it have records in {self._month}")
                continue
            chain = chain or self._begin(group[0])
            fresh = list(self._judge(chain, group, books.values(), now))
            if fresh:
                chain.add(fresh, is_late=self._is_late)
                changed.append(chain)
                added += [(chain.id, each) for each in fresh]
        write_chains(self._tables, changed)
        self.taken.counts[TakenAs.LATE if self._is_late else TakenAs.NEW] += len(added)
        self._tables.append(
            "records",
            [self._row(chain, each, sites.get(each.appliance, "")) for chain, each in added],
        )
        fresh_ones = [each for _, each in added]
        if self._is_late:
            self._enter(fresh_ones, sites, now)
        else:
            parts = ((each.start, split) for each, split in self._split(fresh_ones, sites))
            add_samples(self._tables, parts)

    def _row(self, chain: int, record: LedgerRecord, site: str) -> tuple[int | str, ...]:
        networks = msgspec.json.encode(record.networks).decode()
        return (
            chain, record.seq, record.start, record.total, int(self._is_late), site,
            record.prev, record.digest, networks,
        )  # fmt: skip

    # -- insert or compare -----------------------------------------------------------------------

    def _begin(self, record: LedgerRecord) -> Chain:
        """A chain of which nothing is held in this month; another month may tell when it began."""
        if not self._last_id:
            [(self._last_id,)] = self._tables.ask("SELECT COALESCE(MAX(id), 0) FROM chains")
        self._last_id += 1
        chain = Chain.begin(self._last_id, record)
        for month in self._vault.months():
            if month != self._month:
                with self._vault.reading(month) as tables:
                    there = Chain.find(tables, chain.key) if tables else None
                if there is not None:
                    chain.begun = there.begun
                    break
        return chain

    def _judge(
        self, chain: Chain, records: Sequence[LedgerRecord], others: Iterable[Chain], now: int
    ) -> Iterator[LedgerRecord]:
        """Those that are new. records: in order. others: the other books of the appliance."""
        held = chain.links(self._tables, records[0].seq - 1, records[-1].seq + 1)
        told = self._told[chain.appliance]
        since, until = min(each.start for each in records), max(each.end for each in records)
        for other in others:
            told |= dict.fromkeys(other.starts(self._tables, since, until), other.book)
        for record in records:
            known = held.get(record.seq)
            if known is not None and known.digest == record.digest:
                self.taken.counts[TakenAs.KNOWN] += 1
                continue
            if known is not None:
                why = "another one of this number is held"
            elif begin_of(record) != chain.begun:
                why = "its number is not that of its period"
            elif told.get(record.start, chain.book) != chain.book:
                why = f"book {told[record.start]} has this period"
            else:
                why = find_break(record, held)
            if why:
                self._park(record, why, now)
                continue
            held[record.seq] = ChainLink(record.digest, record.prev)
            told[record.start] = chain.book
            yield record

    def _refuse(self, records: Sequence[LedgerRecord], why: str) -> None:
        self.taken.counts[TakenAs.REFUSED] += len(records)
        self.taken.complaints += [Complaint(name_of(each), why) for each in records]

    def _park(self, record: LedgerRecord, why: str, now: int) -> None:
        [(parked,)] = self._tables.ask(
            "SELECT COUNT(*) FROM parked WHERE appliance = ?", record.appliance
        )
        if parked >= _MOST_PARKED:
            self._refuse([record], f"{why}; {parked} of it are parked already")
            return
        self.taken.counts[TakenAs.PARKED] += 1
        self.taken.complaints.append(Complaint(name_of(record), why))
        self._tables.ask(
            "INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            record.appliance, record.book, record.seq, record.digest, why,
            msgspec.json.encode(record).decode(), now,
        )  # fmt: skip

    # -- what it adds up to ----------------------------------------------------------------------

    def _split(
        self, records: Sequence[LedgerRecord], sites: Mapping[str, str]
    ) -> Iterator[tuple[LedgerRecord, Mapping[str, int]]]:
        for each in records:
            assignment = self._life.grouping.at(each.start)
            yield each, assignment.split(each.networks, sites.get(each.appliance, ""))

    def _enter(self, records: Sequence[LedgerRecord], sites: Mapping[str, str], now: int) -> None:
        """For the bill of the first month that is open."""
        billed_in = find_open_month(self._vault, self._month.following).name
        rows = [
            (name_of(each), party, each.start, count, LATE, billed_in, now)
            for each, by_party in self._split(records, sites)
            for party, count in by_party.items()
        ]
        self._tables.append("entries", rows)
