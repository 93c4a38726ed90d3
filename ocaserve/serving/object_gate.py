"""Which object a request is for, if its client may have it; who may not is counted."""

from __future__ import annotations

from ocaserve.protocol.admission import Admission
from ocaserve.protocol.messages import Request, RequestRefused
from ocaserve.protocol.target import ObjectTarget
from ocaserve.serving.counters import Count
from ocaserve.serving.wall_clock import Clock


class ObjectGate:
    """Asks `admission` by the worker's clock. counts: the worker's slot."""

    def __init__(self, admission: Admission, clock: Clock, counts: memoryview) -> None:
        self._admission = admission
        self._clock = clock
        self._counts = counts

    @property
    def is_open(self) -> bool:
        """Whether everybody may have everything, for ever."""
        return self._admission.signing is None

    def name(self, request: Request) -> ObjectTarget:
        """What it is for, whoever asks. Raises RequestRefused."""
        return self._admission.name(request.target)

    def admit(self, request: Request) -> ObjectTarget:
        """What it is for. Raises RequestRefused, also where its client may not have that."""
        try:
            return self._admission.admit(request.target, request.fields.host, self._clock.epoch)
        except RequestRefused as refusal:
            if refusal.status == 403:
                self._counts[Count.SIGNATURES_REFUSED] += 1
            raise
