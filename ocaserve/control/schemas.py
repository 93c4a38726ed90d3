"""The shapes of what goes in and out. Times are RFC 3339, in UTC; units stand in the names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ocaserve.control.problems import Problem

Time = Annotated[datetime, Meta(tz=True)]
"""In a body."""
QueryTime = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]
"""In a query, for `read_time`: msgspec would take a number too, where everything is a text."""
Ip = Annotated[
    str, Meta(max_length=64, extra_json_schema={"anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
]
"""An address. The document says so; who reads it says what is wrong with another text."""
IpOrPrefix = Annotated[
    str, Meta(max_length=64, extra_json_schema={"examples": ["192.0.2.7", "2001:db8::/32"]})
]


def read_time(name: str, given: str | None, default: float) -> float:
    """A time of a query, in seconds since the epoch. Raises Problem."""
    if given is None:
        return default
    try:
        return msgspec.convert(given, Time).timestamp()
    except msgspec.ValidationError as error:
        raise Problem(400, f"the query: {name}: {error}") from error


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
