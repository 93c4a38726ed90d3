"""What other networks may know: whom we can serve, and how (RFC 8008, RFC 8006 section 4.3.8)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ocaserve.fleet.tables import Network, Table

_TYPES = {4: "ipv4cidr", 6: "ipv6cidr"}


def advertise(tables: Iterable[Table], protocols: Sequence[str]) -> dict[str, Any]:
    """The base advertisement object of RFC 8008 section 5.1, to be written as JSON.

    tables: of the appliances that take clients. protocols: by which they deliver, in the words of
    the registry of RFC 8006. A capability without a footprint would be one for everywhere, so where
    nobody is served there is none.
    """
    codes: dict[int, set[int]] = {family: set() for family in _TYPES}
    for table in {each.digest: each for each in tables}.values():
        for family, routes in table.routes.items():
            codes[family].update(routes)
    footprints = [
        {
            "footprint-type": _TYPES[family],
            "footprint-value": [str(Network(family, code)) for code in sorted(found)],
        }
        for family, found in codes.items()
        if found
    ]
    if not footprints or not protocols:
        return {"capabilities": []}
    values = {
        "FCI.DeliveryProtocol": {"delivery-protocols": list(protocols)},
        "FCI.RedirectionMode": {"redirection-modes": ["HTTP-I"]},
    }
    return {
        "capabilities": [
            {"capability-type": name, "capability-value": value, "footprints": footprints}
            for name, value in values.items()
        ]
    }
