"""The life of one family of a session, as a table that refuses, and what is known of a session.

A family of a session is

- `down`: no session, and nothing is kept of it;
- `loading`: the peer is telling its routes, and they are not all here yet;
- `live`: all are here, and each change comes as it happens;
- `stale`: the session is lost, its routes are kept for `stale_s` (as RFC 4724 has it), for most
  sessions are back within that time, and clients are not sent elsewhere and back;
- `ignored`: the peer announced more than it may; nothing is kept until its next session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bgp.events import Session, SessionOpened
from bgp.prefixes import NAMES
from ocaserve.steering.filters import PeerPolicy
from ocaserve.steering.paths import Allowance, PeerLimits, RouteSource


class FamilyState(Enum):
    DOWN = "down"
    LOADING = "loading"
    LIVE = "live"
    STALE = "stale"
    IGNORED = "ignored"


class FamilyEvent(Enum):
    UP = "up"  # a session starts
    HEARD = "heard"  # of a session whose start was not: it must be up
    LOADED = "loaded"
    DOUBT = "doubt"
    LOST = "lost"
    CLOSED = "closed"  # by an administrator
    EXPIRED = "expired"
    OVER = "over"


_S, _E = FamilyState, FamilyEvent
FAMILY_STATES: Mapping[tuple[FamilyState, FamilyEvent], FamilyState] = {
    (_S.DOWN, _E.UP): _S.LOADING,
    (_S.DOWN, _E.HEARD): _S.LOADING,
    (_S.DOWN, _E.DOUBT): _S.DOWN,
    (_S.DOWN, _E.LOST): _S.DOWN,  # it comes after each failed attempt to connect
    (_S.DOWN, _E.CLOSED): _S.DOWN,
    (_S.LOADING, _E.UP): _S.LOADING,
    (_S.LOADING, _E.HEARD): _S.LOADING,
    (_S.LOADING, _E.LOADED): _S.LIVE,
    (_S.LOADING, _E.DOUBT): _S.LOADING,
    (_S.LOADING, _E.LOST): _S.STALE,
    (_S.LOADING, _E.CLOSED): _S.DOWN,
    (_S.LOADING, _E.OVER): _S.IGNORED,
    (_S.LIVE, _E.UP): _S.LOADING,  # the end of the session before was lost
    (_S.LIVE, _E.HEARD): _S.LIVE,
    (_S.LIVE, _E.LOADED): _S.LIVE,
    (_S.LIVE, _E.DOUBT): _S.LOADING,
    (_S.LIVE, _E.LOST): _S.STALE,
    (_S.LIVE, _E.CLOSED): _S.DOWN,
    (_S.LIVE, _E.OVER): _S.IGNORED,
    (_S.STALE, _E.UP): _S.LOADING,
    (_S.STALE, _E.HEARD): _S.LOADING,
    (_S.STALE, _E.DOUBT): _S.STALE,
    (_S.STALE, _E.LOST): _S.STALE,
    (_S.STALE, _E.CLOSED): _S.DOWN,
    (_S.STALE, _E.EXPIRED): _S.DOWN,
    (_S.IGNORED, _E.UP): _S.LOADING,
    (_S.IGNORED, _E.HEARD): _S.IGNORED,
    (_S.IGNORED, _E.LOADED): _S.IGNORED,
    (_S.IGNORED, _E.DOUBT): _S.IGNORED,
    (_S.IGNORED, _E.LOST): _S.DOWN,
    (_S.IGNORED, _E.CLOSED): _S.DOWN,
}


WARN_SHARE = 0.8  # of a limit


@dataclass(frozen=True)
class Times:
    """Seconds."""

    stale_s: float = 120.0
    load_s: float = 60.0
    quiet_s: float = 10.0


@dataclass(eq=False)
class Family:
    """One family of a session."""

    source: RouteSource
    state: FamilyState = FamilyState.DOWN
    since: float = 0.0  # when the state began
    heard: float = 0.0  # when it last said anything of its routes
    stale_until: float | None = None  # when what is left of the session before goes
    is_in_doubt: bool = False
    is_refreshing: bool = False
    new_routes: bool = False  # whether any came in this generation
    is_warned: bool = False  # that it has nearly as many routes as it may

    @property
    def name(self) -> str:
        return NAMES[self.source.family]

    @property
    def nearly(self) -> str:
        """Which limit is nearly reached; empty where none is."""
        source, allowance = self.source, self.source.allowance
        if source.routes > WARN_SHARE * source.limit:
            return f"{source.routes} of {source.limit} prefixes"
        if allowance.bytes > WARN_SHARE * allowance.most:
            return f"{allowance.bytes} of {allowance.most} bytes of attributes"
        return ""

    @property
    def is_complete(self) -> bool:
        """Whether what is here is what the peer announces."""
        return self.state is FamilyState.LIVE and not self.source.sweeps_below


def make_families(
    number: int,
    session: Session,
    peer_as: int,
    local_as: int,
    policy: PeerPolicy,
    now: float,
) -> dict[int, Family]:
    """All families of a new session. number: of the peer. Raises OSError or ValueError."""
    limits = PeerLimits(
        policy.max_prefixes, policy.max_paths, Allowance(policy.max_attribute_bytes)
    )
    made = {}
    for family in NAMES:
        source = RouteSource(number, session.peer, local_as, family, limits)
        source.peer_as = peer_as
        source.is_off = family not in policy.families
        made[family] = Family(source, since=now, heard=now)
    return made


@dataclass(eq=False)
class Peer:
    """One session, by its two addresses."""

    number: int
    session: Session
    peer_as: int
    local_as: int
    families: dict[int, Family]
    state: str = "down"  # of the session: down, connected, up
    since: float = 0.0
    ups: int = 0  # sessions that came up
    reason: str = ""  # why the last one ended
    notice: str = ""  # what the peer said with it
    opened_as: int = 0  # what it called itself in its last OPEN
    capabilities: frozenset[int] | None = None  # None: its OPEN was not heard
    families_spoken: frozenset[int] | None = None
    hold_time_s: int | None = None  # negotiated; 0: the end of the session is never noticed
    router_id: str = ""
    add_path: frozenset[int] = frozenset()  # families of which several paths come
    restart_s: int | None = None  # its time to restart; None: no graceful restart
    updated: float | None = None  # when the last UPDATE came
    counter: int | None = None  # of its last line
    counts: Counter[str] = field(default_factory=Counter)

    def is_carrying(self, number: int) -> bool:
        """Whether the session is to carry the family: both ends speak it, as far as is known."""
        is_spoken = self.families_spoken is None or number in self.families_spoken
        return is_spoken and not self.families[number].source.is_off

    @property
    def allowance(self) -> Allowance:
        """What its attributes may take, and do: of all its families together."""
        return next(iter(self.families.values())).source.allowance

    def open(self, said: SessionOpened, policy: PeerPolicy) -> None:
        """Take what its OPEN says, and what comes of it with ours (RFC 4271 section 4.2)."""
        self.opened_as, self.router_id = said.asn, said.router_id
        self.capabilities, self.families_spoken = said.capabilities, said.families
        self.hold_time_s = min(said.hold_time, policy.hold_time_s)
        self.add_path = said.add_path if policy.takes_add_path else frozenset()
        self.restart_s = said.restart_s

    def learn(self, peer_as: int, local_as: int) -> None:
        """The AS numbers of the session, 0 for one that is not said."""
        self.peer_as = peer_as or self.peer_as
        self.local_as = local_as or self.local_as
        for family in self.families.values():
            family.source.peer_as, family.source.local_as = self.peer_as, self.local_as
