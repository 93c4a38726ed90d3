"""When a problem counts, and when it is forgotten."""

from __future__ import annotations

import itertools

import pytest

from ocaserve.health.hysteresis import ALARM_STATES, AlarmEvent, AlarmState, Judge, Raised
from ocaserve.health.model import (
    Health,
    Judgement,
    Level,
    Observation,
    Timing,
    Trouble,
    worst_level,
)
from ocaserve.lifecycle import ImpossibleTransitionError, advance

OK, WARNING, ERROR = Level
TIMING = Timing(rise_s=3, fall_s=5)
HELD = "at 3 (not seen now)"  # what is gone, and shown until it is long gone, says so


def play(seen: str, timing: Timing = TIMING) -> str:
    """The levels shown for the levels seen, one each second: "." ok, "w" warning, "e" error."""
    judge = Judge(timing, now=0)
    shown = ""
    for second, letter in enumerate(seen):
        level = Level(".we".index(letter))
        problems = (Trouble(level, "cpu", f"at {second}"),) if level else ()
        shown += ".we"[judge.judge(Observation("fine", problems), second).level]
    return shown


@pytest.mark.parametrize(
    ("seen", "shown"),
    [
        pytest.param("......", "......", id="nothing"),
        pytest.param("ww....", "......", id="too-short-to-count"),
        pytest.param("wwwww", "...ww", id="counts-when-it-lasts"),
        pytest.param("eeeee", "...ee", id="error-at-once-with-its-warning"),
        pytest.param("wwwwweeee", "...wwwwwe", id="a-warning-gets-worse"),
        pytest.param("wewewewe", "...wwwww", id="swinging-holds-the-warning"),
        pytest.param("eeee......", "...eeeeee.", id="error-falls-to-ok"),
        pytest.param("eeeewwwwww", "...eeeeeew", id="error-falls-to-warning"),
        pytest.param("eeee....e.....", "...eeeeeeeeeee", id="a-short-peace-is-none"),
        pytest.param("w.w.w.w.w", ".........", id="flapping-never-rises"),
        pytest.param("wwww.w.w.w.w", "...wwwwwwwww", id="flapping-never-falls"),
    ],
)
def test_levels(seen: str, shown: str) -> None:
    """A problem must last 3 s to count and be gone for 5 s to be forgotten."""
    assert play(seen) == shown


def test_without_waiting() -> None:
    """What cannot flap is shown as it is."""
    assert play(".e.w.", Timing(0, 0)) == ".e.w."


def test_reason_and_since() -> None:
    """The latest reason of the level shown; since when that level is shown."""
    judge = Judge(Timing(2, 4), now=0)
    for second in range(4):
        seen = judge.judge(Observation("fine", (Trouble(WARNING, "a", f"at {second}"),)), second)
    assert seen[:3] == (WARNING, "at 3", 2)
    assert judge.judge(Observation("fine"), 4)[:3] == (WARNING, HELD, 2)
    assert judge.judge(Observation("fine"), 8)[:3] == (OK, "fine", 8)


def test_subjects_are_told_apart() -> None:
    """Each has its own time; the worst comes first, and what is ok is not named."""
    judge = Judge(Timing(1, 1), now=0)
    both = Observation("", (Trouble(WARNING, "eth0", "eth0 drops"), Trouble(ERROR, "eth1", "down")))
    judge.judge(both, 0)
    assert judge.judge(both, 1).reason == "down; eth0 drops"
    one = Observation("", (Trouble(WARNING, "eth0", "eth0 drops"),))
    judge.judge(one, 2)
    assert judge.judge(one, 3)[:2] == (WARNING, "eth0 drops")


def test_the_worse_of_two_problems_of_a_subject() -> None:
    """In whatever order they were found."""
    problems = [Trouble(ERROR, "a", "bad"), Trouble(WARNING, "a", "not good")]
    for found in itertools.permutations(problems):
        assert Judge(Timing(0, 0), 0).judge(Observation("", found), 0)[:2] == (ERROR, "bad")


def test_table_refuses_what_cannot_be() -> None:
    """A clear alarm has nothing that could have lasted."""
    with pytest.raises(ImpossibleTransitionError):
        advance(ALARM_STATES, AlarmState.CLEAR, AlarmEvent.LASTED)


def test_worst_wins() -> None:
    assert worst_level([]) is OK
    assert worst_level([OK, ERROR, WARNING]) is ERROR
    health = Health.of([Judgement("a", OK, "", 0), Judgement("b", WARNING, "hot", 1.23456)])
    assert health.level is WARNING
    assert health.reasons == ("b: hot",)


def test_successor() -> None:
    """It goes on with what was shown: as long as the problem lasts, and fall_s after its end."""
    first = Judge(TIMING, now=0)
    for second in range(4):
        first.judge(Observation("fine", (Trouble(ERROR, "cpu", f"at {second}"),)), second)
    assert first.raised == Raised(since=3, subjects={"cpu": (ERROR, "at 3")})
    second_one = Judge(TIMING, now=10, before=first.raised)
    assert second_one.judge(Observation("unknown yet"), 10)[:3] == (ERROR, HELD, 3)
    worse = Observation("fine", (Trouble(WARNING, "cpu", "at 11"),))
    assert second_one.judge(worse, 11)[:3] == (ERROR, HELD, 3)
    assert second_one.judge(worse, 16).level is WARNING
    assert second_one.judge(Observation("fine"), 17).level is WARNING
    assert second_one.judge(Observation("fine"), 22)[:3] == (OK, "fine", 22)
    assert second_one.raised is None


def test_what_is_remembered_is_small() -> None:
    """Of a thousand subjects the worst."""
    judge = Judge(Timing(0, 0), now=0)
    problems = [Trouble(WARNING, f"worker {n}", "late") for n in range(1000)]
    judge.judge(Observation("", (*problems, Trouble(ERROR, "deaths", "many"))), 1)
    raised = judge.raised
    assert raised is not None
    assert len(raised.subjects) == 20
    assert raised.subjects["deaths"] == (ERROR, "many")
