"""What the operator wants, and what time makes of it."""

from __future__ import annotations

from ocaserve.control.duty import DutyRecord
from ocaserve.control.maintenance import MaintenanceWindow, find_window_fault, keep_future, running
from ocaserve.lifecycle import DutyState

DRAINING = DutyRecord(since=0.0).drain("disk", 10.0, deadline=100.0, until=None)


def test_drain_and_enable() -> None:
    """The reason and the times are kept until it is enabled."""
    assert (DRAINING.state, DRAINING.reason, DRAINING.since) == (
        DutyState.DRAINING,
        "disk",
        10.0,
    )
    assert DRAINING.enable(20.0) == DutyRecord(state=DutyState.ENABLED, since=20.0)


def test_drained_when_quiet() -> None:
    """And draining again when traffic comes back: it is not safe to switch it off then."""
    drained = DRAINING.look(20.0, is_quiet=True)
    assert drained.state is DutyState.DRAINED
    assert drained.look(21.0, is_quiet=True) is drained
    assert drained.look(21.0, is_quiet=False).state is DutyState.DRAINING


def test_ends_by_itself() -> None:
    """At `until`, drained or not."""
    planned = DRAINING.drain("disk", 11.0, deadline=100.0, until=50.0)
    assert planned.look(49.0, is_quiet=False) is planned
    assert planned.look(50.0, is_quiet=False).state is DutyState.ENABLED
    assert planned.look(49.0, is_quiet=True).look(50.0, is_quiet=True).state is DutyState.ENABLED


def test_drained_again() -> None:
    """Another reason or deadline does not begin it anew."""
    again = DRAINING.drain("fan", 30.0, deadline=40.0, until=None)
    assert (again.since, again.reason, again.deadline) == (10.0, "fan", 40.0)


def test_turns_away_after_the_deadline() -> None:
    """Not before, and never while enabled."""
    assert not DRAINING.turns_away(99.0)
    assert DRAINING.turns_away(100.0)
    assert not DutyRecord().turns_away(1e9)


def window(id_: str, start: float, end: float) -> MaintenanceWindow:
    return MaintenanceWindow(id=id_, start=start, end=end, reason="")


def test_windows() -> None:
    """One runs from its start until its end; of several the one that ends last counts."""
    windows = (window("b", 20, 40), window("a", 10, 30))
    assert running(windows, 9) is None
    assert running(windows, 10) == windows[1]
    assert running(windows, 25) == windows[0]
    assert running(windows, 40) is None
    assert [w.id for w in keep_future(windows, 29)] == ["a", "b"]
    assert [w.id for w in keep_future(windows, 30)] == ["b"]


def test_window_faults() -> None:
    """Each says which time is wrong, and what is allowed."""
    assert find_window_fault(10, 20, now=5) is None
    assert find_window_fault(10, 20, now=20) == "end: must be in the future"
    assert find_window_fault(20, 20, now=5) == "start: must be before end"
    assert "at most 31 days" in (find_window_fault(0, 1e9, now=5) or "")
