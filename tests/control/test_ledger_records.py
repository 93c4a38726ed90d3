"""Records are fetched by their numbers, and pushed until the fleet has each."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocaserve.control.bookkeeping import LEDGER, LedgerMetrics
from ocaserve.control.record_telling import RecordTeller, find_records_url, make_teller
from ocaserve.ledger.book import PERIOD_S
from ocaserve.ledger.collector import Collector
from ocaserve.ledger.handover import RecordPush, Watermark
from ocaserve.ledger.record_files import RecordFiles
from ocaserve.ledger.records import LedgerRecord, verify_chain
from ocaserve.settings import Settings, settings_from_directories
from ocaserve.settings.report import ReportSettings
from tests.support.control_app import ControlApp
from tests.support.ledgers import BOOK, NET, NOON, SETTINGS, keep_records, make_records
from tests.support.waiting import until

OTHER_BOOK = BOOK.replace("0", "1")


class FleetBook:
    """A fleet that keeps what it is sent by number, and is as reliable as a test wants it.

    fails_with: a status, where it takes nothing. refuses: numbers that it does not take.
    """

    def __init__(self) -> None:
        self.kept: dict[str, dict[int, LedgerRecord]] = {}
        self.pushes: list[list[int]] = []
        self.fails_with = 0
        self.tokens: set[str | None] = set()
        self.refuses: set[int] = set()
        self.ahead: list[tuple[str, int]] = []  # what the appliance was told to leave
        app = web.Application()
        app.router.add_post("/v1/ledger/records", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        push = msgspec.json.decode(await request.read(), type=RecordPush)  # aiohttp has inflated it
        self.tokens.add(request.headers.get("Authorization"))
        self.pushes.append([record.seq for record in push.records])
        if self.fails_with:
            return web.Response(status=self.fails_with)
        book = self.kept.setdefault(push.book, {})
        book |= {each.seq: each for each in push.records if each.seq not in self.refuses}
        return web.Response(body=msgspec.json.encode(self.mark(push.book)))

    def mark(self, name: str) -> Watermark:
        book = self.kept.get(name, {})
        last = max(book, default=0)
        missing = [(seq, seq) for seq in range(1, last) if seq not in book]
        return Watermark(book=name, seq=last, missing=missing)


@pytest.fixture
async def fleet() -> AsyncIterator[FleetBook]:
    made = FleetBook()
    await made.server.start_server()
    yield made
    await made.server.close()


@asynccontextmanager
async def telling(
    fleet: FleetBook, files: RecordFiles, report: ReportSettings | None = None
) -> AsyncIterator[RecordTeller]:
    url = str(fleet.server.make_url("/v1/ledger/records"))
    teller = RecordTeller(
        files,
        "oca-1",
        url,
        report or ReportSettings(),
        0.0,
        lambda *ahead: fleet.ahead.append(ahead),
    )
    running = asyncio.create_task(teller.run())
    try:
        yield teller
    finally:
        running.cancel()
        await asyncio.wait([running])


@pytest.fixture
def files(tmp_path: Path) -> RecordFiles:
    return RecordFiles(tmp_path / "records", SETTINGS)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocaserve.routing.pacing.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("ocaserve.routing.pacing.LONGEST_PAUSE_S", 0.05)


async def test_told(fleet: FleetBook, files: RecordFiles, tmp_path: Path) -> None:
    """Each once where nothing fails; then the next one when it is closed."""
    records = make_records(5, {NET: 5})
    keep_records(files, records[:3])
    (tmp_path / "token").write_text("secret\n")
    report = ReportSettings(token_file=str(tmp_path / "token"))
    async with telling(fleet, files, report) as teller:
        await until(lambda: teller.told == 3)
        keep_records(files, records[3:])
        teller.wake()
        await until(lambda: teller.told == 5)
        assert teller.untold_since is None
    assert fleet.pushes == [[], [1, 2, 3], [4, 5]]
    assert list(fleet.kept[BOOK].values()) == records
    assert fleet.tokens == {"Bearer secret"}


async def test_fleet_that_is_away(fleet: FleetBook, files: RecordFiles) -> None:
    """It gets all when it is back, and meanwhile the age of what it lacks is known."""
    records = make_records(3, {NET: 5})
    keep_records(files, records)
    fleet.fails_with = 503
    async with telling(fleet, files) as teller:
        await until(lambda: teller.failures >= 2)
        assert "503" in teller.fault
        assert teller.untold_since is not None
        fleet.fails_with = 404
        await until(lambda: "keeps no ledger" in teller.fault)
        assert teller.untold_since is None, "nobody waits for them"
        fleet.fails_with = 0
        await until(lambda: teller.told == 3)
        assert teller.failures == 0
    assert list(fleet.kept[BOOK].values()) == records


async def test_holes_are_closed(fleet: FleetBook, files: RecordFiles) -> None:
    """What is missing is sent again; what is gone here is not waited for."""
    records = make_records(12, {NET: 5})
    keep_records(files, records[2:10])
    fleet.kept[BOOK] = {each.seq: each for each in records if each.seq in (1, 5, 6, 9)}
    async with telling(fleet, files) as teller:
        await until(lambda: teller.told == 10)
        assert fleet.pushes == [[], [10, 3, 4, 7, 8]]
        assert fleet.mark(BOOK).missing == [(2, 2)]
        fleet.kept[BOOK] = {1: records[0]}  # it goes on from an older copy of what it had
        keep_records(files, records[10:11])
        teller.wake()
        await until(lambda: set(fleet.kept[BOOK]) == {1, *range(3, 12)})
    assert fleet.pushes[2:] == [[11], [3, 4, 5, 6, 7, 8, 9, 10]]


async def test_all_books(fleet: FleetBook, files: RecordFiles) -> None:
    """What an earlier book still has to tell comes first; of another id nothing is told."""
    earlier = make_records(2, {NET: 5}, book=OTHER_BOOK)
    ours = make_records(4, {NET: 6})[2:]
    strange = make_records(1, {NET: 7}, appliance="oca-2", book=BOOK.replace("0", "2"))
    for records in (earlier, strange, ours):
        keep_records(files, records)
    async with telling(fleet, files) as teller:
        await until(lambda: teller.told == 4)
    assert fleet.kept == {
        OTHER_BOOK: {1: earlier[0], 2: earlier[1]}, BOOK: {3: ours[0], 4: ours[1]},
        strange[0].book: {},
    }  # fmt: skip


async def test_a_book_that_is_not_taken(fleet: FleetBook, files: RecordFiles) -> None:
    """The others are told all the same."""
    earlier = make_records(2, {NET: 5}, book=OTHER_BOOK)
    ours = make_records(4, {NET: 6})[3:]
    for records in (earlier, ours):
        keep_records(files, records)
    fleet.refuses = {1, 2}
    async with telling(fleet, files) as teller:
        await until(lambda: teller.failures >= 2 and teller.told == 4)
        assert f"book {OTHER_BOOK}: record 1 was sent" in teller.fault


async def test_fleet_that_has_more_than_we(fleet: FleetBook, files: RecordFiles) -> None:
    """Ours is an older copy: that is said, and told to who begins another book."""
    records = make_records(5, {NET: 5})
    keep_records(files, records[:3])
    fleet.kept[BOOK] = {each.seq: each for each in records}
    async with telling(fleet, files):
        await until(lambda: bool(fleet.ahead))
    assert fleet.ahead == [(BOOK, 5)]
    assert fleet.pushes == [[]]


async def test_batches_are_bounded(fleet: FleetBook, files: RecordFiles) -> None:
    large = {f"10.{n >> 8}.{n & 255}.0/24": 1 << 40 for n in range(20_000)}
    keep_records(files, make_records(4, large))
    async with telling(fleet, files) as teller:
        await until(lambda: teller.told == 4)
    assert fleet.pushes == [[], [1], [2], [3], [4]]


async def test_what_the_fleet_does_not_take(fleet: FleetBook, files: RecordFiles) -> None:
    """Is tried again with pauses, and not without end at once."""
    keep_records(files, make_records(2, {NET: 5}))
    fleet.refuses = {1, 2}
    async with telling(fleet, files) as teller:
        await until(lambda: teller.failures >= 3)
        assert teller.fault == f"book {BOOK}: record 1 was sent and is not there"
        pushes = len(fleet.pushes)
        assert pushes <= 1 + teller.failures + 1
        fleet.refuses.clear()
        await until(lambda: teller.told == 2)


@pytest.mark.parametrize(
    ("push_url", "expected"),
    [
        ("https://fleet.example/v1/reports", "https://fleet.example/v1/ledger/records"),
        ("http://[::1]:8090/v1/reports", "http://[::1]:8090/v1/ledger/records"),
        ("https://example.net/cdn/v1/reports?x=1", "https://example.net/cdn/v1/ledger/records"),
        ("https://control.example/reports", ""),
        ("", ""),
    ],
)
def test_where_records_go(push_url: str, expected: str) -> None:
    assert find_records_url(push_url) == expected


def test_told_to_nobody(tmp_path: Path) -> None:
    settings = settings_from_directories([str(tmp_path)])
    collector = Collector(tmp_path, SETTINGS, "oca-1")
    report = ReportSettings(push_url="https://fleet.example/v1/reports")
    with_fleet: Settings = msgspec.structs.replace(settings, report=report)
    assert make_teller(collector, settings) is None
    assert make_teller(collector, with_fleet) is not None
    off = msgspec.structs.replace(settings.ledger, tell=False)
    assert make_teller(collector, msgspec.structs.replace(with_fleet, ledger=off)) is None


# -- fetching ------------------------------------------------------------------------------------


@pytest.fixture
async def appliance(tmp_path: Path) -> AsyncIterator[ControlApp]:
    made = ControlApp(tmp_path)
    await made.server.start_server()
    yield made
    await made.close()


async def test_fetched(appliance: ControlApp) -> None:
    """Page by page; each number is that of its record."""
    empty = await appliance.get("/v1/ledger/records")
    assert (empty["book"], empty["records"], empty["books"]) == ("", [], [])
    records = make_records(7, {NET: 5})
    keep_records(appliance.server.app[LEDGER].records, records)
    first = await appliance.get("/v1/ledger/records?limit=3")
    assert (first["book"], first["first"], first["last"]) == (BOOK, 1, 7)
    after = first["records"][-1]["seq"]
    second = await appliance.get(f"/v1/ledger/records?after={after}")
    fetched = msgspec.convert(first["records"] + second["records"], list[LedgerRecord])
    assert fetched == records
    verify_chain(fetched)
    assert (await appliance.get("/v1/ledger/records?after=7"))["records"] == []
    assert (await appliance.get("/v1/ledger/records?after=99"))["records"] == []


async def test_gone(appliance: ControlApp) -> None:
    """410 names the first that is kept; without a number the answer begins there."""
    keep_records(appliance.server.app[LEDGER].records, make_records(7, {NET: 5})[4:])
    found = await appliance.get("/v1/ledger/records")
    assert [each["seq"] for each in found["records"]] == [5, 6, 7]
    gone = await appliance.get("/v1/ledger/records?after=0", 410)
    assert gone["detail"] == "the first record that is kept is 5: ask after=4"
    assert len((await appliance.get("/v1/ledger/records?after=4"))["records"]) == 3
    unknown = await appliance.get(f"/v1/ledger/records?book={OTHER_BOOK}", 404)
    assert unknown["detail"] == f"no record of book {OTHER_BOOK} is kept; there are {BOOK}"


@pytest.mark.parametrize("query", ["after=-1", "after=x", "limit=0", "limit=1001", "book=../x"])
async def test_refused(appliance: ControlApp, query: str) -> None:
    answer = await appliance.get(f"/v1/ledger/records?{query}", 400)
    assert query.partition("=")[0] in answer["detail"]


async def test_metrics(fleet: FleetBook, files: RecordFiles, tmp_path: Path) -> None:
    """What is told to nobody is not untold; what the fleet lacks has an age."""
    collector = Collector(tmp_path, SETTINGS, "oca-1")
    keep_records(files, make_records(2, {NET: 5}))
    assert metrics_of(collector, None)["ocaserve_ledger_untold_seconds"] == 0
    fleet.refuses = {2}
    async with telling(fleet, files) as teller:
        await until(lambda: teller.failures > 0)
        found = metrics_of(collector, teller)
        age = time.time() - (NOON + 2 * PERIOD_S)
        assert age - 60 < found["ocaserve_ledger_untold_seconds"] <= age
        fleet.refuses.clear()
        await until(lambda: teller.told == 2 and teller.untold_since is None)
    assert metrics_of(collector, teller)["ocaserve_ledger_told_record"] == 2


def metrics_of(collector: Collector, teller: RecordTeller | None) -> dict[str, float]:
    return {
        sample.name: sample.value
        for metric in LedgerMetrics(collector, teller).collect()
        for sample in metric.samples
    }


def test_compressed() -> None:
    """A push of a thousand ordinary records is small."""
    push = RecordPush(appliance="oca-1", book=BOOK, records=make_records(1_000, {NET: 5}))
    assert len(gzip.compress(msgspec.json.encode(push))) < 120_000
