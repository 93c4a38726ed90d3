"""Readiness: a handler hears of what it asked for, and of nothing after it has left."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ocaserve.serving.readiness import (
    READ,
    WRITE,
    EpollReadiness,
    LoopReadiness,
    Readiness,
    ServingLoop,
    system_readiness,
)

Make = Callable[[asyncio.AbstractEventLoop], Readiness]


def watched(loop: asyncio.AbstractEventLoop) -> EpollReadiness:
    """Our own epoll instance below another loop."""
    readiness = EpollReadiness()
    loop.add_reader(readiness.fileno(), readiness.serve)
    return readiness


both = pytest.mark.parametrize("make", [watched, LoopReadiness])


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

    def on_ready(self, events: int) -> None:
        self.masks.append(events)
        self.events.set()

    def contain(self, defect: Exception, /) -> None:
        raise defect

    async def next(self) -> int:
        await asyncio.wait_for(self.events.wait(), 5)
        self.events.clear()
        return self.masks[-1]


class Calling:
    """Calls a function with the events."""

    def __init__(self, function: Callable[[int], object]) -> None:
        self._function = function

        self.defects: list[str] = []

    def on_ready(self, events: int) -> None:
        self._function(events)

    def contain(self, defect: Exception, /) -> None:
        self.defects.append(str(defect))


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
    readiness = EpollReadiness()
    first, first_peer = socket.socketpair()
    second, second_peer = socket.socketpair()
    calls: list[str] = []

    def end_the_other(name: str, other: socket.socket) -> Calling:
        def handler(_: int) -> None:
            calls.append(name)
            readiness.change(other.fileno(), calling, READ, 0)

        calling = Calling(handler)
        return calling

    with first, first_peer, second, second_peer:
        readiness.change(first.fileno(), end_the_other("first", second), 0, READ)
        readiness.change(second.fileno(), end_the_other("second", first), 0, READ)
        first_peer.send(b"x")
        second_peer.send(b"x")
        readiness.serve()
    assert len(calls) == 1


async def test_linux_uses_epoll() -> None:
    assert isinstance(system_readiness(asyncio.get_running_loop()), EpollReadiness)


# -- the serving loop ----------------------------------------------------------------------------


@pytest.fixture
def loop() -> Iterator[ServingLoop]:
    loop = ServingLoop()
    yield loop
    loop.close()


def test_serving_loop_has_its_own_readiness(loop: ServingLoop) -> None:
    assert system_readiness(loop) is loop.connections


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(lambda loop, act: act(), id="at_once"),
        pytest.param(lambda loop, act: loop.call_soon(act), id="call_soon"),
        pytest.param(lambda loop, act: loop.call_later(0.01, act), id="call_later"),
        pytest.param(
            lambda loop, act: threading.Thread(
                target=loop.call_soon_threadsafe, args=(act,)
            ).start(),
            id="another_thread",
        ),
    ],
)
def test_busy_connection_does_not_hold_the_loop(
    loop: ServingLoop, pair: Pair, begin: Callable[[ServingLoop, Callable[[], None]], object]
) -> None:
    """A connection that is always ready begins something, which then happens."""
    ours, theirs = pair
    begun: list[object] = []

    def on_ready(_: int) -> None:
        if not begun:
            begun.append(begin(loop, loop.stop))

    theirs.send(b"x")
    loop.connections.change(ours.fileno(), Calling(on_ready), 0, READ)
    loop.call_later(10, pytest.fail)
    loop.run_forever()
    assert begun


def test_what_the_loop_watches_is_heard_beside_connections(loop: ServingLoop, pair: Pair) -> None:
    ours, theirs = pair
    loop.connections.change(ours.fileno(), Calling(lambda _: None), 0, READ)
    theirs.send(b"x")
    other, other_peer = socket.socketpair()
    with other, other_peer:
        loop.add_reader(other, loop.stop)
        other_peer.send(b"x")
        loop.run_forever()
        loop.remove_reader(other)


def fail(_: int) -> None:
    raise ValueError("a defect")


@both
async def test_who_fails_ends_alone(make: Make, pair: Pair) -> None:
    """The others of the batch are served, and what comes after each batch is done."""
    ours, theirs = pair
    other, other_peer = socket.socketpair()
    readiness, failing, heard = make(asyncio.get_running_loop()), Calling(fail), Heard(other)
    batches: list[str] = []
    readiness.call_after_batches(lambda: batches.append("over"))
    with other, other_peer:
        readiness.change(ours.fileno(), failing, 0, READ)
        readiness.change(other.fileno(), heard, 0, READ)
        theirs.send(b"x")
        other_peer.send(b"x")
        assert await heard.next() == READ
        readiness.change(ours.fileno(), failing, READ, 0)
        readiness.change(other.fileno(), heard, READ, 0)
    assert set(failing.defects) == {"a defect"}
    assert batches


def test_loop_goes_on_when_a_batch_fails(loop: ServingLoop, pair: Pair) -> None:
    ours, theirs = pair
    reports: list[dict[str, object]] = []

    def end_batch() -> None:
        if not reports:
            ours.recv(1)
            loop.call_later(0.01, loop.stop)
            raise ValueError("a defect")

    loop.set_exception_handler(lambda _, context: reports.append(context))
    loop.connections.call_after_batches(end_batch)
    loop.connections.change(ours.fileno(), Calling(lambda _: None), 0, READ)
    theirs.send(b"x")
    loop.run_forever()
    assert [str(report["exception"]) for report in reports] == ["a defect"]


def test_what_the_loop_watches_does_not_wait_for_all_that_are_ready(loop: ServingLoop) -> None:
    """By time, and not when each of thousands has had its turn."""
    calls: list[int] = []

    def work(_: int) -> None:
        calls.append(1)
        time.sleep(0.0005)

    with ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(400)]
        other, other_peer = socket.socketpair()
        for sock in (*(end for pair in pairs for end in pair), other, other_peer):
            stack.enter_context(sock)
        loop.add_reader(other, loop.stop)
        for ours, theirs in pairs:
            loop.connections.change(ours.fileno(), Calling(work), 0, READ)
            theirs.send(b"x")
        loop.call_soon(other_peer.send, b"x")
        loop.run_forever()
        loop.remove_reader(other)
    assert len(calls) <= 3 * 64
