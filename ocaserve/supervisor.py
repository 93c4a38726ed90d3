"""The process that keeps the others alive: it binds, forks, watches, replaces; it serves nobody.

It has one thread and no event loop, so that forking is safe: a loop over poll(2), which hears
signals through a pipe, its workers through a socket each, and timers through a heap.

Listeners. The shares of the listening sockets are numbered like the places of the workers. A worker
accepts from the share of its place; the share of a place that has no serving worker goes to another
one until it has (`share_out`), so no connection waits in a queue that nobody looks at.

A worker that dies is replaced after a pause that doubles with each death in a row (`pause_after`).
HUP replaces the workers one after the other: the new one must be ready before the old one is told
to finish. USR2 starts the program anew with the same sockets, and retires this one when the new one
is ready. Whatever fails on the way leaves the old ones serving.
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ocaserve.errors import OcaserveError, SettingsError, StartError
from ocaserve.lifecycle import (
    PHASES,
    WORKER_STATES,
    Phase,
    PhaseEvent,
    WorkerEvent,
    WorkerState,
    advance,
)
from ocaserve.metrics import CounterMap, CounterSlot
from ocaserve.notify import Notifier
from ocaserve.settings import Settings
from ocaserve.sockets import Listeners, open_listeners, pass_on, take_passed

_log = logging.getLogger(__name__)

RunWorker = Callable[[Settings, Sequence[socket.socket], CounterSlot, socket.socket, str], int]

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 30.0
_HEALTHY_S = 60.0  # a worker that lived this long did not die of its start
_STARTS_TRIED = 3  # before the appliance gives up coming into service
_SILENCE_S = 30.0  # without a sign of life, after which a worker is taken for stuck
_KILL_MARGIN_S = 5.0  # for a worker to end by itself after its drain deadline
_UPGRADE_S = 30.0  # for a new version to become ready
_MESSAGE_BYTES = 65_536
_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD,
)  # fmt: skip
_READY_PIPE = "OCASERVE_READY_PIPE"


# -- what is decided without acting --------------------------------------------------------------


def pause_after(deaths: int) -> float:
    """Seconds before a worker is started again after so many deaths in a row."""
    return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** max(0, deaths - 1))


def share_out(places: int, serving: Sequence[int]) -> dict[int, set[int]]:
    """Which shares of the listeners each serving place accepts from.

    Every share 0..places-1 has exactly one place, its own if that serves. Places beyond the number
    of shares (fewer workers are wanted than there were) get none.
    """
    shares: dict[int, set[int]] = {place: set() for place in serving}
    candidates = sorted(place for place in serving if place < places) or sorted(serving)
    for share in range(places):
        if candidates:
            owner = share if share in shares else candidates[share % len(candidates)]
            shares[owner].add(share)
    return shares


def listeners_of_share(group_sizes: Sequence[int], places: int, share: int) -> list[int]:
    """The positions, in the flat list of all sockets, that belong to a share.

    group_sizes: how many sockets each address has. An address with a socket for each place gives
    one to each share; with fewer, shares have one in common; with more, a share has several.
    """
    positions = []
    start = 0
    for size in group_sizes:
        if size >= places:
            positions += [start + i for i in range(size) if i % places == share]
        else:
            positions.append(start + share % size)
        start += size
    return positions


# -- processes -----------------------------------------------------------------------------------


@dataclass
class WorkerProcess:
    """One worker, from fork to wait. `place` says which share of the listeners is its own."""

    place: int
    pid: int
    channel: socket.socket
    slot: int
    sockets: tuple[socket.socket, ...]
    group_sizes: tuple[int, ...]
    started: float
    state: WorkerState = WorkerState.STARTING
    heard: float = field(default=0.0)
    accepts: list[int] = field(default_factory=list)

    def happen(self, event: WorkerEvent) -> None:
        self.state = advance(WORKER_STATES, self.state, event)

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order. A worker that cannot take it is dead or will be found silent."""
        with suppress(OSError):
            self.channel.send(json.dumps(order).encode())


@dataclass
class Upgrade:
    """A new version that is starting."""

    process: subprocess.Popen[bytes]
    pipe: int


class Supervisor:
    """Runs the appliance until it is told to stop.

    run_worker: what a forked child does. load: reads the settings again, for HUP. arguments: the
    command line, for USR2.
    """

    def __init__(
        self,
        settings: Settings,
        run_worker: RunWorker,
        *,
        names: tuple[Sequence[str], Sequence[str]],
        load: Callable[[], Settings],
        arguments: Sequence[str] = (),
        on_ready: Callable[[Supervisor], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.phase = Phase.STARTING
        self.listeners: Listeners = {}
        places = settings.worker_count
        self.counters = CounterMap(*names, slots=4 * places + 64)
        self._run_worker = run_worker
        self._load = load
        self._arguments = tuple(arguments)
        self._on_ready = on_ready
        self._notifier = Notifier(os.environ)
        self._workers: dict[int, WorkerProcess] = {}  # by pid
        self._deaths: dict[int, int] = {}  # in a row, by place
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = itertools.count()
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._to_replace: list[int] = []  # places whose workers are still of the old settings
        self._previous: tuple[Settings, Listeners] | None = None  # while a reload is under way
        self._upgrade: Upgrade | None = None
        self._failed_starts = 0
        self._failure: str | None = None

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> None:
        """Bring the appliance into service; return when it has stopped. Raises OcaserveError."""
        _raise_descriptor_limit()
        present = take_passed(os.environ)
        self.listeners = open_listeners(self.settings.serve, self.settings.worker_count, present)
        for address in present.keys() - self.listeners.keys():
            _log.warning("%s was passed in, but the settings do not listen on it", address)
        self._hear_signals()
        for place in range(self.settings.worker_count):
            self._start_worker(place)
        self._every(1.0, self._look_after_workers)
        if self._notifier.watchdog_s:
            self._every(self._notifier.watchdog_s / 2, self._feed_watchdog)
        while self.phase is not Phase.STOPPED:
            self._turn()
        if self._failure is not None:
            raise StartError(self._failure)

    def _turn(self) -> None:
        timeout = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) * 1000
        for descriptor, _ in self._poll.poll(timeout):
            callback = self._callbacks.get(descriptor)
            if callback is not None:
                callback()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        entry = (time.monotonic() + seconds, next(self._timer_numbers), action)
        heapq.heappush(self._timers, entry)

    def _every(self, seconds: float, action: Callable[[], None]) -> None:
        def again() -> None:
            action()
            self._after(seconds, again)

        self._after(seconds, again)

    def _watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        self._callbacks[descriptor] = callback
        self._poll.register(descriptor, select.POLLIN)

    def _unwatch(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        del self._callbacks[descriptor]

    def _hear_signals(self) -> None:
        """Handlers only write the signal's number into a pipe; `_on_signal` acts on it."""
        self._signals_in, signals_out = os.pipe()
        for descriptor in (self._signals_in, signals_out):
            os.set_blocking(descriptor, False)
        self._signals_out = signals_out
        signal.set_wakeup_fd(signals_out, warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda *_: None)
        self._watch(self._signals_in, self._on_signal)

    def _on_signal(self) -> None:
        actions: dict[int, Callable[[], None]] = {
            signal.SIGTERM: self.stop,
            signal.SIGINT: self.stop,
            signal.SIGHUP: self.reload,
            signal.SIGUSR1: self.reopen_logs,
            signal.SIGUSR2: self.upgrade,
            signal.SIGCHLD: self._reap,
        }
        for number in os.read(self._signals_in, 512):
            actions[number]()

    # -- workers ----------------------------------------------------------------------------------

    def _start_worker(self, place: int) -> None:
        ours, theirs = _channel()
        groups = tuple(self.listeners.values())
        sockets = tuple(sock for group in groups for sock in group)
        slot = self.counters.take_slot()
        pid = os.fork()
        if not pid:
            ours.close()
            self._be_worker(place, sockets, slot, theirs)
        theirs.close()
        ours.setblocking(False)
        now = time.monotonic()
        worker = WorkerProcess(
            place, pid, ours, slot, sockets, tuple(len(group) for group in groups), now, heard=now
        )
        self._workers[pid] = worker
        self._watch(ours.fileno(), lambda: self._on_message(worker))

    def _be_worker(
        self, place: int, sockets: Sequence[socket.socket], slot: int, channel: socket.socket
    ) -> None:
        """The child's whole life: nothing of the supervisor's is left to it but what it needs."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            os.close(self._signals_in)
            os.close(self._signals_out)
            for worker in self._workers.values():
                worker.channel.close()
            row = self.counters.slot(slot)
            status = self._run_worker(self.settings, sockets, row, channel, f"worker {place}")
        except BaseException:  # noqa: BLE001 - the border of the process: nothing may run beyond it
            traceback.print_exc()
        finally:
            logging.shutdown()
            sys.stdout.flush()
            os._exit(status)

    def _on_message(self, worker: WorkerProcess) -> None:
        try:
            message = worker.channel.recv(_MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:  # its end of the channel is closed: SIGCHLD says the rest
            self._unwatch(worker.channel.fileno())
            return
        worker.heard = time.monotonic()
        if json.loads(message)["is"] == "ready":
            self._on_worker_ready(worker)

    def _on_worker_ready(self, worker: WorkerProcess) -> None:
        worker.happen(WorkerEvent.READY)
        for older in self._at(worker.place):
            if older is not worker and older.state is WorkerState.SERVING:
                self._retire(older, self.settings.serve.reload_drain_s)
        self._share_out()
        if self.phase is Phase.STARTING and self._all_serving():
            self._announce()
        self._replace_next()

    def _at(self, place: int) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.place == place]

    def _serving(self) -> dict[int, WorkerProcess]:
        return {
            worker.place: worker
            for worker in self._workers.values()
            if worker.state is WorkerState.SERVING
        }

    def _all_serving(self) -> bool:
        return set(range(self.settings.worker_count)) <= self._serving().keys()

    def _share_out(self) -> None:
        """Tell each worker which listeners to accept from, where that has changed."""
        serving = self._serving()
        places = self.settings.worker_count
        for place, shares in share_out(places, sorted(serving)).items():
            worker = serving[place]
            accepts = sorted(
                {p for s in shares for p in listeners_of_share(worker.group_sizes, places, s)}
            )
            if accepts != worker.accepts:
                worker.accepts = accepts
                worker.tell({"do": "accept", "listeners": accepts})

    def _retire(self, worker: WorkerProcess, deadline_s: float) -> None:
        worker.happen(WorkerEvent.DRAIN)
        worker.accepts = []
        worker.tell({"do": "drain", "deadline_s": deadline_s})
        self._after(deadline_s + _KILL_MARGIN_S, lambda: self._kill(worker, "did not finish"))

    def _kill(self, worker: WorkerProcess, why: str) -> None:
        if worker.state is not WorkerState.GONE:
            _log.error("worker %d (pid %d) %s: killed", worker.place, worker.pid, why)
            os.kill(worker.pid, signal.SIGKILL)

    def _look_after_workers(self) -> None:
        """A worker that gives no sign of life is stuck, and is better replaced than waited for."""
        now = time.monotonic()
        for worker in list(self._workers.values()):
            if now - worker.heard > _SILENCE_S:
                worker.heard = now
                self._kill(worker, f"gave no sign of life for {_SILENCE_S:.0f} s")

    def _feed_watchdog(self) -> None:
        oldest = min((worker.heard for worker in self._workers.values()), default=0.0)
        if time.monotonic() - oldest < _SILENCE_S:
            self._notifier.tell("WATCHDOG=1")

    def _reap(self) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._on_exit(self._workers.pop(pid), status)
        if self._upgrade is not None and self._upgrade.process.poll() is not None:
            self._end_upgrade("ended before it was ready")

    def _on_exit(self, worker: WorkerProcess, status: int) -> None:
        before = worker.state
        worker.happen(WorkerEvent.EXIT)
        if worker.channel.fileno() in self._callbacks:
            self._unwatch(worker.channel.fileno())
        worker.channel.close()
        self.counters.give_back(worker.slot)
        if before is not WorkerState.DRAINING:
            self._on_death(worker, before, status)
        if self.phase is Phase.STOPPING and not self._workers:
            self.phase = advance(PHASES, self.phase, PhaseEvent.EMPTY)

    def _on_death(self, worker: WorkerProcess, before: WorkerState, status: int) -> None:
        """It was not told to end."""
        place = worker.place
        _log.error("worker %d (pid %d) %s", place, worker.pid, _describe_exit(status))
        if self.phase is Phase.STOPPING:
            return
        self._share_out()
        if before is WorkerState.STARTING:
            self._on_failed_start(worker, status)
            return
        if time.monotonic() - worker.started >= _HEALTHY_S:
            self._deaths[place] = 0
        self._restart_later(place)

    def _on_failed_start(self, worker: WorkerProcess, status: int) -> None:
        if self._previous is not None:
            self._undo_reload(worker.place)
        self._failed_starts += 1
        if self.phase is Phase.STARTING and self._failed_starts >= _STARTS_TRIED:
            self._failure = f"the workers do not start: the last one {_describe_exit(status)}"
            self.stop()
            return
        if not self._at(worker.place):
            self._restart_later(worker.place)

    def _restart_later(self, place: int) -> None:
        self._deaths[place] = deaths = self._deaths.get(place, 0) + 1
        self._after(pause_after(deaths), lambda: self._restart(place))

    def _restart(self, place: int) -> None:
        wanted = self.phase is not Phase.STOPPING and place < self.settings.worker_count
        if wanted and all(w.state is WorkerState.DRAINING for w in self._at(place)):
            self._start_worker(place)

    # -- what the operator asks for ---------------------------------------------------------------

    def _announce(self) -> None:
        self.phase = advance(PHASES, self.phase, PhaseEvent.READY)
        addresses = ", ".join(
            str(address) if address.path else f"http://{address}" for address in self.listeners
        )
        stores = ", ".join(store.path for store in self.settings.store)
        workers = self.settings.worker_count
        _log.info("serving %s on %s (%d worker%s)", stores, addresses, workers, "s" * (workers > 1))
        self._notifier.tell("READY=1", f"STATUS=serving on {addresses}", f"MAINPID={os.getpid()}")
        pipe = os.environ.pop(_READY_PIPE, None)
        if pipe is not None:
            os.write(int(pipe), b"ready\n")
            os.close(int(pipe))
        self._on_ready(self)

    def stop(self) -> None:
        """Let running responses end, within drain_s; asked a second time, end at once."""
        again = self.phase is Phase.STOPPING
        self.phase = advance(PHASES, self.phase, PhaseEvent.STOP)
        self._notifier.tell("STOPPING=1")
        if again:
            for worker in self._workers.values():
                self._kill(worker, "was to end at once")
        else:
            self._retire_all(self.settings.serve.drain_s)
        if not self._workers:
            self.phase = advance(PHASES, self.phase, PhaseEvent.EMPTY)

    def _retire_all(self, deadline_s: float) -> None:
        _log.info("stopping: responses have %g s to end", deadline_s)
        for worker in self._workers.values():
            self._retire(worker, deadline_s)

    def reopen_logs(self) -> None:
        """After a rotation: write to the files that have the names now."""
        for worker in self._workers.values():
            worker.tell({"do": "reopen_logs"})

    def reload(self) -> None:
        """Read the settings again and replace the workers one after the other."""
        if self.phase is not Phase.SERVING:
            return
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            settings = self._load()
            listeners = open_listeners(settings.serve, settings.worker_count, self.listeners)
        except OcaserveError as error:
            faults = error.faults if isinstance(error, SettingsError) else (str(error),)
            for fault in faults:
                _log.error("reload refused, the settings stay as they were: %s", fault)
            self._notifier.tell("READY=1")
            return
        _log.info("reloading")
        self._previous = self._previous or (self.settings, self.listeners)
        self.settings, self.listeners = settings, listeners
        self._to_replace = list(range(settings.worker_count))
        self._replace_next()

    def _replace_next(self) -> None:
        """The next place gets a worker of the present settings, once the last one is ready."""
        if self._previous is None or any(
            worker.state is WorkerState.STARTING for worker in self._workers.values()
        ):
            return
        if self._to_replace:
            self._start_worker(self._to_replace.pop(0))
        else:
            self._end_reload()

    def _end_reload(self) -> None:
        """Every place has its new worker: let go of what only the old settings wanted."""
        assert self._previous is not None
        _, listeners = self._previous
        self._previous = None
        for place, worker in self._serving().items():
            if place >= self.settings.worker_count:
                self._retire(worker, self.settings.serve.reload_drain_s)
        for address in listeners.keys() - self.listeners.keys():
            for sock in listeners[address]:
                sock.close()
        self._share_out()
        _log.info("reloaded")
        self._notifier.tell("READY=1", "STATUS=serving")

    def _undo_reload(self, place: int) -> None:
        """A worker does not start with the new settings: go back to those that work."""
        assert self._previous is not None
        _log.error("reload failed: worker %d does not start; the settings stay as they were", place)
        self.settings, self.listeners = self._previous
        self._previous = None
        self._to_replace = []
        for worker in list(self._serving().values()):
            if worker.sockets != tuple(s for group in self.listeners.values() for s in group):
                self._restart_later(worker.place)
                self._retire(worker, self.settings.serve.reload_drain_s)
        self._share_out()
        self._notifier.tell("READY=1")

    # -- a new version ----------------------------------------------------------------------------

    def upgrade(self) -> None:
        """Start the program that is installed now, on the same sockets."""
        if self.phase is not Phase.SERVING or self._upgrade is not None:
            return
        variables, descriptors = pass_on(self.listeners)
        pipe_in, pipe_out = os.pipe()
        environment = {**os.environ, **variables, _READY_PIPE: str(pipe_out)}
        process = subprocess.Popen(  # noqa: S603 - our own command line
            [sys.executable, "-m", "ocaserve", *self._arguments],
            pass_fds=(*descriptors, pipe_out),
            env=environment,
        )
        os.close(pipe_out)
        _log.info("starting a new version (pid %d)", process.pid)
        self._upgrade = upgrade = Upgrade(process, pipe_in)
        self._watch(pipe_in, self._on_upgrade_ready)
        self._after(_UPGRADE_S, lambda: self._give_up_upgrade(upgrade))

    def _on_upgrade_ready(self) -> None:
        upgrade = self._upgrade
        assert upgrade is not None
        if not os.read(upgrade.pipe, 16):
            self._end_upgrade("ended before it was ready")
            return
        self._unwatch(upgrade.pipe)
        os.close(upgrade.pipe)
        self._upgrade = None
        _log.info("the new version (pid %d) serves; this one ends", upgrade.process.pid)
        self._notifier.tell(f"MAINPID={upgrade.process.pid}")
        self.phase = advance(PHASES, self.phase, PhaseEvent.STOP)
        self._retire_all(self.settings.serve.reload_drain_s)

    def _give_up_upgrade(self, upgrade: Upgrade) -> None:
        if self._upgrade is upgrade:
            upgrade.process.kill()
            self._end_upgrade(f"was not ready within {_UPGRADE_S:g} s")

    def _end_upgrade(self, why: str) -> None:
        upgrade = self._upgrade
        if upgrade is None:
            return
        _log.error("the new version (pid %d) %s; this one goes on", upgrade.process.pid, why)
        self._unwatch(upgrade.pipe)
        os.close(upgrade.pipe)
        self._upgrade = None
        upgrade.process.wait()


def _channel() -> tuple[socket.socket, socket.socket]:
    """Two ends for datagrams that arrive in order: each is an order or a fact, whole."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return ours, theirs


def _describe_exit(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with status {code}"


def _raise_descriptor_limit() -> None:
    """Every connection and open file takes a descriptor: use what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
