"""Health and capacity in the control process: what feeds the components, and the loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import partial
from time import monotonic, time
from typing import Any

import msgspec
from aiohttp import web

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.obstacles import Obstacle
from ocaserve.control.state import STATE, ControlState
from ocaserve.health import Component, Health, Timing
from ocaserve.health.capacity import Capacity, Load, estimate_capacity
from ocaserve.health.certificates import CertificatesComponent
from ocaserve.health.consequences import Effect, find_effect
from ocaserve.health.host_components import HOST_COMPONENTS, ClockComponent, HostComponent
from ocaserve.health.hysteresis import Raised
from ocaserve.health.listeners import ListenersComponent
from ocaserve.health.monitor import HostWatch, Monitor
from ocaserve.health.store_looks import StoreWatch, look_at
from ocaserve.health.stores import (
    HeldStore,
    Holdings,
    Room,
    StoreCondition,
    StoresComponent,
    room_of,
    show_store,
)
from ocaserve.health.workers import WorkerFacts, WorkersComponent
from ocaserve.host.sampling import Sampler
from ocaserve.lifecycle import Phase
from ocaserve.serving.counters import STORE_BYTES
from ocaserve.settings import Settings
from ocaserve.stores.judging import StoreState

_log = logging.getLogger(__name__)

_MICROSECOND = 1e-6
_NOTE = "health"
_NOW = 0.0  # seconds: of problems that do not flap


class Wellness:
    """The monitor and what it looks at, for as long as the control process runs."""

    def __init__(self, state: ControlState) -> None:
        self._state = state
        settings = state.settings
        self._host = HostWatch(
            Sampler([store.path for store in settings.store], self._processes).sample
        )
        self._certificates = CertificatesComponent(
            Timing(_NOW, _NOW),
            settings.health,
            list(certificate_files(settings)),
            time,
            [pair.cert for pair in settings.tls.certificates],
        )
        look = partial(
            look_at,
            most=settings.serve.store_trial_objects,
            failing_share=settings.serve.store_failing_share,
        )
        self._stores = [StoreWatch(store.path, look) for store in settings.store]
        self._monitor = Monitor(
            settings.health.interval_s,
            self._host.look,
            before=_recall(state.notes),
            remember=lambda shown: state.link.note(_NOTE, msgspec.to_builtins(shown)),
        )
        for component in (*self._components(), *state.components):
            self._monitor.add(component)

    @property
    def health(self) -> Health:
        """As of the last round."""
        return self._monitor.health

    def capacity(self) -> Capacity:
        """What can still be taken."""
        state = self._state
        load = Load(
            sent=state.traffic.bits_per_s,
            connections=state.traffic.connections,
            most_connections=len(state.serving_workers()) * state.settings.serve.limits.connections,
        )
        return estimate_capacity(
            self._host.reading, load, state.settings.health, held_by=self._held_by()
        )

    def _held_by(self) -> str:
        if self.find_obstacle() is not None:
            return "health"
        full = find_effect(self.health, Effect.TAKES_NO_MORE)
        return full.component if full else ""

    def find_obstacle(self) -> Obstacle | None:
        """Why clients are better off elsewhere: see `health.consequences`."""
        found = find_effect(self.health, Effect.TURNS_AWAY)
        return Obstacle("unhealthy", f"{found.component}: {found.reason}") if found else None

    @property
    def has_looked(self) -> bool:
        """Whether health was read once."""
        return self._monitor.has_looked

    def certificates(self) -> Mapping[str, float]:
        """When each certificate expires, by its file, in seconds since the epoch."""
        return self._certificates.expiries

    def stores(self) -> list[StoreCondition]:
        """Each store as its latest look found it."""
        now, settings = monotonic(), self._state.settings.health
        holdings = self._holdings()
        return [
            show_store(store.path, store.facts(now), settings, holdings.get(store.path, ()))
            for store in self._stores
        ]

    def room(self) -> Room:
        """On the disks of all stores together, each disk once."""
        now = monotonic()
        return room_of(facts for store in self._stores if (facts := store.facts(now)) is not None)

    async def run(self) -> None:
        """Until cancelled."""
        await self._monitor.run()

    def close(self) -> None:
        """Look no more."""
        for store in self._stores:
            store.end()

    def _components(self) -> Iterator[Component]:
        settings = self._state.settings.health
        lasting = Timing(settings.rise_s, settings.fall_s)
        shown_at_once = Timing(_NOW, settings.fall_s)
        for name in HOST_COMPONENTS:
            yield HostComponent(name, lasting, settings, self._host.read)
        yield ClockComponent(lasting, settings, self._host.read)
        yield WorkersComponent(shown_at_once, settings, self._workers)
        yield StoresComponent(shown_at_once, settings, self._stores, self._holdings)
        yield self._certificates
        yield ListenersComponent(
            shown_at_once,
            lambda: self._state.appliance.listen,
            lambda: self._state.appliance.missing,
        )

    def _processes(self) -> Iterable[int]:
        appliance = self._state.appliance
        pids = [worker.pid for worker in appliance.workers]
        pids += [service.pid for service in appliance.services if service.pid]
        return pids

    def _workers(self) -> WorkerFacts:
        appliance = self._state.appliance
        return WorkerFacts(
            wanted=appliance.wanted,
            serving=len({worker.place for worker in self._state.serving_workers()}),
            deaths=appliance.deaths,
            lags=self._lags(),
            is_starting=appliance.phase is not Phase.SERVING,
        )

    def _lags(self) -> Mapping[str, float]:
        counters = self._state.counters
        return {
            f"worker {worker.place}": counters.gauges_of(worker.slot)["loop_lag_us"] * _MICROSECOND
            for worker in self._state.serving_workers()
        }

    def _holdings(self) -> Holdings:
        counters = self._state.counters
        columns = counters.columns(STORE_BYTES)
        found: dict[str, list[HeldStore]] = {path: [] for path in columns}
        for worker in self._state.serving_workers():
            gauges = counters.gauges_of(worker.slot)
            for path, column in columns.items():
                state = gauges[f"store_state_{column}"]
                device, inode = gauges[f"store_device_{column}"], gauges[f"store_inode_{column}"]
                if state:  # else it has not looked yet, or serves by other settings
                    is_failed = state == StoreState.FAILED.value
                    found[path].append(HeldStore(is_failed, device, inode))
        return found


def _recall(notes: Mapping[str, Any]) -> dict[str, Raised]:
    """What the process before this one has shown, so that nothing swings when it is replaced."""
    try:
        return msgspec.convert(notes.get(_NOTE, {}), dict[str, Raised])
    except msgspec.ValidationError as error:  # a version with other words
        _log.warning("health: what was shown before is not understood: %s", error)
        return {}


def certificate_files(settings: Settings) -> Iterator[str]:
    """Of the control interface, and of the data plane where that speaks TLS."""
    if settings.control.certificate:
        yield settings.control.certificate
    yield from (pair.cert for pair in settings.tls.certificates)


WELLNESS = web.AppKey("WELLNESS", Wellness)


def start_wellness(app: web.Application) -> None:
    """Look after the application's health for as long as it runs."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        app[WELLNESS] = wellness = Wellness(app[STATE])
        yield
        wellness.close()

    state = app[STATE]
    state.obstacles.append(lambda: wellness_of(app).find_obstacle())
    state.beginning.await_first(lambda: wellness_of(app).has_looked, "health has not been read yet")
    app.cleanup_ctx.append(context)
    run_in_background(app, "health", lambda app: wellness_of(app).run())


def wellness_of(app: web.Application) -> Wellness:
    """That of a running application."""
    return app[WELLNESS]
