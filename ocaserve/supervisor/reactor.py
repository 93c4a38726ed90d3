"""What the supervisor waits for: descriptors, signals, times. One thread, no event loop of asyncio.

A process that forks must not have threads or an event loop of its own, because the child would
inherit their locks and descriptors in whatever state they are. poll(2) and a heap are enough.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping

Action = Callable[[], object]  # what it returns is nobody's concern


class Reactor:
    """Calls an action when a descriptor is readable, a signal has come, or a time is reached."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Action] = {}
        self._timers: list[tuple[float, int, Action]] = []
        self._numbers = itertools.count()  # so that actions of one time keep their order
        self._signals: dict[int, Action] = {}
        self._signal_pipe: tuple[int, int] | None = None

    def turn(self) -> None:
        """Wait for something, and do all that is due."""
        timeout_ms = None
        if self._timers:
            timeout_ms = max(0.0, self._timers[0][0] - time.monotonic()) * 1000
        due = [(found, self._readers[found]) for found, _ in self._poll.poll(timeout_ms)]
        for descriptor, action in due:
            # An action before this one may have closed the descriptor, and its number may be
            # another's by now.
            if self._readers.get(descriptor) is action:
                action()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def watch(self, descriptor: int, action: Action) -> None:
        """Call `action` whenever the descriptor is readable or at its end."""
        self._readers[descriptor] = action
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Let go of a descriptor, if it is watched."""
        if self._readers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, action: Action) -> None:
        """Call `action` once."""
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._numbers), action))

    def every(self, seconds: float, action: Action) -> None:
        """Call `action` again and again, the first time after `seconds`."""

        def again() -> None:
            action()
            self.after(seconds, again)

        self.after(seconds, again)

    # -- signals ---------------------------------------------------------------------------------

    def hear(self, actions: Mapping[signal.Signals, Action]) -> None:
        """Call the action of a signal in a turn, where it interrupts nothing.

        Python writes the number of each signal into a pipe, which is watched like any descriptor.
        """
        reading, writing = self._signal_pipe = os.pipe()
        for descriptor in self._signal_pipe:
            os.set_blocking(descriptor, False)
        self._signals = {int(number): action for number, action in actions.items()}
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in actions:
            signal.signal(number, _leave_to_the_pipe)
        self.watch(reading, self._on_signals)

    def _on_signals(self) -> None:
        assert self._signal_pipe is not None
        for number in os.read(self._signal_pipe[0], 512):
            self._signals[number]()

    @property
    def signals(self) -> Iterable[int]:
        """What is heard."""
        return self._signals.keys()

    def abandon(self) -> None:
        """In a forked child: hear the signals no more, as they are its own from here on."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        for descriptor in self._signal_pipe or ():
            os.close(descriptor)


def _leave_to_the_pipe(number: int, frame: object) -> None:
    """A signal without a handler would not be written into the pipe."""
