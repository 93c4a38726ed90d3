"""What the supervisor knows of one worker."""

from __future__ import annotations

from dataclasses import dataclass, field

from ocaserve.lifecycle import WORKER_STATES, WorkerEvent, WorkerState, advance
from ocaserve.supervisor.children import Channel


@dataclass(eq=False)
class Worker:
    """One worker process, from fork to wait."""

    place: int  # which share of the listeners is its own
    generation: int
    pid: int
    channel: Channel
    slot: int
    group_sizes: tuple[int, ...]  # how many sockets each of its addresses has
    started: float
    heard: float
    state: WorkerState = WorkerState.STARTING
    accepts: list[int] = field(default_factory=list)
    is_killed: bool = False

    def __str__(self) -> str:
        return f"worker {self.place} (pid {self.pid})"

    def happen(self, event: WorkerEvent) -> None:
        self.state = advance(WORKER_STATES, self.state, event)
