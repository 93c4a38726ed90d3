"""The lives of the appliance and of its processes, as tables that refuse what they do not list."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar


class Phase(Enum):
    """The appliance, as the supervisor keeps it."""

    STARTING = "starting"
    SERVING = "serving"
    HANDED_OVER = "handed over"  # a new version serves; what runs here ends by itself
    STOPPING = "stopping"
    STOPPED = "stopped"


class PhaseEvent(Enum):
    READY = "ready"  # every worker serves
    HAND_OVER = "hand over"
    STOP = "stop"
    EMPTY = "empty"  # the last worker is gone, and none is to follow


class WorkerState(Enum):
    """One worker process."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    GONE = "gone"


class WorkerEvent(Enum):
    READY = "ready"
    DRAIN = "drain"
    EXIT = "exit"


class ServiceState(Enum):
    """One process beside the workers: `control`, for instance."""

    IDLE = "idle"  # not wanted, or not yet
    STARTING = "starting"
    RUNNING = "running"
    RESTING = "resting"  # it died, and waits to be started again
    STOPPING = "stopping"


class ServiceEvent(Enum):
    START = "start"
    READY = "ready"
    STOP = "stop"
    EXIT = "exit"


class DutyState(Enum):
    """What the operator wants of an appliance that serves."""

    ENABLED = "enabled"
    DRAINING = "draining"  # clients are to go elsewhere; those that are here finish
    DRAINED = "drained"  # they have: it may be switched off


class DutyEvent(Enum):
    DRAIN = "drain"
    QUIET = "quiet"  # traffic is below the threshold
    BUSY = "busy"  # traffic has come back
    ENABLE = "enable"


PHASES: Mapping[tuple[Phase, PhaseEvent], Phase] = {
    (Phase.STARTING, PhaseEvent.READY): Phase.SERVING,
    (Phase.STARTING, PhaseEvent.STOP): Phase.STOPPING,
    (Phase.SERVING, PhaseEvent.STOP): Phase.STOPPING,
    (Phase.SERVING, PhaseEvent.HAND_OVER): Phase.HANDED_OVER,
    (Phase.HANDED_OVER, PhaseEvent.STOP): Phase.STOPPING,
    (Phase.HANDED_OVER, PhaseEvent.EMPTY): Phase.STOPPED,
    (Phase.STOPPING, PhaseEvent.STOP): Phase.STOPPING,  # asked again: no more waiting
    (Phase.STOPPING, PhaseEvent.EMPTY): Phase.STOPPED,
}

WORKER_STATES: Mapping[tuple[WorkerState, WorkerEvent], WorkerState] = {
    (WorkerState.STARTING, WorkerEvent.READY): WorkerState.SERVING,
    (WorkerState.STARTING, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.SERVING, WorkerEvent.DRAIN): WorkerState.DRAINING,
    (WorkerState.DRAINING, WorkerEvent.DRAIN): WorkerState.DRAINING,  # with another deadline
    (WorkerState.DRAINING, WorkerEvent.READY): WorkerState.DRAINING,  # told to go while starting
    (WorkerState.STARTING, WorkerEvent.EXIT): WorkerState.GONE,
    (WorkerState.SERVING, WorkerEvent.EXIT): WorkerState.GONE,
    (WorkerState.DRAINING, WorkerEvent.EXIT): WorkerState.GONE,
}

SERVICE_STATES: Mapping[tuple[ServiceState, ServiceEvent], ServiceState] = {
    (ServiceState.IDLE, ServiceEvent.START): ServiceState.STARTING,
    (ServiceState.STARTING, ServiceEvent.READY): ServiceState.RUNNING,
    (ServiceState.STARTING, ServiceEvent.STOP): ServiceState.STOPPING,
    (ServiceState.STARTING, ServiceEvent.EXIT): ServiceState.RESTING,
    (ServiceState.RUNNING, ServiceEvent.STOP): ServiceState.STOPPING,
    (ServiceState.RUNNING, ServiceEvent.EXIT): ServiceState.RESTING,
    (ServiceState.RESTING, ServiceEvent.START): ServiceState.STARTING,
    (ServiceState.RESTING, ServiceEvent.STOP): ServiceState.IDLE,
    (ServiceState.STOPPING, ServiceEvent.READY): ServiceState.STOPPING,  # told to go while starting
    (ServiceState.STOPPING, ServiceEvent.EXIT): ServiceState.IDLE,
}

DUTIES: Mapping[tuple[DutyState, DutyEvent], DutyState] = {
    (DutyState.ENABLED, DutyEvent.DRAIN): DutyState.DRAINING,
    (DutyState.ENABLED, DutyEvent.ENABLE): DutyState.ENABLED,  # asked again
    (DutyState.DRAINING, DutyEvent.DRAIN): DutyState.DRAINING,  # for another reason, or other times
    (DutyState.DRAINING, DutyEvent.QUIET): DutyState.DRAINED,
    (DutyState.DRAINING, DutyEvent.ENABLE): DutyState.ENABLED,
    (DutyState.DRAINED, DutyEvent.DRAIN): DutyState.DRAINED,
    (DutyState.DRAINED, DutyEvent.BUSY): DutyState.DRAINING,  # not safe to switch off after all
    (DutyState.DRAINED, DutyEvent.ENABLE): DutyState.ENABLED,
}

ENDING = frozenset({Phase.HANDED_OVER, Phase.STOPPING})
"""Phases in which no worker is started, and which end when none is left."""

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)


class ImpossibleTransitionError(Exception):
    """The event cannot happen in this state: a defect of the caller."""


def advance(table: Mapping[tuple[S, E], S], state: S, event: E) -> S:
    """The state after `event`. Raises ImpossibleTransitionError where the table lists none."""
    try:
        return table[state, event]
    except KeyError:
        raise ImpossibleTransitionError(f"{event.value} while {state.value}") from None
