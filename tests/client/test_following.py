"""Obeying a course over real sockets: servers that are wrong in every way, and takers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from ocaserve.client import (
    Change,
    FollowError,
    News,
    NotHeard,
    Patience,
    Ranked,
    Stream,
    Version,
    follow,
    make_session,
)  # fmt: skip
from ocaserve.client.asking import QoeSession
from ocaserve.client.receiving import PartialFile
from tests.support.streams import close

BODY = bytes(range(256)) * 1_000
QUICK = Patience(first_byte_s=0.3, stall_s=0.3, judge_s=0.3, give_up_s=3)
Behave = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]
Start = Callable[[Behave], Awaitable[str]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a server that behaves so with each request; returns its URL."""
    servers = []
    serving: set[asyncio.Future[None]] = set()

    async def make(behave: Behave) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await behave(writer, await reader.readuntil(b"\r\n\r\n"))
            await close(writer)

        def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve(reader, writer))
            serving.add(task)

        server = await asyncio.start_server(begin, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/film"

    yield make
    for server in servers:
        server.close()
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with make_session() as made:
        yield made


def asked_from(request: bytes) -> int:
    return int(request.lower().partition(b"range: bytes=")[2].partition(b"-")[0])


def head(request: bytes, tag: str = '"v1"', more: str = "") -> bytes:
    start = asked_from(request)
    return (
        f"HTTP/1.1 206 Partial Content\r\nETag: {tag}\r\nContent-Length: {len(BODY) - start}\r\n"
        f"Content-Range: bytes {start}-{len(BODY) - 1}/{len(BODY)}\r\n{more}\r\n"
    ).encode()


async def right(writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(head(request) + BODY[asked_from(request) :])
    await writer.drain()


async def silent(_: asyncio.StreamWriter, request: bytes) -> None:
    assert request
    await asyncio.sleep(30)


async def half(writer: asyncio.StreamWriter, request: bytes) -> None:
    start = asked_from(request)
    writer.write(head(request) + BODY[start : start + 1_000])
    await writer.drain()


async def stalling(writer: asyncio.StreamWriter, request: bytes) -> None:
    await half(writer, request)
    await asyncio.sleep(30)


async def dripping(writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(head(request))
    for byte in BODY[asked_from(request) :]:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def other(writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(head(request, '"v2"') + bytes(len(BODY) - asked_from(request)))
    await writer.drain()


async def untagged(writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(head(request, 'W/"v1"'))


async def compressed(writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(head(request, more="Content-Encoding: gzip\r\n"))


async def circular(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: /film\r\nConnection: close\r\n\r\n")
    await writer.drain()


async def to_a_file(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n")
    await writer.drain()


async def nonsense(writer: asyncio.StreamWriter, _: bytes) -> None:
    writer.write(b"\x00\xff\x1b[2J nonsense\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        pytest.param(silent, "stalled: no answer in 0.3 s", id="silent"),
        pytest.param(half, "cut: 255000 bytes did not come", id="half"),
        pytest.param(stalling, "stalled: no byte in 0.3 s", id="stalling"),
        pytest.param(dripping, "slow: ", id="dripping"),
        pytest.param(untagged, "untagged: ", id="untagged"),
        pytest.param(compressed, "encoded: gzip", id="compressed"),
        pytest.param(circular, "redirects: more than 4", id="circular"),
        pytest.param(to_a_file, "unreachable: ", id="to_a_file"),
        pytest.param(nonsense, "unreachable: ", id="nonsense"),
    ],
)
async def test_bad_server_is_left(
    start: Start, session: aiohttp.ClientSession, behave: Behave, fault: str
) -> None:
    """The next one goes on where it ended; the reason is said on one line."""
    taken = bytearray()
    told: list[News] = []
    urls = [await start(behave), await start(right)]
    sink = Stream(taken.extend)
    outcome = await follow(session, sink, urls=urls, patience=QUICK, tell=told.append)
    assert bytes(taken) == BODY
    assert outcome.received == len(BODY)
    change = next(each for each in told if isinstance(each, Change))
    assert change.why.startswith(fault)
    assert change.why.isprintable()


async def test_changed_everywhere_is_begun_anew(
    start: Start, session: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Into a file; into a pipe, out of which nothing can be taken back, it is an error."""
    answers = iter([half])

    async def changing(writer: asyncio.StreamWriter, request: bytes) -> None:
        await next(answers, other)(writer, request)

    file = tmp_path / "film"
    with PartialFile(file) as kept:
        outcome = await follow(session, kept, urls=[await start(changing)], patience=QUICK)
        kept.finish(None)
    assert outcome.version == Version('"v2"', len(BODY))
    assert file.read_bytes() == bytes(len(BODY))
    answers = iter([half])
    with pytest.raises(FollowError, match="all servers have another version"):
        await follow(session, Stream(lambda _: None), urls=[await start(changing)], patience=QUICK)


async def test_two_do_not_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "film"
    with PartialFile(file), pytest.raises(FollowError, match="another process writes it"):
        PartialFile(file).__enter__()


async def test_a_full_disk_ends_it(start: Start, session: aiohttp.ClientSession) -> None:
    """What the taker says is no fault of a server."""

    def refuse(_: bytes) -> None:
        raise FollowError("/dev/full: No space left on device")

    urls = [await start(right), await start(right)]
    with pytest.raises(FollowError, match="No space left"):
        await follow(session, Stream(refuse), urls=urls, patience=QUICK)


class _Named:
    """Servers that a control plane at `qoe` has named."""

    def __init__(self, urls: list[str], qoe: str) -> None:
        self.ranked = Ranked(urls, 60, QoeSession(qoe, "token"))

    async def ask(self, _: aiohttp.ClientSession) -> Ranked:
        return self.ranked


async def test_tells_how_it_went(start: Start, session: aiohttp.ClientSession) -> None:
    """Once, with what it left on the way; a control plane that will not hear it changes nothing."""
    told: list[bytes] = []
    statuses = [b"204 No Content", b"403 Forbidden"]

    async def hear(writer: asyncio.StreamWriter, request: bytes) -> None:
        told.append(request.partition(b"\r\n")[0])
        status = statuses.pop(0)
        writer.write(b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()

    qoe, servers = await start(hear), [await start(half), await start(right)]
    for unheard in (0, 1):
        news: list[News] = []
        outcome = await follow(
            session, Stream(lambda _: None), source=_Named(servers, qoe), patience=QUICK,
            tell=news.append,
        )  # fmt: skip
        assert outcome.version.size == len(BODY)
        assert len([each for each in news if isinstance(each, NotHeard)]) == unheard
    assert told == [b"POST /film HTTP/1.1"] * 2
