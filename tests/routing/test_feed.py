"""Where the feeder's lines come in: whole, in order, and without holding anybody up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ocaserve.routing.feed import Feed

_WAIT_S = 15.0


class Lines:
    """A sink that keeps what it gets, and takes its time for each line."""

    def __init__(self, each_s: float = 0.0) -> None:
        self.lines: list[bytes] = []
        self._each_s = each_s

    def apply(self, line: bytes) -> None:
        if self._each_s:
            time.sleep(self._each_s)
        if line == b"defect":
            raise RuntimeError("of the sink")
        self.lines.append(line)


@asynccontextmanager
async def feeding(sink: Lines, path: Path, users: set[int] | None = None) -> AsyncIterator[Feed]:
    feed = Feed(sink, {os.geteuid()} if users is None else users)
    await feed.start(path)
    try:
        yield feed
    finally:
        await feed.stop()


async def until(look: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not look():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feed.sock"


async def test_lines(path: Path) -> None:
    """However they are cut, and however long: 16 MiB and not a byte more."""
    sink = Lines()
    long = b"x" * (3 << 20)
    async with feeding(sink, path) as feed:
        _, writer = await asyncio.open_unix_connection(path)
        for part in (b"one\ntw", b"o\n", long[: 1 << 20], long[1 << 20 :] + b"\n", b"\nlast\n"):
            writer.write(part)
            await writer.drain()
        await until(lambda: len(sink.lines) == 5, "all lines")
        assert sink.lines == [b"one", b"two", long, b"", b"last"]
        writer.write(b"y" * (17 << 20) + b"\nafter\n")
        await until(lambda: sink.lines[-1] == b"after", "the line after one that is too long")
        assert len(sink.lines) == 6
        writer.close()
        await until(lambda: not feed.is_connected, "the end")
        assert feed.too_long == 1


async def test_slow_sink_holds_nobody_up(path: Path) -> None:
    """Others have their turn between slices; the sender waits, not our memory."""
    sink = Lines(each_s=0.001)
    async with feeding(sink, path) as feed:
        _, writer = await asyncio.open_unix_connection(path)
        data = (b"z" * 20_000 + b"\n") * 600  # 12 MB, three times what may wait
        turns = 0
        sending = asyncio.create_task(_send(writer, data))
        most = 0
        while len(sink.lines) < 600:
            turns += 1
            most = max(most, feed.waiting_bytes)
            await asyncio.sleep(0)
        await sending
        assert turns > 60, "each slice gave way"
        assert most < 8 << 20
        writer.close()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


async def test_defect_of_the_sink_costs_one_line(path: Path) -> None:
    """The next lines come all the same."""
    sink = Lines()
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
    async with feeding(sink, path):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"one\ndefect\ntwo\n")
        await until(lambda: sink.lines == [b"one", b"two"], "both lines")
        assert len(failures) == 1
        writer.close()


async def test_another_user_is_refused(path: Path) -> None:
    """What comes in makes routes, so not everybody may send it."""
    sink = Lines()
    async with feeding(sink, path, users={os.geteuid() + 1}) as feed:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"one\n")
        with suppress(ConnectionResetError):  # as it finds it: what we sent may be unread
            assert await reader.read() == b""
        assert feed.refused == 1
        assert sink.lines == []
        writer.close()


async def test_newest_connection_counts(path: Path) -> None:
    """A feeder that was killed may seem alive for a while."""
    sink = Lines()
    async with feeding(sink, path) as feed:
        first_reader, first = await asyncio.open_unix_connection(path)
        await until(lambda: feed.connections == 1, "the first")
        reader, writer = await asyncio.open_unix_connection(path)
        await until(lambda: feed.connections == 2, "the second")
        assert await first_reader.read() == b""
        feed.refresh("192.0.2.1")
        feed.refresh()
        assert await reader.readline() == b'{"order": "refresh", "peer": "192.0.2.1"}\n'
        assert await reader.readline() == b'{"order": "refresh"}\n'
        writer.write(b"two\n")
        await until(lambda: sink.lines == [b"two"], "its line")
        first.close()
        writer.close()


async def test_socket_left_behind(path: Path) -> None:
    """A control process that was killed leaves its socket: the next one takes the place."""
    async with feeding(Lines(), path):
        os.link(path, path.with_suffix(".kept"))
    os.replace(path.with_suffix(".kept"), path)
    sink = Lines()
    async with feeding(sink, path):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"one\n")
        await until(lambda: sink.lines == [b"one"], "a line")
        writer.close()


async def test_gone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feeder that is replaced is no end; one that is not means that ExaBGP is gone."""
    monkeypatch.setattr("ocaserve.routing.feed.GONE_S", 0.2)
    gone = asyncio.Event()
    feed = Feed(Lines(), {os.geteuid()}, gone.set)
    await feed.start(path)
    for _ in range(2):
        assert not gone.is_set()
        _, writer = await asyncio.open_unix_connection(path)
        await until(lambda: feed.is_connected, "a connection")
        writer.close()
        await until(lambda: not feed.is_connected, "its end")
    async with asyncio.timeout(_WAIT_S):
        await gone.wait()
    await feed.stop()


async def test_refresh_without_a_feeder(path: Path) -> None:
    """There is nobody to ask, and the one that comes tells everything."""
    async with feeding(Lines(), path) as feed:
        feed.refresh()
