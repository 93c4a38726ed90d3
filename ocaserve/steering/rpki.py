"""Route origin validation (RFC 6811) from a file of validated payloads.

The file is JSON in the form that Routinator, rpki-client and stayrtr export: an object whose `roas`
are objects with `prefix`, `maxLength`, `asn` (a number, or `"AS64500"`) and, where the program says
so, `expires` (seconds since 1970). A verdict is an annotation; only a policy of "exclude" makes a
filter of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, NamedTuple, TypeAlias

import msgspec

from bgp.prefixes import WIDTH, Prefix, parse_prefix

VALID, INVALID, NOT_FOUND = "valid", "invalid", "not-found"
_MOST_AS = 2**32 - 1


class VrpError(ValueError):
    """The file is not in that form; the text says what is wrong."""


class Vrp(NamedTuple):
    """One payload: `asn` may originate `prefix`, and parts of it up to length `longest`."""

    prefix: Prefix
    longest: int
    asn: int
    expires: float = inf  # seconds since 1970

    def __str__(self) -> str:
        return f"{self.prefix} up to /{self.longest} of AS{self.asn}"


_Level: TypeAlias = dict[int, tuple[tuple[int, int, float], ...]]


class VrpTable:
    """Who may originate what.

    left_out: entries that decide nothing, by reason. next_expiry: when the first of those that
    decide expires, seconds since 1970.
    """

    def __init__(self) -> None:
        self.count = 0
        self.left_out: Counter[str] = Counter()
        self.next_expiry = inf
        self._levels: dict[int, dict[int, _Level]] = {family: {} for family in WIDTH}
        self._search: dict[int, tuple[tuple[int, _Level], ...]] = dict.fromkeys(WIDTH, ())

    @property
    def is_empty(self) -> bool:
        """Whether the file had no entries, not even such as were left out."""
        return not self.count and not self.left_out.total()

    def __iter__(self) -> Iterator[Vrp]:
        """All that decide."""
        for family, levels in self._levels.items():
            for length, level in levels.items():
                for bits, payloads in level.items():
                    for longest, asn, expires in payloads:
                        yield Vrp(Prefix(family, length, bits), longest, asn, expires)

    def add(self, vrp: Vrp) -> None:
        """Let it decide."""
        prefix = vrp.prefix
        self.next_expiry = min(self.next_expiry, vrp.expires)
        levels = self._levels[prefix.family]
        level = levels.setdefault(prefix.length, {})
        level[prefix.bits] = (*level.get(prefix.bits, ()), (vrp.longest, vrp.asn, vrp.expires))
        if len(levels) != len(self._search[prefix.family]):
            self._search[prefix.family] = tuple(sorted(levels.items()))
        self.count += 1

    def validate(self, family: int, length: int, bits: int, origin_as: int | None) -> str:
        """The verdict on a route; one whose path ends in a set is never valid (section 2)."""
        verdict = NOT_FOUND
        for covering, level in self._search[family]:
            if covering > length:
                break
            for longest, asn, _ in level.get(bits >> (length - covering), ()):
                if asn == origin_as and length <= longest and asn:
                    return VALID
                verdict = INVALID
        return verdict

    def covering(self, prefix: Prefix) -> Iterator[Vrp]:
        """The payloads that have a word in the verdict on a prefix, the shortest first."""
        family, length, bits = prefix
        for covering, level in self._search[family]:
            if covering <= length:
                outer = bits >> (length - covering)
                for longest, asn, expires in level.get(outer, ()):
                    yield Vrp(Prefix(family, covering, outer), longest, asn, expires)

    def without_expired(self, now: float) -> VrpTable:
        """Another table, of those that have not expired by then."""
        left = VrpTable()
        left.left_out += self.left_out
        for family, levels in self._levels.items():
            for length, level in levels.items():
                for bits, entries in level.items():
                    for longest, asn, expires in entries:
                        if expires > now:
                            left.add(Vrp(Prefix(family, length, bits), longest, asn, expires))
                        else:
                            left.left_out["expired"] += 1
        return left

    def explain(self, prefix: Prefix, origin_as: int | None) -> str:
        """Which payload decides on a route, and why, in a sentence."""
        found = list(self.covering(prefix))
        if not found:
            return f"RPKI says {NOT_FOUND}: no payload covers {prefix}"
        own = [vrp for vrp in found if vrp.asn == origin_as and vrp.asn]
        for vrp in own:
            if prefix.length <= vrp.longest:
                return f"RPKI says {VALID} by {vrp}"
        if own:
            longest = max(own, key=lambda vrp: vrp.longest)
            return f"RPKI says {INVALID}: the length {prefix.length} is beyond {longest}"
        origin = "its path ends in a set" if origin_as is None else f"its origin is AS{origin_as}"
        others = len(found) - 1
        more = f", and {others} more of other AS numbers" if others else ""
        return f"RPKI says {INVALID}: {origin}, and there is {found[-1]}{more}"


def parse_vrps(text: bytes, now: float = 0.0) -> VrpTable:
    """Read a file's content. Raises VrpError.

    now: seconds since 1970; what has expired by then is left out.
    """
    try:
        document = msgspec.json.decode(text)
        roas = document["roas"]
        table = VrpTable()
        for roa in roas:
            _add(table, roa, now)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise VrpError(f"not a list of validated payloads: {error}") from None
    if table.left_out["malformed"] and not table.count:
        raise VrpError("none of its entries has a prefix, a maxLength and an asn that decide")
    return table


def _add(table: VrpTable, roa: Mapping[str, Any], now: float) -> None:
    try:
        prefix = parse_prefix(roa["prefix"])
        longest = roa.get("maxLength")
        longest = prefix.length if longest is None else int(longest)
        asn = int(str(roa["asn"]).upper().removeprefix("AS"))
        expires = roa.get("expires")
        expires = inf if expires is None else float(expires)
    except (KeyError, ValueError, AttributeError, TypeError, OverflowError):
        table.left_out["malformed"] += 1
        return
    if not 0 <= asn <= _MOST_AS:
        table.left_out["malformed"] += 1
    elif not prefix.length <= longest <= WIDTH[prefix.family]:
        table.left_out["max-length"] += 1
    elif expires <= now:
        table.left_out["expired"] += 1
    else:
        table.add(Vrp(prefix, longest, asn, expires))
