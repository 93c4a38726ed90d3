"""What one step gives the outlet, and what it says is next."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.protocol.messages import ByteRange, ResponsePlan
from ocaserve.serving.counters import COUNTERS, Count
from ocaserve.serving.object_tally import ObjectTally
from ocaserve.serving.outlet import PLAIN
from ocaserve.serving.sending import NotResident
from ocaserve.serving.steps import Next, Steps

MIB = 1 << 20
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
STORE_PLACE = len(COUNTERS) - 1


class Stage:
    """Steps of 2 MiB into an outlet that takes `takes` bytes of each, or raises it."""

    def __init__(self) -> None:
        self.takes: int | Exception = 1 << 40
        self.counts = [0] * len(COUNTERS)
        self.corked: list[bool] = []
        self.is_in_memory = self.is_local = True
        self.is_overwritten = False
        self.outlet: Any = SimpleNamespace(
            kind=PLAIN, waiting=0, asks_residency=True, is_large=True, pour=self._pour,
            send=lambda head, _, __, count: self._take(len(head) + count),
            write=lambda data: self._take(len(data)),
            portion=lambda _, left, most, **__: min(left, most),
            cork=lambda *, corked: self.corked.append(corked),
        )  # fmt: skip
        self.source: Any = SimpleNamespace(
            key=b"k", descriptor=9, content=None, changed=False, sent=0,
            residency=SimpleNamespace(
                is_resident=lambda *_: self.is_in_memory, confirm=lambda *_: None
            ),
            is_overwritten=lambda: self.is_overwritten,
            store=SimpleNamespace(
                library=SimpleNamespace(tick=100), bytes_place=STORE_PLACE,
                is_local=self.is_local, reads_ahead=False,
            ),
        )  # fmt: skip
        counts = cast(memoryview, self.counts)
        self.steps = Steps(self.outlet, counts, ObjectTally(), 2 * MIB, 0)

    def _take(self, count: int) -> int:
        if isinstance(self.takes, Exception):
            raise self.takes
        return min(self.takes, count)

    def _pour(self, _: int, __: int, count: int) -> int:
        return self._take(count)

    def begin(self, stop: int) -> None:
        self.steps.begin(ResponsePlan(200, HEAD, (ByteRange(0, stop),), stop, True), self.source)

    def make(self, *, is_first: bool = True, **how: bool) -> Next:
        return self.steps.make(is_first=is_first, is_writable=False, **how)


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_small_response_is_one_step(stage: Stage) -> None:
    stage.begin(1000)
    assert stage.make() is Next.DONE
    assert stage.counts[Count.BYTES_SENDFILE_HOT] == stage.counts[STORE_PLACE] == 1000


def test_long_one_goes_on_until_it_is_done(stage: Stage) -> None:
    stage.begin(5 * MIB)
    made = [stage.make(), stage.make(is_first=False), stage.make(is_first=False)]
    assert made == [Next.GO_ON, Next.GO_ON, Next.DONE]
    assert stage.corked == [True, True]


@pytest.mark.parametrize(
    ("takes", "after"),
    [
        pytest.param(BlockingIOError(), Next.FULL, id="nothing"),
        pytest.param(len(HEAD) + 10, Next.FULL, id="a_part"),
        pytest.param(5, Next.FULL, id="of_the_head"),
        pytest.param(0, Next.CHANGED, id="end_of_the_file"),
        pytest.param(NotResident(), Next.COLD, id="not_in_memory_after_all"),
    ],
)
def test_what_the_outlet_took_decides(stage: Stage, takes: int | Exception, after: Next) -> None:
    stage.begin(1000)
    stage.takes = takes
    assert stage.make() is after


def test_error_is_the_callers(stage: Stage) -> None:
    stage.begin(1000)
    stage.takes = BrokenPipeError()
    with pytest.raises(BrokenPipeError):
        stage.make()


def test_bytes_that_are_not_in_memory_are_for_a_thread(stage: Stage) -> None:
    stage.begin(5 * MIB)
    stage.is_in_memory = False
    assert stage.make() is Next.COLD
    assert stage.steps.begin_cold(stage.source) == (MIB, 3 * MIB)
    assert stage.steps.cold_from == 0
    assert stage.steps.take(len(HEAD) + MIB, MIB, is_cold=True) is Next.GO_ON
    assert stage.counts[Count.BYTES_SENDFILE_COLD] == MIB


@pytest.mark.parametrize(
    ("is_local", "is_overwritten", "after"),
    [(True, False, Next.DONE), (True, True, Next.CHANGED), (False, True, Next.VERIFY)],
)
@pytest.mark.parametrize("is_poured", [True, False])
def test_last_step_compares_the_file(
    stage: Stage, is_local: bool, is_overwritten: bool, after: Next, is_poured: bool
) -> None:
    stage.begin(3 * MIB)
    stage.make()
    stage.source.store.is_local, stage.is_overwritten = is_local, is_overwritten
    if is_poured:
        stage.steps.look_ahead(stage.source)
        assert stage.steps.pour() is after
    else:
        assert stage.make(is_first=False) is after


def test_step_that_a_thread_has_verified_is_made(stage: Stage) -> None:
    stage.begin(3 * MIB)
    stage.make()
    stage.source.store.is_local = False
    assert stage.make(is_first=False, is_verified=True) is Next.DONE


def test_pouring_needs_certainty(stage: Stage) -> None:
    stage.begin(8 * MIB)
    stage.make()
    assert stage.steps.pour() is Next.STEP, "nothing was asked yet"
    stage.steps.look_ahead(stage.source)
    assert stage.steps.pour() is Next.STAY
    stage.source.store.library.tick += 100
    assert stage.steps.pour() is Next.STEP
    stage.steps.note_poured()
    assert stage.counts[STORE_PLACE] == 4 * MIB


def test_what_waits_in_the_outlet_goes_first(stage: Stage) -> None:
    stage.begin(1000)
    stage.outlet.waiting = 7
    assert stage.steps.take(len(HEAD) + 1000, 1000) is Next.WAIT_IN_OUTLET
    stage.outlet.flush = lambda: None
    assert stage.make(is_first=False) is Next.FULL
    stage.outlet.flush = lambda: setattr(stage.outlet, "waiting", 0)
    assert stage.make(is_first=False) is Next.DONE
    assert stage.counts[STORE_PLACE] == 1000


def test_small_object_is_copied(stage: Stage) -> None:
    stage.source.content = b"x" * 10
    stage.begin(10)
    stage.takes = len(HEAD) + 4
    assert stage.make() is Next.FULL
    assert stage.make(is_first=False) is Next.DONE
    assert stage.counts[Count.BYTES_COPIED] == stage.counts[STORE_PLACE] == 10
