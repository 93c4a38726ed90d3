"""One client, from accept to close: requests come in, answers go out in order.

The connection reaches its non-blocking socket through its `outlet`, which is all that differs with
TLS. Each call of the event loop does one bounded step: one request is begun, or at most
`step_bytes` of a body sent, so that a fast client cannot keep the others waiting. `_take` cuts a
head off what was received, and the `Exchange` does the rest of the request. Requests that arrive
meanwhile wait their turn.

`state` follows the table of `protocol.connection_states`. A request that goes the short way changes
nothing of it: the connection is between two requests before and after.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from math import inf
from time import monotonic

from ocaserve.protocol.connection_states import Event, State, next_state
from ocaserve.protocol.messages import Request, RequestRefused, ResponsePlan
from ocaserve.serving.closing import CloseReason, reason_of
from ocaserve.serving.containment import contained
from ocaserve.serving.counters import CLOSE_PLACES
from ocaserve.serving.engine import Engine
from ocaserve.serving.exchange import Exchange
from ocaserve.serving.lingering import Linger
from ocaserve.serving.outlet import FileOutlet, Outlet, OutletParts, Owner
from ocaserve.serving.readiness import READ, WRITE
from ocaserve.serving.socket_watch import SocketWatch
from ocaserve.serving.source import Source

RECEIVE_BYTES = 4 * 1024  # a few pipelined heads; a head alone is rarely over 1 KiB
RECEIVE_BODY_BYTES = 256 * 1024

_TAKES_NOTHING = frozenset(
    {
        CloseReason.STALL_TIMEOUT, CloseReason.SLOW_READ, CloseReason.RESPONSE_TIMEOUT,
        CloseReason.BACKLOG_LIMIT,
    }
)  # fmt: skip
"""Then what the kernel holds for the client would stay for minutes, and be of no use."""

_BETWEEN, _READING_BODY = State.BETWEEN, State.READING_BODY  # looked up once: see `express`


OpenOutlet = Callable[[OutletParts, socket.socket, Owner], Outlet]


def open_plain(parts: OutletParts, sock: socket.socket, _: Owner) -> Outlet:
    """The outlet of a connection without TLS."""
    return FileOutlet(parts.sender, sock)


def _no_short_way(_: object, __: bytes) -> bool:
    return False


class Connection:
    """A client's connection. `address` is the peer's address as the log shows it."""

    __slots__ = (
        "_answer_shortly", "_engine", "_linger", "_reason", "_watch", "address", "deadline",
        "exchange", "is_half_closed", "outlet", "received", "requests", "state", "tally", "watched",
    )  # fmt: skip

    def __init__(
        self,
        engine: Engine,
        sock: socket.socket,
        address: bytes,
        open_outlet: OpenOutlet = open_plain,
    ) -> None:
        self.address = address
        self.state = State.READING_HEAD
        self.deadline = monotonic() + engine.limits.head_s
        self.watched = inf
        self.requests = 0
        self.is_half_closed = False  # the client will send no more
        self.received = b""  # and not yet used
        self._engine = engine
        self._reason = CloseReason.ASKED  # why the connection is closing, once it is
        self._watch = watch = SocketWatch(engine.readiness, sock.fileno(), self)
        self.outlet = open_outlet(engine.outlets, sock, self)  # from here on it alone has it
        self._answer_shortly = engine.short_ways[self.outlet.kind.place] or _no_short_way
        self._linger = Linger(self.outlet.end, engine.limits)
        self.exchange = Exchange(engine, self.outlet, watch, self)
        watch.writer = self.exchange.transfer
        watch.want_read(wanted=True)  # first of what others must know of: the kernel may refuse
        self.tally = engine.accounts.tallies.open(address)
        engine.wheel.watch(self)

    @contained
    def begin(self) -> None:
        """The handshake is over, and something may have come with it."""
        if self.outlet.begin():
            self._on_readable()

    def happen(self, event: Event) -> None:
        """Go on to the state that the table has for it."""
        self.state = next_state(self.state, event)

    def contain(self, defect: Exception, /) -> None:
        """End with a defect, whoever made the call that met it."""
        self._engine.containment.end(self, defect)

    # -- receiving -------------------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """The kernel has news of the socket. Unasked news is trouble: trying shows which."""
        if events != READ and self._watch.interest & WRITE:
            self.exchange.transfer.on_turn()
            if events == WRITE or not self._watch.interest & READ:
                return
        self._on_readable()

    def _on_readable(self) -> None:
        """The client has sent something, or has gone."""
        outlet = self.outlet
        try:
            data = outlet.receive(
                RECEIVE_BYTES if self.state is not _READING_BODY else RECEIVE_BODY_BYTES
            )
        except (BlockingIOError, InterruptedError):
            return
        except ssl.SSLWantWriteError:
            self._wait_to_receive()
            return
        except OSError as error:
            self.close(reason_of(error))
            return
        if not data:
            self._on_eof()
            return
        if self.state is not _BETWEEN or self.received or not self._answer_shortly(self, data):
            self._on_received(data)
        if outlet.is_ended:
            self._on_eof()

    def _wait_to_receive(self) -> None:
        """TLS has something to send first, and no room: during a response, it may have later."""
        if self.state is State.SENDING:
            self._watch.want_read(wanted=False)
        else:  # the client has asked for something, and takes nothing
            self.close(CloseReason.TLS_ERROR)

    def take_over(
        self, request: Request, plan: ResponsePlan, source: Source | None, taken: int, began: float
    ) -> None:
        """See `Idle`."""
        if self.state is not State.CLOSED:  # what was sent may have cost it its place
            self.happen(Event.HEAD_COMPLETE)
            self.exchange.take_over(request, plan, source, taken, began)

    def _on_received(self, data: bytes) -> None:
        state = self.state
        if state is State.SENDING:  # it waits for its turn; a flood is left in the kernel
            self.received += data
            if len(self.received) >= self._engine.limits.head_bytes:
                self._watch.want_read(wanted=False)
        elif state is State.READING_BODY:
            self.exchange.take_body(data)
        elif state is State.BETWEEN or state is State.READING_HEAD:
            self._take(self.received + data if self.received else data)
        # Otherwise what was sent in between has cost it its place, or it lingers.

    def _on_eof(self) -> None:
        """The client sends no more; it may still be reading (a half-closed connection)."""
        self.is_half_closed = True
        state = self.state
        if state is State.SENDING or (state is State.BETWEEN and self.received):
            self._watch.want_read(wanted=False)  # what was asked is answered first
            self.exchange.disconnect()
        elif state is State.CLOSING:
            self.close(self._reason)
        else:
            unfinished = bool(self.received) or state is State.READING_BODY
            self.close(CloseReason.CLIENT_GONE if unfinished else CloseReason.CLIENT_CLOSED)

    def want_read(self) -> None:
        """Hear when the client has sent something."""
        if not self.is_half_closed:
            self._watch.want_read(wanted=True)

    def _take(self, data: bytes) -> None:
        """Begin the request whose head stands first in `data`, if all of it is there."""
        engine = self._engine
        self.received = data
        try:
            stop = engine.parser.maybe_head_end(data)
            if stop is None:
                self._wait_for_head()
                return
            request = engine.parser.parse(data[:stop])
        except RequestRefused as refusal:
            self.exchange.refuse_received(data, refusal)
            return
        self.received = data[stop:]
        self.requests += 1
        if engine.stance.draining or self.requests >= engine.limits.requests_per_connection:
            request = request._replace(fields=replace(request.fields, close=True))
        self.exchange.begin(request)

    @contained
    def _take_buffered(self) -> None:
        """A pipelined request is here already."""
        if self.state is State.BETWEEN and self.received:
            self._take(self.received)

    def _wait_for_head(self) -> None:
        if self.is_half_closed:
            self.close(CloseReason.CLIENT_GONE)
            return
        self._watch.want_read(wanted=True)
        if self.state is State.BETWEEN:
            self.happen(Event.HEAD_STARTED)
            self.set_deadline(monotonic() + self._engine.limits.head_s)

    # -- between two requests --------------------------------------------------------------------

    def answered(self, *, keep_alive: bool, now: float) -> None:
        """The answer is sent, and accounted for."""
        if not keep_alive:
            self._end()
            return
        engine = self._engine
        self.happen(Event.SENT)
        self.deadline = now + engine.stance.idle_s
        if self.deadline < self.watched:
            engine.wheel.watch(self)
        if self.received:
            engine.rounds.join(self._take_buffered)
        elif self.is_half_closed:
            self.close(CloseReason.CLIENT_CLOSED)
        elif not self._watch.interest & READ:
            self._watch.want_read(wanted=True)

    # -- ending ----------------------------------------------------------------------------------

    def end_with(self, reason: CloseReason) -> None:
        """Why the connection closes behind this answer, if it does."""
        self._reason = reason

    def _end(self) -> None:
        """Close after the last response; linger where the client may be sending still."""
        engine = self._engine
        if self._reason is CloseReason.ASKED:
            if self.requests >= engine.limits.requests_per_connection:
                self._reason = CloseReason.REQUEST_LIMIT
            elif engine.stance.draining:
                self._reason = CloseReason.DRAINED
        may_be_sending = self._reason is not CloseReason.ASKED or bool(self.received)
        self.happen(Event.CLOSE_ASKED)
        if self.is_half_closed or not may_be_sending:
            self.close(self._reason)
            return
        self.received = b""
        self._begin_lingering()

    def _begin_lingering(self) -> None:
        self.outlet.say_goodbye()
        try:
            look = self._linger.begin(monotonic())
        except OSError as error:
            self.close(reason_of(error))
            return
        self.set_deadline(look)
        self.want_read()

    def _end_idle(self) -> None:
        """No request has come for long; but the last response may be on its way to a slow client,
        and a request that comes now must not destroy it.
        """
        is_draining = self._engine.stance.draining
        self._reason = CloseReason.DRAINED if is_draining else CloseReason.IDLE_TIMEOUT
        if self.outlet.end.queued_bytes():
            self.happen(Event.CLOSE_ASKED)
            self._begin_lingering()
        else:
            self.close(self._reason)

    @contained
    def refuse_unread(self, data: bytes, refusal: RequestRefused, reason: CloseReason) -> None:
        """Answer what was received, and is not to be read as a request; then close."""
        self.exchange.refuse_received(data, refusal, reason)

    def close(self, reason: CloseReason) -> None:
        """End the connection now, for this reason."""
        if self.state is not State.CLOSED and not reason.is_error:
            self.outlet.say_goodbye()  # which may already cost it its place
        if self.state is State.CLOSED:
            return
        engine = self._engine
        engine.counts[CLOSE_PLACES[reason]] += 1
        is_sending = self.state is State.SENDING
        if reason in _TAKES_NOTHING:
            self.outlet.end.drop_on_close()
        self.happen(Event.GONE)
        try:
            self._watch.stop()
            engine.wheel.forget(self)
            self.exchange.cut(reason, is_sending=is_sending)
        finally:  # a defect in the accounts keeps neither the socket nor the place
            try:
                self.exchange.transfer.abandon()
            finally:
                engine.on_close(self)

    # -- time ------------------------------------------------------------------------------------

    def set_deadline(self, deadline: float) -> None:
        """Have `expire` called then."""
        self.deadline = deadline
        self._engine.wheel.watch(self)

    def expire(self, now: float) -> None:
        """The deadline has passed; called by the wheel."""
        state = self.state
        if state is State.SENDING or state is State.READING_BODY:
            self.exchange.judge(now)
        elif state is State.CLOSING:
            look = self._linger.go_on(now)
            if look is None:
                self.close(self._reason)
            else:
                self.set_deadline(look)
        elif state is State.BETWEEN:
            self._end_idle()
        elif self.received:
            refusal = RequestRefused(408, "head_timeout")
            self.exchange.refuse_received(self.received, refusal, CloseReason.HEAD_TIMEOUT)
        else:
            self.close(CloseReason.HEAD_TIMEOUT)

    def drain(self, now: float) -> None:
        """The worker stops: go soon if idle; a response under way ends first.

        So does a head, and a first request has its time to begin: who has just connected has not
        been told that the connection may end, and would take that for a failure.
        """
        if self.state is State.BETWEEN:
            self.set_deadline(min(self.deadline, now + self._engine.stance.drain_idle_s))
