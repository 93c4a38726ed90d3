"""The tables of states refuse what they do not list."""

from __future__ import annotations

from enum import Enum
from itertools import product
from typing import Any

import pytest

from ocaserve.lifecycle import (
    ENDING,
    PHASES,
    WORKER_STATES,
    ImpossibleTransitionError,
    Phase,
    PhaseEvent,
    WorkerEvent,
    WorkerState,
    advance,
)

TABLES: list[tuple[Any, type[Enum], type[Enum]]] = [
    (PHASES, Phase, PhaseEvent),
    (WORKER_STATES, WorkerState, WorkerEvent),
]


@pytest.mark.parametrize(
    ("table", "state", "event"),
    [
        pytest.param(table, state, event, id=f"{state.value}-{event.value}".replace(" ", "_"))
        for table, states, events in TABLES
        for state, event in product(states, events)
    ],
)
def test_every_pair(table: Any, state: Any, event: Any) -> None:
    """A pair leads to a state of its table, or is refused with both named."""
    if (state, event) in table:
        assert advance(table, state, event) is table[state, event]
    else:
        with pytest.raises(ImpossibleTransitionError, match=f"{event.value} while {state.value}"):
            advance(table, state, event)


@pytest.mark.parametrize(
    ("table", "states", "start"),
    [
        pytest.param(PHASES, Phase, Phase.STARTING, id="appliance"),
        pytest.param(WORKER_STATES, WorkerState, WorkerState.STARTING, id="worker"),
    ],
)
def test_every_state_is_reached_and_all_but_one_are_left(
    table: Any, states: type[Enum], start: Enum
) -> None:
    """Nothing is listed that cannot be, and there is one end."""
    reached = {start}
    while more := {after for (state, _), after in table.items() if state in reached} - reached:
        reached |= more
    assert reached == set(states)
    left = {state for (state, _), after in table.items() if after is not state}
    assert len(reached - left) == 1


def test_ending_phases_end_when_empty() -> None:
    """The supervisor's loop relies on it."""
    assert {s for (s, event), _ in PHASES.items() if event is PhaseEvent.EMPTY} == ENDING
