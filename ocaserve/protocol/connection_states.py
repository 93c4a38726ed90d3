"""The life of a connection, as a table that refuses what it does not list.

            HEAD_STARTED       HEAD_COMPLETE        CLOSE_ASKED
  BETWEEN ---------------> READING_HEAD --------> SENDING ------> CLOSING
     ^  \\_________________________________________/  |               |
     |               HEAD_COMPLETE                   | SENT          | GONE
     +-----------------------------------------------+               v
                                                    (GONE, from any) CLOSED

  BETWEEN -- CLOSE_ASKED --> CLOSING
  SENDING -- BODY_STARTED --> READING_BODY -- BODY_COMPLETE --> SENDING

READING_HEAD: nothing or a part of a head has arrived; the head's deadline runs. A new connection
begins here. READING_BODY: the request has a body, and it is wanted; the client's pace is watched.
SENDING: a request is being answered; so is it here. BETWEEN: the last
response is whole and no byte of the next request is here; the connection may be idle. CLOSING: our
side is closed, what the client still sends is thrown away. CLOSED: over, whatever the reason.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    READING_HEAD = "reading head"
    READING_BODY = "reading body"
    SENDING = "sending"
    BETWEEN = "between"
    CLOSING = "closing"
    CLOSED = "closed"

    __hash__ = object.__hash__  # members are single: identity will do, and needs no Python code


class Event(Enum):
    HEAD_STARTED = "head started"
    HEAD_COMPLETE = "head complete"  # or refused: an answer is due either way
    BODY_STARTED = "body started"
    BODY_COMPLETE = "body complete"  # or refused
    SENT = "sent"
    CLOSE_ASKED = "close asked"
    GONE = "gone"

    __hash__ = object.__hash__


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.BETWEEN, Event.HEAD_STARTED): State.READING_HEAD,
    (State.BETWEEN, Event.HEAD_COMPLETE): State.SENDING,
    (State.READING_HEAD, Event.HEAD_COMPLETE): State.SENDING,
    (State.SENDING, Event.BODY_STARTED): State.READING_BODY,
    (State.READING_BODY, Event.BODY_COMPLETE): State.SENDING,
    (State.SENDING, Event.SENT): State.BETWEEN,
    (State.SENDING, Event.CLOSE_ASKED): State.CLOSING,
    (State.BETWEEN, Event.CLOSE_ASKED): State.CLOSING,
    (State.BETWEEN, Event.GONE): State.CLOSED,
    (State.READING_HEAD, Event.GONE): State.CLOSED,
    (State.READING_BODY, Event.GONE): State.CLOSED,
    (State.SENDING, Event.GONE): State.CLOSED,
    (State.CLOSING, Event.GONE): State.CLOSED,
}


class ImpossibleEventError(Exception):
    """The event cannot happen in this state: a defect of the caller."""


def next_state(state: State, event: Event) -> State:
    """The state after `event`. Raises ImpossibleEventError where the table lists none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ImpossibleEventError(f"{event.value} while {state.value}") from None
