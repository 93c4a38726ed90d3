"""What is kept is bounded in bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.memo import ENTRY_BYTES, Memo


@given(st.lists(st.tuples(st.integers(), st.integers(0, 2_000)), max_size=60))
def test_bytes_are_bounded(entries: list[tuple[int, int]]) -> None:
    """However many come; the last one is there."""
    emptied: list[bool] = []
    memo: Memo[int, int] = Memo(8_000, lambda: emptied.append(True))
    for key, size in entries:
        memo.keep(key, size, size)
        assert memo.bytes <= 8_000
        assert memo.get(key) == size
        assert len(memo) * ENTRY_BYTES <= memo.bytes
    assert bool(emptied) is (sum(size + ENTRY_BYTES for _, size in entries) > 8_000)


def test_all_that_is_kept_is_seen_as_it_is_now() -> None:
    memo: Memo[int, str] = Memo(8_000)
    memo.keep(1, "one", 10)
    seen = memo.items()
    memo.keep(2, "two", 10)
    assert seen == [(1, "one")]
    assert memo.items() == [(1, "one"), (2, "two")]
