"""Which connections can be read or written: asked of the kernel for all of them at once.

`EpollReadiness` is an epoll instance of our own, level-triggered. Registering each connection with
the event loop instead costs a handle and a context for every event, and on uvloop two batches of
io_uring for every response that waits for its socket (measured: 8 MiB responses take a tenth more
of the CPU).

There are two ways to have it and an event loop in one thread:

* `ServingLoop` is asyncio's loop, and waits in our epoll instance: what the loop itself watches is
  one descriptor of it. Connections are served while nothing else is due, without a turn of the loop
  for each batch.
* Any other loop watches our instance as a single descriptor. A batch costs a turn of the loop and
  two system calls.

`LoopReadiness` registers with the event loop, for systems without epoll.
"""

from __future__ import annotations

import asyncio
import select
import selectors
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextvars import Context
from math import inf
from time import monotonic
from typing import Protocol, TypeVarTuple

from ocaserve.serving.containment import Containing
from ocaserve.serving.turns import TURN_S

READ = 1  # EPOLLIN
WRITE = 4  # EPOLLOUT

_BATCH = 64  # events handled before the event loop sees to its timers again

_Ts = TypeVarTuple("_Ts")


class Watched(Containing, Protocol):
    """What waits for a descriptor: a connection, or a handshake."""

    def on_ready(self, events: int) -> None:
        """The descriptor is ready for READ, WRITE or both, or something is wrong with it."""


class Readiness(Protocol):
    """Tells each that waits when its descriptor is ready."""

    def change(self, descriptor: int, watched: Watched, before: int, after: int) -> None:
        """Be interested in `after` instead of `before`; 0 is nothing at all.

        A change may bring another that waits for the same descriptor.
        """

    def call_after_batches(self, function: Callable[[], None]) -> None:
        """Call it soon after something was ready."""


def _do_nothing() -> None:
    pass


class EpollReadiness:
    """All connections in one epoll instance (epoll(7))."""

    def __init__(self) -> None:
        assert (select.EPOLLIN, select.EPOLLOUT) == (READ, WRITE)
        self._epoll = select.epoll()
        # By descriptor. A list, because of thousands of connections each entry of a dictionary is
        # in memory that the processor has to wait for.
        self._watched: list[Watched | None] = []
        self._after_batch: Callable[[], None] = _do_nothing

    def fileno(self) -> int:
        """Readable when a connection is ready."""
        return self._epoll.fileno()

    def close(self) -> None:
        """No connection is there any more."""
        self._epoll.close()

    def change(self, descriptor: int, watched: Watched, before: int, after: int) -> None:
        if not before:
            if descriptor >= len(self._watched):
                self._watched += [None] * (descriptor + 1 - len(self._watched))
            self._watched[descriptor] = watched
            self._epoll.register(descriptor, after)
        elif after:
            self._watched[descriptor] = watched
            self._epoll.modify(descriptor, after)
        else:
            self._watched[descriptor] = None
            self._epoll.unregister(descriptor)

    def call_after_batches(self, function: Callable[[], None]) -> None:
        self._after_batch = function

    def serve(self, timeout_s: float = 0) -> bool:
        """Wait for a batch of events and handle it. Whether there was any."""
        all_watched = self._watched
        ready = self._epoll.poll(timeout_s, _BATCH)
        try:
            for descriptor, events in ready:
                watched = all_watched[descriptor]
                if watched is not None:  # otherwise an earlier one of this batch has ended it
                    try:
                        watched.on_ready(events)
                    except Exception as defect:  # noqa: BLE001 - the border between clients
                        watched.contain(defect)
        finally:
            self._after_batch()
        return bool(ready)


class _ServingSelector(selectors.EpollSelector):
    """Waits for connections, and for what the event loop has registered here."""

    def __init__(self) -> None:
        super().__init__()
        self.connections = EpollReadiness()
        self.must_return = False  # the event loop has something to do
        self.report: Callable[[Exception], None] | None = None
        self.connections.change(self.fileno(), self, 0, READ)

    def on_ready(self, _: int) -> None:
        """Something else than a connection is ready."""
        self.must_return = True

    def contain(self, defect: Exception, /) -> None:
        raise defect  # there is nothing in it to fail

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Serve connections until the loop has something to do, or `timeout` (seconds) is over."""
        self.must_return = False
        serve = self.connections.serve
        now = monotonic()
        due = inf if timeout is None else now + timeout
        turn_ends = now + TURN_S
        left = -1.0 if timeout is None else max(0.0, timeout)
        try:
            while serve(left) and not self.must_return:
                now = monotonic()
                if now >= due:
                    break
                if now >= turn_ends:  # connections may be ready without end; ask what else is
                    self.must_return = True
                    break
                if timeout is not None:
                    left = due - now
        except Exception as defect:  # noqa: BLE001 - as the event loop does with its own handlers
            assert self.report is not None
            self.report(defect)
        return super().select(0) if self.must_return else []

    def close(self) -> None:
        self.connections.close()
        super().close()


class ServingLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop around an `EpollReadiness`."""

    def __init__(self) -> None:
        self._serving = _ServingSelector()
        self._serving.report = self._report
        super().__init__(self._serving)

    @property
    def connections(self) -> EpollReadiness:
        """Where connections register."""
        return self._serving.connections

    def _report(self, defect: Exception) -> None:
        report = {"message": "a batch of connections failed", "exception": defect}
        self.call_exception_handler(report)

    def stop(self) -> None:
        self._serving.must_return = True
        super().stop()

    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        self._serving.must_return = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        self._serving.must_return = True
        return super().call_at(when, callback, *args, context=context)


class LoopReadiness:
    """Each connection registered with the event loop; a batch is one event."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._after_batch: Callable[[], None] = _do_nothing

    def call_after_batches(self, function: Callable[[], None]) -> None:
        self._after_batch = function

    def _serve(self, watched: Watched, events: int) -> None:
        try:
            watched.on_ready(events)
        except Exception as defect:  # noqa: BLE001 - the border between clients
            watched.contain(defect)
        finally:
            self._after_batch()

    def change(self, descriptor: int, watched: Watched, before: int, after: int) -> None:
        changed = before ^ after
        if changed & READ:
            if after & READ:
                self._loop.add_reader(descriptor, self._serve, watched, READ)
            else:
                self._loop.remove_reader(descriptor)
        if changed & WRITE:
            if after & WRITE:
                self._loop.add_writer(descriptor, self._serve, watched, WRITE)
            else:
                self._loop.remove_writer(descriptor)


def system_readiness(loop: AbstractEventLoop) -> Readiness:
    """The best way of the running system and loop."""
    if not hasattr(select, "epoll"):
        return LoopReadiness(loop)
    if isinstance(loop, ServingLoop):
        return loop.connections
    readiness = EpollReadiness()
    loop.add_reader(readiness.fileno(), readiness.serve)
    return readiness
