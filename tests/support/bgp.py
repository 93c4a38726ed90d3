"""ExaBGP with its feeder, as a test hears it: lines, and the table that they make.

The table here is a plain model, apart from the product's: what was announced and not withdrawn,
with begin and end of a refresh taken as mark and sweep.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bgp.configuration import NeighborConfiguration, render_configuration, render_environment
from bgp.feeder import SOCKET_VARIABLE
from ocaserve.routing.feed import Feed

FEEDER = (sys.executable, "-P", "-m", "bgp.feeder")
_STOP_S = 10.0

Route = dict[str, Any]


class Heard:
    """All lines that came, and what is known of each peer by its address."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.tables: dict[str, dict[str, Route]] = {}  # by peer, by "prefix" or "prefix path-id"
        self.states: dict[str, str] = {}
        self.whole: set[tuple[str, str]] = set()  # peer and family, by End-of-RIB
        self._marked: dict[tuple[str, str], set[str]] = {}

    def apply(self, line: bytes) -> None:
        """A line of the feed."""
        message = msgspec.json.decode(line)
        self.lines.append(message)
        if "neighbor" in message:
            self._apply(message["type"], message["neighbor"])

    def _apply(self, kind: str, neighbor: dict[str, Any]) -> None:
        peer = neighbor["address"]["peer"]
        table = self.tables.setdefault(peer, {})
        if kind == "state":
            self.states[peer] = neighbor["state"]
            if neighbor["state"] == "down":
                table.clear()
                self.whole -= {(peer, "ipv4"), (peer, "ipv6")}
        elif kind == "update" and "eor" in neighbor["message"]:
            self.whole.add((peer, neighbor["message"]["eor"]["afi"]))
        elif kind == "update":
            self._update(peer, table, neighbor["message"]["update"])
        elif kind == "refresh":
            self._refresh(peer, table, neighbor["route-refresh"])

    def _update(self, peer: str, table: dict[str, Route], update: dict[str, Any]) -> None:
        for routes in update.get("withdraw", {}).values():
            for route in routes:
                table.pop(_key(route), None)
        for family, hops in update.get("announce", {}).items():
            for hop, routes in hops.items():
                for route in routes:
                    table[_key(route)] = {**update["attribute"], "next-hop": hop}
                    self._marked.get((peer, family.split(" ")[0]), set()).discard(_key(route))

    def _refresh(self, peer: str, table: dict[str, Route], refresh: dict[str, str]) -> None:
        family = refresh["afi"]
        if refresh["subtype"] == "begin":
            is_six = family == "ipv6"
            self._marked[peer, family] = {key for key in table if (":" in key) == is_six}
        elif refresh["subtype"] == "end":
            for key in self._marked.pop((peer, family), set()):
                table.pop(key, None)

    def prefixes(self, peer: str) -> set[str]:
        # The feed's thread adds to it meanwhile; a copy is made in one step.
        return {key.split(" ")[0] for key in tuple(self.tables.get(peer, {}))}

    def med(self, peer: str, prefix: str) -> int | None:
        """0 without one; None without the route."""
        route = self.tables.get(peer, {}).get(prefix)
        return None if route is None else int(route.get("med", 0))

    def count(self, kind: str, peer: str) -> int:
        """How many lines of a type ("refresh", "open"), or of a state ("up"), came from a peer."""
        return sum(
            kind in (line.get("type"), line["neighbor"].get("state"))
            for line in tuple(self.lines)
            if line.get("neighbor", {}).get("address", {}).get("peer") == peer
        )

    def of_feeder(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in tuple(self.lines) if line.get("feeder") == kind]


def _key(route: dict[str, str]) -> str:
    path_id = route.get("path-information")
    return f"{route['nlri']} {path_id}" if path_id else route["nlri"]


class Listening:
    """The product's end of the feed, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.heard = Heard()
        self.feed = Feed(self.heard, {os.geteuid()})
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.feed.start(self._path), self._loop).result(_STOP_S)

    def refresh(self, peer: str | None = None) -> None:
        self._loop.call_soon_threadsafe(self.feed.refresh, peer)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(_STOP_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self.feed.stop()
        await asyncio.sleep(0)  # for the transport to close its socket


@contextmanager
def listening(path: Path) -> Iterator[Listening]:
    """Be control until the block ends."""
    control = Listening(path)
    control.start()
    try:
        yield control
    finally:
        control.stop()


@contextmanager
def exabgp(
    folder: Path, neighbors: Sequence[NeighborConfiguration]
) -> Iterator[subprocess.Popen[bytes]]:
    """ExaBGP until the block ends; its feeder looks for `folder`/feed.sock."""
    configure(folder, neighbors)
    (folder / "exabgp.env").write_text(render_environment(pwd.getpwuid(os.geteuid()).pw_name))
    environment = {
        **os.environ,
        "EXABGP_ENVFILE": str(folder / "exabgp.env"),
        SOCKET_VARIABLE: str(folder / "feed.sock"),
    }
    words = [sys.executable, "-P", "-m", "exabgp", "server", str(folder / "exabgp.conf")]
    with (folder / "exabgp.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def configure(folder: Path, neighbors: Sequence[NeighborConfiguration]) -> None:
    """Write the configuration that ExaBGP reads at its start and on SIGUSR1."""
    (folder / "exabgp.conf").write_text(render_configuration(neighbors, FEEDER))
