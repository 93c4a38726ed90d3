"""The catalogue: which file answers, that it is current, and what a failing store does."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ocaserve.serving import files, freshness, pages
from ocaserve.serving.lookups import UnreadableError
from ocaserve.serving.store import OpenFile, Store
from ocaserve.stores.folder import Folder
from tests.support.catalogues import Make


async def test_object_is_found_on_whichever_store_has_it(make: Make) -> None:
    bench = await make()
    assert (await bench.open(b"a.mp4")).store is bench.stores[0]
    assert (await bench.open(b"b.mp4")).store is bench.stores[1]


@pytest.mark.parametrize("key", [b"missing", b"a.mp4/below", b"x" * 300])
async def test_what_is_not_there_is_none(make: Make, key: bytes) -> None:
    bench = await make()
    assert await bench.find(key) is None


async def test_directory_is_no_object(make: Make, folders: tuple[Path, Path]) -> None:
    (folders[0] / "folder").mkdir()
    bench = await make()
    assert await bench.find(b"folder") is None


async def test_fifo_is_no_object_and_blocks_nobody(make: Make, folders: tuple[Path, Path]) -> None:
    os.mkfifo(folders[0] / "fifo")
    bench = await make()
    assert await bench.find(b"fifo") is None


async def test_found_file_is_a_hit_for_a_second(make: Make) -> None:
    bench = await make()
    file = await bench.open(b"a.mp4")
    bench.stores[0].is_local = False  # so that a comparison takes a thread
    assert bench.catalogue.get(b"/a.mp4") is file
    bench.catalogue.tick += 4
    assert bench.catalogue.get(b"/a.mp4") is None


@pytest.mark.parametrize("is_local", [True, False])
async def test_unused_file_is_compared_before_its_next_use(make: Make, is_local: bool) -> None:
    bench = await make()
    file = await bench.open(b"a.mp4")
    bench.stores[0].is_local = is_local
    bench.catalogue.tick += 100
    assert await bench.open(b"a.mp4") is file
    assert bench.catalogue.get(b"/a.mp4") is file


@pytest.mark.parametrize("change", ["replaced", "removed", "overwritten"])
@pytest.mark.parametrize("is_local", [True, False])
async def test_unused_file_that_changed_is_seen_at_its_next_use(
    make: Make, folders: tuple[Path, Path], change: str, is_local: bool
) -> None:
    bench = await make()
    old = await bench.open(b"a.mp4")
    bench.stores[0].is_local = is_local
    path = folders[0] / "a.mp4"
    if change == "replaced":
        (folders[0] / "new").write_bytes(b"n" * 500)
        (folders[0] / "new").rename(path)
    elif change == "removed":
        path.unlink()
    else:
        path.write_bytes(b"o" * 500)
    bench.catalogue.tick += 100
    assert bench.catalogue.get(b"/a.mp4") is None
    found = await bench.find(b"a.mp4")
    assert found is not old
    assert (found is None) is (change == "removed")
    assert bench.catalogue.replaced == 1


async def test_file_in_use_stays_a_hit(make: Make) -> None:
    bench = await make()
    file = await bench.open(b"a.mp4")
    for _ in range(20):
        await bench.tick()
        assert bench.catalogue.get(b"/a.mp4") is file


async def test_replaced_file_is_seen_within_a_second(
    make: Make, folders: tuple[Path, Path]
) -> None:
    bench = await make()
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
    bench = await make()
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
    bench = await make()
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
    bench = await make()
    old = await bench.open(b"a.mp4")
    (folders[0] / "a.mp4").write_bytes(b"c" * 1000)
    assert old.is_overwritten()
    assert bench.catalogue.get(b"/a.mp4") is None
    assert bench.catalogue.get_key(b"a.mp4") is None
    assert await bench.open(b"a.mp4") is not old


async def test_open_file_that_cannot_be_compared(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not replaced, for all that is known, and answers again when it can be."""
    bench = await make()
    file = await bench.open(b"a.mp4")
    bench.stores[0].is_local = False
    bench.catalogue.tick += 10
    with monkeypatch.context() as broken:

        def stat(*_: object, **__: object) -> os.stat_result:
            raise OSError(errno.EIO, "Input/output error")

        def opener(_: int, __: bytes) -> int:
            raise OSError(errno.EIO, "Input/output error")

        broken.setattr(os, "stat", stat)
        broken.setattr(bench.stores[0], "open_below", opener)
        assert isinstance(await bench.find(b"a.mp4"), UnreadableError)
    assert await bench.find(b"a.mp4") is file
    assert bench.catalogue.replaced == 0


async def test_descriptors_of_cold_reads_are_bounded(
    make: Make, folders: tuple[Path, Path]
) -> None:
    """What is to be let go of is remembered for open files alone; the oldest go first."""
    bench = await make(open_files=16, cold_pages="second-read")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        (folders[0] / f"{number}.mp4").write_bytes(b"x" * 100)
        file = await bench.open(b"%d.mp4" % number)
        bench.catalogue.hold(file)
        bench.catalogue.read_from_disk(file, 0, 100)
        bench.catalogue.release(file)
    await bench.settle()
    assert len(bench.catalogue._pages) <= 16
    assert len(os.listdir("/proc/self/fd")) <= before + 16
    await bench.tick(100)
    assert len(bench.catalogue._pages) == 0


async def test_files_in_use_are_passed_over(make: Make, folders: tuple[Path, Path]) -> None:
    """To close them would give no descriptor back."""
    bench = await make(open_files=16)
    held = await bench.open(b"a.mp4")
    bench.catalogue.hold(held)
    for number in range(40):
        (folders[0] / f"{number}.mp4").write_bytes(b"x")
        await bench.open(b"%d.mp4" % number)
    assert not held.dropped
    assert len(bench.catalogue) == 16
    bench.catalogue.release(held)


async def test_spellings_of_a_key_are_bounded(make: Make) -> None:
    bench = await make()
    file = await bench.open(b"a.mp4")
    for number in range(50):
        assert bench.catalogue.get_key(b"a.mp4", b"/%d" % number) is file
    assert bench.catalogue.get_key(b"a.mp4", b"/" + b"x" * 600) is file
    assert bench.catalogue.get(b"/49") is file
    assert len(bench.catalogue._by_target) == len(file.targets) == 4


async def test_late_answer_of_a_store(
    make: Make, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is of the look-up that asked, and says nothing to a later one of the same key."""
    bench = await make()
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
    bench = await make()
    go, compared = threading.Event(), threading.Event()
    opener, comparer = bench.stores[1].open_below, files.compare

    def open_late(folder: int, key: bytes) -> int:
        go.wait(10)
        return opener(folder, key)

    def compare_late(folder: Folder, file: OpenFile) -> bool | None:
        compared.wait(10)
        return comparer(folder, file)

    monkeypatch.setattr(bench.stores[1], "open_below", open_late)
    file = await bench.open(b"a.mp4")
    monkeypatch.setattr(freshness, "compare", compare_late)
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
    bench = await make()
    await bench.open(b"a.mp4")
    (folders[0] / "a.mp4").unlink()
    await bench.tick(4)
    assert await bench.find(b"a.mp4") is None


async def test_concurrent_look_ups_open_once(make: Make) -> None:
    bench = await make()
    found = await asyncio.gather(*(bench.find(b"a.mp4") for _ in range(10)))
    assert len({id(file) for file in found}) == 1


async def test_open_files_are_bounded(make: Make, folders: tuple[Path, Path]) -> None:
    bench = await make(open_files=16, cold_pages="second-read")
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
    bench = await make(small=1000)
    assert (await bench.open(b"a.mp4")).content == b"a" * 1000
    bench = await make(small=999)
    assert (await bench.open(b"a.mp4")).content is None


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
    bench = await make(cold_pages=policy)
    file = await bench.open(b"big.mp4")
    os.fsync(file.descriptor)
    for _ in range(reads):
        os.pread(file.descriptor, 300_000, 0)
        bench.catalogue.read_from_disk(file, 0, 300_000)
        await bench.tick(pages.FORGET_AFTER_TICKS[-1] + 1)
        last = file.residency is not None and file.residency.is_resident(
            0, 300_000, bench.catalogue.tick + 1000
        )
    assert last is not forgotten
    assert file.refs == 0
