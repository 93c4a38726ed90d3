"""The sending of one response: a bounded step a turn, until all is sent or it must be cut.

An exchange has one `Transfer` and begins it anew with each response. `begin` makes the first step
at once, which is all that most responses need. When the socket is full, the writer is registered
once and stays until the response ends. When the bytes are not in memory, a thread reads them, and
the event loop only hears the outcome. `sending_phases` is the table of it all,
and `steps` makes the steps.

While a thread is inside `sendfile` with this socket, its descriptor must not be closed: the number
could be given to another client at once, and the thread would send one client's bytes to another.
So `abandon` only shuts the socket down then, and the thread's outcome closes it.

At the end the bytes sent are what was promised, or the connection is cut: a file that has shrunk
under the response is `SHORT_BODY`, never padding.
"""

from __future__ import annotations

import ssl
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Protocol

from ocaserve.protocol.messages import ResponsePlan
from ocaserve.serving.closing import CloseReason, reason_of
from ocaserve.serving.containment import Containment, contained
from ocaserve.serving.counters import HISTOGRAM_PLACES, Count
from ocaserve.serving.errand import Errand
from ocaserve.serving.histograms import Histogram, observe
from ocaserve.serving.object_tally import ObjectTally
from ocaserve.serving.outlet import Outlet
from ocaserve.serving.pace import Pace, Verdict
from ocaserve.serving.pool import JobError
from ocaserve.serving.readiness import WRITE
from ocaserve.serving.sending import FileError
from ocaserve.serving.sending_phases import (
    IN_THREAD,
    SPANNING,
    SendingMove,
    SendingPhase,
    next_phase,
)
from ocaserve.serving.socket_watch import SocketWatch
from ocaserve.serving.source import Source
from ocaserve.serving.steps import Next, Steps
from ocaserve.settings import Limits
from ocaserve.stores.answers import EXHAUSTED

_COLD_READS = int(Count.COLD_READS)
_COLD_READ_US = HISTOGRAM_PLACES[Histogram.COLD_READ_US]

_NO_PLAN = ResponsePlan(499, b"", (), 0, False)
"""While an answer is waited for there is no status yet; 499 is what logs of servers show when the
connection ended before there was one."""

_IDLE, _FIRST_STEP, _SENDING, _FOR_SOCKET, _ABANDONED = (
    SendingPhase.IDLE, SendingPhase.FIRST_STEP, SendingPhase.SENDING, SendingPhase.FOR_SOCKET,
    SendingPhase.ABANDONED,
)  # fmt: skip
_STAY, _STEP = Next.STAY, Next.STEP

_TOO_SLOW = {
    Verdict.STALLED: CloseReason.STALL_TIMEOUT,
    Verdict.SLOW: CloseReason.SLOW_READ,
}
_LEADS_TO = {
    Next.GO_ON: SendingMove.GO_ON,
    Next.FULL: SendingMove.FULL,
    Next.WAIT_IN_OUTLET: SendingMove.FULL,
}


@dataclass(frozen=True, slots=True)
class TransferTerms:
    """What all transfers of a worker share.

    step_bytes: sent in one turn of the event loop. large_buffer_bytes: of sockets of fast clients;
    0: none gets one.
    """

    loop: AbstractEventLoop
    limits: Limits
    counts: memoryview
    demand: ObjectTally
    containment: Containment
    step_bytes: int
    large_buffer_bytes: int


class TransferOwner(Protocol):
    """What a transfer tells its exchange."""

    def contain(self, defect: Exception, /) -> None:
        """The response has met a defect: end the connection. Raises nothing."""

    def response_waits(self) -> None:
        """The response outlives this turn of the event loop: it needs a deadline."""

    def response_over(self, reason: CloseReason | None) -> None:
        """The response has ended: whole (None), or cut for this reason."""

    def response_left(self) -> None:
        """The thread that was busy with an abandoned response is back: all is counted now."""


class Transfer:
    """The response that a connection is sending, if any.

    plan: of the present response, or the last. spans_turns: it was not sent whole in one turn of
    the event loop.
    """

    __slots__ = (
        "_errand", "_outlet", "_owner", "_pace", "_phase", "_steps", "_terms", "_watch", "plan",
        "progress", "spans_turns",
    )  # fmt: skip

    def __init__(
        self, terms: TransferTerms, outlet: Outlet, watch: SocketWatch, owner: TransferOwner
    ) -> None:
        self.plan = _NO_PLAN
        self.spans_turns = False
        self._terms = terms
        self._outlet = outlet
        self._watch = watch
        self._owner = owner
        self._phase = _IDLE
        self._steps = Steps(
            outlet, terms.counts, terms.demand, terms.step_bytes, terms.large_buffer_bytes
        )
        self.progress = self._steps.progress
        self._pace: Pace | None = None  # the client's, once a response has spanned turns
        self._errand = Errand()

    # -- what the exchange asks ------------------------------------------------------------------

    @property
    def is_sending(self) -> bool:
        """Whether a response is under way that spans turns of the event loop."""
        return self._phase in SPANNING

    @property
    def is_busy(self) -> bool:
        """Whether a thread has the socket, and knows alone what it has sent."""
        return self._phase in IN_THREAD

    def waited_for_disk(self, now: float) -> float:
        """Since when, in seconds, a thread has been asked to go on; 0: none is."""
        return now - self._errand.since if self.is_busy else 0.0

    def count_sent(self) -> int:
        """Bring all counters up to date; how many bytes of body the socket took so far."""
        self._steps.note_poured()
        self._steps.count()
        return self.progress.count_body(len(self.plan.head))

    def judge(self, now: float) -> CloseReason | None:
        """Is the client, or the disk, too slow? Inquiry at `next_look`.

        What counts is what the client has acknowledged: the socket's buffer may hold more than a
        slow client takes in a minute, and then nothing is sent although all is well.
        """
        self._steps.note_poured()
        if self.is_busy:
            is_late = now - self._errand.since >= self._terms.limits.stall_s
            return CloseReason.STORE_STALLED if is_late else None
        assert self._pace is not None, "only what spans turns is judged"
        outlet = self._outlet
        taken = self.progress.accepted - outlet.waiting - outlet.end.queued_bytes()
        return _TOO_SLOW.get(self._pace.judge(taken, now))

    def next_look(self, now: float) -> float:
        """When to judge again: a time of the monotonic clock."""
        assert self._pace is not None
        return self._pace.next_look(now)

    # -- beginning -------------------------------------------------------------------------------

    def clear(self) -> None:
        """Nothing is planned yet for the request that is being answered."""
        self.plan = _NO_PLAN
        self.progress.begin()
        self.spans_turns = True

    def begin(self, plan: ResponsePlan, source: Source | None) -> None:
        """Send `plan`, whose ranges are of `source`. The owner hears how it ended."""
        self._phase = next_phase(self._phase, SendingMove.BEGIN)
        self.plan = plan
        self.spans_turns = False
        self._steps.begin(plan, source)
        self._step()

    def take_over(self, plan: ResponsePlan, source: Source | None, taken: int) -> None:
        """Go on with a plan of one range, of which `taken` bytes are sent, head included.

        All that waits in the outlet belongs to it as well.
        """
        self._phase = next_phase(self._phase, SendingMove.BEGIN)
        self.plan = plan
        self.spans_turns = False
        steps = self._steps
        steps.begin(plan, source)
        taken += self._outlet.waiting
        if source is None or source.content is not None:
            self._follow(steps.take_copied(taken))
            return
        self._follow(steps.take(taken, plan.length))
        if self._phase in SPANNING:
            steps.look_ahead(source)

    # -- one step --------------------------------------------------------------------------------

    def _step(self, *, is_verified: bool = False) -> None:
        """Send once, from memory or through a thread."""
        phase = self._phase
        try:
            after = self._steps.make(
                is_first=phase is _FIRST_STEP,
                is_writable=phase is _FOR_SOCKET,
                is_verified=is_verified,
            )
        except OSError as error:
            self._break_off(error)
        else:
            self._follow(after)

    def _follow(self, after: Next) -> None:
        """Do what a step leads to."""
        move = _LEADS_TO.get(after)
        if move is not None:
            self._enter(move)
            if after is Next.WAIT_IN_OUTLET:
                self._outlet.shed()  # what others have no room for, perhaps this: nothing follows
        elif after is Next.DONE:
            self._end(None)
        elif after is Next.CHANGED:
            self._end(CloseReason.SHORT_BODY)
        else:
            source = self._steps.source
            assert source is not None, "only a file is waited for"
            if after is Next.COLD:
                self._step_cold(source)
            else:
                assert after is Next.VERIFY, "all others were met"
                self._enter(SendingMove.VERIFY)
                self._errand.begin(source.store.known, source.is_overwritten, self._verify_done)

    @contained
    def _verify_done(self, _: object) -> None:
        """A thread has compared the file; `source.changed` says what it found."""
        self._enter(SendingMove.BACK)
        if self._phase is _ABANDONED:
            self._leave()
        else:
            self._step(is_verified=True)

    # -- from phase to phase ---------------------------------------------------------------------

    def _enter(self, move: SendingMove) -> None:
        """Make a move, with what belongs to it.

        Over turns of the event loop the file is held, and the client's pace watched. The writer is
        registered while the socket is waited for.
        """
        before = self._phase
        after = self._phase = next_phase(before, move)
        if before is _FIRST_STEP and after in SPANNING:
            self.spans_turns = True
            source = self._steps.source
            if source is not None:
                source.hold()
            now = monotonic()
            if self._pace is None:
                self._pace = Pace(self._terms.limits, now)
            else:
                self._pace.begin(now)
            self._owner.response_waits()
        if (before is _FOR_SOCKET) is not (after is _FOR_SOCKET):
            self._watch.want_write(wanted=after is _FOR_SOCKET)
        if move is SendingMove.GO_ON and after is _SENDING:
            self._terms.loop.call_soon(self.on_turn)

    # -- waiting for the socket ------------------------------------------------------------------

    def on_ready(self, events: int) -> None:
        """The socket takes bytes again, or has other news."""
        if events != WRITE:
            self._watch.reader.on_ready(events)
        elif self._phase is _FOR_SOCKET:
            after = self._steps.pour()
            if after is _STEP:
                self._step()
            elif after is not _STAY:
                self._follow(after)
        else:
            self.on_turn()

    def contain(self, defect: Exception, /) -> None:
        """A step has met a defect."""
        self._owner.contain(defect)

    @contained
    def on_turn(self) -> None:
        """The others had their turn, or the socket takes bytes again, or so it was said."""
        if self._phase is _FOR_SOCKET or self._phase is _SENDING:
            self._step()

    # -- waiting for the disk --------------------------------------------------------------------

    def _step_cold(self, source: Source) -> None:
        """Have a thread wait for the disk."""
        count, ahead = self._steps.begin_cold(source)
        cursor = self._steps.cursor
        self._terms.counts[_COLD_READS] += 1
        work = self._outlet.cold_work(cursor.head, source.descriptor, cursor.position, count, ahead)
        self._enter(SendingMove.COLD)
        self._errand.begin(source.store.reads, work, partial(self._cold_done, count))

    def withdraw(self) -> None:
        """Nobody waits for the response: forget the job that no thread has begun."""
        if self.is_busy and self._errand.cancel():
            self._enter(SendingMove.WITHDRAW)

    @contained
    def _cold_done(self, count: int, outcome: object) -> None:
        """The thread is back: `outcome` is for the outlet, or an error."""
        self._enter(SendingMove.BACK)
        now = monotonic()
        observe(self._terms.counts, _COLD_READ_US, int((now - self._errand.since) * 1e6))
        steps = self._steps
        if self._phase is _ABANDONED:
            if isinstance(outcome, int):  # it has sent them
                steps.take(outcome, count, is_cold=True)
            self._leave()
        elif isinstance(outcome, BlockingIOError):
            self._enter(SendingMove.FULL)
        elif isinstance(outcome, OSError):
            self._break_off(outcome)
        else:
            if self._pace is not None:
                self._pace.resume(now)  # the disk's time is not the client's slowness
            try:
                taken = self._outlet.take_cold(steps.cursor.head, outcome)
            except OSError as error:
                self._break_off(error)
            else:
                self._follow(steps.take(taken, count, is_cold=True))

    # -- ending ----------------------------------------------------------------------------------

    def _break_off(self, error: OSError) -> None:
        """Sending failed: for the client's reasons, the machine's or the store's."""
        source = self._steps.source
        is_of_file = isinstance(error, FileError)
        is_of_tls = isinstance(error, ssl.SSLError)  # its numbers are OpenSSL's
        if is_of_tls or (error.errno in self._outlet.kind.errors and not is_of_file):
            self._end(reason_of(error))
        elif error.errno in EXHAUSTED and not is_of_file:
            self._end(CloseReason.OVERLOAD)
        elif source is None or isinstance(error, JobError):
            self._terms.containment.note(error)
            self._end(CloseReason.INTERNAL)
        else:
            source.fail(error)
            self._end(CloseReason.IO_ERROR)

    def _end(self, reason: CloseReason | None) -> None:
        """Over: let go of everything, then tell the exchange."""
        self._steps.note_poured()
        self._steps.count()
        was_held = self.is_sending
        self._enter(SendingMove.END)
        self._outlet.cork(corked=False)
        self._release(was_held=was_held)
        self._owner.response_over(reason)

    def _release(self, *, was_held: bool) -> None:
        """The response is over: the file may go, and pages that nobody shares."""
        steps, source = self._steps, self._steps.source
        steps.source = None
        if source is None or not was_held:
            return
        if steps.cold_from is not None:
            source.read_from_disk(steps.cold_from, steps.cursor.position)
            steps.cold_from = None
        source.release()

    def abandon(self) -> None:
        """The connection is over: close its socket, at once or when the thread is back."""
        was_held = self.is_sending
        self._enter(SendingMove.LEAVE)
        self.progress.forget(self._outlet.forget())
        if self._phase is not _ABANDONED:
            self._outlet.end.cut()
            return
        try:
            self._release(was_held=was_held)
        finally:
            self._outlet.end.close()

    def _leave(self) -> None:
        """The thread that `abandon` left the socket to is back."""
        try:
            self._release(was_held=True)
        finally:
            self._outlet.end.close()
            self._owner.response_left()
