"""One object, from right and wrong sources, over crashes: never visible before it is right."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from aiohttp import web

from ocaserve.fill import bringing
from ocaserve.fill.bringing import Means, NoSourceError, NotNowError, Order, WrongDigestError, bring
from ocaserve.fill.manifest import Entry
from ocaserve.fill.storing import Partial
from tests.fill.conftest import BODY, PIECE, Origin, digest, entry


def order(store: Path, wanted: Entry) -> Order:
    return Order(wanted, store, "d1", "origin")


def visible(store: Path) -> list[str]:
    """What would be served."""
    files = (file.relative_to(store) for file in store.rglob("*") if file.is_file())
    return sorted(str(file) for file in files if not any(p.startswith(".") for p in file.parts))


@pytest.mark.parametrize("has_pieces", [True, False])
async def test_right(store: Path, means: Means, origins: list[Origin], has_pieces: bool) -> None:
    """It is there, with the time that the manifest names, and nothing is left over."""
    wanted = entry(origins[0].url, has_pieces=has_pieces, mtime_ns=1_700_000_000_123_456_789)
    await bring(means, order(store, wanted))
    file = store / "film" / "1.mp4"
    assert file.read_bytes() == BODY
    assert file.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert file.stat().st_mode & 0o777 == 0o644
    row = means.held.find("film/1.mp4", "d1")
    assert row is not None
    assert (row.sha256, row.is_ours, row.seen_ns) == (digest(BODY), True, file.stat().st_mtime_ns)
    assert means.held.all_progress() == []
    assert list((store / ".fill").iterdir()) == []
    assert means.received == {"origin": len(BODY)}
    assert origins[0].sent == len(BODY)


async def test_empty(store: Path, means: Means) -> None:
    """Needs no source."""
    wanted = Entry(key="empty", size=0, sha256=digest(b""))
    await bring(means, order(store, wanted))
    assert (store / "empty").read_bytes() == b""


async def test_source_that_flips_bits(store: Path, means: Means, origins: list[Origin]) -> None:
    """Is found at its first piece, and left alone; the rest comes from the other."""

    def flip(start: int, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:]

    origins[0].spoil = flip
    await bring(means, order(store, entry(origins[0].url, origins[1].url)))
    assert (store / "film/1.mp4").read_bytes() == BODY
    assert len(origins[0].asked) <= 2  # one for each lane
    [(_, record)] = means.book.dropped(means.clock())
    assert record.last.startswith("digest: piece")


async def test_nobody_is_right(store: Path, means: Means, origins: list[Origin]) -> None:
    """Nothing is visible, and it is said when to try again."""
    origins[0].spoil = lambda _, data: data[:-1] + b"x"
    with pytest.raises(NoSourceError, match="no source up to origin can be asked now") as caught:
        await bring(means, order(store, entry(origins[0].url)))
    assert caught.value.back is not None
    assert visible(store) == []


async def test_no_digests_of_pieces(store: Path, means: Means, origins: list[Origin]) -> None:
    """Then the whole is judged, and thrown away."""
    origins[0].spoil = lambda start, data: b"x" + data[1:] if not start else data
    wanted = entry(origins[0].url, has_pieces=False)
    with pytest.raises(WrongDigestError):
        await bring(means, order(store, wanted))
    assert visible(store) == []
    assert list((store / ".fill").iterdir()) == []
    assert means.held.all_progress() == []
    assert means.book.is_dropped(origins[0].url, means.clock())


async def test_manifest_that_is_wrong(store: Path, means: Means, origins: list[Origin]) -> None:
    """All pieces are right, and the whole is not what it says: nothing is visible."""
    wanted = entry(origins[0].url, sha256="ab" * 32)
    with pytest.raises(WrongDigestError):
        await bring(means, order(store, wanted))
    assert visible(store) == []
    assert not means.book.is_dropped(origins[0].url, means.clock())


async def test_resumed(store: Path, means: Means, origins: list[Origin]) -> None:
    """What was there before the cut is not fetched again; nothing was visible meanwhile."""

    def stop_after_five(_: int, data: bytes) -> bytes:
        if len(origins[0].asked) > 5:
            raise web.HTTPServiceUnavailable
        return data

    origins[0].spoil = stop_after_five
    wanted = entry(origins[0].url)
    with pytest.raises(NoSourceError):
        await bring(means._replace(lanes=1), order(store, wanted))
    assert visible(store) == []
    [progress] = means.held.all_progress()
    assert sum(byte.bit_count() for byte in progress.done) == 5
    origins[0].spoil = lambda _, data: data
    means.book.praise(origins[0].url)
    before = origins[0].sent
    await bring(means, order(store, wanted))
    assert (store / "film/1.mp4").read_bytes() == BODY
    assert origins[0].sent - before == len(BODY) - 5 * PIECE


async def test_machine_restarted_meanwhile(
    store: Path, means: Means, origins: list[Origin]
) -> None:
    """What was written may not be on the disk: each piece is looked at again."""
    origins[0].spoil = lambda start, data: data if start < 4 * PIECE else b""
    wanted = entry(origins[0].url)
    with pytest.raises(NoSourceError):
        await bring(means._replace(lanes=1), order(store, wanted))
    [part] = (store / ".fill").iterdir()
    with part.open("r+b") as file:
        file.seek(PIECE)
        file.write(b"\0" * PIECE)
    origins[0].spoil = lambda _, data: data
    means.book.praise(origins[0].url)
    before = origins[0].sent
    await bring(means._replace(boot="boot-2"), order(store, wanted))
    assert (store / "film/1.mp4").read_bytes() == BODY
    assert origins[0].sent - before == len(BODY) - 3 * PIECE


async def test_far_sources_wait_for_their_turn(
    store: Path, means: Means, origins: list[Origin]
) -> None:
    wanted = entry(origins[0].url)
    with pytest.raises(NoSourceError, match="no source up to peer"):
        await bring(means, Order(wanted, store, "d1", "peer"))
    assert origins[0].asked == []


async def test_link_out_of_the_store(
    store: Path, means: Means, origins: list[Origin], tmp_path: Path
) -> None:
    """Nothing is written behind it."""
    (tmp_path / "outside").mkdir()
    (store / "film").symlink_to(tmp_path / "outside")
    for key in ("film/1.mp4", "film/more/1.mp4"):
        with pytest.raises(OSError, match="leads out of the store"):
            await bring(means, order(store, entry(origins[0].url, key=key)))
    assert list((tmp_path / "outside").iterdir()) == []


async def test_pause_between_pieces(store: Path, means: Means, origins: list[Origin]) -> None:
    """A window that closes is not outlasted by a large object; what was fetched stays."""
    halting = means._replace(
        lanes=1, why_not=lambda: "outside of the window" if len(origins[0].asked) >= 3 else ""
    )
    with pytest.raises(NotNowError, match="outside of the window"):
        await bring(halting, order(store, entry(origins[0].url)))
    assert visible(store) == []
    await bring(means, order(store, entry(origins[0].url)))
    assert origins[0].sent == len(BODY)


async def test_parts_that_vanished(store: Path, means: Means, origins: list[Origin]) -> None:
    """What is remembered of a file that is not there any more counts for nothing."""
    halting = means._replace(lanes=1, why_not=lambda: "busy" if len(origins[0].asked) >= 3 else "")
    wanted = entry(origins[0].url)
    with pytest.raises(NotNowError):
        await bring(halting, order(store, wanted))
    for file in (store / ".fill").iterdir():
        file.unlink()
    await bring(means, order(store, wanted))
    assert (store / "film/1.mp4").read_bytes() == BODY
    assert not list(means.book.dropped(means.clock()))


async def test_writes_that_were_lost(
    store: Path, means: Means, origins: list[Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has not what was written is no fault of the source; the rest is kept."""
    wanted = entry(origins[0].url)
    verify = bringing._verify

    def lose(means: Means, order: Order, partial: Partial) -> None:
        monkeypatch.setattr(bringing, "_verify", verify)
        partial.write(PIECE, b"\0" * PIECE)
        verify(means, order, partial)

    monkeypatch.setattr(bringing, "_verify", lose)
    with pytest.raises(OSError, match=f"{PIECE} bytes are not what was written"):
        await bring(means, order(store, wanted))
    assert visible(store) == []
    assert not list(means.book.dropped(means.clock()))
    await bring(means, order(store, wanted))
    assert (store / "film/1.mp4").read_bytes() == BODY
    assert origins[0].sent == len(BODY) + PIECE


async def test_file_system_that_takes_no_room_beforehand(
    store: Path, means: Means, origins: list[Origin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZFS says EINVAL to posix_fallocate."""

    def refuse(*_: int) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    await bring(means, order(store, entry(origins[0].url)))
    assert (store / "film/1.mp4").read_bytes() == BODY
