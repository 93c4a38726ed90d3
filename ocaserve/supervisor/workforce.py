"""The workers: one that serves at each place, of the generation that is wanted.

`staffing` says whom to start and whom to retire; here it is done.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from ocaserve.channel import Accept, DrainBy, Fact, Order, Ready
from ocaserve.lifecycle import WorkerEvent, WorkerState
from ocaserve.metrics import CounterMap, CounterSlot
from ocaserve.settings import Serve, Settings
from ocaserve.supervisor.children import Children, ChildRole, describe_exit
from ocaserve.supervisor.generation import Generation
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.staffing import (
    RestartTiming,
    Rests,
    WorkerPlan,
    listeners_of_share,
    plan_haste,
    plan_workers,
    share_out,
)
from ocaserve.supervisor.worker_process import WorkerProcess

_log = logging.getLogger(__name__)

RunWorker = Callable[[Settings, Sequence[socket.socket], CounterSlot, socket.socket, str], int]


class SpoolFolders(NamedTuple):
    """Where workers tell what they have sent: to whom, and of what. None: nobody asks."""

    ledger: Path | None
    demand: Path | None


class Workforce:
    """All workers there are.

    run: what a forked child does. find_spools: where workers tell what they have sent. on_change:
    the plan is to be pursued. on_failed_start: a worker has ended before it served, and how.
    """

    def __init__(
        self,
        children: Children,
        reactor: Reactor,
        timing: RestartTiming,
        counters: CounterMap,
        run: RunWorker,
        find_spools: Callable[[Settings], SpoolFolders],
        on_change: Callable[[], None],
        on_failed_start: Callable[[WorkerProcess, int], None],
    ) -> None:
        self._children = children
        self._reactor = reactor
        self._timing = timing
        self._counters = counters
        self._run = run
        self._find_spools = find_spools
        self._on_change = on_change
        self._on_failed_start = on_failed_start
        self._workers: dict[int, WorkerProcess] = {}  # by pid
        self._rests = Rests(timing)
        self._wakes_at = inf  # when the next rest ends
        self._orders: dict[str, Order] = {}  # by name, the last of each
        self.deaths = 0  # of workers that were not told to end

    def __bool__(self) -> bool:
        return bool(self._workers)

    @property
    def is_serving(self) -> bool:
        """Whether any worker accepts connections."""
        return any(w.state is WorkerState.SERVING for w in self._workers.values())

    # -- having the right ones -------------------------------------------------------------------

    def plan(self, wanted: Generation) -> WorkerPlan[WorkerProcess]:
        """What is to be done for each place to have its worker of this generation."""
        workers = tuple(self._workers.values())
        is_empty = all(worker.state is WorkerState.DRAINING for worker in workers)
        resting = self._rests.resting(time.monotonic(), is_empty=is_empty)
        return plan_workers(wanted.settings.worker_count, wanted.number, workers, resting)

    def carry_out(self, plan: WorkerPlan[WorkerProcess], wanted: Generation) -> None:
        """Do it."""
        for worker in plan.retire:
            self._retire(worker, wanted.settings.serve.reload_drain_s)
        for place in plan.start:
            self._start(place, wanted)
        self._hurry(wanted.settings.serve)
        self._share_out(wanted.settings.worker_count)
        self._wake_for_rests()

    def _hurry(self, serve: Serve) -> None:
        """Bound how many processes slow clients can keep alive over many reloads."""
        # Those that a reload within a reload has stopped at their start are gone in a moment.
        served = tuple(worker for worker in self._workers.values() if worker.has_served)
        for worker in plan_haste(served, serve.reload_generations):
            if not worker.is_hurried:
                worker.is_hurried = True
                _log.warning(
                    "%s still drains after %d later reloads: what it sends has %g s to end",
                    worker, serve.reload_generations, serve.drain_s,
                )  # fmt: skip
                self._retire(worker, serve.drain_s)

    @property
    def is_hurrying(self) -> bool:
        """Whether some that drain are of more generations than there shall be."""
        return any(worker.is_hurried for worker in self._workers.values())

    def begin_anew(self) -> None:
        """There are other settings: what failed with those before may not fail with these."""
        self._rests.end_all()

    def _start(self, place: int, wanted: Generation) -> None:
        slot = self._counters.maybe_take_slot()
        if slot is None:
            self._make_room()
            return
        worker: WorkerProcess
        role = ChildRole(
            f"worker-{place}",
            f"worker {place}",
            lambda channel: self._live(place, slot, wanted, channel),
            wanted.listeners.keys(),
            on_fact=lambda fact: self._on_fact(worker, fact),
            on_exit=lambda status: self._on_exit(worker, status),
        )
        child = self._children.start(role)
        if child is None:
            self._counters.give_back(slot)
            self._rests.note_refusal(place, time.monotonic())
            return
        sizes = [len(group) for group in wanted.listeners.values()]
        worker = WorkerProcess(place, wanted.number, slot, sizes, child)
        self._workers[child.pid] = worker

    def _live(self, place: int, slot: int, wanted: Generation, channel: socket.socket) -> int:
        """In the forked child."""
        ledger, demand = self._find_spools(wanted.settings)
        row = replace(self._counters.slot(slot), ledger=ledger, demand=demand)
        sockets = [sock for group in wanted.listeners.values() for sock in group]
        return self._run(wanted.served, sockets, row, channel, f"worker {place}")

    def _make_room(self) -> None:
        """All slots are taken: the worker that has drained for longest ends; its exit goes on."""
        draining = [w for w in self._workers.values() if w.state is WorkerState.DRAINING]
        if draining and not any(w.child.is_killed for w in draining):
            self._kill(draining[0], "still drains, and its place in the counters is needed")

    def _share_out(self, places: int) -> None:
        """Tell each worker which listeners to accept from, where that has changed."""
        serving = {
            w.place: w for w in self._workers.values() if w.state is WorkerState.SERVING
        }  # where a place has two, the younger
        for place, shares in share_out(places, sorted(serving)).items():
            worker = serving[place]
            positions = [listeners_of_share(worker.group_sizes, places, s) for s in shares]
            accepts = sorted(set().union(*positions))
            if accepts != worker.accepts and worker.child.tell(Accept(accepts)):
                worker.accepts = accepts

    def _wake_for_rests(self) -> None:
        """Pursue the plan again when the first rest ends."""
        end = self._rests.next_end()
        if end is None or end >= self._wakes_at:
            return
        self._wakes_at = end

        def wake() -> None:
            self._wakes_at = inf
            self._on_change()

        self._reactor.after(end - time.monotonic(), wake)

    # -- what they say and are told --------------------------------------------------------------

    def _on_fact(self, worker: WorkerProcess, fact: Fact) -> None:
        if not isinstance(fact, Ready):
            return
        worker.happen(WorkerEvent.READY)
        if worker.state is WorkerState.SERVING:
            worker.has_served = True
            self._rests.end_all()
        for order in self._orders.values():
            worker.child.tell(order)
        self._on_change()

    def tell(self, order: Order) -> None:
        """Tell all there are now."""
        for worker in self._workers.values():
            worker.child.tell(order)

    def order(self, name: str, order: Order) -> None:
        """Tell all that serve, also those to come; the last order of a name counts."""
        self._orders[name] = order
        for worker in self._workers.values():
            if worker.state is WorkerState.SERVING:
                worker.child.tell(order)

    @property
    def orders(self) -> dict[str, Order]:
        """What those to come are told, by name."""
        return self._orders

    def take_over(self, orders: Mapping[str, Order]) -> None:
        """Those of the version before this one."""
        self._orders = dict(orders)

    # -- their ends ------------------------------------------------------------------------------

    def _on_exit(self, worker: WorkerProcess, status: int) -> None:
        before = worker.state
        del self._workers[worker.child.pid]
        worker.happen(WorkerEvent.EXIT)
        self._counters.give_back(worker.slot)
        is_told = before is WorkerState.DRAINING
        if not worker.child.is_killed and (status or not is_told):
            _log.error("%s %s", worker, describe_exit(status))
        if not is_told:
            self.deaths += 1
            self._rests.note_death(
                worker.place,
                worker.child.started,
                time.monotonic(),
                has_served=before is WorkerState.SERVING,
            )
        if before is WorkerState.STARTING:
            self._on_failed_start(worker, status)
        self._on_change()

    def _retire(self, worker: WorkerProcess, deadline_s: float) -> None:
        worker.happen(WorkerEvent.DRAIN)
        worker.accepts = []
        worker.child.tell(DrainBy(deadline_s))
        late_s = deadline_s + self._timing.kill_margin_s
        self._children.kill_after(worker.child, late_s, "did not end by its deadline")

    def retire_all(self, deadline_s: float) -> None:
        """Responses that run have so long to end."""
        for worker in self._workers.values():
            self._retire(worker, deadline_s)

    def kill_all(self, why: str) -> None:
        """At once."""
        for worker in self._workers.values():
            self._kill(worker, why)

    def _kill(self, worker: WorkerProcess, why: str) -> None:
        self._children.kill(worker.child, why)

    # -- showing ---------------------------------------------------------------------------------

    def describe(self) -> list[list[Any]]:
        """A row for each, for those who show the appliance; times of the monotonic clock."""
        return [
            [
                w.place, w.child.pid, w.generation, w.slot,
                w.state.value, round(w.child.started, 3),
            ]
            for w in self._workers.values()
        ]  # fmt: skip

    @property
    def resting(self) -> int:
        """How many places wait after a worker that died of its start."""
        return self._rests.count
