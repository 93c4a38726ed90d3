"""What goes in and out of a queue, its bounds, and what can be wrong.

QueueError
 ├── MessageThereError       a message of this name is there already
 ├── MessageTooLongError     its body is longer than one may be
 ├── QueueFullError          the queue holds as many bytes as it may
 ├── UnknownMessageError     there is no message of this name
 ├── MessageStateError       it is in a state in which this cannot be done
 └── QueueUnavailableError   the engine does not answer now; later it may

Times are seconds: delays from now on, `due` since the epoch by the clock of the engine.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from ocaserve.queue.states import MessageState

QueueName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{1,64}\Z")]
"""A name goes into URLs, keys of the engine and labels of metrics as it is."""
MessageId = Annotated[str, Meta(pattern=r"^[!-z|~]{1,128}\Z")]
"""Visible ASCII but braces, between which a cluster's hash tags stand."""
Priority = Annotated[int, Meta(ge=0, le=99)]
"""0 is first."""
Delay = Annotated[float, Meta(ge=0, le=366 * 86_400)]
Hold = Annotated[float, Meta(ge=0.1, le=86_400)]
Tries = Annotated[int, Meta(ge=1, le=1_000_000)]

FIRST_HOLD_S = 60.0
MOST_WAIT_S = 20.0
DEFAULT_PRIORITY = 50
DEFAULT_TRIES = 20


class QueueError(Exception):
    """The text says what is wrong."""


class MessageThereError(QueueError):
    """Of `push`; `ensure` leaves it as it is."""


class MessageTooLongError(QueueError):
    """Nothing of what was to be pushed is in the queue."""


class QueueFullError(QueueError):
    """Likewise."""


class UnknownMessageError(QueueError):
    """Of `remove`, `retime` and `kick_one`; receipts have `Refused` instead."""


class MessageStateError(QueueError):
    """Likewise; the text names the state, and those that are allowed."""


class QueueUnavailableError(QueueError):
    """It is not known whether it was done: do it again, which is safe with names of one's own."""


class Bounds(Struct, frozen=True, kw_only=True):
    """What a queue may hold. bytes: bodies of all its messages. body: of one."""

    bytes: int = 1 << 30
    body: int = 256 * 1024


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One to be pushed. body: any JSON value, as JSON (`encode_body`); without `id` it gets one."""

    body: Raw
    id: MessageId = ""
    delay_s: Delay = 0.0
    priority: Priority = DEFAULT_PRIORITY
    max_tries: Tries = DEFAULT_TRIES


class Delivery(Struct, frozen=True, kw_only=True):
    """One given to a consumer, for as long as it asked for. tries: how often it was, with this."""

    id: str
    receipt: str
    body: Raw
    priority: int
    tries: int


class Kept(Struct, frozen=True, kw_only=True):
    """One that is looked at. due: when it leaves its state by itself, None if it does not."""

    id: str
    state: str
    body: Raw
    priority: int
    tries: int
    max_tries: int
    due: float | None
    reason: str


class Refused(Struct, frozen=True, kw_only=True):
    """A receipt that is not good, or no longer."""

    receipt: str
    why: str


class Acked(Struct, frozen=True, kw_only=True):
    """How many are gone, and which are not."""

    acked: int
    refused: list[Refused]


class ShardSizes(Struct, frozen=True, kw_only=True):
    """Messages of one shard by state. `bytes`: of bodies. Totals count from the first message on.

    redelivered: given back without an ack, by time or by `release`. buried_total: all that ever
    were. oldest_ready_s: how long the one waits that has been ready for longest; None if none is.
    """

    ready: int
    delayed: int
    held: int
    buried: int
    oldest_ready_s: float | None
    bytes: int
    redelivered: int
    buried_total: int


class Sizes(Struct, frozen=True, kw_only=True):
    """Of a queue: the sums, and each shard."""

    ready: int
    delayed: int
    held: int
    buried: int
    oldest_ready_s: float | None
    bytes: int
    redelivered: int
    buried_total: int
    shards: list[ShardSizes]

    @staticmethod
    def of(shards: list[ShardSizes]) -> Sizes:
        """Add up the shards."""
        ages = [shard.oldest_ready_s for shard in shards if shard.oldest_ready_s is not None]
        return Sizes(
            ready=sum(shard.ready for shard in shards),
            delayed=sum(shard.delayed for shard in shards),
            held=sum(shard.held for shard in shards),
            buried=sum(shard.buried for shard in shards),
            oldest_ready_s=max(ages, default=None),
            bytes=sum(shard.bytes for shard in shards),
            redelivered=sum(shard.redelivered for shard in shards),
            buried_total=sum(shard.buried_total for shard in shards),
            shards=shards,
        )


def encode_body(value: Any) -> Raw:
    """A JSON value as a body."""
    return Raw(msgspec.json.encode(value))


def new_id() -> str:
    """A name that nobody else has, and that sorts by time: an engine's index grows at its end.

    As UUID version 7 (RFC 9562 section 6.2, method 1): milliseconds, a counter, 64 random bits.
    """
    return f"{int(time.time() * 1000):012x}{next(_COUNTER) & 0xFFFF:04x}{os.urandom(8).hex()}"


def receipt_of(message_id: str, tries: int) -> str:
    """Good for this delivery alone: the next one of the same message has another."""
    return f"{tries}.{message_id}"


def read_receipt(receipt: str) -> tuple[str, int] | None:
    """The message and the delivery; None if it was never one."""
    tries, dot, message_id = receipt.partition(".")
    if not dot or not message_id or not tries.isascii() or not tries.isdigit():
        return None
    return message_id, int(tries)


NOT_HELD = "not held under this receipt: acked, given back, or given to another meanwhile"
NO_RECEIPT = "not a receipt: it is <tries>.<id>, as pop gave it"


def check_bodies(messages: Sequence[Message], bounds: Bounds) -> int:
    """The bytes of all bodies. Raises MessageTooLongError."""
    for place, message in enumerate(messages):
        size = len(bytes(message.body))
        if size > bounds.body:
            raise MessageTooLongError(
                f"messages[{place}].body has {size} bytes; {bounds.body} are allowed "
                "(queue.body_bytes)"
            )
    return sum(len(bytes(message.body)) for message in messages)


def there(queue: str, message_id: str) -> MessageThereError:
    """What `push` raises."""
    return MessageThereError(f"the queue {queue!r} has a message {message_id!r} already")


def unknown(queue: str, message_id: str) -> UnknownMessageError:
    """For a message that is not there."""
    return UnknownMessageError(f"the queue {queue!r} has no message {message_id!r}")


def wrong_state(message_id: str, state: str, allowed: Iterable[MessageState]) -> MessageStateError:
    """For one that is, in another state than is allowed."""
    words = " or ".join(sorted(each.label for each in allowed))
    return MessageStateError(f"the message {message_id!r} is {state}; it must be {words}")


def full_text(name: str, held: int, added: int, bounds: Bounds) -> str:
    """Why nothing more is taken."""
    return (
        f"the queue {name!r} holds {held} bytes, and {added} more would be over the "
        f"{bounds.bytes} that it may (queue.retained_bytes)"
    )


_COUNTER = itertools.count()

STATES = {state.label: state for state in MessageState}
