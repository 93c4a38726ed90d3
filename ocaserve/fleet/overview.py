"""The dashboard of the control plane: a page, and what it shows, all in one document."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.handlers.dashboard import page_part
from ocaserve.fleet.demand import DemandRow
from ocaserve.fleet.fleet_shapes import FleetDashboard, MemberShown, NetworkShown, ShareShown
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.operating import describe_status, show_appliance, show_sites
from ocaserve.fleet.outlook import find_rooms, project, show_shed_minutes
from ocaserve.fleet.projections import NOTHING_LOST, Projection
from ocaserve.fleet.pushed_documents import HeldObjects
from ocaserve.fleet.what_if import Alike, ClientRooms, find_alike, limits_now, share_out
from ocaserve.fleet.wishes import ClientWish, Shares

_FRESH_S = 2.0  # that one document is good for, whoever looks; the page asks as often
_REST = 4  # times as long as making one takes, at least
_MOST_NETWORKS = 50
_SHED_MINUTES = 5  # of the figure that stands with an appliance


class _Sharing(NamedTuple):
    """Expected clients by appliance; how many nobody takes; the largest networks."""

    expected: Mapping[str, float]
    unserved: float
    largest: Sequence[tuple[DemandRow, Shares]]


def share_clients(
    projection: Projection, rows: Sequence[DemandRow], rooms: ClientRooms, *, looks_at_objects: bool
) -> _Sharing:
    """Who takes whom as it is. rows: those with the most clients first."""
    every = find_alike(projection, NOTHING_LOST, rows, looks_at_objects=looks_at_objects)
    sharing, parts = share_out(every, 0, limits_now(rooms))
    alike_of = {id(row): alike for alike in every for row in alike.rows}
    shown = [row for row in rows[:_MOST_NETWORKS] if id(row) in alike_of]
    largest = [(row, _sum_shares(alike_of[id(row)], parts)) for row in shown]
    return _Sharing(sharing.taken, sum(sharing.unserved.values()), largest)


def _sum_shares(alike: Alike, parts: Mapping[ClientWish, Shares]) -> Shares:
    sums: defaultdict[str, float] = defaultdict(float)
    for pair, part in alike.pairs.items():
        for name, share in parts[pair.before].items():
            sums[name] += share * part
    return sums


class Overview:
    """Made when somebody looks, for all who look within some seconds."""

    def __init__(self, state: FleetState) -> None:
        self._state = state
        self._making = asyncio.Lock()
        self._made_at = float("-inf")
        self._changes = -1
        self._took_s = 0.0
        self._document = b""

    async def document(self) -> bytes:
        """As JSON."""
        async with self._making:
            asked = time.monotonic()
            # Whoever has changed something is to see it at once, where that costs little.
            is_same = self._changes == self._state.changes
            good_s = max(_FRESH_S if is_same else 0.0, self._took_s * _REST)
            if asked - self._made_at > good_s:
                self._changes = self._state.changes
                self._document = msgspec.json.encode(await self._make())
                self._made_at = time.monotonic()
                self._took_s = self._made_at - asked
        return self._document

    async def _make(self) -> FleetDashboard:
        state = self._state
        demand = state.journal.demand
        minute = int(time.time() // 60)
        rows, others = await asyncio.to_thread(demand.recent(minute).rows)
        everywhere = state.settings.content.everywhere
        sharing = await asyncio.to_thread(
            share_clients, project(state), rows, find_rooms(state), looks_at_objects=not everywhere
        )
        rate = state.settings.client_bits_per_s
        clients = sum(row.clients for row in rows)
        return FleetDashboard(
            status=describe_status(state),
            span_s=demand.span_s,
            clients=clients,
            bits_per_s=clients * rate,
            not_recorded=others,
            unserved_clients=round(sharing.unserved, 3),
            members=self._show_members(sharing, minute),
            sites=show_sites(state),
            networks=[_show_network(row, shares, rate) for row, shares in sharing.largest],
            network_count=len(rows),
            content_everywhere=everywhere,
            shed=show_shed_minutes(state, minute - 59),
        )

    def _show_members(self, sharing: _Sharing, minute: int) -> list[MemberShown]:
        state, now = self._state, time.monotonic()
        shed: defaultdict[str, float] = defaultdict(float)
        for _, sums in state.journal.shed.minutes(minute - _SHED_MINUTES + 1):
            for turned, bits_per_s in sums.items():
                shed[turned.appliance] += bits_per_s
        rate = state.settings.client_bits_per_s
        held = {name: member.copy.objects for name, member in state.members.items()}
        return [
            MemberShown(
                appliance=show_appliance(state, name, now),
                objects_here=None if (has := held[name]) is None else count_objects(has),
                objects_wanted=None if has is None else has.count,
                expected_bits_per_s=round(sharing.expected.get(name, 0.0) * rate, 1),
                shed_bits_per_s=round(shed[name], 1),
                drained=name in state.drains,
            )
            for name in sorted(state.members)
        ]


def count_objects(held: HeldObjects) -> int:
    """Those that are there."""
    return int.from_bytes(held.here, "little").bit_count()


def _show_network(row: DemandRow, shares: Shares, rate: float) -> NetworkShown:
    return NetworkShown(
        network=str(row.network),
        clients=row.clients,
        bits_per_s=row.clients * rate,
        servers=[
            ShareShown(server=name, share=round(share, 4))
            for name, share in sorted(shares.items(), key=lambda each: (-each[1], each[0]))
        ],
    )


OVERVIEW: web.AppKey[Overview] = web.AppKey("OVERVIEW", Overview)


async def show_overview(call: Call) -> web.Response:
    document = await call.request.app[OVERVIEW].document()
    return web.Response(body=document, content_type="application/json")


ENDPOINTS = (
    page_part("/", "index.html", "text/html", "ocaserve.fleet"),
    page_part("/dashboard/fleet.css", "fleet.css", "text/css", "ocaserve.fleet"),
    page_part("/dashboard/style.css", "style.css", "text/css"),
    *(
        page_part(f"/dashboard/{name}.js", f"{name}.js", "text/javascript", "ocaserve.fleet")
        for name in ("fleet", "following", "outcomes")
    ),
    *(
        page_part(f"/dashboard/{name}.js", f"{name}.js", "text/javascript")
        for name in ("asking", "chart", "format", "tables")
    ),
    Endpoint("GET", "/v1/dashboard", show_overview, "What the dashboard shows", FleetDashboard),
)
