"""The order of a decision, found the slow and plain way: every network of every appliance."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NamedTuple

Network = IPv4Network | IPv6Network
Route = tuple[int, int] | tuple[int, int, bool, float]
"""Path length and MED; where communities speak of it, whether it is a backup, and its weight."""
Known = Mapping[str, Mapping[str, Route]]
"""Of each appliance the route of each of its networks."""


class Heard(NamedTuple):
    """How an appliance hears an address, the lower the better."""

    shortness: int
    is_backup: bool
    path_length: int
    med: int


def hear(known: Known, address: str) -> dict[str, Heard]:
    """Who hears an address, and how."""
    found: dict[str, Heard] = {}
    for appliance, networks in known.items():
        for text, (path_length, med, *marks) in networks.items():
            network = ip_network(text)
            heard = Heard(-network.prefixlen, bool(marks and marks[0]), path_length, med)
            if ip_address(address) in network and (
                appliance not in found or heard.shortness < found[appliance].shortness
            ):
                found[appliance] = heard
    return found
