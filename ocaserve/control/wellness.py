"""Health and capacity in the control process: what feeds the components, and the loop."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from time import monotonic, time
from typing import Any

import msgspec
from aiohttp import web

from ocaserve.control.state import STATE, ControlState
from ocaserve.health import Component, Health, Level, Timing
from ocaserve.health.capacity import Capacity, Load, estimate_capacity
from ocaserve.health.certificates import CertificatesComponent
from ocaserve.health.contact import ContactComponent
from ocaserve.health.host_components import HOST_COMPONENTS, ClockComponent, HostComponent
from ocaserve.health.hysteresis import Raised
from ocaserve.health.monitor import HostWatch, Monitor
from ocaserve.health.stores import StoresComponent, StoreShown, StoreWatch, show_store
from ocaserve.health.workers import WorkerFacts, WorkersComponent
from ocaserve.host.sampling import Sampler
from ocaserve.lifecycle import Phase
from ocaserve.settings import Settings

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
        self._stores = [StoreWatch(store.path) for store in settings.store]
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
            self._host.reading, load, state.settings.health, is_fit=self.is_fit
        )

    @property
    def is_fit(self) -> bool:
        """Whether clients should be sent here. A lost control plane is a matter of its own:
        `drain.lost_contact` decides what that means.
        """
        return all(
            finding.level is not Level.ERROR or finding.component == ContactComponent.name
            for finding in self.health.findings
        )

    def stores(self) -> list[StoreShown]:
        """Each store as its latest look found it."""
        now, settings = monotonic(), self._state.settings.health
        return [show_store(store.path, store.facts(now), settings) for store in self._stores]

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
        yield StoresComponent(shown_at_once, settings, self._stores, self._failed_stores)
        files = list(certificate_files(self._state.settings))
        yield CertificatesComponent(Timing(_NOW, _NOW), settings, files, time)

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

    def _failed_stores(self) -> int:
        return self._state.traffic.totals.get("stores_failed", 0)


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
    tls = getattr(settings, "tls", None)
    for pair in getattr(tls, "certificates", ()):
        yield pair.cert


WELLNESS = web.AppKey("WELLNESS", Wellness)


def start_wellness(app: web.Application) -> None:
    """Look after the application's health for as long as it runs."""

    async def context(app: web.Application) -> AsyncIterator[None]:
        app[WELLNESS] = wellness = Wellness(app[STATE])
        yield
        wellness.close()

    app.cleanup_ctx.append(context)


def wellness_of(app: web.Application) -> Wellness:
    """That of a running application."""
    return app[WELLNESS]
