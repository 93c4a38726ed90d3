"""Which routes are kept but not used, each for one reason that is counted and shown.

ExaBGP passes on whatever a router says, so the policy is ours: what cannot be a client's network,
what would take more clients than anybody meant to send here, and what is broken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bgp.address_families import BY_NUMBER, FAMILIES, IPV4, IPV6
from bgp.attributes import NO_NEXT_HOPS, Attributes
from bgp.prefixes import Prefix, parse_prefix
from ocaserve.steering.communities import Meanings

FAMILY_OFF = "family-off"
DEFAULT_ROUTE = "default-route"
BOGON = "bogon"
TOO_SHORT = "too-short"
TOO_LONG = "too-long"
AS_LOOP = "as-loop"
PATH_TOO_LONG = "path-too-long"
NO_NEXT_HOP = "no-nexthop"
EMPTY_PATH = "empty-path"
MALFORMED = "malformed"
RPKI_INVALID = "rpki-invalid"
COMMUNITY = "community"

ORIGINS = ("igp", "egp", "incomplete")

REASONS: Mapping[str, str] = {
    FAMILY_OFF: "the peer's `families` do not list this one",
    DEFAULT_ROUTE: "it covers the whole Internet, which is nobody's network",
    BOGON: "private, reserved or documentation addresses (RFC 6890); see `allow_bogons`",
    TOO_SHORT: "more addresses than one provider's network holds",
    TOO_LONG: "fewer addresses than a steering decision is made for",
    AS_LOOP: "our own AS stands in its path (RFC 4271 section 9.1.2)",
    PATH_TOO_LONG: "its path has more AS numbers than `longest_path`",
    NO_NEXT_HOP: "the router gave no next hop, or 0.0.0.0",
    EMPTY_PATH: "no AS stands in its path, though the router is of another AS than ours "
    "(RFC 4271 section 5.1.2)",
    MALFORMED: "a mandatory attribute is missing (RFC 7606 section 3), ORIGIN is not one of its "
    "three values, or AS 0 stands in the path (RFC 7607)",
    RPKI_INVALID: 'RPKI says another AS owns it, and `rpki_invalid` is "exclude"',
    COMMUNITY: 'a community of it is "exclude" in `[bgp.communities]`',
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
class PeerPolicy:
    """What is taken of one peer. max_attribute_bytes: of memory, see `paths.Allowance`."""

    families: frozenset[int] = frozenset(row.number for row in FAMILIES if row.is_default)
    max_prefixes: int = 2_000_000
    max_paths: int = 64
    max_attribute_bytes: int = 512 << 20
    hold_time_s: int = 90  # that we offer
    takes_add_path: bool = True


_ANY_PEER = PeerPolicy()


@dataclass(frozen=True)
class Policy:
    """What is taken. Lengths are (shortest, longest) by version of IP, both included."""

    lengths: Mapping[int, tuple[int, int]] = field(
        default_factory=lambda: {IPV4: (8, 31), IPV6: (19, 64)}
    )
    refuses_bogons: bool = True
    allowed_bogons: tuple[Prefix, ...] = ()
    longest_path: int = 100
    excludes_rpki_invalid: bool = False
    communities: Meanings = field(default_factory=dict)
    peers: Mapping[str, PeerPolicy] = field(default_factory=dict)  # by address

    def of_peer(self, address: str) -> PeerPolicy:
        """What one peer may say; one that nobody configured says it in a recording."""
        return self.peers.get(address, _ANY_PEER)


class _Network(NamedTuple):
    length: int
    bits: int


class PrefixFilter:
    """The prefixes of one family. Most are judged by their first octet alone."""

    def __init__(self, family: int, policy: Policy) -> None:
        version = BY_NUMBER[family].version
        self._shortest, self._longest = policy.lengths[version]
        names = (BOGONS_4 if version == IPV4 else BOGONS_6) if policy.refuses_bogons else ()
        self._suspects = _by_first_octet(parse_prefix(name) for name in names)
        self._allowed = [
            _Network(each.length, each.bits)
            for each in policy.allowed_bogons
            if each.family == version
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
    attributes: Attributes, next_hop: str, local_as: int, peer_as: int, longest_path: int
) -> str | None:
    """Why a route with these attributes is not used; None when it is.

    local_as, peer_as: 0 where they are not known, and so whether the session is external.
    """
    if next_hop in NO_NEXT_HOPS:
        return NO_NEXT_HOP
    if attributes.is_lacking or attributes.values.get("origin") not in ORIGINS:
        return MALFORMED
    path = attributes.path
    if not path and local_as and peer_as and local_as != peer_as:
        return EMPTY_PATH
    if 0 in path:
        return MALFORMED
    if local_as in path:
        return AS_LOOP
    return PATH_TOO_LONG if attributes.path_length > longest_path else None
