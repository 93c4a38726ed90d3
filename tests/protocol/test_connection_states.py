"""The life of a connection: what may happen when."""

from __future__ import annotations

from itertools import product

import pytest

from ocaserve.protocol.connection_states import (
    TRANSITIONS,
    Event,
    ImpossibleEventError,
    State,
    next_state,
)

ALL = [
    pytest.param(state, event, id=f"{event.name.lower()}_while_{state.name.lower()}")
    for state, event in product(State, Event)
]


@pytest.mark.parametrize(("state", "event"), ALL)
def test_every_pair(state: State, event: Event) -> None:
    """What the table lists happens; the rest is refused with both names."""
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(ImpossibleEventError, match=f"{event.value} while {state.value}"):
            next_state(state, event)


def test_every_open_state_can_end() -> None:
    """The peer may be gone at any time; a closed connection stays closed."""
    for state in State:
        assert ((state, Event.GONE) in TRANSITIONS) is (state is not State.CLOSED)
    assert all(state is not State.CLOSED for state, _ in TRANSITIONS)


@pytest.mark.parametrize(
    ("events", "last"),
    [
        pytest.param("HEAD_COMPLETE SENT", State.BETWEEN, id="one_request"),
        pytest.param(
            "HEAD_COMPLETE SENT HEAD_STARTED HEAD_COMPLETE SENT", State.BETWEEN, id="kept"
        ),
        pytest.param("HEAD_COMPLETE SENT HEAD_COMPLETE SENT", State.BETWEEN, id="pipelined"),
        pytest.param("HEAD_COMPLETE CLOSE_ASKED GONE", State.CLOSED, id="last_response"),
        pytest.param("HEAD_COMPLETE GONE", State.CLOSED, id="client_gone_while_sending"),
        pytest.param("HEAD_COMPLETE SENT CLOSE_ASKED GONE", State.CLOSED, id="idle_for_long"),
        pytest.param("GONE", State.CLOSED, id="nothing_said"),
        pytest.param("HEAD_COMPLETE BODY_STARTED BODY_COMPLETE SENT", State.BETWEEN, id="upload"),
        pytest.param(
            "HEAD_COMPLETE BODY_STARTED GONE", State.CLOSED, id="client_gone_while_uploading"
        ),
    ],
)
def test_lives(events: str, last: State) -> None:
    """A new connection begins with its first head."""
    state = State.READING_HEAD
    for name in events.split():
        state = next_state(state, Event[name])
    assert state is last
