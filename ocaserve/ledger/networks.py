"""From a client's address to the network under which it is counted. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache

LOCAL = "local"  # clients on a unix socket
OTHER = "other"  # networks beyond the number that is told apart


class Networks:
    """Names networks of these prefix lengths."""

    def __init__(self, prefix_v4: int, prefix_v6: int) -> None:
        self._prefixes = {4: prefix_v4, 6: prefix_v6}
        # Clients come back, and neighbours share a name: most accepts cost one look-up.
        self.name_of = lru_cache(maxsize=16_384)(self._name_of)

    def _name_of(self, address: bytes) -> str:
        """`address`: as `serving.listener.address_text` has it."""
        try:
            parsed = ipaddress.ip_address(address.decode("ascii").partition("%")[0])
        except ValueError:
            return LOCAL
        return str(ipaddress.ip_network((parsed, self._prefixes[parsed.version]), strict=False))
