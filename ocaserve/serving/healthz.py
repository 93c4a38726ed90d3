"""The answerer of `/healthz`, before another: how the appliance is, from memory.

A load balancer asks often, also when the disks do not answer; and its pending is answered when all
others are turned away.
"""

from __future__ import annotations

from collections.abc import Callable

from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.methods import check_request
from ocaserve.protocol.planning import ResponsePolicy, is_healthz, plan_healthz
from ocaserve.serving.answerer import Answerer, PendingRequest, ShortWay, WantedBody, Way
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.stance import Duty, Stance
from ocaserve.serving.wall_clock import Clock

_STOPPING = Duty(b"stopping", is_fit=False)


class Healthz:
    """Says how the worker stands; `others` answers everything else, unless the drain is over."""

    def __init__(
        self, stance: Stance, policy: ResponsePolicy, clock: Clock, others: Answerer
    ) -> None:
        self._stance = stance
        self._policy = policy
        self._clock = clock
        self._others = others

    def start(self, ready: Callable[[], None]) -> None:
        self._others.start(ready)

    def tick_once(self) -> None:
        self._others.tick_once()

    def short_way(self, way: Way) -> ShortWay | None:
        """Theirs: it heeds the drain, and knows nothing of `/healthz`."""
        return self._others.short_way(way.of_what_repeats())

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        if self._turns_away(pending):
            return None
        if is_healthz(pending.request):
            check_request(pending.request)
        return self._others.want_body(pending)

    def answer(self, pending: PendingRequest) -> None:
        if self._turns_away(pending):
            return
        if not is_healthz(pending.request):
            self._others.answer(pending)
            return
        stance = self._stance
        duty = _STOPPING if stance.draining else stance.duty
        pending.reply(
            plan_healthz(
                pending.request, self._policy, self._clock.http_date, duty.word, is_fit=duty.is_fit
            )
        )

    def _turns_away(self, pending: PendingRequest) -> bool:
        """Whether the pending was answered so."""
        if not self._stance.duty.turns_away or is_healthz(pending.request):
            return False
        pending.refuse(RequestRefused(503, "drained"), CloseReason.DRAINED)
        return True
