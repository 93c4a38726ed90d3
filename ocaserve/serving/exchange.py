"""One request and its answer: from the head to the line in the log.

A connection has one `Exchange` and begins it anew with each request. It takes the body where one is
wanted, has the answerer decide (it is the `PendingRequest` that the answerer sees), has `Transfer`
send the answer, judges how long all of that takes, and accounts for it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from ocaserve.ledger.tallies import Tally
from ocaserve.protocol.connection_states import Event, State
from ocaserve.protocol.messages import Fields, Request, RequestRefused, ResponsePlan
from ocaserve.protocol.methods import body_length
from ocaserve.protocol.planning import plan_refusal
from ocaserve.serving.accounts import Particulars
from ocaserve.serving.answerer import Forget
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count
from ocaserve.serving.engine import Engine
from ocaserve.serving.incoming import IncomingBody
from ocaserve.serving.outlet import Outlet
from ocaserve.serving.socket_watch import SocketWatch
from ocaserve.serving.source import Source
from ocaserve.serving.transfer import Transfer

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LOGGED_LINE_BYTES = 2_048  # of what was received, when no request could be made of it
_REQUESTS = int(Count.REQUESTS)
_NO_FIELDS = Fields()  # the particulars of an entry have those of the request


class Asking(Protocol):
    """The connection, to its exchange. received: what has come and is not used yet."""

    address: bytes
    state: State
    tally: Tally
    is_half_closed: bool
    received: bytes

    def happen(self, event: Event) -> None:
        """Go on to another state."""

    def set_deadline(self, deadline: float) -> None:
        """Have `judge` called then, at a time of the monotonic clock."""

    def want_read(self) -> None:
        """Hear when the client has sent something."""

    def end_with(self, reason: CloseReason) -> None:
        """Why the connection closes behind this answer, if it does."""

    def answered(self, *, keep_alive: bool, now: float) -> None:
        """The answer is sent, and accounted for."""

    def close(self, reason: CloseReason) -> None:
        """End the connection now, for this reason."""

    def contain(self, defect: Exception, /) -> None:
        """End the connection with a defect. Raises nothing."""


class Exchange:
    """What a connection is asked, and what it answers."""

    __slots__ = (
        "_again", "_asking", "_began", "_engine", "_forget", "_incoming", "_note", "_outlet",
        "_received", "_request", "_room", "_tallied", "_wait_reason", "address", "body", "transfer",
    )  # fmt: skip

    def __init__(self, engine: Engine, outlet: Outlet, watch: SocketWatch, asking: Asking) -> None:
        self.address = asking.address
        self.body = b""
        self.transfer = Transfer(engine.terms, outlet, watch, self)
        self._engine = engine
        self._outlet = outlet
        self._asking = asking
        self._request: Request | None = None  # None: none could be made of what was received
        self._received = b""  # then it is this
        self._began = 0.0  # when the head was complete
        self._incoming: IncomingBody | None = None  # while a body comes
        self._room = 0  # that its body has of `Bodies`
        self._forget: Forget | None = None  # while an answer is waited for
        self._wait_reason = CloseReason.INTERNAL  # why, if it does not come
        self._again: Callable[[], None] | None = None  # what answers anew
        self._note = ""  # for the log: why it was refused or cut
        self._tallied = 0  # of the response under way, what is in the tally already

    # -- asking ----------------------------------------------------------------------------------

    @property
    def request(self) -> Request:
        request = self._request
        assert request is not None, "an answerer is asked about requests alone"
        return request

    def begin(self, request: Request) -> None:
        """The head is complete."""
        engine = self._engine
        engine.counts[_REQUESTS] += 1
        self._request = request
        self._began = monotonic()
        self._asking.happen(Event.HEAD_COMPLETE)
        self.transfer.clear()
        try:
            if request.fields.has_body:
                self._await_body(request)
            else:
                engine.answerer.answer(self)
        except RequestRefused as refusal:
            self.refuse(refusal)

    def refuse_received(
        self, received: bytes, refusal: RequestRefused, reason: CloseReason = CloseReason.REFUSED
    ) -> None:
        """No request can be made of what was received, and none will be."""
        self._request = None
        self._received = received[:_LOGGED_LINE_BYTES].partition(b"\r\n")[0]
        self._began = monotonic()
        self._asking.happen(Event.HEAD_COMPLETE)
        self.transfer.clear()
        self.refuse(refusal, reason)

    # -- the body --------------------------------------------------------------------------------

    def _await_body(self, request: Request) -> None:
        """Take it, then ask. Whoever is refused is not read on: see `Answerer.want_body`."""
        engine, asking = self._engine, self._asking
        try:
            wanted = engine.answerer.want_body(self)
            if wanted is None:
                return
            length = body_length(request, wanted.most_bytes)
            if wanted.is_kept:
                engine.bodies.take(length)
                self._room = length
        except RequestRefused as refusal:
            refusal.close = True
            raise
        asking.happen(Event.BODY_STARTED)
        now = monotonic()
        incoming = IncomingBody(length, engine.limits, now, keeps=wanted.is_kept)
        self._incoming = incoming
        asking.set_deadline(incoming.next_look(now))
        received, asking.received = asking.received, b""
        if request.fields.expects_continue and request.minor and not received:
            self._send_continue()
        if asking.state is not State.CLOSED:
            self.take_body(received)

    def _send_continue(self) -> None:
        """The client waits to be told that its body is wanted (RFC 9110 section 10.1.1)."""
        try:
            taken = self._outlet.interim(_CONTINUE)
        except BlockingIOError:  # it will send it after a while, told or not
            return
        except ssl.SSLError:
            self._asking.close(CloseReason.TLS_ERROR)
            return
        except OSError:
            taken = 0
        if taken < len(_CONTINUE):
            self._asking.close(CloseReason.CLIENT_GONE)

    def take_body(self, data: bytes) -> None:
        """The client has sent more of it."""
        incoming, asking = self._incoming, self._asking
        assert incoming is not None, "`takes_body` says so"
        rest = incoming.take(data)
        asking.received = rest  # the next request
        self._engine.counts[Count.BYTES_UPLOADED] += len(data) - len(rest)
        if not incoming.left:
            self._incoming = None
            self.body = incoming.content
            asking.happen(Event.BODY_COMPLETE)
            try:
                self._engine.answerer.answer(self)
            except RequestRefused as refusal:
                self.refuse(refusal)
        elif asking.is_half_closed:
            asking.close(CloseReason.CLIENT_GONE)
        else:
            asking.want_read()

    # -- answering -------------------------------------------------------------------------------

    def reply(
        self,
        plan: ResponsePlan,
        source: Source | None = None,
        again: Callable[[], None] | None = None,
    ) -> None:
        self._forget = None
        self._again = again
        self.transfer.begin(plan, source)

    def refuse(self, refusal: RequestRefused, reason: CloseReason = CloseReason.REFUSED) -> None:
        engine, request = self._engine, self._request
        self._note = refusal.reason
        if refusal.close:
            self._asking.end_with(reason)
        plan = plan_refusal(
            refusal.status, engine.policy, engine.clock.http_date,
            request=request, close=refusal.close,
            head_only=request is None and self._received.startswith(b"HEAD "),
            allow=refusal.allow,
        )  # fmt: skip
        self.reply(plan)

    def wait(self, forget: Forget, reason: CloseReason) -> None:
        limits = self._engine.limits
        self._forget, self._wait_reason = forget, reason
        patience_s = limits.linger_s if self._asking.is_half_closed else limits.stall_s
        self._asking.set_deadline(monotonic() + patience_s)

    def take_over(
        self, request: Request, plan: ResponsePlan, source: Source | None, taken: int, began: float
    ) -> None:
        """The short way has begun to answer; see `Idle`."""
        self._engine.counts[_REQUESTS] += 1
        self._request, self._began = request, began
        self._again = None
        self.transfer.take_over(plan, source, taken)

    def contain(self, defect: Exception, /) -> None:
        self._asking.contain(defect)

    # -- what the transfer tells -----------------------------------------------------------------

    def response_waits(self) -> None:
        self._asking.set_deadline(self.transfer.next_look(monotonic()))

    def response_over(self, reason: CloseReason | None) -> None:
        transfer, request = self.transfer, self._request
        if reason is CloseReason.IO_ERROR and self._again and not transfer.progress.has_sent:
            transfer.clear()
            self._again()
            return
        if reason is not None:
            self._asking.close(reason)
            return
        plan = transfer.plan
        head_only = request is not None and request.method == b"HEAD"
        now = self._account(plan.status, 0 if head_only else plan.length)
        self._asking.answered(keep_alive=plan.keep_alive, now=now)

    def response_left(self) -> None:
        """All is known of the response that was cut; or the worker ends, and cannot wait for it."""
        if self in self._engine.leaving:
            self._engine.leaving.remove(self)
            self._leave(is_cut=True)

    # -- accounting ------------------------------------------------------------------------------

    def _account(self, status: int, sent: int) -> float:
        """Have the response that has ended, whole or not, counted and logged; returns the time."""
        transfer, request, began = self.transfer, self._request, self._began
        progress = transfer.progress
        now = monotonic()
        first_byte_s = (progress.first_byte or now) - began if transfer.spans_turns else None
        batch = self._engine.accounts.batch(self._outlet.kind.place)
        particulars = Particulars(
            request, self._received, self._note, self._tallied, progress.from_file, first_byte_s
        )
        batch.sent.append(
            (
                self.address, self._asking.tally, None, b"", b"", _NO_FIELDS, None,
                status, sent, False, now - began, particulars,
            )
        )  # fmt: skip
        batch.settle()
        self._tallied = 0
        self._note = ""
        self._received = self.body = b""
        self._again = None
        self._give_room_back()
        return now

    def tally_progress(self) -> None:
        """Add to the tally what a response under way has sent; the rest follows at its end."""
        if self._asking.state is State.SENDING:
            transfer = self.transfer
            sent = min(transfer.count_sent(), transfer.plan.length)
            if sent > self._tallied:
                self._asking.tally.sent += sent - self._tallied
                self._tallied = sent

    def _give_room_back(self) -> None:
        if self._room:
            self._engine.bodies.give_back(self._room)
            self._room = 0

    # -- time ------------------------------------------------------------------------------------

    def disconnect(self) -> None:
        """The client sends no more. Most who say so while the answer takes long have gone."""
        if self._forget is not None or self.transfer.is_busy:
            self._asking.set_deadline(monotonic() + self._engine.limits.linger_s)

    def judge(self, now: float) -> None:
        """The deadline has passed: is the exchange worth its place?"""
        if self._incoming is not None:
            self._judge_body(self._incoming, now)
        elif self.transfer.is_sending:
            self._judge_response(now)
        else:
            self._end_wait()

    def _judge_body(self, incoming: IncomingBody, now: float) -> None:
        if incoming.is_fast_enough(now):
            self._asking.set_deadline(incoming.next_look(now))
            return
        self._incoming = None
        self._asking.happen(Event.BODY_COMPLETE)
        self.refuse(RequestRefused(408, "body_timeout"), CloseReason.BODY_TIMEOUT)

    def _judge_response(self, now: float) -> None:
        transfer, asking, limits = self.transfer, self._asking, self._engine.limits
        reason = transfer.judge(now)
        if asking.is_half_closed and transfer.waited_for_disk(now) >= limits.linger_s:
            reason = CloseReason.CLIENT_GONE
        if now - self._began >= limits.response_s:
            reason = CloseReason.RESPONSE_TIMEOUT
        if reason is None:
            asking.set_deadline(transfer.next_look(now))
        else:
            asking.close(reason)

    def _end_wait(self) -> None:
        """No answer has come in time."""
        if self._asking.is_half_closed:
            self._asking.close(CloseReason.CLIENT_GONE)
            return
        if self._forget is not None:
            self._forget()
        self.refuse(RequestRefused(503, self._wait_reason.label), self._wait_reason)

    # -- ending ----------------------------------------------------------------------------------

    def cut(self, reason: CloseReason, *, is_sending: bool) -> None:
        """The connection is closed, perhaps in the middle of an answer."""
        if self._forget is not None:
            self._forget()
            self._forget = None
        if is_sending:
            self.transfer.withdraw()
            self._note = self._note or reason.label
        if is_sending and self.transfer.is_busy:
            self._engine.leaving.add(self)
        else:
            self._leave(is_cut=is_sending)

    def _leave(self, *, is_cut: bool) -> None:
        """Account for the response that was cut, if one was, and add no more to the tally."""
        try:
            if is_cut:
                self._account(self.transfer.plan.status, self.transfer.count_sent())
        finally:
            self._give_room_back()
            self._engine.accounts.tallies.close(self._asking.tally)
