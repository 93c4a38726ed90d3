"""What is said to the supervisor: all of it arrives, also when it takes nothing for a while."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from ocaserve.link import Link


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


async def take_all(theirs: socket.socket, until: asyncio.Task[None]) -> list[dict[str, Any]]:
    """What a supervisor hears that is slow to begin with."""
    heard = []
    while True:
        try:
            heard.append(json.loads(theirs.recv(1 << 16)))
        except BlockingIOError:
            if until.done():
                return heard
            await asyncio.sleep(0)


async def test_nothing_is_lost(ends: tuple[socket.socket, socket.socket]) -> None:
    """Far more than the socket holds: of each name the last one arrives, in the order of names."""
    ours, theirs = ends
    link = Link(ours)
    link.open(asyncio.get_running_loop(), lambda _: None, lambda: None)
    for number in range(100):
        link.note("big", [number, "x" * 30_000])
        link.note("small", number)
    flushed = asyncio.create_task(link.flush())
    await asyncio.sleep(0)
    assert not flushed.done()
    heard = await asyncio.wait_for(take_all(theirs, flushed), 10)
    values = {said["name"]: said["value"] for said in heard}
    assert values == {"big": [99, "x" * 30_000], "small": 99}
    assert len(heard) < 100
    link.ask("reload")
    assert json.loads(theirs.recv(1 << 16)) == {"is": "asking", "what": "reload"}


async def test_said_before_it_is_open(ends: tuple[socket.socket, socket.socket]) -> None:
    """It waits until then."""
    ours, theirs = ends
    link = Link(ours)
    for number in range(20):
        link.note("big", [number, "x" * 30_000])
    link.open(asyncio.get_running_loop(), lambda _: None, lambda: None)
    heard = await asyncio.wait_for(take_all(theirs, asyncio.create_task(link.flush())), 10)
    assert heard[-1]["value"][0] == 19


def test_too_long(ends: tuple[socket.socket, socket.socket]) -> None:
    """The supervisor would read it in part: a defect of who says it."""
    with pytest.raises(ValueError, match="Noting big: 70"):
        Link(ends[0]).note("big", "x" * 70_000)


async def test_supervisor_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    """Nothing is raised, and nobody waits: the reader hears of the end."""
    ours, theirs = ends
    over = asyncio.Event()
    link = Link(ours)
    link.open(asyncio.get_running_loop(), lambda _: None, over.set)
    theirs.close()
    link.note("small", 1)
    await asyncio.wait_for(link.flush(), 10)
    await asyncio.wait_for(over.wait(), 10)


@pytest.mark.parametrize("said", [b'{"do":"stop","is_replaced":false}', b""], ids=["stop", "gone"])
async def test_who_obeys_one_order(ends: tuple[socket.socket, socket.socket], said: bytes) -> None:
    ours, theirs = ends
    is_over = Link(ours).open_until_stopped(asyncio.get_running_loop())
    theirs.send(b'{"do":"reopen_logs"}')
    await asyncio.sleep(0.05)
    assert not is_over.is_set()
    if said:
        theirs.send(said)
    else:
        theirs.close()
    await asyncio.wait_for(is_over.wait(), 5)
    asyncio.get_running_loop().remove_reader(ours)
