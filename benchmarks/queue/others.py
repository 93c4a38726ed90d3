"""Others' queues, as their own documentation has them used. Each returns messages a second."""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import Any

_BODY = '{"key":"film/1.mp4","since":1.5}'


def find(name: str) -> Any:
    """The library, or None: the extra `bench` has it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


async def plain_list(url: str, count: int, batch: int) -> float:
    """LPUSH and RPOP: nothing is kept of what was popped, no delays, no priorities."""
    from redis.asyncio import Redis

    client: Any = Redis.from_url(url)
    for _ in range(0, count, batch):
        await client.lpush("bench-list", *[_BODY] * batch)
    begun, done = time.perf_counter(), 0
    while done < count:
        done += len(await client.rpop("bench-list", batch) or ())
    rate = done / (time.perf_counter() - begun)
    await client.aclose()
    return rate


async def saq(url: str, count: int) -> float:
    """dequeue and finish, one job after the other."""
    library = find("saq")
    queue = library.Queue.from_url(url, name="bench")
    await queue.connect()
    for _ in range(count):
        await queue.enqueue("noop", body=_BODY)
    begun = time.perf_counter()
    for _ in range(count):
        job = await queue.dequeue(timeout=5)
        await job.finish(library.Status.COMPLETE)
    rate = count / (time.perf_counter() - begun)
    await queue.disconnect()
    return rate


async def bullmq(url: str, count: int) -> float:
    """A worker with 32 jobs at a time."""
    library = find("bullmq")
    queue = library.Queue("bench", {"connection": url})
    for start in range(0, count, 100):
        some = min(100, count - start)
        await queue.addBulk(
            [{"name": "n", "data": {"body": _BODY}, "opts": {"priority": 1}}] * some
        )
    done, over = 0, asyncio.Event()

    async def process(*_: Any) -> None:
        nonlocal done
        done += 1
        if done >= count:
            over.set()

    begun = time.perf_counter()
    worker = library.Worker("bench", process, {"connection": url, "concurrency": 32})
    await over.wait()
    rate = count / (time.perf_counter() - begun)
    await worker.close()
    await queue.close()
    return rate


def huey(folder: Path, count: int) -> float:
    """Its storage in SQLite. What is dequeued is gone: at most once."""
    storage = importlib.import_module("huey.storage").SqliteStorage(
        "bench", filename=str(folder / "huey.db")
    )
    for _ in range(count):
        storage.enqueue(_BODY.encode(), 1)
    begun = time.perf_counter()
    for _ in range(count):
        storage.dequeue()
    return count / (time.perf_counter() - begun)
