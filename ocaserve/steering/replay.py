"""Recorded routes into a table of their own, through the same code as live ones."""

from __future__ import annotations

import bz2
import gzip
import time
from dataclasses import dataclass, field
from typing import Any

from bgp.messages import Envelope
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
    """Read an MRT file. Raises ReplayError."""
    begun = time.monotonic()
    table = RoutingTable(policy or Policy(), ChangeLog("replay").mark)
    played = Played(Sessions(table))
    reader = MrtReader()
    for read in reader.read(read_recording(path)):
        if isinstance(read, Fault):
            played.fault_count += 1
            if len(played.faults) < MOST_FAULTS:
                played.faults.append(read)
            continue
        envelope, event = read
        if local_as is not None:
            envelope = _as_ours(envelope, local_as)
        played.sessions.apply_event(envelope, event, envelope.time)
    table.settle()
    played.records = reader.records
    played.seconds = time.monotonic() - begun
    return played


def _as_ours(envelope: Envelope, local_as: int) -> Envelope:
    return envelope._replace(local_as=local_as)


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
