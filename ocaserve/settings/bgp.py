"""`[bgp]` and `[[bgp.neighbor]]`: the routers that tell which networks to serve."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Struct

from bgp.address_families import BY_NAME, FAMILIES, QUOTED_NAMES
from bgp.configuration import ConfigurationError, check_md5_key
from ocaserve.findings import Finding
from ocaserve.schema import choice, number, text

_VERSIONS = ("ipv4", "ipv6")  # of IP, whose prefixes have bounds
_YES_OR_NO = "true or false"
_AS_NUMBER = 4_294_967_295
_COMMUNITY = (
    "two numbers up to 65535, such as `65001:100`, or three up to 4294967295, such as `65001:1:100`"
)
_LEAST_WEIGHT, _MOST_WEIGHT = 0.01, 100
_MEANING = f'"exclude", "backup", or a weight from {_LEAST_WEIGHT} to {_MOST_WEIGHT}'


def _parse_network(given: str) -> None:
    try:
        ipaddress.ip_network(given)
    except ValueError as error:
        raise ValueError(f"{error}; must be a prefix, such as 10.0.0.0/8") from None


class NeighborSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A router of the provider; one table for each session."""

    address: Annotated[str, text("an IPv4 or IPv6 address", "of the router")]
    peer_as: Annotated[int, number("(an AS number)", 1, _AS_NUMBER, "of the router")]
    local_address: Annotated[
        str,
        text(
            "an address of the router's family",
            "ours, from which we connect and which the router knows; empty for the system's "
            "choice, which is not enough where the router connects to us",
        ),
    ] = ""
    port: Annotated[
        int,
        number(
            "(a TCP port)", 1, 65_535,
            "of the router, to which we connect; ours, to which it connects, when `passive`",
        ),
    ] = 179  # fmt: skip
    passive: Annotated[bool, text(_YES_OR_NO, "wait for the router to connect")] = False
    listen_port: Annotated[
        int,
        number(
            "(a TCP port)", 0, 65_535,
            "to which the router may connect as well, 0 for none: after a long outage it may be "
            "back sooner than we, who try each minute. Below 1024 needs a privilege",
        ),
    ] = 0  # fmt: skip
    families: Annotated[
        list[str], text(f"some of {QUOTED_NAMES}", "that the router tells of", min_length=1)
    ] = msgspec.field(
        default_factory=lambda: [row.name for row in FAMILIES if row.is_default]
    )  # fmt: skip
    md5_file: Annotated[
        str,
        text(
            "a file",
            "with the key of TCP MD5 (RFC 2385) alone in its first line; only its owner may read "
            "it. On FreeBSD the kernel has the key, see setkey(8), and the file says that there "
            "is one",
        ),
    ] = ""
    hold_time_s: Annotated[
        int,
        number(
            "seconds", 3, 65_535,
            "without a sign of life from the router, after which the session ends; two full "
            "tables keep the one core of ExaBGP busy for 90 s",
        ),
    ] = 90  # fmt: skip
    max_prefixes: Annotated[
        int,
        number(
            "routes", 1, 10_000_000,
            "that are taken from the router; with more, all of its routes are ignored, since "
            "something is wrong at its side",
        ),
    ] = 2_000_000  # fmt: skip
    max_paths: Annotated[
        int,
        number(
            "routes", 1, 1_000,
            "of one prefix that are taken from the router (RFC 7911); more are left out and "
            "counted, since each change of one costs a look at all of them",
        ),
    ] = 64  # fmt: skip
    max_attribute_bytes: Annotated[
        int,
        number(
            "bytes", 1 << 20, 1 << 40,
            "of memory that the attributes of the router's routes may take, each set of them "
            "counted once; with more, all of its routes are ignored. A full table takes some 60 "
            "MiB, but a route alone may have 13 KiB",
        ),
    ] = 512 << 20  # fmt: skip
    ttl_security: Annotated[
        bool,
        text(
            _YES_OR_NO,
            "take packets from the same link only (GTSM, RFC 5082); the router must do so too",
        ),
    ] = False
    add_path: Annotated[
        bool, text(_YES_OR_NO, "take several paths for a prefix (RFC 7911), if the router has them")
    ] = True


class Bgp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whom we learn routes from, and which of them count. Without a neighbor there is no BGP."""

    router_id: Annotated[
        str, text("an IPv4 address", "that is ours alone in the provider's network")
    ] = ""
    local_as: Annotated[
        int, number("(an AS number)", 0, _AS_NUMBER, "ours; needed as soon as there is a neighbor")
    ] = 0
    user: Annotated[
        str,
        text(
            "the name of an account",
            "of ExaBGP when the appliance is started as root; empty for that of the appliance",
        ),
    ] = ""
    stale_s: Annotated[
        float,
        number(
            "seconds", 0, 86_400,
            "that routes are kept, marked as stale, after a session or ExaBGP went down without "
            "being told to (the graceful restart of RFC 4724)",
        ),
    ] = 120.0  # fmt: skip
    refuse_bogons: Annotated[
        bool, text(_YES_OR_NO, "ignore private, reserved and documentation networks (RFC 6890)")
    ] = True
    allow_bogons: Annotated[
        list[str],
        text(
            "a list of prefixes",
            "networks of those that are taken all the same: the provider's own private ones",
            each="a prefix, such as 10.0.0.0/8",
            parse=_parse_network,
        ),
    ] = msgspec.field(default_factory=list)
    shortest_ipv4: Annotated[
        int, number("bits", 0, 32, "a prefix with fewer is not one network's clients")
    ] = 8
    longest_ipv4: Annotated[int, number("bits", 0, 32, "a prefix with more is ignored")] = 31
    shortest_ipv6: Annotated[
        int, number("bits", 0, 128, "a prefix with fewer is not one network's clients")
    ] = 19
    longest_ipv6: Annotated[int, number("bits", 0, 128, "a prefix with more is ignored")] = 64
    longest_path: Annotated[
        int, number("AS numbers", 1, 4_096, "in the path of a route that is taken")
    ] = 100
    rpki_vrps: Annotated[
        str,
        text(
            "a file",
            "of validated ROA payloads in the JSON form of Routinator, rpki-client and others; "
            "read again when it changes; empty for none",
        ),
    ] = ""
    rpki_invalid: Annotated[
        Literal["annotate", "exclude"],
        choice(
            "what becomes of routes that RPKI calls invalid. More specific routes that a provider "
            "announces to a cache alone often are"
        ),
    ] = "annotate"
    recording: Annotated[
        str,
        text(
            "a file",
            "of routes recorded earlier, which are told once instead of by routers, to show and to "
            "try things: lines of ExaBGP's JSON, or MRT (RFC 6396); plain, .gz, .bz2 or .xz",
        ),
    ] = ""
    communities: Annotated[
        dict[str, Any],
        text(
            f"a table of community = meaning: {_COMMUNITY}; {_MEANING}",
            "what it means that a provider's route has a community. An excluded one is not used; a "
            "backup stands behind all others of the same prefix length; among equals a weight is a "
            "multiple of the share of clients. Of several weights the lowest counts",
        ),
    ] = msgspec.field(default_factory=dict)
    neighbor: list[NeighborSettings] = msgspec.field(default_factory=list)


# -- what is wrong -------------------------------------------------------------------------------


def find_bgp_faults(bgp: Bgp) -> Iterator[Finding]:
    """What single values do not show."""
    if bgp.router_id and not _is_address(bgp.router_id, 4):
        yield Finding("bgp.router_id", "", repr(bgp.router_id), "an IPv4 address")
    if bgp.neighbor and not bgp.router_id:
        yield Finding("bgp.router_id", "missing", allowed="an IPv4 address")
    if bgp.neighbor and not bgp.local_as:
        allowed = f"a whole number from 1 to {_AS_NUMBER:,}"
        yield Finding("bgp.local_as", "missing", allowed=allowed)
    for family in _VERSIONS:
        shortest, longest = getattr(bgp, f"shortest_{family}"), getattr(bgp, f"longest_{family}")
        if shortest > longest:
            yield Finding(
                f"bgp.shortest_{family}", "", str(shortest),
                f"at most bgp.longest_{family} = {longest}", also=(f"bgp.longest_{family}",),
            )  # fmt: skip
    if bgp.recording and bgp.neighbor:
        why = "must not stand beside bgp.neighbor"
        yield Finding("bgp.recording", why, repr(bgp.recording), also=("bgp.neighbor",))
    for community, meaning in bgp.communities.items():
        name = f"bgp.communities.{community}"
        if not _is_community(community):
            yield Finding(name, "is no community", allowed=_COMMUNITY)
        elif not _is_meaning(meaning):
            yield Finding(name, "", repr(meaning), _MEANING)
    for place, neighbor in enumerate(bgp.neighbor):
        yield from _find_neighbor_faults(f"bgp.neighbor[{place}]", neighbor)
    yield from _find_doubles(bgp.neighbor)


def _is_community(text: str) -> bool:
    """Of RFC 1997 or RFC 8092, as it is reported: without leading zeros or spaces."""
    parts = text.split(":")
    most = {2: 65_535, 3: _AS_NUMBER}.get(len(parts), -1)
    return all(
        part.isascii() and part.isdigit() and len(part) <= 10
        and str(int(part)) == part and int(part) <= most
        for part in parts
    )  # fmt: skip


def _is_meaning(value: object) -> bool:
    if isinstance(value, bool):  # which Python counts among the numbers
        return False
    if isinstance(value, int | float):
        return _LEAST_WEIGHT <= value <= _MOST_WEIGHT
    return value in ("exclude", "backup")


def _find_neighbor_faults(name: str, neighbor: NeighborSettings) -> Iterator[Finding]:
    if not _is_address(neighbor.address):
        allowed = "an IPv4 or IPv6 address"
        yield Finding(f"{name}.address", "", repr(neighbor.address), allowed)
    version = 6 if ":" in neighbor.address else 4
    local = f"{name}.local_address"
    if neighbor.local_address and not _is_address(neighbor.local_address, version):
        allowed = f"an IPv{version} address"
        also = (f"{name}.address",)
        yield Finding(local, "", repr(neighbor.local_address), allowed, also=also)
    if not neighbor.local_address and (neighbor.passive or neighbor.listen_port):
        yield Finding(local, "missing; the router connects to it")
    unknown = [family for family in neighbor.families if family not in BY_NAME]
    if unknown or len(set(neighbor.families)) != len(neighbor.families):
        allowed = f"some of {QUOTED_NAMES}, each once"
        yield Finding(f"{name}.families", "", repr(neighbor.families), allowed)


def _find_doubles(neighbors: Sequence[NeighborSettings]) -> Iterator[Finding]:
    seen: dict[tuple[str, str], int] = {}
    for place, neighbor in enumerate(neighbors):
        before = seen.setdefault((neighbor.address, neighbor.local_address), place)
        if before != place:
            yield Finding(
                f"bgp.neighbor[{place}].address", f"is that of bgp.neighbor[{before}] too",
                repr(neighbor.address), "another one, or from another local_address",
                also=(f"bgp.neighbor[{before}].address",),
            )  # fmt: skip


def _is_address(text: str, version: int | None = None) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    is_plain = address.version == 4 or not address.scope_id
    return is_plain and version in (None, address.version) and not address.is_unspecified


def read_md5_key(file: str) -> str:
    """The key in the first line. Raises OSError, or ValueError, which never shows the key."""
    try:
        return check_md5_key(Path(file).read_bytes().decode("ascii").partition("\n")[0])
    except UnicodeDecodeError:
        raise ConfigurationError("must be ASCII") from None


def resolve_bgp_paths(bgp: Bgp, folder: Path) -> Bgp:
    """Paths of a file are relative to its folder."""
    neighbors = [
        msgspec.structs.replace(each, md5_file=str(folder / each.md5_file))
        if each.md5_file
        else each
        for each in bgp.neighbor
    ]
    files = {
        name: str(folder / given)
        for name in ("rpki_vrps", "recording")
        if (given := getattr(bgp, name))
    }
    return msgspec.structs.replace(bgp, neighbor=neighbors, **files)
