"""Records of ledgers come in: from whom they are, each once, and what is missing is asked for."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ocaserve.bills.gaps import find_watermark
from ocaserve.bills.parties import Grouping
from ocaserve.bills.sqlite_vault import SqliteVault
from ocaserve.bills.taking import Taken, take
from ocaserve.bills.vault import LedgerUnavailableError
from ocaserve.fleet.record_intake import RECORDS, start_intake
from ocaserve.ledger.handover import MOST_HOLES, PUSH_BYTES, RecordPush, Watermark
from ocaserve.ledger.records import LedgerRecord, digest_of
from ocaserve.settings.fleet import Fleet, FleetTokens
from ocaserve.settings.fleet_members import FleetAppliance
from tests.fleet.test_app import FleetApp
from tests.support.fleet import Answer, report
from tests.support.ledgers import BOOK, NET, NOON, make_records

PATH = "/v1/ledger/records"
TOKEN = "token-of-oca-1-0123456789"


class Store:
    """A `RecordStore` over a vault; `asked`: how often it was looked through."""

    def __init__(self, vault: SqliteVault) -> None:
        self.vault = vault
        self.asked = 0
        self.fault = ""

    def take(self, records: Sequence[LedgerRecord], sites: Mapping[str, str]) -> Taken:
        if self.fault:
            raise LedgerUnavailableError(self.fault)
        return take(self.vault, Grouping([]), records, sites, NOON + 60 * 86_400)

    def watermark(self, appliance: str, book: str) -> Watermark:
        self.asked += 1
        return find_watermark(self.vault, (appliance, book))


class LedgerApp(FleetApp):
    """A fleet with a ledger, to which oca-1 has reported."""

    store: Store

    async def push(self, records: Sequence[LedgerRecord], **headers: str) -> Answer:
        push = RecordPush(appliance="oca-1", book=BOOK, records=list(records))
        return await self.post(msgspec.json.encode(push), **headers)

    async def post(self, body: bytes, **headers: str) -> Answer:
        given = {"Authorization": f"Bearer {TOKEN}", **headers}
        return await self.call(self.operators, "POST", PATH, body, **given)

    async def mark(self, records: Sequence[LedgerRecord]) -> Watermark:
        answer = await self.push(records)
        assert answer.status == 200, answer.body
        return msgspec.convert(answer.body, Watermark)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[LedgerApp]:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")
    token.chmod(0o600)
    settings = Fleet(
        appliance=[
            FleetAppliance(id="oca-1", token_file=str(token)),
            FleetAppliance(id="oca-2"),
        ]
    )
    made = LedgerApp(settings, FleetTokens())
    made.store = Store(SqliteVault(tmp_path / "ledger"))
    start_intake(made.operators.app, made.store)
    await made.operators.start_server(auto_decompress=False)
    told = report("oca-1", {"11.0.0.0/8": (1, 0)}, site="lab")
    assert await made.tell(told, Authorization=f"Bearer {TOKEN}") == 204
    yield made
    await made.operators.close()
    made.store.vault.close()


async def test_taken(app: LedgerApp) -> None:
    """Each answer says what is held; again changes nothing."""
    records = make_records(6, {NET: 5})
    assert await app.mark([]) == Watermark(book=BOOK)
    assert await app.mark(records[:3]) == Watermark(book=BOOK, seq=3)
    assert await app.mark(records[3:]) == Watermark(book=BOOK, seq=6)
    assert app.store.asked == 1, "what follows without a hole needs no look"
    assert await app.mark(records) == Watermark(book=BOOK, seq=6)
    assert await app.mark([]) == Watermark(book=BOOK, seq=6)
    assert {each[0] for each in rows(app, "SELECT site FROM records")} == {"lab"}


async def test_holes(app: LedgerApp) -> None:
    """All are told of, the oldest first, until they are closed."""
    records = make_records(20, {NET: 5})
    some = [records[place] for place in (1, 2, 6, 9, 19)]
    missing = [(1, 1), (4, 6), (8, 9), (11, 19)]
    assert await app.mark(some) == Watermark(book=BOOK, seq=20, missing=missing)
    assert await app.mark(records[:15]) == Watermark(book=BOOK, seq=20, missing=[(16, 19)])
    assert await app.mark(records[15:]) == Watermark(book=BOOK, seq=20)


async def test_holes_are_bounded(app: LedgerApp) -> None:
    records = make_records(300, {NET: 5})
    mark = await app.mark(records[1::2])
    assert (mark.seq, len(mark.missing)) == (300, MOST_HOLES)
    assert (await app.mark(records[:200])).missing == [(n, n) for n in range(201, 300, 2)]


async def test_over_months(app: LedgerApp) -> None:
    """A book goes on from one month into the next, with its holes."""
    records = make_records(5_000, {})  # of 17 days from the 14th on
    some = records[:1_000] + records[1_200:2_000]
    for start in range(0, len(some), 900):
        await app.mark(some[start : start + 900])
    mark = await app.mark(records[4_900:])
    assert mark == Watermark(book=BOOK, seq=5_000, missing=[(1_001, 1_200), (2_001, 4_900)])
    assert len(app.store.vault.months()) == 2


async def test_another_of_the_same_number(app: LedgerApp) -> None:
    """It is parked; what was first stands, and it is not asked for again."""
    records = make_records(3, {NET: 5})
    await app.mark(records)
    other = make_records(3, {NET: 6})[1]
    mark = await app.mark([other])
    assert (mark.seq, mark.missing) == (3, [])
    assert mark.faults == [f"oca-1/{BOOK}/2: another one of this number is held"]
    assert rows(app, "SELECT seq, total FROM records WHERE seq = 2") == [(2, 5)]
    assert len(rows(app, "SELECT * FROM parked")) == 1


async def test_of_whom(app: LedgerApp) -> None:
    """A token is of one appliance, and so are the records that come with it."""
    records = make_records(2, {NET: 5})
    for token, status in (("wrong", 401), ("", 401), (f"Bearer {TOKEN}x", 401)):
        assert (await app.push(records, Authorization=token)).status == status
    strange = RecordPush(appliance="oca-2", book=BOOK, records=[])
    refused = await app.post(msgspec.json.encode(strange))
    assert refused.status == 403
    assert "the token is not that of 'oca-2'" in refused.body["detail"]
    mixed = [records[0], *make_records(2, {NET: 5}, appliance="oca-2")[1:]]
    answer = await app.push(mixed)
    assert (answer.status, "record 2 is of 'oca-2'" in answer.body["detail"]) == (422, True)
    assert app.store.vault.months() == [], "a push is taken as a whole or not at all"
    without = await app.call(app.operators, "POST", PATH, msgspec.json.encode(strange))
    assert without.status == 409
    assert "not known before its first report" in without.body["detail"]


async def test_forged(app: LedgerApp) -> None:
    """A record that is none is not taken, with its name and what is wrong; others are."""
    good, bad = make_records(2, {NET: 5})
    mark = await app.mark([good, msgspec.structs.replace(bad, networks={NET: 6}, total=6)])
    assert (mark.seq, mark.missing) == (1, [])
    (fault,) = mark.faults
    assert fault.startswith(f"oca-1/{BOOK}/2: record 2: digest is ")
    ahead = msgspec.structs.replace(good, start=NOON + 70 * 86_400)
    ahead = msgspec.structs.replace(ahead, digest=digest_of(ahead))
    assert "more than a day ahead" in (await app.mark([ahead])).faults[0]
    assert await app.mark([]) == Watermark(book=BOOK, seq=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"book": "../x"}, "book"),
        ({"records": [{"seq": 1}]}, "missing required field"),
        ({"records": {}}, "records"),
        ({"more": 1}, "more"),
        ({"appliance": ""}, "appliance"),
    ],
)
async def test_no_push(app: LedgerApp, change: dict[str, Any], said: str) -> None:
    body = {"appliance": "oca-1", "book": BOOK, "records": [], **change}
    answer = await app.post(json.dumps(body).encode())
    assert answer.status == 422
    assert said in answer.body["detail"]


async def test_sizes(app: LedgerApp) -> None:
    """A record of many networks is taken; what is larger than any push is not, however packed."""
    large = {f"2001:db8:{n:x}::/48": 1 << 30 for n in range(1, 65_000)}
    push = RecordPush(appliance="oca-1", book=BOOK, records=make_records(1, large))
    packed = gzip.compress(msgspec.json.encode(push), 1)
    answer = await app.post(packed, **{"Content-Encoding": "gzip"})
    assert (answer.status, answer.body["seq"]) == (200, 1)
    bomb = gzip.compress(b" " * (PUSH_BYTES + 1))
    assert (await app.post(bomb, **{"Content-Encoding": "gzip"})).status == 413
    assert (await app.post(b"not JSON")).status == 400
    assert (await app.post(b"not gzip", **{"Content-Encoding": "gzip"})).status == 400


async def test_store_that_is_away(app: LedgerApp) -> None:
    """The appliance is told to come again, and nothing is lost by it."""
    records = make_records(2, {NET: 5})
    app.store.fault = "the disk is full"
    answer = await app.push(records)
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.body["detail"] == "the disk is full"
    app.store.fault = ""
    assert (await app.mark(records)).seq == 2


async def test_no_ledger(app: LedgerApp) -> None:
    del app.operators.app._state[RECORDS]
    assert (await app.push([])).status == 404


def rows(app: LedgerApp, statement: str) -> list[tuple[Any, ...]]:
    (month,) = app.store.vault.months()
    with app.store.vault.reading(month) as tables:
        assert tables is not None
        return tables.ask(statement)
