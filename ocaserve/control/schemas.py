"""The shapes of what goes in and out. Times are RFC 3339, in UTC; units stand in the names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from ocaserve.control.problems import Problem

Time = Annotated[datetime, Meta(tz=True)]
"""In a body."""
QueryTime = Annotated[str, Meta(max_length=64, extra_json_schema={"format": "date-time"})]
"""In a query, for `read_time`: msgspec would take a number too, where everything is a text."""
Ip = Annotated[
    str,
    Meta(
        max_length=64,
        extra_json_schema={
            "anyOf": [{"type": "string", "format": "ipv4"}, {"type": "string", "format": "ipv6"}],
            "examples": ["192.0.2.7", "2001:db8::7"],
        },
    ),
]
"""An address. The document says so; who reads it says what is wrong with another text."""
IpOrPrefix = Annotated[
    str,
    Meta(
        max_length=64,
        extra_json_schema={"examples": ["192.0.2.7", "2001:db8::/32"]},
    ),
]


def read_time(name: str, given: str | None, default: float) -> float:
    """A time of a query, in seconds since the epoch. Raises Problem."""
    if given is None:
        return default
    try:
        return msgspec.convert(given, Time).timestamp()
    except msgspec.ValidationError as error:
        raise Problem(400, f"the query: {name}: {error}") from error


def as_time(seconds: float) -> datetime:
    """From seconds since the epoch."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def maybe_time(seconds: float | None) -> datetime | None:
    """As `as_time`, where there may be none."""
    return None if seconds is None else as_time(seconds)
