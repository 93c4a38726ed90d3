"""The answerer of the speed test, before another.

Its content is a file, so that it takes the same way as any object. Its uploads are thrown away as
they come: the client measures its own speed.
"""

from __future__ import annotations

import os
import tempfile
from asyncio import AbstractEventLoop
from collections.abc import Callable

from ocaserve.protocol.messages import Request
from ocaserve.protocol.methods import check_request
from ocaserve.protocol.planning import ResponsePolicy, plan_options, plan_response, plan_upload
from ocaserve.protocol.speedtest import (
    MAX_UPLOAD_BYTES,
    describe_content,
    fold_plan,
    make_stretch,
    takes_upload,
)
from ocaserve.protocol.target import SPEEDTEST_KEY
from ocaserve.serving.answerer import Answerer, PendingRequest, ShortWay, WantedBody, Way
from ocaserve.serving.object_gate import ObjectGate
from ocaserve.serving.residency import Residency, can_tell_residency
from ocaserve.serving.store import Identity, Library, OpenFile, Store
from ocaserve.serving.wall_clock import Clock

_PARTS = b"/speedtest/range/"  # targets that POST may be for begin so
_GETS = (b"GET", b"HEAD")


class SpeedTest:
    """Answers with `content`, see `open_content`; `others` answers everything else."""

    def __init__(
        self,
        content: OpenFile,
        gate: ObjectGate,
        policy: ResponsePolicy,
        clock: Clock,
        boundary: bytes,
        others: Answerer,
    ) -> None:
        self._content = content
        self._gate = gate
        self._policy = policy
        self._clock = clock
        self._boundary = boundary
        self._others = others

    def start(self, ready: Callable[[], None]) -> None:
        self._others.start(ready)

    def tick_once(self) -> None:
        self._others.tick_once()

    def short_way(self, way: Way) -> ShortWay | None:
        """Theirs: the content is in no catalogue."""
        return self._others.short_way(way.of_what_repeats())

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        request = pending.request
        if not request.target.startswith(_PARTS):
            return self._others.want_body(pending)
        self._check(request)
        return WantedBody(MAX_UPLOAD_BYTES, is_kept=False)

    def answer(self, pending: PendingRequest) -> None:
        request = pending.request
        if request.method in _GETS:
            if self._gate.name(request).is_speedtest:
                self._respond(pending)
            else:
                self._others.answer(pending)
        elif not request.target.startswith(_PARTS):
            self._others.answer(pending)
        else:
            self._check(request)
            date = self._clock.http_date
            if request.method == b"OPTIONS":
                plan = plan_options(request, self._policy, date, takes_upload=True)
            else:
                plan = plan_upload(request, self._policy, date)
            pending.reply(plan)

    def _check(self, request: Request) -> None:
        """Raise RequestRefused, unless it is OPTIONS without a body, or an upload."""
        if request.method != b"POST":
            check_request(request, takes_upload=True)
        elif not takes_upload(self._gate.admit(request)):
            check_request(request)

    def _respond(self, pending: PendingRequest) -> None:
        target = self._gate.admit(pending.request)
        clock = self._clock
        plan = plan_response(
            pending.request, self._content.representation, self._policy,
            clock.http_date, clock.epoch, self._boundary, target.part,
        )  # fmt: skip
        pending.reply(fold_plan(plan), self._content)


def open_content(loop: AbstractEventLoop, policy: ResponsePolicy, library: Library) -> OpenFile:
    """The stretch of which the content consists, open; it stays so. Raises OSError.

    Its plans are to be folded (`protocol.speedtest.fold_plan`): it is shorter than what its
    representation says.
    """
    stretch = make_stretch()
    descriptor = _nameless_file(stretch)
    store = Store("speedtest", loop, 1)
    store.library = library
    store.is_local = True  # the file has no name, so no server is asked for it
    residency = Residency(descriptor, len(stretch)) if can_tell_residency() else None
    file = OpenFile(
        store, SPEEDTEST_KEY, descriptor, Identity.of(os.fstat(descriptor)),
        describe_content(policy), residency, None,
    )  # fmt: skip
    file.refs = 1  # the worker's own
    return file


def _nameless_file(content: bytes) -> int:
    """A file in memory where the system has such, else one without a name; its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("ocaserve-speedtest")
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, content)
    return descriptor
