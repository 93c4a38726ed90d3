"""Steady load: many clients that keep their connections, and compare every byte they get.

How failures are counted. A request fails when no connection can be made, when the answer is not the
one that was asked for, or when the connection ends inside it. A server may close a connection that
is idle at any time, and a request that is already on its way then meets the end of the connection
before a byte of its answer. RFC 9112 section 9.3.1 has the client send it again on another
connection, so it is counted as `retried` and not as failed; if the second attempt meets the same,
it has failed.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Address = tuple[str, int]


@dataclass(frozen=True)
class Failure:
    """A request that failed, and the client's port on its connection (0 if there was none)."""

    port: int
    what: str


@dataclass
class Report:
    """What the clients have seen so far."""

    answered: int = 0
    retried: int = 0
    failures: list[Failure] = field(default_factory=list)


class _ClosedBeforeAnswerError(Exception):
    """The connection ended before a byte of the answer."""


@dataclass(frozen=True)
class Ask:
    """A range of an object, and what it holds."""

    key: str
    start: int
    content: bytes

    @property
    def head(self) -> bytes:
        last = self.start + len(self.content) - 1
        return (
            f"GET /{self.key} HTTP/1.1\r\nHost: origin.example\r\n"
            f"Range: bytes={self.start}-{last}\r\n\r\n"
        ).encode()


class Client:
    """One connection at a time, kept as long as the server keeps it."""

    def __init__(self, address: Address, report: Report) -> None:
        self.answered = 0
        self._address = address
        self._report = report
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def port(self) -> int:
        """The port on our side."""
        if self._streams is None:
            return 0
        name = self._streams[1].get_extra_info("sockname")
        return int(name[1])

    async def ask(self, wanted: Ask) -> None:
        """Ask once, or again where the server had closed the connection; count how it went."""
        try:
            try:
                await self._attempt(wanted)
            except _ClosedBeforeAnswerError:
                self._report.retried += 1
                self.close()
                await self._attempt(wanted)
        except (OSError, EOFError, ValueError, _ClosedBeforeAnswerError) as error:
            self._report.failures.append(Failure(self.port, f"{wanted.key}: {error!r}"))
            self.close()
        else:
            self.answered += 1
            self._report.answered += 1

    async def _attempt(self, wanted: Ask) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 20)
        reader, writer = self._streams
        head = await self._send(reader, writer, wanted.head)
        status, *lines = head[:-4].split(b"\r\n")
        if not status.startswith(b"HTTP/1.1 206 "):
            raise ValueError(f"answered {status!r}")
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        if await reader.readexactly(int(fields[b"content-length"])) != wanted.content:
            raise ValueError("other bytes than the file has")
        if fields.get(b"connection") == b"close":
            self.close()

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
    ) -> bytes:
        try:
            writer.write(data)
            return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            raise _ClosedBeforeAnswerError from error
        except (ConnectionResetError, BrokenPipeError) as error:
            raise _ClosedBeforeAnswerError from error

    def close(self) -> None:
        """Go, with what is unread."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


class Load:
    """The clients, each of which goes through the same requests from another one on."""

    def __init__(self, address: Address, asks: Sequence[Ask], connections: int) -> None:
        self.report = Report()
        self.clients = [Client(address, self.report) for _ in range(connections)]
        self._asks = asks
        self._has_answer = asyncio.Event()
        self._is_over = False

    async def run(self) -> None:
        """Ask until `end`."""
        await asyncio.gather(*map(self._keep_asking, self.clients, itertools.count()))

    async def _keep_asking(self, client: Client, number: int) -> None:
        for place in itertools.count(number):
            if self._is_over:
                break
            await client.ask(self._asks[place % len(self._asks)])
            self._has_answer.set()
        client.close()

    async def progress(self, count: int = 1) -> None:
        """Wait until each client has so many answers more."""
        goals = [(client, client.answered + count) for client in self.clients]
        while any(client.answered < goal for client, goal in goals):
            self._has_answer.clear()
            await self._has_answer.wait()

    def end(self) -> None:
        """Let each client end its request."""
        self._is_over = True


def make_asks(objects: Mapping[str, bytes], pieces: int = 7) -> list[Ask]:
    """Whole objects and ranges of them."""
    return [
        Ask(key, start, content[start:stop])
        for key, content in objects.items()
        for n in range(pieces)
        for start, stop in [(len(content) * n // pieces, len(content) * (n + 1) // pieces)]
    ] + [Ask(key, 0, content) for key, content in objects.items()]


@asynccontextmanager
async def steady_load(
    address: Address, objects: Mapping[str, bytes], connections: int = 64
) -> AsyncIterator[Load]:
    """Have clients ask for ranges of these objects while the block runs."""
    load = Load(address, make_asks(objects), connections)
    running = asyncio.create_task(load.run())
    try:
        await load.progress()
        yield load
    finally:
        load.end()
        await running
