"""One serving process: an event loop, its connections, and the supervisor's orders.

The supervisor forks it and calls `run_worker`. Orders come as JSON datagrams over `channel`: which
listeners to accept from, to drain, to reopen the log. The end of the channel means that the
supervisor is gone; the worker then drains and ends, since nobody would replace or stop it.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import secrets
import select
import signal
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

from ocaserve.ledger.networks import Networks
from ocaserve.ledger.places import spool_folder
from ocaserve.ledger.tallies import Tallies
from ocaserve.metrics import CounterSlot
from ocaserve.protocol.admission import Admission
from ocaserve.protocol.exchange import State
from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.planning import ResponsePolicy, plan_refusal
from ocaserve.serving.access_log import AccessLog
from ocaserve.serving.catalogue import TICK_S, Catalogue, Store
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.connection import Connection
from ocaserve.serving.counters import (
    CLOSE_PLACES,
    GAUGE_PLACES,
    HISTOGRAM_PLACES,
    STORE_BYTES,
    STORE_COLUMNS,
    Count,
    Gauge,
)
from ocaserve.serving.deadlines import DeadlineWheel
from ocaserve.serving.handshake import Handshakes
from ocaserve.serving.histograms import Histogram, observe
from ocaserve.serving.listener import Acceptor
from ocaserve.serving.proxied import Forwarded
from ocaserve.serving.readiness import ServingLoop, system_readiness
from ocaserve.serving.sending import system_sender
from ocaserve.serving.services import Client, Clock, Duty, Services, entry_formatter
from ocaserve.serving.speedtest import open_speedtest
from ocaserve.serving.telling import Teller
from ocaserve.serving.tls_contexts import TlsHeritage
from ocaserve.settings import Settings
from ocaserve.settings.ledger import LedgerSettings
from ocaserve.signing import policy_of
from ocaserve.sockets import tls_positions

_log = logging.getLogger(__name__)

_MESSAGE_BYTES = 64 * 1024  # of one order; the longest lists a few hundred listeners
_ORPHAN_DRAIN_S = 30.0  # for responses to end when the supervisor is gone
_IGNORED_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
"""Terminals and service managers send them to the whole group; the supervisor decides what they
mean, and says so over the channel."""
_TICKS_PER_BEAT = 4  # a sign of life each second
_LAG_SHOWN_S = 1.0  # at least, and from one round of health to the next: none may miss it


def run_worker(
    settings: Settings,
    listeners: Sequence[socket.socket],
    slot: CounterSlot,
    channel: socket.socket,
    name: str,
    heritage: TlsHeritage | None = None,
) -> int:
    """Serve until told to drain; returns the exit status. `slot` is this worker's alone.

    heritage: what all workers share for TLS, made before the fork; needed if they listen for it.
    """
    loop = _new_loop(settings.serve.loop)
    try:
        worker = Worker(settings, listeners, slot, channel, name, loop)
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
    ) -> None:
        serve = settings.serve
        limits = serve.limits
        self._name = name
        self._loop = loop
        self._limits = limits
        self._counts = slot.values
        self._channel = channel
        self._connections: set[Client] = set()
        self._handshakes: Handshakes | None = None
        self._tls_places: frozenset[int] = frozenset()
        self._is_forwarded = serve.proxy_protocol
        self._per_address: Counter[bytes] = Counter()
        self._ticks = 0
        self._tick_due = 0.0
        shown = ceil(max(_LAG_SHOWN_S, settings.health.interval_s) / TICK_S) + 1
        self._lags_us: deque[int] = deque(maxlen=shown)
        self._dropped_lines = 0
        self._acceptor = Acceptor(loop, listeners, self._admit, self._count_accept_error)
        policy = ResponsePolicy(cache_control=serve.cache_control, cors_origin=serve.cors_origin)
        columns = slot.labels.get(STORE_BYTES, {})
        stores = [
            Store(store.path, loop, serve.io_threads, columns.get(store.path, STORE_COLUMNS - 1))
            for store in settings.store
        ]
        catalogue = Catalogue(
            loop, stores, policy,
            open_files=serve.open_files,
            small_object_bytes=serve.small_object_bytes,
            notify=self._store_changed,
        )  # fmt: skip
        log = None
        if serve.access_log != "off":
            log = AccessLog(serve.access_log, loop, self._log_failed)
        sender = system_sender()
        self._services = Services(
            loop=loop,
            limits=limits,
            policy=policy,
            parser=HeadParser(limits.head_bytes, limits.header_count, limits.target_bytes),
            admission=Admission(has_speedtest=serve.speedtest, signing=policy_of(settings.signing)),
            catalogue=catalogue,
            sender=sender,
            readiness=system_readiness(loop),
            wheel=DeadlineWheel(),
            clock=Clock(serve.access_log_format),
            counts=slot.values,
            tallies=_make_tallies(settings.ledger),
            log=log,
            format_entry=entry_formatter(
                serve.access_log_format, hides_tokens=settings.signing.required
            ),
            step_bytes=serve.step_bytes,
            large_buffer_bytes=sender.grant_buffer(serve.large_buffer_bytes),
            cold_pages=serve.cold_pages,
            boundary=secrets.token_hex(16).encode(),
            on_close=self._connection_closed,
            on_store_error=self._exhausted,
            speedtest=open_speedtest(loop, policy) if serve.speedtest else None,
        )
        self._teller: Teller | None = None
        if slot.ledger is not None:
            life = f"{name.replace(' ', '-')}-{os.getpid()}-{time.time_ns():x}"
            self._teller = Teller(loop, self._services.tallies, spool_folder(slot.ledger), life)

    def offer_tls(
        self, settings: Settings, listeners: Sequence[socket.socket], heritage: TlsHeritage
    ) -> None:
        """Speak TLS on those of the listeners that are for it. Raises OSError."""
        self._handshakes = Handshakes(self._services, settings.tls, heritage, self._succeed)
        self._tls_places = tls_positions(listeners, settings.serve)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take orders; report ready."""
        loop = self._loop
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._on_order)
        for ignored in _IGNORED_SIGNALS:
            signal.signal(ignored, signal.SIG_IGN)
        self._tick_due = loop.time() + TICK_S
        loop.call_at(self._tick_due, self._tick)
        self._tell("ready")

    def finish(self) -> None:
        """The loop has stopped: write the last lines."""
        for connection in tuple(self._services.leaving):
            connection.response_left()
        if self._services.log is not None:
            self._services.log.finish()
            self._count_lines(self._services.log)
        if self._teller is not None:
            self._teller.tell_now()

    def _tell(self, fact: str) -> None:
        try:
            self._channel.send(json.dumps({"is": fact}).encode())
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
        self._obey(json.loads(message))

    def _obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "accept":
                if not self._services.draining:
                    self._acceptor.accept_from(order["listeners"])
            case "drain":
                self._drain(float(order["deadline_s"]))
            case "reopen_logs":
                if self._services.log is not None:
                    self._services.log.reopen()
            case "duty":
                self._services.duty = Duty(
                    order["word"].encode(), order["is_fit"], order["turns_away"]
                )
            case unknown:
                _log.error("%s: unknown order %r", self._name, unknown)

    def _drain(self, deadline_s: float) -> None:
        """Accept no more, let responses end, then stop; what is left at the deadline is cut.

        Told again, the earlier of the two deadlines counts.
        """
        self._loop.call_later(deadline_s, self._cut)
        if self._services.draining:
            return
        self._services.draining = True
        self._acceptor.close()
        now = time.monotonic()
        for connection in list(self._connections):
            connection.drain(now)
        self._stop_if_empty()

    def _cut(self) -> None:
        for connection in list(self._connections):
            connection.close(CloseReason.DRAIN_DEADLINE)

    def _stop_if_empty(self) -> None:
        if self._services.draining and not self._connections:
            self._tell("drained")
            self._loop.stop()

    # -- time ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Four times a second: the clock, the deadlines, the catalogue, the log, a sign of life."""
        loop = self._loop
        services = self._services
        now = loop.time()
        lag = now - self._tick_due
        self._tick_due = now + TICK_S
        loop.call_at(self._tick_due, self._tick)
        services.clock.update(time.time())
        moment = time.monotonic()
        services.update_deadline(moment)
        services.wheel.sweep(moment)
        services.catalogue.tick_once()
        if self._handshakes is not None:
            self._handshakes.tick_once()
        self._ticks += 1
        self._show_gauges(lag)
        if self._ticks % _TICKS_PER_BEAT == 0:
            self._tell("beat")
            if services.log is not None:
                services.log.flush()
            if self._teller is not None:
                self._teller.tell(self._answered_clients())

    def _show_gauges(self, lag: float) -> None:
        counts = self._counts
        catalogue = self._services.catalogue
        counts[Count.FILES_REPLACED] += catalogue.replaced
        catalogue.replaced = 0
        counts[GAUGE_PLACES[Gauge.OPEN_FILES]] = len(catalogue)
        lag_us = max(0, int(lag * 1e6))
        self._lags_us.append(lag_us)
        counts[GAUGE_PLACES[Gauge.LOOP_LAG_US]] = max(self._lags_us)
        observe(counts, HISTOGRAM_PLACES[Histogram.LOOP_LAG_US], lag_us)
        counts[GAUGE_PLACES[Gauge.RESPONDING]] = sum(
            connection.state is State.SENDING for connection in self._answered_clients()
        )
        if self._services.log is not None:
            self._count_lines(self._services.log)

    def _count_lines(self, log: AccessLog) -> None:
        self._counts[Count.LOG_LINES] += log.taken
        self._counts[Count.LOG_LINES_DROPPED] += log.dropped
        log.taken = log.dropped = 0

    # -- connections -----------------------------------------------------------------------------

    def _answered_clients(self) -> Iterator[Connection]:
        """Those who may ask for something: all but the handshakes."""
        return (client for client in self._connections if isinstance(client, Connection))

    def _admit(self, sock: socket.socket, address: bytes, place: int) -> None:
        self._counts[Count.ACCEPTED] += 1
        if len(self._connections) >= self._limits.connections:
            self._turn_away(sock, CloseReason.OVERLOAD, is_tls=place in self._tls_places)
        elif self._is_forwarded:
            forwarded = Forwarded(
                self._services, sock, address, place, self._identified, self._unidentified
            )
            self._connections.add(forwarded)
            self._show_connections()
        else:
            self._begin(sock, address, place)

    def _identified(self, forwarded: Forwarded, address: bytes) -> None:
        """The balancer has said whose connection it is."""
        self._connections.remove(forwarded)
        self._begin(forwarded.sock, address, forwarded.place)
        self._show_connections()
        self._stop_if_empty()

    def _unidentified(self, forwarded: Forwarded) -> None:
        self._connections.discard(forwarded)
        self._show_connections()
        self._stop_if_empty()

    def _begin(self, sock: socket.socket, address: bytes, place: int) -> None:
        """Serve the client at this address, unless it has too many connections."""
        limits = self._limits
        is_tls = place in self._tls_places
        if 0 < limits.connections_per_address <= self._per_address[address]:
            self._turn_away(sock, CloseReason.ADDRESS_LIMIT, is_tls=is_tls)
            return
        client: Client | None
        if is_tls:
            assert self._handshakes is not None
            client = self._handshakes.begin(sock, address)
            if client is None:
                return
        else:
            client = Connection(self._services, sock, address)
        self._per_address[address] += 1
        self._connections.add(client)
        self._show_connections()

    def _show_connections(self) -> None:
        self._counts[GAUGE_PLACES[Gauge.CONNECTIONS]] = len(self._connections)

    def _succeed(self, handshake: Client, connection: Connection) -> None:
        """The handshake is over, and the connection has its place."""
        self._connections.remove(handshake)
        self._connections.add(connection)

    def _turn_away(self, sock: socket.socket, reason: CloseReason, *, is_tls: bool) -> None:
        """Say 503 and close; before a handshake there is nothing that a client would understand."""
        self._counts[CLOSE_PLACES[reason]] += 1
        services = self._services
        plan = plan_refusal(
            503, services.policy, services.clock.http_date, request=None, close=True
        )
        try:
            if not is_tls:
                sock.send(plan.head)
        except OSError:  # it has gone already; it would have been sent away in any case
            pass
        finally:
            sock.close()

    def _connection_closed(self, connection: Client) -> None:
        self._connections.discard(connection)
        address = connection.address
        self._per_address[address] -= 1
        if not self._per_address[address]:
            del self._per_address[address]
        self._show_connections()
        self._stop_if_empty()

    def _count_accept_error(self) -> None:
        self._counts[Count.ACCEPT_ERRORS] += 1

    # -- what goes wrong -------------------------------------------------------------------------

    def _store_changed(self, store: Store) -> None:
        failed = sum(store.failure is not None for store in self._services.catalogue.stores)
        self._counts[GAUGE_PLACES[Gauge.STORES_FAILED]] = failed
        failure = store.failure
        if failure is None:
            _log.warning("store %s: readable again", store.path)
            return
        self._counts[Count.STORE_ERRORS] += 1
        key = failure.key.decode("utf-8", "backslashreplace")
        _log.error(
            "store %s: failed: %s, at byte %d of %s",
            store.path, failure.error.strerror, failure.offset, key,
        )  # fmt: skip

    def _exhausted(self, error: OSError) -> None:
        _log.error("a file could not be opened: %s", error.strerror or error)

    def _log_failed(self, error: OSError) -> None:
        _log.error("access log: %s: lines are lost and counted", error.strerror)
