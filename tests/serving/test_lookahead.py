"""What is asked of residency, for how long it holds, and what sending shows of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ocaserve.serving.lookahead import Lookahead

MIB = 1 << 20


class Stage:
    """A source whose pages are in memory up to `stop`, and what was asked and confirmed of it."""

    def __init__(self) -> None:
        self.stop = 100 * MIB
        self.asked: list[tuple[int, int]] = []
        self.confirmed: list[tuple[int, int, int]] = []
        residency = SimpleNamespace(
            is_resident=self._is_resident, confirm=lambda *what: self.confirmed.append(what)
        )
        self.library = SimpleNamespace(tick=100)
        self.source: Any = SimpleNamespace(
            residency=residency, store=SimpleNamespace(library=self.library)
        )

    def _is_resident(self, start: int, stop: int, _: int) -> bool:
        self.asked.append((start, stop))
        return stop <= self.stop


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_more_than_a_step_is_asked_about(stage: Stage) -> None:
    ahead = Lookahead(asks=True)
    assert ahead.make_sure(stage.source, MIB, 50 * MIB)
    assert stage.asked == [(MIB, 9 * MIB)]
    assert (ahead.sure_stop, ahead.sure_until) == (9 * MIB, 108)
    ahead.load(0)
    assert ahead.sure_until == 0, "of another range nothing is known"


def test_hole_makes_nothing_sure(stage: Stage) -> None:
    ahead = Lookahead(asks=True)
    stage.stop = 5 * MIB
    assert not ahead.make_sure(stage.source, MIB, 50 * MIB)
    assert ahead.sure_until == 0
    assert ahead.is_resident(stage.source, MIB, 2 * MIB)


def test_unknown_residency_is_none(stage: Stage) -> None:
    stage.source.residency = None
    assert not Lookahead(asks=True).is_resident(stage.source, 0, 1)


def test_sender_that_tells_by_itself_asks_nothing(stage: Stage) -> None:
    stage.source.residency = None
    assert Lookahead(asks=False).make_sure(stage.source, 0, MIB)
    assert stage.asked == []


def test_window_that_was_sent_is_confirmed_with_the_time_it_began(stage: Stage) -> None:
    ahead = Lookahead(asks=True)
    ahead.begin(100)
    ahead.load(MIB // 2)
    ahead.confirm(stage.source, MIB // 2, MIB - 1)
    assert stage.confirmed == [], "it is in the same window"
    stage.library.tick = 140
    ahead.confirm(stage.source, MIB // 2, MIB + 5)
    ahead.confirm(stage.source, MIB // 2, 2 * MIB + 5)
    assert stage.confirmed == [(MIB // 2, MIB + 5, 100), (MIB, 2 * MIB + 5, 140)]


def test_what_came_from_disk_shows_nothing(stage: Stage) -> None:
    ahead = Lookahead(asks=True)
    ahead.begin(100)
    ahead.load(0)
    ahead.skip(3 * MIB)
    ahead.confirm(stage.source, 0, 3 * MIB + 1)
    assert stage.confirmed == []
