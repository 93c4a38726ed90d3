"""The accepted routes in forms that other programs read.

CSV, a line for each route; and the deep coverage zone file of Apache Traffic Control, which maps
networks to the caches that serve them: one zone, this appliance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from bgp.address_families import IPV4, IPV6
from bgp.prefixes import format_address, format_prefix
from ocaserve.steering.paths import Path, origin_of, paths_of
from ocaserve.steering.report import Snapshot, pieces_of

_ROUTES_A_PIECE = 2_000

CSV_FIELDS = (
    "prefix", "peer", "path_id", "best", "path_length", "med", "origin_as", "next_hop", "as_path",
    "communities", "rov", "reason",
)  # fmt: skip


def render_csv(snapshot: Snapshot, *, is_filtered: bool = False) -> Iterator[bytes]:
    """RFC 4180, with a heading. No value holds a comma, a quote or a line end of its own."""
    yield (",".join(CSV_FIELDS) + "\r\n").encode()
    for family, length, entries in pieces_of(snapshot, _ROUTES_A_PIECE):
        lines = [
            _csv_line(format_prefix(family, length, bits), path, place == 0)
            for bits, entry in entries
            for place, path in enumerate(paths_of(entry))
            if (path.reason is not None) is is_filtered
        ]
        yield "".join(lines).encode()


def _csv_line(prefix: str, path: Path, is_best: bool) -> str:
    attributes: dict[str, Any] = json.loads(path.attributes.text)
    fields = (
        prefix,
        path.source.address,
        format_address(4, path.path_id) if path.path_id else "",
        "yes" if is_best and path.reason is None else "no",
        path.attributes.path_length,
        path.attributes.med,
        origin_of(path.source, path.attributes) or "",
        attributes["next_hop"],
        describe_path(attributes["as_path"]),
        " ".join(attributes.get("communities", ())),
        path.rov or "",
        path.reason or "",
    )
    return ",".join(map(str, fields)) + "\r\n"


def describe_path(as_path: list[Any]) -> str:
    """`"65001 64500 {64501 64502}"`."""
    return " ".join(
        f"{{{' '.join(map(str, each))}}}" if isinstance(each, list) else str(each)
        for each in as_path
    )


def render_coverage_zones(snapshot: Snapshot, zone: str, cache: str) -> Iterator[bytes]:
    """Apache Traffic Control's deep coverage zone file: `network`, `network6`, `caches`."""
    names = json.dumps({"caches": [cache]})[1:-1]
    yield f'{{"deepCoverageZones":{{{json.dumps(zone)}:{{{names}'.encode()
    for family, name in ((IPV4, "network"), (IPV6, "network6")):
        yield f',"{name}":['.encode()
        comma = ""
        levels = [level for level in snapshot if level[0] == family]
        for _, length, entries in pieces_of(levels, _ROUTES_A_PIECE):
            networks = [
                f'"{format_prefix(family, length, bits)}"'
                for bits, entry in entries
                if paths_of(entry)[0].reason is None
            ]
            if networks:
                yield (comma + ",\n".join(networks)).encode()
                comma = ",\n"
        yield b"]"
    yield b"}}}\n"
