"""What both engines hold, whatever comes in whatever order: each record once, and all that it adds
up to.
"""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from ocaserve.bills.gaps import Completeness, count_held, find_gaps, find_watermark, survey
from ocaserve.bills.months import Month
from ocaserve.bills.parties import Grouping, Party
from ocaserve.bills.samples import group_records, read_cells, read_curves
from ocaserve.bills.taking import Taken, TakenAs, take
from ocaserve.bills.vault import Vault
from ocaserve.ledger.records import LedgerRecord, digest_of
from tests.support.bills import (
    DECEMBER,
    GROUPING,
    NOVEMBER,
    SITES,
    add_up,
    book_of,
    chain,
)

MONTH = Month.parse("2026-11")
NOW = DECEMBER + 86_400.0


def bring(vault: Vault, records: list[LedgerRecord], now: float = NOW) -> Taken:
    return take(vault, GROUPING, records, SITES, now)


def cells(vault: Vault, month: Month = MONTH) -> dict[tuple[str, int], int]:
    with vault.reading(month) as tables:
        assert tables is not None
        found = read_cells(tables, month.start, month.end)
        assert group_records(tables, GROUPING, month.start, month.end) == found
        return found


def resealed(record: LedgerRecord, **changes: object) -> LedgerRecord:
    """Another one, whose digest is right."""
    changed = msgspec.structs.replace(record, **changes)
    return msgspec.structs.replace(changed, digest=digest_of(changed))


def test_records_add_up_by_party(vault: Vault) -> None:
    records = [each for name in SITES for each in chain(name, 40)]
    assert bring(vault, records).counts == {TakenAs.NEW: 120}
    assert cells(vault) == add_up(records)


def test_doubled_and_reordered_records_count_once(vault: Vault) -> None:
    records = [each for name in SITES for each in chain(name, 60)]
    chance = Random(2)
    many = [*records, *chance.choices(records, k=90)]
    chance.shuffle(many)
    taken = [bring(vault, many[at : at + 17]).counts for at in range(0, len(many), 17)]
    assert sum(each[TakenAs.NEW] for each in taken) == len(records)
    assert sum(each[TakenAs.KNOWN] for each in taken) == 90
    assert cells(vault) == add_up(records)


def test_a_batch_over_two_months_lies_in_both(vault: Vault) -> None:
    records = chain("oca-1", 20, DECEMBER - 10 * 300)
    bring(vault, records)
    december = Month.parse("2026-12")
    assert vault.months() == [MONTH, december]
    assert {**cells(vault), **cells(vault, december)} == add_up(records)


def test_another_record_of_a_number_is_parked(vault: Vault) -> None:
    records = chain("oca-1", 3)
    bring(vault, records)
    other = resealed(records[1], networks={"other": 1}, total=1)
    taken = bring(vault, [other])
    assert taken.counts == {TakenAs.PARKED: 1}
    assert taken.complaints[0].record.endswith("/2")
    assert cells(vault) == add_up(records)
    with vault.reading(MONTH) as tables:
        assert tables is not None
        [(why, text)] = tables.ask("SELECT why, record FROM parked")
    assert why == "another one of this number is held"
    assert msgspec.json.decode(text, type=LedgerRecord) == other


def test_what_breaks_the_chain_is_parked(vault: Vault) -> None:
    first, second, third = chain("oca-1", 3)
    bring(vault, [first, third])
    wrong_before = resealed(second, prev="0" * 64)
    assert bring(vault, [wrong_before]).complaints[0].why.startswith("its prev is not")
    wrong_behind = resealed(second, networks={}, total=0)
    assert bring(vault, [wrong_behind]).complaints[0].why.startswith("its digest is not the prev")
    assert bring(vault, [second]).counts == {TakenAs.NEW: 1}


@pytest.mark.parametrize("periods", [1, 30 * 288])
def test_a_number_of_another_period_is_parked(vault: Vault, periods: int) -> None:
    """In the same month and in another one: no number is held twice."""
    first, second = chain("oca-1", 2)
    bring(vault, [first, second])
    moved = resealed(second, start=second.start + periods * 300)
    assert bring(vault, [moved]).counts == {TakenAs.PARKED: 1}
    assert cells(vault) == add_up([first, second])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"total": 5}, "total is 5"),
        ({"seconds": 60}, "seconds is 60"),
        ({"start": NOVEMBER + 7}, "must be of 300 seconds"),
        ({"start": DECEMBER + 9 * 86_400}, "ahead"),
        ({"networks": {"other": 1 << 51}, "total": 1 << 51}, "more than"),
    ],
)
def test_what_is_no_record_is_refused(vault: Vault, changes: dict[str, object], why: str) -> None:
    [record] = chain("oca-1", 1)
    taken = bring(vault, [resealed(record, **changes)])
    assert taken.counts == {TakenAs.REFUSED: 1}
    assert why in taken.complaints[0].why
    assert not vault.months()


def test_a_damaged_record_is_refused_and_the_others_are_taken(vault: Vault) -> None:
    records = chain("oca-1", 3)
    damaged = msgspec.structs.replace(records[1], digest="0" * 64)
    assert bring(vault, [records[0], damaged, records[2]]).counts == {
        TakenAs.NEW: 2,
        TakenAs.REFUSED: 1,
    }
    assert bring(vault, [records[1]]).counts == {TakenAs.NEW: 1}
    assert cells(vault) == add_up(records)


def test_curves_have_every_period_of_the_month(vault: Vault) -> None:
    records = chain("oca-2", 50)
    bring(vault, records)
    with vault.reading(MONTH) as tables:
        assert tables is not None
        curves = read_curves(tables, MONTH)
        alone = read_curves(tables, MONTH, "gamma")
    sums = add_up(records)
    assert alone == {"gamma": curves["gamma"]}
    assert curves.keys() == {party for party, _ in sums}
    for party, curve in curves.items():
        assert list(curve) == [sums.get((party, NOVEMBER + n * 300), 0) for n in range(8_640)]


def test_what_a_transaction_did_is_gone_with_its_failure(vault: Vault) -> None:
    def fail() -> None:
        with vault.writing(MONTH) as tables:
            tables.ask("INSERT INTO bills VALUES (?, ?)", "alpha", "{}")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with vault.writing(MONTH) as tables:
        assert not tables.ask("SELECT * FROM bills")


def test_notes_and_months_go_and_stay(vault: Vault) -> None:
    assert vault.read_note("plan") == ""
    vault.write_note("plan", "one")
    vault.write_note("plan", "two")
    assert vault.read_note("plan") == "two"
    bring(vault, chain("oca-1", 3))
    vault.discard(MONTH)
    assert not vault.months()
    with vault.reading(MONTH) as tables:
        assert tables is None
    assert bring(vault, chain("oca-1", 3)).counts == {TakenAs.NEW: 3}


# -- what is missing -----------------------------------------------------------------------------


def test_holes_are_named_by_number_and_time(vault: Vault) -> None:
    records = chain("oca-1", 288, NOVEMBER)
    kept = [each for each in records if each.seq not in (5, 6, 7, 100)]
    bring(vault, kept)
    gaps = find_gaps(vault, survey(vault), MONTH, NOVEMBER + 86_400)
    assert [(each.first, each.last, each.since) for each in gaps] == [
        (5, 7, NOVEMBER + 4 * 300),
        (100, 100, NOVEMBER + 99 * 300),
    ]
    assert count_held(survey(vault), MONTH, gaps) == Completeness(284, 4)
    bring(vault, records)
    assert not find_gaps(vault, survey(vault), MONTH, NOVEMBER + 86_400)


def test_a_watermark_says_what_is_there(vault: Vault) -> None:
    key = ("oca-1", book_of("oca-1"))
    assert find_watermark(vault, key).seq == 0
    records = chain("oca-1", 24, DECEMBER - 12 * 300)
    bring(vault, [each for each in records if each.seq not in (1, 4, 5, 12, 13, 20)])
    mark = find_watermark(vault, key)
    assert (mark.seq, mark.missing) == (24, [(1, 1), (4, 5), (12, 13), (20, 20)])
    bring(vault, records)
    assert find_watermark(vault, key).missing == []
    vault.discard(MONTH)
    assert find_watermark(vault, key).missing == [], "what lay in a month that is gone is not due"


def test_a_silent_appliance_is_a_gap_until_its_next_book(vault: Vault) -> None:
    bring(vault, chain("oca-1", 10))
    [gap] = find_gaps(vault, survey(vault), MONTH, NOW)
    assert gap.is_tail
    assert (gap.first, gap.missing) == (11, 8_640 - 10)
    bring(vault, chain("oca-1", 8_640 - 12, NOVEMBER + 12 * 300, book=book_of("another")))
    [gap] = find_gaps(vault, survey(vault), MONTH, NOW)
    assert (gap.first, gap.last, gap.until) == (11, 12, NOVEMBER + 12 * 300)


def test_a_hole_over_the_end_of_a_month_is_of_both(vault: Vault) -> None:
    records = chain("oca-1", 24, DECEMBER - 12 * 300)
    bring(vault, [*records[:10], *records[15:]])
    spans = survey(vault)
    november, december = (
        find_gaps(vault, spans, Month.of(at), DECEMBER + 12 * 300) for at in (NOVEMBER, DECEMBER)
    )
    assert [(each.first, each.last) for each in november] == [(11, 12)]
    assert [(each.first, each.last) for each in december] == [(13, 15)]


def test_parties_change_by_their_dates(vault: Vault) -> None:
    """What belongs to none is unassigned, so the sum is whole."""
    parties = [
        Party(id="old", prefixes=("198.51.100.0/24",), until=NOVEMBER + 3_000),
        Party(id="new", prefixes=("198.51.100.0/24",), since=NOVEMBER + 6_000),
    ]
    records = chain("oca-1", 40)
    take(vault, Grouping(parties), records, SITES, NOW)
    with vault.reading(MONTH) as tables:
        assert tables is not None
        found = read_cells(tables, MONTH.start, MONTH.end)
    assert found == add_up(records, parties)
    assert {party for party, _ in found} == {"old", "new", "unassigned"}
    assert sum(found.values()) == sum(each.total for each in records)
