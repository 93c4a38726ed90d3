"""Rendezvous hashing: shares, and how little moves."""

from __future__ import annotations

import math
from collections import Counter
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.fill.placement import Candidates, rank

KEYS = [f"film/{n}.mp4" for n in range(20_000)]


def test_shares_are_those_of_the_weights() -> None:
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}
    found = Counter(rank(key, weights, 1)[0] for key in KEYS)
    assert abs(found["c"] / len(KEYS) - 0.5) < 0.02
    assert abs(found["a"] / len(KEYS) - 0.25) < 0.02


def test_one_more_moves_its_share() -> None:
    """And nothing between the others."""
    before = {f"s{n}": 1.0 for n in range(9)}
    after = {**before, "s9": 1.0}
    moves = [(rank(key, before, 1)[0], rank(key, after, 1)[0]) for key in KEYS]
    moved = [new for old, new in moves if old != new]
    assert set(moved) == {"s9"}
    assert abs(len(moved) / len(KEYS) - 0.1) < 0.01


def test_all_in_order() -> None:
    """The next takes over from the first, whatever order they are named in."""
    weights = {"a": 1.0, "b": 3.0, "none": 0.0}
    assert sorted(rank("k", weights)) == ["a", "b"]
    assert rank("k", {"b": 3.0, "a": 1.0}) == rank("k", weights)
    assert rank("k", {"b": 3.0}) == ["b"]
    assert rank("k", {}) == []


@given(
    st.dictionaries(st.text(max_size=4), st.sampled_from([0.0, 0.5, 1.0, 3.0]), max_size=6),
    st.lists(st.text(st.characters(exclude_categories=[]), max_size=6), max_size=4),
    st.none() | st.integers(0, 7),
)
def test_who_draws_highest(weights: dict[str, float], keys: list[str], most: int | None) -> None:
    """For many objects as for each, and as the numbers that are drawn say."""
    candidates = Candidates(weights)
    for key in keys:
        able = [name for name, weight in weights.items() if weight]
        able.sort(key=lambda name: (drawn(key, name, weights[name]), name), reverse=True)
        assert candidates.rank(key, most) == rank(key, weights, most) == able[:most]


def drawn(key: str, name: str, weight: float) -> float:
    data = f"{len(name)}:{name}:{key}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(data, digest_size=8).digest())
    return -weight / math.log((number + 0.5) / (1 << 64))


def test_it_is_the_same_everywhere() -> None:
    """Machines of other versions must come to the same answer: these are fixed."""
    names = dict.fromkeys(("oca-1", "oca-2", "oca-3"), 1.0)
    assert [rank(f"film/{n}.mp4", names, 1)[0] for n in range(8)] == FIXED


FIXED = ["oca-2", "oca-3", "oca-3", "oca-3", "oca-3", "oca-2", "oca-2", "oca-1"]
