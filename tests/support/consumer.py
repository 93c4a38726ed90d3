"""A control plane, as docs/report.md tells one how to go about it."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import blake2b
from typing import Any


class Consumer:
    """Holds what reports and changes have told it."""

    def __init__(self) -> None:
        self.session = ""
        self.serial = 0
        self.digest = ""
        self.sections: dict[str, Any] = {}
        self.manifest = ""
        self.here = bytearray()
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
        for name in ("place", "health", "capacity", "content", "peers", "totals"):
            if name in document:
                self.sections[name] = document[name]
        if "objects" in document:
            self._take_objects(document["objects"])
        self.attributes |= document["attributes"]
        self.routes |= document["routes"]
        self.routes = {prefix: routes for prefix, routes in self.routes.items() if routes}

    def _take_objects(self, told: dict[str, Any]) -> None:
        if "here" in told:
            self.here = bytearray(b64decode(told["here"]))
        for place in told.get("came", ()):
            self.here[place // 8] |= 1 << place % 8
        for place in told.get("went", ()):
            self.here[place // 8] &= ~(1 << place % 8)
        self.manifest = told["manifest"]

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

    def computed_prefix_digest(self) -> str:
        """Likewise of the prefixes alone."""
        hashes = (blake2b(prefix.encode(), digest_size=16).digest() for prefix in self.routes)
        return f"{sum(int.from_bytes(each, 'big') for each in hashes) % (1 << 128):032x}"
