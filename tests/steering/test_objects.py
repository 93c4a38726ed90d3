"""Which objects are here: changes, applied to what one has, are what is so."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.steering.objects import Holdings, HoldingsLog
from tests.support.consumer import Consumer

COUNT = 20


def holdings(places: set[int], manifest: str = "v1", count: int = COUNT) -> Holdings:
    bits = bytearray(-(-count // 8))
    for place in places:
        bits[place // 8] |= 1 << place % 8
    return Holdings(manifest=manifest, count=count, here=bytes(bits))


STATES = st.lists(
    st.builds(
        holdings,
        st.sets(st.integers(0, COUNT - 1)),
        st.sampled_from(["v1", "v1", "v1", "v2"]),
        st.just(COUNT),
    ),
    min_size=1,
    max_size=12,
)


@given(STATES, st.integers(1, 30), st.data())
def test_changes_come_to_a_fresh_report(
    states: list[Holdings], kept: int, data: st.DataObject
) -> None:
    """From any serial on, told once or again, through JSON as they are sent."""
    log = HoldingsLog(kept)
    consumer, has, serial = Consumer(), 0, 0
    for state in states:
        if log.take(state, serial + 1):
            serial += 1
        if data.draw(st.booleans()):
            for _ in range(data.draw(st.integers(1, 2))):
                consumer._take_objects(json.loads(json.dumps(log.since(has))))
            has = serial
            assert (consumer.manifest, bytes(consumer.here)) == (state.manifest, state.here)
    consumer._take_objects(log.since(has))
    fresh = Consumer()
    fresh._take_objects(log.whole())
    assert (consumer.manifest, consumer.here) == (fresh.manifest, fresh.here)


def test_places() -> None:
    """As they came and went, each once, as they are now."""
    log = HoldingsLog()
    for serial, places in enumerate([{1, 9}, {1, 9, 10}, {9, 10}, {1, 9, 10}], 1):
        log.take(holdings(places), serial)
    assert log.since(1) == {"manifest": "v1", "count": COUNT, "came": [1, 10], "went": []}
    assert log.since(2)["came"] == [1]
    assert log.since(0) == log.whole()


def test_the_same_is_no_news() -> None:
    log = HoldingsLog()
    assert log.take(holdings({1}), 1)
    assert not log.take(holdings({1}), 2)


def test_bounded() -> None:
    """Too many places are the whole."""
    log = HoldingsLog(kept=4)
    log.take(holdings(set()), 1)
    log.take(holdings({0, 1, 2}), 2)
    log.take(holdings({0, 1, 2, 3, 4}), 3)
    assert log.since(1) == log.whole()
    assert log.since(2)["came"] == [3, 4]
    log.take(holdings(set(range(COUNT))), 4)
    assert log.since(3) == log.whole()
    assert log.since(4)["came"] == []
