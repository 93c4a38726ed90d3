"""Counters that several processes share."""

from __future__ import annotations

import os

import pytest

from ocaserve.metrics import CounterMap


@pytest.fixture
def counters() -> CounterMap:
    return CounterMap(["requests", "bytes"], ["connections"], slots=2)


def take(counters: CounterMap) -> int:
    slot = counters.maybe_take_slot()
    assert slot is not None
    return slot


def test_begins_at_zero(counters: CounterMap) -> None:
    """Each name is there before anything was counted."""
    assert counters.totals() == {"requests": 0, "bytes": 0, "connections": 0}


def test_a_forked_child_counts(counters: CounterMap) -> None:
    """The parent sees it, in the child's slot alone."""
    slots = [take(counters), take(counters)]
    pid = os.fork()
    if not pid:
        values = counters.slot(slots[1]).values
        values[0] += 3
        values[1] = 2**64 - 1
        os._exit(0)
    os.waitpid(pid, 0)
    assert counters.slot(slots[0]).values.tolist() == [0, 0, 0]
    assert counters.slot(slots[1]).values.tolist() == [3, 2**64 - 1, 0]


def test_totals_add_up_the_slots(counters: CounterMap) -> None:
    """Gauges as well: they are of each worker."""
    for number in (1, 2):
        counters.slot(take(counters)).values[:] = memoryview(number.to_bytes(8, "little") * 3).cast(
            "Q"
        )
    assert counters.totals() == {"requests": 3, "bytes": 3, "connections": 3}


def test_a_successor_goes_on_from_the_counters(counters: CounterMap) -> None:
    """Sums never go backwards; what was so right then is no longer so."""
    slot = take(counters)
    values = counters.slot(slot).values
    values[0], values[2] = 7, 5
    counters.give_back(slot)
    assert counters.totals() == {"requests": 7, "bytes": 0, "connections": 0}
    assert {take(counters), take(counters)} == {0, 1}
    counters.slot(slot).values[0] += 1
    assert counters.totals()["requests"] == 8


def test_no_slot_is_given_twice(counters: CounterMap) -> None:
    """Each has one writer at a time."""
    slots = [take(counters), take(counters)]
    assert sorted(slots) == [0, 1]
    assert counters.maybe_take_slot() is None
    counters.give_back(slots[0])
    assert counters.maybe_take_slot() == slots[0]


def test_another_process_can_read_it_by_its_descriptor(counters: CounterMap) -> None:
    """The layout is rows of 64-bit words, in the order of the names."""
    take(counters)
    counters.slot(take(counters)).values[1] = 9
    words = memoryview(os.pread(counters.file, 48, 0)).cast("Q").tolist()
    assert words == [0, 0, 0, 0, 9, 0]


def test_without_memfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without a name does the same where there is no memfd_create (macOS, old FreeBSD)."""
    monkeypatch.delattr(os, "memfd_create")
    counters = CounterMap(["requests"], [], slots=1)
    counters.slot(take(counters)).values[0] = 4
    assert counters.totals() == {"requests": 4}
    assert os.fstat(counters.file).st_nlink == 0


def test_a_slot_is_given_back_once(counters: CounterMap) -> None:
    """Else two workers would write it; and no slot lies beyond the memory."""
    slot = take(counters)
    counters.give_back(slot)
    with pytest.raises(AssertionError):
        counters.give_back(slot)
    with pytest.raises(AssertionError):
        counters.slot(counters.slots)
