"""One serving process: an event loop, its connections, and the supervisor's orders.

The supervisor forks it and calls `run_worker`. Orders come as JSON datagrams over `channel`: which
listeners to accept from, to drain, to reopen the log. The end of the channel means that the
supervisor is gone; the worker then drains and ends, since nobody would replace or stop it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from math import ceil

import msgspec

from ocaserve.channel import (
    Accept,
    Beat,
    DrainBy,
    Drained,
    Fact,
    Order,
    Ready,
    ReopenLogs,
    TakeDuty,
    encode_message,
    read_order,
)
from ocaserve.ledger.networks import Networks
from ocaserve.ledger.places import spool_folder
from ocaserve.ledger.tallies import Tallies
from ocaserve.logs import flush_log
from ocaserve.metrics import CounterSlot
from ocaserve.protocol.connection_states import State
from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.access_log import AccessLog
from ocaserve.serving.accounts import Accounts
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.appliance import make_appliance
from ocaserve.serving.backlog import Backlogs
from ocaserve.serving.clients import Clients
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.containment import Containment, each
from ocaserve.serving.counters import (
    GAUGE_PLACES,
    HISTOGRAM_PLACES,
    Count,
    Gauge,
)
from ocaserve.serving.deadlines import DeadlineWheel
from ocaserve.serving.engine import Engine, Leaving
from ocaserve.serving.exchange import Exchange
from ocaserve.serving.handshake import Handshakes
from ocaserve.serving.histograms import Histogram, observe
from ocaserve.serving.listener import Acceptor
from ocaserve.serving.log_lines import entry_formatter
from ocaserve.serving.outlet import OutletParts
from ocaserve.serving.readiness import ServingLoop, system_readiness
from ocaserve.serving.sending import system_sender
from ocaserve.serving.stance import TICK_S, Duty, Stance
from ocaserve.serving.telling import Teller
from ocaserve.serving.tls_contexts import TlsHeritage
from ocaserve.serving.transfer import TransferTerms
from ocaserve.serving.wall_clock import Clock
from ocaserve.settings import Settings
from ocaserve.settings.ledger import LedgerSettings
from ocaserve.sockets import tls_positions

_log = logging.getLogger(__name__)

_MESSAGE_BYTES = 64 * 1024  # of one order; the longest lists a few hundred listeners
_ORPHAN_DRAIN_S = 30.0  # for responses to end when the supervisor is gone
_IGNORED_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""Terminals and service managers send them to the whole group; the supervisor decides what they
mean, and says so over the channel."""
_READY_PATIENCE_S = 2.0  # for the answerer and for TLS, which look at disks
_DEMAND_SPOOLS = 4  # of each worker, of 1 MiB, in the runtime folder, which may be memory
_TICKS_PER_BEAT = 4  # a sign of life each second
_LAG_SHOWN_S = 1.0  # at least, and from one round of health to the next: none may miss it


MakeAnswerer = Callable[[Settings, CounterSlot, Engine], Answerer]
"""May raise OSError: then the worker cannot start."""


def run_worker(
    settings: Settings,
    listeners: Sequence[socket.socket],
    slot: CounterSlot,
    channel: socket.socket,
    name: str,
    heritage: TlsHeritage | None = None,
    make_answerer: MakeAnswerer = make_appliance,
) -> int:
    """Serve until told to drain; returns the exit status. `slot` is this worker's alone.

    heritage: what all workers share for TLS, made before the fork; needed if they listen for it.
    make_answerer: of whoever decides what is answered; without it the worker is an appliance's.
    """
    loop = _new_loop(settings.serve.loop)
    try:
        worker = Worker(settings, listeners, slot, channel, name, loop, make_answerer)
        if settings.tls.listen:
            assert heritage is not None, "TLS needs what the supervisor has prepared"
            worker.offer_tls(settings, listeners, heritage)
    except OSError as error:
        _log.error("%s cannot start: %s", name, error)
        return 1
    worker.start()
    gc.collect()
    gc.freeze()  # what exists now lives as long as the worker: no collection need look at it
    loop.run_forever()
    worker.finish()
    return 0


def _new_loop(choice: str) -> asyncio.AbstractEventLoop:
    """The event loop that `serve.loop` asks for.

    "auto" is asyncio's around our own epoll instance, and without epoll uvloop's where it can be
    imported: there it is the faster one.
    """
    has_epoll = hasattr(select, "epoll")
    if choice == "uvloop" or (choice == "auto" and not has_epoll):
        try:
            import uvloop
        except ImportError:
            if choice == "uvloop":
                raise
        else:
            loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            return loop
    return ServingLoop() if has_epoll else asyncio.new_event_loop()


def _make_tallies(settings: LedgerSettings) -> Tallies:
    networks = Networks(settings.prefix_v4, settings.prefix_v6)
    return Tallies(networks, settings.networks if settings.is_kept else 0)


class Worker:
    """The parts of a worker, put together."""

    def __init__(
        self,
        settings: Settings,
        listeners: Sequence[socket.socket],
        slot: CounterSlot,
        channel: socket.socket,
        name: str,
        loop: asyncio.AbstractEventLoop,
        make_answerer: MakeAnswerer,
    ) -> None:
        serve = settings.serve
        limits = serve.limits
        self._name = name
        self._loop = loop
        self._limits = limits
        self._counts = slot.values
        self._containment = Containment(slot.values)
        loop.set_exception_handler(self._containment.on_loop_exception)
        self._channel = channel
        self._clients = clients = Clients(serve, slot.values, self._stop_if_empty)
        self._handshakes: Handshakes | None = None
        self._ticks = 0
        self._unready = 0  # parts that are waited for at the start
        self._is_ready = False
        self._tick_due = 0.0
        shown = ceil(max(_LAG_SHOWN_S, settings.health.interval_s) / TICK_S) + 1
        self._lags_us: deque[int] = deque(maxlen=shown)
        self._dropped_lines = 0
        self._acceptor = Acceptor(loop, listeners, clients.admit, self._count_accept_error)
        self._engine = engine = self._make_engine(settings, slot)
        engine.ask(make_answerer(settings, slot, engine))
        clients.engine = engine
        self._teller: Teller | None = None
        life = f"{name.replace(' ', '-')}-{os.getpid()}-{time.time_ns():x}"
        if slot.ledger is not None:
            self._teller = Teller(loop, engine.accounts.tallies, spool_folder(slot.ledger), life)
        self._demand_teller: Teller | None = None
        if slot.demand is not None:
            demand = engine.accounts.demand
            self._demand_teller = Teller(
                loop, demand, slot.demand, life, "demand",
                _DEMAND_SPOOLS * settings.worker_count,
            )  # fmt: skip

    def _make_engine(self, settings: Settings, slot: CounterSlot) -> Engine:
        serve, loop, counts = settings.serve, self._loop, slot.values
        limits = serve.limits
        policy = ResponsePolicy(
            cache_control=serve.cache_control,
            cors_origin=serve.cors_origin,
            cors_headers=tuple(serve.cors_headers),
            most_ranges=limits.ranges,
        )
        log = AccessLog(serve.access_log, loop) if serve.access_log != "off" else None
        sender = system_sender()
        clock = Clock(serve.access_log_format)
        stance = Stance(limits)
        stance.update_deadline(time.monotonic())
        accounts = Accounts(
            counts, _make_tallies(settings.ledger), clock, self._containment, log,
            entry_formatter(serve.access_log_format),
        )  # fmt: skip
        return Engine(
            loop=loop,
            limits=limits,
            policy=policy,
            parser=HeadParser(limits.head_bytes, limits.header_count, limits.target_bytes),
            clock=clock,
            counts=counts,
            containment=self._containment,
            stance=stance,
            readiness=system_readiness(loop),
            wheel=DeadlineWheel(),
            accounts=accounts,
            outlets=OutletParts(sender, Backlogs(settings.tls.backlog_bytes)),
            terms=TransferTerms(
                loop, limits, counts, accounts.demand, self._containment, serve.step_bytes,
                sender.grant_buffer(serve.large_buffer_bytes),
            ),
            on_close=self._clients.closed,
        )  # fmt: skip

    def offer_tls(
        self, settings: Settings, listeners: Sequence[socket.socket], heritage: TlsHeritage
    ) -> None:
        """Speak TLS on those of the listeners that are for it. Raises OSError."""
        clients = self._clients
        self._handshakes = Handshakes(self._engine, settings.tls, heritage, clients.succeed)
        clients.offer_tls(self._handshakes, tls_positions(listeners, settings.serve))

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take orders; report ready."""
        loop = self._loop
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._on_order)
        sys.unraisablehook = self._containment.on_unraisable
        for ignored in _IGNORED_SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        self._tick_due = loop.time() + TICK_S
        loop.call_at(self._tick_due, self._tick)
        starts = [self._engine.answerer.start]
        if self._handshakes is not None:
            starts.append(self._handshakes.start)
        self._unready = len(starts)
        for start in starts:
            start(self._part_is_ready)
        loop.call_later(_READY_PATIENCE_S, self._ready)

    def _part_is_ready(self) -> None:
        self._unready -= 1
        if not self._unready:
            self._ready()

    def _ready(self) -> None:
        """All parts are, or they were waited for long enough: a dead disk may hang."""
        if not self._is_ready:
            self._is_ready = True
            self._tell(Ready())

    def finish(self) -> None:
        """The loop has stopped: write the last lines."""
        each(tuple(self._engine.leaving), Leaving.response_left)
        for log in self._engine.logs:
            self._containment.run(log.finish)
        if self._engine.accounts.log is not None:
            self._count_lines(self._engine.accounts.log)
        if self._teller is not None:
            self._containment.run(self._teller.tell_now)
        if self._demand_teller is not None:
            self._containment.run(self._demand_teller.tell_now)

    def _tell(self, fact: Fact) -> None:
        try:
            self._channel.send(encode_message(fact))
        except BlockingIOError:
            _log.warning("%s: the supervisor takes no messages", self._name)
        except OSError:  # it is gone; the end of the channel is dealt with in _on_order
            return

    def _on_order(self) -> None:
        try:
            message = self._channel.recv(_MESSAGE_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message = b""
        if not message:
            self._loop.remove_reader(self._channel)
            self._drain(_ORPHAN_DRAIN_S)
            return
        try:
            order = read_order(message)
        except msgspec.DecodeError as error:
            _log.error("%s: an order makes no sense (%r): %r", self._name, error, message[:200])
        else:
            self._obey(order)

    def _obey(self, order: Order) -> None:
        match order:
            case Accept(listeners):
                if not self._engine.stance.draining:
                    self._acceptor.accept_from(listeners)
            case DrainBy(deadline_s):
                self._drain(deadline_s)
            case ReopenLogs():
                for log in self._engine.logs:
                    log.reopen()
            case TakeDuty(word, is_fit, turns_away):
                self._engine.stance.duty = Duty(word.encode(), is_fit, turns_away)
            case _:
                _log.error("%s: %r is an order for services", self._name, order)

    def _drain(self, deadline_s: float) -> None:
        """Accept no more, let responses end, then stop; what is left at the deadline is cut.

        Told again, the earlier of the two deadlines counts.
        """
        self._loop.call_later(deadline_s, self._cut)
        if self._engine.stance.draining:
            return
        self._engine.stance.draining = True
        self._acceptor.close()
        now = time.monotonic()
        each(tuple(self._clients), lambda client: client.drain(now))
        self._stop_if_empty()

    def _cut(self) -> None:
        each(tuple(self._clients), lambda client: client.close(CloseReason.DRAIN_DEADLINE))
        if self._clients:  # one that a defect has left
            self._stop()

    def _stop_if_empty(self) -> None:
        if self._engine.stance.draining and not self._clients:
            self._stop()

    def _stop(self) -> None:
        self._tell(Drained())
        self._loop.stop()

    # -- time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Four times a second: the clock, the deadlines, the catalogue, the log, a sign of life."""
        loop = self._loop
        engine = self._engine
        now = loop.time()
        lag = now - self._tick_due
        self._tick_due = now + TICK_S
        loop.call_at(self._tick_due, self._tick)
        engine.clock.update(time.time())
        moment = time.monotonic()
        engine.stance.update_deadline(moment)
        engine.wheel.sweep(moment)
        run = self._containment.run
        run(self._acceptor.tick_once)
        run(engine.answerer.tick_once)
        if self._handshakes is not None:
            run(self._handshakes.tick_once)
        self._ticks += 1
        run(lambda: self._show_gauges(lag))
        if self._ticks % _TICKS_PER_BEAT == 0:
            self._beat()

    def _beat(self) -> None:
        """A second has passed."""
        self._tell(Beat())
        flush_log()
        for log in self._engine.logs:
            self._containment.run(log.flush)
        if self._teller is not None:
            exchanges = [connection.exchange for connection in self._clients.answered()]
            each(exchanges, Exchange.tally_progress)
            self._containment.run(self._teller.tell)
        if self._demand_teller is not None:
            self._containment.run(self._demand_teller.tell)
        else:
            self._engine.accounts.demand.forget()

    def _show_gauges(self, lag: float) -> None:
        counts = self._counts
        lag_us = max(0, int(lag * 1e6))
        self._lags_us.append(lag_us)
        counts[GAUGE_PLACES[Gauge.LOOP_LAG_US]] = max(self._lags_us)
        observe(counts, HISTOGRAM_PLACES[Histogram.LOOP_LAG_US], lag_us)
        counts[GAUGE_PLACES[Gauge.RESPONDING]] = sum(
            connection.state is State.SENDING for connection in self._clients.answered()
        )
        if self._engine.accounts.log is not None:
            self._count_lines(self._engine.accounts.log)

    def _count_lines(self, log: AccessLog) -> None:
        self._counts[Count.LOG_LINES] += log.taken
        self._counts[Count.LOG_LINES_DROPPED] += log.dropped
        log.taken = log.dropped = 0

    # -- what goes wrong -------------------------------------------------------------------------

    def _count_accept_error(self) -> None:
        self._counts[Count.ACCEPT_ERRORS] += 1
