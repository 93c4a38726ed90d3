"""Connections that a balancer forwards: its word on the client comes first (PROXY protocol)."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from math import inf
from time import monotonic

from ocaserve.protocol.proxied import MOST_BYTES, ProxyHeaderError, maybe_parse_proxy_header
from ocaserve.serving.closing import CloseReason, reason_of
from ocaserve.serving.counters import CLOSE_PLACES
from ocaserve.serving.engine import Engine
from ocaserve.serving.readiness import READ

_log = logging.getLogger(__name__)


class Forwarded:
    """One of them, from accept until its header is read; not a byte behind that is taken.

    succeed: gets this and the client's address. fail: gets this when it was closed instead.
    """

    __slots__ = (
        "_engine",
        "_fail",
        "_fileno",
        "_received",
        "_succeed",
        "address",
        "deadline",
        "place",
        "sock",
        "watched",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        sock: socket.socket,
        address: bytes,
        place: int,
        succeed: Callable[[Forwarded, bytes], None],
        fail: Callable[[Forwarded], None],
    ) -> None:
        self.sock = sock
        self.address = address  # the balancer's
        self.place = place  # of the listener
        self.deadline = monotonic() + engine.limits.head_s
        self.watched = inf
        self._engine = engine
        self._succeed = succeed
        self._fail = fail
        self._received = b""
        self._fileno = sock.fileno()
        engine.readiness.change(self._fileno, self, 0, READ)
        engine.wheel.watch(self)

    def on_ready(self, _: int) -> None:
        """The balancer has sent something, or has gone."""
        before = self._received
        try:
            found = self.sock.recv(MOST_BYTES - len(before), socket.MSG_PEEK)
            if not found:
                self.close(CloseReason.CLIENT_GONE if before else CloseReason.CLIENT_CLOSED)
                return
            header = maybe_parse_proxy_header(before + found)
            mine = len(found) if header is None else header.size - len(before)
            self._received += self.sock.recv(mine)  # what lies in the kernel comes at once
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(reason_of(error))
            return
        except ProxyHeaderError as error:
            _log.debug("%s: %s", self.address.decode(), error)
            self.close(CloseReason.PROXY_HEADER)
            return
        if header is not None:
            self._let_go()
            self._succeed(self, header.source or self.address)

    def _let_go(self) -> None:
        self._engine.readiness.change(self._fileno, self, READ, 0)
        self._engine.wheel.forget(self)

    def close(self, reason: CloseReason) -> None:
        """End it now, for this reason."""
        self._engine.counts[CLOSE_PLACES[reason]] += 1
        try:
            self._let_go()
        finally:
            self.sock.close()
            self._fail(self)

    def contain(self, defect: Exception, /) -> None:
        """End with a defect."""
        self._engine.containment.end(self, defect)

    def expire(self, now: float) -> None:
        """The deadline has passed; called by the wheel."""
        self.close(CloseReason.HEAD_TIMEOUT)

    def drain(self, now: float) -> None:
        """The worker stops: a client that was accepted gets its answer, the deadline is near."""
