"""What may become of a message: one table, which refuses what it does not list.

    push ──▶ READY ──pop──▶ HELD ──ack──▶ gone
      │        ▲ ▲           │ │
      │    due │ └─expire────┘ ├─bury, or tries used up──▶ BURIED ──kick──▶ READY
      └─▶ DELAYED ◀──release───┘

The words are those of beanstalkd (its protocol.txt).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class MessageState(IntEnum):
    """Where a message is. The numbers stand in stored queues."""

    READY = 0
    DELAYED = 1
    HELD = 2
    BURIED = 3

    @property
    def label(self) -> str:
        """As it is written outside."""
        return self.name.lower()


class MessageEvent(StrEnum):
    """What happens to a message."""

    DUE = "due"
    POP = "pop"
    ACK = "ack"
    EXTEND = "extend"
    RELEASE = "release"
    DEFER = "defer"  # released with a delay
    EXPIRE = "expire"  # held for longer than was asked for
    BURY = "bury"  # by the consumer, or because its tries are used up
    KICK = "kick"
    HASTEN = "hasten"  # retimed to now
    POSTPONE = "postpone"  # retimed to later
    REMOVE = "remove"


GONE = None
"""No state: the message is not there any more."""

TRANSITIONS: Mapping[tuple[MessageState, MessageEvent], MessageState | None] = {
    (MessageState.DELAYED, MessageEvent.DUE): MessageState.READY,
    (MessageState.READY, MessageEvent.POP): MessageState.HELD,
    (MessageState.HELD, MessageEvent.ACK): GONE,
    (MessageState.HELD, MessageEvent.EXTEND): MessageState.HELD,
    (MessageState.HELD, MessageEvent.RELEASE): MessageState.READY,
    (MessageState.HELD, MessageEvent.DEFER): MessageState.DELAYED,
    (MessageState.HELD, MessageEvent.EXPIRE): MessageState.READY,
    (MessageState.HELD, MessageEvent.BURY): MessageState.BURIED,
    (MessageState.BURIED, MessageEvent.KICK): MessageState.READY,
    (MessageState.DELAYED, MessageEvent.KICK): MessageState.READY,
    (MessageState.DELAYED, MessageEvent.HASTEN): MessageState.READY,
    (MessageState.DELAYED, MessageEvent.POSTPONE): MessageState.DELAYED,
    (MessageState.READY, MessageEvent.HASTEN): MessageState.READY,
    (MessageState.READY, MessageEvent.POSTPONE): MessageState.DELAYED,
    (MessageState.READY, MessageEvent.REMOVE): GONE,
    (MessageState.DELAYED, MessageEvent.REMOVE): GONE,
    (MessageState.HELD, MessageEvent.REMOVE): GONE,
    (MessageState.BURIED, MessageEvent.REMOVE): GONE,
}


def sources_of(event: MessageEvent) -> tuple[MessageState, ...]:
    """The states in which this may happen."""
    return tuple(state for state, of in TRANSITIONS if of is event)


def after(state: MessageState, event: MessageEvent) -> MessageState | None:
    """Where it leads; GONE is None. Raises KeyError for what the table does not list."""
    return TRANSITIONS[state, event]
