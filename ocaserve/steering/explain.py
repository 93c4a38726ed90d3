"""Routes as a person or a program looks them up: in words, with rivals and reasons."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from bgp.prefixes import Prefix, format_address
from ocaserve.steering.filters import REASONS, RPKI_INVALID
from ocaserve.steering.lookup import Match, best_cover, covering, more_specific
from ocaserve.steering.paths import Path, origin_of, paths_of
from ocaserve.steering.report import Snapshot
from ocaserve.steering.rib import RoutingTable

MOST_SHOWN = 1_000


def path_values(path: Path) -> dict[str, Any]:
    """One route with all that is known of it."""
    return {
        "peer": path.source.address,
        "path_id": format_address(4, path.path_id) if path.path_id else None,
        "reason": path.reason,
        "rov": path.rov,
        "confirmed": path.generation == path.source.generation,
        "path_length": path.attributes.path_length,
        "med": path.attributes.med,
        "attributes": json.loads(path.attributes.text),
    }


def match_values(match: Match) -> dict[str, Any]:
    """A prefix and all its routes, best first."""
    return {"prefix": str(match.prefix), "routes": [path_values(path) for path in match.paths]}


def look_up(table: RoutingTable, prefix: Prefix) -> dict[str, Any]:
    """The route of a prefix or address, what else covers it, and what lies inside.

    `differs_inside`: a client inside may have another route, so an answer for the whole prefix does
    not hold for each address of it (RFC 7871 section 7.2.1).
    """
    best = best_cover(table, prefix)
    found = list(islice(more_specific(table, prefix), MOST_SHOWN + 1))
    return {
        "query": str(prefix),
        "match": _judged_values(table, best) if best else None,
        "covering": [_judged_values(table, match) for match in covering(table, prefix)],
        "more_specific": [match_values(match) for match in found[:MOST_SHOWN]],
        "more_specific_cut": len(found) > MOST_SHOWN,
        "differs_inside": any(match.best is not None for match in found),
    }


def _judged_values(table: RoutingTable, match: Match) -> dict[str, Any]:
    """A prefix and its routes, with the words of RPKI where it was asked."""
    values, validator = match_values(match), table.validator
    for route, path in zip(values["routes"], match.paths, strict=True):
        if path.rov is not None and validator is not None:
            origin = origin_of(path.source, path.attributes)
            route["rpki"] = validator.explain(match.prefix, origin)
    return values


def list_routes(snapshot: Snapshot, *, is_filtered: bool, most: int) -> list[dict[str, Any]]:
    """The first routes of a snapshot, accepted or filtered ones, a line for each prefix."""
    matches = (
        Match(Prefix(family, length, bits), paths)
        for family, length, entries in snapshot
        for bits, entry in entries.items()
        if (paths := [p for p in paths_of(entry) if (p.reason is not None) is is_filtered])
    )
    return [match_values(match) for match in islice(matches, most)]


def explain_route(found: dict[str, Any]) -> list[str]:
    """Why a lookup came to its result, in sentences; the one that decides stands first."""
    match, query = found["match"], found["query"]
    if match is None:
        said = [f"no accepted route covers {query}"]
    else:
        best, *rivals = match["routes"]
        said = [
            f"{match['prefix']} is the longest accepted prefix that covers {query}, "
            f"announced by {_name(best)}"
        ]
        said += _tell_marks(best)
        said += [_compare(best, rival) for rival in rivals if rival["reason"] is None]
        if not best["confirmed"]:
            said.append("the peer has not confirmed it since its session was lost")
        if "rpki" in best:
            said.append(best["rpki"])
    said += _tell_filtered(found["covering"])
    if found["differs_inside"]:
        said.append("more specific prefixes inside have routes of their own")
    return said


def _name(route: dict[str, Any]) -> str:
    """Whose route it is; with add-path, several are of one peer."""
    return f"{route['peer']} path-id {route['path_id']}" if route["path_id"] else route["peer"]


def _tell_marks(route: dict[str, Any]) -> Iterator[str]:
    """What its communities make of it."""
    attributes = route["attributes"]
    if attributes.get("backup"):
        yield "its communities make it a backup, behind all others of this prefix"
    if "weight" in attributes:
        yield f"its communities give it the weight {attributes['weight']:g}"


def _compare(best: dict[str, Any], rival: dict[str, Any]) -> str:
    if best["attributes"].get("backup") != rival["attributes"].get("backup"):
        return f"rival {_name(rival)}: its communities make it a backup"
    for name, what in (("path_length", "its path is longer"), ("med", "its MED is higher")):
        if best[name] != rival[name]:
            return f"rival {_name(rival)}: {what} ({rival[name]} against {best[name]})"
    what = "path identifier" if best["peer"] == rival["peer"] else "peer's address"
    return f"rival {_name(rival)}: equal but for the {what}, which is higher"


def _tell_filtered(covers: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"{cover['prefix']} from {_name(route)} is not used: {route['reason']}: "
        f"{route['rpki'] if route['reason'] == RPKI_INVALID else REASONS[route['reason']]}"
        for cover in covers
        for route in cover["routes"]
        if route["reason"] is not None
    ]
