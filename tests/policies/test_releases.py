"""How releases come into force and go: every state and event, and what one step changes for all."""

from __future__ import annotations

from itertools import product

import msgspec
import pytest

from ocaserve.policies.lives import POLICY_LIVES, PolicyEvent, PolicyState
from ocaserve.policies.releases import (
    EMPTY_BOOK,
    MOST_RELEASES,
    MOST_SHADOWS,
    PolicyBook,
    ReleaseError,
    hand_in,
    move,
)

E, S = PolicyEvent, PolicyState
WAY = (E.CHECK, E.SHADOW, E.CANARY, E.PROMOTE)


def go(book: PolicyBook, number: int, *events: PolicyEvent) -> PolicyBook:
    for event in events:
        book = move(book, number, event, 1.0, by="ann", until=9.0, share=0.05)
    return book


def release(book: PolicyBook, *events: PolicyEvent, **policies: str) -> PolicyBook:
    book = hand_in(book, policies, "ann", "", 0.0)
    return go(book, book.releases[-1].number, *events)


def states(book: PolicyBook) -> list[str]:
    return [each.state.value for each in book.releases]


@pytest.mark.parametrize(("state", "event"), list(product(S, E)))
def test_every_state_and_event(state: PolicyState, event: PolicyEvent) -> None:
    """The book does what the table lists, and refuses all else without a change."""
    book = release(EMPTY_BOOK, evening="v1")
    put = msgspec.structs.replace(book.releases[0], state=state)
    book = msgspec.structs.replace(book, releases=(put,))
    wanted = POLICY_LIVES.get((state, event))
    if wanted is None:
        with pytest.raises(ReleaseError, match=f"is {state.value}: it can|hand it in again"):
            go(book, 1, event)
    elif event not in (E.RESTORE, E.RETIRE):  # these follow from others' steps
        assert go(book, 1, event).releases[0].state is wanted


def test_from_draft_to_live_and_back() -> None:
    book = release(EMPTY_BOOK, *WAY, evening="v1")
    assert book.in_force == {"evening": "v1"}
    book = release(book, *WAY, evening="v2")
    assert book.in_force == {"evening": "v2"}
    assert states(book) == ["retired", "live"]
    book = go(book, 2, E.ROLL_BACK)
    assert book.in_force == {"evening": "v1"}
    assert states(book) == ["live", "rolled back"]
    assert go(book, 1, E.ROLL_BACK).in_force == {}
    assert [each.event for each in book.notes][-2:] == ["promote", "roll back"]


def test_several_at_once_or_none() -> None:
    book = release(EMPTY_BOOK, *WAY, a="a1", b="b1")
    book = release(book, *WAY, b="b2", c="c1")
    assert book.in_force == {"a": "a1", "b": "b2", "c": "c1"}
    assert states(book) == ["live", "live"]
    back = go(book, 2, E.ROLL_BACK)
    assert back.in_force == {"a": "a1", "b": "b1"}
    book = release(book, *WAY, a="a2")
    assert states(book) == ["retired", "live", "live"]


def test_the_same_version_again() -> None:
    """A release has a life of its own, whatever became of one of the same text."""
    book = release(EMPTY_BOOK, *WAY, a="a1")
    book = release(book, *WAY, a="a2")
    book = release(book, *WAY, a="a1")
    assert states(book) == ["retired", "retired", "live"]
    assert go(book, 3, E.ROLL_BACK).in_force == {"a": "a2"}


def test_what_was_found_bad_is_not_gone_back_to() -> None:
    book = release(EMPTY_BOOK, *WAY, a="a1")
    book = release(book, *WAY, a="a2")
    book = release(book, *WAY, a="a3")
    book = go(book, 2, E.ROLL_BACK)
    assert book.in_force == {"a": "a3"}
    assert go(book, 3, E.ROLL_BACK).in_force == {"a": "a1"}


def test_another_took_over_meanwhile() -> None:
    book = release(EMPTY_BOOK, *WAY, a="a1", b="b1")
    book = release(book, *WAY, a="a2")
    assert go(book, 1, E.ROLL_BACK).in_force == {"a": "a2"}


def test_one_canary_at_a_time() -> None:
    book = release(EMPTY_BOOK, E.CHECK, E.SHADOW, E.CANARY, a="a1")
    book = release(book, E.CHECK, E.SHADOW, b="b1")
    with pytest.raises(ReleaseError, match="release 1 \\(a\\) is a canary"):
        go(book, 2, E.CANARY)
    with pytest.raises(ReleaseError, match=r"a share of 0.9: it must be 0.001 to 0.5"):
        move(go(book, 1, E.ROLL_BACK), 2, E.CANARY, 1.0, share=0.9)


def test_so_many_shadows() -> None:
    book = EMPTY_BOOK
    for number in range(MOST_SHADOWS):
        book = release(book, E.CHECK, E.SHADOW, a=f"a{number}")
    with pytest.raises(ReleaseError, match=r"releases 1, 2, 3, 4 are in shadow"):
        release(book, E.CHECK, E.SHADOW, a="b")


def test_old_releases_are_forgotten_but_those_in_force() -> None:
    book = release(EMPTY_BOOK, *WAY, a="a1")
    book = release(book, *WAY, a="a2")
    for number in range(MOST_RELEASES + 5):
        book = release(book, b=f"b{number}")
    assert book.in_force == {"a": "a2"}
    assert len(book.releases) == MOST_RELEASES + 2
    assert go(book, 2, E.ROLL_BACK).in_force == {"a": "a1"}
    with pytest.raises(ReleaseError, match="release 3 is not known"):
        book.find(3)
    assert book.newest("a").number == 2
    with pytest.raises(ReleaseError, match="the policy 'z' is not known"):
        book.newest("z")
