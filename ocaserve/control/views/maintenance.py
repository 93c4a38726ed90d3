"""Maintenance windows that are not over."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ocaserve.control.maintenance import MaintenanceWindow
from ocaserve.control.schemas import as_time
from ocaserve.control.state import ControlState


class WindowShown(Struct, frozen=True, kw_only=True):
    """A maintenance window that is not over."""

    id: str
    start: datetime
    end: datetime
    reason: str
    has_begun: bool


class Windows(Struct, frozen=True, kw_only=True):
    """In the order of their begin."""

    windows: list[WindowShown]


def describe_windows(state: ControlState) -> Windows:
    """Those that are not over."""
    return Windows(windows=[describe_window(window) for window in state.operations.intent.windows])


def describe_window(window: MaintenanceWindow) -> WindowShown:
    """One of them."""
    return WindowShown(
        id=window.id,
        start=as_time(window.start),
        end=as_time(window.end),
        reason=window.reason,
        has_begun=window.has_begun,
    )
