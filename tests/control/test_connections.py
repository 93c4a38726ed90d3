"""When a connection of the control address is let go of: judged without a socket."""

from __future__ import annotations

import itertools

import pytest

from ocaserve.control.connections import PHASES, CallerEvent, CallerPhase, Ending, Watch
from ocaserve.settings import Control

CONTROL = Control(head_s=10, idle_s=20, stall_s=5, answer_s=50)


def watch(*events: CallerEvent) -> Watch:
    """One that was opened at 0 and on which all this happened at once."""
    made = Watch(CONTROL, 0.0)
    for event in events:
        made.happen(event, 0.0)
    return made


DATA, REQUEST, STREAM, ANSWERED = CallerEvent


@pytest.mark.parametrize(
    ("events", "backlog", "at", "ending"),
    [
        pytest.param((), 0, 10, Ending.HEAD_TIMEOUT, id="says-nothing"),
        pytest.param((DATA,), 0, 10, Ending.HEAD_TIMEOUT, id="half-a-head"),
        pytest.param((DATA, DATA), 0, 10, Ending.HEAD_TIMEOUT, id="drop-by-drop"),
        pytest.param((DATA, REQUEST, ANSWERED), 0, 20, Ending.IDLE_TIMEOUT, id="nothing-more"),
        pytest.param((DATA, REQUEST, ANSWERED, DATA), 0, 10, Ending.HEAD_TIMEOUT, id="half-next"),
        pytest.param((DATA, REQUEST), 0, 50, Ending.ANSWER_TIMEOUT, id="long-answer"),
        pytest.param((DATA, REQUEST), 99, 5, Ending.STALL_TIMEOUT, id="takes-nothing"),
        pytest.param((DATA, REQUEST, ANSWERED), 99, 5, Ending.STALL_TIMEOUT, id="nor-the-rest"),
        pytest.param((DATA, REQUEST, STREAM), 99, 5, Ending.STALL_TIMEOUT, id="stalled-stream"),
    ],
)
def test_endings(events: tuple[CallerEvent, ...], backlog: int, at: float, ending: Ending) -> None:
    """Each at its time, and not a second earlier."""
    watched = watch(*events)
    watched.judge(backlog, 0.0)
    assert watched.judge(backlog, at - 1) is None
    assert watched.judge(backlog, at) is ending


def test_stream_lasts() -> None:
    watched = watch(DATA, REQUEST, STREAM)
    assert watched.judge(0, 1e6) is None


def test_progress_counts() -> None:
    """Who takes a little now and then is slow, and no more; more to take is no progress."""
    watched = watch(DATA, REQUEST, STREAM)
    watched.judge(100, 0.0)
    watched.judge(90, 4.0)
    assert watched.judge(90, 8.0) is None
    watched.progress(8.5)
    assert watched.judge(95, 12.0) is None
    assert watched.judge(99, 13.5) is Ending.STALL_TIMEOUT


def test_slow_reader_of_an_answer_has_an_end() -> None:
    """Also when the handler has written all of it."""
    watched = watch(DATA, REQUEST, ANSWERED)
    for second in range(50):
        assert watched.judge(100 - second, float(second)) is None
    assert watched.judge(40, 50.0) is Ending.ANSWER_TIMEOUT


def test_who_can_make_room() -> None:
    """Nobody who is answered, or has not taken all of it."""
    for events, can in (
        ((), True),
        ((DATA,), True),
        ((DATA, REQUEST), False),
        ((DATA, REQUEST, STREAM), False),
        ((DATA, REQUEST, ANSWERED), True),
    ):
        assert watch(*events).can_make_room is can
    behind = watch(DATA, REQUEST, ANSWERED)
    behind.judge(1, 0.0)
    assert not behind.can_make_room


def test_table_refuses() -> None:
    """What it does not list cannot happen."""
    for phase, event in itertools.product(CallerPhase, CallerEvent):
        watched = Watch(CONTROL, 0.0)
        watched.phase = phase
        if (phase, event) in PHASES:
            watched.happen(event, 1.0)
            assert watched.phase is PHASES[phase, event]
        else:
            with pytest.raises(Exception, match=f"{event.value} while {phase.value}"):
                watched.happen(event, 1.0)
