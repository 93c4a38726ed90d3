"""The short way: a plain GET of an open object's bytes in memory, answered in one function.

Nearly every request is one. All that is done here other modules do as well, and a request that is
in any way unusual is left to them: the function then returns False and has done nothing. It stands
in one function, against the habit of this code, because calls between objects, and the memory that
they touch, are what Python costs per request: after each system call the caches of the processor
are cold (measured: of 6 microseconds of user time for 1 KiB, 4 remain).
"""

from __future__ import annotations

from time import monotonic

from ocaserve.protocol.messages import ByteRange, Request, ResponsePlan
from ocaserve.protocol.planning import format_part_head, format_whole_head
from ocaserve.serving.answerer import Idle, ShortWay, Way
from ocaserve.serving.catalogue import ObjectCatalogue
from ocaserve.serving.residency import WINDOW_BYTES
from ocaserve.serving.sending import NotResident, whole_step


def make_short_way(catalogue: ObjectCatalogue, way: Way) -> ShortWay:  # noqa: C901 - one function
    """The short way to the catalogue's objects."""
    recall, find_file = way.recall, catalogue.get
    step_bytes, most_bytes = way.step_bytes, way.most_bytes
    clock, wheel, stance = way.clock, way.wheel, way.stance
    sent, most_requests = way.batch.sent, way.most_requests

    def answer(connection: Idle, data: bytes) -> bool:  # noqa: C901 - one function
        began = monotonic()
        recalled = recall(data)
        if (
            recalled is None
            or stance.draining
            or stance.duty.turns_away
            or connection.requests >= most_requests
        ):
            return False
        target, fields, value, start, stop = recalled
        file = find_file(target)
        if file is None:
            return False
        content, residency = file.content, file.residency
        representation = file.representation
        size = representation.size
        if stop > size or value is None:
            stop = size
        count = step = stop - start
        if count > step_bytes:
            step = whole_step(start, step_bytes, count)
        if count <= 0:
            return False
        if content is None and (
            count > most_bytes
            or residency is None
            or not residency.is_resident(start, start + step, catalogue.tick)
        ):
            return False
        if value is None:
            status, head = 200, format_whole_head(representation, clock.http_date)
        else:
            status, head = 206, format_part_head(representation, clock.http_date, start, stop)
        try:
            if content is None:
                taken = connection.outlet.send_whole(head, file.descriptor, start, step)
            else:
                taken = connection.outlet.write_whole(head + content[start:stop])
        except (OSError, NotResident):
            return False
        connection.requests += 1
        if taken != len(head) + count:
            request = Request(b"GET", target, 1, fields, value)
            plan = ResponsePlan(status, head, (ByteRange(start, stop),), count, True)
            connection.take_over(request, plan, file, taken, began)
            return True
        sent.append(
            (
                connection.address, connection.tally, file, b"GET", target, fields,
                value, status, count, content is None, monotonic() - began, None,
            )
        )  # fmt: skip
        if count >= WINDOW_BYTES and content is None and residency is not None:
            residency.confirm(start, stop, catalogue.tick)
        deadline = stance.idle_deadline
        if connection.deadline is not deadline:
            connection.deadline = deadline
            if deadline < connection.watched:
                wheel.watch(connection)
        return True

    return answer
