"""The shapes of what goes in and out. Times are RFC 3339, in UTC; units stand in the names."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct


class Workers(Struct, frozen=True, kw_only=True):
    """How many there are: `serving` of those `wanted`, and others that end their responses."""

    wanted: int
    serving: int
    draining: int
    deaths: int


class Status(Struct, frozen=True, kw_only=True):
    """The appliance at a glance."""

    id: str
    site: str
    version: str
    state: str
    since: datetime
    reason: str
    takes_traffic: bool
    drain_until: datetime | None
    drain_deadline: datetime | None
    started: datetime
    listen: list[str]
    workers: Workers
    connections: int
    bits_per_s: int
    requests_per_s: float
    generation: int


def as_time(seconds: float) -> datetime:
    """From seconds since the epoch."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def maybe_time(seconds: float | None) -> datetime | None:
    """As `as_time`, where there may be none."""
    return None if seconds is None else as_time(seconds)
