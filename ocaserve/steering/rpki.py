"""Route origin validation (RFC 6811) from a file of validated payloads.

The file is JSON in the form that Routinator, rpki-client and stayrtr export: an object whose `roas`
are objects with `prefix`, `maxLength` and `asn` (a number, or `"AS64500"`). A verdict is an
annotation; only a policy of "exclude" makes a filter of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bgp.prefixes import Prefix, parse_prefix

VALID, INVALID, NOT_FOUND = "valid", "invalid", "not-found"


class VrpError(ValueError):
    """The file is not in that form; the text says what is wrong."""


class VrpTable:
    """Who may originate what. `faults`: entries that were left out."""

    def __init__(self) -> None:
        self.count = 0
        self.faults = 0
        self._levels: dict[int, dict[int, dict[int, tuple[tuple[int, int], ...]]]] = {4: {}, 6: {}}
        self._search: dict[int, tuple[tuple[int, dict[int, tuple[tuple[int, int], ...]]], ...]]
        self._search = {4: (), 6: ()}

    def add(self, prefix: Prefix, longest: int, asn: int) -> None:
        """One payload: `asn` may originate `prefix`, and parts of it up to length `longest`."""
        levels = self._levels[prefix.family]
        level = levels.setdefault(prefix.length, {})
        level[prefix.bits] = (*level.get(prefix.bits, ()), (longest, asn))
        if len(levels) != len(self._search[prefix.family]):
            self._search[prefix.family] = tuple(sorted(levels.items()))
        self.count += 1

    def validate(self, family: int, length: int, bits: int, origin_as: int | None) -> str:
        """The verdict on a route; one whose path ends in a set is never valid (section 2)."""
        verdict = NOT_FOUND
        for covering, level in self._search[family]:
            if covering > length:
                break
            for longest, asn in level.get(bits >> (length - covering), ()):
                if asn == origin_as and length <= longest and asn:
                    return VALID
                verdict = INVALID
        return verdict


def parse_vrps(text: bytes) -> VrpTable:
    """Read a file's content. Raises VrpError."""
    try:
        document = msgspec.json.decode(text)
        roas = document["roas"]
        table = VrpTable()
        for roa in roas:
            _add(table, roa)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise VrpError(f"not a list of validated payloads: {error}") from None
    if table.faults and not table.count:
        raise VrpError("none of its entries has a prefix, a maxLength and an asn")
    return table


def _add(table: VrpTable, roa: Mapping[str, Any]) -> None:
    try:
        prefix = parse_prefix(roa["prefix"])
        longest = int(roa.get("maxLength", prefix.length))
        asn = int(str(roa["asn"]).upper().removeprefix("AS"))
    except (KeyError, ValueError, AttributeError, TypeError):
        table.faults += 1
        return
    table.add(prefix, longest, asn)
