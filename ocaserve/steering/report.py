"""The report: all that the control plane is to know, and what is new of it.

Both are JSON in pieces, made from what cannot change any more, so a thread may make them while
the table goes on. docs/report.md explains the form, `report_shapes` states it.

    report   {"kind": "report", ..., sections, "routes": {prefix: [route, ...]}, "attributes": {}}
    changes  the same form: only what is new; a prefix with no routes is gone

A consumer lets the sections and prefixes of changes take the place of its own. Attribute numbers
are of the session and never used again, so it may keep those it has.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bgp.prefixes import format_address, format_prefix
from ocaserve.steering.families import Family, Peer
from ocaserve.steering.paths import AttributeSet, Entry, Path, paths_of
from ocaserve.steering.sessions import Sessions
from ocaserve.steering.table_digest import digest_of

SCHEMA = "ocaserve.report/1"
SECTIONS = ("place", "health", "capacity", "content", "peers", "totals")
_ROUTES_A_PIECE = 2_000  # about 100 KB of text, made in a few milliseconds


@dataclass(frozen=True)
class Heading:
    """What stands first in a report and in changes."""

    appliance: str
    site: str
    session: str
    serial: int
    digest: str
    is_complete: bool
    as_of: float  # when the serial came to be, seconds since 1970
    prefix_digest: str = ""

    def values(self, kind: str) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "kind": kind,
            "appliance": self.appliance,
            "site": self.site,
            "session": self.session,
            "serial": self.serial,
            "as_of": round(self.as_of, 3),
            "digest": self.digest,
            "prefix_digest": self.prefix_digest,
            "complete": self.is_complete,
        }


Snapshot = Sequence[tuple[int, int, Mapping[int, Entry | None]]]
"""(family, length, the entry of each prefix by its bits)."""


def render_report(
    heading: Heading, sections: Mapping[str, Any], snapshot: Snapshot
) -> Iterator[bytes]:
    """A whole report."""
    yield _open({**heading.values("report"), **sections})
    yield from _render_routes(snapshot, keeps_empty=False)


def render_brief(
    heading: Heading, sections: Mapping[str, Any], snapshot: Snapshot
) -> Iterator[bytes]:
    """A report to who may know the table: that is told by its digest alone."""
    table = digest_of(snapshot)
    yield _open({**heading.values("report"), "table": table, **sections}) + b"}\n"


def render_changes(
    heading: Heading, after: int, sections: Mapping[str, Any], snapshot: Snapshot
) -> Iterator[bytes]:
    """What is new since the serial `after`: the entries of the prefixes that changed."""
    yield _open({**heading.values("changes"), "after": after, **sections})
    yield from _render_routes(snapshot, keeps_empty=True)


def _open(values: Mapping[str, Any]) -> bytes:
    """An object that is to be gone on with."""
    return json.dumps(values, separators=(",", ":"))[:-1].encode()


def _render_routes(snapshot: Snapshot, *, keeps_empty: bool) -> Iterator[bytes]:
    texts: dict[Path, str] = {}
    yield b',"routes":{'
    comma = ""
    for family, length, entries in pieces_of(snapshot, _ROUTES_A_PIECE):
        lines = [
            f'"{format_prefix(family, length, bits)}":[{routes}]'
            for bits, entry in entries
            if (routes := _render_entry(entry, texts)) or keeps_empty
        ]
        if lines:
            yield (comma + ",\n".join(lines)).encode()
            comma = ",\n"
    yield b'},"attributes":{'
    yield from _render_attributes({path.attributes.number: path.attributes for path in texts})
    yield b"}}\n"


def pieces_of(
    snapshot: Snapshot, most: int
) -> Iterator[tuple[int, int, list[tuple[int, Entry | None]]]]:
    """The entries of a snapshot, so many at a time at the most, with family and length."""
    for family, length, entries in snapshot:
        left = iter(entries.items())
        while some := list(islice(left, most)):
            yield family, length, some


def _render_entry(entry: Entry | None, texts: dict[Path, str]) -> str:
    """The accepted routes of an entry, best first; empty where there are none."""
    if entry.__class__ is Path:
        path = entry
        if path.reason is not None:
            return ""
        return texts.get(path) or _remember(path, texts)
    return ",".join(
        texts.get(path) or _remember(path, texts) for path in paths_of(entry) if path.reason is None
    )


def _remember(path: Path, texts: dict[Path, str]) -> str:
    texts[path] = text = json.dumps(route_values(path), separators=(",", ":"))
    return text


def route_values(path: Path) -> dict[str, Any]:
    """A route as the report has it."""
    values: dict[str, Any] = {
        "peer": path.source.peer_number,
        "attributes": path.attributes.number,
    }
    if path.path_id:
        values["path_id"] = format_address(4, path.path_id)
    if path.rov is not None:
        values["rov"] = path.rov
    return values


def _render_attributes(sets: Mapping[int, AttributeSet]) -> Iterator[bytes]:
    comma = ""
    numbers = list(sets)
    for start in range(0, len(numbers), _ROUTES_A_PIECE):
        some = numbers[start : start + _ROUTES_A_PIECE]
        yield (comma + ",\n".join(f'"{number}":{sets[number].text}' for number in some)).encode()
        comma = ",\n"


# -- sections ------------------------------------------------------------------------------------


def peers_section(sessions: Sessions, expected: Iterable[str]) -> list[dict[str, Any]]:
    """Every session, and every configured peer that none was heard of."""
    heard = [_peer_values(peer) for peer in sessions.peers.values()]
    addresses = {each["address"] for each in heard}
    return heard + [
        {"address": address, "state": "never up", "families": {}}
        for address in expected
        if address not in addresses
    ]


def _peer_values(peer: Peer) -> dict[str, Any]:
    return {
        "peer": peer.number,
        "address": peer.session.peer,
        "local_address": peer.session.local,
        "as": peer.peer_as,
        "opened_as": peer.opened_as,
        "local_as": peer.local_as,
        "state": peer.state,
        "since": round(peer.since, 3),
        "ups": peer.ups,
        "reason": peer.reason,
        "notice": peer.notice,
        "hold_time_s": peer.hold_time_s,
        "router_id": peer.router_id,
        "restart_s": peer.restart_s,
        "updated": None if peer.updated is None else round(peer.updated, 3),
        "families": {
            family.name: _family_values(family, peer) for family in peer.families.values()
        },
        "counts": {name: number for name, number in sorted(peer.counts.items()) if number},
    }


def _family_values(family: Family, peer: Peer) -> dict[str, Any]:
    source = family.source
    spoken = peer.families_spoken
    return {
        "configured": not source.is_off,
        "negotiated": None if spoken is None else source.family in spoken,
        "add_path": source.family in peer.add_path,
        "state": family.state.value,
        "since": round(family.since, 3),
        "complete": family.is_complete,
        "routes": source.routes,
        "accepted": source.accepted,
        "filtered": {reason: n for reason, n in sorted(source.filtered.items()) if n},
        "unconfirmed": source.old,
        "limit": source.limit,
        "paths_left_out": source.paths_left_out,
    }


def totals_section(sessions: Sessions) -> dict[str, Any]:
    """Sums over all peers."""
    sources = [
        family.source for peer in sessions.peers.values() for family in peer.families.values()
    ]
    filtered: dict[str, int] = {}
    for source in sources:
        for reason, number in source.filtered.items():
            if number:
                filtered[reason] = filtered.get(reason, 0) + number
    return {
        "routes": sum(source.routes for source in sources),
        "accepted": sum(source.accepted for source in sources),
        "filtered": dict(sorted(filtered.items())),
        "unconfirmed": sum(source.old for source in sources),
        "attribute_sets": sessions.table.attribute_sets,
    }


def is_complete(sessions: Sessions, expected: Iterable[str]) -> bool:
    """Whether the table is what all peers announce: every session up, every family loaded."""
    up = {peer.session.peer for peer in sessions.peers.values() if peer.state == "up"}
    return (
        bool(up)
        and set(expected) <= up
        and all(
            family.is_complete
            for peer in sessions.peers.values()
            for family in peer.families.values()
            if peer.is_carrying(family.source.family)
        )
    )
