"""Accepting connections, and what happens when there are too many.

Policy. Up to `_BATCH` are accepted in a turn of the event loop, so that a burst cannot keep the
clients that are being served waiting. Over a limit a connection is accepted, told 503 and closed: a
client that hears "no" goes to another appliance, one that hangs in a backlog does not. Out of
descriptors or memory, accepting pauses (the kernel keeps the connections meanwhile), because the
same error would come back at once and the loop would spin. It goes on with the worker's next tick,
not by a timer of its own: there may be no memory for one, and nobody would accept again.
"""

from __future__ import annotations

import errno
import logging
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable, Sequence

from ocaserve.sockets import BACKLOG

_log = logging.getLogger(__name__)

_CALM_TICKS = 8  # two seconds without a pause, and it is over
_BATCH = 64  # about a millisecond
_CAPACITY_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PASSING_ERRORS = frozenset(
    {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.EINTR, errno.ECONNRESET}
)  # of one connection, which is gone (accept(2), "Error handling")


def address_text(peer: object) -> bytes:
    """The peer's address without its port, as counted and logged; "unix" for a local socket."""
    if isinstance(peer, tuple) and peer:
        text = str(peer[0])
        return text.removeprefix("::ffff:").encode()
    return b"unix"


class Acceptor:
    """The listening sockets a worker may accept from, and those it does accept from now.

    `admit` gets each new socket, non-blocking, its address, and the index of its listener.
    `on_error` counts errors.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        listeners: Sequence[socket.socket],
        admit: Callable[[socket.socket, bytes, int], None],
        on_error: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._listeners = listeners
        self._admit = admit
        self._on_error = on_error
        self._wanted: frozenset[int] = frozenset()
        self._active: set[int] = set()
        self._paused = False
        self._is_short = False
        self._calm_ticks = 0  # since accepting last paused
        self._closed = False
        for listener in listeners:
            listener.setblocking(False)

    def accept_from(self, places: Sequence[int]) -> None:
        """Accept from the listeners with these indices, and from no other."""
        self._wanted = frozenset(places)
        self._apply()

    def tick_once(self) -> None:
        """Go on after a pause, and do what could not be done before."""
        was_paused, self._paused = self._paused, False
        self._apply()
        self._calm_ticks = 0 if was_paused else self._calm_ticks + 1
        if self._is_short and self._calm_ticks >= _CALM_TICKS:
            self._is_short = False
            _log.info("accepting goes on")

    def _apply(self) -> None:
        """One after the other, so that what raises leaves the rest to the next tick."""
        wanted = frozenset() if self._paused else self._wanted
        for place in self._active - wanted:
            self._loop.remove_reader(self._listeners[place])
            self._active.discard(place)
        for place in wanted - self._active:
            listener = self._listeners[place]
            self._loop.add_reader(listener, self._on_readable, listener, place)
            self._active.add(place)

    def close(self) -> None:
        """Accept no more, ever: while one process holds a listener, the kernel queues clients.

        Those in its queue are accepted before: the kernel resets them when the last one closes.
        """
        self.accept_from(())
        self._closed = True
        for place, listener in enumerate(self._listeners):
            self._accept(listener, place, BACKLOG)
            listener.close()

    def _on_readable(self, listener: socket.socket, place: int) -> None:
        self._accept(listener, place, _BATCH)

    def _accept(self, listener: socket.socket, place: int, most: int) -> None:
        for _ in range(most):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._on_error()
                if error.errno in _PASSING_ERRORS:
                    continue
                self._pause(error)
                return
            sock.setblocking(False)
            self._admit(sock, address_text(peer), place)

    def _pause(self, error: OSError) -> None:
        if self._paused or self._closed:
            return
        self._paused = True
        self._apply()
        if not self._is_short:
            self._is_short = True
            _log.warning("accepting pauses again and again: %s", error.strerror)
