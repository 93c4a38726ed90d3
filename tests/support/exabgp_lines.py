"""Lines as ExaBGP 5.0 writes them, made from a few words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

PEER, LOCAL = "192.0.2.1", "192.0.2.10"


class Exabgp:
    """One ExaBGP; it counts the lines of each of its sessions."""

    def __init__(self, pid: int = 100, peer_as: int = 65001, local_as: int = 65000) -> None:
        self.pid = pid
        self.peer_as = peer_as
        self.local_as = local_as
        self.counters: dict[str, int] = {}

    def line(self, kind: str, body: Mapping[str, Any], peer: str = PEER) -> bytes:
        """A line of any type."""
        self.counters[peer] = self.counters.get(peer, 0) + 1
        return json.dumps(
            {
                "exabgp": "5.0.0",
                "time": 1.5,
                "host": "vm",
                "pid": self.pid,
                "ppid": 1,
                "counter": self.counters[peer],
                "type": kind,
                "neighbor": {
                    "address": {"local": LOCAL, "peer": peer},
                    "asn": {"local": self.local_as, "peer": self.peer_as},
                    "router-id": "10.0.0.2",
                    **body,
                },
            }
        ).encode()

    def state(self, state: str, reason: str = "", peer: str = PEER) -> bytes:
        return self.line("state", {"state": state} | ({"reason": reason} if reason else {}), peer)

    def opened(self, codes: Sequence[int], families: Sequence[str], peer: str = PEER) -> bytes:
        capabilities = {str(code): {"name": "x"} for code in codes}
        capabilities["1"] = {"families": list(families)}  # type: ignore[dict-item]
        body = {
            "version": 4,
            "asn": self.peer_as,
            "hold_time": 90,
            "router_id": "10.0.0.1",
            "capabilities": capabilities,
        }
        return self.line("open", {"direction": "receive", "open": body}, peer)

    def announce(
        self,
        *prefixes: str,
        peer: str = PEER,
        path: Sequence[int] = (65001,),
        med: int | None = None,
        next_hop: str | None = None,
        path_id: str | None = None,
        origin: str | None = "igp",
        withdraw: Sequence[str] = (),
        communities: Sequence[str] = (),
    ) -> bytes:
        """An UPDATE with prefixes of one family. communities: "1:2", or large ones, "1:2:3"."""
        family = "ipv6 unicast" if ":" in prefixes[0] else "ipv4 unicast"
        hop = next_hop or ("2a00::1" if ":" in prefixes[0] else "192.0.2.1")
        attributes: dict[str, Any] = {
            "as-path": {"0": {"element": "as-sequence", "value": list(path)}}
        }
        if origin is not None:
            attributes["origin"] = origin
        if med is not None:
            attributes["med"] = med
        for kind, parts in (("community", 2), ("large-community", 3)):
            numbers = [[int(part) for part in each.split(":")] for each in communities]
            if carried := [each for each in numbers if len(each) == parts]:
                attributes[kind] = carried
        update: dict[str, Any] = {
            "attribute": attributes,
            "announce": {family: {hop: _nlri(prefixes, path_id)}},
        }
        if withdraw:
            update["withdraw"] = {family: _nlri(withdraw, path_id)}
        return self.update(update, peer)

    def withdraw(self, *prefixes: str, peer: str = PEER, path_id: str | None = None) -> bytes:
        family = "ipv6 unicast" if ":" in prefixes[0] else "ipv4 unicast"
        return self.update({"withdraw": {family: _nlri(prefixes, path_id)}}, peer)

    def update(self, update: Mapping[str, Any], peer: str = PEER) -> bytes:
        return self.line("update", {"direction": "receive", "message": {"update": update}}, peer)

    def end_of_rib(self, family: int = 4, peer: str = PEER) -> bytes:
        eor = {"afi": f"ipv{family}", "safi": "unicast"}
        return self.line("update", {"direction": "receive", "message": {"eor": eor}}, peer)

    def refresh(self, phase: str, family: int = 4, peer: str = PEER) -> bytes:
        refresh = {"afi": f"ipv{family}", "safi": "unicast", "subtype": phase}
        return self.line("refresh", {"direction": "receive", "route-refresh": refresh}, peer)


def _nlri(prefixes: Sequence[str], path_id: str | None) -> list[dict[str, str]]:
    more = {"path-information": path_id} if path_id else {}
    return [{"nlri": prefix, **more} for prefix in prefixes]
