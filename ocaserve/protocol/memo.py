"""What was found out once and may be asked again, within a bound of bytes.

Whoever asks chooses what is kept, so a number of entries bounds nothing. A memo that is full is
emptied: what is asked often is soon there again, and no order of use has to be kept for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

ENTRY_BYTES = 300  # of an entry beside what it holds: places in tables, headers of objects

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Memo(Generic[_Key, _Value]):
    """Values by key, of `most_bytes` together. `get` is a dictionary's, and as fast.

    also: called when it is emptied, for what was kept beside it.
    """

    def __init__(self, most_bytes: int, also: Callable[[], object] = bool) -> None:
        self._kept: dict[_Key, _Value] = {}
        self._most_bytes = most_bytes
        self._also = also
        self.bytes = 0
        self.get = self._kept.get

    def __len__(self) -> int:
        return len(self._kept)

    def items(self) -> list[tuple[_Key, _Value]]:
        """All that is kept, as it is now."""
        return list(self._kept.items())

    def keep(self, key: _Key, value: _Value, size: int) -> None:
        """Keep it. size: bytes that both of them hold."""
        size += ENTRY_BYTES
        if self.bytes + size > self._most_bytes:
            self.clear()
        self._kept[key] = value
        self.bytes += size

    def clear(self) -> None:
        """Empty it, also where what was found out is so no longer."""
        self._kept.clear()
        self._also()
        self.bytes = 0
