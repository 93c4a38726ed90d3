"""The application of the control plane for operators and appliances."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from prometheus_client import CollectorRegistry

from ocaserve.bills.bookkeeper import Bookkeeper
from ocaserve.control.auth import Guard
from ocaserve.control.endpoints import DEFECTS, new_app, offer, run_in_background
from ocaserve.control.engine_metrics import EngineMetrics
from ocaserve.control.handlers import openapi
from ocaserve.control.own_metrics import ControlMetrics
from ocaserve.fleet import (
    auditing,
    billing,
    contacting,
    draining,
    fleet_metrics,
    ledger_moving,
    operating,
    outlook,
    overview,
    policy_endpoints,
    record_intake,
    stocking,
)
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.atlas import Atlas
from ocaserve.fleet.billing import LEDGER
from ocaserve.fleet.draining import SHARED
from ocaserve.fleet.fleet_metrics import REGISTRY, FleetMetrics
from ocaserve.fleet.intake import Intake
from ocaserve.fleet.keeping import Keeper, Kept, KeptAppliance, KeptDrain
from ocaserve.fleet.ledger_metrics import FleetLedgerMetrics
from ocaserve.fleet.membership import FleetDrain, FleetState
from ocaserve.fleet.operating import INTAKE
from ocaserve.fleet.overview import OVERVIEW, Overview
from ocaserve.fleet.policy_metrics import PolicyMetrics
from ocaserve.fleet.policy_service import open_office
from ocaserve.fleet.policy_storing import MemoryPolicies, PolicyStore
from ocaserve.fleet.publishing import Publisher
from ocaserve.fleet.shared_state import SharedState
from ocaserve.metrics import CounterMap
from ocaserve.routing.pacing import LONGEST_PAUSE_S
from ocaserve.settings.fleet import FleetTokens

_log = logging.getLogger(__name__)

_KEEP_EVERY_S = 5.0
_KEPT_SHARE = 4  # between two writings so many times as long as one takes
_LEFT_OUT = 0.1  # of the appliances: where an atlas lacks more, clients would be told of nobody

OPERATORS = (
    *operating.ENDPOINTS,
    *draining.ENDPOINTS,
    *outlook.ENDPOINTS,
    *policy_endpoints.ENDPOINTS,
    *overview.ENDPOINTS,
    *stocking.ENDPOINTS,
    *auditing.ENDPOINTS,
    *billing.ENDPOINTS,
    *ledger_moving.ENDPOINTS,
    *record_intake.ENDPOINTS,
    *fleet_metrics.ENDPOINTS,
    *openapi.ENDPOINTS,
)


def build_operators(
    state: FleetState,
    tokens: FleetTokens,
    local_token: str = "",
    popularity_file: Path | None = None,
    shared: SharedState | None = None,
    keeper: Keeper | None = None,
    publisher: Publisher | None = None,
    ledger: Bookkeeper | None = None,
    policies: PolicyStore | None = None,
    counters: CounterMap | None = None,
) -> web.Application:
    """For operators, appliances and Prometheus; it keeps the state up to date as well.

    local_token: lets commands on this machine change something where no token is configured.
    popularity_file: where it is kept what clients ask for; None: in memory alone.
    shared: what other instances know, where there are some. keeper: of the file of what is known.
    publisher: who shows workers what is known. ledger: of all appliances.
    policies: where their releases are kept; None: in memory alone. counters: of all workers.
    """
    settings = state.settings
    guard = Guard(tokens.roles, local_token)
    app = new_app(settings.control(settings.listen, tokens.roles), guard)
    app[FLEET], app[DEFECTS] = state, state.defects
    app[INTAKE] = Intake(state)
    app[OVERVIEW] = Overview(state)
    if shared is not None:
        app[SHARED] = shared
        run_in_background(app, "sharing", lambda _: shared.keep_sharing())
    app[REGISTRY] = registry = CollectorRegistry(auto_describe=False)
    for collector in (FleetMetrics(state), ControlMetrics(app)):
        registry.register(collector)
    if counters is not None:
        registry.register(EngineMetrics(counters))
    if ledger is not None:
        app[LEDGER] = ledger
        record_intake.start_intake(app, ledger)
        registry.register(FleetLedgerMetrics(ledger))
        run_in_background(app, "ledger", billing.keep_looking)
    office = open_office(app, state, policies or MemoryPolicies())
    registry.register(PolicyMetrics(office, state))
    run_in_background(app, "looking", lambda _: state.keep_looking())
    run_in_background(app, "atlas", lambda _: state.keep_atlas())
    if settings.turn_up == "checked" and settings.turn_up_contact:
        run_in_background(app, "contacts", lambda _: contacting.keep_asking(state))
    if keeper is not None:
        run_in_background(app, "keeping", lambda _: keep(state, keeper))
    if settings.content.catalogue:
        run_in_background(app, "stock", lambda _: stocking.keep_stock(state, popularity_file))
    if publisher is not None:
        run_in_background(app, "pictures", lambda _: publisher.keep_publishing())
        run_in_background(app, "grants", lambda _: publisher.keep_settling())
        run_in_background(app, "notes", lambda _: publisher.keep_reading())
    offer(app, OPERATORS)
    return app


def recall(state: FleetState, keeper: Keeper, shown: Atlas | None = None) -> None:
    """Begin with what was kept. Who was silent stays so; while nobody listened, nobody was, and who
    has tried in vain has time to come again: else there would be nobody to send clients to until
    all have reported.

    shown: the atlas that workers have; None where they have none.
    """
    now = time.monotonic()
    known = keeper.load(state.tables)
    until = time.time() if known.until is None else known.until
    state.drains |= {each.appliance: FleetDrain(each.reason, each.since) for each in known.drains}
    ttl_s = state.settings.report_ttl_s
    most_s = max(ttl_s - LONGEST_PAUSE_S, 0.0)
    for kept in known.appliances:
        age_s = max(until - kept.heard_at, 0.0)
        state.hear(kept.copy, now, age_s if age_s > ttl_s else min(age_s, most_s))
    state.dirty.clear()
    atlas = shown or keeper.atlas.load()
    if atlas is not None and _covers(atlas, state):
        state.take_atlas(atlas)


def _covers(atlas: Atlas, state: FleetState) -> bool:
    """Whether it is of nearly all that have something to tell."""
    known = atlas.appliances()
    telling = [name for name, member in state.members.items() if len(member.copy.table)]
    return len(known.intersection(telling)) >= (1 - _LEFT_OUT) * len(telling)


async def keep(state: FleetState, keeper: Keeper) -> None:
    """Write down what is new, again and again, a drain at once; tell once when that cannot be, once
    when it can.
    """
    fault, pause_s = "", 0.0
    while True:
        if fault:  # a drain that could not be kept is no reason to hurry
            await asyncio.sleep(_KEEP_EVERY_S)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(state.drains_changed.wait(), max(_KEEP_EVERY_S, pause_s))
        begun = time.monotonic()
        said = await keep_now(state, keeper)
        if said and not fault:
            _log.error("fleet: what is reported cannot be kept, tried again: %s", said)
        elif fault and not said:
            _log.info("fleet: what is reported is kept again")
        fault = said
        pause_s = _KEPT_SHARE * (time.monotonic() - begun)  # a fleet that begins has much to keep


async def keep_now(state: FleetState, keeper: Keeper, *, is_last: bool = False) -> str:
    """Returns why it could not be; empty if it was. is_last: there is no other time."""
    dirty, state.dirty = state.dirty, set()
    state.drains_changed.clear()
    offset = time.time() - time.monotonic()
    members = {name: state.members.get(name) for name in dirty}
    kept = [KeptAppliance(each.copy, each.heard_at + offset) for each in members.values() if each]
    forgotten = [name for name, each in members.items() if not each]
    drains = [KeptDrain(name, *each) for name, each in state.drains.items()]
    try:
        found = Kept(kept, drains, time.time())
        defects = await asyncio.to_thread(keeper.save, found, forgotten)
        atlas, now = state.atlas, math.inf if is_last else time.monotonic()
        if keeper.atlas.is_due(atlas, now):
            await asyncio.to_thread(keeper.atlas.save, atlas, now)
    except (sqlite3.Error, OSError) as error:
        state.dirty |= dirty
        state.drains_changed.set()
        return str(error)
    for defect in defects:  # not tried again before there is more to keep of it
        state.defects.contain("keeping", defect)
    return ""
