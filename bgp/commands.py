"""What the feeder may say to ExaBGP, through the standard output that ExaBGP reads as commands.

Nothing else is ever written there. A command is one line; a word that could hold a second one
raises CommandError.
"""

from __future__ import annotations

import ipaddress

from bgp.address_families import BY_EXABGP

LIST_NEIGHBORS = b"show neighbor json\n"
"""Answered by one line on standard input: a JSON list, the only line that starts with "["."""


class CommandError(ValueError):
    """A word that must not stand in a command; the text names it."""


def refresh_routes(peer: str, family: str) -> bytes:
    """Ask the router at this address to send all its routes of a family again (RFC 2918, RFC 7313).

    family: as ExaBGP names it. ExaBGP complains about neighbors that are not up and
    families that are not configured, so name none of these. Raises CommandError.
    """
    if family not in BY_EXABGP:
        raise CommandError(f"family {family!r}: must be one of {sorted(BY_EXABGP)}")
    return f"neighbor {_address(peer)} announce route-refresh {family}\n".encode("ascii")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise CommandError(f"address {text!r}: must be an IPv4 or IPv6 address") from None
