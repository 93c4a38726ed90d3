"""What went wrong, and what waits because of it: for status and log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Container

from ocaserve.fill.tally import Waiting

_log = logging.getLogger(__name__)

_MOST_REASONS = 20
_LONGEST = 1_000
_LONGEST_REASON = 500


class Setbacks:
    """failures: steps that failed and are tried again. last: the last one, in words."""

    def __init__(self) -> None:
        self.failures = 0
        self.last = ""
        self._postponed: dict[str, tuple[int, str]] = {}

    def fail(self, text: str) -> None:
        """A step has failed."""
        self.failures += 1
        if text != self.last:  # once while it lasts
            _log.warning("fill: %s", text[:_LONGEST])
        self.last = text[:_LONGEST]

    def postpone(self, name: str, size: int, why: str) -> None:
        """An object, by its id, could not be had now."""
        self._postponed[name] = size, why[:_LONGEST_REASON]

    def settle(self, name: str) -> None:
        """It is here."""
        self._postponed.pop(name, None)

    def keep(self, wanted: Container[str]) -> None:
        """Forget those that are not wanted any more, by id."""
        self._postponed = {name: row for name, row in self._postponed.items() if name in wanted}

    def postponed(self) -> list[Waiting]:
        """Objects that could not be had when they were tried last, by reason."""
        found: Counter[str] = Counter()
        sizes: Counter[str] = Counter()
        for size, why in self._postponed.values():
            found[why] += 1
            sizes[why] += size
        return [
            Waiting(why=why, objects=count, bytes=sizes[why])
            for why, count in found.most_common(_MOST_REASONS)
        ]
