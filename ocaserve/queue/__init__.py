"""A delay queue: at-least-once, delays, priorities, no locks outside; queues of any name.

`open_queues(url)` gives the engine: SQLite in a file, or Redis/Valkey shared by many machines. What
every engine promises is in `contract`, its states are one table (`states`).
"""

from ocaserve.queue.contract import Queues
from ocaserve.queue.engines import open_queues
from ocaserve.queue.model import (
    Acked,
    Bounds,
    Delivery,
    Kept,
    Message,
    MessageStateError,
    MessageThereError,
    MessageTooLongError,
    QueueError,
    QueueFullError,
    QueueUnavailableError,
    Refused,
    ShardSizes,
    Sizes,
    UnknownMessageError,
    encode_body,
)
from ocaserve.queue.states import MessageState

__all__ = (
    "Acked",
    "Bounds",
    "Delivery",
    "Kept",
    "Message",
    "MessageState",
    "MessageStateError",
    "MessageThereError",
    "MessageTooLongError",
    "QueueError",
    "QueueFullError",
    "QueueUnavailableError",
    "Queues",
    "Refused",
    "ShardSizes",
    "Sizes",
    "UnknownMessageError",
    "encode_body",
    "open_queues",
)
