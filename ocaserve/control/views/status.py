"""The appliance at a glance."""

from __future__ import annotations

import time
from datetime import datetime

from aiohttp import web
from msgspec import Struct

from ocaserve import __version__
from ocaserve.control.popularity_watch import POPULARITY, PopularityWatch
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.schemas import as_time, maybe_time
from ocaserve.control.state import STATE, ControlState
from ocaserve.control.traffic import Traffic
from ocaserve.control.views.health import CapacityShown, describe_capacity
from ocaserve.control.wellness import Wellness, wellness_of
from ocaserve.health import Level
from ocaserve.routing.live import RouteService
from ocaserve.serving.closing import CloseReason
from ocaserve.steering.report import is_complete


class Workers(Struct, frozen=True, kw_only=True):
    """How many there are: `serving` of those `wanted`, and others that end their responses."""

    wanted: int
    serving: int
    draining: int
    deaths: int


class HealthBrief(Struct, frozen=True, kw_only=True):
    """`level`: ok, warning or error, the worst of all components; `reasons`: of those not ok."""

    level: str
    reasons: list[str]


class Rates(Struct, frozen=True, kw_only=True):
    """Each second, over the last five."""

    accepted: float
    responses_4xx: float
    responses_5xx: float
    cold_reads: float
    lookup_misses: float


class Shares(Struct, frozen=True, kw_only=True):
    """Of the bytes of the last five seconds, by the way they took: in memory, from a disk, …"""

    sendfile_hot: float
    sendfile_cold: float
    ktls: float
    copied: float


class Errors(Struct, frozen=True, kw_only=True):
    """Since the start. `connections`: that ended for a reason that is an error; `stores`: I/O."""

    responses_4xx: int
    responses_5xx: int
    connections: int
    stores: int
    log_lines_dropped: int


class StoresBrief(Struct, frozen=True, kw_only=True):
    """All stores together."""

    count: int
    in_error: int
    in_warning: int
    size_bytes: int
    free_bytes: int


class RoutesBrief(Struct, frozen=True, kw_only=True):
    """All sessions together. `complete`: all that is announced is here."""

    peers: int
    peers_up: int
    accepted: int
    filtered: int
    complete: bool


class PinnedBrief(Struct, frozen=True, kw_only=True):
    """Objects that are locked in memory. `wanted_bytes`: `serve.pinned_bytes`. `fault`: why not all
    that are to be; empty if all are.
    """

    bytes: int
    objects: int
    wanted_bytes: int
    fault: str


class Status(Struct, frozen=True, kw_only=True):
    """The appliance at a glance.

    `reason`: the operator's, of a drain. `why`: why no clients should be sent here; empty where
    `takes_traffic`. `routes`: null without BGP. `shares`: null while nothing is sent. `since`: when
    `state` began. `generation`: of the settings in force.
    """

    id: str
    site: str
    version: str
    time: datetime
    state: str
    since: datetime
    reason: str
    takes_traffic: bool
    why: str
    drain_until: datetime | None
    drain_deadline: datetime | None
    started: datetime
    listen: list[str]
    workers: Workers
    connections: int
    bits_per_s: int
    requests_per_s: float
    generation: int
    health: HealthBrief
    capacity: CapacityShown
    rates: Rates
    shares: Shares | None
    errors: Errors
    stores: StoresBrief
    routes: RoutesBrief | None
    pinned: PinnedBrief | None


def describe_status(app: web.Application) -> Status:
    """The appliance at a glance."""
    state, wellness = app[STATE], wellness_of(app)
    appliance, duty, traffic = state.appliance, state.duty, state.traffic
    return Status(
        id=state.settings.appliance.id,
        site=state.settings.appliance.site,
        version=__version__,
        time=as_time(time.time()),
        state=state.lifecycle,
        since=as_time(max(duty.since, appliance.started)),
        reason=duty.reason,
        takes_traffic=state.takes_traffic,
        why=state.why,
        drain_until=maybe_time(duty.until),
        drain_deadline=maybe_time(duty.deadline),
        started=as_time(appliance.started),
        listen=appliance.listen,
        workers=_workers(state),
        connections=traffic.connections,
        bits_per_s=round(traffic.bits_per_s),
        requests_per_s=round(traffic.per_s("requests"), 1),
        generation=appliance.generation,
        health=_health(wellness),
        capacity=describe_capacity(wellness),
        rates=_rates(traffic),
        shares=_shares(traffic),
        errors=_errors(traffic),
        stores=_stores(wellness),
        routes=_routes(app[SERVICE]),
        pinned=_pinned(app[POPULARITY]),
    )


def _pinned(watch: PopularityWatch) -> PinnedBrief | None:
    if not watch.pinned_bytes:
        return None
    pinned = watch.shown.pinned
    return PinnedBrief(
        bytes=pinned.bytes, objects=pinned.objects, wanted_bytes=watch.pinned_bytes,
        fault=pinned.fault,
    )  # fmt: skip


def _workers(state: ControlState) -> Workers:
    states = [worker.state for worker in state.appliance.workers]
    return Workers(
        wanted=state.appliance.wanted,
        serving=states.count("serving"),
        draining=states.count("draining"),
        deaths=state.appliance.deaths,
    )


def _health(wellness: Wellness) -> HealthBrief:
    health = wellness.health
    return HealthBrief(level=health.level.label, reasons=list(health.reasons))


def _rates(traffic: Traffic) -> Rates:
    return Rates(
        accepted=round(traffic.per_s("accepted"), 1),
        responses_4xx=round(traffic.per_s("responses_4xx"), 1),
        responses_5xx=round(traffic.per_s("responses_5xx"), 1),
        cold_reads=round(traffic.per_s("cold_reads"), 1),
        lookup_misses=round(traffic.per_s("lookup_misses"), 1),
    )


def _shares(traffic: Traffic) -> Shares | None:
    shares = traffic.shares
    return Shares(**{path: round(share, 4) for path, share in shares.items()}) if shares else None


def _errors(traffic: Traffic) -> Errors:
    totals = traffic.totals
    closed = (f"close_{reason.label}" for reason in CloseReason if reason.is_error)
    return Errors(
        responses_4xx=totals.get("responses_4xx", 0),
        responses_5xx=totals.get("responses_5xx", 0),
        connections=sum(totals.get(name, 0) for name in closed),
        stores=totals.get("store_errors", 0),
        log_lines_dropped=totals.get("log_lines_dropped", 0),
    )


def _stores(wellness: Wellness) -> StoresBrief:
    stores, room = wellness.stores(), wellness.room()
    return StoresBrief(
        count=len(stores),
        in_error=sum(store.level is Level.ERROR for store in stores),
        in_warning=sum(store.level is Level.WARNING for store in stores),
        size_bytes=room.total,
        free_bytes=room.free,
    )


def _routes(service: RouteService) -> RoutesBrief | None:
    peers = list(service.sessions.peers.values())
    if not peers and not service.expected:
        return None
    families = [family for peer in peers for family in peer.families.values()]
    return RoutesBrief(
        peers=len(peers) if not service.expected else len(service.expected),
        peers_up=sum(peer.state == "up" for peer in peers),
        accepted=sum(family.source.accepted for family in families),
        filtered=sum(sum(family.source.filtered.values()) for family in families),
        complete=is_complete(service.sessions, service.expected),
    )
