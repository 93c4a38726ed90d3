"""What is kept of changes, and for how long."""

from __future__ import annotations

import pytest

from bgp.prefixes import Prefix
from ocaserve.steering.changes import ChangeLog, GoneError

KEPT = 10


def log_of(*serials: range) -> ChangeLog:
    """Prefixes of length 32 by their bits, marked in one serial after the other."""
    log = ChangeLog("s", KEPT)
    for serial, bits in enumerate(serials):
        for each in bits:
            log.mark(4, 32, each)
        log.commit(float(serial))
    return log


def bits(prefixes: list[Prefix]) -> set[int]:
    return {prefix.bits for prefix in prefixes}


def test_each_prefix_once() -> None:
    log = log_of(range(3), range(2, 5))
    assert sorted(each.bits for each in log.since("s", 0).prefixes) == [0, 1, 2, 3, 4]
    assert bits(log.since("s", 1).prefixes) == {2, 3, 4}
    assert log.since("s", 2).prefixes == []


def test_oldest_serials_are_forgotten() -> None:
    """Whoever has the first that is forgotten is told the rest all the same."""
    log = log_of(range(6), range(6, 12), range(12, 14))
    with pytest.raises(GoneError, match="too old"):
        log.since("s", 0)
    assert bits(log.since("s", 1).prefixes) == set(range(6, 14))


def test_more_at_once_than_is_kept() -> None:
    """Nothing before it can be told, and what comes after it can."""
    log = log_of(range(3), range(3 * KEPT))
    with pytest.raises(GoneError):
        log.since("s", 1)
    assert log.since("s", 2).prefixes == []
    log.mark(4, 32, 7)
    log.commit()
    assert bits(log.since("s", 2).prefixes) == {7}


def test_one_that_flaps_is_bounded_too() -> None:
    log = log_of(*[range(1)] * 1_000)
    assert len(log._batches) == KEPT
    assert bits(log.since("s", 1_000 - KEPT).prefixes) == {0}


def test_recent_ones_are_newest_first() -> None:
    log = log_of(range(3), range(1), range(5, 7))
    recent = log.recent(4)
    assert [(each.prefix.bits, each.serial, each.at) for each in recent] == [
        (6, 3, 2.0), (5, 3, 2.0), (0, 2, 1.0), (2, 1, 0.0),
    ]  # fmt: skip
    assert len(log.recent(100)) == 5
