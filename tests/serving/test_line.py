"""A bounded line: each client has its turn, and who has most gives way."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.serving.line import FairLine

A, B, C = b"a", b"b", b"c"


def drain(line: FairLine[int]) -> list[tuple[bytes, int]]:
    taken = []
    while (turn := line.take()) is not None:
        taken.append(turn)
    return taken


def test_clients_have_turns() -> None:
    line: FairLine[int] = FairLine(10)
    for number in range(4):
        line.join(A, number)
    line.join(B, 10)
    line.join(C, 20)
    assert drain(line) == [(A, 0), (B, 10), (C, 20), (A, 1), (A, 2), (A, 3)]
    assert len(line) == 0


def test_own_line_is_in_order() -> None:
    line: FairLine[int] = FairLine(10)
    for number in range(3):
        assert line.join(A, number) is None
    assert [number for _, number in drain(line)] == [0, 1, 2]


def test_full_line_refuses_who_has_most() -> None:
    line: FairLine[int] = FairLine(4)
    for number in range(4):
        line.join(A, number)
    assert line.join(A, 4) == (A, 4)
    assert line.join(B, 10) == (A, 3)
    assert line.join(B, 11) == (A, 2)
    assert line.join(B, 12) == (B, 12)
    assert line.join(C, 20) == (B, 11) or len(line) == 4
    assert len(line) == 4


def test_full_line_of_many_clients_refuses_one_more() -> None:
    line: FairLine[int] = FairLine(3)
    for client in (A, B, C):
        assert line.join(client, 1) is None
    assert line.join(b"d", 1) == (b"d", 1)


def test_leaving() -> None:
    line: FairLine[int] = FairLine(4)
    line.join(A, 1)
    line.join(A, 2)
    line.join(B, 1)
    line.leave(A, 1)
    line.leave(A, 9)
    line.leave(C, 1)
    assert len(line) == 2
    assert drain(line) == [(A, 2), (B, 1)]


def test_joining_twice_is_one_place() -> None:
    line: FairLine[int] = FairLine(4)
    line.join(A, 1)
    line.join(A, 1)
    assert len(line) == 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=60))
def test_never_more_than_its_places(joins: list[tuple[str, int]]) -> None:
    """And turns differ by no more than one between clients that wait all the time."""
    line: FairLine[int] = FairLine(8)
    for client, number in joins:
        line.join(client.encode(), number)
        assert len(line) <= 8
    turns = [client for client, _ in drain(line)]
    for one in set(turns):
        places = [place for place, other in enumerate(turns) if other == one]
        assert all(len(set(turns[a + 1 : b])) == b - a - 1 for a, b in pairwise(places)), (
            "between two turns of one client each other has one at most"
        )
