"""The shapes of answers about routes, as the API's document has them.

The core of `steering` makes plain values; these say what they are. A test decodes real answers by
them.
"""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

from ocaserve.steering.report_shapes import Totals


class RouteAttributes(Struct, frozen=True, kw_only=True):
    """What the router said with a route. In `as_path` a set is an array of its own.

    `backup`, `weight`: what `[bgp.communities]` make of it, only where they do.
    """

    next_hop: str
    as_path: list[int | list[int]]
    origin: str | UnsetType = UNSET
    as_path_length: int | UnsetType = UNSET
    med: int | UnsetType = UNSET
    local_preference: int | UnsetType = UNSET
    communities: list[str] | UnsetType = UNSET
    large_communities: list[str] | UnsetType = UNSET
    extended_communities: list[str] | UnsetType = UNSET
    backup: bool | UnsetType = UNSET
    weight: float | UnsetType = UNSET


class RouteShown(Struct, frozen=True, kw_only=True):
    """One route. `reason`: why it is not used, null where it is. `rov`: by RPKI, `rpki`: why.

    `confirmed`: announced since the session or a refresh began.
    """

    peer: str
    path_id: str | None
    reason: str | None
    rov: str | None
    confirmed: bool
    path_length: int
    med: int
    attributes: RouteAttributes
    rpki: str | UnsetType = UNSET


class MatchShown(Struct, frozen=True, kw_only=True):
    """A prefix and all its routes, best first."""

    prefix: str
    routes: list[RouteShown]


class RouteList(Struct, frozen=True, kw_only=True):
    """The first prefixes, and the sums over all."""

    totals: Totals
    routes: list[MatchShown]


class RecentChange(Struct, frozen=True, kw_only=True):
    """A prefix as it is now, without routes where it is gone. `at`: seconds since the epoch."""

    prefix: str
    routes: list[RouteShown]
    serial: int
    at: float


class RecentChanges(Struct, frozen=True, kw_only=True):
    """The prefixes that changed last, the newest first."""

    session: str
    serial: int
    changes: list[RecentChange]


class Lookup(Struct, frozen=True, kw_only=True):
    """`match`: the longest accepted prefix that covers the query, null without one.

    `covering`: all that cover it. `more_specific`: what lies inside, cut where there is very much.
    `differs_inside`: an address inside may have another route.
    """

    query: str
    match: MatchShown | None
    covering: list[MatchShown]
    more_specific: list[MatchShown]
    more_specific_cut: bool
    differs_inside: bool


class Explanation(Struct, frozen=True, kw_only=True):
    """Whether a client would be sent here: route, health and content must all say yes.

    `content`: null where no object was named. `because`: in sentences, the deciding one first.
    """

    ip: str
    object: str | None
    steered_here: bool
    route: bool
    health: bool
    content: bool | None
    because: list[str]
    match: MatchShown | None


class CoverageZone(Struct, frozen=True, kw_only=True):
    """The networks of a zone, and the caches that serve them."""

    caches: list[str]
    network: list[str]
    network6: list[str]


class CoverageZones(Struct, frozen=True, kw_only=True, rename="camel"):
    """A deep coverage zone file of Apache Traffic Control: zones by name."""

    deep_coverage_zones: dict[str, CoverageZone]
