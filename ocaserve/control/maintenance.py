"""Maintenance windows: times in which the appliance is out of service. Decides, and does nothing.

A window drains the appliance when it begins and enables it when it ends, unless the operator has
decided otherwise meanwhile: one who enables it during a window has cancelled that window. All times
are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

MOST_WINDOWS = 20  # more is a mistake of a program, and all go into one note: see `Link.note`
LONGEST_S = 31 * 86_400.0  # longer is not a window; a drain without `until` has no end


class MaintenanceWindow(Struct, frozen=True, kw_only=True):
    """One of them. `has_begun`: it has drained the appliance already."""

    id: str
    start: float
    end: float
    reason: str
    has_begun: bool = False


def find_window_fault(start: float, end: float, now: float) -> str | None:
    """What is wrong with a window's times, in words."""
    if end <= now:
        return "end: must be in the future"
    if start >= end:
        return "start: must be before end"
    if end - start > LONGEST_S:
        return f"end: must be at most {LONGEST_S / 86_400:g} days after start"
    return None


def running(windows: Iterable[MaintenanceWindow], now: float) -> MaintenanceWindow | None:
    """The window that it is time for; of several the one that ends last."""
    due = [window for window in windows if window.start <= now < window.end]
    return max(due, key=lambda window: window.end, default=None)


def keep_future(windows: Iterable[MaintenanceWindow], now: float) -> tuple[MaintenanceWindow, ...]:
    """Those that are not over, in the order of their begin."""
    return tuple(sorted((w for w in windows if w.end > now), key=lambda w: (w.start, w.id)))
