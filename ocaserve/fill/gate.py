"""Whether anything is to be fetched now: by the window, and as far as serving leaves room."""

from __future__ import annotations

import time
from collections.abc import Callable

from ocaserve.daily_window import DailyWindow

_HELD_S = 10.0  # who asks for a pause says so again before


class Gate:
    """window: None if it is always open. held_why: the reason of the last pause."""

    def __init__(
        self, window: DailyWindow | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.window = window
        self.held_why = ""
        self._clock = clock
        self._held_until = 0.0

    def hold(self, why: str) -> None:
        """Fetch nothing new for a moment: serving comes first. An empty reason ends it."""
        self.held_why = why
        self._held_until = self._clock() + _HELD_S if why else 0.0

    @property
    def is_held(self) -> bool:
        return self._clock() < self._held_until

    @property
    def is_open(self) -> bool:
        """Whether the window is."""
        return self.window is None or self.window.is_open(time.time())

    def why_not(self) -> str:
        """Why nothing is to be fetched now; empty if it may be."""
        if not self.is_open:
            return "outside of the window"
        return self.held_why if self.is_held else ""
