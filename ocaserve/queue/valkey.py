"""The engine that many machines share: Valkey or Redis (7 or later), through a function library.

One server, one that Sentinels watch, or a cluster. A queue has shards, each with all of its keys
under one hash tag. What was taken is kept as the server's own policy says (`appendonly`,
`appendfsync`); due is what the server's clock says.

Lists go both ways as MessagePack, and bodies behind one another in one string: what a protocol of
many small values costs both sides is more than what is done with them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from ocaserve.queue.calling import (
    ANSWER_S,
    ShardMap,
    ValkeyCaller,
    ValkeyClients,
    keys_of,
    shard_of,
)
from ocaserve.queue.model import (
    FIRST_HOLD_S,
    NO_RECEIPT,
    NOT_HELD,
    Acked,
    Bounds,
    Delivery,
    Kept,
    Message,
    QueueFullError,
    QueueUnavailableError,
    Refused,
    ShardSizes,
    Sizes,
    check_bodies,
    full_text,
    new_id,
    read_receipt,
    receipt_of,
    there,
    unknown,
    wrong_state,
)
from ocaserve.queue.states import MessageEvent, MessageState, sources_of

_NUMBER = {
    MessageState.READY: 5,
    MessageState.DELAYED: 4,
    MessageState.HELD: 6,
    MessageState.BURIED: 7,
}
_LOOK_AGAIN_S = 5.0  # a bell that died with its consumer costs so long at the most
_DONE_AT_ONCE = 500  # the server does nothing else meanwhile
_pack = msgspec.msgpack.Encoder().encode
_read_taken = msgspec.msgpack.Decoder(list[tuple[str, int, int, int]]).decode

Value = TypeVar("Value")


class ValkeyQueues:
    """All queues of one server. Implements `contract.Queues`. shards: of queues that are new."""

    def __init__(self, clients: ValkeyClients, bounds: Bounds, *, shards: int = 1) -> None:
        self._is_cluster = clients.is_cluster
        self._waits = clients.waits
        self._caller = ValkeyCaller(clients.calls, is_cluster=clients.is_cluster)
        self._shards = ShardMap(self._caller, clients.calls, shards)
        self._bounds = bounds
        self._turns = count(random.randrange(1 << 16))  # noqa: S311 - where to look first

    async def names(self) -> list[str]:
        return await self._shards.names()

    # -- pushing ---------------------------------------------------------------------------------

    async def push(self, queue: str, messages: Sequence[Message]) -> list[str]:
        return await self._push(queue, messages, must_be_new=True)

    async def ensure(self, queue: str, messages: Sequence[Message]) -> list[str]:
        return await self._push(queue, messages, must_be_new=False)

    async def _push(
        self, queue: str, messages: Sequence[Message], *, must_be_new: bool
    ) -> list[str]:
        check_bodies(messages, self._bounds)
        shards = await self._shards.make(queue)
        ids = [message.id or new_id() for message in messages]
        parts: dict[int, list[tuple[str, Message]]] = {}
        for message_id, message in zip(ids, messages, strict=True):
            parts.setdefault(shard_of(message_id, shards), []).append((message_id, message))
        bound = self._bounds.bytes // shards
        for shard, rows in parts.items():
            for some in _batched(rows, _DONE_AT_ONCE):
                bodies = [bytes(message.body) for _, message in some]
                told = [
                    (
                        message_id, len(body), round(message.delay_s * 1000), message.priority,
                        message.max_tries,
                    )
                    for (message_id, message), body in zip(some, bodies, strict=True)
                ]  # fmt: skip
                answer = await self._caller.call(
                    "push", keys_of(queue, shard), bound, int(must_be_new), _pack(told),
                    b"".join(bodies),
                )  # fmt: skip
                self._check_pushed(queue, answer)
        return ids

    def _check_pushed(self, queue: str, answer: list[Any]) -> None:
        if answer[0] == b"there":
            raise there(queue, answer[1].decode())
        if answer[0] == b"full":
            raise QueueFullError(full_text(queue, int(answer[1]), int(answer[2]), self._bounds))

    # -- consuming -------------------------------------------------------------------------------

    async def pop(
        self, queue: str, n: int = 1, *, wait_s: float = 0.0, hold_s: float = FIRST_HOLD_S
    ) -> list[Delivery]:
        clock = asyncio.get_running_loop().time
        give_up = clock() + wait_s
        hold_ms = round(hold_s * 1000)
        while True:
            shards = await self._shards.count(queue)
            found, due_s = await self._take(queue, shards, n, hold_ms)
            left = give_up - clock()
            if found or left <= 0:
                return found
            await self._wait(queue, shards, min(left, due_s, _LOOK_AGAIN_S))

    async def _take(
        self, queue: str, shards: int, n: int, hold_ms: int
    ) -> tuple[list[Delivery], float]:
        """From the shards in turn, each time from another on; and when to look next."""
        found: list[Delivery] = []
        due_s = _LOOK_AGAIN_S
        first = next(self._turns)
        for place in range(shards):
            keys = keys_of(queue, (first + place) % shards)
            is_more = True
            while is_more and len(found) < n:
                asked = min(n - len(found), _DONE_AT_ONCE)
                answer = await self._caller.until_done("pop", keys, asked, hold_ms)
                _, next_at, now, told, bodies = answer
                taken = _read_deliveries(told, bodies)
                found += taken
                is_more = len(taken) == asked
                if next_at:
                    due_s = min(due_s, max(0.001, (int(next_at) - int(now)) / 1000))
        return found, due_s

    async def _wait(self, queue: str, shards: int, timeout_s: float) -> None:
        """Until a shard's bell rings."""
        if not shards:
            await asyncio.sleep(min(timeout_s, 0.2))  # nobody has pushed to it ever
            return
        bells = [keys_of(queue, shard)[-1] for shard in range(shards)]
        groups = [[bell] for bell in bells] if self._is_cluster else [bells]
        waits = [
            asyncio.ensure_future(self._caller.ask(self._waits.bzpopmin(group, timeout=timeout_s)))
            for group in groups
        ]
        try:
            done, _ = await asyncio.wait(
                waits, timeout=timeout_s + ANSWER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise QueueUnavailableError("the queue's server: no answer")
        finally:
            for wait in waits:
                wait.cancel()
        for wait in waits:
            if wait.done() and not wait.cancelled():
                wait.result()

    async def ack(self, queue: str, receipts: Sequence[str]) -> Acked:
        refused: list[Refused] = []
        acked = 0
        shards = await self._shards.count(queue)
        parts: dict[int, list[tuple[str, str, int]]] = {}
        for receipt in receipts:
            read = read_receipt(receipt)
            if read is None or not shards:
                why = NO_RECEIPT if read is None else NOT_HELD
                refused.append(Refused(receipt=receipt, why=why))
                continue
            parts.setdefault(shard_of(read[0], shards), []).append((receipt, *read))
        for shard, rows in parts.items():
            for some in _batched(rows, _DONE_AT_ONCE):
                told = _pack([(message_id, str(tries)) for _, message_id, tries in some])
                done = await self._caller.call("ack", keys_of(queue, shard), told)
                acked += sum(done)
                refused += [
                    Refused(receipt=receipt, why=NOT_HELD)
                    for (receipt, *_), is_done in zip(some, done, strict=True)
                    if not is_done
                ]
        return Acked(acked=acked, refused=refused)

    async def _settle(
        self, queue: str, receipt: str, what: str, ms: int, reason: str
    ) -> Refused | None:
        read = read_receipt(receipt)
        if read is None:
            return Refused(receipt=receipt, why=NO_RECEIPT)
        keys = await self._shards.find(queue, read[0])
        if keys is None or not await self._caller.call("settle", keys, *read, what, ms, reason):
            return Refused(receipt=receipt, why=NOT_HELD)
        return None

    async def extend(self, queue: str, receipt: str, hold_s: float) -> Refused | None:
        return await self._settle(queue, receipt, "extend", round(hold_s * 1000), "")

    async def release(
        self, queue: str, receipt: str, *, delay_s: float = 0.0, reason: str = ""
    ) -> Refused | None:
        return await self._settle(queue, receipt, "release", round(delay_s * 1000), reason)

    async def bury(self, queue: str, receipt: str, reason: str) -> Refused | None:
        return await self._settle(queue, receipt, "bury", 0, reason)

    # -- operating -------------------------------------------------------------------------------

    async def kick(self, queue: str, n: int) -> int:
        kicked = 0
        for shard in range(await self._shards.count(queue)):
            while kicked < n and (
                some := await self._caller.call("kick", keys_of(queue, shard), n - kicked)
            ):
                kicked += int(some)
        return kicked

    async def _change(
        self, queue: str, message_id: str, what: str, event: MessageEvent, ms: int
    ) -> None:
        keys = await self._shards.find(queue, message_id)
        answer = (
            b"" if keys is None else await self._caller.call("change", keys, message_id, what, ms)
        )
        if answer == b"ok":
            return
        if not answer:
            raise unknown(queue, message_id)
        raise wrong_state(message_id, answer.decode(), sources_of(event))

    async def kick_one(self, queue: str, message_id: str) -> None:
        await self._change(queue, message_id, "kick", MessageEvent.KICK, 0)

    async def retime(self, queue: str, message_id: str, delay_s: float) -> None:
        event = MessageEvent.POSTPONE if delay_s else MessageEvent.HASTEN
        await self._change(queue, message_id, "retime", event, round(delay_s * 1000))

    async def remove(self, queue: str, message_id: str) -> None:
        await self._change(queue, message_id, "remove", MessageEvent.REMOVE, 0)

    async def peek(self, queue: str, state: MessageState, n: int = 1) -> list[Kept]:
        found: list[tuple[float, Kept]] = []
        for shard in range(await self._shards.count(queue)):
            keys = keys_of(queue, shard)
            _, *rows = await self._caller.until_done("peek", keys, _NUMBER[state], n)
            found += [_kept(state, row) for row in _batched(rows, 6)]
        found.sort(key=lambda each: each[0])
        return [kept for _, kept in found[:n]]

    async def sizes(self, queue: str) -> Sizes:
        shards = []
        for shard in range(await self._shards.count(queue)):
            _, ready, delayed, held, buried, oldest, size, redelivered, buried_total = map(
                _number, await self._caller.until_done("sizes", keys_of(queue, shard))
            )
            shards.append(
                ShardSizes(
                    ready=ready, delayed=delayed, held=held, buried=buried,
                    oldest_ready_s=None if oldest < 0 else oldest / 1000,
                    bytes=size, redelivered=redelivered, buried_total=buried_total,
                )
            )  # fmt: skip
        return Sizes.of(shards)

    async def close(self) -> None:
        await self._caller.close()
        await self._waits.aclose()


def _batched(values: Iterable[Value], size: int) -> Iterator[tuple[Value, ...]]:
    """As itertools.batched, which Python has from 3.12 on."""
    left = iter(values)
    while some := tuple(islice(left, size)):
        yield some


def _number(value: Any) -> int:
    return 0 if value == b"ok" else int(value)


def _read_deliveries(told: bytes, bodies: bytes) -> list[Delivery]:
    """told: name, priority, tries and length of body of each."""
    found, at = [], 0
    for message_id, priority, tries, size in _read_taken(told):
        body = Raw(bodies[at : at + size])
        receipt = receipt_of(message_id, tries)
        found.append(
            Delivery(id=message_id, receipt=receipt, body=body, priority=priority, tries=tries)
        )
        at += size
    return found


def _kept(state: MessageState, row: Sequence[Any]) -> tuple[float, Kept]:
    message_id, score, body, meta, tries, reason = row
    priority, _, most = meta.decode().partition(":")
    has_due = state in (MessageState.DELAYED, MessageState.HELD)
    return float(score), Kept(
        id=message_id.decode(), state=state.label, body=Raw(body), priority=int(priority),
        tries=int(tries), max_tries=int(most), due=float(score) / 1000 if has_due else None,
        reason=reason.decode(),
    )  # fmt: skip
