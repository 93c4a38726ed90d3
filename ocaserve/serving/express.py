"""The short way: a plain GET of resident bytes of an open object, answered in one function.

Nearly every request is one. All that is done here other modules do as well, and a request that is
in any way unusual is left to them: `answer` then returns False and has done nothing. It stands in
one function, against the habit of this code, because calls between objects, and the memory that
they touch, are what Python costs per request: after each system call the caches of the processor
are cold (measured: of 6 microseconds of user time for 1 KiB, 4 remain).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ocaserve.ledger.tallies import Tally
from ocaserve.protocol.exchange import State
from ocaserve.protocol.messages import ByteRange, Fields, Request, ResponsePlan
from ocaserve.protocol.planning import format_part_head, format_whole_head
from ocaserve.serving.access_log import format_combined, format_plain
from ocaserve.serving.catalogue import OpenFile
from ocaserve.serving.counters import HISTOGRAM_PLACES, Count
from ocaserve.serving.histograms import BUCKETS, Histogram
from ocaserve.serving.residency import WINDOW_BYTES
from ocaserve.serving.sending import NotResident, whole_step

if TYPE_CHECKING:
    from ocaserve.serving.services import Services

_BETWEEN = State.BETWEEN  # an attribute of an enumeration takes twice as long to look up
_REQUESTS = int(Count.REQUESTS)
_SUCCESSES = int(Count.RESPONSES_2XX)
_HOT = int(Count.BYTES_SENDFILE_HOT)
_AT_ONCE = HISTOGRAM_PLACES[Histogram.AT_ONCE_US]
_AT_ONCE_SUM = _AT_ONCE + BUCKETS
_SIZE = HISTOGRAM_PLACES[Histogram.RESPONSE_BYTES]


class Idle(Protocol):
    """A connection that waits for a request, and has nothing of one."""

    address: bytes
    deadline: float
    watched: float
    tally: Tally
    requests: int
    state: State
    sock: socket.socket

    def expire(self, now: float) -> None: ...

    def take_over(
        self, request: Request, plan: ResponsePlan, file: OpenFile, taken: int, began: float
    ) -> None:
        """The socket took so many bytes of the response, and no more now: send the rest."""


Answer = Callable[[Idle, bytes], bool]
Settle = Callable[[], None]


def make_answer(services: Services) -> tuple[Answer, Settle]:  # noqa: C901 - see above: one function
    """`answer` for the connections of a worker, and `settle`.

    `answer(connection, data)`: `data` is what was received. Returns whether it was a plain request,
    which then has been dealt with. `settle()` counts and logs what `answer` has sent since. It does
    so for a batch of events together, while its code is in the caches of the processor.
    """
    recall, find_file, send = services.parser.recall, services.catalogue.get, services.sender.send
    catalogue, clock, counts, wheel = (
        services.catalogue, services.clock, services.counts, services.wheel,
    )  # fmt: skip
    log, format_entry, step_bytes = services.log, services.format_entry, services.step_bytes
    is_combined = format_entry is format_combined
    sent: list[tuple[bytes, Tally, int, bytes, Fields, bytes | None, int, int, float]] = []
    most_requests = services.limits.requests_per_connection - 1  # the last one is no plain one

    def answer(connection: Idle, data: bytes) -> bool:
        began = monotonic()
        recalled = recall(data)
        if (
            recalled is None
            or services.draining
            or services.duty.turns_away
            or connection.requests >= most_requests
        ):
            return False
        target, fields, value, start, stop = recalled
        file = find_file(target)
        if file is None or file.residency is None or file.content is not None:
            return False
        representation = file.representation
        size = representation.size
        if stop > size or value is None:
            stop = size
        count = step = stop - start
        if count > step_bytes:
            step = whole_step(start, step_bytes, count)
        if count <= 0 or not file.residency.is_resident(start, start + step, catalogue.tick):
            return False
        if value is None:
            status, head = 200, format_whole_head(representation, clock.http_date)
        else:
            status, head = 206, format_part_head(representation, clock.http_date, start, stop)
        try:
            taken = send(connection.sock, head, file.descriptor, start, step)
        except (OSError, NotResident):
            return False
        connection.requests += 1
        if taken != len(head) + count:
            counts[_REQUESTS] += 1
            request = Request(b"GET", target, 1, fields, value)
            plan = ResponsePlan(status, head, (ByteRange(start, stop),), count, True)
            connection.take_over(request, plan, file, taken, began)
            return True
        connection.state = _BETWEEN
        sent.append(
            (
                connection.address, connection.tally, file.store.bytes_place, target, fields,
                value, status, count, monotonic() - began,
            )
        )  # fmt: skip
        if count >= WINDOW_BYTES:
            file.residency.confirm(start, stop, catalogue.tick)
        deadline = services.idle_deadline
        if connection.deadline is not deadline:
            connection.deadline = deadline
            if deadline < connection.watched:
                wheel.watch(connection)
        return True

    def settle() -> None:
        if not sent:
            return
        body_bytes = all_micros = 0
        for address, tally, store_place, target, fields, value, status, count, elapsed in sent:
            body_bytes += count
            tally.sent += count
            counts[store_place] += count
            counts[_SIZE + count.bit_length()] += 1
            micros = int(elapsed * 1e6)
            all_micros += micros
            counts[_AT_ONCE + micros.bit_length()] += 1
            if log is None:
                continue
            if is_combined:
                line = format_plain(clock.log_time, address, target, fields, status, count)
            else:
                request = Request(b"GET", target, 1, fields, value)
                line = format_entry(
                    clock.log_time, address, request, b"", status, count, elapsed, ""
                )
            log.write(line)
        counts[_REQUESTS] += len(sent)
        counts[_SUCCESSES] += len(sent)
        counts[_HOT] += body_bytes
        counts[_AT_ONCE_SUM] += all_micros
        sent.clear()

    return answer, settle
