"""The process that keeps the others alive: it binds, forks, watches, replaces; it serves nobody."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ocaserve.addresses import Address
from ocaserve.errors import ListenError, OcaserveError, SettingsError, StartError
from ocaserve.ledger.places import ledger_folder
from ocaserve.lifecycle import (
    ENDING,
    PHASES,
    Phase,
    PhaseEvent,
    WorkerEvent,
    WorkerState,
    advance,
)
from ocaserve.metrics import CounterMap, CounterSlot
from ocaserve.notify import Notifier
from ocaserve.runtime import find_state_folder, make_runtime_folder, remove_runtime_folder
from ocaserve.settings import Settings
from ocaserve.sockets import (
    Listeners,
    close_listeners,
    let_go_of_listeners,
    open_listeners,
    open_service_listeners,
    take_passed,
)
from ocaserve.supervisor.children import describe_exit, fork_child
from ocaserve.supervisor.planning import (
    Timing,
    listeners_of_share,
    pause_after,
    plan_workers,
    share_out,
)
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.service import Service
from ocaserve.supervisor.services import Services, Wanted
from ocaserve.supervisor.upgrade import Upgrade, take_notes
from ocaserve.supervisor.worker import Worker

_log = logging.getLogger(__name__)

RunWorker = Callable[[Settings, Sequence[socket.socket], CounterSlot, socket.socket, str], int]

_SLOTS_PER_PLACE = 4  # a place's worker, its successor, and some that still drain
_SPARE_SLOTS = 64


class Fallback(NamedTuple):
    """What to go back to: the generation with which all workers served, and what belongs to it."""

    generation: int
    settings: Settings
    listeners: Listeners
    service_listeners: Mapping[str, Listeners]


class Supervisor:
    """Runs the appliance until it is told to stop.

    run_worker: what a forked child does. services: processes beside the workers, in the order in
    which they end when the workers have. labels: those that settings need of each family of
    counters. load: reads the settings again, for HUP. arguments: the command line, for USR2.
    ready_fd: a pipe that gets one line of JSON when all workers serve.
    """

    def __init__(
        self,
        settings: Settings,
        run_worker: RunWorker,
        *,
        names: tuple[Sequence[str], Sequence[str]],
        services: Sequence[Service] = (),
        labels: Callable[[Settings], Mapping[str, Sequence[str]]] = lambda _: {},
        load: Callable[[], Settings],
        arguments: Sequence[str] = (),
        ready_fd: int | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._settings = settings
        self._run_worker = run_worker
        self._load = load
        self._ready_fd = ready_fd
        self._timing = timing or Timing()
        self._phase = Phase.STARTING
        self._counters = CounterMap(
            *names, slots=_SLOTS_PER_PLACE * settings.worker_count + _SPARE_SLOTS
        )
        self._reactor = Reactor()
        self._notifier = Notifier(os.environ)
        self._generation = 0
        self._newest_generation = 0
        self._listeners: Listeners = {}  # of the wanted generation
        self._service_listeners: Mapping[str, Listeners] = {}  # likewise, by service's name
        self._open: Listeners = {}  # these, and those of other generations
        self._lent: frozenset[Address] = frozenset()  # the service manager's
        self._fallback: Fallback | None = None  # while a reload may be undone
        self._is_reloading = False
        self._workers: dict[int, Worker] = {}  # by pid
        self._resting: set[int] = set()  # places that wait after a death
        self._deaths: dict[int, int] = {}  # in a row, by place
        self._failed_starts = 0
        self._failure: str | None = None
        self._upgrade = Upgrade(self._reactor, arguments, self._timing.upgrade_s, self._hand_over)
        self._kinds = tuple(services)
        self._labels = labels
        self._assign_labels(settings)
        self._services = Services(
            services,
            self._reactor,
            self._timing,
            self._counters,
            self._let_go,
            self._on_service_message,
            self._note_news,
        )
        self._worker_orders: dict[str, Mapping[str, Any]] = {}  # of services; by name, the last
        self._reload_outcome: dict[str, Any] = {}
        self._is_news = False  # something that services are shown has changed
        self._started = time.time()

    def run(self) -> None:
        """Bring the appliance into service; return when it has stopped. Raises OcaserveError."""
        _raise_descriptor_limit()
        self._services.notes, self._worker_orders = take_notes(os.environ)
        self._is_takeover = self._open_first_listeners()
        self._folder = make_runtime_folder(os.environ)
        try:
            self._live()
        finally:
            remove_runtime_folder(self._folder)
        if self._failure is not None:
            raise StartError(self._failure)

    def _assign_labels(self, settings: Settings) -> None:
        for family, labels in self._labels(settings).items():
            self._counters.assign(family, labels)

    def _live(self) -> None:
        self._reactor.hear(
            {
                signal.SIGTERM: self._stop,
                signal.SIGINT: self._stop,
                signal.SIGHUP: self._reload,
                signal.SIGUSR1: self._reopen_logs,
                signal.SIGUSR2: self._start_upgrade,
                signal.SIGCHLD: self._reap,
            }
        )
        self._reactor.every(self._timing.silence_s / 30, self._look_after_workers)
        if self._notifier.watchdog_s:
            self._reactor.every(self._notifier.watchdog_s / 2, self._feed_watchdog)
        self._pursue_plan()
        if not self._is_takeover:  # else the services of the old version are there until we serve
            self._start_services()
        while self._workers or self._phase not in ENDING:
            self._turn()
        self._services.stop()
        while not self._services.are_over:
            self._turn()
        if self._phase is not Phase.HANDED_OVER:
            close_listeners(_joined(self._service_listeners.values()), besides=self._lent)
        self._happen(PhaseEvent.EMPTY)

    def _turn(self) -> None:
        self._reactor.turn()
        if self._is_news:
            self._is_news = False
            self._services.tell({"do": "see", "appliance": self._show()})

    def _open_first_listeners(self) -> bool:
        """Returns whether they are of a version that still serves."""
        passed = take_passed(os.environ)
        settings = self._settings
        self._lent = passed.lent
        self._listeners = open_listeners(
            settings.serve, settings.worker_count, passed.listeners, settings.tls.listen
        )
        self._service_listeners = self._open_for_services(
            settings, self._listeners, passed.listeners
        )
        self._open = {**passed.listeners, **self._all_listeners()}
        for address in passed.listeners.keys() - self._all_listeners().keys():
            _log.warning("%s was passed in, but the settings do not listen on it", address)
        return passed.is_takeover

    def _open_for_services(
        self, settings: Settings, taken: Listeners, present: Listeners
    ) -> dict[str, Listeners]:
        """The sockets of all services, whose addresses may be among those `present`.

        taken: the workers' listeners that go with them. Raises ListenError, having closed what was
        opened for these settings only.
        """
        workers = {**self._listeners, **taken}
        free = {address: present[address] for address in present if address not in workers}
        opened: dict[str, Listeners] = {}
        try:
            for kind in self._kinds:
                opened[kind.name] = open_service_listeners(kind.listen(settings), free)
                free = {address: free[address] for address in free.keys() - opened[kind.name]}
        except ListenError:
            close_listeners({**taken, **_joined(opened.values())}, besides=present)
            raise
        return opened

    def _all_listeners(self) -> Listeners:
        return {**self._listeners, **_joined(self._service_listeners.values())}

    def _start_services(self) -> None:
        self._services.start(Wanted(self._settings, self._service_listeners), self._folder)

    def _happen(self, event: PhaseEvent) -> None:
        self._phase = advance(PHASES, self._phase, event)
        self._note_news()

    def _note_news(self) -> None:
        self._is_news = True

    # -- having the right workers ----------------------------------------------------------------

    def _pursue_plan(self) -> None:
        """Do what is to be done now; called after everything that may change it."""
        self._note_news()
        if self._phase in ENDING:
            return
        plan = plan_workers(
            self._settings.worker_count,
            self._generation,
            tuple(self._workers.values()),
            self._resting,
        )
        has_reloaded = plan.is_settled and self._is_reloading
        if has_reloaded:
            self._close_abandoned()
        for worker in plan.retire:
            self._retire(worker, self._settings.serve.reload_drain_s)
        for place in plan.start:
            self._start_worker(place)
        self._share_out()
        if plan.is_settled and self._phase is Phase.STARTING:
            self._announce()
        elif has_reloaded:
            self._end_reload()

    def _ledger_folder(self) -> Path | None:
        """Where workers tell what they have sent; nowhere without a control process to read it."""
        settings = self._settings
        if not settings.ledger.is_kept or not settings.control.listen:
            return None
        state = find_state_folder(settings.appliance.state_directory, os.environ)
        return ledger_folder(settings.ledger, state, self._folder)

    def _start_worker(self, place: int) -> None:
        slot = self._counters.maybe_take_slot()
        if slot is None:
            self._make_room()
            return
        sockets = [sock for group in self._listeners.values() for sock in group]

        def run(channel: socket.socket) -> int:
            row = replace(self._counters.slot(slot), ledger=self._ledger_folder())
            return self._run_worker(self._settings, sockets, row, channel, f"worker {place}")

        pid, channel = fork_child(
            f"worker-{place}", run, lambda: self._let_go(self._listeners), self._reactor.signals
        )
        now = time.monotonic()
        sizes = tuple(len(group) for group in self._listeners.values())
        worker = Worker(place, self._generation, pid, channel, slot, sizes, now, now)
        self._workers[pid] = worker
        self._reactor.watch(channel.fileno(), lambda: self._on_message(worker))

    def _let_go(self, its_own: Collection[Address]) -> None:
        """In a forked child: close what is the supervisor's alone, and listeners of others."""
        self._reactor.abandon()
        others = self._open.keys() - set(its_own)
        let_go_of_listeners({address: self._open[address] for address in others})
        self._services.let_go()
        for worker in self._workers.values():
            worker.channel.close()
        if self._ready_fd is not None:
            os.close(self._ready_fd)
        self._upgrade.let_go()

    def _make_room(self) -> None:
        """All slots are taken: the worker that has drained for longest ends; its exit goes on."""
        draining = [w for w in self._workers.values() if w.state is WorkerState.DRAINING]
        if draining and not any(w.is_killed for w in draining):
            self._kill(draining[0], "still drains, and its place in the counters is needed")

    def _share_out(self) -> None:
        """Tell each worker which listeners to accept from, where that has changed."""
        serving = {
            w.place: w for w in self._workers.values() if w.state is WorkerState.SERVING
        }  # where a place has two, the younger
        places = self._settings.worker_count
        for place, shares in share_out(places, sorted(serving)).items():
            worker = serving[place]
            positions = [listeners_of_share(worker.group_sizes, places, s) for s in shares]
            accepts = sorted(set().union(*positions))
            if accepts != worker.accepts:
                worker.accepts = accepts
                worker.channel.tell({"do": "accept", "listeners": accepts})

    def _retire(self, worker: Worker, deadline_s: float) -> None:
        worker.happen(WorkerEvent.DRAIN)
        self._note_news()
        worker.accepts = []
        worker.channel.tell({"do": "drain", "deadline_s": deadline_s})
        late_s = deadline_s + self._timing.kill_margin_s
        self._reactor.after(late_s, lambda: self._kill(worker, "did not end by its deadline"))

    def _kill(self, worker: Worker, why: str) -> None:
        if worker.state is not WorkerState.GONE and not worker.is_killed:
            _log.error("%s %s: killed", worker, why)
            worker.is_killed = True
            os.kill(worker.pid, signal.SIGKILL)

    # -- what workers do -------------------------------------------------------------------------

    def _on_message(self, worker: Worker) -> None:
        message = worker.channel.hear()
        if message is None:  # SIGCHLD tells the rest
            self._reactor.unwatch(worker.channel.fileno())
            return
        worker.heard = time.monotonic()
        if message["is"] == "ready":
            worker.happen(WorkerEvent.READY)
            for order in self._worker_orders.values():
                worker.channel.tell(order)
            self._pursue_plan()

    def _reap(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._on_exit(self._workers.pop(pid), status)
        self._services.reap()
        self._upgrade.reap()

    def _on_exit(self, worker: Worker, status: int) -> None:
        before = worker.state
        worker.happen(WorkerEvent.EXIT)
        self._reactor.unwatch(worker.channel.fileno())
        worker.channel.close()
        self._counters.give_back(worker.slot)
        is_told = before is WorkerState.DRAINING
        if not worker.is_killed and (status or not is_told):
            _log.error("%s %s", worker, describe_exit(status))
        if not is_told:
            self._rest(worker)
        if before is WorkerState.STARTING:
            self._on_failed_start(worker, status)
        self._pursue_plan()

    def _rest(self, worker: Worker) -> None:
        """Its place waits for a new worker, the longer the more have died there in a row."""
        place = worker.place
        if time.monotonic() - worker.started >= self._timing.healthy_s:
            self._deaths[place] = 0
        self._deaths[place] = deaths = self._deaths.get(place, 0) + 1
        self._resting.add(place)
        self._reactor.after(pause_after(deaths, self._timing), lambda: self._end_rest(place))

    def _end_rest(self, place: int) -> None:
        self._resting.discard(place)
        self._pursue_plan()

    def _on_failed_start(self, worker: Worker, status: int) -> None:
        if self._fallback is not None and worker.generation == self._generation:
            self._undo_reload(worker)
        self._failed_starts += 1
        if self._phase is Phase.STARTING and self._failed_starts >= self._timing.starts_tried:
            self._failure = f"the workers do not start: the last one {describe_exit(status)}"
            self._stop()

    def _look_after_workers(self) -> None:
        """A worker that gives no sign of life is stuck, and is better replaced than waited for."""
        now = time.monotonic()
        for worker in self._workers.values():
            if now - worker.heard > self._timing.silence_s:
                self._kill(worker, f"gave no sign of life for {self._timing.silence_s:g} s")
        self._services.look_after(now)

    def _feed_watchdog(self) -> None:
        now = time.monotonic()
        if all(now - w.heard < self._timing.silence_s for w in self._workers.values()):
            self._notifier.tell("WATCHDOG=1")

    # -- what the operator asks for --------------------------------------------------------------

    def _announce(self) -> None:
        self._happen(PhaseEvent.READY)
        status = self._describe()
        _log.info("%s", status)
        self._notifier.tell("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")
        if self._ready_fd is not None:
            self._tell_ready(self._ready_fd)
            self._ready_fd = None
        if self._is_takeover:
            self._start_services()

    def _tell_ready(self, pipe: int) -> None:
        facts = {
            "pid": os.getpid(),
            "listen": [str(address) for address in self._listeners],
            "services": {
                name: [str(address) for address in listeners]
                for name, listeners in self._service_listeners.items()
            },
            "counters": {
                "fd": self._counters.file,
                "names": self._counters.counters + self._counters.gauges,
            },
        }
        with suppress(BrokenPipeError):  # who asked to be told has gone; we serve all the same
            os.write(pipe, json.dumps(facts).encode() + b"\n")
        os.close(pipe)

    def _describe(self) -> str:
        count = self._settings.worker_count
        stores = ", ".join(store.path for store in self._settings.store)
        plain = len(self._settings.serve.listen)
        addresses = ", ".join(
            address.url if place < plain else f"https://{address}"
            for place, address in enumerate(self._listeners)
        )
        return f"serving {stores} on {addresses} ({count} worker{'s' * (count > 1)})"

    def _stop(self) -> None:
        """Let running responses end, within drain_s; asked a second time, end at once."""
        before = self._phase
        self._happen(PhaseEvent.STOP)
        self._notifier.tell("STOPPING=1")
        if before is Phase.STOPPING:
            for worker in self._workers.values():
                self._kill(worker, "was to end at once")
            if not self._workers:
                self._services.kill()
            return
        deadline_s = self._settings.serve.drain_s
        _log.info("stopping: responses have %g s to end", deadline_s)
        self._upgrade.give_up("was not ready when this one was told to stop")
        if before is not Phase.HANDED_OVER:  # then the new version has them
            watched = _joined(self._service_listeners.values())
            close_listeners(self._open, besides=self._lent | watched.keys())
        self._retire_all(deadline_s)

    def _retire_all(self, deadline_s: float) -> None:
        for worker in self._workers.values():
            self._retire(worker, deadline_s)

    def _reopen_logs(self) -> None:
        """After a rotation: write to the files that have the names now."""
        for worker in self._workers.values():
            worker.channel.tell({"do": "reopen_logs"})
        self._services.tell({"do": "reopen_logs"})

    # -- other settings --------------------------------------------------------------------------

    def _reload(self) -> None:
        """Read the settings again and replace the workers one after the other."""
        if self._phase is not Phase.SERVING:
            _log.warning("reload ignored while %s", self._phase.value)
            return
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            settings = self._load_fitting()
            listeners, service_listeners = self._open_for(settings)
        except OcaserveError as error:
            faults = error.faults if isinstance(error, SettingsError) else (str(error),)
            for fault in faults:
                _log.error("reload refused, the settings stay as they were: %s", fault)
            self._notifier.tell("READY=1")
            self._end_reload_with("refused", faults)
            return
        _log.info("reloading")
        self._assign_labels(settings)
        self._end_reload_with("running")
        before = Fallback(
            self._generation, self._settings, self._listeners, self._service_listeners
        )
        self._fallback = self._fallback or before
        self._newest_generation += 1
        self._change_to(Fallback(self._newest_generation, settings, listeners, service_listeners))

    def _open_for(self, settings: Settings) -> tuple[Listeners, dict[str, Listeners]]:
        """The listeners for other settings, as many of those that are open as fit."""
        services = _joined(self._service_listeners.values())
        present = {a: sockets for a, sockets in self._open.items() if a not in services}
        listeners = open_listeners(
            settings.serve, settings.worker_count, present, settings.tls.listen
        )
        return listeners, self._open_for_services(settings, listeners, self._open)

    def _end_reload_with(self, outcome: str, faults: Sequence[str] = ()) -> None:
        self._reload_outcome = {"outcome": outcome, "at": time.time(), "faults": list(faults)}
        self._note_news()

    def _load_fitting(self) -> Settings:
        """The settings as they are written now. Raises SettingsError."""
        settings = self._load()
        most = self._counters.slots // 2  # while each worker is replaced, there are two
        if settings.worker_count > most:
            raise SettingsError(
                [
                    f"serve.workers = {settings.worker_count}: "
                    f"without a restart there can be at most {most}"
                ]
            )
        return settings

    def _change_to(self, other: Fallback) -> None:
        self._generation, self._settings = other.generation, other.settings
        self._listeners, self._service_listeners = other.listeners, other.service_listeners
        self._open = {**self._open, **self._all_listeners()}
        self._is_reloading = True
        self._pursue_plan()

    def _close_abandoned(self) -> None:
        """Give up what only other generations wanted, before the last worker of those does.

        That one is left to accept whoever waits there.
        """
        kept = self._all_listeners().keys() | self._lent
        close_listeners(self._open, besides=kept)
        self._open = {a: s for a, s in self._open.items() if a in kept}

    def _end_reload(self) -> None:
        """Every place has its worker."""
        outcome = "the settings are as they were" if self._fallback is None else "reloaded"
        self._is_reloading = False
        if self._fallback is not None:
            self._end_reload_with("done")
        self._fallback = None
        self._start_services()
        status = self._describe()
        _log.info("%s: %s", outcome, status)
        self._notifier.tell("READY=1", f"STATUS={status}")

    def _undo_reload(self, worker: Worker) -> None:
        """A worker does not start with the new settings: go back to those that work."""
        assert self._fallback is not None
        _log.error("reload failed: %s does not start; going back", worker)
        self._end_reload_with("undone", [f"{worker} does not start"])
        before = self._fallback
        self._fallback = None
        self._change_to(before)

    # -- a new version ---------------------------------------------------------------------------

    def _start_upgrade(self) -> None:
        """Start the program that is installed now, on the same sockets."""
        obstacles = {
            self._phase.value: self._phase is not Phase.SERVING,
            "reloading": self._is_reloading,
            "upgrading": self._upgrade.is_starting,
        }
        busy = [name for name, is_so in obstacles.items() if is_so]
        if busy:
            _log.warning("upgrade ignored while %s", busy[0])
            return
        notes = {"services": self._services.notes, "workers": self._worker_orders}
        self._upgrade.start(self._all_listeners(), self._lent, notes)

    def _hand_over(self, pid: int) -> None:
        """A new version serves: what runs here ends in its own time."""
        _log.info("the new version (pid %d) serves; this one ends", pid)
        self._notifier.tell(f"MAINPID={pid}")
        self._happen(PhaseEvent.HAND_OVER)
        let_go_of_listeners(self._open)
        self._services.stop()
        self._retire_all(self._settings.serve.reload_drain_s)

    # -- the processes beside the workers --------------------------------------------------------

    def _on_service_message(self, message: Mapping[str, Any]) -> None:
        """What a service wants of the supervisor; `services` lists it."""
        match message:
            case {"is": "ordering", "name": name, "order": order}:
                self._worker_orders[name] = order
                for worker in self._workers.values():
                    if worker.state is WorkerState.SERVING:
                        worker.channel.tell(order)
            case {"is": "asking", "what": "reload"}:
                self._reload()
            case {"is": "asking", "what": "reopen_logs"}:
                self._reopen_logs()
            case _:
                _log.error("a service sent %r, which is not known", message)

    def _show(self) -> dict[str, Any]:
        """What services are shown; `started` is a time of the monotonic clock."""
        workers = [
            [w.place, w.pid, w.generation, w.slot, w.state.value, round(w.started, 3)]
            for w in self._workers.values()
        ]
        return {
            "phase": self._phase.value,
            "pid": os.getpid(),
            "started": self._started,
            "generation": self._generation,
            "workers": workers,
            "wanted": self._settings.worker_count,
            "deaths": sum(self._deaths.values()),
            "resting": len(self._resting),
            "listen": [str(address) for address in self._listeners],
            "services": self._services.describe(),
            "reload": self._reload_outcome,
        }


def _joined(parts: Iterable[Listeners]) -> Listeners:
    return {address: sockets for part in parts for address, sockets in part.items()}


def _raise_descriptor_limit() -> None:
    """Every connection and open file takes a descriptor: use what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
