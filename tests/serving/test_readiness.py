"""Readiness: a handler hears of what it asked for, and of nothing after it has left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

import pytest

from ocaserve.serving.readiness import (
    READ,
    WRITE,
    EpollReadiness,
    LoopReadiness,
    Readiness,
    system_readiness,
)

Make = Callable[[asyncio.AbstractEventLoop], Readiness]
both = pytest.mark.parametrize("make", [EpollReadiness, LoopReadiness])


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


class Heard:
    """Collects events, and takes what there is to read, as a connection does."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.events = asyncio.Event()
        self.masks: list[int] = []

    def __call__(self, mask: int) -> None:
        self.masks.append(mask)
        self.events.set()

    async def next(self) -> int:
        await asyncio.wait_for(self.events.wait(), 5)
        self.events.clear()
        return self.masks[-1]


@both
async def test_data_is_heard(make: Make, pair: Pair) -> None:
    ours, theirs = pair
    readiness, heard = make(asyncio.get_running_loop()), Heard(ours)
    readiness.change(ours.fileno(), heard, 0, READ)
    theirs.send(b"x")
    assert await heard.next() & READ
    readiness.change(ours.fileno(), heard, READ, 0)


@both
async def test_room_to_write_is_heard_only_when_wanted(make: Make, pair: Pair) -> None:
    ours, theirs = pair
    readiness, heard = make(asyncio.get_running_loop()), Heard(ours)
    readiness.change(ours.fileno(), heard, 0, READ)
    theirs.send(b"x")
    assert await heard.next() == READ
    readiness.change(ours.fileno(), heard, READ, READ | WRITE)
    heard.events.clear()
    while not heard.masks[-1] & WRITE:
        await heard.next()
    readiness.change(ours.fileno(), heard, READ | WRITE, 0)


@both
async def test_nothing_is_heard_after_leaving(make: Make, pair: Pair) -> None:
    ours, theirs = pair
    readiness, heard = make(asyncio.get_running_loop()), Heard(ours)
    readiness.change(ours.fileno(), heard, 0, READ)
    readiness.change(ours.fileno(), heard, READ, 0)
    theirs.send(b"x")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard.masks == []


async def test_handler_ended_by_another_of_the_same_batch_is_not_called() -> None:
    readiness = EpollReadiness(asyncio.get_running_loop())
    first, first_peer = socket.socketpair()
    second, second_peer = socket.socketpair()
    calls: list[str] = []

    def end_the_other(name: str, other: socket.socket) -> Callable[[int], None]:
        def handler(_: int) -> None:
            calls.append(name)
            readiness.change(other.fileno(), handler, READ, 0)

        return handler

    with first, first_peer, second, second_peer:
        readiness.change(first.fileno(), end_the_other("first", second), 0, READ)
        readiness.change(second.fileno(), end_the_other("second", first), 0, READ)
        first_peer.send(b"x")
        second_peer.send(b"x")
        readiness._on_ready()
    assert len(calls) == 1


async def test_linux_uses_epoll() -> None:
    assert isinstance(system_readiness(asyncio.get_running_loop()), EpollReadiness)
