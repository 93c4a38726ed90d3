"""Months are closed once, with all that is missing named; what comes later is on a later bill."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from ocaserve.bills.bill import Bill, BillKey, Entry, is_signed, write_csv
from ocaserve.bills.month_end import close_month, enter_correction, find_bills
from ocaserve.bills.months import Month
from ocaserve.bills.taking import TakenAs, take
from ocaserve.bills.vault import LedgerRefusedError, Vault
from ocaserve.ledger.records import LedgerRecord
from tests.support.bills import (
    DECEMBER,
    GROUPING,
    NOVEMBER,
    SITES,
    add_up,
    chain,
    highest_after_5_percent,
)

KEY = BillKey("7", b"k" * 32)
MONTH, NEXT = Month.parse("2026-11"), Month.parse("2026-12")
NOW = DECEMBER + 3_600.0
JANUARY = NEXT.end


def bring(vault: Vault, records: list[LedgerRecord], now: float = NOW) -> Any:
    return take(vault, GROUPING, records, SITES, now).counts


@pytest.fixture(scope="module")
def november() -> list[LedgerRecord]:
    """All of it, and some of December."""
    names = ("198.51.7.0/24", "198.51.100.0/24", "local")
    return [each for name in ("oca-1", "oca-2") for each in chain(name, 8_650, networks=names)]


def bill(vault: Vault, party: str, month: Month = MONTH, now: float = NOW) -> Bill:
    [found] = find_bills(vault, month, now, party)
    return found


def test_bills_are_the_sums_and_the_percentile_over_all_appliances(
    vault: Vault, november: list[LedgerRecord]
) -> None:
    bring(vault, november)
    issued = close_month(vault, MONTH, NOW, KEY)
    sums = add_up(each for each in november if each.start < DECEMBER)
    assert [each.party for each in issued] == ["alpha", "beta", "gamma", "unassigned"]
    for each in issued:
        values = [count for (party, _), count in sums.items() if party == each.party]
        assert each.bytes == each.total_bytes == sum(values)
        assert each.samples == 8_640
        assert each.p95_bits_per_s == highest_after_5_percent(values, 8_640)
        assert (each.state, each.completeness_percent, each.accepted) == ("closed", 100.0, "")
        assert bill(vault, each.party) == each
    assert sum(each.bytes for each in issued) == sum(sums.values())


def test_a_closed_bill_is_signed_and_never_changes(
    vault: Vault, november: list[LedgerRecord]
) -> None:
    late = november[100:103]
    bring(vault, [each for each in november if each not in late])
    with pytest.raises(LedgerRefusedError, match="is not complete") as refused:
        close_month(vault, MONTH, NOW, KEY)
    assert "without 101 to 103" in refused.value.faults[0]
    assert bill(vault, "alpha").state == "open"
    assert not bill(vault, "alpha").signature
    close_month(vault, MONTH, NOW, KEY, accepted="oca-1 lost its disk")
    closed = find_bills(vault, MONTH, NOW)
    assert {each.state for each in closed} == {"closed incomplete"}
    assert {(each.missing_records, each.accepted) for each in closed} == {
        (3, "oca-1 lost its disk")
    }
    assert closed[0].completeness_percent == 99.9826

    assert bring(vault, late, NOW + 86_400) == {TakenAs.LATE: 3}
    assert bring(vault, late, NOW + 86_400) == {TakenAs.KNOWN: 3}
    assert find_bills(vault, MONTH, NOW + 86_400) == closed
    with pytest.raises(LedgerRefusedError, match="closed incomplete already"):
        close_month(vault, MONTH, NOW + 86_400, KEY, accepted="again")

    lateness = add_up(late)
    for before in closed:
        after = bill(vault, before.party, NEXT)
        ours = {at: count for (party, at), count in lateness.items() if party == before.party}
        assert sum(each.bytes for each in after.corrections) == sum(ours.values())
        assert after.total_bytes == after.bytes + sum(ours.values())
        if ours:
            [correction] = after.corrections
            assert correction.month == "2026-11"
            assert correction.p95_before_bits_per_s == before.p95_bits_per_s
            whole = [count for (p, _), count in _sums(november).items() if p == before.party]
            assert correction.p95_after_bits_per_s == highest_after_5_percent(whole, 8_640)
            assert {each.reason for each in correction.entries} == {
                "a record that came when the month was closed"
            }
            assert correction.entries[0].reference.startswith("oca-1/")


def _sums(records: list[LedgerRecord]) -> dict[tuple[str, int], int]:
    return add_up(each for each in records if each.start < DECEMBER)


def test_what_is_late_is_billed_once(vault: Vault, november: list[LedgerRecord]) -> None:
    """On the bill of the first month that is open when it comes."""
    late = november[7:9]
    bring(vault, [each for each in november if each not in late])
    close_month(vault, MONTH, NOW, KEY, accepted="known")
    bring(vault, late[:1])
    close_month(vault, NEXT, JANUARY + 60, KEY, accepted="known")
    bring(vault, late[1:], JANUARY + 60.0)
    bring(vault, chain("oca-3", 1, JANUARY), JANUARY + 400.0)
    january = Month.of(JANUARY)
    parties = sorted({party for party, _ in add_up(late)})
    for party in parties:
        corrections = [
            each
            for month in (NEXT, january)
            for each in bill(vault, party, month, JANUARY + 600).corrections
        ]
        mine = sum(count for (name, _), count in add_up(late).items() if name == party)
        assert sum(each.bytes for each in corrections) == mine
        for earlier, later in pairwise(corrections):
            assert earlier.p95_after_bits_per_s == later.p95_before_bits_per_s


def test_a_signature_is_that_of_the_canonical_document(
    vault: Vault, november: list[LedgerRecord]
) -> None:
    bring(vault, november)
    signed = close_month(vault, MONTH, NOW, KEY)[0]
    members = json.loads(msgspec.json.encode(signed))
    given = members.pop("signature")
    text = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hmac.new(KEY.secret, text.encode(), hashlib.sha256).hexdigest() == given
    assert is_signed(signed, {"7": KEY.secret})
    assert not is_signed(msgspec.structs.replace(signed, bytes=1), {"7": KEY.secret})
    assert not is_signed(signed, {"8": KEY.secret})


def test_nothing_is_closed_out_of_turn(vault: Vault) -> None:
    bring(vault, chain("oca-1", 3))
    with pytest.raises(LedgerRefusedError, match="is not over"):
        close_month(vault, MONTH, DECEMBER - 1, KEY, accepted="x")
    with pytest.raises(LedgerRefusedError, match="bill_keys_file is not set"):
        close_month(vault, MONTH, NOW, None, accepted="x")
    with pytest.raises(LedgerRefusedError, match="nothing is held of 2026-10"):
        close_month(vault, Month.parse("2026-10"), NOW, KEY)
    bring(vault, chain("oca-2", 3, DECEMBER))
    with pytest.raises(LedgerRefusedError, match="2026-11 is to be closed before 2026-12"):
        close_month(vault, NEXT, JANUARY, KEY, accepted="x")


def test_a_ledger_that_does_not_add_up_is_not_closed(vault: Vault) -> None:
    records = chain("oca-1", 3)
    bring(vault, records)
    with vault.writing(MONTH) as tables:
        tables.ask("UPDATE samples SET s1 = s1 + 1")
    with pytest.raises(LedgerRefusedError, match="does not add up") as refused:
        close_month(vault, MONTH, NOW, KEY, accepted="x")
    assert "parties have" in refused.value.faults[0]
    assert bill(vault, "alpha").state == "open"


def test_parked_records_are_to_be_accepted(vault: Vault, november: list[LedgerRecord]) -> None:
    bring(vault, november)
    other = chain("oca-1", 2, seed=9)
    assert bring(vault, other) == {TakenAs.PARKED: 2}
    with pytest.raises(LedgerRefusedError) as refused:
        close_month(vault, MONTH, NOW, KEY)
    assert refused.value.faults == ("2 records are parked",)


def test_corrections_by_hand_are_entered_once(vault: Vault) -> None:
    bring(vault, chain("oca-1", 3))
    credit = Entry("2026-11", "ticket 12", "alpha", None, -500, "a credit", "")
    enter_correction(vault, credit, NOW)
    with pytest.raises(LedgerRefusedError, match="stands there with -500 bytes"):
        enter_correction(vault, credit, NOW)
    with pytest.raises(LedgerRefusedError, match="is no party of 2026-11"):
        enter_correction(vault, credit._replace(party="nobody"), NOW)
    found = bill(vault, "alpha")
    assert found.total_bytes == found.bytes - 500
    [correction] = found.corrections
    assert correction.p95_before_bits_per_s == correction.p95_after_bits_per_s
    close_month(vault, MONTH, NOW, KEY, accepted="x")
    later = enter_correction(vault, credit._replace(reference="ticket 13"), NOW)
    assert later.billed_in == "2026-12"
    bring(vault, chain("oca-1", 1, DECEMBER, book="9" * 8 + "-0000-0000-0000-" + "0" * 12))
    assert bill(vault, "alpha", NEXT).corrections[0].month == "2026-11"


def test_csv_has_a_row_for_each_thing(vault: Vault) -> None:
    bring(vault, chain("oca-1", 3))
    enter_correction(
        vault, Entry("2026-11", "t, 1", "alpha", None, -500, 'a "credit"', ""), NOW
    )  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(write_csv([bill(vault, "alpha")]))))
    assert [each["kind"] for each in rows] == ["delivered", "correction", "total"]
    assert rows[1]["reason"] == 'a "credit"'
    assert int(rows[2]["bytes"]) == int(rows[0]["bytes"]) - 500


def test_a_party_that_is_none_has_no_bill(vault: Vault) -> None:
    bring(vault, chain("oca-1", 3))
    with pytest.raises(LedgerRefusedError, match="'nobody' is no party"):
        find_bills(vault, MONTH, NOW, "nobody")


def test_an_open_month_counts_what_is_over(vault: Vault) -> None:
    bring(vault, chain("oca-1", 20))
    assert bill(vault, "alpha", now=NOVEMBER + 20 * 300).samples == 20
