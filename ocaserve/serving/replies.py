"""An answerer made of one function: from a request and its body to a status, fields and bytes.

It is for answers that are made in memory, a decision or a small document. The function runs on the
event loop and must not wait. Plain requests for what it answers take a way as short as that of
objects, so such an answer costs about what a small object does. What must wait for others is left
to a second function, a coroutine.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import monotonic
from typing import Any, NamedTuple

from ocaserve.protocol.messages import Fields, Request, RequestRefused, ResponsePlan
from ocaserve.protocol.methods import check_request
from ocaserve.protocol.planning import format_reply_head, plan_reply
from ocaserve.serving.accounts import Particulars
from ocaserve.serving.answerer import Idle, PendingRequest, ShortWay, WantedBody, Way
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count
from ocaserve.serving.wall_clock import Clock

MOST_BODY_BYTES = 1 << 20
_TAKE_BODIES = frozenset({b"POST", b"PUT", b"PATCH"})
_REQUESTS = int(Count.REQUESTS)
_UPLOADED = int(Count.BYTES_UPLOADED)


class Inquiry(NamedTuple):
    """What a client wants. fields: those that the parser knows. address: as the log shows it."""

    method: bytes
    target: bytes
    fields: Fields
    body: bytes
    address: bytes


class Reply(NamedTuple):
    """What it gets. fields: header lines, each with CRLF at its end, all but Date, Connection and
    Content-Length; what stands in them from others must have been checked.
    """

    status: int
    fields: bytes
    body: bytes


Decide = Callable[[Inquiry], Reply | None]
"""None: there is nothing of this target, 404, or it takes time. Raises RequestRefused.

What is not answered with a `Reply` may be asked again at once, by the long way."""


@dataclass(frozen=True, slots=True)
class Unhurried:
    """What answers that take time are made by.

    decide: asked where the other function gave None; None: 404. Raises RequestRefused. It is
    cancelled when nobody waits any more.
    """

    loop: AbstractEventLoop
    decide: Callable[[Inquiry], Coroutine[Any, Any, Reply | None]]


def _usual_body(_: Inquiry) -> int:
    return MOST_BODY_BYTES


class Replies:
    """Answers what `decide` decides. most_body_bytes: that a request may have, by its head, where
    the body has not come with it.

    unhurried: for what `decide` leaves; None: it leaves nothing.
    """

    def __init__(
        self,
        decide: Decide,
        clock: Clock,
        *,
        most_body_bytes: Callable[[Inquiry], int] = _usual_body,
        unhurried: Unhurried | None = None,
    ) -> None:
        self._decide = decide
        self._clock = clock
        self._most_body_bytes = most_body_bytes
        self._unhurried = unhurried

    def start(self, ready: Callable[[], None]) -> None:
        ready()

    def tick_once(self) -> None:
        """It has nothing to keep up with."""

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        if pending.request.method not in _TAKE_BODIES:
            check_request(pending.request)
        return WantedBody(self._most_body_bytes(_inquiry_of(pending)), is_kept=True)

    def answer(self, pending: PendingRequest) -> None:
        inquiry = _inquiry_of(pending)
        reply = self._decide(inquiry)
        if reply is None and self._unhurried is not None:
            self._begin(pending, inquiry, self._unhurried)
        else:
            self._give(pending, reply)

    def _begin(self, pending: PendingRequest, inquiry: Inquiry, unhurried: Unhurried) -> None:
        task = unhurried.loop.create_task(unhurried.decide(inquiry))
        pending.wait(task.cancel, CloseReason.NO_REPLY)
        task.add_done_callback(lambda done: self._end(pending, done))

    def _end(self, pending: PendingRequest, done: Task[Reply | None]) -> None:
        if done.cancelled():
            return
        try:
            self._give(pending, done.result())
        except RequestRefused as refusal:
            pending.refuse(refusal)
        except Exception as defect:  # noqa: BLE001 - of this client alone
            pending.contain(defect)

    def _give(self, pending: PendingRequest, reply: Reply | None) -> None:
        if reply is None:
            raise RequestRefused(404, "no_such_target", close=False)
        pending.reply(
            plan_reply(
                pending.request, self._clock.http_date, reply.status, reply.fields, reply.body
            )
        )

    def short_way(self, way: Way) -> ShortWay | None:  # noqa: C901 - one function
        """For plain requests that came with their bodies. In one function, as that of objects is
        (`express`).
        """
        decide = self._decide
        recall, recall_whole, clock, counts, wheel, stance = (
            way.recall, way.recall_whole, way.clock, way.counts, way.wheel, way.stance,
        )  # fmt: skip
        sent, most_requests, step_bytes = way.batch.sent, way.most_requests, way.step_bytes

        def answer(connection: Idle, data: bytes) -> bool:
            began = monotonic()
            recalled = recall(data)
            if recalled is not None:
                method, body = b"GET", b""
                target, fields, value, _, _ = recalled
            elif (whole := recall_whole(data)) is not None:
                method, target, fields, body = whole
                value = None
                if method not in _TAKE_BODIES and (body or method != b"GET"):
                    return False
            else:
                return False
            if stance.draining or stance.duty.turns_away or connection.requests >= most_requests:
                return False
            try:
                # The same value as the class would make, in a third of the time.
                reply = decide(
                    tuple.__new__(Inquiry, (method, target, fields, body, connection.address))
                )
            except RequestRefused:
                return False
            if reply is None:
                return False
            status, lines, content = reply
            head = format_reply_head(status, clock.http_date, lines, len(content))
            size = len(head) + len(content)
            try:
                taken = connection.outlet.write_whole(head + content) if size <= step_bytes else 0
            except OSError:  # the reply is made: whoever sends the rest will meet it again
                taken = 0
            connection.requests += 1
            counts[_UPLOADED] += len(body)
            if taken != size:
                request = Request(method, target, 1, fields, value)
                plan = ResponsePlan(status, head, (content,), len(content), True)
                connection.take_over(request, plan, None, taken, began)
                return True
            elapsed = monotonic() - began
            if 200 <= status < 300:
                particulars = None
            else:
                counts[_REQUESTS] += 1
                request = Request(method, target, 1, fields, value)
                particulars = Particulars(request, b"", "", 0, 0, None)
            sent.append(
                (
                    connection.address, connection.tally, None, method, target, fields, value,
                    status, len(content), False, elapsed, particulars,
                )
            )  # fmt: skip
            deadline = stance.idle_deadline
            if connection.deadline is not deadline:
                connection.deadline = deadline
                if deadline < connection.watched:
                    wheel.watch(connection)
            return True

        return answer


def _inquiry_of(pending: PendingRequest) -> Inquiry:
    request = pending.request
    return Inquiry(request.method, request.target, request.fields, pending.body, pending.address)
