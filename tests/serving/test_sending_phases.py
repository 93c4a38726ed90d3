"""The table of a transfer's phases: what it lists, and that it refuses the rest."""

from __future__ import annotations

from itertools import product

import pytest

from ocaserve.serving.sending_phases import (
    IN_THREAD,
    MOVES,
    SPANNING,
    ImpossibleMoveError,
    SendingMove,
    SendingPhase,
    next_phase,
)

UNLISTED = [each for each in product(SendingPhase, SendingMove) if each not in MOVES]


@pytest.mark.parametrize(("phase", "move"), UNLISTED, ids=str)
def test_what_is_not_listed_is_refused(phase: SendingPhase, move: SendingMove) -> None:
    with pytest.raises(ImpossibleMoveError, match=f"{move.value} while {phase.value}"):
        next_phase(phase, move)


@pytest.mark.parametrize(("phase", "move"), MOVES, ids=str)
def test_what_is_listed_is_made(phase: SendingPhase, move: SendingMove) -> None:
    assert next_phase(phase, move) is MOVES[phase, move]


ALIVE = [
    each for each in SendingPhase if each not in (SendingPhase.ABANDONED, SendingPhase.LEAVING)
]


@pytest.mark.parametrize("phase", ALIVE, ids=str)
def test_connection_may_end_in_any_phase(phase: SendingPhase) -> None:
    """The socket is closed at once, unless a thread has it."""
    after = SendingPhase.LEAVING if phase in IN_THREAD else SendingPhase.ABANDONED
    assert next_phase(phase, SendingMove.LEAVE) is after


def test_nothing_follows_the_end() -> None:
    assert not [move for phase, move in MOVES if phase is SendingPhase.ABANDONED]


def test_threads_are_asked_only_for_what_is_held() -> None:
    """The file must not be closed while a thread reads it."""
    assert IN_THREAD < SPANNING
    assert not {SendingPhase.IDLE, SendingPhase.FIRST_STEP, SendingPhase.ABANDONED} & SPANNING


def test_every_phase_can_be_reached() -> None:
    reached = {SendingPhase.IDLE}
    while more := {after for (before, _), after in MOVES.items() if before in reached} - reached:
        reached |= more
    assert reached == set(SendingPhase)
