"""The endpoints for who plans: what would be, what was turned away, what others may know."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.problems import Problem
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.demand import DemandRow
from ocaserve.fleet.draining import find_appliances
from ocaserve.fleet.fleet_shapes import (
    DemandShown,
    LoadShown,
    LostAsked,
    MoveShown,
    ShedAnswer,
    ShedMinute,
    ShedQuery,
    ShedShown,
    WhatIfAnswer,
    WhatIfRequest,
)
from ocaserve.fleet.footprints import advertise
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.shedding import TurnedAway
from ocaserve.fleet.tables import Network, parse_network
from ocaserve.fleet.what_if import MOST_NAMED, Lost, Outlook, foresee

_MOST_MOVES = 1_000
_FCI = "application/cdni"  # RFC 7736; its parameter ptype names one object, and this holds several


async def ask_what_if(call: Call) -> WhatIfAnswer:
    """Over the clients that have asked of late; nothing is changed."""
    state = call.request.app[FLEET]
    lost = find_lost(state, call.body.lose)
    demand = state.journal.demand.recent(int(time.time() // 60))
    # What is given to threads does not change: an atlas never does, of the servers it is a copy.
    rows, others = await asyncio.to_thread(demand.rows)
    outlook = await asyncio.to_thread(foresee, state.atlas, dict(state.servers), rows, lost)
    return show_outlook(state, rows, others, outlook)


def find_lost(state: FleetState, asked: LostAsked) -> Lost:
    """Raises Problem, which names what is not known."""
    appliances = find_appliances(state, asked.appliances, asked.sites)
    networks, faults = [], []
    for place, text in enumerate(asked.prefixes):
        try:
            network = parse_network(text)
        except ValueError as error:
            faults.append(f"lose.prefixes[{place}]: {error}")
            continue
        if is_heard(state, network):
            networks.append(network)
        else:
            faults.append(f"lose.prefixes[{place}]: no appliance hears {network}")
    if faults:
        raise Problem(422, "the body: prefixes that cannot be lost", faults=faults[:20])
    return Lost(appliances, frozenset(networks))


def is_heard(state: FleetState, network: Network) -> bool:
    tables = state.atlas.tables.values()
    return any(network.code in table.routes[network.family] for table in tables)


def show_outlook(
    state: FleetState, rows: list[DemandRow], others: int, outlook: Outlook
) -> WhatIfAnswer:
    rate = state.settings.client_bits_per_s
    clients = sum(row.clients for row in rows)
    loads = [
        show_load(state, name, outlook.before[name] * rate, outlook.after[name] * rate)
        for name in sorted(outlook.before.keys() | outlook.after.keys())
    ]
    moves = [
        MoveShown(
            source=move.source,
            target=move.target,
            bits_per_s=round(moved.clients * rate, 1),
            clients=round(moved.clients, 3),
            networks=moved.networks,
        )
        for move, moved in outlook.moves.items()
    ]
    moves.sort(key=lambda each: (-each.bits_per_s, each.source, each.target or ""))
    return WhatIfAnswer(
        span_s=state.journal.demand.span_s,
        clients=clients,
        bits_per_s=clients * rate,
        not_recorded=others,
        unserved_clients=outlook.unserved,
        appliances=loads,
        moves=moves[:_MOST_MOVES],
        overloaded=[each.id for each in loads if each.overloaded],
        uncovered=[show_demand(row, rate) for row in outlook.uncovered[:MOST_NAMED]],
        uncovered_networks=len(outlook.uncovered),
        uncovered_bits_per_s=sum(row.clients for row in outlook.uncovered) * rate,
    )


def show_load(state: FleetState, name: str, before: float, after: float) -> LoadShown:
    member = state.members.get(name)
    total = member.copy.capacity.total_bits_per_s if member else None
    return LoadShown(
        id=name,
        site=state.servers[name].site if name in state.servers else "",
        before_bits_per_s=round(before, 1),
        after_bits_per_s=round(after, 1),
        total_bits_per_s=total,
        overloaded=total is not None and after > total,
    )


def show_demand(row: DemandRow, rate: float) -> DemandShown:
    return DemandShown(network=str(row.network), clients=row.clients, bits_per_s=row.clients * rate)


async def show_shed(call: Call) -> ShedAnswer:
    since = int(time.time() // 60) - call.query.minutes + 1
    return ShedAnswer(minutes=show_shed_minutes(call.request.app[FLEET], since))


def show_shed_minutes(state: FleetState, since: int) -> list[ShedMinute]:
    """From this minute since the epoch on."""
    return [
        ShedMinute(start=minute * 60, appliances=_by_appliance(sums))
        for minute, sums in state.journal.shed.minutes(since)
    ]


def _by_appliance(sums: Mapping[TurnedAway, float]) -> list[ShedShown]:
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for turned, bits_per_s in sums.items():
        found[turned.appliance][f"{turned.cause.value}_bits_per_s"] = round(bits_per_s, 1)
    return [ShedShown(appliance=name, **rates) for name, rates in sorted(found.items())]


async def show_footprints(call: Call) -> web.Response:
    """Made in a thread: of a million networks it has 20 MB."""
    state = call.request.app[FLEET]
    names = [name for name, each in state.servers.items() if not each.fault]
    tables = [state.members[name].copy.table for name in names]
    schemes = {urlsplit(state.signers[name].location.base).scheme for name in names}
    protocols = [f"{scheme}/1.1" for scheme in sorted(schemes)]

    def write() -> bytes:
        return msgspec.json.encode(advertise(tables, protocols))

    return web.Response(body=await asyncio.to_thread(write), content_type=_FCI)


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/what-if", ask_what_if, "What would become of clients if this were lost",
        WhatIfAnswer, body=WhatIfRequest, is_large=True,
    ),
    Endpoint(
        "GET", "/v1/shed", show_shed, "What was turned away from which appliance, by minute",
        ShedAnswer, query=ShedQuery,
    ),
    Endpoint(
        "GET", "/v1/fci", show_footprints, "Footprints and capabilities for other networks",
        "an advertisement as in RFC 8008", media=_FCI,
    ),
)  # fmt: skip
