"""The process that keeps the others alive: it binds, forks, watches, replaces; it serves nobody."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ocaserve.addresses import Address
from ocaserve.channel import AskSupervisor, Fact, Ordering, ReopenLogs, See
from ocaserve.errors import SettingsError, StartError
from ocaserve.ledger.places import ledger_folder
from ocaserve.lifecycle import ENDING, PHASES, Phase, PhaseEvent, advance
from ocaserve.logs import flush_log
from ocaserve.metrics import CounterMap
from ocaserve.notify import Notifier
from ocaserve.runtime import (
    DEMAND,
    find_state_folder,
    make_runtime_folder,
    remove_runtime_folder,
)
from ocaserve.settings import Settings
from ocaserve.supervisor.children import Children, describe_exit
from ocaserve.supervisor.defects import Defects
from ocaserve.supervisor.generation import Generation, join
from ocaserve.supervisor.listening import Listening
from ocaserve.supervisor.posts import ServicePosts
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.reload import ReloadUnderWay
from ocaserve.supervisor.service import Service
from ocaserve.supervisor.staffing import RestartTiming
from ocaserve.supervisor.upgrade import Upgrade, take_notes
from ocaserve.supervisor.worker_process import WorkerProcess
from ocaserve.supervisor.workforce import RunWorker, SpoolFolders, Workforce

_log = logging.getLogger(__name__)

_SLOTS_PER_PLACE = 4  # a place's worker, its successor, and some that still drain
_SPARE_SLOTS = 64
_FLUSH_S = 1.0


def count_slots(settings: Settings) -> int:
    """How many workers at a time can have a row in what they share."""
    return _SLOTS_PER_PLACE * settings.worker_count + _SPARE_SLOTS


class Supervisor:
    """Runs the appliance until it is told to stop. is_succeeded: a new version goes on.

    run_worker: what a forked child does. services: processes beside the workers, in the order in
    which they end when the workers have. labels: those that settings need of each family of
    counters. load: reads the settings again, for HUP, and says what is done without. arguments: the
    command line, for USR2. ready_fd: a pipe that gets one line of JSON when all workers serve.
    """

    def __init__(
        self,
        settings: Settings,
        run_worker: RunWorker,
        *,
        names: tuple[Sequence[str], Sequence[str]],
        services: Sequence[Service] = (),
        labels: Callable[[Settings], Mapping[str, Sequence[str]]] = lambda _: {},
        load: Callable[[], tuple[Settings, Sequence[str]]],
        arguments: Sequence[str] = (),
        ready_fd: int | None = None,
        timing: RestartTiming | None = None,
    ) -> None:
        self._load = load
        self._labels = labels
        self._ready_fd = ready_fd
        self._timing = timing or RestartTiming()
        self._phase = Phase.STARTING
        self._started = time.time()
        self._failed_starts = 0
        self._failure: str | None = None
        self._is_news = False  # something that services are shown has changed
        self._folder = Path()
        self.is_succeeded = False
        self._predecessor = 0  # the version that this one has taken over from
        self._counters = CounterMap(*names, slots=count_slots(settings))
        _assign(self._counters, labels(settings))
        self._notifier = Notifier(os.environ)
        self._wanted = Generation(0, settings)
        self._listening = Listening(services)
        self._defects = Defects()
        self._reactor = reactor = Reactor(self._defects)
        self._children = Children(reactor, self._timing, self._let_go)
        self._workforce = Workforce(
            self._children,
            reactor,
            self._timing,
            self._counters,
            run_worker,
            lambda settings: SpoolFolders(
                _find_ledger(settings, self._folder),
                self._folder / DEMAND if settings.counts_demand else None,
            ),
            self._pursue_plan,
            self._on_failed_start,
        )
        self._services = ServicePosts(
            services,
            self._children,
            reactor,
            self._timing,
            self._counters,
            self._on_service_fact,
            self._note_news,
        )
        self._upgrade = Upgrade(reactor, arguments, self._timing.upgrade_s, self._hand_over)
        self._reload = ReloadUnderWay(self._prepare, self._change_to, self._note_news)

    def run(self) -> None:
        """Bring the appliance into service; return when it has stopped. Raises OcaserveError."""
        _raise_descriptor_limit()
        self._services.notes, orders = take_notes(os.environ)
        self._workforce.take_over(orders)
        self._wanted = self._listening.open_first(self._wanted.settings, os.environ)
        for why in self._wanted.missing.values():
            _log.error("%s: goes on without, and tries again", why)
        if self._listening.is_takeover:
            self._predecessor = os.getppid()
        self._folder = make_runtime_folder(os.environ)
        try:
            self._live()
        finally:
            remove_runtime_folder(self._folder)
        if self._failure is not None:
            raise StartError(self._failure)

    def _live(self) -> None:
        self._reactor.hear(
            {
                signal.SIGTERM: self._stop,
                signal.SIGINT: self._stop,
                signal.SIGHUP: self._begin_reload,
                signal.SIGUSR1: self._reopen_logs,
                signal.SIGUSR2: self._start_upgrade,
                signal.SIGCHLD: self._reap,
            }
        )
        self._reactor.every(self._timing.silence_s / 30, self._look_after_children)
        self._reactor.every(_FLUSH_S, flush_log)
        if self._notifier.watchdog_s:
            feed = partial(_feed_watchdog, self._notifier, self._children)
            self._reactor.every(self._notifier.watchdog_s / 2, feed)
        self._reactor.every(self._timing.listen_again_s, self._listen_again)
        self._reactor.contain(self._pursue_plan)
        if not self._listening.is_takeover:  # else those of the old version are there meanwhile
            self._reactor.contain(self._start_services)
        while self._workforce or self._phase not in ENDING:
            self._turn()
        self._services.stop()
        while not self._services.are_over:
            self._turn()
        if self._phase is not Phase.HANDED_OVER:
            self._listening.give_up(besides=())
        self._happen(PhaseEvent.EMPTY)

    def _turn(self) -> None:
        self._reactor.turn()
        if self._is_news:
            self._is_news = False
            self._reactor.contain(lambda: self._services.tell(See(self._show())))

    def _let_go(self, keeps: Collection[Address]) -> None:
        """In a forked child: close what is the supervisor's alone, and listeners of others."""
        self._reactor.abandon()
        self._listening.let_go(besides=keeps)
        if self._ready_fd is not None:
            os.close(self._ready_fd)
        self._upgrade.let_go()

    def _happen(self, event: PhaseEvent) -> None:
        self._phase = advance(PHASES, self._phase, event)
        self._note_news()

    def _note_news(self) -> None:
        self._is_news = True

    # -- having the right processes --------------------------------------------------------------

    def _pursue_plan(self) -> None:
        """Do what is to be done now; called after everything that may change it."""
        self._note_news()
        self._carry_out_plan()

    def _carry_out_plan(self) -> None:
        if self._phase in ENDING:
            return
        plan = self._workforce.plan(self._wanted)
        has_reloaded = plan.is_settled and self._reload.is_running
        if has_reloaded:  # before the last worker of another generation is told to go: it is left
            self._listening.give_up(besides=self._wanted.all_listeners)  # to accept who waits there
        self._workforce.carry_out(plan, self._wanted)
        # Those that have failed so often are not waited for where others serve.
        is_enough = self._failed_starts >= self._timing.starts_tried and self._workforce.is_serving
        if self._phase is Phase.STARTING and (plan.is_settled or is_enough):
            self._announce()
        elif has_reloaded:
            self._end_reload()
        if self._reload.is_waiting and not self._workforce.is_hurrying:
            self._begin_reload()

    def _on_failed_start(self, worker: WorkerProcess, status: int) -> None:
        if worker.generation == self._wanted.number:
            self._reload.undo(str(worker))
        self._failed_starts += 1
        if self._phase is not Phase.STARTING or self._workforce.is_serving:
            return
        if self._failed_starts >= self._timing.starts_tried:
            self._failure = f"the workers do not start: the last one {describe_exit(status)}"
            self._stop()

    def _start_services(self) -> None:
        self._services.start(self._wanted, self._folder)

    def _reap(self) -> None:
        self._children.reap()
        self._upgrade.reap()

    def _look_after_children(self) -> None:
        self._children.look_after(time.monotonic())
        self._carry_out_plan()  # what the system refused for a moment is made up for

    # -- what the operator asks for --------------------------------------------------------------

    def _announce(self) -> None:
        self._happen(PhaseEvent.READY)
        status = self._wanted.describe()
        _log.info("%s", status)
        self._notifier.tell("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")
        if self._ready_fd is not None:
            _tell_ready(self._ready_fd, self._wanted, self._counters)
            self._ready_fd = None
        if self._listening.is_takeover:
            self._start_services()

    def _stop(self) -> None:
        """Let running responses end, within drain_s; asked a second time, end at once."""
        before = self._phase
        self._happen(PhaseEvent.STOP)
        self._notifier.tell("STOPPING=1")
        if before is Phase.STOPPING:
            self._workforce.kill_all("was to end at once")
            if not self._workforce:
                self._services.kill()
            return
        deadline_s = self._wanted.settings.serve.drain_s
        _log.info("stopping: responses have %g s to end", deadline_s)
        self._upgrade.give_up("was not ready when this one was told to stop")
        if before is not Phase.HANDED_OVER:  # then the new version has them
            self._listening.give_up(besides=join(self._wanted.services))  # the drain is watched
        self._workforce.retire_all(deadline_s)

    def _reopen_logs(self) -> None:
        """After a rotation: write to the files that have the names now."""
        self._workforce.tell(ReopenLogs())
        self._services.tell(ReopenLogs())

    # -- other settings --------------------------------------------------------------------------

    def _begin_reload(self) -> None:
        """Read the settings again and replace the workers one after the other."""
        if self._phase is not Phase.SERVING:
            _log.warning("reload ignored while %s", self._phase.value)
            return
        self._notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        if self._workforce.is_hurrying:
            self._reload.wait()
            return
        if not self._reload.begin(self._wanted):
            self._notifier.tell("READY=1")

    def _prepare(self, number: int) -> Generation:
        """What the settings as they are written now ask for. Raises OcaserveError."""
        settings, degraded = self._load()
        most = self._counters.slots // 2  # while each worker is replaced, there are two
        if settings.worker_count > most:
            raise SettingsError(
                [
                    f"serve.workers = {settings.worker_count}: "
                    f"without a restart there can be at most {most}"
                ]
            )
        prepared = self._listening.open_for(settings, self._wanted, number)
        _assign(self._counters, self._labels(settings))
        return replace(prepared, degraded=tuple(degraded))

    def _change_to(self, wanted: Generation) -> None:
        self._wanted = wanted
        self._listening.adopt(wanted)
        self._workforce.begin_anew()
        self._pursue_plan()

    def _listen_again(self) -> None:
        """On what was missing: another program may have given it up."""
        wanted = self._wanted
        is_busy = self._phase is not Phase.SERVING or self._reload.is_running
        if is_busy or not wanted.missing:
            return
        number = self._reload.next_number
        again = self._listening.open_for(wanted.settings, wanted, number)
        if again.missing.keys() == wanted.missing.keys():
            return
        found = ", ".join(wanted.missing.keys() - again.missing.keys())
        _log.warning("%s can be listened on again", found)
        if again.listeners.keys() != wanted.listeners.keys():
            self._reload.change(wanted, again)
            return
        self._wanted = replace(again, number=wanted.number)  # the workers have what they need
        self._listening.adopt(self._wanted)
        self._start_services()
        self._note_news()

    def _end_reload(self) -> None:
        """Every place has its worker."""
        outcome = self._reload.end(self._wanted)
        self._start_services()
        status = self._wanted.describe()
        _log.info("%s: %s", outcome, status)
        self._notifier.tell("READY=1", f"STATUS={status}")

    # -- a new version ---------------------------------------------------------------------------

    def _start_upgrade(self) -> None:
        """Start the program that is installed now, on the same sockets."""
        obstacles = {
            self._phase.value: self._phase is not Phase.SERVING,
            "reloading": self._reload.is_running,
            "upgrading": self._upgrade.is_starting,
        }
        busy = [name for name, is_so in obstacles.items() if is_so]
        if busy:
            _log.warning("upgrade ignored while %s", busy[0])
            return
        if self._predecessor == os.getppid():  # it drains still: its time is over with the next
            os.kill(self._predecessor, signal.SIGTERM)
        notes = {"services": self._services.notes, "workers": self._workforce.orders}
        self._upgrade.start(self._wanted.all_listeners, self._listening.lent, notes)

    def _hand_over(self, pid: int) -> None:
        """A new version serves: what runs here ends in its own time."""
        _log.info("the new version (pid %d) serves; this one ends", pid)
        self._notifier.tell(f"MAINPID={pid}")
        self.is_succeeded = True
        self._happen(PhaseEvent.HAND_OVER)
        self._listening.let_go()
        self._services.stop(are_replaced=True)
        self._workforce.retire_all(self._wanted.settings.serve.reload_drain_s)

    # -- the processes beside the workers --------------------------------------------------------

    def _on_service_fact(self, fact: Fact) -> None:
        """What a service wants of the supervisor."""
        match fact:
            case Ordering(name, order):
                self._workforce.order(name, order)
            case AskSupervisor("reload"):
                self._begin_reload()
            case AskSupervisor("reopen_logs"):
                self._reopen_logs()
            case _:
                _log.error("a service says %r, which is a worker's word", fact)

    def _show(self) -> dict[str, Any]:
        """What services are shown; `started` is a time of the monotonic clock."""
        return {
            "phase": self._phase.value,
            "pid": os.getpid(),
            "started": self._started,
            "generation": self._wanted.number,
            "workers": self._workforce.describe(),
            "wanted": self._wanted.settings.worker_count,
            "deaths": self._workforce.deaths,
            "resting": self._workforce.resting,
            "defects": self._defects.count,
            "listen": [str(address) for address in self._wanted.listeners],
            "missing": dict(self._wanted.missing),
            "services": self._services.describe(),
            "reload": self._reload.outcome,
        }


def _raise_descriptor_limit() -> None:
    """Every connection and open file takes a descriptor: use what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _assign(counters: CounterMap, labels: Mapping[str, Sequence[str]]) -> None:
    for family, names in labels.items():
        counters.assign(family, names)


def _find_ledger(settings: Settings, folder: Path) -> Path | None:
    """Where workers tell what they have sent; nowhere without a control process to read it."""
    if not settings.ledger.is_kept or not settings.control.listen:
        return None
    state = find_state_folder(settings.appliance.state_directory, os.environ)
    return ledger_folder(settings.ledger, state, folder)


def _feed_watchdog(notifier: Notifier, children: Children) -> None:
    if children.are_lively(time.monotonic()):
        notifier.tell("WATCHDOG=1")


def _tell_ready(pipe: int, generation: Generation, counters: CounterMap) -> None:
    facts = {
        "pid": os.getpid(),
        "listen": [str(address) for address in generation.listeners],
        "services": {
            name: [str(address) for address in listeners]
            for name, listeners in generation.services.items()
        },
        "counters": {"fd": counters.file, "names": counters.counters + counters.gauges},
    }
    with suppress(BrokenPipeError):  # who asked to be told has gone; we serve all the same
        os.write(pipe, json.dumps(facts).encode() + b"\n")
    os.close(pipe)
