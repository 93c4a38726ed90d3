"""The shapes of the report. From them its JSON Schema is made, and by them it can be decoded.

The schema is published at /v1/schema/report and in docs/report-schema.json, which
`python -m ocaserve.steering.report_shapes` prints. What is made for a control plane, in `report`,
is written piece by piece; a test decodes it by these.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from bgp.address_families import FAMILIES
from ocaserve.steering.families import FamilyState

Count = Annotated[int, Meta(ge=0)]
Time = Annotated[float, Meta(description="seconds since 1970")]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
PrefixDigest = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{32}$",
        description="of the accepted prefixes alone, whoever announces them",
    ),
]
FamilyName = Annotated[str, Meta(pattern=f"^({'|'.join(row.name for row in FAMILIES)})$")]
Grade = Literal["ok", "warning", "error"]


class ReportFamily(Struct, frozen=True, kw_only=True):
    """One family of a peer.

    `complete`: whether these are all routes that the peer announces. `filtered`: routes that are
    not used, by reason. `unconfirmed`: routes not announced again since the session or a refresh
    began. `paths_left_out`: beyond `max_paths` of a prefix. `configured`: whether `families` lists
    it. `negotiated`: whether the router speaks it; null before its OPEN was heard. `add_path`:
    whether it sends several paths.
    """

    state: FamilyState
    complete: bool
    routes: Count
    accepted: Count
    filtered: dict[str, Count]
    unconfirmed: Count
    since: Time | UnsetType = UNSET
    limit: Count | UnsetType = UNSET
    paths_left_out: Count | UnsetType = UNSET
    configured: bool | UnsetType = UNSET
    negotiated: bool | UnsetType | None = UNSET
    add_path: bool | UnsetType = UNSET


class ReportPeer(Struct, frozen=True, kw_only=True):
    """One session.

    `peer`: what routes refer to. `opened_as`: by the peer's last OPEN; 0 before it. `reason`: why
    the last session ended. `notice`: the last notification. `hold_time_s`: as it was negotiated; 0:
    there is none. `restart_s`: the router's time to restart; null without graceful restart.
    `updated`: when its last UPDATE came.
    """

    address: str
    state: Literal["never up", "down", "connected", "up"]
    families: dict[FamilyName, ReportFamily]
    peer: int | UnsetType = UNSET
    local_address: str | UnsetType = UNSET
    as_: Count | UnsetType = field(name="as", default=UNSET)
    opened_as: Count | UnsetType = UNSET
    local_as: Count | UnsetType = UNSET
    since: Time | UnsetType = UNSET
    ups: Count | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    notice: str | UnsetType = UNSET
    hold_time_s: Count | UnsetType | None = UNSET
    router_id: str | UnsetType = UNSET
    restart_s: Count | UnsetType | None = UNSET
    updated: Time | UnsetType | None = UNSET
    counts: dict[str, Count] | UnsetType = UNSET


class Totals(Struct, frozen=True, kw_only=True):
    """Sums over all peers. `filtered`: routes that are not used, by reason."""

    routes: Count
    accepted: Count
    filtered: dict[str, Count]
    unconfirmed: Count
    attribute_sets: Count


class ReportRoute(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`attributes`: a key of the report's. `path_id`: RFC 7911, where the peer gives one."""

    peer: int
    attributes: int
    path_id: str | UnsetType = UNSET
    rov: Literal["valid", "invalid", "not-found"] | UnsetType = UNSET


class ReportAttributes(Struct, frozen=True, kw_only=True):
    """What a router says of its routes.

    `as_path`: AS numbers; a set is an array of its own. `as_path_confederation`: how many of them
    are of confederations, which do not count. `origin_as`, `as_path_length`: only where the path
    shown is cut. `backup`, `weight`: what the appliance's `[bgp.communities]` make of it, only
    where they do.
    """

    next_hop: str
    as_path: list[Count | list[Count]]
    origin: Literal["igp", "egp", "incomplete"] | UnsetType = UNSET
    as_path_confederation: Count | UnsetType = UNSET
    origin_as: Count | UnsetType | None = UNSET
    as_path_length: Count | UnsetType = UNSET
    med: Count | UnsetType = UNSET
    local_preference: Count | UnsetType = UNSET
    communities: list[str] | UnsetType = UNSET
    large_communities: list[str] | UnsetType = UNSET
    extended_communities: list[str] | UnsetType = UNSET
    backup: bool | UnsetType = UNSET
    weight: float | UnsetType = UNSET


class ReportHealth(Struct, frozen=True, kw_only=True):
    """`takes_traffic`: whether clients may be sent here. `level`: the worst of all components.

    `reasons`: the worst first.
    """

    state: Literal["starting", "serving", "draining", "drained", "stopping"]
    takes_traffic: bool
    level: Grade
    reasons: list[str]
    components: dict[str, Grade]


class ReportCapacity(Struct, frozen=True, kw_only=True):
    """`free_bits_per_s`: what can be taken in addition; null where nothing is known that bounds it.

    `limited_by`: the resource that bounds it, or connections, health, unknown.
    """

    serving_workers: Count
    total_bits_per_s: Count | None
    free_bits_per_s: Count | None
    free_connections: Count
    limited_by: str | UnsetType = UNSET


class ReportPlace(Struct, frozen=True, kw_only=True):
    """`urls`: where clients reach it, the first one first. `location`: latitude and longitude, or
    nothing. `site_kind`: what its site is to its clients.
    """

    urls: list[str]
    location: list[float]
    site_kind: Literal["embedded", "pni", "exchange"]


class ReportContent(Struct, frozen=True, kw_only=True):
    """`stores_in_error`: unreadable, stalled or full. Room is of stores that can be written."""

    stores: Count
    stores_in_error: Count
    total_bytes: Count
    free_bytes: Count


class ReportObjects(Struct, frozen=True, kw_only=True):
    """Which objects of the manifest are here: of a report `here`, a bit for each in base64; that of
    place n is bit n, from the lowest of the first byte.

    `manifest`: its version. `count`: of its objects. In changes `came` and `went` are places,
    unless there is `here` instead.
    """

    manifest: str
    count: Count
    here: str | UnsetType = UNSET
    came: list[Count] | UnsetType = UNSET
    went: list[Count] | UnsetType = UNSET


class Report(Struct, frozen=True, kw_only=True):
    """What an appliance tells the control plane: a report, or what has changed since a serial.

    `session`: serials and numbers mean something within one session only. `after`: of changes, the
    serial that they go on from. `routes`: by prefix, best first; in changes an empty array is a
    prefix gone. `attributes`: by number; in changes those alone that `routes` there refers to.
    `table`: in place of both in a report that is pushed to who may know the routes from another.
    """

    schema: Literal["ocaserve.report/1"]
    kind: Literal["report", "changes"]
    appliance: str
    session: str
    serial: Count
    digest: Digest
    complete: bool
    routes: dict[str, list[ReportRoute]] | UnsetType = UNSET
    attributes: dict[str, ReportAttributes] | UnsetType = UNSET
    table: Digest | UnsetType = UNSET
    site: str | UnsetType = UNSET
    after: Count | UnsetType = UNSET
    as_of: Time | UnsetType = UNSET
    prefix_digest: PrefixDigest | UnsetType = UNSET
    place: ReportPlace | UnsetType = UNSET
    health: ReportHealth | UnsetType = UNSET
    capacity: ReportCapacity | UnsetType = UNSET
    content: ReportContent | UnsetType = UNSET
    objects: ReportObjects | UnsetType = UNSET
    peers: list[ReportPeer] | UnsetType = UNSET
    totals: Totals | UnsetType = UNSET


class Peers(Struct, frozen=True, kw_only=True):
    """Sessions with their families, and the sums over all."""

    peers: list[ReportPeer]
    totals: Totals


def report_schema() -> dict[str, Any]:
    """The JSON Schema of `Report`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(Report),
    }


def schema_text() -> str:
    """The file in docs/."""
    return json.dumps(report_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
