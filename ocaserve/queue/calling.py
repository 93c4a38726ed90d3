"""Calling the function library of a Valkey or Redis server.

Calls that are made while one is under way share the next round trip: many consumers of a process
cost little more than one. In a cluster each call finds its own node, and goes alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zlib import crc32

import redis.asyncio as redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ocaserve.queue.model import QueueUnavailableError

LIBRARY = (resources.files("ocaserve.queue") / "functions.lua").read_text()
ANSWER_S = 10.0  # a server that has not answered by then is not there
_PREFIX = "ocaserve_queue_2_"
_KEYS = (
    "body", "meta", "tries", "delayed", "ready", "held", "buried", "reason", "totals", "bell",
)  # fmt: skip
_NAMES = "oca:queues"
_MOST_TOGETHER = 64  # calls of one round trip: who asks later waits for its end
_MOST_CONNECTIONS = 4_096  # who waits for a message has one; one more hears that there is none
_FAILURES = (RedisError, OSError, TimeoutError)

_Question = Callable[[str], Coroutine[Any, Any, int]]


class ValkeyClients(NamedTuple):
    """Two, since a call that waits on purpose must not be taken for a server that is gone."""

    calls: Any
    waits: Any
    is_cluster: bool


def connect(url: str) -> ValkeyClients:
    """Clients for a URL of `engines`; they connect with the first call."""
    return ValkeyClients(
        _client(url, ANSWER_S), _client(url, None), urlsplit(url).scheme == "redis+cluster"
    )


def _client(url: str, answer_s: float | None) -> Any:
    parts = urlsplit(url)
    patience: dict[str, Any] = {
        "socket_timeout": answer_s, "socket_connect_timeout": ANSWER_S,
        "max_connections": _MOST_CONNECTIONS,
    }  # fmt: skip
    # Clients of a cluster, and of a Sentinel, would ask ten times more by themselves. That takes
    # ANSWER_S each time, and a push whose answer was lost would meet its own messages.
    once = Retry(NoBackoff(), 0)
    if parts.scheme == "redis+cluster":
        url = parts._replace(scheme="redis").geturl()
        return RedisCluster.from_url(url, retry=once, **patience)
    if parts.scheme != "redis+sentinel":
        return redis.Redis.from_url(url, **patience)
    make: Any = Sentinel  # which has no annotations
    login = {"username": parts.username, "password": parts.password}
    asked = {"socket_timeout": ANSWER_S, "retry": once}
    sentinel = make([(parts.hostname, parts.port or 26379)], sentinel_kwargs=asked, **login)
    name, _, number = parts.path.strip("/").partition("/")
    return sentinel.master_for(name, db=int(number or 0), **patience)


@lru_cache(maxsize=4_096)
def keys_of(queue: str, shard: int) -> tuple[bytes, ...]:
    """All keys of a shard, in the order of the library: under one hash tag, in one place."""
    tag = f"oca:{{{queue}:{shard}}}:"
    return tuple(f"{tag}{name}".encode() for name in _KEYS)


def unavailable(error: BaseException) -> QueueUnavailableError:
    """In words."""
    return QueueUnavailableError(f"the queue's server: {error}")


class _WaitingCall(NamedTuple):
    words: Sequence[Any]
    answer: asyncio.Future[Any]


class ValkeyCaller:
    """Functions and commands of one server. Every method may raise QueueUnavailableError."""

    def __init__(self, client: Any, *, is_cluster: bool) -> None:
        self._client = client
        self._is_cluster = is_cluster
        self._loading = asyncio.Lock()
        self._loads = 0
        self._is_busy = False
        self._waiting: list[_WaitingCall] = []
        self._round: asyncio.Task[None] | None = None  # the loop alone keeps none alive

    async def ask(self, awaitable: Any) -> Any:
        """A command of the client."""
        try:
            return await awaitable
        except _FAILURES as error:
            raise unavailable(error) from error

    async def call(self, name: str, keys: Sequence[bytes], *arguments: Any) -> Any:
        """One function of the library, which is loaded where it is not there."""
        words = (_PREFIX + name, len(keys), *keys, *arguments)
        loads = self._loads
        try:
            return await self._do(words)
        except ResponseError as error:
            if "function not found" not in str(error).lower():
                raise unavailable(error) from error
        except _FAILURES as error:
            raise unavailable(error) from error
        async with self._loading:
            if self._loads == loads:  # nobody else has done it meanwhile
                await self._load()
                self._loads += 1
        return await self.ask(self._do(words))

    async def until_done(self, name: str, keys: Sequence[bytes], *arguments: Any) -> list[Any]:
        """Call again while more is due than is moved at once: see `promote` in the library."""
        while (answer := await self.call(name, keys, *arguments))[0] == b"more":
            pass
        return list(answer)

    async def _load(self) -> None:
        """Into every primary, if it is a cluster: so the client has it for this command."""
        await self.ask(self._client.function_load(LIBRARY, replace=True))

    async def _do(self, words: Sequence[Any]) -> Any:
        if self._is_cluster:
            return await self._client.fcall(*words)
        if not self._is_busy:  # alone, which saves the making of a task and a pipeline
            self._is_busy = True
            try:
                return await self._client.fcall(*words)
            finally:
                self._go_on()
        call = _WaitingCall(words, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        return await call.answer

    def _go_on(self) -> None:
        """The way is free: for all who wait, if anybody does."""
        calls = [call for call in self._waiting[:_MOST_TOGETHER] if not call.answer.done()]
        del self._waiting[:_MOST_TOGETHER]
        self._is_busy = bool(calls)
        if calls:
            self._round = asyncio.create_task(self._answer(calls))
        elif self._waiting:
            self._go_on()

    async def _answer(self, calls: Sequence[_WaitingCall]) -> None:
        try:
            for call, answer in zip(calls, await self._send(calls), strict=True):
                if call.answer.done():  # who asked was cancelled
                    continue
                if isinstance(answer, Exception):
                    call.answer.set_exception(answer)
                else:
                    call.answer.set_result(answer)
        finally:
            self._go_on()

    async def _send(self, calls: Sequence[_WaitingCall]) -> list[Any]:
        """What each is answered, or the exception that it is to have."""
        try:
            pipeline = self._client.pipeline(transaction=False)
            for call in calls:
                pipeline.fcall(*call.words)
            return list(await pipeline.execute(raise_on_error=False))
        except Exception as error:  # noqa: BLE001 - each who waits is to be told
            return [error] * len(calls)

    async def close(self) -> None:
        """Let go of the server, when what was asked has been answered."""
        while self._round is not None and not self._round.done():
            await asyncio.wait([self._round])
        await self._client.aclose()


class ShardMap:
    """How many shards queues have, which is decided by who pushes first. wanted: then.

    Who asks what is being asked has that answer, or that error: in a line behind one another, each
    would wait for a silent server in turn.
    """

    def __init__(self, caller: ValkeyCaller, client: Any, wanted: int) -> None:
        self._caller = caller
        self._client = client
        self._wanted = wanted
        self._asked: dict[tuple[_Question, str], asyncio.Task[int]] = {}
        self._counts: dict[str, int] = {}

    async def names(self) -> list[str]:
        """All queues."""
        return sorted(name.decode() for name in await self._caller.ask(self._client.hkeys(_NAMES)))

    async def count(self, queue: str) -> int:
        """0 for a queue that nobody has pushed to."""
        return self._counts.get(queue) or await self._share(self._read, queue)

    async def make(self, queue: str) -> int:
        """The same; it is made."""
        return await self.count(queue) or await self._share(self._write, queue)

    async def _share(self, question: _Question, queue: str) -> int:
        asked = (question, queue)
        task = self._asked.get(asked)
        if task is None:
            task = self._asked[asked] = asyncio.create_task(question(queue))
            task.add_done_callback(lambda _: self._asked.pop(asked))
        return await asyncio.shield(task)  # who goes takes it from nobody else

    async def _read(self, queue: str) -> int:
        known = await self._caller.ask(self._client.hget(_NAMES, queue))
        if known is None:
            return 0
        self._counts[queue] = int(known)
        return self._counts[queue]

    async def _write(self, queue: str) -> int:
        await self._caller.ask(self._client.hsetnx(_NAMES, queue, self._wanted))
        return await self._read(queue)  # not another's, which may have asked before it was there

    async def find(self, queue: str, message_id: str) -> tuple[bytes, ...] | None:
        """The keys of the shard that has a message, if one has."""
        shards = await self.count(queue)
        return keys_of(queue, shard_of(message_id, shards)) if shards else None


def shard_of(message_id: str, shards: int) -> int:
    """Which of so many."""
    return crc32(message_id.encode()) % shards
