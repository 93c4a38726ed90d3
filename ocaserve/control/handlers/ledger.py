"""What was delivered to which client network."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from datetime import datetime
from functools import partial
from typing import Annotated, Literal

from aiohttp import web
from msgspec import Meta, Struct

from ocaserve.control.bookkeeping import LEDGER, READERS
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.problems import Problem
from ocaserve.control.route_desk import SERVICE
from ocaserve.control.schemas import IpOrPrefix, QueryTime, as_time, read_time
from ocaserve.ledger.networks import OTHER
from ocaserve.ledger.summary import NetworkSum, Summary, as_csv
from ocaserve.steering.lookup import list_accepted, route_of

_DAY_S = 86_400
_ALL = 1_000_000  # networks, more than a ledger has


class LedgerQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`since`: a day ago without it; `until`: now. `network`: only what lies in it.

    `by`: client networks, or the prefixes that routers announce for them now.
    """

    since: QueryTime | None = None
    until: QueryTime | None = None
    top: Annotated[int, Meta(ge=0, le=100_000)] = 20
    network: IpOrPrefix | None = None
    by: Literal["network", "prefix"] = "network"


class LedgerShown(Struct, frozen=True, kw_only=True):
    """Sums of the periods that begin in [since, until).

    Bytes are of bodies, as sockets took them. Rates are of `periods` of five minutes; the 95th
    percentile counts those without traffic too. `networks` has the top ones of `networks_seen`, by
    client network or by routed prefix; `unrouted` are those that no accepted route covers, and
    `other` those that got too few bytes for a place of their own.
    """

    since: datetime
    until: datetime
    by: str
    periods: int
    total: NetworkSum
    networks_seen: int
    networks: list[NetworkSum]


async def show_ledger(call: Call) -> LedgerShown:
    summary = await _summarize(call)
    return LedgerShown(
        since=as_time(summary.since),
        until=as_time(summary.until),
        by=call.query.by,
        periods=summary.periods,
        total=summary.total,
        networks_seen=summary.networks_seen,
        networks=summary.networks,
    )


async def show_ledger_as_csv(call: Call) -> web.Response:
    return web.Response(text=as_csv(await _summarize(call)), content_type="text/csv")


async def _summarize(call: Call) -> Summary:
    collector = call.request.app.get(LEDGER)
    if collector is None:
        raise Problem(404, "no ledger is kept: see ledger.is_kept")
    query: LedgerQuery = call.query
    until = read_time("until", query.until, time.time())
    since = read_time("since", query.since, until - _DAY_S)
    if since >= until:
        raise Problem(400, "the query: since must be before until")
    table = call.request.app[SERVICE].table
    work = partial(
        collector.summarize,
        since,
        until,
        top=query.top,
        within=_read_network(query.network),
        rename=partial(route_of, table) if query.by == "prefix" else None,
    )
    return await call.request.app[READERS].read(work)


class IdleQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of how many days, and how many prefixes to list."""

    days: Annotated[int, Meta(ge=1, le=31)] = 7
    limit: Annotated[int, Meta(ge=1, le=100_000)] = 1_000


class IdleShown(Struct, frozen=True, kw_only=True):
    """Accepted prefixes from which no client came since then: `count` of `accepted`.

    A client counts for the longest prefix that covers it. `other_bytes` went to networks that the
    ledger did not tell apart, so what they lie in may be listed too.
    """

    since: datetime
    accepted: int
    count: int
    prefixes: list[str]
    other_bytes: int


async def show_idle(call: Call) -> IdleShown:
    collector = call.request.app.get(LEDGER)
    if collector is None:
        raise Problem(404, "no ledger is kept: see ledger.is_kept")
    query: IdleQuery = call.query
    until = time.time()
    since = until - query.days * _DAY_S
    table = call.request.app[SERVICE].table
    work = partial(collector.summarize, since, until, top=_ALL, rename=partial(route_of, table))
    summary = await call.request.app[READERS].read(work)
    sent = {each.network: each.bytes for each in summary.networks}
    accepted = await asyncio.to_thread(list_accepted, table.snapshot())
    idle = [prefix for prefix in accepted if prefix not in sent]
    return IdleShown(
        since=as_time(since),
        accepted=len(accepted),
        count=len(idle),
        prefixes=idle[: query.limit],
        other_bytes=sent.get(OTHER, 0),
    )


def _read_network(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return str(ipaddress.ip_network(given, strict=False))
    except ValueError:
        raise Problem(
            400, 'the query: network must be an address or a network such as "192.0.2.0/24"'
        ) from None


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/ledger",
        show_ledger,
        "Bytes delivered, by client network",
        LedgerShown,
        query=LedgerQuery,
        refuses=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/routes/idle",
        show_idle,
        "Accepted prefixes from which no client came for some days",
        IdleShown,
        query=IdleQuery,
        refuses=(404,),
    ),
    Endpoint(
        "GET",
        "/v1/ledger.csv",
        show_ledger_as_csv,
        "The same for a spreadsheet",
        "a row for each network, then one for all",
        query=LedgerQuery,
        media="text/csv",
        refuses=(404,),
    ),
)
