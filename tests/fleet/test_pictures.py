"""What the control process knows, shown to workers through files."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import pytest

from ocaserve.fleet.app import keep_now, recall
from ocaserve.fleet.client_urls import parse_key
from ocaserve.fleet.contents import Contents, index_keys
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.decision_notes import NoteTaker
from ocaserve.fleet.grant_sheet import GrantSheet
from ocaserve.fleet.keeping import Keeper
from ocaserve.fleet.membership import FleetDrain, FleetState
from ocaserve.fleet.picture_files import Gallery
from ocaserve.fleet.pictures import NOTES, PICTURE
from ocaserve.fleet.process import KEPT_FOR_THE_RUN
from ocaserve.fleet.publishing import Publisher
from ocaserve.fleet.pushed_documents import CapacityRow, Copy, HealthRow
from ocaserve.fleet.survey import draw_atlas
from ocaserve.fleet.tables import NO_ROUTES, Rank
from ocaserve.fleet.verdicts import Decision, decide_now, parse_client
from ocaserve.settings.fleet import Fleet
from ocaserve.settings.fleet_members import FleetAppliance
from tests.support.waiting import until

SETTINGS = Fleet(
    appliance=[FleetAppliance(id=name, urls=[f"http://{name}.example"]) for name in "ab"]
)


class Stage:
    """A control process's side of a folder, and workers' sides of it."""

    def __init__(self, folder: Path, workers: int = 1) -> None:
        (folder / NOTES).mkdir()
        self.folder = folder
        self.state = FleetState(SETTINGS)
        self.sheet = GrantSheet(workers)
        self.publisher = Publisher(self.state, folder, self.sheet)
        self.publisher.shares.rows = range(workers)
        self.gallery = Gallery(folder)
        self.workers = [
            Decider(SETTINGS, self.sheet.row(number), NoteTaker(SETTINGS, None))
            for number in range(workers)
        ]

    def know(self, name: str, free: float | None = None) -> None:
        """An appliance has reported."""
        news = [("11.0.0.0/8", Rank(1, 0))]
        copy = Copy(
            name,
            table=self.state.tables.change(NO_ROUTES, news),
            health=HealthRow(state="serving", takes_traffic=True),
            capacity=CapacityRow(total_bits_per_s=1e9, free_bits_per_s=free),
        )
        self.state.hear(copy, time.monotonic())
        members = self.state.members.items()
        self.state.atlas = draw_atlas({name: each.copy.table for name, each in members})

    def show(self) -> None:
        self.publisher.draw()()
        self.publisher.shares.settle(time.monotonic())
        for worker in self.workers:
            worker.show(*self.gallery.look())

    def first(self, ip: str, worker: int = 0) -> list[str]:
        client, wanted = parse_client(ip), parse_key("film")
        decision = decide_now(self.workers[worker], client, {"film": wanted})
        assert isinstance(decision, Decision)
        return [each.server.id for each in decision.chosen["film"]]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_drain_is_in_the_next_picture(stage: Stage) -> None:
    stage.know("a")
    stage.know("b")
    stage.show()
    assert sorted(stage.first("11.1.1.1")) == ["a", "b"]
    stage.state.unpictured.clear()
    stage.state.drain(["a"], FleetDrain("fans", 1.0))
    assert stage.state.unpictured.is_set()
    stage.show()
    assert stage.first("11.1.1.1") == ["b"]


async def test_what_is_kept_for_the_run_lies_beside_pictures(stage: Stage) -> None:
    """Of a control plane that keeps nothing longer: its control process may be replaced."""
    stage.know("a")
    keeper = Keeper(stage.folder / KEPT_FOR_THE_RUN)
    drawing = asyncio.create_task(stage.state.keep_atlas())
    await until(lambda: len(stage.state.atlas.tables) > 0)
    drawing.cancel()
    assert await keep_now(stage.state, keeper) == ""
    for reason in ("fans", "disks"):
        stage.state.drain(["a"], FleetDrain(reason, 1.0))
        stage.show()
    other = FleetState(SETTINGS)
    recall(other, keeper)
    assert other.members.keys() == {"a"}
    assert len(other.atlas) == 1


async def test_workers_wait_for_what_was_kept(stage: Stage) -> None:
    """Who begins with what was kept shows it once it is known who hears which: nobody is told
    meanwhile that nobody is there.
    """
    stage.know("a")
    drawn, stage.state.atlas = stage.state.atlas, draw_atlas({})
    publishing = asyncio.create_task(stage.publisher.keep_publishing())
    try:
        await asyncio.sleep(0.3)
        assert not (stage.folder / PICTURE).exists()
        stage.state.atlas = drawn
        await until((stage.folder / PICTURE).exists)
    finally:
        publishing.cancel()
    stage.workers[0].show(*stage.gallery.look())
    assert stage.first("11.1.1.1") == ["a"]


async def test_who_begins_with_nothing_says_so(stage: Stage) -> None:
    publishing = asyncio.create_task(stage.publisher.keep_publishing())
    await until((stage.folder / PICTURE).exists)
    publishing.cancel()


def test_what_stays_the_same_stays_where_it_is(stage: Stage) -> None:
    """The atlas is written and mapped once; files that no picture names are removed."""
    stage.know("a")
    stage.show()
    (first,) = stage.folder.glob("atlas-*")
    stage.state.drain(["a"], FleetDrain("fans", 1.0))
    stage.show()
    assert list(stage.folder.glob("atlas-*")) == [first]
    for _ in range(3):
        stage.know("b")
        stage.show()
    assert not first.exists()
    assert len(list(stage.folder.glob("atlas-*"))) == 2  # that of now, and of the one before


def test_a_worker_sees_that_there_is_news(stage: Stage) -> None:
    assert not stage.gallery.has_news()
    stage.show()
    assert not stage.gallery.has_news()
    stage.publisher.draw()()
    assert stage.gallery.has_news()


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\xa1x\x90\xc0"])
def test_a_damaged_picture_is_refused(stage: Stage, data: bytes) -> None:
    stage.show()
    (stage.folder / PICTURE).write_bytes(data)
    with pytest.raises((OSError, msgspec.MsgspecError)):
        stage.gallery.look()
    assert stage.gallery.has_news()


def test_workers_share_what_an_appliance_can_take(tmp_path: Path) -> None:
    """Each its half; what they gave counts together, until a report shows it."""
    stage = Stage(tmp_path, workers=2)
    rate = SETTINGS.client_bits_per_s
    stage.know("a", free=4 * rate)
    stage.show()
    firsts = [[stage.first(f"11.{number}.1.1", worker) for number in range(3)] for worker in (0, 1)]
    assert firsts == [[["a"], ["a"], []]] * 2
    stage.publisher.shares.settle(time.monotonic())
    assert stage.state.granted("a", time.monotonic()) == 4 * rate
    assert stage.state.servers["a"].fault.startswith("full")
    stage.know("a", free=100 * rate)
    stage.show()
    assert stage.first("11.9.1.1") == ["a"]


def test_notes_are_read_once(stage: Stage) -> None:
    stage.know("a")
    stage.show()
    stage.first("11.1.1.1")
    stage.first("2001:db8::1")
    notes = stage.workers[0].notes
    data = msgspec.msgpack.encode(notes.take())
    assert notes.take() is None
    (stage.folder / NOTES / "1-1").write_bytes(data)
    (stage.folder / NOTES / "1-2").write_bytes(b"damaged")
    for _ in range(2):
        stage.publisher.read_notes()
    assert stage.state.journal.outcomes == {"served": 1, "uncovered": 1}
    rows, others = stage.state.journal.demand.recent(int(time.time() // 60)).rows()
    assert (len(rows), others) == (2, 0)
    assert not list((stage.folder / NOTES).iterdir())


KEYS = [b"one", b"two", "drei/ü".encode()]


def test_contents() -> None:
    index = memoryview(index_keys(KEYS))
    contents = Contents(index, memoryview(b"\5"), {"a": memoryview(b"\4"), "b": memoryview(b"")})
    assert [contents.find(key) for key in (*KEYS, b"none")] == [0, None, 2, None]
    holds = contents.holders_of(KEYS[2])
    assert [holds(name) for name in "abc"] == [True, False, False]
    assert not contents.holders_of(b"two")("a")


def test_nothing_is_in_an_empty_catalogue() -> None:
    empty = memoryview(index_keys([]))
    assert Contents(empty, memoryview(b""), {}).find(b"one") is None
