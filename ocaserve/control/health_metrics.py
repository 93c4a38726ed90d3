"""What Prometheus sees of health, capacity, stores and certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.wellness import wellness_of
from ocaserve.health import Health, Level
from ocaserve.health.capacity import Capacity
from ocaserve.health.stores import Room, StoreCondition
from ocaserve.stores import show_path


class HealthMetrics(Collector):
    """Health, capacity, stores and certificates, as of the last look."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    def describe(self) -> Iterable[Metric]:
        """Nothing, when it is registered: the application does not run yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        wellness = wellness_of(self._app)
        yield _levels(wellness.health)
        yield from _capacity(wellness.capacity())
        yield from _stores(wellness.stores(), wellness.room())
        expiries = GaugeMetricFamily(
            "ocaserve_certificate_expiry_timestamp_seconds",
            "When a certificate expires, seconds since the epoch.",
            labels=["file"],
        )
        for file, at in wellness.certificates().items():
            expiries.add_metric([show_path(file)], at)
        yield expiries


def _levels(health: Health) -> Metric:
    levels = GaugeMetricFamily(
        "ocaserve_health", "1 for the level that a component is at.", labels=["component", "level"]
    )
    for finding in health.findings:
        for level in Level:
            levels.add_metric([finding.component, level.label], finding.level is level)
    return levels


def _capacity(capacity: Capacity) -> Iterator[Metric]:
    """What is not known has no sample."""
    for name, about, bits_per_s in (
        ("capacity", "Bytes of body that can be sent each second in all.", capacity.total),
        ("capacity_free", "Bytes of body that can be sent each second still.", capacity.free),
    ):
        family = GaugeMetricFamily(f"ocaserve_{name}_bytes_per_second", about)
        if bits_per_s is not None:
            family.add_metric([], bits_per_s / 8)
        yield family
    yield GaugeMetricFamily(
        "ocaserve_capacity_free_connections",
        "Connections that can be taken still.",
        capacity.free_connections,
    )
    limit = GaugeMetricFamily(
        "ocaserve_capacity_limit", "1 for what bounds the capacity now.", labels=["by"]
    )
    limit.add_metric([capacity.limited_by], 1)
    yield limit


def _stores(stores: Iterable[StoreCondition], room: Room) -> Iterator[Metric]:
    free = GaugeMetricFamily(
        "ocaserve_store_free_bytes", "Room in the file system of a store.", labels=["store"]
    )
    size = GaugeMetricFamily(
        "ocaserve_store_size_bytes", "Size of the file system of a store.", labels=["store"]
    )
    readable = GaugeMetricFamily(
        "ocaserve_store_ok", "1 while a store is no error of health.", labels=["store"]
    )
    for store in stores:
        path = show_path(store.path)
        if store.free is not None and store.total is not None:
            free.add_metric([path], store.free)
            size.add_metric([path], store.total)
        if store.level is not None:
            readable.add_metric([path], store.level is not Level.ERROR)
    yield from (free, size, readable)
    about = "all stores together; a file system that two stores are on counts once."
    yield GaugeMetricFamily("ocaserve_stores_free_bytes", f"Room of {about}", room.free)
    yield GaugeMetricFamily("ocaserve_stores_size_bytes", f"Size of {about}", room.total)
