"""The control plane: whether it takes what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ocaserve.health.model import Level, Observation, Timing, Trouble
from ocaserve.health.words import duration
from ocaserve.settings.health import HealthSettings


class Contact(NamedTuple):
    """silence_s: since a report was taken. fault: why the latest was not, empty if it was."""

    silence_s: float
    fault: str = ""
    is_lost: bool = False


class ContactComponent:
    """A silence is a warning when it lasts, and an error when the control plane is held for lost.

    contact: None where reports are not pushed; who fetches them comes when it likes.
    """

    name = "control_plane"

    def __init__(
        self, timing: Timing, settings: HealthSettings, contact: Callable[[], Contact | None]
    ) -> None:
        self.timing = timing
        self._warning_s = settings.contact_warning_s
        self._contact = contact

    def observe(self, now: float) -> Observation:
        contact = self._contact()
        if contact is None:
            return Observation("reports are not pushed")
        summary = f"took a report {duration(contact.silence_s)} ago"
        if not contact.fault or not (contact.is_lost or contact.silence_s >= self._warning_s):
            return Observation(summary)
        reason = f"has taken no report for {duration(contact.silence_s)}: {contact.fault}"
        level = Level.ERROR if contact.is_lost else Level.WARNING
        return Observation(summary, (Trouble(level, "contact", reason),))
