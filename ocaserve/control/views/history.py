"""What has changed lately."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ocaserve.control.history import History
from ocaserve.control.schemas import as_time


class EventShown(Struct, frozen=True, kw_only=True):
    """One change. `kind`: lifecycle, health, session, reload, control. `level`: as of health."""

    at: datetime
    kind: str
    level: str
    text: str


class HistoryShown(Struct, frozen=True, kw_only=True):
    """The last changes, the latest first."""

    events: list[EventShown]


def describe_history(history: History) -> HistoryShown:
    """As of the last look, a second ago at most."""
    return HistoryShown(
        events=[
            EventShown(at=as_time(event.at), kind=event.kind, level=event.level, text=event.text)
            for event in reversed(history.events)
        ]
    )
