"""Long steps, one in a turn of the event loop.

Who comes first in a turn makes its step at once, without a detour over the event loop. All others
wait, and are told of nothing meanwhile; then they go first, one a turn, in the order they came.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from typing import Protocol


class Stepping(Protocol):
    """What makes long steps."""

    def step(self) -> None:
        """Make one."""

    def pause(self) -> None:
        """Ask for no turn until the next step."""


class Turns:
    """The turns of one event loop."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._is_free = True  # nobody has made a step in this turn
        self._waiting: deque[Stepping] = deque()

    def take(self, stepping: Stepping) -> None:
        """Have it make a step, now or later."""
        if self._is_free:
            self._is_free = False
            self._loop.call_soon(self._begin)
            stepping.step()
        else:
            stepping.pause()
            self._waiting.append(stepping)

    def _begin(self) -> None:
        if self._waiting:
            self._loop.call_soon(self._begin)
            self._waiting.popleft().step()
        else:
            self._is_free = True
