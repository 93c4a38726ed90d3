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
from contextlib import suppress

from ocaserve.supervisor.defects import Defects

_BLIND_S = 0.1
_PENALTY_S = 1.0  # for a descriptor whose action failed: what it did not read is still there

Action = Callable[[], object]  # what it returns is nobody's concern


class Reactor:
    """Calls an action when a descriptor is readable, a signal has come, or a time is reached.

    An action that fails is a defect, and keeps none of the others from being called.
    """

    def __init__(self, defects: Defects | None = None) -> None:
        self._defects = defects or Defects()
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
        for descriptor, action in self._wait(timeout_ms):
            # An action before this one may have closed the descriptor, and its number may be
            # another's by now.
            if self._readers.get(descriptor) is action and not self._defects.contain(action):
                self._rest(descriptor, action)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            self._defects.contain(heapq.heappop(self._timers)[2])

    def _wait(self, timeout_ms: float | None) -> list[tuple[int, Action]]:
        """What may be readable: where the system does not say (ENOMEM, or EINVAL with a limit of
        descriptors below what we have), all of them, after a moment.
        """
        try:
            return [(found, self._readers[found]) for found, _ in self._poll.poll(timeout_ms)]
        except OSError as error:
            self._defects.note(error)
            time.sleep(_BLIND_S)
            return list(self._readers.items())

    def _rest(self, descriptor: int, action: Action) -> None:
        """Look away from it for a while, or it would be readable again in every turn."""
        if self._readers.get(descriptor) is not action:
            return
        self._poll.unregister(descriptor)

        def look_again() -> None:
            if self._readers.get(descriptor) is action:
                self._poll.register(descriptor, select.POLLIN)

        self.after(_PENALTY_S, look_again)

    def contain(self, action: Action) -> bool:
        """Call it now; returns whether it went well. That it did not is a defect."""
        return self._defects.contain(action)

    def watch(self, descriptor: int, action: Action) -> None:
        """Call `action` whenever the descriptor is readable or at its end; now and then for
        nothing, so reading must not wait.
        """
        self._readers[descriptor] = action
        self._poll.register(descriptor, select.POLLIN)

    def unwatch(self, descriptor: int) -> None:
        """Let go of a descriptor, if it is watched."""
        if self._readers.pop(descriptor, None) is not None:
            with suppress(KeyError):  # it rests
                self._poll.unregister(descriptor)

    def after(self, seconds: float, action: Action) -> None:
        """Call `action` once."""
        due = time.monotonic() + seconds
        heapq.heappush(self._timers, (due, next(self._numbers), action))

    def every(self, seconds: float, action: Action) -> None:
        """Call `action` again and again, the first time after `seconds`."""

        def again() -> None:
            self.after(seconds, again)
            action()

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
        signal.pthread_sigmask(signal.SIG_UNBLOCK, actions)  # some may have waited for us

    def _on_signals(self) -> None:
        assert self._signal_pipe is not None
        with suppress(BlockingIOError):
            for number in os.read(self._signal_pipe[0], 512):
                # Python writes those too that a library of ours has a handler for.
                if (action := self._signals.get(number)) is not None:
                    self._defects.contain(action)

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
