"""The end of a month: whether all adds up, what is missing, and bills that never change again.

An invariant that does not hold refuses. So does what is missing, unless an operator accepts it with
a reason, which stands in every bill of the month. What becomes known later is an entry.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from ocaserve.bills.bill import (
    Bill,
    BillBasis,
    BillCorrection,
    BillKey,
    Entry,
    group_entries,
    make_bill,
    make_correction,
    sign_bill,
)
from ocaserve.bills.chains import ChainKey
from ocaserve.bills.gaps import ChainSpan, Completeness, Gap, count_held, find_gaps, survey
from ocaserve.bills.month_life import MonthLife, find_open_month, read_life
from ocaserve.bills.months import MONTH_STATES, PERIOD_S, Month, MonthEvent, MonthState
from ocaserve.bills.parties import UNASSIGNED, Party
from ocaserve.bills.samples import read_curves
from ocaserve.bills.vault import LedgerRefusedError, MonthTables, Vault
from ocaserve.lifecycle import advance

_MOST_SAID = 20  # gaps in a refusal
_CELLS = " + ".join(f"s{n}" for n in range(12))


def close_month(
    vault: Vault, month: Month, now: float, key: BillKey | None, accepted: str = ""
) -> list[Bill]:
    """Issue the bills of a month. accepted: why it is closed though something is missing.

    Raises LedgerRefusedError, and then nothing has changed.
    """
    _require_turn(vault, month, now)
    if key is None:
        raise LedgerRefusedError("closed bills are signed: fleet.bill_keys_file is not set")
    with vault.writing(month) as tables:
        life = read_life(tables)
        assert life is not None, "a month that is there has begun"
        if life.state is not MonthState.OPEN:
            raise LedgerRefusedError(f"{month} is {life.state.value} already")
        spans = survey(vault)
        gaps = find_gaps(vault, spans, month, now)
        missing = [*_tell_gaps(gaps), *_tell_parked(tables)]
        if missing and not accepted:
            raise LedgerRefusedError(f"{month} is not complete", missing)
        if faults := list(find_imbalances(vault, tables, spans, month)):
            raise LedgerRefusedError(f"{month} does not add up", faults)
        event = MonthEvent.CLOSE_INCOMPLETE if missing else MonthEvent.CLOSE
        life = life._replace(
            state=advance(MONTH_STATES, life.state, event),
            closed_at=int(now),
            accepted=accepted if missing else "",
        )
        whole = count_held(spans, month, gaps)
        bills = [sign_bill(each, key, now) for each in make_bills(vault, month, life, whole, now)]
        _write(tables, life, whole, bills)
    return bills


def _require_turn(vault: Vault, month: Month, now: float) -> None:
    months = vault.months()
    if month not in months:
        raise LedgerRefusedError(f"nothing is held of {month}")
    if now < month.end:
        raise LedgerRefusedError(f"{month} is not over")
    first = find_open_month(vault, months[0])
    if first < month and first in months:
        raise LedgerRefusedError(f"{first} is to be closed before {month}")


def _tell_gaps(gaps: Sequence[Gap]) -> Iterator[str]:
    yield from map(str, gaps[:_MOST_SAID])
    if len(gaps) > _MOST_SAID:
        yield f"and {len(gaps) - _MOST_SAID} more"


def _tell_parked(tables: MonthTables) -> Iterator[str]:
    [(parked,)] = tables.ask("SELECT COUNT(*) FROM parked")
    if parked:
        yield f"{parked} records are parked"


def _write(
    tables: MonthTables, life: MonthLife, whole: Completeness, bills: Sequence[Bill]
) -> None:
    tables.ask(
        "UPDATE life SET state = ?, closed_at = ?, accepted = ?, completeness = ?",
        life.state.value, life.closed_at, life.accepted, msgspec.json.encode(whole).decode(),
    )  # fmt: skip
    rows = [(each.party, msgspec.json.encode(each).decode()) for each in bills]
    tables.append("bills", rows)


# -- what must be equal --------------------------------------------------------------------------


def find_imbalances(
    vault: Vault, tables: MonthTables, spans: Mapping[ChainKey, ChainSpan], month: Month
) -> Iterator[str]:
    """Where the sums of appliances, networks and parties differ, or chains do not hold together."""
    for is_late, parties in (
        (0, f"SELECT COALESCE(SUM({_CELLS}), 0) FROM samples"),  # noqa: S608 - our own names
        (1, "SELECT COALESCE(SUM(bytes), 0) FROM entries WHERE start IS NOT NULL"),
    ):
        column = "late_bytes" if is_late else "bytes"
        [(appliances,)] = tables.ask(f"SELECT COALESCE(SUM({column}), 0) FROM chains")  # noqa: S608
        [(records,)] = tables.ask(
            "SELECT COALESCE(SUM(total), 0) FROM records WHERE is_late = ?", is_late
        )
        networks = _sum_networks(tables, is_late)
        [(of_parties,)] = tables.ask(parties)
        sums = {
            "appliances": appliances, "records": records,
            "networks": networks, "parties": of_parties,
        }  # fmt: skip
        if len(set(map(int, sums.values()))) > 1:
            kind = "late bytes" if is_late else "bytes"
            yield f"{kind}: " + ", ".join(f"{name} have {value}" for name, value in sums.items())
    yield from _find_broken_links(vault, tables, spans, month)


def _sum_networks(tables: MonthTables, is_late: int) -> int:
    decode = msgspec.json.Decoder(dict[str, int]).decode
    rows = tables.stream("SELECT networks FROM records WHERE is_late = ?", is_late)
    return sum(sum(decode(text).values()) for (text,) in rows)


def _find_broken_links(
    vault: Vault, tables: MonthTables, spans: Mapping[ChainKey, ChainSpan], month: Month
) -> Iterator[str]:
    """Within a month neighbours were compared when they came; here over its beginning."""
    before = Month.of(month.start - 1)
    with vault.reading(before) as earlier:
        for (appliance, book), span in spans.items():
            last, first = span.by_month.get(before), span.by_month.get(month)
            if earlier is None or not (last and first and last.last_seq + 1 == first.first_seq):
                continue
            asked = "FROM records WHERE chain = ? AND seq = ?"
            [(digest,)] = earlier.ask(f"SELECT digest {asked}", last.id, last.last_seq)
            [(prev,)] = tables.ask(f"SELECT prev {asked}", first.id, first.first_seq)
            if digest != prev:
                yield f"{appliance}, book {book}: {first.first_seq} does not follow the one before"


# -- bills ---------------------------------------------------------------------------------------


def read_entries(vault: Vault, billed_by: Month) -> list[Entry]:
    """Corrections of all months that are on bills up to that of this month."""
    found: list[Entry] = []
    for month in vault.months():
        with vault.reading(month) as tables:
            rows = [] if tables is None else tables.ask(
                "SELECT reference, party, start, bytes, reason, billed_in FROM entries "
                "WHERE billed_in <= ?", billed_by.name,
            )  # fmt: skip
        found += [Entry(month.name, *row) for row in rows]
    return found


class _Month(NamedTuple):
    life: MonthLife
    curves: Mapping[str, array[int]]


def _read_month(vault: Vault, month: Month, party: str = "") -> _Month | None:
    with vault.reading(month) as tables:
        life = read_life(tables)
        if tables is None or life is None:
            return None
        return _Month(life, read_curves(tables, month, party))


def make_bills(
    vault: Vault, month: Month, life: MonthLife, whole: Completeness, now: float, party: str = ""
) -> list[Bill]:
    """Of all parties, or of one, as of now; not signed."""
    ours = _read_month(vault, month, party)
    assert ours is not None, "who has its life has looked"
    corrections = _make_corrections(vault, month, party)
    basis = BillBasis(month, life.state.value, life.grouping.digest, whole, life.accepted)
    known = {UNASSIGNED, *(each.id for each in life.grouping.parties), *corrections}
    names = sorted(known & {party} if party else known)
    empty = empty_curve(month)
    return [
        make_bill(
            basis,
            life.grouping.find(name) or Party(id=name, until=0),
            ours.curves.get(name, empty),
            corrections.get(name, []),
            now,
        )
        for name in names
    ]


def empty_curve(month: Month) -> array[int]:
    """Of a party that got nothing."""
    return array("q", bytes(8 * ((month.end - month.start) // PERIOD_S)))


def _make_corrections(vault: Vault, month: Month, party: str) -> dict[str, list[BillCorrection]]:
    entries = [
        each for each in read_entries(vault, month) if not party or each.party == party
    ]  # fmt: skip
    wanted = {(each.party, each.month) for each in entries if each.billed_in == month.name}
    grouped = group_entries(entries)
    found: dict[str, list[BillCorrection]] = {}
    for corrected in sorted({name for _, name in wanted}):
        then = Month.parse(corrected)
        known = _read_month(vault, then, party)
        assert known is not None, "an entry lies in the month that it corrects"
        for name in sorted(each for each, of in wanted if of == corrected):
            found.setdefault(name, []).append(
                make_correction(
                    known.life.grouping.find(name) or Party(id=name),
                    then,
                    known.curves.get(name, empty_curve(then)),
                    grouped[name][corrected],
                    month.name,
                )
            )
    return found


def find_bills(vault: Vault, month: Month, now: float, party: str = "") -> list[Bill]:
    """Those of a month: as issued where it is closed, else as of now. Raises LedgerRefusedError."""
    found = _find_bills(vault, month, now, party)
    if party and not found:
        raise LedgerRefusedError(f"{party!r} is no party of {month}")
    return found


def _find_bills(vault: Vault, month: Month, now: float, party: str) -> list[Bill]:
    with vault.reading(month) as tables:
        life = read_life(tables)
        if tables is None or life is None:
            raise LedgerRefusedError(f"nothing is held of {month}")
        if life.state is not MonthState.OPEN:
            rows = tables.ask("SELECT party, document FROM bills")
            found = [msgspec.json.decode(text, type=Bill) for n, text in rows if party in ("", n)]
            return sorted(found, key=lambda each: each.party)
    spans = survey(vault)
    whole = count_held(spans, month, find_gaps(vault, spans, month, now))
    return make_bills(vault, month, life, whole, now, party)


def enter_correction(vault: Vault, entry: Entry, now: float) -> Entry:
    """Correct a month by hand, on the bill of the first that is open from it on; as it stands then.

    Raises LedgerRefusedError.
    """
    month = Month.parse(entry.month)
    if month not in vault.months():
        raise LedgerRefusedError(f"nothing is held of {month}")
    with vault.writing(month) as tables:
        life = read_life(tables)
        if life is None or life.grouping.find(entry.party) is None:
            raise LedgerRefusedError(f"{entry.party!r} is no party of {month}")
        known = tables.ask(
            "SELECT bytes FROM entries WHERE reference = ? AND party = ?",
            entry.reference, entry.party,
        )  # fmt: skip
        if known:
            raise LedgerRefusedError(
                f"{entry.reference!r} stands there with {known[0][0]} bytes for {entry.party!r}"
            )
        entry = entry._replace(billed_in=find_open_month(vault, month).name)
        tables.ask(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
            entry.reference, entry.party, entry.start, entry.bytes, entry.reason,
            entry.billed_in, int(now),
        )  # fmt: skip
    return entry
