"""How far a response has come, and when that is counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.serving.object_tally import ObjectTally
from ocaserve.serving.progress import SendingProgress

PLACE, STORE_PLACE = 3, 5


class Stage:
    """Progress into an outlet that keeps what it is told to."""

    def __init__(self) -> None:
        self.outlet = SimpleNamespace(waiting=0)
        self.counts = [0] * 8
        self.demand = ObjectTally()
        self.source: Any = SimpleNamespace(
            sent=0, key=b"k", store=SimpleNamespace(bytes_place=STORE_PLACE)
        )
        counts = cast(memoryview, self.counts)
        self.progress = SendingProgress(self.outlet, counts, self.demand)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_bytes_are_counted_once(stage: Stage) -> None:
    stage.progress.note(110, 100)
    stage.progress.count(PLACE, stage.source)
    stage.progress.count(PLACE, stage.source)
    assert stage.counts[PLACE] == stage.counts[STORE_PLACE] == stage.source.sent == 100
    assert stage.progress.from_file == 100
    assert stage.progress.count_body(10) == 100


def test_bytes_of_no_file_are_counted_at_no_store(stage: Stage) -> None:
    stage.progress.note(100, 100)
    stage.progress.count(PLACE, None)
    assert [count for count in stage.counts if count] == [100]


def test_what_waits_in_the_outlet_is_not_counted_yet(stage: Stage) -> None:
    stage.outlet.waiting = 110
    stage.progress.note(110, 100)
    stage.progress.count(PLACE, stage.source)
    assert (stage.counts[PLACE], stage.progress.first_byte) == (0, 0.0)
    assert stage.progress.has_sent
    stage.outlet.waiting = 40
    stage.progress.note(0, 0)
    stage.progress.count(PLACE, stage.source)
    assert stage.counts[PLACE] == 60
    assert stage.progress.first_byte
    assert stage.progress.count_body(10) == 60


def test_what_is_forgotten_was_not_sent(stage: Stage) -> None:
    stage.outlet.waiting = 40
    stage.progress.note(110, 100)
    stage.outlet.waiting = 0
    stage.progress.forget(40)
    stage.progress.count(PLACE, stage.source)
    assert stage.counts[PLACE] == stage.progress.count_body(10) == 60


def test_another_response_begins_anew(stage: Stage) -> None:
    stage.progress.note(110, 100)
    stage.progress.begin()
    stage.progress.count(PLACE, stage.source)
    assert not stage.progress.has_sent
    assert stage.progress.count_body(0) == stage.counts[PLACE] == 0
