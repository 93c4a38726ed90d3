"""The short way: what it sends from memory and from files, and where it counts that."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ocaserve.ledger.tallies import Tallies
from ocaserve.protocol.connection_states import State
from ocaserve.protocol.messages import Fields, Representation
from ocaserve.serving.accounts import Accounts
from ocaserve.serving.answerer import Way
from ocaserve.serving.catalogue import ObjectCatalogue
from ocaserve.serving.counters import COUNTERS, Count
from ocaserve.serving.express import make_short_way
from ocaserve.serving.log_lines import format_combined
from ocaserve.serving.stance import Stance
from ocaserve.settings import Limits

CONTENT = b"0123456789" * 10
STORE_PLACE = len(COUNTERS) - 1


class Taking:
    """An outlet that takes all it is given, or so much; what it was given is in `given`."""

    def __init__(self) -> None:
        self.given: list[bytes | tuple[int, int]] = []
        self.takes: int | None = None

    def send_whole(self, head: bytes, file: int, position: int, count: int) -> int:
        self.given.append((position, count))
        return len(head) + count

    def write_whole(self, data: bytes) -> int:
        self.given.append(data)
        return len(data) if self.takes is None else self.takes


class Stage:
    """A connection that waits for a request, and an object of 100 bytes."""

    def __init__(self, *, is_small: bool) -> None:
        self.outlet = Taking()
        self.counts = [0] * len(COUNTERS)
        self.taken_over: list[int] = []
        self.range: tuple[bytes | None, int, int] = (None, 0, 0)
        file = SimpleNamespace(
            descriptor=9, sent=0, content=CONTENT if is_small else None,
            representation=Representation(len(CONTENT), b'"e"', 0, b"video/mp4", b"", b""),
            residency=None if is_small else SimpleNamespace(is_resident=lambda *_: True),
            store=SimpleNamespace(bytes_place=STORE_PLACE),
        )  # fmt: skip
        self.connection: Any = SimpleNamespace(
            address=b"::1", deadline=0.0, watched=inf, tally=SimpleNamespace(sent=0), requests=0,
            state=State.BETWEEN, outlet=self.outlet,
            take_over=lambda *told: self.taken_over.append(told[3]),
        )  # fmt: skip
        catalogue: Any = SimpleNamespace(get=lambda _: file, tick=1)
        clock: Any = SimpleNamespace(http_date=b"today", log_time=b"now")
        wheel: Any = SimpleNamespace(watch=lambda _: None)
        counts = cast(memoryview, self.counts)
        accounts = Accounts(
            counts, cast(Tallies, None), clock, cast(Any, None), None, format_combined
        )
        self.settle = accounts.settle
        self.answer = make_short_way(
            cast(ObjectCatalogue, catalogue),
            Way(
                lambda _: (b"/o", Fields(), *self.range), lambda _: None, clock, counts, wheel,
                Stance(Limits()), accounts.batch(int(Count.BYTES_SENDFILE_HOT)), 1000,
                1 << 20, 1 << 62,
            ),
        )  # fmt: skip


@pytest.fixture
def small() -> Stage:
    return Stage(is_small=True)


def is_answered(stage: Stage) -> bool:
    answered = stage.answer(stage.connection, b"")
    stage.settle()
    return answered


def test_small_object_goes_in_one_piece_with_its_head(small: Stage) -> None:
    assert is_answered(small)
    (sent,) = small.outlet.given
    assert isinstance(sent, bytes)
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\n" + CONTENT)
    assert not small.taken_over


def test_range_of_a_small_object(small: Stage) -> None:
    small.range = (b"bytes=10-14", 10, 15)
    assert is_answered(small)
    (sent,) = small.outlet.given
    assert isinstance(sent, bytes)
    assert sent.startswith(b"HTTP/1.1 206 Partial Content\r\n")
    assert sent.endswith(b"\r\n\r\n01234")


@pytest.mark.parametrize("is_small", [True, False])
def test_bytes_are_counted_by_where_they_came_from(is_small: bool) -> None:
    stage = Stage(is_small=is_small)
    assert is_answered(stage)
    assert is_answered(stage)
    of_memory, of_file = (200, 0) if is_small else (0, 200)
    assert stage.counts[Count.BYTES_COPIED] == of_memory
    assert stage.counts[Count.BYTES_SENDFILE_HOT] == of_file
    assert stage.counts[STORE_PLACE] == stage.connection.tally.sent == 200
    assert stage.counts[Count.REQUESTS] == stage.counts[Count.RESPONSES_2XX] == 2


def test_rest_is_left_to_the_connection(small: Stage) -> None:
    small.outlet.takes = 7
    assert is_answered(small)
    assert small.taken_over == [7]
    assert small.counts[Count.BYTES_COPIED] == small.counts[STORE_PLACE] == 0


def test_outlet_that_takes_nothing_leaves_no_trace(small: Stage) -> None:
    def refuse(_: bytes) -> int:
        raise BlockingIOError

    cast(Any, small.outlet).write_whole = cast(Callable[[bytes], int], refuse)
    assert not is_answered(small)
    assert small.connection.requests == 0
    assert not any(small.counts)


@pytest.mark.parametrize("at", [100, 101])
def test_range_behind_the_end_is_left_to_others(small: Stage, at: int) -> None:
    small.range = (b"bytes=x", at, at + 1)
    assert not is_answered(small)
