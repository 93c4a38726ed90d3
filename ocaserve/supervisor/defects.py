"""Defects of our own code, and refusals that nobody foresaw: contained, named, counted.

The supervisor goes on whatever one of its actions meets: what it looks after is worth more than the
one step that failed, and the plan is asked again a second later.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from types import TracebackType

_log = logging.getLogger(__name__)

_Place = tuple[str, str, int]


class Defects:
    """Each place in the code that fails is told once with its traceback, then at each tenfold."""

    def __init__(self) -> None:
        self.count = 0
        self._places: Counter[_Place] = Counter()

    def contain(self, action: Callable[[], object]) -> bool:
        """Call it; returns whether it went well."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the border behind which the others go on
            self.note(error)
            return False
        return True

    def note(self, error: Exception) -> None:
        """One that was caught."""
        self.count += 1
        place = _place_of(error)
        self._places[place] += 1
        times = self._places[place]
        if times == 1:
            _log.error("a step of the supervisor failed, it goes on: %r", error, exc_info=error)
        elif str(times).strip("0") == "1":
            _log.error("a step of the supervisor failed %d times: %r", times, error)


def _place_of(error: Exception) -> _Place:
    innermost: TracebackType | None = error.__traceback__
    while innermost is not None and innermost.tb_next is not None:
        innermost = innermost.tb_next
    if innermost is None:
        return type(error).__name__, "", 0
    return type(error).__name__, innermost.tb_frame.f_code.co_filename, innermost.tb_lineno
