"""Which routes are kept but not used, each for one reason that is counted and shown.

ExaBGP passes on whatever a router says, so the policy is ours: what cannot be a client's network,
what would take more clients than anybody meant to send here, and what is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bgp.messages import Attributes
from bgp.prefixes import Prefix, parse_prefix

FAMILY_OFF = "family-off"
DEFAULT_ROUTE = "default-route"
BOGON = "bogon"
TOO_SHORT = "too-short"
TOO_LONG = "too-long"
AS_LOOP = "as-loop"
PATH_TOO_LONG = "path-too-long"
NO_NEXT_HOP = "no-nexthop"
MALFORMED = "malformed"
RPKI_INVALID = "rpki-invalid"

REASONS: Mapping[str, str] = {
    FAMILY_OFF: "the peer's `families` do not list this one",
    DEFAULT_ROUTE: "it covers the whole Internet, which is nobody's network",
    BOGON: "private, reserved or documentation addresses (RFC 6890); see `allow_bogons`",
    TOO_SHORT: "more addresses than one provider's network holds",
    TOO_LONG: "fewer addresses than a steering decision is made for",
    AS_LOOP: "our own AS stands in its path (RFC 4271 section 9.1.2)",
    PATH_TOO_LONG: "its path has more AS numbers than `longest_path`",
    NO_NEXT_HOP: "the router gave no next hop, or 0.0.0.0",
    MALFORMED: "ORIGIN is missing or not one of its three values (RFC 7606 section 7.1)",
    RPKI_INVALID: 'RPKI says another AS owns it, and `rpki_invalid` is "exclude"',
}
"""Every reason and what it means, for the manual and for `routes --filtered`."""

BOGONS_4 = (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)  # fmt: skip
BOGONS_6 = (
    "::/3", "4000::/2", "8000::/1",  # all that is not global unicast, 2000::/3
    "2001::/32", "2001:2::/48", "2001:10::/28", "2001:db8::/32", "2002::/16", "3ffe::/16",
    "3fff::/20",
)  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """What is taken. Lengths are (shortest, longest) by family, both included."""

    lengths: Mapping[int, tuple[int, int]] = field(
        default_factory=lambda: {4: (8, 31), 6: (19, 64)}
    )
    refuses_bogons: bool = True
    allowed_bogons: tuple[Prefix, ...] = ()
    longest_path: int = 100
    excludes_rpki_invalid: bool = False
    families: Mapping[str, frozenset[int]] = field(default_factory=dict)  # by peer; absent: both
    max_prefixes: Mapping[str, int] = field(default_factory=dict)  # by peer; absent: the default
    default_max_prefixes: int = 2_000_000


class _Network(NamedTuple):
    length: int
    bits: int


class PrefixFilter:
    """The prefixes of one family. Most are judged by their first octet alone."""

    def __init__(self, family: int, policy: Policy) -> None:
        self._shortest, self._longest = policy.lengths[family]
        names = (BOGONS_4 if family == 4 else BOGONS_6) if policy.refuses_bogons else ()
        self._suspects = _by_first_octet(parse_prefix(name) for name in names)
        self._allowed = [
            _Network(each.length, each.bits)
            for each in policy.allowed_bogons
            if each.family == family
        ]

    def judge(self, length: int, bits: int) -> str | None:
        """Why the prefix is not used; None when it is."""
        if not length:
            return DEFAULT_ROUTE
        octet = bits >> (length - 8) if length >= 8 else bits << (8 - length)
        suspects = self._suspects.get(octet)
        if (
            suspects
            and _is_within(length, bits, suspects)
            and not _is_within(length, bits, self._allowed)
        ):
            return BOGON
        if length < self._shortest:
            return TOO_SHORT
        return TOO_LONG if length > self._longest else None


def _by_first_octet(prefixes: Iterable[Prefix]) -> dict[int, list[_Network]]:
    found: dict[int, list[_Network]] = {}
    for prefix in prefixes:
        spare = max(0, 8 - prefix.length)
        first = prefix.bits << spare if spare else prefix.bits >> (prefix.length - 8)
        for octet in range(first, first + (1 << spare)):
            found.setdefault(octet, []).append(_Network(prefix.length, prefix.bits))
    return found


def _is_within(length: int, bits: int, networks: Sequence[_Network]) -> bool:
    return any(
        length >= outer and bits >> (length - outer) == leading for outer, leading in networks
    )


def judge_attributes(
    attributes: Attributes, next_hop: str, local_as: int, longest_path: int
) -> str | None:
    """Why a route with these attributes is not used; None when it is."""
    if next_hop in ("", "0.0.0.0", "::"):  # noqa: S104 - a next hop, not an address to listen on
        return NO_NEXT_HOP
    if attributes.values.get("origin") not in ("igp", "egp", "incomplete"):
        return MALFORMED
    if local_as in attributes.path:
        return AS_LOOP
    return PATH_TOO_LONG if attributes.path_length > longest_path else None
