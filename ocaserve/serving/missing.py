"""What is answered where no store has an object: 404, or where else it is (`fill.on_miss`)."""

from __future__ import annotations

from ocaserve.protocol.elsewhere import Elsewhere
from ocaserve.protocol.messages import Request, ResponsePlan
from ocaserve.protocol.planning import ResponsePolicy, plan_redirect
from ocaserve.protocol.target import ObjectTarget
from ocaserve.serving.counters import Count
from ocaserve.serving.wall_clock import Clock
from ocaserve.settings import Settings
from ocaserve.signing import policy_of


def elsewhere_of(settings: Settings) -> Elsewhere | None:
    """Where clients are sent on to, by the settings; None: nowhere."""
    fill = settings.fill
    if not fill.is_on or fill.on_miss != "redirect":
        return None
    policy = policy_of(settings.signing) if fill.miss_signed else None
    return Elsewhere(fill.miss_url, policy.keys if policy is not None else None)


class MissingObjects:
    """elsewhere: where what is not here is; None, where nobody is sent on. counts: the worker's."""

    def __init__(
        self,
        elsewhere: Elsewhere | None,
        policy: ResponsePolicy,
        clock: Clock,
        counts: memoryview,
    ) -> None:
        self._elsewhere = elsewhere
        self._policy = policy
        self._clock = clock
        self._counts = counts

    def maybe_plan(self, request: Request, target: ObjectTarget) -> ResponsePlan | None:
        """The answer for an object that is known not to be here; None if it is that there is none.

        target: what was asked for, admitted.
        """
        self._counts[Count.LOOKUP_MISSES] += 1
        location = None if self._elsewhere is None else self._elsewhere.locate(target)
        if location is None:
            return None
        self._counts[Count.MISSES_REDIRECTED] += 1
        return plan_redirect(request, self._policy, self._clock.http_date, location)
