"""An appliance that lies, or whose program is broken: it harms its own book, and nobody's bill."""

from __future__ import annotations

import msgspec
import pytest

from ocaserve.bills import taking
from ocaserve.bills.gaps import find_watermark, survey
from ocaserve.bills.months import Month
from ocaserve.bills.samples import group_records, read_cells
from ocaserve.bills.taking import Taken, TakenAs, take
from ocaserve.bills.vault import Vault
from ocaserve.ledger.records import LedgerRecord, digest_of
from tests.support.bills import GROUPING, NOVEMBER, SITES, add_up, book_of, chain

NOW = NOVEMBER + 10 * 86_400.0
OTHER_BOOK = book_of("another")


def bring(vault: Vault, *records: LedgerRecord, now: float = NOW) -> Taken:
    return take(vault, GROUPING, records, SITES, now)


def billed(vault: Vault) -> dict[tuple[str, int], int]:
    """Of all months; samples are what records add up to."""
    sums: dict[tuple[str, int], int] = {}
    for month in vault.months():
        with vault.reading(month) as tables:
            assert tables is not None
            found = read_cells(tables, month.start, month.end)
            assert group_records(tables, GROUPING, month.start, month.end) == found
            sums |= found
    return sums


def sealed(record: LedgerRecord, **changes: object) -> LedgerRecord:
    changed = msgspec.structs.replace(record, **changes)
    return msgspec.structs.replace(changed, digest=digest_of(changed))


def test_the_same_time_in_another_book(vault: Vault) -> None:
    """It would be billed twice: it is parked, whatever it says, and in whichever push it comes."""
    good = chain("oca-1", 20)
    again = chain("oca-1", 30, seed=2, book=OTHER_BOOK)
    bring(vault, *good)
    taken = bring(vault, *again)
    assert taken.counts == {TakenAs.PARKED: 20, TakenAs.NEW: 10}
    assert taken.complaints[0].why == f"book {book_of('oca-1')} has this period"
    assert billed(vault) == add_up([*good, *again[20:]])
    late = chain("oca-2", 5), chain("oca-2", 5, seed=2, book=OTHER_BOOK)
    assert bring(vault, *late[0], *late[1]).counts == {TakenAs.NEW: 5, TakenAs.PARKED: 5}
    assert billed(vault) == add_up([*good, *again[20:], *late[0]])


def test_another_appliance_may_have_the_same_time(vault: Vault) -> None:
    one, two = chain("oca-1", 5), chain("oca-2", 5, book=book_of("oca-1"))
    bring(vault, *one)
    assert bring(vault, *two).counts == {TakenAs.NEW: 5}
    assert billed(vault) == add_up([*one, *two])


def test_a_number_far_ahead(vault: Vault) -> None:
    """Its own book has no place for it; as the first of a book, it makes nobody wait for ever."""
    good = chain("oca-1", 5)
    bring(vault, *good)
    jump = sealed(good[4], seq=4_000_000, prev=good[3].digest)
    assert bring(vault, jump).counts == {TakenAs.PARKED: 1}
    assert find_watermark(vault, ("oca-1", book_of("oca-1"))).seq == 5
    first = sealed(good[4], appliance="oca-2", seq=4_000_000, prev=good[3].digest)
    bring(vault, first)
    mark = find_watermark(vault, ("oca-2", book_of("oca-1")))
    assert mark.seq == 4_000_000
    assert [first for first, _ in mark.missing] == [4_000_000 - 4], "of months that are kept"


def test_replayed_and_changed(vault: Vault) -> None:
    """Again and again, and with one byte more: the bill is that of the first."""
    good = chain("oca-1", 10)
    bring(vault, *good)
    before = billed(vault)
    for _ in range(3):
        assert bring(vault, *reversed(good)).counts == {TakenAs.KNOWN: 10}
        more = [sealed(each, networks={"other": 1}, total=1) for each in good]
        assert bring(vault, *more).counts == {TakenAs.PARKED: 10}
    assert billed(vault) == before


def test_digests_of_others(vault: Vault) -> None:
    """A digest that was stolen, cut, or made for other bytes."""
    one, two = chain("oca-1", 2)
    forged = [
        msgspec.structs.replace(one, digest=two.digest),
        msgspec.structs.replace(two, networks={}, total=0),
        msgspec.structs.replace(two, appliance="oca-2"),
    ]
    assert bring(vault, *forged).counts == {TakenAs.REFUSED: 3}
    assert vault.months() == []


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_a_clock_that_is_five_minutes_off(vault: Vault, skew_s: int) -> None:
    """Its bytes are in the periods that it tells; the sum is the same."""
    here = chain("oca-1", 12, NOVEMBER + 3_600 + skew_s)
    bring(vault, *here, now=NOVEMBER + 7_200)
    assert billed(vault) == add_up(here)
    assert survey(vault)["oca-1", book_of("oca-1")].held == 12


def test_months_that_nobody_bills(vault: Vault) -> None:
    """A clock that stands in 1970 or in 2100 makes no month, and no file."""
    for start in (0, 1_000_000_200, NOVEMBER - 401 * 86_400, NOVEMBER + 12 * 86_400, 4_102_444_800):
        assert bring(vault, *chain("oca-1", 3, start)).counts == {TakenAs.REFUSED: 3}
    assert vault.months() == []
    bring(vault, *chain("oca-1", 3, NOVEMBER - 300 * 86_400))
    assert vault.months() == [Month.of(NOVEMBER - 300 * 86_400)]


def test_books_without_end(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many in a month; those that are known go on, and other appliances' too."""
    monkeypatch.setattr(taking, "_MOST_BOOKS", 5)
    first = chain("oca-1", 20)
    bring(vault, *first[:10])
    for place in range(1, 8):
        name = book_of(f"b{place}")
        taken = bring(vault, *chain("oca-1", 1, NOVEMBER + place * 86_400, book=name))
        assert taken.counts == ({TakenAs.NEW: 1} if place < 5 else {TakenAs.REFUSED: 1})
    assert bring(vault, *first[10:]).counts == {TakenAs.NEW: 10}
    assert bring(vault, *chain("oca-2", 1)).counts == {TakenAs.NEW: 1}


def test_parked_without_end(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is not filled with what is billed to nobody."""
    monkeypatch.setattr(taking, "_MOST_PARKED", 5)
    good = chain("oca-1", 3)
    bring(vault, *good)
    others = [sealed(good[1], networks={"other": n}, total=n) for n in range(1, 9)]
    taken = [bring(vault, each) for each in others]
    assert sum(each.counts[TakenAs.PARKED] for each in taken) == 5
    assert taken[-1].complaints[0].why.endswith("5 of it are parked already")
    assert billed(vault) == add_up(good)
