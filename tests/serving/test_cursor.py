"""The place in a plan: heads and delimiters before their ranges, and nothing twice."""

from __future__ import annotations

import pytest

from ocaserve.protocol.messages import ByteRange, ResponsePlan
from ocaserve.serving.cursor import Cursor

HEAD = b"head"


def at_begin(*segments: bytes | ByteRange) -> Cursor:
    cursor = Cursor()
    cursor.begin(ResponsePlan(206, HEAD, segments, 0, True))
    return cursor


def place(cursor: Cursor) -> tuple[bytes, int, int]:
    return cursor.head, cursor.position, cursor.stop


def test_head_alone() -> None:
    cursor = at_begin()
    assert place(cursor) == (HEAD, 0, 0)
    assert not cursor.is_spent
    assert cursor.advance(3) == 0
    assert cursor.head == b"d"
    assert cursor.advance(1) == 0
    assert cursor.is_spent


@pytest.mark.parametrize(
    ("taken", "of_file", "left"),
    [(1, 0, b"ead"), (4, 0, b""), (5, 1, b""), (14, 10, b"")],
)
def test_head_goes_before_the_range(taken: int, of_file: int, left: bytes) -> None:
    cursor = at_begin(ByteRange(20, 30))
    assert cursor.advance(taken) == of_file
    assert place(cursor) == (left, 20 + of_file, 30)
    assert cursor.is_spent == (of_file == 10)


def test_delimiters_join_the_head_of_their_range() -> None:
    cursor = at_begin(b"--a", ByteRange(20, 30), b"--b", ByteRange(0, 5), b"--end")
    assert place(cursor) == (HEAD + b"--a", 20, 30)
    assert cursor.advance(len(HEAD) + 3 + 10) == 10
    cursor.load()
    assert place(cursor) == (b"--b", 0, 5)
    assert cursor.start == 0
    assert cursor.advance(8) == 5
    cursor.load()
    assert place(cursor) == (b"--end", 5, 5)
    assert cursor.advance(5) == 0
    assert cursor.is_spent
    cursor.load()
    assert cursor.is_spent


def test_another_plan_begins_anew() -> None:
    cursor = at_begin(ByteRange(20, 30), b"--b", ByteRange(0, 5))
    cursor.advance(7)
    cursor.begin(ResponsePlan(304, b"new", (), 0, True))
    assert place(cursor) == (b"new", 0, 0)
