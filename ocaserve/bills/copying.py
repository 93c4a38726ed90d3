"""From one ledger to another: months that are closed as they are, others record by record.

To do it again brings what is missing, and changes nothing of what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import msgspec

from ocaserve.bills.chains import Chain
from ocaserve.bills.month_life import begin_month, read_life
from ocaserve.bills.months import PERIOD_S, Month, MonthState
from ocaserve.bills.sides import Ledger
from ocaserve.bills.taking import take
from ocaserve.bills.vault import TABLES, LedgerRefusedError, MonthTables, Row, Vault
from ocaserve.ledger.records import LedgerRecord

_BATCH = 2_000


class SitedRecord(NamedTuple):
    """A record as it is held: with the site that its appliance was of."""

    record: LedgerRecord
    site: str


def copy_month(
    source: Vault,
    target: Ledger,
    month: Month,
    turn: AbstractContextManager[object],
) -> None:
    """What the target lacks of a month. turn: held while a closed one is copied as a whole.

    Records of an open one may come into both meanwhile. Raises LedgerUnavailableError, and
    LedgerRefusedError where the target contradicts.
    """
    with source.reading(month) as tables:
        life = read_life(tables)
        if tables is None or life is None:
            return
        if life.state is MonthState.OPEN:
            _copy_records(tables, target, month)
            _copy_aside(tables, target, month)
            return
    with turn, source.reading(month) as tables:
        assert tables is not None, "a closed month does not go"
        copy_as_it_is(tables, target.vault, month)


def copy_as_it_is(tables: MonthTables, target: Vault, month: Month) -> None:
    """All that stands in the tables of a month, in place of what the target has of it."""
    with target.writing(month) as out:
        for table in TABLES:
            out.ask(f"DELETE FROM {table}")  # noqa: S608 - our own names
            _insert(tables, out, table, "")


def _insert(tables: MonthTables, out: MonthTables, table: str, conflict: str) -> None:
    rows = tables.stream(f"SELECT * FROM {table}")  # noqa: S608 - our own names
    first = next(rows, None)
    if first is None:
        return
    values = ", ".join("?" * len(first))

    def again() -> Iterator[Row]:
        yield first
        yield from rows

    out.run_many(f"INSERT INTO {table} VALUES ({values}) {conflict}", again())  # noqa: S608


def _copy_records(tables: MonthTables, target: Ledger, month: Month) -> None:
    with target.vault.reading(month) as there:
        known = {each.key: each for each in Chain.read_all(there)} if there is not None else {}
    for chain in Chain.read_all(tables):
        other = known.get(chain.key)
        if other is None or (other.held, other.bytes) != (chain.held, chain.bytes):
            _copy_chain(tables, chain, target, month)


def _copy_chain(tables: MonthTables, chain: Chain, target: Ledger, month: Month) -> None:
    batch: list[LedgerRecord] = []
    site = ""

    def bring() -> None:
        # As if they had come when the month ended: how old they may be by now does not count.
        taken = take(*target, batch, {chain.appliance: site}, float(month.end))
        if taken.complaints:
            said = [f"{each.record}: {each.why}" for each in taken.complaints[:5]]
            raise LedgerRefusedError(f"{target.vault.url} does not take what is held", said)
        batch.clear()

    for each in read_records(tables, chain):
        if batch and (each.site != site or len(batch) >= _BATCH):
            bring()
        site = each.site
        batch.append(each.record)
    if batch:
        bring()


def read_records(tables: MonthTables, chain: Chain) -> Iterator[SitedRecord]:
    """All of a chain that are held in a month, in order."""
    decode = msgspec.json.Decoder(dict[str, int]).decode
    for seq, start, total, site, prev, digest, networks in tables.stream(
        "SELECT seq, start, total, site, prev, digest, networks FROM records "
        "WHERE chain = ? ORDER BY seq", chain.id,
    ):  # fmt: skip
        record = LedgerRecord(
            appliance=chain.appliance, book=chain.book, seq=seq, start=start, seconds=PERIOD_S,
            networks=decode(networks), total=total, prev=prev, digest=digest,
        )  # fmt: skip
        yield SitedRecord(record, site)


def _copy_aside(tables: MonthTables, target: Ledger, month: Month) -> None:
    """What is not made of the records."""
    with target.vault.writing(month) as out:
        begin_month(out, month, target.grouping)
        for table in ("entries", "parked"):
            _insert(tables, out, table, "ON CONFLICT DO NOTHING")
