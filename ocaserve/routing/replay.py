"""Recorded routes into a table of their own, through the same code as live ones."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bgp.events import Envelope, Event
from bgp.prefixes import parse_query
from ocaserve.routing.recordings import LineFault, RecordingError, RecordingReader, read_recording
from ocaserve.steering.explain import list_routes, look_up
from ocaserve.steering.exports import render_csv
from ocaserve.steering.filters import Policy
from ocaserve.steering.mrt import RecordFault
from ocaserve.steering.report import peers_section, totals_section
from ocaserve.steering.rib import RoutingTable
from ocaserve.steering.sessions import Sessions, Step

MOST_FAULTS = 20  # that are named; all are counted
_LATEST = 2.0**40  # seconds since 1970; a recording may say anything


class RecordedTime:
    """The time of a recording: it goes on as it says, never back, and sessions are told of it.

    A session that ended is stale, and its routes go, after as long as they would have then.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._ticked = 0.0
        self.now = 0.0

    def apply(self, envelope: Envelope | None, event: Event) -> Step:
        """Take what was told when its envelope says."""
        step = Step()
        if envelope is not None and self.now < envelope.time < _LATEST:
            self.now = envelope.time
            if self.now >= self._ticked + 1:
                self._ticked = self.now
                step = self._sessions.tick(self.now)
        more = self._sessions.apply_event(envelope, event, self.now)
        return Step(step.notes + more.notes, more.wants_refresh) if step.notes else more


@dataclass
class Played:
    """What files have left in the table. `understood`: messages that were."""

    sessions: Sessions
    records: int = 0
    understood: int = 0
    fault_count: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def note_fault(self, text: str) -> None:
        """Count it, and keep its text if it is one of the first."""
        self.fault_count += 1
        self.sessions.distrust_silence()
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(text)

    def routes(self, *, is_filtered: bool, most: int) -> dict[str, Any]:
        """As `/v1/routes` has it."""
        snapshot = self.sessions.table.snapshot()
        return {
            "totals": totals_section(self.sessions),
            "routes": list_routes(snapshot, is_filtered=is_filtered, most=most),
        }

    def csv(self, *, is_filtered: bool) -> Iterator[bytes]:
        """As `/v1/routes.csv` has it."""
        return render_csv(self.sessions.table.snapshot(), is_filtered=is_filtered)

    def peers(self) -> dict[str, Any]:
        """As `/v1/routes/peers` has it."""
        return {"peers": peers_section(self.sessions, ()), "totals": totals_section(self.sessions)}

    def look_up(self, text: str) -> dict[str, Any]:
        """As `/v1/routes/lookup` has it. Raises RecordingError for what is no prefix."""
        try:
            return look_up(self.sessions.table, parse_query(text))
        except ValueError as error:
            raise RecordingError(f"--lookup: {error}") from None


def replay_files(
    paths: Sequence[str], local_as: int | None = None, policy: Policy | None = None
) -> Played:
    """Read recordings, of which each goes on from those before it. Raises RecordingError."""
    begun = time.monotonic()
    played = Played(Sessions(RoutingTable(policy or Policy(), None)))
    reader, clock = RecordingReader(local_as), RecordedTime(played.sessions)
    with _without_collector():
        for path in paths:
            content, fault = read_recording(path)
            for told in reader.read(content):
                if isinstance(told, RecordFault | LineFault):
                    played.note_fault(f"{path}: {told}")
                else:
                    clock.apply(*told)
                    played.understood += 1
            if fault:
                played.note_fault(f"{path}: {fault}")
    played.sessions.table.settle()
    played.records = reader.records
    played.seconds = time.monotonic() - begun
    return played


@contextmanager
def _without_collector() -> Iterator[None]:
    """Nothing here refers to itself, and a million routes are much to look through in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
