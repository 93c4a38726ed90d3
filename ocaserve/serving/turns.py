"""Shares of a turn of the event loop: long steps, one in each, and short ones, so many as fit."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from ocaserve.serving.containment import Containing

TURN_S = 0.002
"""Of those who always have something to do, before all others have their share of the loop."""


class Stepping(Containing, Protocol):
    """What makes long steps."""

    def step(self) -> None:
        """Make one."""

    def pause(self) -> None:
        """Ask for no turn until the next step."""


class Turns:
    """Of those that make long steps.

    Who comes first in a turn makes its step at once, without a detour over the event loop. All
    others wait, and are told of nothing meanwhile; then they go first, one a turn, in the order
    they came.
    """

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
            stepping = self._waiting.popleft()
            try:
                stepping.step()
            except Exception as defect:  # noqa: BLE001 - the border between clients
                stepping.contain(defect)
        else:
            self._is_free = True


class Rounds:
    """Of connections that could go on at once, with the next of pipelined requests.

    Each makes a step of its own, and stands at the end again if it wants another. However many
    they are, they have TURN_S of a turn: those that were just accepted, or that have asked
    something, need not wait until all of them had one. A step contains what it raises.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_due = False

    def join(self, step: Callable[[], None]) -> None:
        """Have it called, soon."""
        self._waiting.append(step)
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._go)

    def _go(self) -> None:
        """Let those that wait now make a step each, for as long as the turn is theirs."""
        waiting = self._waiting
        ends = monotonic() + TURN_S
        try:
            for _ in range(len(waiting)):
                waiting.popleft()()
                if monotonic() >= ends:
                    break
        finally:
            self._is_due = bool(waiting)
            if waiting:
                self._loop.call_soon(self._go)
