"""A control plane, as docs/report.md tells one how to go about it."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any


class Consumer:
    """Holds what reports and changes have told it."""

    def __init__(self) -> None:
        self.session = ""
        self.serial = 0
        self.digest = ""
        self.sections: dict[str, Any] = {}
        self.routes: dict[str, list[dict[str, Any]]] = {}
        self.attributes: dict[str, dict[str, Any]] = {}

    def take(self, document: dict[str, Any]) -> None:
        """Apply a report or changes."""
        if document["kind"] == "report":
            self.sections, self.routes, self.attributes = {}, {}, {}
        else:
            assert document["session"] == self.session
            assert document["after"] <= self.serial
        self.session, self.serial = document["session"], document["serial"]
        self.digest = document["digest"]
        for name in ("health", "capacity", "content", "peers", "totals"):
            if name in document:
                self.sections[name] = document[name]
        self.attributes |= document["attributes"]
        self.routes |= document["routes"]
        self.routes = {prefix: routes for prefix, routes in self.routes.items() if routes}

    def table(self) -> dict[str, list[dict[str, Any]]]:
        """Every prefix with its routes, attributes in place of their numbers."""
        return {
            prefix: [
                {**route, "attributes": self.attributes[str(route["attributes"])]}
                for route in routes
            ]
            for prefix, routes in self.routes.items()
        }

    def computed_digest(self) -> str:
        """The digest of what is held, which the appliance's must equal."""
        peers = {peer["peer"]: peer["address"] for peer in self.sections["peers"]}
        total = 0
        for prefix, routes in self.table().items():
            for route in routes:
                path_id = int.from_bytes(
                    bytes(map(int, route.get("path_id", "0.0.0.0").split("."))), "big"
                )
                text = json.dumps(route["attributes"], sort_keys=True, separators=(",", ":"))
                line = f"{prefix} {peers[route['peer']]} {path_id} {text}"
                total += int.from_bytes(blake2b(line.encode(), digest_size=16).digest(), "big")
        return f"{total % (1 << 128):032x}"
