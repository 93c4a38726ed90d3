"""Whether the wall clock may be believed: not just after it was set. Pure.

A clock that is wrong for a moment, a day ahead, would have a day of periods closed before they have
begun, and what is sent in them would count in one record. So time that does not pass as the steady
clock's does is waited for; bytes go on being counted meanwhile.
"""

from __future__ import annotations

_SET_S = 60.0  # that it differs by more than what corrections of a running clock add up to
_TRUSTED_S = 600.0  # after it was set: who sets it wrong sees that by then


class WallWatch:
    """Is shown both clocks again and again. What it is shown first it believes."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._set_at = float("-inf")

    def believes(self, wall: float, steady: float) -> bool:
        """Both in seconds."""
        offset = wall - steady
        if self._offset is None:
            self._offset = offset
        elif abs(offset - self._offset) > _SET_S:
            self._offset, self._set_at = offset, steady
        return steady - self._set_at >= _TRUSTED_S
