"""Recorded routes into a table of their own, through the same code as live ones."""

from __future__ import annotations

import bz2
import gzip
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bgp.messages import Envelope, Event
from bgp.prefixes import parse_prefix
from ocaserve.errors import OcaserveError
from ocaserve.steering.changes import ChangeLog
from ocaserve.steering.explain import list_routes, look_up
from ocaserve.steering.filters import Policy
from ocaserve.steering.mrt import Fault, MrtReader
from ocaserve.steering.report import peers_section, totals_section
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import Sessions

MOST_FAULTS = 20  # that are named; all are counted


class ReplayError(OcaserveError):
    """The file cannot be read; the text says why."""


@dataclass
class Played:
    """What a file has left in the table."""

    sessions: Sessions
    records: int = 0
    fault_count: int = 0
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0

    def routes(self, *, is_filtered: bool, most: int) -> dict[str, Any]:
        """As `/v1/routes` has it."""
        snapshot = self.sessions.table.snapshot()
        return {
            "totals": totals_section(self.sessions),
            "routes": list_routes(snapshot, is_filtered=is_filtered, most=most),
        }

    def peers(self) -> dict[str, Any]:
        """As `/v1/routes/peers` has it."""
        return {"peers": peers_section(self.sessions, ()), "totals": totals_section(self.sessions)}

    def look_up(self, text: str) -> dict[str, Any]:
        """As `/v1/routes/lookup` has it. Raises ReplayError for what is no prefix."""
        try:
            return look_up(self.sessions.table, parse_prefix(text))
        except ValueError as error:
            raise ReplayError(f"--lookup: {error}") from None


def replay_file(path: str, local_as: int | None = None, policy: Policy | None = None) -> Played:
    """Read a recording. Raises ReplayError."""
    begun = time.monotonic()
    table = RoutingTable(policy or Policy(), ChangeLog("replay").mark)
    played = Played(Sessions(table))
    reader = MrtReader()
    sessions = played.sessions
    for read in read_events(read_recording(path), local_as, reader):
        if isinstance(read, Fault):
            played.fault_count += 1
            if len(played.faults) < MOST_FAULTS:
                played.faults.append(read)
        elif isinstance(read, bytes):
            sessions.apply(read, time.time())
        else:
            sessions.apply_event(*read, read[0].time)
    table.settle()
    played.records = reader.records + sessions.counts["lines"]
    played.fault_count += sessions.counts["malformed_lines"]
    played.seconds = time.monotonic() - begun
    return played


def read_events(
    data: bytes, local_as: int | None = None, reader: MrtReader | None = None
) -> Iterator[bytes | tuple[Envelope, Event] | Fault]:
    """Lines of ExaBGP as they are, or what an MRT file holds.

    local_as: ours, where the file names another, as one recorded at a route collector does.
    reader: counts the records.
    """
    if data.lstrip().startswith(b"{"):
        yield from data.splitlines()
        return
    for read in (reader or MrtReader()).read(data):
        if isinstance(read, Fault) or not local_as:
            yield read
        else:
            yield read[0]._replace(local_as=local_as), read[1]


def read_recording(path: str) -> bytes:
    """The content, decompressed by what it begins with. Raises ReplayError."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data.startswith(b"\x1f\x8b"):
            return gzip.decompress(data)
        return bz2.decompress(data) if data.startswith(b"BZh") else data
    except (OSError, EOFError, ValueError) as error:
        raise ReplayError(f"{path}: {error}") from None
