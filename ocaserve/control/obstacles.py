"""Why clients should not be sent here although the operator wants it. Decides, and does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_NOTE = "has_begun"


class Obstacle(NamedTuple):
    """`word`: what `/healthz` says. `reason`: in a sentence's part, for people."""

    word: str
    reason: str


class Beginning:
    """What must have been read or heard once before anything is said to take traffic.

    That it is over outlives the process in the supervisor's notes: a successor, and one of other
    settings, goes on with an appliance that is in service.
    """

    def __init__(self, notes: Mapping[str, Any], note: Callable[[str, object], None]) -> None:
        self._is_over = bool(notes.get(_NOTE))
        self._note = note
        self._awaited: list[tuple[Callable[[], bool], str]] = []

    def await_first(self, has_happened: Callable[[], bool], reason: str) -> None:
        """Hold for a beginning for as long as this has not happened. reason: what is awaited."""
        self._awaited.append((has_happened, reason))

    def find_obstacle(self) -> Obstacle | None:
        """The first of what is still awaited; None from when there was none."""
        if self._is_over:
            return None
        for has_happened, reason in self._awaited:
            if not has_happened():
                return Obstacle("starting", reason)
        self._is_over = True
        self._note(_NOTE, True)
        return None
