"""Events are made once, for however many read them, and slow readers cost a bounded amount."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest

from ocaserve.control import broadcast
from ocaserve.control.broadcast import Broadcast
from ocaserve.steering.changes import GoneError
from ocaserve.steering.report import Heading

READERS = 300


class Routes:
    """A service whose every serial has a kilobyte of news; `oldest`: what is still known."""

    session = "s"

    def __init__(self) -> None:
        self.serial = self.oldest = 0
        self.rendered: list[tuple[int, int]] = []
        self._news = asyncio.Event()

    def change(self) -> None:
        self.serial += 1
        self._news.set()
        self._news = asyncio.Event()

    def commit(self) -> int:
        return self.serial

    def changes(self, session: str, after: int) -> tuple[Heading, Iterator[bytes]]:
        if session != self.session or after < self.oldest:
            raise GoneError("it is gone")
        serial = self.serial

        def render() -> Iterator[bytes]:
            self.rendered.append((after, serial))
            yield json.dumps({"after": after, "to": serial, "news": "x" * 1000}).encode()

        return Heading("a", "b", "s", serial, "", True, 0.0), render()

    async def wait_for_news(self, timeout_s: float) -> None:
        await asyncio.wait_for(self._news.wait(), timeout_s)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "GAP_S", 0.0)


async def next_changes(events: AsyncIterator[bytes]) -> tuple[int, int]:
    """From where to where the next one tells."""
    async for event in events:
        name, _, data = event.decode().split("\n")[:3]
        if name == "event: changes":
            told = json.loads(data.removeprefix("data: "))
            return told["after"], told["to"]
    raise AssertionError("it ended")


async def test_made_once_for_all_who_keep_up() -> None:
    routes = Routes()
    told = Broadcast(routes, 1 << 20)
    readers = [told.read("s", 0) for _ in range(READERS)]
    for serial in range(1, 6):
        routes.change()
        seen = await asyncio.gather(*map(next_changes, readers))
        assert set(seen) == {(serial - 1, serial)}
    assert told.made == len(routes.rendered) == 5


async def test_slow_ones_find_what_they_missed() -> None:
    """Among the events that are held, without any being made for them."""
    routes = Routes()
    told = Broadcast(routes, 1 << 20)
    quick, slow = told.read("s", 0), [told.read("s", 0) for _ in range(READERS)]
    for _ in range(5):
        routes.change()
        await next_changes(quick)
    for serial in range(1, 6):
        seen = await asyncio.gather(*map(next_changes, slow))
        assert set(seen) == {(serial - 1, serial)}
    assert told.made == 5


async def test_what_is_held_is_bounded() -> None:
    """Who is further behind gets all it has missed as one, that is made once for all of those."""
    routes = Routes()
    told = Broadcast(routes, 3_000)
    quick, slow = told.read("s", 0), [told.read("s", 0) for _ in range(READERS)]
    for _ in range(50):
        routes.change()
        await next_changes(quick)
        assert sum(len(each.data) for each in told._held.values()) <= 3_000
    seen = await asyncio.gather(*map(next_changes, slow))
    assert set(seen) == {(0, 50)}
    assert told.made == 51


async def test_reset_where_changes_end() -> None:
    routes = Routes()
    told = Broadcast(routes, 1 << 20)
    routes.serial, routes.oldest = 9, 5
    for session, after in (("s", 3), ("other", 9)):
        events = told.read(session, after)
        assert (await anext(events)).startswith(b"event: hello\n")
        assert (await anext(events)) == (
            b'event: reset\nid: s/9\ndata: {"reason": "it is gone"}\n\n'
        )


async def test_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Routes, "wait_for_news", lambda *_: asyncio.sleep(0))
    events = Broadcast(Routes(), 1 << 20).read("s", 0)
    await anext(events)
    assert await anext(events) == b": still here\n\n"
