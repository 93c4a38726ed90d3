"""The catalogue: which file answers, that it is current, and what a failing store does."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving import catalogue as module
from ocaserve.serving.catalogue import Catalogue, OpenFile, Store


class Bench:
    """A catalogue over two folders, and the clock in the test's hand."""

    def __init__(self, *folders: Path, open_files: int = 100, small: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.notified: list[Store] = []
        self.stores = [Store(str(folder), loop, 2) for folder in folders]
        self.catalogue = Catalogue(
            loop,
            self.stores,
            ResponsePolicy(),
            open_files=open_files,
            small_object_bytes=small,
            notify=self.notified.append,
        )

    async def find(self, key: bytes) -> OpenFile | OSError | None:
        future: asyncio.Future[OpenFile | OSError | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.catalogue.find(b"/" + key, key, future.set_result)
        return await asyncio.wait_for(future, 5)

    async def open(self, key: bytes) -> OpenFile:
        found = await self.find(key)
        assert isinstance(found, OpenFile)
        return found

    async def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.catalogue.tick_once()
            await self.settle()

    async def settle(self) -> None:
        for store in self.stores:
            for pool in (store.lookups, store.reads):
                while pool.pending:  # noqa: ASYNC110 - the pool has no event to wait for
                    await asyncio.sleep(0.001)

    def close(self) -> None:
        for store in self.stores:
            os.close(store.folder)


Make = Callable[..., Bench]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "one", tmp_path / "two"
    first.mkdir()
    second.mkdir()
    (first / "a.mp4").write_bytes(b"a" * 1000)
    (second / "b.mp4").write_bytes(b"b" * 1000)
    return first, second


@pytest.fixture
def make(folders: tuple[Path, Path]) -> Iterator[Make]:
    made: list[Bench] = []

    def factory(**options: int) -> Bench:
        made.append(Bench(*folders, **options))
        return made[-1]

    yield factory
    for bench in made:
        bench.close()


async def test_object_is_found_on_whichever_store_has_it(make: Make) -> None:
    bench = make()
    assert (await bench.open(b"a.mp4")).store is bench.stores[0]
    assert (await bench.open(b"b.mp4")).store is bench.stores[1]


@pytest.mark.parametrize("key", [b"missing", b"a.mp4/below", b"x" * 300])
async def test_what_is_not_there_is_none(make: Make, key: bytes) -> None:
    assert await make().find(key) is None


async def test_directory_is_no_object(make: Make, folders: tuple[Path, Path]) -> None:
    (folders[0] / "folder").mkdir()
    assert await make().find(b"folder") is None


async def test_fifo_is_no_object_and_blocks_nobody(make: Make, folders: tuple[Path, Path]) -> None:
    os.mkfifo(folders[0] / "fifo")
    assert await make().find(b"fifo") is None


async def test_found_file_is_a_hit_for_a_second(make: Make) -> None:
    bench = make()
    file = await bench.open(b"a.mp4")
    assert bench.catalogue.get(b"/a.mp4") is file
    bench.catalogue.tick += 4
    assert bench.catalogue.get(b"/a.mp4") is None


async def test_unused_file_is_compared_before_its_next_use(make: Make) -> None:
    bench = make()
    file = await bench.open(b"a.mp4")
    bench.catalogue.tick += 100
    assert await bench.open(b"a.mp4") is file
    assert bench.catalogue.get(b"/a.mp4") is file


async def test_file_in_use_stays_a_hit(make: Make) -> None:
    bench = make()
    file = await bench.open(b"a.mp4")
    for _ in range(20):
        await bench.tick()
        assert bench.catalogue.get(b"/a.mp4") is file


async def test_replaced_file_is_seen_within_a_second(
    make: Make, folders: tuple[Path, Path]
) -> None:
    bench = make()
    old = await bench.open(b"a.mp4")
    (folders[0] / "new").write_bytes(b"n" * 500)
    (folders[0] / "new").rename(folders[0] / "a.mp4")
    for _ in range(4):
        await bench.tick()
    assert bench.catalogue.get(b"/a.mp4") is not old
    new = await bench.open(b"a.mp4")
    assert new.representation.size == 500
    assert bench.catalogue.replaced == 1


async def test_response_keeps_the_file_it_began_with(
    make: Make, folders: tuple[Path, Path]
) -> None:
    bench = make()
    old = await bench.open(b"a.mp4")
    bench.catalogue.hold(old)
    (folders[0] / "new").write_bytes(b"n" * 500)
    (folders[0] / "new").rename(folders[0] / "a.mp4")
    await bench.tick(4)
    assert os.pread(old.descriptor, 2000, 0) == b"a" * 1000
    assert not old.changed
    bench.catalogue.release(old)
    await bench.settle()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(old.descriptor)


async def test_overwritten_file_is_marked_changed(make: Make, folders: tuple[Path, Path]) -> None:
    bench = make()
    file = await bench.open(b"a.mp4")
    bench.catalogue.hold(file)
    (folders[0] / "a.mp4").write_bytes(b"c" * 1000)
    await bench.tick(4)
    assert file.changed
    bench.catalogue.release(file)
    await bench.settle()


async def test_file_known_to_be_overwritten_answers_nothing(
    make: Make, folders: tuple[Path, Path]
) -> None:
    """From the moment on in which a response has noticed."""
    bench = make()
    old = await bench.open(b"a.mp4")
    (folders[0] / "a.mp4").write_bytes(b"c" * 1000)
    assert old.is_overwritten()
    assert bench.catalogue.get(b"/a.mp4") is None
    assert bench.catalogue.get_key(b"a.mp4") is None
    assert await bench.open(b"a.mp4") is not old


async def test_late_answer_of_a_store(
    make: Make, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of the look-up that asked, and says nothing to a later one of the same key."""
    bench = make()
    first, second = bench.stores
    go = [threading.Event(), threading.Event()]

    def held(gate: threading.Event, store: Store) -> Callable[[int, bytes], int]:
        opener = store.open_below

        def open_late(folder: int, key: bytes) -> int:
            gate.wait(10)
            return opener(folder, key)

        return open_late

    monkeypatch.setattr(second, "open_below", held(go[1], second))
    old = await bench.open(b"a.mp4")  # which the second store has not, but does not say
    (folders[0] / "a.mp4").write_bytes(b"c" * 1000)
    assert old.is_overwritten()
    monkeypatch.setattr(first, "open_below", held(go[0], first))
    later = asyncio.ensure_future(bench.find(b"a.mp4"))
    while second.lookups.pending < 2:  # noqa: ASYNC110 - the pool has no event to wait for
        await asyncio.sleep(0.001)
    go[1].set()
    while second.lookups.pending:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)
    assert not later.done()
    go[0].set()
    assert isinstance(await later, OpenFile)


async def test_late_answer_beside_a_comparison(
    make: Make, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that finds an object for a look-up that is over ends no other."""
    (folders[1] / "a.mp4").write_bytes(b"a" * 1000)
    bench = make()
    go, compared = threading.Event(), threading.Event()
    opener, comparer = bench.stores[1].open_below, module.compare

    def open_late(folder: int, key: bytes) -> int:
        go.wait(10)
        return opener(folder, key)

    def compare_late(file: OpenFile) -> bool:
        compared.wait(10)
        return comparer(file)

    monkeypatch.setattr(bench.stores[1], "open_below", open_late)
    file = await bench.open(b"a.mp4")
    monkeypatch.setattr(module, "compare", compare_late)
    bench.catalogue.tick += 10
    later = asyncio.ensure_future(bench.find(b"a.mp4"))
    await asyncio.sleep(0)
    go.set()
    while bench.stores[1].lookups.pending:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.001)
    assert not later.done()
    compared.set()
    assert await later is file
    await bench.settle()


async def test_removed_file_is_gone_within_a_second(make: Make, folders: tuple[Path, Path]) -> None:
    bench = make()
    await bench.open(b"a.mp4")
    (folders[0] / "a.mp4").unlink()
    await bench.tick(4)
    assert await bench.find(b"a.mp4") is None


async def test_concurrent_look_ups_open_once(make: Make) -> None:
    bench = make()
    found = await asyncio.gather(*(bench.find(b"a.mp4") for _ in range(10)))
    assert len({id(file) for file in found}) == 1


async def test_open_files_are_bounded(make: Make, folders: tuple[Path, Path]) -> None:
    bench = make(open_files=16)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        (folders[0] / f"{number}.mp4").write_bytes(b"x")
        await bench.open(b"%d.mp4" % number)
        bench.catalogue.tick += 1
    await bench.settle()
    assert len(bench.catalogue) <= 16
    assert len(os.listdir("/proc/self/fd")) <= before + 16
    assert bench.catalogue.get(b"/49.mp4") is not None


async def test_small_object_is_in_memory(make: Make) -> None:
    assert (await make(small=1000).open(b"a.mp4")).content == b"a" * 1000
    assert (await make(small=999).open(b"a.mp4")).content is None


async def test_failed_store_hides_its_objects_until_it_can_be_read(make: Make) -> None:
    bench = make()
    file = await bench.open(b"a.mp4")
    bench.catalogue.fail(file.store, OSError(errno.EIO, "Input/output error"), b"a.mp4", 0)
    assert bench.catalogue.get(b"/a.mp4") is None
    assert await bench.find(b"a.mp4") is None
    assert (await bench.open(b"b.mp4")).store is bench.stores[1]
    await bench.tick(9)
    assert bench.stores[0].failure is None
    assert (await bench.open(b"a.mp4")).store is bench.stores[0]
    assert bench.notified == [bench.stores[0], bench.stores[0]]


async def test_object_of_a_failed_store_comes_from_another(
    make: Make, folders: tuple[Path, Path]
) -> None:
    (folders[1] / "a.mp4").write_bytes(b"a" * 1000)
    bench = make()
    bench.catalogue.fail(bench.stores[0], OSError(errno.EIO, "I/O error"), b"a.mp4", 0)
    assert (await bench.open(b"a.mp4")).store is bench.stores[1]


async def test_all_stores_failed_is_none(make: Make) -> None:
    bench = make()
    for store in bench.stores:
        bench.catalogue.fail(store, OSError(errno.EIO, "I/O error"), b"a.mp4", 0)
    assert await bench.find(b"a.mp4") is None


async def test_error_of_the_machine_does_not_fail_the_store(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()

    def exhausted(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    for store in bench.stores:
        monkeypatch.setattr(store, "open_below", exhausted)
    found = await bench.find(b"a.mp4")
    assert isinstance(found, OSError)
    assert all(store.failure is None for store in bench.stores)


async def test_error_of_the_disk_fails_the_store(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(bench.stores[0], "open_below", broken)
    assert await bench.find(b"a.mp4") is None
    assert bench.stores[0].failure is not None
    await bench.tick(9)
    assert bench.stores[0].failure is not None


@pytest.mark.parametrize(
    ("policy", "reads", "forgotten"),
    [
        pytest.param("keep", 1, False, id="keep"),
        pytest.param("drop", 2, True, id="drop"),
        pytest.param("second-read", 1, True, id="read_once"),
        pytest.param("second-read", 2, False, id="read_twice"),
    ],
)
async def test_what_becomes_of_pages_read_from_disk(
    make: Make, folders: tuple[Path, Path], policy: str, reads: int, forgotten: bool
) -> None:
    (folders[0] / "big.mp4").write_bytes(b"x" * 300_000)
    bench = make()
    file = await bench.open(b"big.mp4")
    os.fsync(file.descriptor)
    for _ in range(reads):
        os.pread(file.descriptor, 300_000, 0)
        bench.catalogue.read_from_disk(file, 0, 300_000, policy)
        await bench.tick(module._FORGET_AFTER_TICKS[-1] + 1)
        last = file.residency is not None and file.residency.is_resident(
            0, 300_000, bench.catalogue.tick + 1000
        )
    assert last is not forgotten
    assert file.refs == 0
