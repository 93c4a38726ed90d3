"""Routes, reports and lookups: what BGP taught the appliance, and what it tells.

What can be long is made piece by piece in a thread, once for all who read it, so that neither a
million routes nor slow readers keep others waiting: see `documents` and `broadcast`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from functools import partial
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from bgp.prefixes import Prefix, parse_query
from ocaserve.control.broadcast import send_events
from ocaserve.control.documents import send_document
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.handlers.route_shapes import (
    CoverageZones,
    Explanation,
    Lookup,
    RecentChanges,
    RouteList,
)
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.control.route_desk import BROADCAST, DOCUMENTS, LISTING, PATIENCE, SERVICE
from ocaserve.control.schemas import Ip, IpOrPrefix
from ocaserve.control.state import ControlState
from ocaserve.routing.live import RouteService
from ocaserve.steering.changes import GoneError
from ocaserve.steering.explain import explain_route, list_routes, look_up, match_values
from ocaserve.steering.exports import render_coverage_zones, render_csv
from ocaserve.steering.lookup import Match
from ocaserve.steering.paths import paths_of
from ocaserve.steering.report import Heading
from ocaserve.steering.report_shapes import Peers, Report, report_schema

_JSON = "application/json"
_STORES_S = 3.0  # for stores to say whether they have an object
_Serial = Annotated[int, Meta(ge=0, le=1 << 53)]  # what JSON's numbers hold exactly
_Session = Annotated[str, Meta(max_length=64)]


class ChangesQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`wait`: seconds to wait for news where there are none."""

    session: _Session
    after: _Serial
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class ReportSession(Struct, frozen=True):
    """Where the report stands."""

    session: str
    serial: int
    digest: str
    prefix_digest: str


class EventsQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From where on; without, from now on. `Last-Event-ID` says the same."""

    session: _Session = ""
    after: _Serial = 0


class RoutesQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which routes to list, at most `limit` prefixes."""

    filtered: bool = False
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000


class RecentQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many prefixes at the most."""

    limit: Annotated[int, Meta(ge=1, le=1_000)] = 50


class LookupQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`at`: an address or a prefix."""

    at: IpOrPrefix


class CsvQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    filtered: bool = False


class ExplainQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Would the client at `ip` be sent here, for `object` if one is named?"""

    ip: Ip
    object: Annotated[str, Meta(max_length=1_024)] = ""


# -- report --------------------------------------------------------------------------------------


async def show_report(call: Call) -> web.StreamResponse:
    service = _service(call)
    heading = service.heading()
    return await _send(call, "report", heading.serial, service.report, _JSON, is_tagged=True)


async def show_session(call: Call) -> ReportSession:
    service = _service(call)
    service.commit()
    table = service.table
    return ReportSession(service.log.session, service.log.serial, table.digest, table.prefix_digest)


async def show_changes(call: Call) -> web.StreamResponse:
    service, query = _service(call), call.query

    def make() -> tuple[Heading, Iterator[bytes]]:
        return service.changes(query.session, query.after)

    try:
        service.check(query.session, query.after)
        if service.heading().serial == query.after and query.wait:
            await service.wait_for_news(query.wait)
        kind = f"changes {query.session} {query.after}"
        return await _send(call, kind, service.heading().serial, make, _JSON)
    except GoneError as error:
        raise Problem(410, f"{error}; fetch /v1/report") from None


async def stream_events(call: Call) -> web.StreamResponse:
    """Server-sent events: `changes` as `/v1/report/changes` has them, `reset` where those end."""
    service = _service(call)
    service.commit()
    session, after = _begin_of_events(call, service)
    return await send_events(call.request, call.request.app[BROADCAST].read(session, after))


def _begin_of_events(call: Call, service: RouteService) -> tuple[str, int]:
    session, _, serial = call.request.headers.get("Last-Event-ID", "").partition("/")
    if session and serial.isascii() and serial.isdigit():
        return session[:64], int(serial[:16])
    if call.query.session:
        return call.query.session, call.query.after
    return service.log.session, service.log.serial


async def show_schema(call: Call) -> web.Response:
    return web.json_response(report_schema(), content_type="application/schema+json")


# -- routes --------------------------------------------------------------------------------------


async def show_routes(call: Call) -> dict[str, Any]:
    service, query = _service(call), call.query
    service.commit()
    async with call.request.app[LISTING]:  # so few copies of the table at a time
        listed = await asyncio.to_thread(
            list_routes, service.table.snapshot(), is_filtered=query.filtered, most=query.limit
        )
    return {"totals": service.values["totals"], "routes": listed}


async def show_peers(call: Call) -> dict[str, Any]:
    service = _service(call)
    service.commit()
    return {"peers": service.values["peers"], "totals": service.values["totals"]}


async def show_recent(call: Call) -> dict[str, Any]:
    """What changed last, newest first: since when a prefix is as it is; gone without routes."""
    service = _service(call)
    service.commit()
    changed = [
        {
            **match_values(Match(each.prefix, paths_of(service.table.entry(*each.prefix)))),
            "serial": each.serial,
            "at": round(each.at, 3),
        }
        for each in service.log.recent(call.query.limit)
    ]
    return {"session": service.log.session, "serial": service.log.serial, "changes": changed}


async def show_lookup(call: Call) -> dict[str, Any]:
    prefix = _parse(call.query.at, "at")
    return await asyncio.to_thread(look_up, _service(call).table, prefix)


async def export_csv(call: Call) -> web.StreamResponse:
    service, is_filtered = _service(call), call.query.filtered

    def make() -> tuple[None, Iterator[bytes]]:
        return None, render_csv(service.table.snapshot(), is_filtered=is_filtered)

    kind = f"csv {is_filtered}"
    return await _send(call, kind, service.commit(), make, "text/csv; header=present")


async def export_coverage_zones(call: Call) -> web.StreamResponse:
    service, appliance = _service(call), call.state.settings.appliance

    def make() -> tuple[None, Iterator[bytes]]:
        return None, render_coverage_zones(
            service.table.snapshot(), appliance.site or appliance.id, appliance.id
        )

    return await _send(call, "coverage zones", service.commit(), make, _JSON)


async def explain(call: Call) -> dict[str, Any]:
    """Endpoint, health, and, for an object, content: each has its word, all must say yes."""
    prefix = _parse(call.query.ip, "ip")
    if not prefix.is_address:
        raise Problem(400, f"the query: ip = {call.query.ip[:60]!r}: must be one address")
    service = _service(call)
    found = await asyncio.to_thread(look_up, service.table, prefix)
    has_content, of_content = await _look_for_object(call, call.query.object)
    answers = {
        "route": found["match"] is not None,
        "health": call.state.takes_traffic,
        "content": has_content,
    }
    sentences = {
        "route": explain_route(found),
        "health": [_describe_duty(call.state)],
        "content": of_content,
    }
    decisive_first = sorted(answers, key=lambda name: answers[name] is not False)
    said = [sentence for name in decisive_first for sentence in sentences[name]]
    return {
        "ip": call.query.ip,
        "object": call.query.object or None,
        "steered_here": all(answer is not False for answer in answers.values()),
        **answers,
        "because": said,
        "match": found["match"],
    }


def _describe_duty(state: ControlState) -> str:
    """Whether the appliance takes traffic, and why not."""
    why, obstacle = state.duty.reason, state.find_obstacle()
    if state.lifecycle == "serving":
        why = f"{obstacle.word}: {obstacle.reason}" if obstacle else ""
    return f"the appliance is {state.lifecycle}" + (f", but {why}" if why else "")


async def _look_for_object(call: Call, key: str) -> tuple[bool | None, list[str]]:
    if not key:
        return None, []
    from ocaserve.routing.content import look_for_object

    stores = [store.path for store in call.state.settings.store]
    looking = partial(look_for_object, stores, key)
    try:
        has_it, sentence = await call.request.app[PATIENCE].run(looking, _STORES_S)
    except TimeoutError:
        return False, [f"the stores have not said within {_STORES_S:g} s whether it is here"]
    return has_it, [sentence]


def _parse(text: str, name: str) -> Prefix:
    try:
        return parse_query(text)
    except ValueError as error:
        raise Problem(400, f"the query: {name}: {error}") from None


def _service(call: Call) -> RouteService:
    return call.request.app[SERVICE]


# -- long answers --------------------------------------------------------------------------------


async def _send(
    call: Call,
    kind: str,
    version: Hashable,
    make: Callable[[], tuple[Heading | None, Iterator[bytes]]],
    media: str,
    *,
    is_tagged: bool = False,
) -> web.StreamResponse:
    """Answer with a document of this kind and version, made for all who read it now."""
    documents = call.request.app[DOCUMENTS]
    document = documents.find(kind, version, make)
    heading: Heading | None = document.about
    if heading is None:
        return await send_document(call.request, documents, document, media)
    tag = f"{heading.session}-{heading.serial}" if is_tagged else ""
    headers = {"Ocaserve-Session": heading.session, "Ocaserve-Serial": str(heading.serial)}
    return await send_document(call.request, documents, document, media, tag=tag, headers=headers)


# -- joining -------------------------------------------------------------------------------------

ENDPOINTS = (
    Endpoint("GET", "/v1/report", show_report, "All that the control plane is to know", Report),
    Endpoint(
        "GET", "/v1/report/session", show_session, "Session and serial of the report", ReportSession
    ),
    Endpoint(
        "GET",
        "/v1/report/changes",
        show_changes,
        "What is new since a serial; 410 when the report is to be fetched again",
        Report,
        query=ChangesQuery,
        refuses=(410,),
        lane=Lane.STREAMING,
    ),
    Endpoint(
        "GET",
        "/v1/report/events",
        stream_events,
        "The same as server-sent events",
        "events hello, changes, reset",
        query=EventsQuery,
        media="text/event-stream",
        lane=Lane.STREAMING,
    ),
    Endpoint(
        "GET",
        "/v1/schema/report",
        show_schema,
        "The JSON Schema of the report",
        "a JSON Schema",
        media="application/schema+json",
    ),
    Endpoint(
        "GET",
        "/v1/routes",
        show_routes,
        "Routes, the first ones",
        RouteList,
        query=RoutesQuery,
    ),
    Endpoint("GET", "/v1/routes/peers", show_peers, "Sessions and their families", Peers),
    Endpoint(
        "GET",
        "/v1/routes/recent",
        show_recent,
        "Prefixes whose routes changed last, as they are now",
        RecentChanges,
        query=RecentQuery,
    ),
    Endpoint(
        "GET",
        "/v1/routes/lookup",
        show_lookup,
        "Longest match of an address or prefix, what covers it, what lies inside",
        Lookup,
        query=LookupQuery,
    ),
    Endpoint(
        "GET",
        "/v1/routes.csv",
        export_csv,
        "All routes as CSV",
        "RFC 4180",
        query=CsvQuery,
        media="text/csv",
    ),
    Endpoint(
        "GET",
        "/v1/routes/dczf",
        export_coverage_zones,
        "The networks as a deep coverage zone file of Apache Traffic Control",
        CoverageZones,
    ),
    Endpoint(
        "GET",
        "/v1/explain",
        explain,
        "Would this client be sent here, and why",
        Explanation,
        query=ExplainQuery,
    ),
)
