"""The endpoints for who plans: what would be, what was turned away, what others may know."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
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
    UnservedShown,
    WhatIfAnswer,
    WhatIfRequest,
)
from ocaserve.fleet.footprints import advertise
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.policy_foresight import ForeseenPolicies, foreseen_policies
from ocaserve.fleet.projections import Lost, PolicyJudge, Projection
from ocaserve.fleet.shedding import TurnedAway
from ocaserve.fleet.tables import Network, parse_network
from ocaserve.fleet.what_if import MOST_NAMED, ClientRoom, ClientRooms, Outlook, foresee
from ocaserve.fleet.wishes import DRAWS, FEW_DRAWS, Unserved

_MOST_MOVES = 1_000
_MOST_AGAIN = 3  # reckonings, each with what policies have said to the one before
_FCI = "application/cdni"  # RFC 7736; its parameter ptype names one object, and this holds several


async def ask_what_if(call: Call) -> WhatIfAnswer:
    """Over the clients that have asked of late; nothing is changed."""
    state = call.request.app[FLEET]
    lost = find_lost(state, call.body.lose)
    minute = int(time.time() // 60)
    # What is given to threads does not change: an atlas never does, of the servers it is a copy.
    rows, others = await asyncio.to_thread(state.journal.demand.recent(minute).rows)
    async with foreseen_policies(state.policing, state.used, minute) as policies:
        asked = Foresight(state, lost, rows, policies)
        outlook = await asyncio.to_thread(asked.go)
        for _ in range(_MOST_AGAIN):
            if policies is None or not policies.missing or not await policies.ask():
                break
            outlook = await asyncio.to_thread(asked.go)
    return show_outlook(state, asked, others, outlook)


class Foresight:
    """What is asked of `foresee`, as it is when it is made."""

    def __init__(
        self,
        state: FleetState,
        lost: Lost,
        rows: list[DemandRow],
        policies: ForeseenPolicies | None,
    ) -> None:
        self.rows, self.policies = rows, policies
        self.everywhere = state.settings.content.everywhere
        self.looks_at_objects = not self.everywhere or bool(policies and policies.reads_objects)
        self._now, self._lost = project(state, policies), lost
        self._rooms = find_rooms(state)

    def go(self) -> Outlook:
        """For a thread."""
        return foresee(
            self._now, self._lost, self.rows, self._rooms, looks_at_objects=self.looks_at_objects
        )

    def tell_limits(self, outlook: Outlook) -> Iterator[str]:
        """What was sampled, and what is not known."""
        yield (
            "clients ask once more while it is lost; who plays from what is left goes on, and is "
            "counted there"
        )
        if outlook.networks < len(self.rows):
            yield (
                f"the {outlook.networks:,} largest of {len(self.rows):,} networks stand for all: "
                "they are heard, or lie, in too many ways"
            )
        if self.looks_at_objects:
            yield self._tell_objects()
        else:
            yield "everybody is taken to have what is asked for, by the settings"
        if (policies := self.policies) is None:
            return
        yield "policies are asked with what appliances carry now, not then"
        if policies.orders:
            yield (
                f"where policies put servers in order, {DRAWS} draws stand for all clients of a "
                f"kind, {FEW_DRAWS} where kinds are many"
            )
        if policies.missing:
            yield (
                f"policies have not answered {len(policies.missing):,} of "
                f"{len(policies.missing) + policies.asked:,} questions in time; there the built-in "
                "rule decides"
            )

    def _tell_objects(self) -> str:
        known = [row for row in self.rows if row.wanted]
        if not known:
            return "it is not known what clients ask for: everybody is taken to have it"
        objects = len({key for row in known for key in row.wanted})
        clients = sum(sum(row.wanted.values()) for row in known)
        return (
            f"{objects:,} objects that {clients:,.0f} clients asked for stand for all; networks of "
            "which none is known are taken to ask for what the others do"
        )


def project(state: FleetState, judge: PolicyJudge | None = None) -> Projection:
    """Of what is known now."""
    content, presence = state.settings.content, state.stock.presence
    holders_of = None if content.everywhere else presence.holders_of
    return Projection(state.atlas, state.servers, holders_of, judge)


def find_rooms(state: FleetState) -> ClientRooms:
    """What appliances can take, in clients."""
    rate, now = state.settings.client_bits_per_s, time.monotonic()
    rooms = {}
    for name, member in state.members.items() if rate else ():
        capacity = member.copy.capacity
        if (free := capacity.free_bits_per_s) is not None:
            total, more = capacity.total_bits_per_s, max(free - state.granted(name, now), 0.0)
            rooms[name] = ClientRoom(None if total is None else total / rate, more / rate)
    return rooms


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
    state: FleetState, asked: Foresight, others: int, outlook: Outlook
) -> WhatIfAnswer:
    rate = state.settings.client_bits_per_s
    clients = sum(row.clients for row in asked.rows)
    before, after = outlook.before, outlook.after
    names = before.taken.keys() | after.taken.keys() | after.asked.keys()
    loads = [show_load(state, name, outlook) for name in sorted(names)]
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
    moves.sort(key=lambda each: (-each.bits_per_s, each.source or "", each.target or ""))
    return WhatIfAnswer(
        span_s=state.journal.demand.span_s,
        clients=clients,
        bits_per_s=clients * rate,
        not_recorded=others,
        unserved_clients=round(sum(before.unserved.values()), 3),
        appliances=loads,
        moves=moves[:_MOST_MOVES],
        overloaded=[each.id for each in loads if each.overloaded],
        uncovered=[show_demand(row, rate) for row in outlook.uncovered[:MOST_NAMED]],
        uncovered_networks=len(outlook.uncovered),
        uncovered_bits_per_s=sum(row.clients for row in outlook.uncovered) * rate,
        unserved=[
            UnservedShown(
                cause=cause.value,
                before_bits_per_s=round(before.unserved.get(cause, 0.0) * rate, 1),
                after_bits_per_s=round(after.unserved.get(cause, 0.0) * rate, 1),
            )
            for cause in Unserved
            if cause in before.unserved or cause in after.unserved
        ],
        policies=asked.policies.by if asked.policies else [],
        limits=list(asked.tell_limits(outlook)),
    )


def show_load(state: FleetState, name: str, outlook: Outlook) -> LoadShown:
    rate, member = state.settings.client_bits_per_s, state.members.get(name)
    total = member.copy.capacity.total_bits_per_s if member else None
    after = outlook.after.taken.get(name, 0.0) * rate
    is_full = name in outlook.after.full
    return LoadShown(
        id=name,
        site=state.servers[name].site if name in state.servers else "",
        before_bits_per_s=round(outlook.before.taken.get(name, 0.0) * rate, 1),
        asked_bits_per_s=round(outlook.after.asked.get(name, 0.0) * rate, 1),
        after_bits_per_s=round(after, 1),
        total_bits_per_s=total,
        full=is_full,
        overloaded=is_full or (total is not None and round(after, 1) > total),
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
