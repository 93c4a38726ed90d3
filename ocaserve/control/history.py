"""What has changed lately, for who comes later: lifecycle, health, sessions, reloads.

Once a second the appliance is looked at, and compared with what it was. What has changed is an
event. The last ones outlive this process in the supervisor's notes, with what was seen last.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

_log = logging.getLogger(__name__)

_NOTE = "history"
_KEPT = 24  # events: a note is small
_MOST_CHARACTERS = 160


class HistoryEvent(Struct, frozen=True):
    """at: seconds since the epoch. kind: lifecycle, health, session, reload or control.

    level: ok, warning or error.
    """

    at: float
    kind: str
    level: str
    text: str


class Aspect(NamedTuple):
    """One thing that may change. An event is made when `value` does, with level and text.

    value: None while it is not known; then it is taken to be as it was.
    """

    kind: str
    subject: str
    value: str | None
    level: str
    text: str


class _Kept(Struct, frozen=True):
    """The note. `seen`: values by kind and subject."""

    events: list[HistoryEvent] = []
    seen: dict[str, str] = {}


class History:
    """The last events, the oldest first. note: keeps a JSON value for our successor."""

    def __init__(
        self,
        notes: Mapping[str, Any],
        note: Callable[[str, object], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._kept = kept = _recall(notes)
        self.events: list[HistoryEvent] = kept.events
        self._note = note
        self._clock = clock
        if kept.seen:
            self._add("control", "ok", "the control process was replaced")

    def _add(self, kind: str, level: str, text: str) -> None:
        event = HistoryEvent(round(self._clock(), 3), kind, level, text[:_MOST_CHARACTERS])
        self.events = [*self.events, event][-_KEPT:]

    def look(self, aspects: Iterator[Aspect]) -> None:
        """Take the appliance as it is now. What is new and well is no news."""
        seen: dict[str, str] = {}
        known = self._kept.seen
        for aspect in aspects:
            key = f"{aspect.kind} {aspect.subject}"
            if aspect.value is None:
                if key in known:
                    seen[key] = known[key]
                continue
            seen[key] = aspect.value
            if aspect.value != known.get(key, aspect.value if aspect.level == "ok" else ""):
                self._add(aspect.kind, aspect.level, aspect.text)
        kept = _Kept(self.events, seen)
        if kept != self._kept:
            self._kept = kept
            self._note(_NOTE, msgspec.to_builtins(kept))


def _recall(notes: Mapping[str, Any]) -> _Kept:
    try:
        return msgspec.convert(notes.get(_NOTE, {}), _Kept)
    except msgspec.ValidationError as error:  # a version with other words
        _log.warning("control: the history is not understood, and begins anew: %s", error)
        return _Kept()
