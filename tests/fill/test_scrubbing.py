"""Reading again what is stored: what is damaged is put aside, and only that."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocaserve.fill import scrubbing
from ocaserve.fill.index import Index, Row
from ocaserve.fill.scrubbing import Scrubber, is_due
from tests.fill.conftest import BODY, digest

DAY_S = 86_400


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = Index(tmp_path / "fill.db")
    yield made
    made.close()


def have(store: Path, index: Index, sha256: str = "") -> Row:
    """BODY, as it is known."""
    file = store / "a"
    file.write_bytes(BODY)
    seen_ns = file.stat().st_mtime_ns
    row = Row(
        key="a",
        store=str(store),
        size=len(BODY),
        seen_ns=seen_ns,
        sha256=sha256,
        is_ours=True,
        since=0,
    )
    index.hold([row])
    return row


async def scrub(index: Index) -> Scrubber:
    scrubber = Scrubber(index, 1e12)
    assert await scrubber._scrub_some()
    return scrubber


async def test_right(store: Path, index: Index) -> None:
    """Its digest is known from then on."""
    have(store, index)
    await scrub(index)
    row = index.find("a", str(store))
    assert row is not None
    assert (row.sha256, row.is_ours) == (digest(BODY), True)
    assert not is_due(row, time.time())


async def test_damaged(store: Path, index: Index) -> None:
    have(store, index, "ab" * 32)
    scrubber = await scrub(index)
    assert scrubber.damaged == 1
    assert not (store / "a").exists()
    assert index.find("a", str(store)) is None


@pytest.mark.parametrize(
    ("number", "is_damage"),
    [
        (errno.EIO, True), (errno.EMFILE, False), (errno.EACCES, False), (errno.ENOMEM, False),
        (errno.ENOENT, False), (errno.ESTALE, False), (errno.ENOTCONN, False),
    ],
)  # fmt: skip
async def test_cannot_be_read(
    store: Path, index: Index, monkeypatch: pytest.MonkeyPatch, number: int, is_damage: bool
) -> None:
    """Only what the disk says of the object is damage; all else is asked again later."""
    before = have(store, index, digest(BODY))

    def refuse(*_: Any) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(scrubbing, "digest_on_disk", refuse)
    scrubber = await scrub(index)
    assert (scrubber.damaged == 1) is is_damage
    assert (store / "a").exists() is not is_damage
    row = index.find("a", str(store))
    if not is_damage:
        assert row is not None
        assert (row.sha256, row.is_ours) == (before.sha256, True)
        assert not is_due(row, time.time())
        assert is_due(row, time.time() + 3_700)


async def test_replaced_meanwhile(store: Path, index: Index) -> None:
    """Another version is no damage."""
    have(store, index, "ab" * 32)
    os.utime(store / "a", (1, 1))
    scrubber = await scrub(index)
    assert scrubber.damaged == 0
    assert (store / "a").exists()


def test_due() -> None:
    """Never looked at, a week ago, or by a clock that was ahead."""
    now = time.time()

    def row(verified: float | None) -> Row:
        return Row(key="a", store="d1", size=1, seen_ns=1, since=0, verified=verified)

    assert is_due(row(None), now)
    assert not is_due(row(now - 6 * DAY_S), now)
    assert is_due(row(now - 8 * DAY_S), now)
    assert is_due(row(now + DAY_S), now)


def resident_pages(file: Path) -> int:
    """How much of a file is in memory, by mincore(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        count = -(-len(mapped) // mmap.PAGESIZE)
        flags = (ctypes.c_ubyte * count)()
        view = (ctypes.c_char * len(mapped)).from_buffer(mapped)
        assert not libc.mincore(ctypes.c_void_p(ctypes.addressof(view)), len(mapped), flags)
        del view
        return sum(flag & 1 for flag in flags)


async def test_memory_is_left_as_it_is(store: Path, index: Index) -> None:
    """What clients want stays in memory, and what they do not does not come there."""
    have(store, index)
    file = store / "a"
    with file.open("rb") as opened:
        try:
            os.close(os.open(file, os.O_RDONLY | os.O_DIRECT))
        except OSError:
            pytest.skip("a file system without reading past the cache")
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident_pages(file):
        pytest.skip("a file system that is memory")
    await scrub(index)
    assert resident_pages(file) == 0
    file.read_bytes()
    before = resident_pages(file)
    index.age_all()
    await scrub(index)
    assert resident_pages(file) == before > 0
