"""Our queue: rates, waking, idleness, and whether cost grows with what waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from ocaserve.queue import Message, Queues, encode_body

_QUEUE = "bench"
_BODY = encode_body({"key": "film/1.mp4", "since": 1.5})


def messages(count: int) -> list[Message]:
    """As fill has them."""
    return [Message(body=_BODY, priority=n % 100) for n in range(count)]


def _parts(count: int, batch: int) -> Iterator[int]:
    while count > 0:
        yield min(batch, count)
        count -= batch


async def push(queues: Queues, count: int, batch: int) -> float:
    """Messages a second."""
    begun = time.perf_counter()
    for part in _parts(count, batch):
        await queues.push(_QUEUE, messages(part))
    return count / (time.perf_counter() - begun)


async def pop(queues: Queues, count: int, batch: int) -> float:
    """Messages a second that are popped and acked."""
    begun, done = time.perf_counter(), 0
    while done < count:
        found = await queues.pop(_QUEUE, batch, hold_s=60)
        await queues.ack(_QUEUE, [each.receipt for each in found])
        done += len(found)
    return done / (time.perf_counter() - begun)


async def pop_together(queues: Queues, count: int, consumers: int) -> float:
    """Messages a second that so many consumers of a process pop and ack, one at a time each."""
    left = count

    async def consume() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            found = await queues.pop(_QUEUE, 1, hold_s=60)
            await queues.ack(_QUEUE, [each.receipt for each in found])

    begun = time.perf_counter()
    await asyncio.gather(*(consume() for _ in range(consumers)))
    return count / (time.perf_counter() - begun)


async def wake(queues: Queues, count: int) -> float:
    """Milliseconds from a push to the consumer that waits for it, the 99th percentile."""
    late: list[float] = []

    async def consume() -> None:
        while len(late) < count:
            for each in await queues.pop(_QUEUE, 1, wait_s=5, hold_s=60):
                late.append(1000 * (time.perf_counter() - pushed[0]))
                await queues.ack(_QUEUE, [each.receipt])
                taken.set()

    pushed, taken = [0.0], asyncio.Event()
    consumer = asyncio.create_task(consume())
    for _ in range(count):
        await asyncio.sleep(0.005)  # the consumer waits again
        taken.clear()
        pushed[0] = time.perf_counter()
        await queues.push(_QUEUE, messages(1))
        await taken.wait()
    await consumer
    return sorted(late)[int(0.99 * count)]


async def idle(queues: Queues, seconds: float) -> float:
    """The share of a processor that a consumer takes for whom nothing comes."""
    begun = time.process_time()
    await queues.pop(_QUEUE, 1, wait_s=seconds, hold_s=60)
    return (time.process_time() - begun) / seconds
