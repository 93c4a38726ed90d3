"""Nothing is said to take traffic before what it depends on was read or heard once."""

from __future__ import annotations

from typing import Any

from ocaserve.control.obstacles import Beginning, Obstacle


def test_each_must_have_happened() -> None:
    """One after the other, each with its reason; then it is over for good, and noted."""
    noted: dict[str, object] = {}
    happened: set[str] = set()
    beginning = Beginning({}, noted.__setitem__)
    beginning.await_first(lambda: "health" in happened, "no health yet")
    beginning.await_first(lambda: "routes" in happened, "no routes yet")
    assert beginning.find_obstacle() == Obstacle("starting", "no health yet")
    happened.add("health")
    assert beginning.find_obstacle() == Obstacle("starting", "no routes yet")
    assert not noted
    happened.add("routes")
    assert beginning.find_obstacle() is None
    happened.clear()
    assert beginning.find_obstacle() is None
    assert noted == {"has_begun": True}


def test_successor_goes_on() -> None:
    """It takes over an appliance in service, and must not send clients away."""

    def note(name: str, value: object) -> None:
        raise AssertionError(name, value)

    notes: dict[str, Any] = {"has_begun": True}
    beginning = Beginning(notes, note)
    beginning.await_first(lambda: False, "no health yet")
    assert beginning.find_obstacle() is None
