"""Connections of clients: those that are open, and how others ended."""

from __future__ import annotations

from msgspec import Struct

from ocaserve.control.state import ControlState
from ocaserve.serving.closing import CloseReason


class Closed(Struct, frozen=True, kw_only=True):
    """Connections that have ended for one reason."""

    reason: str
    is_error: bool
    meaning: str
    count: int


class Connections(Struct, frozen=True, kw_only=True):
    """Open ones now, and those that have ended since the start, by reason."""

    open: int
    responding: int
    accepted: int
    closed: list[Closed]


def describe_connections(state: ControlState) -> Connections:
    """Those that are open, and why others ended."""
    totals = state.counters.totals()
    return Connections(
        open=totals["connections"],
        responding=totals["responding"],
        accepted=totals["accepted"],
        closed=[
            Closed(
                reason=reason.label,
                is_error=reason.is_error,
                meaning=reason.value.meaning,
                count=totals[f"close_{reason.label}"],
            )
            for reason in CloseReason
        ],
    )
