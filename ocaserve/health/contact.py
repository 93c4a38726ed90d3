"""The control plane: when it was last in contact."""

from __future__ import annotations

from collections.abc import Callable

from ocaserve.health.judging import Thresholds, problems_of
from ocaserve.health.model import Observation, Timing
from ocaserve.health.words import duration
from ocaserve.settings.health import HealthSettings


class ContactComponent:
    """Judged only where a control plane is expected.

    last: when it was last in contact, on the monotonic clock; the time of the start when it never
    was; None where none is expected.
    """

    name = "control_plane"

    def __init__(
        self, timing: Timing, settings: HealthSettings, last: Callable[[], float | None]
    ) -> None:
        self.timing = timing
        self._thresholds = Thresholds(settings.contact_warning_s, settings.contact_error_s)
        self._last = last

    def observe(self, now: float) -> Observation:
        last = self._last()
        if last is None:
            return Observation("none is configured")
        silence = max(0.0, now - last)
        said = f"no contact for {duration(silence)}"
        level = self._thresholds.of_high(silence)
        return Observation(
            f"in contact {duration(silence)} ago", tuple(problems_of((level, "contact", said)))
        )
