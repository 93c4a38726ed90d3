"""What every engine promises, on each of them."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from ocaserve.queue import (
    Message,
    MessageState,
    MessageStateError,
    MessageThereError,
    MessageTooLongError,
    QueueFullError,
    Queues,
    UnknownMessageError,
    encode_body,
    open_queues,
)


def message(value: object = "x", **more: object) -> Message:
    return msgspec.convert({"body": encode_body(value), **more}, Message)


async def drain(queues: Queues, name: str) -> list[str]:
    """Names of all that is due, one pop each, in the order in which they come."""
    found = []
    while deliveries := await queues.pop(name):
        found += [delivery.id for delivery in deliveries]
    return found


async def test_a_message_goes_through(queues: Queues, name: str) -> None:
    """Pushed, popped, acked, gone; the body comes as it went."""
    body = {"key": "ü", "n": [1, 2.5, None]}
    [made] = await queues.push(name, [message(body)])
    assert name in await queues.names()
    [delivery] = await queues.pop(name)
    assert (delivery.id, delivery.tries, delivery.priority) == (made, 1, 50)
    assert msgspec.json.decode(delivery.body) == body
    assert await queues.pop(name) == []
    acked = await queues.ack(name, [delivery.receipt])
    assert (acked.acked, acked.refused) == (1, [])
    sizes = await queues.sizes(name)
    assert (sizes.ready, sizes.delayed, sizes.held, sizes.buried, sizes.bytes) == (0, 0, 0, 0, 0)


async def test_queues_are_apart(queues: Queues, name: str) -> None:
    """Two of them may have messages of one name."""
    await queues.push(f"{name}-a", [message("a", id="m")])
    await queues.push(f"{name}-b", [message("b", id="m")])
    [delivery] = await queues.pop(f"{name}-b")
    assert bytes(delivery.body) == b'"b"'
    assert (await queues.sizes(f"{name}-a")).ready == 1


async def test_unknown_queue(queues: Queues, name: str) -> None:
    """Has nothing, and nothing happens to it."""
    assert await queues.pop(name, 5) == []
    assert (await queues.sizes(name)).shards == []
    assert await queues.kick(name, 5) == 0
    assert (await queues.ack(name, ["1.m"])).acked == 0
    assert await queues.peek(name, MessageState.READY, 5) == []
    with pytest.raises(UnknownMessageError, match="has no message 'm'"):
        await queues.remove(name, "m")
    assert name not in await queues.names()


# -- order ---------------------------------------------------------------------------------------


async def test_priority_orders_what_is_due(queues: Queues, name: str) -> None:
    """Whatever was pushed first; also when what is urgent was delayed (dyno-queues#19)."""
    await queues.push(name, [message(id=f"late-{n}", priority=n) for n in (99, 7, 50)])
    await queues.push(name, [message(id="first", priority=0, delay_s=0.05)])
    await asyncio.sleep(0.1)
    found = [await queues.pop(name, 1) for _ in range(4)]
    if len((await queues.sizes(name)).shards) == 1:
        assert [each[0].id for each in found] == ["first", "late-7", "late-50", "late-99"]
    assert sorted(each[0].id for each in found) == ["first", "late-50", "late-7", "late-99"]


async def test_equals_come_by_age(queues: Queues, name: str) -> None:
    """Of one priority that which has been due for longest comes first."""
    for n in range(5):
        await queues.push(name, [message(id=f"m{n}")])
        await asyncio.sleep(0.002)
    if len((await queues.sizes(name)).shards) == 1:
        assert await drain(queues, name) == [f"m{n}" for n in range(5)]


async def test_many_that_are_due_at_once(queues: Queues, name: str) -> None:
    """More than an engine moves at one time: the most urgent comes first all the same."""
    for start in range(0, 2_500, 500):
        batch = [
            message(1, id=f"m{n}", priority=60, delay_s=0.2) for n in range(start, start + 500)
        ]
        await queues.push(name, batch)
    await queues.push(name, [message(1, id="urgent", priority=1, delay_s=0.3)])
    await asyncio.sleep(0.5)
    popped = [delivery.id for delivery in await queues.pop(name, 2_501)]
    assert len(set(popped)) == 2_501
    if len((await queues.sizes(name)).shards) == 1:
        assert popped[0] == "urgent"


# -- time ----------------------------------------------------------------------------------------


async def test_delayed_is_never_early(queues: Queues, name: str) -> None:
    """It is there when it is due, to who waits for it."""
    began = time.time()
    await queues.push(name, [message(delay_s=0.3)])
    assert await queues.pop(name) == []
    assert (await queues.sizes(name)).delayed == 1
    [delivery] = await queues.pop(name, wait_s=10)
    assert time.time() - began >= 0.299
    assert delivery.tries == 1


async def test_held_comes_back(queues: Queues, name: str) -> None:
    """With another receipt; the old one is refused, and acks nobody else's delivery."""
    await queues.push(name, [message(id="m")])
    [first] = await queues.pop(name, hold_s=0.1)
    [second] = await queues.pop(name, wait_s=10)
    assert (second.id, second.tries) == ("m", 2)
    acked = await queues.ack(name, [first.receipt, "nonsense", second.receipt, second.receipt])
    assert acked.acked == 1
    why = {each.receipt: each.why for each in acked.refused}
    assert why.keys() == {first.receipt, "nonsense", second.receipt}
    assert "not a receipt" in why["nonsense"]
    assert "not held" in why[first.receipt]
    assert (await queues.sizes(name)).redelivered == 1


async def test_extended_is_kept(queues: Queues, name: str) -> None:
    """A consumer that needs longer keeps it; one whose time is over is told so."""
    await queues.push(name, [message()])
    [delivery] = await queues.pop(name, hold_s=0.2)
    assert await queues.extend(name, delivery.receipt, 60) is None
    await asyncio.sleep(0.3)
    assert await queues.pop(name) == []
    assert await queues.release(name, delivery.receipt) is None
    refused = await queues.extend(name, delivery.receipt, 60)
    assert refused is not None
    assert "not held" in refused.why


async def test_retimed(queues: Queues, name: str) -> None:
    """Sooner or later, by its name; not what somebody holds."""
    await queues.push(name, [message(id="m", delay_s=3600)])
    await queues.retime(name, "m", 0)
    [delivery] = await queues.pop(name)
    with pytest.raises(MessageStateError, match="is held; it must be delayed or ready"):
        await queues.retime(name, "m", 0)
    await queues.release(name, delivery.receipt)
    await queues.retime(name, "m", 3600)
    assert await queues.pop(name) == []
    [kept] = await queues.peek(name, MessageState.DELAYED)
    assert kept.due is not None
    assert 3500 < kept.due - time.time() < 3700


async def test_who_waits_is_woken(url: str, name: str) -> None:
    """By a push of another process's engine, by one that comes due, by a release, by a kick."""
    producer, consumer = open_queues(url), open_queues(url)
    try:
        await producer.push(name, [message(id="early")])
        [early] = await consumer.pop(name)
        waiting = asyncio.create_task(consumer.pop(name, wait_s=20))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await producer.push(name, [message(id="m")])
        [delivery] = await waiting
        assert delivery.id == "m"
        waiting = asyncio.create_task(consumer.pop(name, wait_s=20))
        await asyncio.sleep(0.1)
        await producer.release(name, early.receipt)
        assert (await waiting)[0].id == "early"
        waiting = asyncio.create_task(consumer.pop(name, wait_s=20))
        await asyncio.sleep(0.1)
        await producer.push(name, [message(id="soon", delay_s=0.2)])
        assert (await waiting)[0].id == "soon"
        assert time.monotonic() - began < 4  # none of them waited for the next look
    finally:
        await producer.close()
        await consumer.close()


async def test_a_consumer_before_the_first_message(queues: Queues, name: str) -> None:
    """Gets it (dyno-queues#58)."""
    waiting = asyncio.create_task(queues.pop(name, wait_s=20))
    await asyncio.sleep(0.2)
    await queues.push(name, [message(id="m")])
    assert [delivery.id for delivery in await waiting] == ["m"]


async def test_all_who_wait_are_woken(url: str, name: str) -> None:
    """One ring wakes one, which wakes the next while anything is left."""
    engines = [open_queues(url) for _ in range(4)]
    try:
        waiting = [asyncio.create_task(each.pop(name, wait_s=20)) for each in engines[1:]]
        await asyncio.sleep(0.2)
        await engines[0].push(name, [message(id=f"m{n}") for n in range(3)])
        found = await asyncio.wait_for(asyncio.gather(*waiting), 15)
        assert sorted(delivery.id for each in found for delivery in each) == ["m0", "m1", "m2"]
    finally:
        for each in engines:
            await each.close()


# -- trying again --------------------------------------------------------------------------------


async def test_tries_are_used_up(queues: Queues, name: str) -> None:
    """Then it is buried, with the reason that was given last."""
    await queues.push(name, [message(id="m", max_tries=2)])
    for _ in range(2):
        [delivery] = await queues.pop(name)
        assert await queues.release(name, delivery.receipt, reason="origin said 500") is None
    assert await queues.pop(name) == []
    [kept] = await queues.peek(name, MessageState.BURIED)
    assert (kept.tries, kept.reason) == (2, "tried 2 times; last: origin said 500")
    sizes = await queues.sizes(name)
    assert (sizes.buried, sizes.buried_total, sizes.redelivered) == (1, 1, 1)


async def test_tries_are_used_up_by_time(queues: Queues, name: str) -> None:
    """The same for consumers that die."""
    await queues.push(name, [message(id="m", max_tries=1)])
    await queues.pop(name, hold_s=0.1)
    await asyncio.sleep(0.2)
    assert await queues.pop(name) == []
    [kept] = await queues.peek(name, MessageState.BURIED)
    assert "was held for longer" in kept.reason


async def test_bury_and_kick(queues: Queues, name: str) -> None:
    """Kicked, it has all its tries again."""
    await queues.push(name, [message(id=f"m{n}", max_tries=3) for n in range(3)])
    for delivery in await queues.pop(name, 3):
        assert await queues.bury(name, delivery.receipt, "no such key") is None
    assert (await queues.sizes(name)).buried == 3
    assert await queues.kick(name, 2) == 2
    assert {delivery.tries for delivery in await queues.pop(name, 9)} == {1}
    [left] = await queues.peek(name, MessageState.BURIED, 9)
    await queues.kick_one(name, left.id)
    assert [delivery.id for delivery in await queues.pop(name)] == [left.id]
    with pytest.raises(MessageStateError, match="is held; it must be buried or delayed"):
        await queues.kick_one(name, left.id)


async def test_released_later(queues: Queues, name: str) -> None:
    """A delay of its own for the next try."""
    await queues.push(name, [message(id="m")])
    [delivery] = await queues.pop(name)
    assert await queues.release(name, delivery.receipt, delay_s=3600, reason="busy") is None
    [kept] = await queues.peek(name, MessageState.DELAYED)
    assert (kept.tries, kept.reason) == (1, "busy")


# -- pushing -------------------------------------------------------------------------------------


async def test_name_that_is_there(queues: Queues, name: str) -> None:
    """Is refused, and nothing of the rest is pushed; `ensure` leaves it as it is."""
    await queues.push(name, [message("old", id="m")])
    with pytest.raises(MessageThereError, match="has a message 'm' already"):
        await queues.push(name, [message("new", id="m")])
    await queues.ensure(name, [message("new", id="m"), message("other", id="n")])
    found = await queues.pop(name, 9)
    assert {delivery.id: bytes(delivery.body) for delivery in found} == {
        "m": b'"old"', "n": b'"other"',
    }  # fmt: skip
    await queues.ensure(name, [message("again", id="m")])
    assert await queues.pop(name, 9) == []  # it is held by somebody


async def test_full(queues: Queues, name: str) -> None:
    """It says how full; what is acked or removed makes room."""
    many = [message("x" * 8_000, id=f"m{n}") for n in range(20)]
    for each in many[:4]:
        await queues.push(name, [each])
    with pytest.raises(QueueFullError, match=r"it may \(queue.retained_bytes\)"):
        await queues.push(name, many[4:])
    assert (await queues.sizes(name)).bytes == 4 * 8_002
    before = await queues.sizes(name)
    for delivery in await queues.pop(name, 2):
        await queues.ack(name, [delivery.receipt])
    [kept, *_] = await queues.peek(name, MessageState.READY, 9)
    await queues.remove(name, kept.id)
    after = await queues.sizes(name)
    assert before.bytes - after.bytes == 3 * 8_002


async def test_long_body(queues: Queues, name: str) -> None:
    """Names which, and what is allowed."""
    with pytest.raises(
        MessageTooLongError, match=r"messages\[1\].body has 20002 bytes; 10000 are allowed"
    ):
        await queues.push(name, [message(1), message("x" * 20_000)])
    assert (await queues.sizes(name)).ready == 0


async def test_oldest_ready(queues: Queues, name: str) -> None:
    """How long the one waits that waits for longest, over all priorities."""
    await queues.push(name, [message(priority=90)])
    await asyncio.sleep(0.2)
    await queues.push(name, [message(priority=1)])
    age = (await queues.sizes(name)).oldest_ready_s
    assert age is not None
    assert 0.19 <= age < 30


async def test_peek_changes_nothing(queues: Queues, name: str) -> None:
    """In the order in which they leave."""
    await queues.push(name, [message(id=f"m{n}", priority=n) for n in (3, 1, 2)])
    assert [kept.id for kept in await queues.peek(name, MessageState.READY, 9)] == [
        "m1",
        "m2",
        "m3",
    ]
    assert (await queues.sizes(name)).ready == 3


async def test_many_open_it_at_once(url: str, name: str) -> None:
    """As the processes of an appliance do at its first start: nobody is refused."""
    engines = [open_queues(url) for _ in range(8)]
    try:
        found = await asyncio.gather(*(each.sizes(name) for each in engines))
        assert [each.ready for each in found] == [0] * len(engines)
    finally:
        for each in engines:
            await each.close()
