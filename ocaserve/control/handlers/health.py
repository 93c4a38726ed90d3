"""Health with its reasons, and what can still be taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from aiohttp import web
from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.routing import Call, Route, add_routes, run_in_background
from ocaserve.control.schemas import as_time
from ocaserve.control.state import STATE
from ocaserve.control.wellness import Wellness, start_wellness, wellness_of
from ocaserve.health import Level


class ComponentShown(Struct, frozen=True, kw_only=True):
    """One component. `level`: ok, warning or error. `since`: when it became that."""

    name: str
    level: str
    reason: str
    since: datetime


class HealthShown(Struct, frozen=True, kw_only=True):
    """`level` is the worst of all components; `reasons` are of those that are not ok."""

    level: str
    reasons: list[str]
    components: list[ComponentShown]


class CapacityShown(Struct, frozen=True, kw_only=True):
    """What can be taken in all and still; null where nothing is known that bounds it.

    `limited_by`: the resource that bounds it, or `connections`, `health`, `unknown`.
    """

    total_bits_per_s: int | None
    free_bits_per_s: int | None
    free_connections: int
    limited_by: str


async def show_health(call: Call) -> HealthShown:
    return describe_health(wellness_of(call.request.app))


def describe_health(wellness: Wellness) -> HealthShown:
    """As of the last look, a second ago at most."""
    health = wellness.health
    return HealthShown(
        level=health.level.label,
        reasons=list(health.reasons),
        components=[
            ComponentShown(
                name=finding.component,
                level=finding.level.label,
                reason=finding.reason,
                since=as_time(finding.since),
            )
            for finding in health.findings
        ],
    )


async def show_capacity(call: Call) -> CapacityShown:
    return describe_capacity(wellness_of(call.request.app))


def describe_capacity(wellness: Wellness) -> CapacityShown:
    """As of now."""
    capacity = wellness.capacity()
    return CapacityShown(
        total_bits_per_s=capacity.total,
        free_bits_per_s=capacity.free,
        free_connections=capacity.free_connections,
        limited_by=capacity.limited_by,
    )


ROUTES = (
    Route(
        "GET", "/v1/health", show_health, "Whether it can take traffic, and why not", HealthShown
    ),
    Route("GET", "/v1/capacity", show_capacity, "What it can still take", CapacityShown),
)


async def watch_health(app: web.Application) -> None:
    """Observe everything once a second."""
    await wellness_of(app).run()


def find_obstacle(app: web.Application) -> str | None:
    """What /healthz says while an error makes the appliance unfit; None while there is none."""
    return None if wellness_of(app).is_fit else "unhealthy"


class HealthMetrics(Collector):
    """The level of each component, as of the last look."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    def describe(self) -> Iterable[Metric]:
        """Nothing, when it is registered: the application does not run yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        levels = GaugeMetricFamily(
            "ocaserve_health", "1 for the level that a component is at.",
            labels=["component", "level"],
        )  # fmt: skip
        for finding in wellness_of(self._app).health.findings:
            for level in Level:
                levels.add_metric([finding.component, level.label], finding.level is level)
        yield levels


def register(app: web.Application) -> None:
    start_wellness(app)
    app[STATE].registry.register(HealthMetrics(app))
    app[STATE].obstacles.append(lambda: find_obstacle(app))
    add_routes(app, ROUTES)
    run_in_background(app, "health", watch_health)
