"""How many lines of the log others can cause: a router that goes mad costs so many a minute."""

from __future__ import annotations

MOST_LINES = 100
_WINDOW_S = 60.0


class NoteLimit:
    """Which notes are logged: `MOST_LINES` of a minute; the others are counted."""

    def __init__(self) -> None:
        self._until = 0.0
        self._admitted = 0
        self._left_out = 0

    def admit(self, notes: tuple[str, ...], now: float) -> list[str]:
        """Those to be logged; first, how many were left out in the minute that is over.

        now: seconds of a clock that does not go back.
        """
        told = []
        if now >= self._until:
            if self._left_out:
                told.append(f"{self._left_out} more notes within a minute, which are not logged")
            self._until, self._admitted, self._left_out = now + _WINDOW_S, 0, 0
        admitted = notes[: MOST_LINES - self._admitted]
        self._admitted += len(admitted)
        self._left_out += len(notes) - len(admitted)
        return [*told, *admitted]
