"""Stores that are gone, hang or refuse: the others are used, and nothing is lost by it."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ocaserve.fill.comparing import Comparer
from ocaserve.fill.index import Index, Row
from ocaserve.fill.manifest import Entry, Manifest
from ocaserve.fill.planner import Kind, Rules
from ocaserve.fill.storing import quarantine
from ocaserve.fill.surveying import LOST
from ocaserve.fill.threads import Result, StoreThreads

DIGEST = "ab" * 32


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "fill.db")
    yield made
    made.close()


@pytest.fixture
def stores(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "d1", tmp_path / "d2"]
    for each in made:
        each.mkdir()
    return made


def have(store: Path, index: Index, key: str) -> Entry:
    """One that is there, and known."""
    file = store / key
    file.write_bytes(b"x" * 1000)
    status = file.stat()
    index.hold(
        [
            Row(
                key=key,
                store=str(store),
                size=1000,
                seen_ns=status.st_mtime_ns,
                sha256=DIGEST,
                since=0,
            )
        ]
    )
    return Entry(key=key, size=1000, sha256=DIGEST)


def manifest(*entries: Entry) -> Manifest:
    return Manifest(version="1", objects=list(entries))


def wanted(count: int) -> list[Entry]:
    return [Entry(key=f"new/{n}", size=10, sha256=DIGEST) for n in range(count)]


async def test_disk_that_is_gone(stores: list[Path], index: Index) -> None:
    """Its place is no store, and what it had is not forgotten; so it is when it is back."""
    entry = have(stores[0], index, "a")
    comparer = Comparer(stores, index, StoreThreads(), Rules())
    assert (await comparer.compare(manifest(entry))).sums.parts[Kind.KEEP].objects == 1
    index.note_mounts({str(stores[0]): str(stores[0])})  # as of a disk that was mounted there
    (stores[0] / "a").rename(stores[0].parent / "aside")
    found = await comparer.compare(manifest(entry, *wanted(20)))
    assert found.faults == {str(stores[0]): LOST}
    assert {action.store for action in found.plan.of(Kind.FETCH)} == {str(stores[1])}
    assert index.find("a", str(stores[0])) is not None
    index.note_mounts({str(stores[0]): "/"})
    (stores[0].parent / "aside").rename(stores[0] / "a")
    found = await comparer.compare(manifest(entry))
    assert found.sums.parts[Kind.KEEP].objects == 1


class Hanging(StoreThreads):
    """Threads of one store do not come back until they may."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self.calls = 0
        self.may_answer = asyncio.Event()

    async def run(self, store: str, work: Callable[..., Result], *values: Any) -> Result:
        if store == self._name:
            self.calls += 1
            await self.may_answer.wait()
        return await super().run(store, work, *values)


async def test_disk_that_hangs(stores: list[Path], index: Index) -> None:
    """It has what it had and takes nothing; it is asked once, and waited for once."""
    entry = have(stores[0], index, "a")
    threads = Hanging(str(stores[0]))
    comparer = Comparer(stores, index, threads, Rules(), patience_s=0.2)
    for _ in range(2):
        found = await comparer.compare(manifest(entry, *wanted(20)))
        assert found.faults == {str(stores[0]): "its disk does not answer"}
        assert {action.store for action in found.plan.of(Kind.FETCH)} == {str(stores[1])}
        assert found.sums.parts[Kind.KEEP].objects == 1
    assert threads.calls == 1
    threads.may_answer.set()
    await comparer._looking[str(stores[0])]
    assert (await comparer.compare(manifest(entry))).faults == {}


@pytest.mark.parametrize(
    ("number", "is_doubted"),
    [
        (errno.ENOSPC, True), (errno.EIO, True), (errno.EROFS, True), (errno.EDQUOT, True),
        (errno.EISDIR, False), (errno.ENAMETOOLONG, False), (errno.EACCES, False), (0, False),
    ],
)  # fmt: skip
async def test_disk_that_refuses(
    stores: list[Path], index: Index, number: int, is_doubted: bool
) -> None:
    """Others are used for a minute; what is wrong with one object says nothing of its store."""
    now = time.monotonic()
    comparer = Comparer(stores, index, StoreThreads(), Rules(), clock=lambda: now)
    comparer.doubt(str(stores[0]), OSError(number, "no"))
    found = await comparer.compare(manifest(*wanted(20)))
    used = {action.store for action in found.plan.of(Kind.FETCH)}
    assert (used == {str(stores[1])}) is is_doubted
    now += 61
    found = await comparer.compare(manifest(*wanted(20)))
    assert len({action.store for action in found.plan.of(Kind.FETCH)}) == 2


def test_index_goes_on_after_a_failure(index: Index) -> None:
    """Nothing is left half done, and the next one is taken."""
    row = Row(key="a", store="d1", size=1, seen_ns=1, since=0)
    wrong: Any = Row(key=None, store="d1", size=1, seen_ns=1, since=0)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="the index of fill"):
        index.hold([row, wrong])
    assert list(index.rows()) == []
    index.hold([row])
    assert [each.key for each in index.rows()] == ["a"]


def test_damaged_are_kept_within_bounds(tmp_path: Path) -> None:
    """The last few, to be looked at."""
    for number in range(20):
        (tmp_path / str(number)).write_bytes(b"x")
        quarantine(tmp_path, str(number), f"{number:064x}")
    kept = sorted(int(each.name, 16) for each in (tmp_path / ".fill/damaged").iterdir())
    assert len(kept) == 8
    assert 19 in kept
