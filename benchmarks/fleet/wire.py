"""HTTP/1.1 of a client, on connections that are kept: as little work as can be, since thousands of
appliances share a core with it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple, cast

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_TAG = re.compile(rb"(?i)\r\netag: *([^\r]+)")
_TIMEOUT_S = 30.0


class Reply(NamedTuple):
    status: int
    body: bytes
    tag: bytes = b""


class _Link(asyncio.Protocol):
    """One connection, one question at a time."""

    def __init__(self) -> None:
        self._got = bytearray()
        self._answer: asyncio.Future[Reply] | None = None
        self.transport: asyncio.Transport | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class

    async def ask(self, request: bytes) -> Reply:
        """Raises OSError, TimeoutError."""
        assert self.transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await self._answer
        except (TimeoutError, asyncio.CancelledError):
            self.close()
            raise
        finally:
            self._answer = None

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return
        found = _LENGTH.search(self._got, 0, end)
        size = end + 4 + (int(found[1]) if found else 0)
        if len(self._got) < size:
            return
        head, body = bytes(self._got[:end]), bytes(self._got[end + 4 : size])
        del self._got[:size]
        tag = _TAG.search(head)
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Reply(int(head[9:12]), body, tag[1] if tag else b""))
        if b"\r\nConnection: close" in head:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed by the server"))

    def close(self) -> None:
        self.is_open = False
        if self.transport is not None:
            self.transport.close()


class Caller:
    """Asks one address over so many connections at the most. `to`: host:port, may be changed."""

    def __init__(self, to: str, connections: int) -> None:
        self.to = to
        self._places = asyncio.Semaphore(connections)
        self._idle: list[tuple[str, _Link]] = []

    @property
    def is_full(self) -> bool:
        return self._places.locked()

    async def post(self, path: str, body: bytes, fields: str = "") -> Reply:
        """Raises OSError, TimeoutError."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self.to}\r\nContent-Type: application/json\r\n"
            f"{fields}Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._ask(head.encode() + body)

    async def get(self, path: str, fields: str = "") -> Reply:
        """Likewise."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: {self.to}\r\n{fields}\r\n".encode())

    async def _ask(self, request: bytes) -> Reply:
        async with self._places, self._link() as link:
            return await link.ask(request)

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[_Link]:
        link = await self._take()
        try:
            yield link
        except BaseException:
            link.close()
            raise
        if link.is_open:
            self._idle.append((self.to, link))

    async def _take(self) -> _Link:
        while self._idle:
            to, link = self._idle.pop()
            if link.is_open and to == self.to:
                return link
            link.close()
        host, _, port = self.to.rpartition(":")
        _, link = await asyncio.get_running_loop().create_connection(_Link, host, int(port))
        return link

    def close(self) -> None:
        for _, link in self._idle:
            link.close()
        self._idle.clear()
