"""The answerer of an appliance's objects: which file a request is for, and what is said of it.

An object that is open is answered at once, others when the catalogue has found them. The plan comes
from `protocol.planning`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.methods import check_request
from ocaserve.protocol.planning import ResponsePolicy, plan_options, plan_response
from ocaserve.protocol.target import ObjectTarget
from ocaserve.serving.answerer import PendingRequest, ShortWay, WantedBody, Way
from ocaserve.serving.catalogue import EVERYWHERE
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.containment import contained
from ocaserve.serving.counters import Count
from ocaserve.serving.express import make_short_way
from ocaserve.serving.lookups import Found, LineFullError, StoreAwayError, UnreadableError
from ocaserve.serving.missing import MissingObjects
from ocaserve.serving.object_gate import ObjectGate
from ocaserve.serving.object_stock import ObjectStock
from ocaserve.serving.store import OpenFile, Store
from ocaserve.serving.wall_clock import Clock


class StoredContent:
    """Answers from a stock of objects.

    boundary: of multipart answers; random, so that no content can hold it. counts: the worker's
    slot.
    """

    def __init__(
        self,
        stock: ObjectStock,
        gate: ObjectGate,
        policy: ResponsePolicy,
        clock: Clock,
        missing: MissingObjects,
        boundary: bytes,
        counts: memoryview,
    ) -> None:
        self._stock = stock
        self._catalogue = stock.catalogue
        self._gate = gate
        self._policy = policy
        self._clock = clock
        self._missing = missing
        self._boundary = boundary
        self._counts = counts

    def start(self, ready: Callable[[], None]) -> None:
        self._catalogue.start(ready)

    def tick_once(self) -> None:
        self._stock.tick_once()

    def short_way(self, way: Way) -> ShortWay | None:
        return make_short_way(self._catalogue, way)

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        """None is: whatever the method, `check_request` refuses it with a body."""
        check_request(pending.request)
        return WantedBody(0, is_kept=False)

    def answer(self, pending: PendingRequest) -> None:
        request = pending.request
        if request.method == b"GET":
            file = self._catalogue.get(request.target)
            if file is not None:
                target = ObjectTarget(file.key, b"")
                self._respond(pending, target, file, EVERYWHERE)
                return
        check_request(request)
        if request.method == b"OPTIONS":
            pending.reply(plan_options(request, self._policy, self._clock.http_date))
            return
        target = self._gate.admit(request)
        file = self._catalogue.get_key(target.key, self._lasting(pending, target))
        if file is None:
            self._find(pending, target, EVERYWHERE)
        else:
            self._respond(pending, target, file, EVERYWHERE)

    def _lasting(self, pending: PendingRequest, target: ObjectTarget) -> bytes | None:
        """What the catalogue may know the object by: a target that is good for all, for ever."""
        if self._gate.is_open and target.part is None and not target.query:
            return pending.request.target
        return None

    def _find(
        self, pending: PendingRequest, target: ObjectTarget, avoided: frozenset[Store]
    ) -> None:
        """Have threads find the file. avoided: stores on which it could not be read."""
        self._counts[Count.LOOKUPS] += 1
        search = _Search(pending, partial(self._found, pending, target, avoided))
        forget = self._catalogue.find(
            self._lasting(pending, target), target.key, search.over, pending.address, avoided
        )
        pending.wait(forget, CloseReason.STORE_STALLED)

    def _found(
        self, pending: PendingRequest, target: ObjectTarget, avoided: frozenset[Store], found: Found
    ) -> None:
        if isinstance(found, OpenFile):
            self._respond(pending, target, found, avoided)
        elif found is None:
            plan = self._missing.maybe_plan(pending.request, target)
            if plan is None:
                pending.refuse(RequestRefused(404, "no_such_object", close=False))
            else:
                pending.reply(plan)
        else:
            self._stock.on_error(found)
            pending.refuse(RequestRefused(503, _name_error(found), close=False))

    def _respond(
        self,
        pending: PendingRequest,
        target: ObjectTarget,
        file: OpenFile,
        avoided: frozenset[Store],
    ) -> None:
        clock = self._clock
        plan = plan_response(
            pending.request, file.representation, self._policy,
            clock.http_date, clock.epoch, self._boundary, target.part,
        )  # fmt: skip
        pending.reply(
            plan, file, partial(self._find_elsewhere, pending, target, avoided, file.store)
        )

    def _find_elsewhere(
        self,
        pending: PendingRequest,
        target: ObjectTarget,
        avoided: frozenset[Store],
        failed: Store,
    ) -> None:
        """Another store may have it, where this one's copy cannot be read."""
        self._find(pending, target, avoided | {failed})


class _Search:
    """Hears what a look-up found. A defect that it meets then is its pending's alone."""

    __slots__ = ("_answer", "_pending")

    def __init__(self, pending: PendingRequest, answer: Callable[[Found], None]) -> None:
        self._pending = pending
        self._answer = answer

    @contained
    def over(self, found: Found) -> None:
        self._answer(found)

    def contain(self, defect: Exception, /) -> None:
        self._pending.contain(defect)


def _name_error(error: OSError) -> str:
    """For the log: why an object can't be had now."""
    names = {
        StoreAwayError: "store_failed",
        LineFullError: "lookups",
        UnreadableError: "unreadable",
    }
    return names.get(type(error), "exhausted")
