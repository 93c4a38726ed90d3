"""What happens to sessions and routes, as compact values, whoever told it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from bgp.attributes import Attributes

Nlri: TypeAlias = tuple[int, int, int]
"""Prefix length, leading bits, path identifier (0 without one)."""


class Session(NamedTuple):
    """Between which addresses a session runs: its identity."""

    peer: str
    local: str


class Envelope(NamedTuple):
    """What every line says of its origin. `counter` and `session` are not in all lines."""

    pid: int
    time: float
    counter: int | None
    session: Session | None
    peer_as: int
    local_as: int


class StateChange(NamedTuple):
    """`state`: connected, up or down. `notice`: code and subcode, where the reason names them."""

    state: str
    reason: str = ""
    notice: tuple[int, int] | None = None
    is_ours: bool = False  # whether the notice was sent by us


class SessionOpened(NamedTuple):
    """The peer's OPEN; capabilities by their code (RFC 5492)."""

    asn: int
    hold_time: int
    router_id: str
    capabilities: frozenset[int]
    families: frozenset[int]  # of ours that it speaks (RFC 4760); IPv4 where it does not say
    add_path: frozenset[int] = frozenset()  # families of which it sends several paths (RFC 7911)
    restart_s: int | None = None  # its time to restart (RFC 4724); None: it says nothing of it


class Announcement(NamedTuple):
    """Prefixes of a family with one next hop; `next_hop` is empty where the peer gave none."""

    family: int
    next_hop: str
    nlri: Sequence[Nlri]


class Update(NamedTuple):
    """One UPDATE. Withdrawals are to be applied first."""

    withdrawn: Sequence[tuple[int, Sequence[Nlri]]]
    announced: Sequence[Announcement]
    attributes: Attributes
    is_treated_as_withdraw: bool = False
    discarded: int = 0  # attributes that were let go of for their form, RFC 7606 section 2
    noncanonical: int = 0  # prefixes with host bits
    malformed: int = 0  # prefixes that are none
    foreign: int = 0  # prefixes of families that are not ours


class EndOfRib(NamedTuple):
    """RFC 4724 section 2: the peer has sent all it has."""

    family: int


class Refresh(NamedTuple):
    """RFC 7313: `phase` is begin or end (or request, which asks for what we never announce)."""

    family: int
    phase: str


class Notified(NamedTuple):
    """A NOTIFICATION, received or sent."""

    code: int
    subcode: int
    text: str
    is_ours: bool


class Shutdown(NamedTuple):
    """ExaBGP itself ends."""


class FeederHello(NamedTuple):
    """The first line of a connection of the feeder's: what was known may be out of date."""

    exabgp_pid: int


class FeederGap(NamedTuple):
    """The feeder had to drop lines here."""

    dropped: int


class Neighbor(NamedTuple):
    """A session as ExaBGP has it. `is_asked`: it sends all routes of its families again."""

    session: Session
    peer_as: int
    local_as: int
    is_up: bool
    families: frozenset[int]
    is_asked: bool


class FeederNeighbors(NamedTuple):
    """All sessions that ExaBGP has; one that is not up is down, whatever was heard before."""

    neighbors: Sequence[Neighbor]


class Ignored(NamedTuple):
    """Nothing that changes a route: answers to commands, keepalives."""

    what: str


Event: TypeAlias = (
    StateChange
    | SessionOpened
    | Update
    | EndOfRib
    | Refresh
    | Notified
    | Shutdown
    | FeederHello
    | FeederGap
    | FeederNeighbors
    | Ignored
)
