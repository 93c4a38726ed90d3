"""Who waits for whom, whatever becomes of the wall clock."""

from __future__ import annotations

import pytest

from ocaserve.fill.store_turns import StoreTurns
from tests.fill.conftest import entry

SITE = ["a", "b", "c"]
WANTED = entry()


def turns(me: str, masters: int = 1) -> StoreTurns:
    return StoreTurns(me, [each for each in SITE if each != me], masters, 600.0)


def waiting() -> StoreTurns:
    """One that is not the master of WANTED."""
    found = [each for each in map(turns, SITE) if each.left(WANTED, 0.0, 0.0, 0.0)]
    assert len(found) == 2
    return found[0]


def test_alone() -> None:
    assert StoreTurns("a", [], 1, 600.0).left(WANTED, 0.0, 0.0, 0.0) == 0.0


@pytest.mark.parametrize("masters", [1, 2, 3])
def test_masters(masters: int) -> None:
    """So many of a site need not wait."""
    found = [turns(me, masters).left(WANTED, 100.0, 100.0, 7.0) for me in SITE]
    assert sorted(found) == [0.0] * masters + [600.0] * (3 - masters)


def test_since_outlives_a_restart() -> None:
    """A process that begins again goes on with what is left."""
    others = [turns(me).left(WANTED, 1_000.0, 1_400.0, 5.0) for me in SITE]
    assert max(others) == 200.0


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
def test_clock_that_is_set(step: float) -> None:
    """Nobody waits longer for it, nor asks sooner."""
    turn = waiting()
    assert turn.left(WANTED, 0.0, 300.0 + step, 300.0) == 300.0
    turn.keep(set())
    first = turn.left(WANTED, 1_000.0, 1_000.0 + step, 0.0)
    assert 0.0 <= first <= 600.0


def test_forgotten() -> None:
    """What is no longer wanted takes no room."""
    turn = waiting()
    turn.keep({WANTED.id})
    assert len(turn._at) == 1
    turn.keep(set())
    assert not turn._at
