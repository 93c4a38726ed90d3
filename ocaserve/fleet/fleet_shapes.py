"""What is asked and answered over HTTP."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ocaserve.fleet.decisions import SiteKind

MOST_OBJECTS = 2_000

_Ip = Annotated[str, Meta(min_length=2, max_length=64)]
_Key = Annotated[str, Meta(min_length=1, max_length=2_048)]


class ClientAsked(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The client to be served. `location`: latitude and longitude, where they are known; tenths of
    a degree count.
    """

    ip: _Ip
    location: (
        tuple[
            Annotated[float, Meta(ge=-90, le=90)],
            Annotated[float, Meta(ge=-180, le=180)],
        ]
        | None
    ) = None


class SteerRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who serves this client these objects?"""

    client: ClientAsked
    objects: Annotated[list[_Key], Meta(min_length=1, max_length=MOST_OBJECTS)]


class ServerShown(Struct, frozen=True, kw_only=True):
    """A server that some object is to be had from; `rank` 1 is the best."""

    id: str
    rank: int
    site: str
    kind: SiteKind


class SkippedShown(Struct, frozen=True, kw_only=True):
    """A server that hears the client and was passed over: `why` is H (health), C (content) or
    policy.
    """

    server: str
    why: str
    reason: str


class SteerAnswer(Struct, frozen=True, kw_only=True):
    """`objects`: up to three URLs of each, the best first, good until `expires` (Unix time).

    `ttl_s`: after which it is worth asking again. Equal questions of a minute have one `decision`.
    `session`: for `POST /v1/qoe`, where the client tells how it went.
    """

    decision: str
    ttl_s: int
    expires: int
    servers: list[ServerShown]
    objects: dict[str, list[str]]
    skipped: list[SkippedShown]
    session: str


class RedirectQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`ip`: another client than the one that asks, for who may ask on behalf of others."""

    ip: _Ip | None = None


class PlayQuery(Struct, frozen=True, kw_only=True):
    """`ip` as of a redirect. Whatever else a player adds is ignored."""

    ip: _Ip | None = None


class FleetExplainQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A client, and an object if it is about one."""

    ip: _Ip
    key: Annotated[str, Meta(max_length=2_048)] = ""


class CandidateShown(Struct, frozen=True, kw_only=True):
    """An appliance that hears the client. `chosen`: 1 to 3, or null; `why`: why it is not first.

    Candidates of the same `group` are equal but for the draw. `backup`, `weight`: what communities
    make of its route.
    """

    server: str
    site: str
    kind: str
    group: int
    network: str
    path_length: int
    med: int
    backup: bool
    weight: float
    chosen: int | None
    why: str


class FleetExplanation(Struct, frozen=True, kw_only=True):
    """`because` says the same in sentences, the most telling first. `policies`: those that were
    asked, as NAME@VERSION.
    """

    ip: str
    key: str
    served: bool
    candidates: list[CandidateShown]
    because: list[str]
    policies: list[str]


class FailedCheckShown(Struct, frozen=True, kw_only=True):
    """`check`: contact_from, contact_to, hardware, routes or content; `why`: what is blocked."""

    check: str
    why: str


class ApplianceShown(Struct, frozen=True, kw_only=True):
    """`age_s`: since it was heard of. `fault`: why it gets no clients; empty while it does.

    `turn_up`: "commissioning" until all checks have passed, then "in service". `failed_checks`: of
    both, where `fleet.turn_up` is "checked".

    `granted_bits_per_s`: given to clients since its last reports, which do not show it yet.
    """

    id: str
    site: str
    kind: str
    takes_clients: bool
    fault: str
    turn_up: str
    failed_checks: list[FailedCheckShown]
    state: str
    level: str
    age_s: float
    session: str
    serial: int
    networks: int
    url: str
    is_signed: bool
    total_bits_per_s: float | None
    free_bits_per_s: float | None
    granted_bits_per_s: float


class ApplianceList(Struct, frozen=True, kw_only=True):
    appliances: list[ApplianceShown]


class SiteShown(Struct, frozen=True, kw_only=True):
    """`hears_the_same`: whether all its appliances have told of the same networks."""

    id: str
    kind: str
    location: list[float]
    copies: float
    appliances: list[str]
    taking_clients: int
    networks: int
    hears_the_same: bool


class SiteList(Struct, frozen=True, kw_only=True):
    sites: list[SiteShown]


class LackShown(Struct, frozen=True, kw_only=True):
    """What an appliance lacks, of so many that it should have; some examples."""

    site: str
    appliance: str
    what: str
    lacks: int
    of: int
    examples: list[str]


class SiteAudit(Struct, frozen=True, kw_only=True):
    """Empty where all appliances of each site are alike."""

    lacks: list[LackShown]


class StockShown(Struct, frozen=True, kw_only=True):
    """`objects`: of the catalogue; `live`: of these, those that `live_sites` sites have, which
    clients are offered. `appliances`: that told what they hold. `fault`: of the catalogue's file.
    """

    objects: int
    live: int
    live_sites: int
    appliances: int
    fault: str


class FleetStatus(Struct, frozen=True, kw_only=True):
    """`networks`: of all tables, each once; `tables`: those that differ.

    `commissioning`: appliances that never were in service; `failing_checks`: of the others, those
    of which a check fails.
    """

    version: str
    appliances: int
    taking_clients: int
    commissioning: int
    failing_checks: int
    sites: int
    networks: int
    tables: int
    atlas_s: float
    documents: dict[str, int]
    decisions: dict[str, int]


_Ids = Annotated[list[Annotated[str, Meta(min_length=1, max_length=255)]], Meta(max_length=10_000)]


class DrainRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Appliances that get no clients from here on; of a site all that have reported."""

    appliances: _Ids = []
    sites: _Ids = []
    reason: Annotated[str, Meta(max_length=200)] = ""


class EnableRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Appliances that are no longer drained here."""

    appliances: _Ids = []
    sites: _Ids = []


class DrainShown(Struct, frozen=True, kw_only=True):
    """`since`: Unix time."""

    appliance: str
    reason: str
    since: float


class DrainList(Struct, frozen=True, kw_only=True):
    """All that are drained here; an appliance that drains by itself says so in its reports."""

    drains: list[DrainShown]


class LostAsked(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is taken to be gone: appliances, all of a site, networks that nobody announces."""

    appliances: _Ids = []
    sites: _Ids = []
    prefixes: Annotated[
        list[Annotated[str, Meta(min_length=2, max_length=64)]], Meta(max_length=1_000)
    ] = []


class WhatIfRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What would become of the clients that have asked of late, if this were lost?"""

    lose: LostAsked


class LoadShown(Struct, frozen=True, kw_only=True):
    """What an appliance would be expected to carry for those clients, when it is settled.

    `asked_bits_per_s`: what would come to it first, were there room for all. `full`: it would take
    what it can, and send the others on; one that does not say what it can still take never does.
    `overloaded`: it would be full, or carry more than `total_bits_per_s`.
    """

    id: str
    site: str
    before_bits_per_s: float
    asked_bits_per_s: float
    after_bits_per_s: float
    total_bits_per_s: float | None
    full: bool
    overloaded: bool


class MoveShown(Struct, frozen=True, kw_only=True, rename={"source": "from", "target": "to"}):
    """From one appliance to another; `to` is null where nobody could take them, `from` where nobody
    took them before.
    """

    source: str | None
    target: str | None
    bits_per_s: float
    clients: float
    networks: int


class DemandShown(Struct, frozen=True, kw_only=True):
    """Clients of one network."""

    network: str
    clients: int
    bits_per_s: float


class UnservedShown(Struct, frozen=True, kw_only=True):
    """What nobody takes, now and then. `cause`: `coverage` (no appliance hears the network),
    `health` (those that do take no clients), `content` (those that take clients do not have the
    object), `policy` (those that have it are refused), `capacity` (all these are full).
    """

    cause: str
    before_bits_per_s: float
    after_bits_per_s: float


class WhatIfAnswer(Struct, frozen=True, kw_only=True):
    """`clients`: those that asked in the last `span_s`, each expected to take
    `fleet.client_bits_per_s`; `not_recorded`: more, of other networks, that are in no other figure.

    `unserved_clients`: whom nobody takes as it is; `unserved`: these, and those then, by why.
    `uncovered`: the largest of the networks that would lose everybody, however much these can
    take. `policies`: NAME@VERSION of those in force that were asked. `limits`: sentences, what was
    sampled and what this does not know.
    """

    span_s: int
    clients: int
    bits_per_s: float
    not_recorded: int
    unserved_clients: float
    appliances: list[LoadShown]
    moves: list[MoveShown]
    overloaded: list[str]
    uncovered: list[DemandShown]
    uncovered_networks: int
    uncovered_bits_per_s: float
    unserved: list[UnservedShown]
    policies: list[str]
    limits: list[str]


class ShedQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How far back, at the most an hour."""

    minutes: Annotated[int, Meta(ge=1, le=60)] = 60


class ShedShown(Struct, frozen=True, kw_only=True):
    """What was turned away from an appliance in a minute, for want of health, content, capacity."""

    appliance: str
    health_bits_per_s: float = 0.0
    content_bits_per_s: float = 0.0
    capacity_bits_per_s: float = 0.0


class ShedMinute(Struct, frozen=True, kw_only=True):
    """`start`: Unix time. What its clients were expected to take."""

    start: int
    appliances: list[ShedShown]


class ShedAnswer(Struct, frozen=True, kw_only=True):
    """Minutes in which something was turned away, the oldest first."""

    minutes: list[ShedMinute]


class ShareShown(Struct, frozen=True, kw_only=True):
    """`share`: of the clients of a network, by their first choice."""

    server: str
    share: float


class NetworkShown(Struct, frozen=True, kw_only=True):
    """Clients of one network, and who takes them; `servers` is empty where nobody does."""

    network: str
    clients: int
    bits_per_s: float
    servers: list[ShareShown]


class MemberShown(Struct, frozen=True, kw_only=True):
    """An appliance with what it is expected to carry, and what was turned away from it.

    `shed_bits_per_s`: of the clients of the last five minutes. `drained`: here, by an operator.
    `objects_here`: of the `objects_wanted` of its manifest; null where it has told of none.
    """

    appliance: ApplianceShown
    objects_here: int | None
    objects_wanted: int | None
    expected_bits_per_s: float
    shed_bits_per_s: float
    drained: bool


class FleetDashboard(Struct, frozen=True, kw_only=True):
    """What the dashboard shows. `networks`: the largest; `shed`: of the last hour, by minute.

    Figures of clients are of those that asked in the last `span_s`, as those of what-if; policies
    are not asked for them.
    """

    status: FleetStatus
    span_s: int
    clients: int
    bits_per_s: float
    not_recorded: int
    unserved_clients: float
    members: list[MemberShown]
    sites: list[SiteShown]
    networks: list[NetworkShown]
    network_count: int
    content_everywhere: bool
    shed: list[ShedMinute]


class FleetHealth(Struct, frozen=True, kw_only=True):
    """`serving` where at least one appliance takes clients."""

    state: str
