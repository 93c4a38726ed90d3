"""The address families of which routes are taken: a row for each, which every side reads.

To take another one, add its row. Its number is its own here and in no protocol; where a family is
not told from another by the form of its prefixes, `mark` stands behind them.
"""

from __future__ import annotations

from typing import NamedTuple

IPV4, IPV6 = 4, 6
"""Versions of IP, which are the numbers of their unicast families as well."""


class AddressFamily(NamedTuple):
    """One family: RFC 4760 and the registries of AFI and SAFI have its numbers.

    name: in settings and reports. exabgp: as ExaBGP names it. version: of the addresses.
    """

    number: int
    name: str
    exabgp: str
    afi: int
    safi: int
    version: int
    is_default: bool = True  # whether a neighbor tells of it where the settings do not say
    mark: str = ""

    @property
    def width(self) -> int:
        """Bits of an address."""
        return 32 if self.version == IPV4 else 128


FAMILIES = (
    AddressFamily(4, "ipv4", "ipv4 unicast", 1, 1, IPV4),
    AddressFamily(6, "ipv6", "ipv6 unicast", 2, 1, IPV6),
)

BY_NUMBER = {row.number: row for row in FAMILIES}
BY_NAME = {row.name: row for row in FAMILIES}
BY_EXABGP = {row.exabgp: row.number for row in FAMILIES}
BY_AFI_SAFI = {(row.afi, row.safi): row.number for row in FAMILIES}
QUOTED_NAMES = ", ".join(f'"{row.name}"' for row in FAMILIES)
"""As errors and the manual list what is allowed."""
