"""A record tells whether it is what was closed, and what it follows."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.ledger.records import (
    RECORD_S,
    ChainEnd,
    ChainError,
    LedgerRecord,
    check_record,
    digest_of,
    end_of,
    next_record,
    verify_chain,
)

BOOK = "0b0e7a52-5a3c-4c1e-9a39-0d8f5a2f1c11"
NOON = 1_700_000_000 // RECORD_S * RECORD_S
NET = "192.0.2.0/24"
TOTALS = st.integers(min_value=0, max_value=1 << 50)
SUMS = st.dictionaries(st.sampled_from([NET, "2001:db8::/48", "local", "other"]), TOTALS)


def make_chain(*sums: dict[str, int], appliance: str = "oca-1") -> list[LedgerRecord]:
    end, records = ChainEnd(appliance=appliance, book=BOOK), []
    for place, networks in enumerate(sums):
        record = next_record(end, NOON + place * RECORD_S, networks)
        records.append(record)
        end = end_of(record)
    return records


def changed(record: LedgerRecord, **fields: Any) -> LedgerRecord:
    """With a digest that is right for it: as who has the program could make it."""
    made = msgspec.structs.replace(record, **fields)
    return msgspec.structs.replace(made, digest=digest_of(made))


@given(st.lists(SUMS, min_size=1, max_size=5), st.text(min_size=1, max_size=20))
def test_chain(sums: list[dict[str, int]], appliance: str) -> None:
    """Numbers from 1, no holes in time, and the digest as any program can make it."""
    records = make_chain(*sums, appliance=appliance)
    assert verify_chain(records) == records[-1]
    assert [record.seq for record in records] == list(range(1, len(sums) + 1))
    assert [record.start for record in records] == [NOON + n * RECORD_S for n in range(len(sums))]
    for record in records:
        told = json.loads(msgspec.json.encode(record))
        digest = told.pop("digest")
        canonical = json.dumps(
            told, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
        assert hashlib.sha256(canonical).hexdigest() == digest
        assert msgspec.json.decode(msgspec.json.encode(record), type=LedgerRecord) == record


def test_goes_on_from_one_that_was_verified() -> None:
    records = make_chain({NET: 5}, {}, {NET: 7})
    assert verify_chain(records[1:], records[0]) == records[2]
    assert verify_chain(records[1:]) == records[2], "older ones are gone in time"
    assert verify_chain([]) is None


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"total": 6}, "total is 6, and its networks have 5"),
        ({"seconds": 3600}, "seconds is 3600; it must be 300"),
        ({"start": NOON + 1}, f"start is {NOON + 1}; it must be of 300 seconds"),
        ({"prev": "0" * 64}, "only the first has none"),
        ({"networks": {"192.0.2.7/24": 5}}, "networks names '192.0.2.7/24'"),
        ({"networks": {"192.0.2.7": 5}}, "networks names '192.0.2.7'"),
        ({"networks": {"": 5}}, "networks names ''"),
        ({"networks": {"2001:DB8::/32": 5}}, "networks names '2001:DB8::/32'"),
        ({"networks": {"::ffff:102:304": 5}}, "networks names '::ffff:102:304'"),
        ({"networks": {"192.0.2.0/255.255.255.0": 5}}, "networks names '192.0.2.0/255"),
        ({"networks": {"all": 5}}, "networks names 'all'"),
    ],
)
def test_bad_by_itself(fields: dict[str, Any], said: str) -> None:
    (record,) = make_chain({NET: 5})
    with pytest.raises(ChainError, match="record 1: ") as refused:
        check_record(changed(record, **fields))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "name",
    ["0.0.0.0/0", "192.0.2.7/32", "::/0", "2001:db8::/48", "::ffff:102:304/128",
     "::ffff:1.2.3.4/128", "local", "other"],
)  # fmt: skip
def test_names_of_networks(name: str) -> None:
    """Whichever version of Python the appliance runs on."""
    (record,) = make_chain({name: 5})
    check_record(record)


def test_changed_afterwards() -> None:
    """Any field, with the digest that it had."""
    first, second = make_chain({NET: 5}, {NET: 6})
    for fields in (
        {"appliance": "oca-2"}, {"book": BOOK.replace("0", "1")}, {"seq": 3},
        {"start": NOON}, {"networks": {"other": 6}}, {"prev": "0" * 64},
    ):  # fmt: skip
        with pytest.raises(ChainError, match="digest is "):
            check_record(msgspec.structs.replace(second, **fields))
    check_record(first)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"appliance": "oca-2"}, "record 2: appliance is 'oca-2'; after record 1 it must be"),
        ({"seq": 3}, "record 3: seq is 3; after record 1 it must be 2"),
        ({"start": NOON}, f"record 2: start is {NOON}; after record 1 it must be {NOON + 300}"),
        ({"prev": "0" * 64}, "record 2: prev is '0000"),
        ({"book": BOOK.replace("0", "1")}, "record 2: book is "),
    ],
)
def test_does_not_follow(fields: dict[str, Any], said: str) -> None:
    first, second = make_chain({NET: 5}, {NET: 6})
    with pytest.raises(ChainError) as refused:
        verify_chain([first, changed(second, **fields)])
    assert said in str(refused.value)
    assert refused.value.seq == fields.get("seq", 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq", 0), ("seq", True), ("seq", 1 << 64), ("seq", 1.5), ("start", -1), ("total", -1),
        ("networks", {NET: -1}), ("networks", {NET: 1 << 63}), ("networks", []), ("book", "x"),
        ("book", f"{BOOK}\n"), ("digest", "0" * 63), ("digest", "A" * 64), ("prev", None),
        ("appliance", ""), ("appliance", "a" * 256), ("more", 1),
    ],
)  # fmt: skip
def test_not_of_the_shape(name: str, value: object) -> None:
    """Refused where it is read."""
    (record,) = make_chain({NET: 5})
    told = {**json.loads(msgspec.json.encode(record)), name: value}
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.json.decode(json.dumps(told), type=LedgerRecord)
