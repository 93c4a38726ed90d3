"""The sending of one response: what is left of heads, then bytes of a file, a bounded step a turn.

A connection has one `Transfer` and begins it anew with each response. `begin` sends the first step
at once, which is all that most responses need. When the socket is full, the writer is registered
once and stays until the response ends. When the bytes are not in memory, a thread sends them, and
the event loop only hears the outcome.

While a thread is inside `sendfile` with this socket, its descriptor must not be closed: the number
could be given to another client at once, and the thread would send one client's bytes to another.
So `abandon` only shuts the socket down then, and the thread's outcome closes it.

At the end the bytes sent are what was promised, or the connection is cut: a file that has shrunk
under the response is `SHORT_BODY`, never padding.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Protocol

from ocaserve.protocol.messages import ByteRange, ResponsePlan
from ocaserve.serving.catalogue import ENOUGH_AHEAD_BYTES, OpenFile
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import HISTOGRAM_PLACES, Count
from ocaserve.serving.histograms import Histogram, observe
from ocaserve.serving.pool import JobError
from ocaserve.serving.readiness import WRITE
from ocaserve.serving.residency import WINDOW_BITS
from ocaserve.serving.sending import BOUNDARY_BYTES, NotResident, Sender, queued_bytes, whole_step
from ocaserve.serving.services import Services

_log = logging.getLogger(__name__)

_AHEAD_BYTES = 2 * 1024 * 1024  # asked of the disk beyond a cold step, for the next one
_COLD_STEP_BYTES = 1024 * 1024  # that a thread sends before the event loop hears of it
_SURE_BYTES = 8 * 1024 * 1024  # of a long range that are asked about together
_SURE_TICKS = 8  # two seconds for which the answer holds: the pages are in use
_NOTHING = -1  # less than any position: not even a step of no bytes ends there

_LARGE_BUFFER_S = 0.05  # a client that takes the large buffer's bytes within this gets one

_LOOKS_PER_STALL = 4  # so that a stall is noticed at most a quarter of stall_s late

_HOT = int(Count.BYTES_SENDFILE_HOT)
_COLD = int(Count.BYTES_SENDFILE_COLD)
_COLD_READS = int(Count.COLD_READS)
_COLD_READ_US = HISTOGRAM_PLACES[Histogram.COLD_READ_US]

_CLIENT_ERRORS = frozenset(
    {
        errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.ENOTCONN, errno.ESHUTDOWN,
        errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN,
    }
)  # fmt: skip
"""Errors of `sendfile` that are the socket's; all others are the file's."""

_EXHAUSTED = frozenset({errno.ENOMEM, errno.ENOBUFS})
"""Errors that are neither's: the machine is out of memory."""

_NO_PLAN = ResponsePlan(499, b"", (), 0, False)
"""While a file is looked for there is no status yet; 499 is what logs of servers show when the
connection ended before there was one."""


class Owner(Protocol):
    """What a transfer tells its connection."""

    def want_write(self, *, wanted: bool) -> None:
        """Call `on_ready` when the socket takes bytes again, or no longer."""

    def on_ready(self, events: int) -> None:
        """The socket is ready, and not just for writing."""

    def response_waits(self) -> None:
        """The response outlives this turn of the event loop: it needs a deadline."""

    def response_over(self, reason: CloseReason | None) -> None:
        """The response has ended: whole (None), or cut for this reason."""

    def response_left(self) -> None:
        """The thread that was busy with an abandoned response is back: all is counted now."""


class Transfer:
    """The response that a connection is sending, if any."""

    hot_place, cold_place = _HOT, _COLD  # where bytes are counted, by how they were sent

    __slots__ = (
        "_abandoned", "_acked", "_cold_from", "_corked", "_file", "_fileno", "_head", "_held",
        "_is_large", "_job", "_mark", "_mark_time", "_next", "_owner", "_position",
        "_progressed", "_services", "_sock", "_start", "_stop", "_sure_stop", "_sure_until",
        "_taken", "_tick", "_uncounted", "_verified_to", "_writing", "first_byte", "from_file",
        "plan", "spans_turns",
    )  # fmt: skip

    def __init__(self, services: Services, sock: socket.socket, owner: Owner) -> None:
        self.plan = _NO_PLAN
        self.from_file = 0  # bytes of this response that came from the file
        self.first_byte = 0.0  # when the socket took the first of it; 0 while it has none
        self.spans_turns = False  # it was not sent whole in one turn of the event loop
        self._services = services
        self._sock = sock
        self._owner = owner
        self._file: OpenFile | None = None
        self._head = b""  # to be sent before the next byte of the file
        self._next = 0  # the segment after the one being sent
        self._start = 0  # of the range being sent
        self._position = 0
        self._stop = 0
        self._taken = 0  # bytes of this response that the socket took, head included
        self._acked = 0  # of them, what the client was last seen to have acknowledged
        self._mark = 0  # _acked and the time when the present window of its rate began
        self._mark_time = 0.0
        self._progressed = 0.0  # when the client last took a byte, or the disk was last asked
        self._cold_from = -1  # where in the file this response first had to wait for the disk
        self._writing = False  # the writer is registered
        self._job = False  # a thread holds the socket
        self._held = False  # the response spans turns of the event loop
        self._abandoned = False
        self._verified_to = _NOTHING  # the stop of the range whose last step a thread allows
        self._fileno = sock.fileno()
        self._sure_stop = _NOTHING  # up to here steps are made without a question,
        self._sure_until = 0  # until this tick
        self._uncounted = 0  # bytes sent by such steps, not yet counted
        self._tick = 0  # when sending came to the present window, in the catalogue's time
        self._corked = False  # the kernel sends whole segments only
        self._is_large = False  # the socket has a large buffer

    @property
    def is_sending(self) -> bool:
        """Whether a response is under way that spans turns of the event loop."""
        return self._held

    @property
    def is_busy(self) -> bool:
        """Whether a thread has the socket, and knows alone what it has sent."""
        return self._job

    @property
    def has_sent(self) -> bool:
        """Whether the client may have got a byte of this response."""
        return self._taken > 0

    def count_sent(self) -> int:
        """Bring all counters up to date; how many bytes of body the socket took so far."""
        self._count_steps()
        return max(0, self._taken - len(self.plan.head))

    def clear(self) -> None:
        """Nothing is planned yet for the request that is being answered."""
        self.plan = _NO_PLAN
        self._taken = self.from_file = 0
        self.first_byte = 0.0
        self.spans_turns = True

    def begin(self, plan: ResponsePlan, file: OpenFile | None) -> None:
        """Send `plan`, whose ranges are of `file`. The owner hears how it ended."""
        self._prepare(plan, file)
        self._load_segment()
        self._step()

    def _prepare(self, plan: ResponsePlan, file: OpenFile | None) -> None:
        self.plan = plan
        self.spans_turns = False
        self._file = file
        self._head = plan.head
        self._taken = self.from_file = self._next = self._position = self._stop = 0
        self.first_byte = 0.0
        self._acked = 0
        self._verified_to = _NOTHING
        self._tick = self._services.catalogue.tick

    def take_over(self, plan: ResponsePlan, file: OpenFile, taken: int) -> None:
        """Go on with a plan of one range, of which the socket took `taken` bytes, head included."""
        self._prepare(plan, file)
        self._load_segment()
        self._sent(taken, plan.length, is_cold=False)
        if self._held:
            self._look_ahead(file)

    def _load_segment(self) -> None:
        """Go on to the next range; bytes that stand before it join the head."""
        segments = self.plan.segments
        self._sure_stop = _NOTHING
        while self._next < len(segments):
            segment = segments[self._next]
            self._next += 1
            if isinstance(segment, ByteRange):
                self._start, self._stop = segment
                self._position = self._start
                return
            self._head += segment

    # -- one step --------------------------------------------------------------------------------

    def _step(self) -> None:
        """Send once, from memory or through a thread."""
        self._count_steps()
        services = self._services
        file, position = self._file, self._position
        count = self._stop - position
        if file is None or not count or file.content is not None:
            self._send_copied(file)
            return
        if file.changed:
            self._end(CloseReason.SHORT_BODY)
            return
        if count > services.step_bytes:
            count = whole_step(position, services.step_bytes, count)
        if self._held and position + count == self._stop and not self._is_verified(file):
            return
        sender = services.sender
        if not self._may_send(file, count):
            self._step_cold(file, count)
            return
        try:
            taken = sender.send(self._sock, self._head, file.descriptor, position, count)
        except BlockingIOError:
            self._wait_until_writable()
        except NotResident:
            self._step_cold(file, count)
        except OSError as error:
            self._break_off(error)
        else:
            self._sent(taken, count, is_cold=False)

    def _is_verified(self, file: OpenFile) -> bool:
        """Before the last step of a range: was the file overwritten since the response began?

        Asked each time that the step is tried, as it may wait for the client in between. False: it
        is not to be made now, because the answer was yes or takes a thread.
        """
        if not file.store.is_local:
            if self._verified_to == self._stop:  # the thread has just said so
                self._verified_to = _NOTHING
                return True
            self._verified_to = self._stop
            self._stop_writing()
            self._job = True
            self._progressed = monotonic()
            file.store.lookups.submit(file.is_overwritten, self._verify_done)
            return False
        if file.is_overwritten():
            self._end(CloseReason.SHORT_BODY)
            return False
        return True

    def _verify_done(self, _: object) -> None:
        """A thread has compared the file; `file.changed` says what it found."""
        self._job = False
        if self._abandoned:
            self._leave()
        else:
            self._step()

    def _may_send(self, file: OpenFile, count: int) -> bool:
        """Whether the next `count` bytes are in memory, or sending them will tell."""
        if self._held and self._look_ahead(file):
            return True
        return self._is_resident(file, self._position + count)

    def _look_ahead(self, file: OpenFile) -> bool:
        """Be sure of more than a step, if all of it is in memory and no head stands before it."""
        tick, stop = self._services.catalogue.tick, min(self._stop, self._position + _SURE_BYTES)
        if self._head or not self._is_resident(file, stop):
            return False
        self._sure_stop, self._sure_until = stop, tick + _SURE_TICKS
        return True

    def _is_resident(self, file: OpenFile, stop: int) -> bool:
        services, residency = self._services, file.residency
        if not services.sender.asks_residency:
            return True
        return residency is not None and residency.is_resident(
            self._position, stop, services.catalogue.tick
        )

    def _sent(self, taken: int, count: int, *, is_cold: bool) -> None:
        """The socket took `taken` bytes of the head and of `count` bytes of the file."""
        self._taken += taken
        if not self.first_byte:
            self.first_byte = monotonic()
        head = self._head
        if head:
            self._head = head[taken:]
            taken -= len(head)
            if taken <= 0:
                self._wait_until_writable()
                return
        elif not taken:
            self._end(CloseReason.SHORT_BODY)
            return
        position = self._position
        self._count_file_bytes(taken, self.cold_place if is_cold else self.hot_place)
        end = self._position
        if not is_cold and (position ^ end) >> WINDOW_BITS:
            self._confirm(position, end)
        if end == self._stop:
            self._go_on(full=False)
            return
        if not is_cold and not self._corked:
            self._set_cork(corked=True)
        if not self._held or not self._writing:  # else the readiness that brought us here stays
            self._go_on(full=taken < count)

    def _count_file_bytes(self, taken: int, place: int) -> None:
        counts = self._services.counts
        counts[place] += taken
        if self._file is not None:
            counts[self._file.store.bytes_place] += taken
        self._position += taken
        self.from_file += taken

    def _set_cork(self, *, corked: bool) -> None:
        """Steps of one response share segments; what is left of the last goes out at its end."""
        self._corked = corked
        with suppress(OSError):  # the client may be gone, which the next send will find out
            self._services.sender.cork(self._sock, corked=corked)

    def _send_copied(self, file: OpenFile | None) -> None:
        """Send what does not come from a descriptor: heads, delimiters, small objects."""
        body = b""
        if file is not None and file.content is not None:
            body = file.content[self._position : self._stop]
        try:
            taken = self._sock.send(self._head + body)
        except BlockingIOError:
            self._wait_until_writable()
            return
        except OSError as error:
            self._break_off(error)
            return
        self._taken += taken
        if not self.first_byte:
            self.first_byte = monotonic()
        of_body = max(0, taken - len(self._head))
        if of_body and file is not None:
            self._services.counts[file.store.bytes_place] += of_body
        self._head = self._head[taken:]
        self._position += of_body
        self._go_on(full=bool(self._head) or of_body < len(body))

    def _go_on(self, *, full: bool) -> None:
        """Something was sent: end, wait for the socket if it is full, or go on in the next turn."""
        if self._position == self._stop and not self._head:
            self._load_segment()
            if self._position == self._stop and not self._head:
                self._end(None)
                return
        self._hold()
        if full:
            self._wait_until_writable()
        elif not self._writing:
            self._services.loop.call_soon(self._continue)

    def _continue(self) -> None:
        """Go on after the other connections had their turn."""
        if self._held and not self._writing and not self._job:
            self._step()

    # -- waiting for the socket ------------------------------------------------------------------

    def _hold(self) -> None:
        """Keep the file over turns of the event loop, and have the client's pace watched."""
        if self._held:
            return
        self._held = self.spans_turns = True
        if self._file is not None:
            self._services.catalogue.hold(self._file)
        self._begin_window()
        self._owner.response_waits()

    def _begin_window(self) -> None:
        """The client's rate is judged from here on."""
        self._mark = self._acked
        self._mark_time = self._progressed = monotonic()

    def _wait_until_writable(self) -> None:
        self._hold()
        if not self._writing:
            self._writing = True
            self._owner.want_write(wanted=True)

    def on_ready(self, events: int) -> None:
        """The socket takes bytes again: make a step.

        Of a long range that is in memory a step is one call, and touches as little memory as it
        can: after a call that has moved a MiB, none of it is in the processor's caches (measured at
        8 MiB: 12 % less CPU time). `_step` makes all others, and meets again what goes wrong here.
        """
        services, file, position = self._services, self._file, self._position
        end = position + services.step_bytes
        end += -end % BOUNDARY_BYTES
        if end > self._stop:
            end = self._stop
        if (
            events != WRITE
            or end > self._sure_stop
            or services.catalogue.tick >= self._sure_until
            or file is None
            or file.changed
        ):
            if events == WRITE:
                self.on_writable()
            else:
                self._owner.on_ready(events)
            return
        if end == self._stop and not self._is_verified(file):
            return
        try:
            taken = services.sender.send_bytes(
                self._fileno, file.descriptor, position, end - position
            )
        except (OSError, NotResident):
            taken = 0
        if not taken:
            self._step()
            return
        self._uncounted += taken
        self._position = position = position + taken
        if position == self._stop:
            self._count_steps()
            self._go_on(full=False)

    def on_writable(self) -> None:
        """The socket takes bytes again, or so it was said."""
        if self._held and not self._job:
            self._step()

    def _count_steps(self) -> None:
        """Count what `on_ready` has sent."""
        sent, self._uncounted = self._uncounted, 0
        if not sent:
            return
        self._taken += sent
        self.from_file += sent
        counts = self._services.counts
        counts[self.hot_place] += sent
        if self._file is not None:
            counts[self._file.store.bytes_place] += sent
        position = self._position - sent
        if (position ^ self._position) >> WINDOW_BITS:
            self._confirm(position, self._position)
        if self._services.large_buffer_bytes and not self._is_large:
            self._enlarge_buffer()

    def _enlarge_buffer(self) -> None:
        """Have the socket of a fast client take more at a time, so that it wakes us less often.

        Measured at 8 MiB: 1.2 instead of 2.7 wake-ups, 9 % less CPU time. All fast clients together
        cannot make the kernel hold more than 50 ms of what the network takes, as the others have
        buffers of the kernel's choice.
        """
        size = self._services.large_buffer_bytes
        least = size * max(0.25, (monotonic() - self.first_byte) / _LARGE_BUFFER_S)
        if self._taken >= least and self._taken - queued_bytes(self._sock) >= least:
            self._is_large = True
            with suppress(OSError):  # the client may be gone, which the next send will find out
                self._services.sender.raise_buffer(self._sock, size)

    def _confirm(self, position: int, end: int) -> None:
        """Sending has come from one window of the file to another: remember that it was resident.

        The time is that when it began, since the pages may have gone again while a slow client was
        taking the others.
        """
        if self._file is not None and self._file.residency is not None:
            start = max(self._start, position >> WINDOW_BITS << WINDOW_BITS)
            self._file.residency.confirm(start, end, self._tick)
        self._tick = self._services.catalogue.tick

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._owner.want_write(wanted=False)

    def judge(self, now: float) -> CloseReason | None:
        """Is the client, or the disk, too slow? Asked at `next_look`.

        What counts is what the client has acknowledged: the socket's buffer may hold more than a
        slow client takes in a minute, and then nothing is sent although all is well.
        """
        limits = self._services.limits
        self._count_steps()
        acked = self._taken - queued_bytes(self._sock)
        if acked > self._acked:
            self._acked = acked
            if not self._job:
                self._progressed = now
        if now - self._progressed >= limits.stall_s:
            return CloseReason.STORE_STALLED if self._job else CloseReason.STALL_TIMEOUT
        elapsed = now - self._mark_time
        if elapsed >= limits.stall_s:
            if self._acked - self._mark < limits.min_bytes_per_s * elapsed and not self._job:
                return CloseReason.SLOW_READ
            self._mark, self._mark_time = self._acked, now
        return None

    @property
    def next_look(self) -> float:
        """When to judge again: a time of the monotonic clock."""
        return monotonic() + self._services.limits.stall_s / _LOOKS_PER_STALL

    # -- waiting for the disk --------------------------------------------------------------------

    def _step_cold(self, file: OpenFile, count: int) -> None:
        """Have a thread wait for the disk and send."""
        if count > _COLD_STEP_BYTES:  # which then is not the last step
            count, self._verified_to = _COLD_STEP_BYTES, _NOTHING
        self._hold()
        if self._corked:  # what was sent shall not wait for the disk
            self._set_cork(corked=False)
        self._begin_job()
        work = partial(
            _read_and_send, self._services.sender, self._sock, self._head, file.descriptor,
            self._position, count, self._ahead(file, count),
        )  # fmt: skip
        file.store.reads.submit(work, partial(self._cold_done, count))

    def _begin_job(self) -> None:
        self._stop_writing()
        self._job = True
        self._progressed = monotonic()
        if self._cold_from < 0:
            self._cold_from = self._position
        self._services.counts[_COLD_READS] += 1

    def _ahead(self, file: OpenFile, count: int) -> int:
        """How many bytes the disk should be asked for when `count` are waited for."""
        left = self._stop - self._position
        if file.store.reads_ahead and left >= ENOUGH_AHEAD_BYTES:
            return 0  # but of a short range the kernel, not advised, would read far beyond the end
        return min(count + _AHEAD_BYTES, left)

    def _cold_done(self, count: int, outcome: object) -> None:
        """The thread is back: `outcome` is the number of bytes the socket took, or an error."""
        self._job = False
        waited_us = int((monotonic() - self._progressed) * 1e6)
        observe(self._services.counts, _COLD_READ_US, waited_us)
        if self._abandoned:
            if isinstance(outcome, int):
                self._taken += outcome
                self._count_file_bytes(max(0, outcome - len(self._head)), self.cold_place)
            self._leave()
        elif isinstance(outcome, int):
            self._begin_window()  # the disk's time is not the client's slowness
            self._sent(outcome, count, is_cold=True)
        elif isinstance(outcome, BlockingIOError):
            self._wait_until_writable()
        elif isinstance(outcome, OSError):
            self._break_off(outcome)

    # -- ending ----------------------------------------------------------------------------------

    def _break_off(self, error: OSError) -> None:
        """Sending failed: for the client's reasons, the machine's or the store's."""
        if error.errno in _CLIENT_ERRORS:
            self._end(CloseReason.CLIENT_GONE)
        elif error.errno in _EXHAUSTED:
            self._end(CloseReason.OVERLOAD)
        elif self._file is None or isinstance(error, JobError):
            _log.error("sending failed", exc_info=error)
            self._end(CloseReason.INTERNAL)
        else:
            self._services.catalogue.fail(self._file.store, error, self._file.key, self._position)
            self._end(CloseReason.IO_ERROR)

    def _end(self, reason: CloseReason | None) -> None:
        """Over: let go of everything, then tell the connection."""
        self._count_steps()
        self._stop_writing()
        if self._corked:
            self._set_cork(corked=False)
        if self._held:
            self._release()
        self._file = None
        self._owner.response_over(reason)

    def _release(self) -> None:
        """A response that spanned turns is over: the file may go, and pages that nobody shares."""
        self._held = False
        file = self._file
        if file is None:
            return
        services = self._services
        catalogue = services.catalogue
        if self._cold_from >= 0:
            catalogue.read_from_disk(file, self._cold_from, self._position, services.cold_pages)
            self._cold_from = -1
        catalogue.release(file)
        self._file = None

    def abandon(self) -> None:
        """The connection is over: close its socket, at once or when the thread is back."""
        self._stop_writing()
        self._abandoned = True
        if self._job:
            with suppress(OSError):  # the client may have gone already
                self._sock.shutdown(socket.SHUT_RDWR)
            return
        if self._held:
            self._release()
        self._sock.close()

    def _leave(self) -> None:
        """The thread that `abandon` left the socket to is back."""
        self._release()
        self._sock.close()
        self._owner.response_left()


def _read_and_send(
    sender: Sender,
    sock: socket.socket,
    head: bytes,
    file: int,
    position: int,
    count: int,
    ahead: int,
) -> int:
    """Runs in a thread, which the disk may keep waiting."""
    read_ahead(file, position, ahead)
    return sender.send_cold(sock, head, file, position, count)


def read_ahead(file: int, position: int, count: int) -> None:
    """Ask the disk for these bytes, if any. It takes a third of a millisecond for each MiB."""
    if count:
        os.posix_fadvise(file, position, count, os.POSIX_FADV_WILLNEED)
