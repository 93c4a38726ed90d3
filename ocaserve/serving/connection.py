"""One client, from accept to close: requests come in, responses go out in order.

The connection owns its non-blocking socket. Each call of the event loop does one bounded step: one
request is begun, or at most `step_bytes` of a body sent, so that a fast client cannot keep the
others waiting. `_take` cuts a head off what was received, `_answer` finds the file, the plan comes
from `protocol.planning`, and `Transfer` sends it. Requests that arrive meanwhile wait their turn.

`state` follows the table of `protocol.exchange`. Two transitions of the table are written as plain
assignments, BETWEEN to SENDING and back, because they happen with every request (`_respond`,
`_start`, `_find`, `_finish`).
"""

from __future__ import annotations

import socket
from dataclasses import replace
from functools import partial
from math import inf
from time import monotonic

from ocaserve.protocol.exchange import Event, State, next_state
from ocaserve.protocol.messages import ByteRange, Request, RequestRefused, ResponsePlan
from ocaserve.protocol.planning import (
    check_request,
    is_healthz,
    plan_healthz,
    plan_options,
    plan_refusal,
    plan_response,
    plan_upload,
)
from ocaserve.protocol.speedtest import fold_plan, takes_upload, upload_length
from ocaserve.protocol.target import ObjectTarget
from ocaserve.serving.catalogue import OpenFile
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import CLOSE_PLACES, HISTOGRAM_PLACES, Count
from ocaserve.serving.histograms import Histogram, observe
from ocaserve.serving.readiness import READ, WRITE
from ocaserve.serving.sending import queued_bytes
from ocaserve.serving.services import Duty, Services
from ocaserve.serving.transfer import Transfer
from ocaserve.serving.upload import Upload

RECEIVE_BYTES = 4 * 1024  # a few pipelined heads; a head alone is rarely over 1 KiB
RECEIVE_BODY_BYTES = 256 * 1024
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_UPLOADS = b"/speedtest/range/"  # targets that POST may be for begin so
_LOGGED_LINE_BYTES = 256  # of what was received, when no request could be made of it

_BETWEEN = State.BETWEEN  # looked up once: see `express`
_REQUESTS = int(Count.REQUESTS)
_COPIED = int(Count.BYTES_COPIED)
_RESPONSES = (
    0, 0, int(Count.RESPONSES_2XX), int(Count.RESPONSES_3XX),
    int(Count.RESPONSES_4XX), int(Count.RESPONSES_5XX),
)  # fmt: skip
_AT_ONCE = HISTOGRAM_PLACES[Histogram.AT_ONCE_US]
_HELD = HISTOGRAM_PLACES[Histogram.HELD_US]
_FIRST_BYTE = HISTOGRAM_PLACES[Histogram.FIRST_BYTE_US]
_SIZE = HISTOGRAM_PLACES[Histogram.RESPONSE_BYTES]


class Connection:
    """A client's connection. `address` is the peer's address as the log shows it."""

    __slots__ = (
        "_began", "_buffer", "_eof", "_fileno", "_interest", "_note", "_reason", "_request",
        "_services", "_tallied", "_transfer", "_unacked", "_upload", "address",
        "deadline", "requests", "sock", "state", "tally", "watched",
    )  # fmt: skip

    def __init__(self, services: Services, sock: socket.socket, address: bytes) -> None:
        self.address = address
        self.state = State.READING_HEAD
        self.deadline = monotonic() + services.limits.head_s
        self.watched = inf
        self.tally = services.tallies.open(address)
        self._tallied = 0  # of the response under way, what is in the tally already
        self._services = services
        self.sock = sock
        self._fileno = sock.fileno()
        self._transfer = self._new_transfer()
        self._buffer = b""  # received and not yet used
        self._upload: Upload | None = None  # whose body is being thrown away
        self.requests = 0
        self._request: Request | None = None  # being answered
        self._began = 0.0  # when its head was complete
        self._note = ""  # for the log: why it was refused or cut
        self._reason = CloseReason.ASKED  # why the connection is closing, once it is
        self._eof = False  # the client will send no more
        self._unacked = 0  # bytes on their way to it when its lingering was last looked at
        self._interest = 0  # what `services.readiness` watches for
        self._set_interest(READ)
        services.wheel.watch(self)

    def _new_transfer(self) -> Transfer:
        return Transfer(self._services, self.sock, self)

    # -- readiness -------------------------------------------------------------------------------

    def _set_interest(self, interest: int) -> None:
        if interest != self._interest:
            before, self._interest = self._interest, interest
            watched = self._transfer if interest & WRITE else self
            self._services.readiness.change(self._fileno, watched, before, interest)

    def want_write(self, *, wanted: bool) -> None:
        """The transfer waits for the socket, or no longer does."""
        self._set_interest(self._interest | WRITE if wanted else self._interest & ~WRITE)

    def on_ready(self, events: int) -> None:
        """The kernel has news of the socket. Unasked news is trouble: trying shows which."""
        if self._interest & WRITE and events != READ:
            self._transfer.on_writable()
            if events == WRITE or not self._interest & READ:
                return
        self._on_readable()

    # -- receiving -------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        """The client has sent something, or has gone."""
        try:
            data = self.sock.recv(RECEIVE_BYTES if self._upload is None else RECEIVE_BODY_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.close(CloseReason.CLIENT_GONE)
            return
        if not data:
            self._on_eof()
        elif self.state is not _BETWEEN or self._buffer or not self._services.answer(self, data):
            self._on_received(data)

    def take_over(
        self, request: Request, plan: ResponsePlan, file: OpenFile, taken: int, began: float
    ) -> None:
        self._request, self._began = request, began
        self.state = State.SENDING
        self._transfer.take_over(plan, file, taken)

    def _on_received(self, data: bytes) -> None:
        if self.state is State.SENDING:
            self._keep(data)
        elif self._upload is not None:
            self._take_body(self._upload, data)
        elif self.state is not State.CLOSING:  # lingering: read and thrown away
            self._take(self._buffer + data if self._buffer else data)

    def _on_eof(self) -> None:
        """The client sends no more; it may still be reading (a half-closed connection)."""
        self._eof = True
        if self.state is State.SENDING or (self.state is State.BETWEEN and self._buffer):
            self._pause_reading()  # what was asked is answered first
        elif self.state is State.CLOSING:
            self.close(self._reason)
        else:
            unfinished = bool(self._buffer) or self._upload is not None
            self.close(CloseReason.CLIENT_GONE if unfinished else CloseReason.CLIENT_CLOSED)

    def _keep(self, data: bytes) -> None:
        """Pipelined requests wait for their turn; a flood of them is left in the kernel."""
        self._buffer += data
        if len(self._buffer) >= self._services.limits.head_bytes:
            self._pause_reading()

    def _pause_reading(self) -> None:
        self._set_interest(self._interest & ~READ)

    def _resume_reading(self) -> None:
        if not self._eof:
            self._set_interest(self._interest | READ)

    def _take(self, data: bytes) -> None:
        """Begin the request whose head stands first in `data`, if all of it is there."""
        parser = self._services.parser
        self._buffer = data
        try:
            stop = parser.maybe_head_end(data)
            if stop is None:
                self._wait_for_head()
                return
            request = parser.parse(data[:stop])
        except RequestRefused as refusal:
            self._request = None
            self._began = monotonic()
            self._refuse(refusal)
        else:
            self._buffer = data[stop:]
            self._answer(request)

    def _take_buffered(self) -> None:
        """A pipelined request is here already."""
        if self.state is State.BETWEEN and self._buffer:
            self._take(self._buffer)

    def _wait_for_head(self) -> None:
        if self._eof:
            self.close(CloseReason.CLIENT_GONE)
            return
        self._resume_reading()
        if self.state is State.BETWEEN:
            self.state = next_state(self.state, Event.HEAD_STARTED)
            self._set_deadline(monotonic() + self._services.limits.head_s)

    # -- answering -------------------------------------------------------------------------------

    def _answer(self, request: Request) -> None:
        services = self._services
        services.counts[_REQUESTS] += 1
        self.requests += 1
        self._began = monotonic()
        if services.draining or self.requests >= services.limits.requests_per_connection:
            request = request._replace(fields=replace(request.fields, close=True))
        self._request = request
        if services.duty.turns_away and not is_healthz(request):
            self._refuse(RequestRefused(503, "drained"), CloseReason.DRAINED)
            return
        if request.method == b"GET" and not request.fields.has_body:
            file = services.catalogue.get(request.target)
            if file is not None:
                self._respond(request, file)
                return
        may_upload = services.speedtest is not None and request.target.startswith(_UPLOADS)
        try:
            if may_upload and request.method == b"POST":
                self._begin_upload(request)
                return
            check_request(request)
            if is_healthz(request):
                self._tell_health(request)
            elif request.method == b"OPTIONS":
                date = services.clock.http_date
                plan = plan_options(request, services.policy, date, takes_upload=may_upload)
                self._start(plan, None)
            else:
                self._look_up(request)
        except RequestRefused as refusal:
            self._refuse(refusal)

    def _tell_health(self, request: Request) -> None:
        """From memory: a load balancer asks often, also when the disks do not answer."""
        services = self._services
        duty = Duty(b"stopping", is_fit=False) if services.draining else services.duty
        plan = plan_healthz(
            request, services.policy, services.clock.http_date, duty.word, is_fit=duty.is_fit
        )
        self._start(plan, None)

    def _admit(self, request: Request) -> ObjectTarget:
        """What the request is for, if its client may have it. Raises RequestRefused."""
        services = self._services
        return services.admission.admit(request.target, request.fields.host, services.clock.epoch)

    def _look_up(self, request: Request) -> None:
        """The object may be open; otherwise have threads find the file."""
        services = self._services
        target = self._admit(request)
        if target.is_speedtest:
            self._respond_made_up(request, target.part)
            return
        file = services.catalogue.get_key(target.key, self._lasting(request, target))
        if file is None:
            self._find(request, target)
        else:
            self._respond(request, file, target.part)

    def _lasting(self, request: Request, target: ObjectTarget) -> bytes | None:
        """What the catalogue may know the object by: a target that is good for all, for ever."""
        if self._services.admission.signing is None and target.part is None and not target.query:
            return request.target
        return None

    def _find(self, request: Request, target: ObjectTarget) -> None:
        services = self._services
        self.state = State.SENDING
        self._transfer.clear()
        self._set_deadline(monotonic() + services.limits.stall_s)
        services.counts[Count.LOOKUPS] += 1
        lasting = self._lasting(request, target)
        services.catalogue.find(lasting, target.key, partial(self._found, target.part))

    def _found(self, part: ByteRange | None, file: OpenFile | OSError | None) -> None:
        request = self._request
        if self.state is State.CLOSED or request is None:
            return
        if isinstance(file, OpenFile):
            self._respond(request, file, part)
        elif file is None:
            self._services.counts[Count.LOOKUP_MISSES] += 1
            self._refuse(RequestRefused(404, "no_such_object", close=False))
        else:
            self._services.on_store_error(file)
            self._refuse(RequestRefused(503, "exhausted", close=False))

    def _respond(self, request: Request, file: OpenFile, part: ByteRange | None = None) -> None:
        services = self._services
        clock = services.clock
        plan = plan_response(
            request, file.representation, services.policy,
            clock.http_date, clock.epoch, services.boundary, part,
        )  # fmt: skip
        self._start(plan, file)

    def _respond_made_up(self, request: Request, part: ByteRange | None) -> None:
        """The content of the speed test."""
        services = self._services
        clock = services.clock
        file = services.speedtest
        assert file is not None
        plan = plan_response(
            request, file.representation, services.policy,
            clock.http_date, clock.epoch, services.boundary, part,
        )  # fmt: skip
        self._start(fold_plan(plan), file)

    def _refuse(self, refusal: RequestRefused, reason: CloseReason = CloseReason.REFUSED) -> None:
        """Answer without a representation; `reason` is why the connection closes, if it must."""
        services = self._services
        self._note = refusal.reason
        if refusal.status == 403:
            services.counts[Count.SIGNATURES_REFUSED] += 1
        if refusal.close:
            self._reason = reason
        plan = plan_refusal(
            refusal.status, services.policy, services.clock.http_date,
            request=self._request, close=refusal.close,
            head_only=self._request is None and self._buffer.startswith(b"HEAD "),
        )  # fmt: skip
        self._start(plan, None)

    def _start(self, plan: ResponsePlan, file: OpenFile | None) -> None:
        self.state = State.SENDING
        self._transfer.begin(plan, file)

    # -- uploads of the speed test ---------------------------------------------------------------

    def _begin_upload(self, request: Request) -> None:
        """Throw the body away, then answer. Raises RequestRefused, always with `close` for a body.

        Whoever is refused is not read on, so that nothing in the body is taken for a request.
        """
        services = self._services
        try:
            if not takes_upload(self._admit(request)):
                check_request(request)
            length = upload_length(request)
        except RequestRefused as refusal:
            refusal.close = refusal.close or request.fields.has_body
            raise
        self.state = next_state(self.state, Event.BODY_STARTED)
        self._upload = upload = Upload(length, services.limits, monotonic())
        received, self._buffer = self._buffer, b""
        if request.fields.expects_continue and request.minor and length and not received:
            self._send_continue()
        if self._upload is not None:
            self._take_body(upload, received)

    def _send_continue(self) -> None:
        """The client waits to be told that its body is wanted (RFC 9110 section 10.1.1)."""
        try:
            taken = self._send_interim(_CONTINUE)
        except BlockingIOError:  # it will send it after a while, told or not
            return
        except OSError:
            taken = 0
        if taken < len(_CONTINUE):
            self.close(CloseReason.CLIENT_GONE)

    def _send_interim(self, head: bytes) -> int:
        """Send before there is a response; how much of it went out. Raises OSError."""
        return self.sock.send(head)

    def _take_body(self, upload: Upload, data: bytes) -> None:
        services = self._services
        self._buffer = upload.take(data)
        services.counts[Count.BYTES_UPLOADED] += len(data) - len(self._buffer)
        if not upload.left:
            self._end_upload()
        elif self._eof:
            self.close(CloseReason.CLIENT_GONE)
        else:
            self._resume_reading()
            self._set_deadline(upload.deadline(monotonic()))

    def _end_upload(self) -> None:
        services = self._services
        request = self._request
        assert request is not None
        self._upload = None
        self.state = next_state(self.state, Event.BODY_COMPLETE)
        self._start(plan_upload(request, services.policy, services.clock.http_date), None)

    # -- between two requests --------------------------------------------------------------------

    def response_waits(self) -> None:
        self._set_deadline(self._transfer.next_look)

    def response_over(self, reason: CloseReason | None) -> None:
        plan, request = self._transfer.plan, self._request
        if reason is CloseReason.IO_ERROR and request is not None and not self._transfer.has_sent:
            target = self._services.admission.name(request.target)
            if not target.is_speedtest:
                self._find(request, target)  # another store may have it
                return
        if reason is not None:
            self.close(reason)
            return
        head_only = request is not None and request.method == b"HEAD"
        self._finish(plan, 0 if head_only else plan.length)

    def _finish(self, plan: ResponsePlan, sent: int) -> None:
        """The response is whole; `sent` bytes of body went out."""
        now = self._account(plan.status, sent)
        if not plan.keep_alive:
            self._end()
            return
        services = self._services
        self.state = State.BETWEEN
        idle_s = services.drain_idle_s if services.draining else services.limits.idle_s
        self.deadline = now + idle_s
        if self.deadline < self.watched:
            services.wheel.watch(self)
        if self._buffer:
            services.loop.call_soon(self._take_buffered)
        elif self._eof:
            self.close(CloseReason.CLIENT_CLOSED)
        elif not self._interest & READ:
            self._resume_reading()

    def _account(self, status: int, sent: int) -> float:
        """Count and log the response that has ended, whole or not; returns the time."""
        services = self._services
        counts = services.counts
        transfer = self._transfer
        counts[_RESPONSES[status // 100]] += 1
        self.tally.sent += sent - self._tallied
        self._tallied = 0
        from_file = transfer.from_file
        if sent > from_file:
            counts[_COPIED] += sent - from_file
        now = monotonic()
        micros = int((now - self._began) * 1e6)
        if transfer.spans_turns:
            observe(counts, _HELD, micros)
            first = transfer.first_byte or now
            observe(counts, _FIRST_BYTE, max(0, int((first - self._began) * 1e6)))
        else:
            observe(counts, _AT_ONCE, micros)
        counts[_SIZE + sent.bit_length()] += 1  # their sum is that of the bytes by path
        log = services.log
        if log is not None:
            request = self._request
            line = b""
            if request is None:
                line = self._buffer[:_LOGGED_LINE_BYTES].partition(b"\r\n")[0]
            log.write(
                services.format_entry(
                    services.clock.log_time, self.address, request, line,
                    status, sent, now - self._began, self._note,
                )
            )  # fmt: skip
        self._note = ""
        return now

    def tally_progress(self) -> None:
        """Add to the tally what a response under way has sent; the rest follows at its end."""
        if self.state is State.SENDING:
            transfer = self._transfer
            sent = min(transfer.count_sent(), transfer.plan.length)
            if sent > self._tallied:
                self.tally.sent += sent - self._tallied
                self._tallied = sent

    # -- ending ----------------------------------------------------------------------------------

    def _end(self) -> None:
        """Close after the last response.

        Closing a socket with unread bytes resets the connection, and the reset can destroy the
        response on its way (RFC 9112 section 9.6). So where the client may be sending still, only
        our side is closed, and what arrives is read and thrown away until the client has closed.
        """
        services = self._services
        if self._reason is CloseReason.ASKED:
            if self.requests >= services.limits.requests_per_connection:
                self._reason = CloseReason.REQUEST_LIMIT
            elif services.draining:
                self._reason = CloseReason.DRAINED
        may_be_sending = self._reason is not CloseReason.ASKED or bool(self._buffer)
        self.state = next_state(self.state, Event.CLOSE_ASKED)
        if self._eof or not may_be_sending:
            self.close(self._reason)
            return
        self._buffer = b""
        self._linger()

    def _linger(self) -> None:
        try:
            self._shut_down()
        except OSError:
            self.close(CloseReason.CLIENT_GONE)
            return
        self._unacked = queued_bytes(self.sock)
        self._set_deadline(monotonic() + self._services.limits.linger_s)
        self._resume_reading()

    def _linger_on(self, now: float) -> None:
        """For as long as the client goes on taking what it was sent; then close."""
        limits = self._services.limits
        before, self._unacked = self._unacked, queued_bytes(self.sock)
        if before - self._unacked > limits.min_bytes_per_s * limits.linger_s:
            self._set_deadline(now + limits.linger_s)
        else:
            self.close(self._reason)

    def _end_idle(self) -> None:
        """No request has come for long; but the last response may be on its way to a slow client,
        and a request that comes now must not destroy it.
        """
        self._reason = CloseReason.DRAINED if self._services.draining else CloseReason.IDLE_TIMEOUT
        if queued_bytes(self.sock):
            self.state = next_state(self.state, Event.CLOSE_ASKED)
            self._linger()
        else:
            self.close(self._reason)

    def _shut_down(self) -> None:
        """Close our side. Raises OSError."""
        self.sock.shutdown(socket.SHUT_WR)

    def refuse_unread(self, data: bytes, refusal: RequestRefused, reason: CloseReason) -> None:
        """Answer what was received, and is not to be read as a request; then close."""
        self._buffer = data
        self._began = monotonic()
        self._refuse(refusal, reason)

    def close(self, reason: CloseReason) -> None:
        """End the connection now, for this reason."""
        if self.state is State.CLOSED:
            return
        services = self._services
        services.counts[CLOSE_PLACES[reason]] += 1
        is_sending = self.state is State.SENDING
        self.state = State.CLOSED
        self._set_interest(0)
        services.wheel.forget(self)
        if is_sending:
            self._note = self._note or reason.label
        if is_sending and self._transfer.is_busy:
            services.leaving.add(self)
        else:
            self._leave(is_sending=is_sending)
        self._transfer.abandon()
        services.on_close(self)

    def response_left(self) -> None:
        """All is known of the response that was cut; or the worker ends, and cannot wait for it."""
        if self in self._services.leaving:
            self._services.leaving.remove(self)
            self._leave(is_sending=True)

    def _leave(self, *, is_sending: bool) -> None:
        """Account for the response that was cut, if one was, and add no more to the tally."""
        if is_sending:
            self._account(self._transfer.plan.status, self._transfer.count_sent())
        self._services.tallies.close(self.tally)

    # -- time ------------------------------------------------------------------------------------

    def _set_deadline(self, deadline: float) -> None:
        self.deadline = deadline
        self._services.wheel.watch(self)

    def expire(self, now: float) -> None:
        """The deadline has passed; called by the wheel."""
        state = self.state
        if state is State.SENDING:
            self._judge(now)
        elif state is State.CLOSING:
            self._linger_on(now)
        elif state is State.READING_BODY:
            self._upload = None
            self._refuse(RequestRefused(408, "body_timeout"), CloseReason.BODY_TIMEOUT)
        elif state is State.BETWEEN:
            self._end_idle()
        elif state is State.READING_HEAD and self._buffer:
            self._request = None
            self._began = now
            self._refuse(RequestRefused(408, "head_timeout"), CloseReason.HEAD_TIMEOUT)
        else:
            self.close(CloseReason.HEAD_TIMEOUT)

    def _judge(self, now: float) -> None:
        """Is the response worth its place?"""
        transfer = self._transfer
        if not transfer.is_sending:
            self.close(CloseReason.STORE_STALLED)
            return
        reason = transfer.judge(now)
        if now - self._began >= self._services.limits.response_s:
            reason = CloseReason.RESPONSE_TIMEOUT
        if reason is None:
            self._set_deadline(transfer.next_look)
        else:
            self.close(reason)

    def drain(self, now: float) -> None:
        """The worker stops: go soon if idle; a response under way ends first.

        So does a head, and a first request has its time to begin: who has just connected has not
        been told that the connection may end, and would take that for a failure.
        """
        if self.state is State.BETWEEN:
            self._set_deadline(min(self.deadline, now + self._services.drain_idle_s))
