"""Between a client and an appliance: what came through is counted, and can be made to drip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

from tests.support.streams import close

_CHUNK_BYTES = 1 << 16
_TICK_S = 0.05


class Relay:
    """Passes connections on to a port of this machine, and ends one when the server does.

    sent: bytes that went to clients, heads too. connections: that it was asked for.
    drip_bytes_per_s: how much it passes on at most, over each connection; None for all. is_cut:
    whether nobody gets through who comes now. alter: makes what goes to a client of what came.
    """

    def __init__(self, port: int) -> None:
        self.sent = 0
        self.connections = 0
        self.drip_bytes_per_s: int | None = None
        self.is_cut = False
        self.alter: Callable[[bytes], bytes] = bytes
        self.tell: Callable[[], None] = lambda: None
        self.url = ""
        self._port = port
        self._serving: set[asyncio.Future[None]] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, port: int) -> AsyncIterator[Self]:
        """One that listens while the block runs; `url` is where."""
        relay = cls(port)
        server = await asyncio.start_server(relay._begin, "127.0.0.1", 0)
        relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield relay
        finally:
            server.close()
            relay.drop()
            await asyncio.gather(*relay._serving, return_exceptions=True)

    def drop(self) -> None:
        """Break off all connections that there are."""
        for each in self._serving:
            each.cancel()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.is_cut:
            writer.close()
            return
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                back, forth = await asyncio.open_connection("127.0.0.1", self._port)
                asking = asyncio.ensure_future(self._ask(reader, forth))
                try:
                    await self._answer(back, writer)
                finally:
                    asking.cancel()
                    await close(forth)
        finally:
            await close(writer)

    async def _ask(self, reader: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                forth.write(chunk)
            forth.close()  # the client is gone

    async def _answer(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await back.read(self._most()):
            writer.write(self.alter(chunk))
            await writer.drain()
            self._count(len(chunk))
            if self.drip_bytes_per_s is not None:
                await asyncio.sleep(_TICK_S)

    def _most(self) -> int:
        if self.drip_bytes_per_s is None:
            return _CHUNK_BYTES
        return max(1, int(self.drip_bytes_per_s * _TICK_S))

    def _count(self, count: int) -> None:
        self.sent += count
        self.tell()
