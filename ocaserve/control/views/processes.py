"""The workers, and the processes beside them."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from ocaserve.control.schemas import as_time
from ocaserve.control.state import ControlState


class WorkerShown(Struct, frozen=True, kw_only=True):
    """One worker process."""

    place: int
    pid: int
    generation: int
    state: str
    started: datetime
    connections: int
    open_files: int
    loop_lag_s: float


class WorkerList(Struct, frozen=True, kw_only=True):
    """By place, the oldest first. `resting`: places that wait after a death."""

    wanted: int
    resting: int
    workers: list[WorkerShown]


class ServiceShown(Struct, frozen=True, kw_only=True):
    """A process beside the workers."""

    name: str
    pid: int
    state: str
    deaths: int


class Services(Struct, frozen=True, kw_only=True):
    """The processes beside the workers."""

    services: list[ServiceShown]


def describe_workers(state: ControlState) -> WorkerList:
    """The workers there are now, by place."""
    rows = sorted(state.appliance.workers, key=lambda worker: (worker.place, worker.started))
    return WorkerList(
        wanted=state.appliance.wanted,
        resting=state.appliance.resting,
        workers=[
            WorkerShown(
                place=row.place,
                pid=row.pid,
                generation=row.generation,
                state=row.state,
                started=as_time(row.started + state.monotonic_offset),
                connections=(gauges := state.counters.gauges_of(row.slot))["connections"],
                open_files=gauges["open_files"],
                loop_lag_s=gauges["loop_lag_us"] / 1e6,
            )
            for row in rows
        ],
    )


def describe_services(state: ControlState) -> Services:
    """The processes beside the workers, as the supervisor shows them."""
    return Services(
        services=[
            ServiceShown(name=row.name, pid=row.pid, state=row.state, deaths=row.deaths)
            for row in state.appliance.services
        ]
    )
