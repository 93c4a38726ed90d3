"""`[bgp]` and `[[bgp.neighbor]]`: the routers that tell which networks to serve."""

from __future__ import annotations

import ipaddress
import os
import pwd
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from bgp.configuration import ConfigurationError, check_md5_key
from ocaserve.schema import choice, number, text
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only

FAMILIES = ("ipv4", "ipv6")
_YES_OR_NO = "true or false"
_AS_NUMBER = 4_294_967_295


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
        list[str], text('"ipv4", "ipv6" or both', "that the router tells of", min_length=1)
    ] = msgspec.field(default_factory=lambda: list(FAMILIES))  # fmt: skip
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
            "try things: lines of ExaBGP's JSON, or MRT (RFC 6396); plain, .gz or .bz2",
        ),
    ] = ""
    neighbor: list[NeighborSettings] = msgspec.field(default_factory=list)


# -- what is wrong -------------------------------------------------------------------------------


def find_bgp_faults(bgp: Bgp) -> Iterator[str]:
    """A line for each fault, naming key, value and what is allowed."""
    if bgp.router_id and not _is_address(bgp.router_id, 4):
        yield f"bgp.router_id = {bgp.router_id!r}: must be an IPv4 address"
    if bgp.neighbor and not bgp.router_id:
        yield "bgp.router_id: missing; must be an IPv4 address"
    if bgp.neighbor and not bgp.local_as:
        yield f"bgp.local_as: missing; must be a whole number from 1 to {_AS_NUMBER:,}"
    for place, network in enumerate(bgp.allow_bogons):
        if not _is_network(network):
            yield f"bgp.allow_bogons[{place}] = {network!r}: must be a prefix, such as 10.0.0.0/8"
    for family in FAMILIES:
        shortest, longest = getattr(bgp, f"shortest_{family}"), getattr(bgp, f"longest_{family}")
        if shortest > longest:
            yield f"bgp.shortest_{family} = {shortest}: must be at most bgp.longest_{family}"
    yield from _find_user_faults(bgp.user)
    if bgp.recording and bgp.neighbor:
        yield f"bgp.recording = {bgp.recording!r}: must not stand beside bgp.neighbor"
    elif bgp.recording and not os.access(bgp.recording, os.R_OK):
        yield f"bgp.recording = {bgp.recording!r}: must be a file that can be read"
    for place, neighbor in enumerate(bgp.neighbor):
        for fault in _find_neighbor_faults(neighbor):
            yield f"bgp.neighbor[{place}].{fault}"
    yield from _find_doubles(bgp.neighbor)


def find_absent_vrps(bgp: Bgp) -> Iterator[str]:
    """Why the file of validated payloads cannot be read, which keeps nothing from starting: the
    program that writes it may be on its way.
    """
    if bgp.rpki_vrps and not os.access(bgp.rpki_vrps, os.R_OK):
        yield f"bgp.rpki_vrps = {bgp.rpki_vrps!r}: must be a file that can be read"


def _find_user_faults(user: str) -> Iterator[str]:
    if not user or os.geteuid():  # it is not looked at
        return
    try:
        pwd.getpwnam(user)
    except KeyError:
        yield f"bgp.user = {user!r}: must be the name of an account"


def _find_neighbor_faults(neighbor: NeighborSettings) -> Iterator[str]:
    if not _is_address(neighbor.address):
        yield f"address = {neighbor.address!r}: must be an IPv4 or IPv6 address"
    version = 6 if ":" in neighbor.address else 4
    if neighbor.local_address and not _is_address(neighbor.local_address, version):
        yield f"local_address = {neighbor.local_address!r}: must be an IPv{version} address"
    if not neighbor.local_address and (neighbor.passive or neighbor.listen_port):
        yield "local_address: missing; the router connects to it"
    unknown = [family for family in neighbor.families if family not in FAMILIES]
    if unknown or len(set(neighbor.families)) != len(neighbor.families):
        yield f'families = {neighbor.families!r}: must be "ipv4", "ipv6" or both'
    if neighbor.md5_file:
        yield from _find_key_faults(neighbor.md5_file)


def _find_key_faults(file: str) -> Iterator[str]:
    try:
        read_md5_key(file)
        if not is_owners_only(file):
            yield f"md5_file = {file!r}: {OWNER_ONLY}"
    except OSError as error:
        yield f"md5_file = {file!r}: {error.strerror}"
    except ValueError as error:
        yield f"md5_file = {file!r}: {error}"


def _find_doubles(neighbors: Sequence[NeighborSettings]) -> Iterator[str]:
    seen: dict[tuple[str, str], int] = {}
    for place, neighbor in enumerate(neighbors):
        before = seen.setdefault((neighbor.address, neighbor.local_address), place)
        if before != place:
            yield (
                f"bgp.neighbor[{place}].address = {neighbor.address!r}: is that of "
                f"bgp.neighbor[{before}] too; must be another one, or from another local_address"
            )


def _is_address(text: str, version: int | None = None) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    is_plain = address.version == 4 or not address.scope_id
    return is_plain and version in (None, address.version) and not address.is_unspecified


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


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
