"""What goes over the channel between the supervisor and a child: one JSON object a datagram.

Facts come from the child (`{"is": "ready"}`), orders go to it (`{"do": "stop"}`). Whoever reads
them takes nothing else: the other side may be wrong, or another's by now.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct


class Ready(Struct, frozen=True, tag_field="is", tag="ready"):
    """It has come into service."""


class Beat(Struct, frozen=True, tag_field="is", tag="beat"):
    """A sign of life, each second."""


class Drained(Struct, frozen=True, tag_field="is", tag="drained"):
    """A worker's last response has ended; it ends next."""


class Noting(Struct, frozen=True, tag_field="is", tag="noting"):
    """A service's successor, and that of a new version, is to know this JSON value."""

    name: str
    value: Any


class Accept(Struct, frozen=True, tag_field="do", tag="accept"):
    """For workers: from which of their listeners to accept, by place."""

    listeners: list[int]


class DrainBy(Struct, frozen=True, tag_field="do", tag="drain"):
    """For workers: let responses end, in so many seconds, then end."""

    deadline_s: float


class TakeDuty(Struct, frozen=True, tag_field="do", tag="duty"):
    """For workers: what /healthz says, and whether new requests are turned away."""

    word: str
    is_fit: bool
    turns_away: bool


class ReopenLogs(Struct, frozen=True, tag_field="do", tag="reopen_logs"):
    """After a rotation: write to the files that have the names now."""


class See(Struct, frozen=True, tag_field="do", tag="see"):
    """For services: the appliance as it is, a JSON object."""

    appliance: dict[str, Any]


class Stop(Struct, frozen=True, tag_field="do", tag="stop"):
    """For services: end. is_replaced: another process follows."""

    is_replaced: bool = False


Order: TypeAlias = Accept | DrainBy | TakeDuty | ReopenLogs | See | Stop


class Ordering(Struct, frozen=True, tag_field="is", tag="ordering"):
    """An order for every worker, also those to come; the last one of a name counts."""

    name: str
    order: Order


class AskSupervisor(Struct, frozen=True, tag_field="is", tag="asking"):
    """What the signal of that name does."""

    what: Literal["reload", "reopen_logs"]


Fact: TypeAlias = Ready | Beat | Drained | Noting | Ordering | AskSupervisor

_FACT: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Fact)
_ORDER: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)


def read_fact(message: bytes) -> Fact:
    """Raises msgspec.DecodeError, which says what is wrong."""
    return _FACT.decode(message)


def read_order(message: bytes) -> Order:
    """Likewise."""
    return _ORDER.decode(message)


def encode_message(message: Fact | Order) -> bytes:
    """As it goes over the channel."""
    return msgspec.json.encode(message)
