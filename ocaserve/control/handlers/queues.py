"""Queues of any name, over HTTP: what `ocaserve.queue.contract` promises."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Literal, TypeVar

from aiohttp import web
from msgspec import Meta, Struct, convert
from msgspec import ValidationError as ShapeError

from ocaserve.control.auth import Role
from ocaserve.control.broker import BROKER, Broker
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.queue import (
    Acked,
    Delivery,
    Kept,
    Message,
    MessageState,
    MessageStateError,
    MessageThereError,
    MessageTooLongError,
    QueueError,
    QueueFullError,
    Queues,
    QueueUnavailableError,
    Refused,
    Sizes,
    UnknownMessageError,
)
from ocaserve.queue.model import (
    FIRST_HOLD_S,
    MOST_WAIT_S,
    STATES,
    Delay,
    Hold,
    MessageId,
    QueueName,
)

_MOST = 1_000  # messages of one call
_STATUS = {
    MessageThereError: 409,
    MessageTooLongError: 413,
    QueueFullError: 507,
    UnknownMessageError: 404,
    MessageStateError: 409,
    QueueUnavailableError: 503,
}
_RETRY_S = "5"

_Number = Annotated[int, Meta(ge=1, le=_MOST)]
_Receipt = Annotated[str, Meta(max_length=200)]
_Reason = Annotated[str, Meta(max_length=1_000)]
Answer = TypeVar("Answer")


class PushRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Messages to be pushed, all or none. A `body` is any JSON value."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=_MOST)]


class Pushed(Struct, frozen=True, kw_only=True):
    """The names of the messages, in the order of the request."""

    ids: list[str]


class PopRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Up to `n` that are due; `wait_s`: for one to come. They are the caller's for `hold_s`."""

    n: _Number = 1
    wait_s: Annotated[float, Meta(ge=0, le=MOST_WAIT_S)] = 0.0
    hold_s: Hold = FIRST_HOLD_S


class Popped(Struct, frozen=True, kw_only=True):
    """The most urgent first."""

    deliveries: list[Delivery]


class AckRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Receipts as pop gave them."""

    receipts: Annotated[list[_Receipt], Meta(min_length=1, max_length=_MOST)]


class ExtendRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hold a delivery for so long from now on."""

    receipt: _Receipt
    hold_s: Hold = FIRST_HOLD_S


class ReleaseRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Give a delivery back."""

    receipt: _Receipt
    delay_s: Delay = 0.0
    reason: _Reason = ""


class BuryRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Put a delivery aside."""

    receipt: _Receipt
    reason: _Reason = ""


class KickRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`n` buried ones, the oldest first; or the one named `id`, buried or delayed."""

    n: _Number | None = None
    id: MessageId | None = None


class Kicked(Struct, frozen=True, kw_only=True):
    """How many are ready now."""

    kicked: int


class RetimeRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Have a ready or delayed message due then."""

    id: MessageId
    delay_s: Delay = 0.0


class RemoveRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whatever its state."""

    id: MessageId


class PeekQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The first `n` messages of a state, in the order in which they leave it."""

    state: Literal["ready", "delayed", "held", "buried"] = "ready"
    n: _Number = 20


class KeptList(Struct, frozen=True, kw_only=True):
    """Looked at; nothing of them has changed."""

    messages: list[Kept]


class NamedSizes(Struct, frozen=True, kw_only=True):
    """One queue."""

    name: str
    sizes: Sizes


class QueueList(Struct, frozen=True, kw_only=True):
    """Queues that were ever pushed to."""

    queues: list[NamedSizes]


def _name(call: Call) -> str:
    try:
        return convert(call.path["queue"], QueueName)
    except ShapeError:
        raise Problem(
            404, "no queue has such a name: 1 to 64 of A-Z, a-z, 0-9, '_', '.' and '-'"
        ) from None


def _queues(call: Call) -> Queues:
    broker: Broker = call.request.app[BROKER]
    return broker.queues


async def _say(awaitable: Awaitable[Answer]) -> Answer:
    """What the queue answers; what it refuses as a Problem."""
    try:
        return await awaitable
    except QueueError as error:
        status = _STATUS[type(error)]
        headers = {"Retry-After": _RETRY_S} if status in (503, 507) else {}
        raise Problem(status, str(error), headers=headers) from error


def _settle(refused: Refused | None) -> web.Response:
    if refused is not None:
        raise Problem(409, f"receipt {refused.receipt!r}: {refused.why}")
    return web.Response(status=204)


async def list_queues(call: Call) -> QueueList:
    queues = _queues(call)
    if not call.request.app[BROKER].is_used:
        return QueueList(queues=[])
    names = await _say(queues.names())
    return QueueList(
        queues=[NamedSizes(name=name, sizes=await _say(queues.sizes(name))) for name in names]
    )


async def show_sizes(call: Call) -> Sizes:
    name = _name(call)
    sizes = await _say(_queues(call).sizes(name))
    if not sizes.shards:
        raise Problem(404, f"there is no queue {name!r}: nobody has pushed to it")
    return sizes


async def peek(call: Call) -> KeptList:
    state: MessageState = STATES[call.query.state]
    return KeptList(messages=await _say(_queues(call).peek(_name(call), state, call.query.n)))


async def push(call: Call) -> Pushed:
    return Pushed(ids=await _say(_queues(call).push(_name(call), call.body.messages)))


async def ensure(call: Call) -> Pushed:
    return Pushed(ids=await _say(_queues(call).ensure(_name(call), call.body.messages)))


async def pop(call: Call) -> Popped:
    wanted: PopRequest = call.body
    queues, name = _queues(call), _name(call)
    found = await _say(queues.pop(name, wanted.n, wait_s=wanted.wait_s, hold_s=wanted.hold_s))
    transport = call.request.transport
    if transport is None or transport.is_closing():  # nobody is there to get them
        for delivery in found:
            await _say(queues.release(name, delivery.receipt, reason="the consumer has left"))
        found = []
    return Popped(deliveries=found)


async def ack(call: Call) -> Acked:
    return await _say(_queues(call).ack(_name(call), call.body.receipts))


async def extend(call: Call) -> web.Response:
    wanted: ExtendRequest = call.body
    return _settle(await _say(_queues(call).extend(_name(call), wanted.receipt, wanted.hold_s)))


async def release(call: Call) -> web.Response:
    wanted: ReleaseRequest = call.body
    return _settle(
        await _say(
            _queues(call).release(
                _name(call), wanted.receipt, delay_s=wanted.delay_s, reason=wanted.reason
            )
        )
    )


async def bury(call: Call) -> web.Response:
    wanted: BuryRequest = call.body
    return _settle(await _say(_queues(call).bury(_name(call), wanted.receipt, wanted.reason)))


async def kick(call: Call) -> Kicked:
    wanted: KickRequest = call.body
    if (wanted.n is None) == (wanted.id is None):
        raise Problem(422, "the body: must have either n or id")
    if wanted.id is not None:
        await _say(_queues(call).kick_one(_name(call), wanted.id))
        return Kicked(kicked=1)
    return Kicked(kicked=await _say(_queues(call).kick(_name(call), wanted.n or 0)))


async def retime(call: Call) -> web.Response:
    await _say(_queues(call).retime(_name(call), call.body.id, call.body.delay_s))
    return web.Response(status=204)


async def remove(call: Call) -> web.Response:
    await _say(_queues(call).remove(_name(call), call.body.id))
    return web.Response(status=204)


_QUEUE = "/v1/queues/{queue}"
_OPERATE = Role.OPERATE

ENDPOINTS = (
    Endpoint("GET", "/v1/queues", list_queues, "All queues with their sizes", QueueList),
    Endpoint("GET", _QUEUE, show_sizes, "Messages of a queue by state", Sizes, refuses=(404,)),
    Endpoint(
        "GET", f"{_QUEUE}/messages", peek, "Look at the first messages of a state", KeptList,
        query=PeekQuery, refuses=(404,),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/messages", push, "Push messages", Pushed,
        status=201, role=_OPERATE, body=PushRequest, is_large=True, refuses=(404, 409, 413, 507),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/ensure", ensure, "Push those messages that are not there", Pushed,
        role=_OPERATE, body=PushRequest, is_large=True, refuses=(404, 413, 507),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/pop", pop, "Get messages that are due", Popped,
        role=_OPERATE, body=PopRequest, lane=Lane.STREAMING, refuses=(404,),  # it waits
    ),
    Endpoint(
        "POST", f"{_QUEUE}/ack", ack, "They are done", Acked,
        role=_OPERATE, body=AckRequest, is_large=True, refuses=(404,),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/extend", extend, "Hold a delivery for longer",
        status=204, role=_OPERATE, body=ExtendRequest, refuses=(404, 409),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/release", release, "Give a delivery back",
        status=204, role=_OPERATE, body=ReleaseRequest, refuses=(404, 409),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/bury", bury, "Put a delivery aside",
        status=204, role=_OPERATE, body=BuryRequest, refuses=(404, 409),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/kick", kick, "Make buried messages ready", Kicked,
        role=_OPERATE, body=KickRequest, refuses=(404, 409),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/retime", retime, "Have a message due at another time",
        status=204, role=_OPERATE, body=RetimeRequest, refuses=(404, 409),
    ),
    Endpoint(
        "POST", f"{_QUEUE}/remove", remove, "Remove a message",
        status=204, role=_OPERATE, body=RemoveRequest, refuses=(404,),
    ),
)  # fmt: skip
