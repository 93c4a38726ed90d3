"""What the control process knows: the counters of all workers, the appliance as the supervisor
shows it, the settings in force, and what the operator wants of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry

from ocaserve.control.auth import Guard
from ocaserve.control.duty import DutyRecord
from ocaserve.control.obstacles import Beginning, Obstacle
from ocaserve.control.operations import Intent, Operations
from ocaserve.control.traffic import Traffic
from ocaserve.health import Component
from ocaserve.lifecycle import DutyState, Phase
from ocaserve.link import Link
from ocaserve.metrics import CounterMap
from ocaserve.settings import Settings


class WorkerRow(Struct, frozen=True, array_like=True):
    """One worker, as the supervisor shows it. `started`: of the monotonic clock, in seconds."""

    place: int
    pid: int
    generation: int
    slot: int
    state: str
    started: float


class ServiceRow(Struct, frozen=True):
    """One process beside the workers, likewise. `deaths`: in a row."""

    name: str
    state: str
    pid: int
    deaths: int
    started: float


class ReloadOutcome(Struct, frozen=True):
    """Of the last reload: running, done, refused, undone; empty where there was none.

    `at`: seconds since the epoch.
    """

    outcome: str = ""
    at: float = 0.0
    faults: list[str] = []


class Appliance(Struct, frozen=True):
    """The whole, as the supervisor shows it.

    `started`: seconds since the epoch. `defects`: steps of the supervisor that failed. `missing`:
    addresses that cannot be listened on, and why not.
    """

    phase: Phase = Phase.STARTING
    pid: int = 0
    started: float = 0.0
    generation: int = 0
    workers: list[WorkerRow] = []
    wanted: int = 0
    deaths: int = 0
    resting: int = 0
    defects: int = 0
    listen: list[str] = []
    missing: dict[str, str] = {}
    services: list[ServiceRow] = []
    reload: ReloadOutcome = ReloadOutcome()


class ControlState:
    """All of it. Other parts keep their own under their own keys of the application."""

    def __init__(
        self,
        settings: Settings,
        counters: CounterMap,
        link: Link,
        folder: Path,
        guard: Guard,
        intent: Intent | None = None,
        state_file: Path | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.counters = counters
        self.link = link
        self.folder = folder
        self.guard = guard
        self.operations = Operations(
            intent or Intent(), settings.drain, link, state_file, self._word_of_obstacle
        )
        self.appliance = Appliance(started=time.time())
        self.traffic = Traffic(settings.drain.quiet_bits_per_s)
        self.notes = notes or {}  # what the process before this one left: see `Link.note`
        self.lost_contact = ""  # why the control plane cannot be reached, told by who reports to it
        self.components: list[Component] = []
        self.registry = CollectorRegistry()
        self.beginning = Beginning(self.notes, link.note)
        self.obstacles: list[Callable[[], Obstacle | None]] = [self.beginning.find_obstacle]
        self.monotonic_offset = time.time() - time.monotonic()  # to make times of what is shown

    def see(self, appliance: dict[str, Any]) -> None:
        """The supervisor shows what has changed."""
        self.appliance = msgspec.convert(appliance, Appliance)

    @property
    def duty(self) -> DutyRecord:
        """What the operator wants now."""
        return self.operations.duty

    @property
    def lifecycle(self) -> str:
        """starting, serving, draining, drained or stopping."""
        phase = self.appliance.phase
        if phase is Phase.SERVING:
            return "serving" if self.duty.state is DutyState.ENABLED else self.duty.state.value
        return "starting" if phase is Phase.STARTING else "stopping"

    @property
    def takes_traffic(self) -> bool:
        """Whether clients should be sent here: what /healthz says with 200 or 503."""
        return self.lifecycle == "serving" and self.find_obstacle() is None

    @property
    def word(self) -> str:
        """What /healthz says: `serving` if, and only if, clients should be sent here."""
        obstacle = self.find_obstacle() if self.lifecycle == "serving" else None
        return obstacle.word if obstacle else self.lifecycle

    @property
    def why(self) -> str:
        """Why clients should not be sent here; empty while they should."""
        if self.lifecycle != "serving":
            return self.duty.reason or f"the appliance is {self.lifecycle}"
        obstacle = self.find_obstacle()
        return obstacle.reason if obstacle else ""

    def find_obstacle(self) -> Obstacle | None:
        """Why clients should not be sent here although the operator wants it."""
        if self.lost_contact and self.settings.drain.lost_contact == "withdraw":
            return Obstacle("withdrawn", f"control plane: {self.lost_contact}")
        return next((found for find in self.obstacles if (found := find())), None)

    def _word_of_obstacle(self) -> str | None:
        obstacle = self.find_obstacle()
        return obstacle.word if obstacle else None

    def look(self) -> None:
        """Once a second: what is sent now, and what is due by now."""
        now = time.monotonic()
        self.traffic.sample(self.counters.totals(), now)
        self.operations.look(self.traffic.quiet_s(now))

    def serving_workers(self) -> Sequence[WorkerRow]:
        """Those that accept connections."""
        return [worker for worker in self.appliance.workers if worker.state == "serving"]


STATE = web.AppKey("STATE", ControlState)
