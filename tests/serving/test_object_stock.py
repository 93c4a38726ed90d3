"""What a worker tells of its stores: numbers for health, and few lines for the journal."""

from __future__ import annotations

import asyncio
import errno
import logging
from pathlib import Path

import pytest

from ocaserve.metrics import CounterSlot
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.counters import (
    COUNTERS,
    GAUGE_PLACES,
    GAUGES,
    STORE_BYTES,
    Count,
    Gauge,
    StoreGauge,
    store_gauge_place,
)
from ocaserve.serving.object_stock import ObjectStock
from ocaserve.serving.store import OpenFile
from ocaserve.settings import settings_from_directories
from ocaserve.stores.judging import StoreState


class Room:
    """A stock over these folders, its numbers, and the clock in the test's hand."""

    def __init__(self, *folders: Path) -> None:
        names = [str(folder) for folder in folders]
        self.counts = memoryview(bytearray(8 * (len(COUNTERS) + len(GAUGES)))).cast("Q")
        slot = CounterSlot(
            self.counts, {STORE_BYTES: {name: place for place, name in enumerate(names)}}
        )
        loop = asyncio.get_running_loop()
        self.stock = ObjectStock(settings_from_directories(names), slot, loop, ResponsePolicy())

    async def start(self) -> Room:
        looked = asyncio.Event()
        self.stock.catalogue.start(looked.set)
        await asyncio.wait_for(looked.wait(), 5)
        return self

    def shown(self, column: int) -> tuple[int, int, int]:
        """State, device and inode of a store."""
        state, device, inode = (
            self.counts[store_gauge_place(gauge, column)] for gauge in StoreGauge
        )
        return state, device, inode

    async def open_some(self, folder: Path, first: int, stop: int) -> None:
        """Make so many objects there, and have them found."""
        for number in range(first, stop):
            (folder / f"{number}.mp4").write_bytes(b"x")
            found: asyncio.Future[object] = asyncio.get_running_loop().create_future()
            self.stock.catalogue.find(None, b"%d.mp4" % number, found.set_result)
            assert isinstance(await found, OpenFile)

    async def tick(self, times: int) -> None:
        for _ in range(times):
            self.stock.tick_once()
            for store in self.stock.catalogue.stores:
                while store.looks.pending or store.trials.pending:  # noqa: ASYNC110 - the pool has no event to wait for
                    await asyncio.sleep(0.001)


async def test_gauges_of_stores(folders: tuple[Path, Path]) -> None:
    """Which folder is held, and whether the store is failed."""
    room = await Room(*folders).start()
    for column, folder in enumerate(folders):
        status = folder.stat()
        expected = (StoreState.SERVING.value, status.st_dev, status.st_ino)
        assert room.shown(column) == expected
    (folders[0] / "a.mp4").unlink()
    folders[0].rmdir()
    await room.tick(4)
    assert room.shown(0)[0] == StoreState.FAILED.value
    assert room.counts[GAUGE_PLACES[Gauge.STORES_FAILED]] == 1
    folders[0].mkdir()
    await room.tick(9)
    assert room.shown(0)[0] == StoreState.SERVING.value
    assert room.shown(0)[2] == folders[0].stat().st_ino
    assert room.counts[GAUGE_PLACES[Gauge.STORES_FAILED]] == 0


async def test_store_that_fails_is_named_once(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    room = await Room(*folders).start()
    assert caplog.messages == []
    (folders[0] / "a.mp4").unlink()
    folders[0].rmdir()
    await room.tick(40)
    assert caplog.messages == [f"store {folders[0]}: failed: No such file or directory"]
    folders[0].mkdir()
    await room.tick(9)
    assert caplog.messages[1:] == [f"store {folders[0]}: readable again"]


async def test_machine_without_descriptors(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once while it lasts, and once when it is over; idle files are closed."""
    caplog.set_level(logging.WARNING)
    room = await Room(*folders).start()
    await room.open_some(folders[0], 0, 40)
    before = len(room.stock.catalogue)
    for _ in range(200):
        room.stock.on_error(OSError(errno.EMFILE, "Too many open files"))
    room.stock.on_error(OSError(errno.EIO, "Input/output error"))
    assert len(room.stock.catalogue) == before - 16
    await room.open_some(folders[0], 40, 50)
    assert len(room.stock.catalogue) == before - 16, "it does with fewer for a while"
    await room.tick(39)
    assert caplog.messages == ["a file could not be opened: Too many open files"]
    await room.tick(2)
    assert caplog.messages[1:] == ["files can be opened again: 200 could not"]


async def test_objects_that_cannot_be_read_are_counted(folders: tuple[Path, Path]) -> None:
    room = await Room(*folders).start()
    store = room.stock.catalogue.stores[0]
    room.stock.catalogue.doubt(store, OSError(errno.EIO, "Input/output error"))
    await room.tick(1)
    assert room.counts[Count.STORE_ERRORS] == 1
