"""The report's events: what is new since a serial, made once for all who are at that serial.

Readers that keep up are all at the same serial, and share one event. One that is slow finds the
events that it has missed among the latest, which are held once, in so many bytes; further behind,
it gets what it has missed as one. Of those only one is made at a time, however many are slow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple, Protocol

from aiohttp import web

from ocaserve.steering.changes import GoneError
from ocaserve.steering.report import Heading

GAP_S = 0.1
"""Between two events: what changes meanwhile is one."""
_KEEP_ALIVE_S = 15.0  # between two signs of life
_SLICE_BYTES = 64 << 10  # written at a time
_STILL_HERE = b": still here\n\n"


class Changes(Protocol):
    """What is asked of the routes: see `RouteService`."""

    @property
    def session(self) -> str: ...
    def commit(self) -> int: ...
    def changes(self, session: str, after: int) -> tuple[Heading, Iterator[bytes]]: ...
    async def wait_for_news(self, timeout_s: float) -> None: ...


class Told(NamedTuple):
    """An event, as it is sent, and the serial that its reader is at then."""

    serial: int
    data: bytes


class Broadcast:
    """All events that are held, by the serial after which they tell.

    most_bytes: of all of them; one is held in any case. made: how many were made.
    """

    def __init__(
        self,
        service: Changes,
        most_bytes: int,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._service = service
        self._most_bytes = most_bytes
        self._clock = clock
        self._held: dict[int, Told] = {}
        self._size = 0
        self._latest = 0  # the serial of those who keep up
        self._made_at = float("-inf")
        self._making: dict[int, asyncio.Task[Told | None]] = {}
        self._catching_up = asyncio.Lock()
        self.made = 0

    async def read(self, session: str, after: int) -> AsyncIterator[bytes]:
        """The events of one reader, without an end."""
        yield _render("hello", session, after, json.dumps({"session": session, "serial": after}))
        while True:
            try:
                told = await self._after(session, after)
            except GoneError as error:
                session, after = self._service.session, self._service.commit()
                yield _render("reset", session, after, json.dumps({"reason": str(error)}))
                continue
            if told is not None:
                after = told.serial
                yield told.data
                continue
            before = self._service.commit()
            if before == after:
                await self._service.wait_for_news(_KEEP_ALIVE_S)
            if self._service.commit() == before == after:
                yield _STILL_HERE

    async def _after(self, session: str, after: int) -> Told | None:
        """What follows a serial, None if nothing does yet. Raises GoneError."""
        if session != self._service.session:
            self._service.changes(session, after)  # it says that it is gone
        if told := self._held.get(after):
            return told
        task = self._making.get(after)
        if task is None:
            task = self._making[after] = asyncio.create_task(self._make(session, after))
            task.add_done_callback(lambda _: self._making.pop(after, None))
        return await asyncio.shield(task)  # others may wait for it too

    async def _make(self, session: str, after: int) -> Told | None:
        if after < self._latest:
            async with self._catching_up:
                return await self._render_changes(session, after)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._made_at + GAP_S - loop.time()))
        self._made_at = loop.time()
        return await self._render_changes(session, after)

    async def _render_changes(self, session: str, after: int) -> Told | None:
        heading, pieces = self._service.changes(session, after)
        if heading.serial == after:
            return None
        document = await asyncio.to_thread(b"".join, pieces)
        data = await asyncio.to_thread(
            _render, "changes", session, heading.serial, document.replace(b"\n", b"").decode()
        )
        told = Told(heading.serial, data)
        self.made += 1
        self._latest = max(self._latest, heading.serial)
        self._hold(after, told)
        return told

    def _hold(self, after: int, told: Told) -> None:
        self._held[after] = told
        self._size += len(told.data)
        while self._size > self._most_bytes and len(self._held) > 1:
            oldest = next(iter(self._held))
            self._size -= len(self._held.pop(oldest).data)


def _render(name: str, session: str, serial: int, data: str) -> bytes:
    return f"event: {name}\nid: {session}/{serial}\ndata: {data}\n\n".encode()


async def send_events(request: web.Request, events: AsyncIterator[bytes]) -> web.StreamResponse:
    """Answer with them for as long as the reader is there, and takes them."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # of proxies that would collect events
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    async for event in events:
        for start in range(0, len(event), _SLICE_BYTES):
            await response.write(event[start : start + _SLICE_BYTES])
    return response
