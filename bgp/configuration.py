"""The configuration of ExaBGP 5.0, as text made from plain records.

What is written here was measured with 5.0.15:

- `adj-rib-in` is on by default: a second copy of the table, +1.1 GB at a million routes.
- `graceful-restart` makes FRR and GoBGP send End-of-RIB, which is how a table is known to be whole.
  We announce nothing, so what a router keeps of ours for that time harms nobody.
- `extended-message` allows UPDATEs of 64 KiB, which become lines of 400 KB for no gain.
- `log.statistics` prints a line for each UPDATE, `api.cli` starts a process and looks for pipes,
  `api.ack` writes answers among the routes.
- `api.terminate`: when ExaBGP cannot write to its child, it gives up the sessions for good but runs
  on; then it is better that it ends, and is started anew.

No value reaches the text unchecked: a word that could end a statement, a string or a line raises
ConfigurationError.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bgp.address_families import BY_NAME, FAMILIES, QUOTED_NAMES

MD5_KEY_BYTES = 80  # TCP_MD5SIG_MAXKEYLEN, linux/tcp.h
GTSM_TTL = 255  # RFC 5082 section 3


class ConfigurationError(ValueError):
    """A value that must not stand in the configuration; the text names it and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class NeighborConfiguration:
    """One router that we learn routes from."""

    address: str
    peer_as: int
    local_as: int
    router_id: str
    local_address: str = ""  # empty: what the system chooses
    port: int = 179  # of the router; of ours where it only connects to us
    listen_port: int = 0  # where the router may connect to us too; 0 for nowhere
    passive: bool = False  # wait for the router to connect
    families: tuple[str, ...] = tuple(row.name for row in FAMILIES if row.is_default)
    md5_key: str = ""
    hold_time_s: int = 90
    restart_s: int = 120  # announced as our time to restart (RFC 4724)
    add_path: bool = True  # take several paths for a prefix (RFC 7911)
    ttl_security: bool = False  # GTSM, RFC 5082: the router is on the same link


def render_configuration(neighbors: Sequence[NeighborConfiguration], feeder: Sequence[str]) -> str:
    """The configuration file.

    feeder: the words of the command that ExaBGP starts as its child; the first is an absolute path,
    since ExaBGP works in "/". Raises ConfigurationError.
    """
    if not feeder or not feeder[0].startswith("/"):
        raise ConfigurationError(f"feeder {list(feeder)!r}: must start with an absolute path")
    run = " ".join(_quote(word, "feeder") for word in feeder)
    blocks = ["".join(_neighbor_lines(place, each)) for place, each in enumerate(neighbors)]
    return f"process feeder {{\n  run {run};\n  encoder json;\n  respawn true;\n}}\n" + "".join(
        blocks
    )


def _neighbor_lines(place: int, neighbor: NeighborConfiguration) -> Iterator[str]:
    statements = {
        "router-id": _ipv4(neighbor.router_id, "router_id"),
        "local-address": _address(neighbor.local_address) if neighbor.local_address else "auto",
        "local-as": _number(neighbor.local_as, "local_as", 1, 2**32 - 1),
        "peer-as": _number(neighbor.peer_as, "peer_as", 1, 2**32 - 1),
        "hold-time": _number(neighbor.hold_time_s, "hold_time_s", 3, 65_535),
        **_meeting(neighbor),
        "adj-rib-in": "false",
        **_protection(neighbor),
    }
    yield f"\nneighbor {_address(neighbor.address)} {{\n"
    yield from (f"  {name} {value};\n" for name, value in statements.items())
    yield from _block("capability", _capabilities(neighbor))
    yield from _block("family", [_family(name) for name in neighbor.families])
    # The name of a section must be unique in the file.
    yield f"  api neighbor-{place} {{\n    processes [ feeder ];\n    neighbor-changes;\n"
    yield "    receive { parsed; update; open; notification; refresh; }\n  }\n}\n"


def _meeting(neighbor: NeighborConfiguration) -> dict[str, str]:
    """Who connects to whom."""
    port = _number(neighbor.port, "port", 1, 65_535)
    if neighbor.passive:
        listen = neighbor.listen_port or neighbor.port
        return {"passive": "true", "listen": _number(listen, "listen_port", 1, 65_535)}
    listening = _number(neighbor.listen_port, "listen_port", 0, 65_535)
    # Left to itself, ExaBGP makes a neighbor passive that connects to no port of its own.
    here = {"listen": listening} if neighbor.listen_port else {}
    return {"passive": "false", "connect": port, **here}


def _protection(neighbor: NeighborConfiguration) -> dict[str, str]:
    """What keeps strangers out of the session."""
    statements = {}
    if neighbor.md5_key:
        statements["md5-password"] = _quote(check_md5_key(neighbor.md5_key), "md5_key")
        statements["md5-base64"] = "false"
    if neighbor.ttl_security:
        statements |= {"outgoing-ttl": str(GTSM_TTL), "incoming-ttl": str(GTSM_TTL)}
    return statements


def _capabilities(neighbor: NeighborConfiguration) -> list[str]:
    return [
        "asn4 enable",
        "route-refresh enable",
        f"graceful-restart {_number(neighbor.restart_s, 'restart_s', 1, 4095)}",
        f"add-path {'receive' if neighbor.add_path else 'disable'}",
        "extended-message disable",
    ]


def _block(name: str, statements: Sequence[str]) -> Iterator[str]:
    yield f"  {name} {{\n"
    yield from (f"    {statement};\n" for statement in statements)
    yield "  }\n"


# -- the environment -----------------------------------------------------------------------------


def render_environment(user: str) -> str:
    """ExaBGP's own settings, as the file that EXABGP_ENVFILE names.

    user: the account that ExaBGP changes to when it was started as root. Raises ConfigurationError.
    """
    sections: Mapping[str, Mapping[str, str]] = {
        "api": {"ack": "false", "cli": "false", "respawn": "true", "terminate": "true"},
        "daemon": {"daemonize": "false", "drop": "true", "user": _quote(user, "user")},
        "log": {
            "destination": "stderr",
            "level": "INFO",
            "short": "true",
            "statistics": "false",
        },
        "tcp": {"attempts": "0"},
    }
    return "".join(
        f"[exabgp.{section}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items())
        for section, options in sections.items()
    )


# -- words ---------------------------------------------------------------------------------------


def check_md5_key(key: str) -> str:
    """The key, if TCP MD5 (RFC 2385) and ExaBGP can take it; else ConfigurationError.

    The key itself never stands in the error.
    """
    allowed = f"must be 1 to {MD5_KEY_BYTES} printable ASCII characters, no ' and no \""
    is_plain = key.isascii() and key.isprintable() and not {"'", '"'} & set(key)
    if not (is_plain and 0 < len(key) <= MD5_KEY_BYTES):
        raise ConfigurationError(f"MD5 key: {allowed}")
    return key


def _quote(word: str, name: str) -> str:
    """A string of the configuration.

    Backslashes are undone before quotes are looked at, and either quote ends a string of the other
    kind: so no quote can stand in one.
    """
    if not word or not word.isprintable() or {"'", '"'} & set(word):
        raise ConfigurationError(
            f"{name} {word!r}: must be printable, not empty, and without ' or \""
        )
    escaped = word.replace("\\", "\\\\")
    return f'"{escaped}"'


def _number(value: int, name: str, low: int, high: int) -> str:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigurationError(f"{name} {value!r}: must be a whole number from {low} to {high}")
    return str(value)


def _address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigurationError(f"address {text!r}: must be an IPv4 or IPv6 address") from None
    if address.version == 6 and address.scope_id:
        raise ConfigurationError(f"address {text!r}: must be without a zone")
    return str(address)


def _ipv4(text: str, name: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ConfigurationError(f"{name} {text!r}: must be an IPv4 address") from None


def _family(name: str) -> str:
    try:
        return BY_NAME[name].exabgp
    except KeyError:
        raise ConfigurationError(f"family {name!r}: must be one of {QUOTED_NAMES}") from None
