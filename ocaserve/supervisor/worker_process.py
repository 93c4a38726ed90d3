"""What the supervisor knows of one worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocaserve.lifecycle import WORKER_STATES, WorkerEvent, WorkerState, advance
from ocaserve.supervisor.children import Child


@dataclass(eq=False)
class WorkerProcess:
    """One worker process, from fork to wait."""

    place: int  # which share of the listeners is its own
    generation: int
    slot: int
    group_sizes: Sequence[int]  # how many sockets each of its addresses has
    child: Child
    state: WorkerState = WorkerState.STARTING
    accepts: list[int] = field(default_factory=list)
    has_served: bool = False
    is_hurried: bool = False  # it drains, and its responses have little time left

    def __str__(self) -> str:
        return str(self.child)

    def happen(self, event: WorkerEvent) -> None:
        self.state = advance(WORKER_STATES, self.state, event)
