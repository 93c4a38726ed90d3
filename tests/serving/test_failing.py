"""What a worker does with stores that fail, are replaced, and come back."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocaserve.serving import failing
from ocaserve.serving.catalogue import ObjectCatalogue
from ocaserve.serving.failing import StoreChange
from ocaserve.serving.lookups import LineFullError, StoreAwayError, UnreadableError
from ocaserve.serving.store import OpenFile, Store
from ocaserve.stores import trial
from ocaserve.stores.folder import Folder, FolderIdentity, look_at_folder
from ocaserve.stores.judging import StoreEvent, StoreState
from tests.support.catalogues import Bench, Make

Folders = tuple[Path, Path]


def break_opening(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int = errno.EIO, key: bytes = b""
) -> None:
    """All objects of the store, or one, can't be opened from now on."""
    opener = store.open_below

    def broken(folder: int, wanted: bytes) -> int:
        if key in (b"", wanted):
            raise OSError(code, os.strerror(code))
        return opener(folder, wanted)

    monkeypatch.setattr(store, "open_below", broken)


def break_reading(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """No object below the folder can be read by a trial."""
    read = trial.read_from_disk

    def broken(file: str) -> None:
        if file.startswith(str(folder)):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        read(file)

    monkeypatch.setattr(trial, "read_from_disk", broken)


async def test_one_bad_object_fails_no_store(
    make: Make, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[0] / "good.mp4").write_bytes(b"g")
    bench = await make()
    with monkeypatch.context() as broken:
        break_opening(bench.stores[0], broken, key=b"a.mp4")
        for _ in range(20):
            assert isinstance(await bench.find(b"a.mp4"), UnreadableError)
            await bench.tick()
        await bench.open(b"good.mp4")
        assert await bench.find(b"missing") is None
    assert bench.notified == []
    await bench.open(b"a.mp4")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
async def test_object_that_is_forbidden_is_no_doubt_of_the_store(
    make: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """It is there, so it is not denied; and no disk is read to find out more."""
    bench = await make()
    break_opening(bench.stores[0], monkeypatch, code, key=b"a.mp4")
    assert isinstance(await bench.find(b"a.mp4"), UnreadableError)
    assert bench.stores[0].state is StoreState.SERVING
    assert (bench.catalogue.unreadable, bench.catalogue.io_errors) == (1, 0)


async def test_store_fails_and_comes_back(
    make: Make, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make()
    await bench.open(b"a.mp4")
    store = bench.stores[0]
    with monkeypatch.context() as broken:
        break_reading(broken, folders[0])
        bench.catalogue.doubt(store, OSError(errno.EIO, ""))
        await bench.tick(5)
        assert bench.notified == [(store, StoreChange.FAILED)]
        assert store.why == "Input/output error: 1 of 1 objects cannot be read"
        assert bench.catalogue.get(b"/a.mp4") is None
        assert isinstance(await bench.find(b"a.mp4"), StoreAwayError)
        assert isinstance(await bench.find(b"missing"), StoreAwayError)
        assert (await bench.open(b"b.mp4")).store is bench.stores[1]
        await bench.tick(20)
        assert not store.can_be_asked
    await bench.tick(9)
    assert bench.notified == [(store, StoreChange.FAILED), (store, StoreChange.BACK)]
    assert (await bench.open(b"a.mp4")).store is store
    assert await bench.find(b"missing") is None


async def test_moment_of_failure_costs_a_moment(make: Make, folders: Folders) -> None:
    """A store is looked at soon after it failed, and then ever more rarely."""
    bench = await make()
    store = bench.stores[0]
    aside = folders[0].with_name("aside")
    folders[0].rename(aside)
    looks: list[int] = []
    for _ in range(40):
        await bench.tick()
        if not looks or store.looked != looks[-1]:
            looks.append(store.looked)
    pauses = [later - sooner for sooner, later in itertools.pairwise(looks)]
    assert pauses[pauses.index(4) - 1 :][:4] == [2, 4, 8, 8]
    aside.rename(folders[0])
    await bench.tick(9)
    folders[0].rename(aside)
    await bench.tick(2)
    aside.rename(folders[0])
    assert not store.can_be_asked
    await bench.tick(3)
    assert store.can_be_asked


async def test_object_of_a_failed_store_comes_from_another(make: Make, folders: Folders) -> None:
    (folders[1] / "a.mp4").write_bytes(b"a" * 1000)
    bench = await make()
    await bench.open(b"a.mp4")
    shutil.rmtree(folders[0])
    await bench.tick(3)
    assert (await bench.open(b"a.mp4")).store is bench.stores[1]


async def test_unreadable_copy_is_avoided(make: Make, folders: Folders) -> None:
    """Whoever met it is given another store's, or hears that it can't be had: no 404."""
    bench = await make()
    first, second = bench.stores
    assert isinstance(await bench.find(b"a.mp4", first), UnreadableError)
    (folders[1] / "a.mp4").write_bytes(b"a" * 1000)
    assert (await bench.find(b"a.mp4", first)) is not None
    assert (await bench.open(b"a.mp4")).store is second
    assert isinstance(await bench.find(b"a.mp4", first, second), UnreadableError)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_error_of_the_machine_is_no_doubt_of_the_store(
    make: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    bench = await make()
    for store in bench.stores:
        break_opening(store, monkeypatch, code)
    found = await bench.find(b"a.mp4")
    assert isinstance(found, OSError)
    assert found.errno == code
    assert all(store.state is StoreState.SERVING for store in bench.stores)


# -- folders -------------------------------------------------------------------------------------


async def test_store_that_is_not_there_at_first(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.mkdir()
    (good / "a").write_bytes(b"a")
    bench = Bench(tmp_path / "missing", good)
    looked = asyncio.Event()
    bench.catalogue.start(looked.set)
    await looked.wait()
    missing, _ = bench.stores
    assert (missing, StoreChange.FAILED) in bench.notified
    assert missing.why == "No such file or directory"
    assert (await bench.open(b"a")).store.path == str(good)
    assert isinstance(await bench.find(b"b"), StoreAwayError)
    (tmp_path / "missing").mkdir()
    (tmp_path / "missing" / "b").write_bytes(b"b")
    await bench.tick(9)
    assert bench.notified[-1] == (missing, StoreChange.BACK)
    assert (await bench.open(b"b")).store is missing


@contextmanager
def late_look(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No look at the store ends in this block."""
    gate = threading.Event()

    def look(path: str, held: FolderIdentity | None) -> Folder | None:
        if path == store.path:
            gate.wait(20)
        return look_at_folder(path, held)

    monkeypatch.setattr(failing, "look_at_folder", look)
    try:
        yield
    finally:
        gate.set()


@pytest.mark.parametrize("is_there", [True, False])
async def test_look_ups_wait_for_the_first_look(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """A worker that has just begun denies nothing that the one before it would have sent."""
    bench = Bench(*folders)
    slow, other = bench.stores
    if not is_there:
        shutil.rmtree(folders[0])
    with late_look(slow, monkeypatch):
        bench.catalogue.start(lambda: None)
        while other.looks.pending:  # noqa: ASYNC110 - the pool has no event to wait for
            await asyncio.sleep(0.001)
        asked = [ask(bench.catalogue, key, b"client")[0] for key in (b"a.mp4", b"missing")]
        assert (await bench.open(b"b.mp4")).store is other
        assert not any(each.done() for each in asked)
    there, missing = await asyncio.gather(*asked)
    if is_there:
        assert isinstance(there, OpenFile)
        assert missing is None
    else:
        assert isinstance(there, StoreAwayError)
        assert isinstance(missing, StoreAwayError)


async def test_first_look_that_gets_no_answer(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeps nobody waiting for longer than a later one."""
    bench = Bench(folders[0])
    (store,) = bench.stores
    with late_look(store, monkeypatch):
        bench.catalogue.start(lambda: None)
        asked, _ = ask(bench.catalogue, b"a.mp4", b"client")
        for _ in range(45):
            bench.catalogue.tick_once()
        assert isinstance(await asked, StoreAwayError)
        assert bench.notified == [(store, StoreChange.FAILED)]
    await bench.settle()
    assert bench.notified[1:] == [(store, StoreChange.BACK)]


async def test_replaced_folder_is_taken_within_a_second(make: Make, folders: Folders) -> None:
    bench = await make()
    old = await bench.open(b"a.mp4")
    folders[0].rename(folders[0].with_name("before"))
    folders[0].mkdir()
    (folders[0] / "a.mp4").write_bytes(b"new")
    await bench.tick(4)
    assert bench.notified == [(bench.stores[0], StoreChange.REPLACED)]
    new = await bench.open(b"a.mp4")
    assert new is not old
    assert new.representation.size == 3


async def test_removed_folder_fails_the_store(make: Make, folders: Folders) -> None:
    bench = await make()
    await bench.open(b"a.mp4")
    shutil.rmtree(folders[0])
    await bench.tick(4)
    assert bench.notified == [(bench.stores[0], StoreChange.FAILED)]
    assert isinstance(await bench.find(b"a.mp4"), StoreAwayError)
    assert len(bench.catalogue) == 0


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_look_without_means_says_nothing_of_the_store(
    make: Make, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    bench = await make()

    def exhausted(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(failing, "look_at_folder", exhausted)
    bench.catalogue.doubt(bench.stores[0], OSError(errno.EIO, ""))
    await bench.tick(20)
    assert bench.notified == []
    await bench.open(b"a.mp4")


async def test_folder_that_does_not_answer(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks hears so, instead of waiting; when it answers the store is back."""
    bench = await make()
    store = bench.stores[0]
    with late_look(store, monkeypatch):
        for _ in range(45):
            bench.catalogue.tick_once()
            await asyncio.sleep(0.001)
        assert bench.notified == [(store, StoreChange.FAILED)]
        assert store.why == "no answer for 10 s"
        assert isinstance(await bench.find(b"a.mp4"), StoreAwayError)
    await bench.tick(12)
    assert bench.notified[1:] == [(store, StoreChange.BACK)]


async def test_object_that_hangs_in_a_trial(
    make: Make, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store goes on; its folder is looked at all the same."""
    bench = await make()
    store, gate = bench.stores[0], threading.Event()
    monkeypatch.setattr(trial, "read_from_disk", lambda _: gate.wait(20))
    bench.catalogue.doubt(store, OSError(errno.EIO, ""))
    for _ in range(60):
        bench.catalogue.tick_once()
        while store.looks.pending:  # noqa: ASYNC110 - the pool has no event to wait for
            await asyncio.sleep(0.001)
    assert bench.notified == []
    folders[0].rename(folders[0].with_name("before"))
    folders[0].mkdir()
    bench.catalogue.tick_once()
    bench.catalogue.tick_once()
    while store.looks.pending:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)
    assert bench.notified == [(store, StoreChange.REPLACED)]
    gate.set()
    await bench.settle()


async def test_old_folder_is_let_go_of(make: Make, folders: Folders) -> None:
    bench = await make()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        shutil.rmtree(folders[0])
        folders[0].mkdir()
        await bench.tick(4)
    assert len(os.listdir("/proc/self/fd")) == before


async def test_store_that_fails_while_it_is_asked(
    make: Make, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has found then is not served, and not denied."""
    bench = await make()
    store = bench.stores[0]
    gate = hold_opening(store, monkeypatch)
    asked, _ = ask(bench.catalogue, b"a.mp4", b"client")
    while bench.stores[1].lookups.pending:  # noqa: ASYNC110 - the pool has no event to wait for
        await asyncio.sleep(0.001)
    store.happen(StoreEvent.BAD, "it is gone")
    gate.set()
    assert isinstance(await asked, StoreAwayError)


# -- the line ------------------------------------------------------------------------------------


def hold_opening(store: Store, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Opening waits for the event."""
    gate, opener = threading.Event(), store.open_below

    def held(folder: int, key: bytes) -> int:
        gate.wait(10)
        return opener(folder, key)

    monkeypatch.setattr(store, "open_below", held)
    return gate


def ask(
    catalogue: ObjectCatalogue, key: bytes, client: bytes
) -> tuple[asyncio.Future[object], Callable[[], None]]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    return future, catalogue.find(None, key, future.set_result, client)


async def test_who_leaves_is_forgotten(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk is stalled: only what threads have is left, and they are not heard."""
    bench = await make()
    gates = [hold_opening(store, monkeypatch) for store in bench.stores]
    asked = [ask(bench.catalogue, b"%d" % number, b"client") for number in range(100)]
    await asyncio.sleep(0)
    assert len(bench.catalogue.lookups) == 100
    for _, forget in asked:
        forget()
    assert len(bench.catalogue.lookups) == 0
    assert [bench.catalogue.lookups.count_waiting(store) for store in bench.stores] == [0, 0]
    for gate in gates:
        gate.set()
    await bench.settle()
    assert not any(future.done() for future, _ in asked)


async def test_who_asks_much_keeps_nobody_waiting(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make()
    gates = [hold_opening(store, monkeypatch) for store in bench.stores]
    order: list[bytes] = []
    for number in range(200):
        bench.catalogue.find(None, b"%d" % number, lambda _: order.append(b"much"), b"much")
    bench.catalogue.find(None, b"a.mp4", lambda _: order.append(b"little"), b"little")
    for gate in gates:
        gate.set()
    await bench.settle()
    await asyncio.sleep(0)
    assert len(order) == 201
    assert order.index(b"little") < 40


async def test_open_object_does_not_wait_behind_look_ups(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does its comparison, where that takes a thread."""
    bench = await make()
    file = await bench.open(b"a.mp4")
    bench.stores[0].is_local = False
    gates = [hold_opening(store, monkeypatch) for store in bench.stores]
    for number in range(100):
        ask(bench.catalogue, b"%d" % number, b"much")
    bench.catalogue.tick += 10
    assert bench.catalogue.get(b"/a.mp4") is None
    assert await bench.find(b"a.mp4") is file
    for gate in gates:
        gate.set()
    await bench.settle()


async def test_full_line_is_said_and_counted(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await Bench(folders[0], most_waiting=10).start()
    gate = hold_opening(bench.stores[0], monkeypatch)
    asked = [ask(bench.catalogue, b"%d" % number, b"client")[0] for number in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused = [future for future in asked if future.done()]
    assert len(refused) == bench.catalogue.lookups.refused == 100 - 10 - 8
    assert all(isinstance(future.result(), LineFullError) for future in refused)
    gate.set()
    await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)


async def test_failed_store_keeps_nobody_waiting(
    make: Make, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = await make()
    gate = hold_opening(bench.stores[0], monkeypatch)
    asked = [ask(bench.catalogue, b"%d" % number, b"client")[0] for number in range(30)]
    shutil.rmtree(folders[0])
    bench.catalogue.tick_once()
    bench.catalogue.tick_once()
    while bench.stores[0].looks.pending:  # noqa: ASYNC110 - the pool has no event to wait for
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.01)
    told = [future.result() for future in asked if future.done()]
    assert len(told) >= 30 - 8
    assert all(isinstance(answer, StoreAwayError) for answer in told)
    gate.set()
    await bench.settle()
