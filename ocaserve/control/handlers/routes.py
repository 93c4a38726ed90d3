"""Routes, reports and lookups: what BGP taught the appliance, and what it tells.

What can be long is made piece by piece in a thread and streamed, so that neither a million routes
nor a slow reader keeps others waiting.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from aiohttp import web
from msgspec import Meta, Struct

from bgp.prefixes import Prefix, parse_prefix
from ocaserve.control.contact import start_watching_contact
from ocaserve.control.problems import Problem
from ocaserve.control.routing import Call, Route, add_routes, run_in_background
from ocaserve.control.schemas import Ip, IpOrPrefix
from ocaserve.control.sections import report_sections
from ocaserve.control.state import STATE, ControlState
from ocaserve.steering.changes import GoneError
from ocaserve.steering.explain import explain_route, list_routes, look_up, match_values
from ocaserve.steering.exports import render_coverage_zones, render_csv
from ocaserve.steering.feed import open_feed
from ocaserve.steering.lookup import Match
from ocaserve.steering.report import Heading
from ocaserve.steering.report_schema import REPORT_SCHEMA
from ocaserve.steering.reporter import Reporter, compress_pieces
from ocaserve.steering.rib import paths_of
from ocaserve.steering.service import RouteService
from ocaserve.steering.watching import RouteHealth, RouteMetrics

SERVICE = web.AppKey("ROUTE_SERVICE", RouteService)
REPORTER = web.AppKey("REPORTER", Reporter)

_PIECE_BYTES = 64 * 1024  # written at a time
_KEEP_ALIVE_S = 15.0  # between two signs of life of an event stream

_Serial = Annotated[int, Meta(ge=0)]


class ChangesQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`wait`: seconds to wait for news where there are none."""

    session: str
    after: _Serial
    wait: Annotated[float, Meta(ge=0, le=60)] = 0.0


class ReportSession(Struct, frozen=True):
    """Where the report stands."""

    session: str
    serial: int
    digest: str


class EventsQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """From where on; without, from now on. `Last-Event-ID` says the same."""

    session: str = ""
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
    object: str = ""


# -- report --------------------------------------------------------------------------------------


async def show_report(call: Call) -> web.StreamResponse:
    heading, pieces = _service(call).report()
    tag = f"{heading.session}-{heading.serial}"
    return await _stream(call.request, pieces, "application/json", tag, _headers(heading))


async def show_session(call: Call) -> ReportSession:
    service = _service(call)
    service.commit()
    return ReportSession(service.log.session, service.log.serial, service.table.digest)


async def show_changes(call: Call) -> web.StreamResponse:
    service, query = _service(call), call.query
    try:
        heading, pieces = service.changes(query.session, query.after)
        if heading.serial == query.after and query.wait:
            await service.wait_for_news(query.wait)
            heading, pieces = service.changes(query.session, query.after)
    except GoneError as error:
        raise Problem(410, f"{error}; fetch /v1/report") from None
    return await _stream(call.request, pieces, "application/json", "", _headers(heading))


def _headers(heading: Heading) -> dict[str, str]:
    return {"Ocaserve-Session": heading.session, "Ocaserve-Serial": str(heading.serial)}


async def stream_events(call: Call) -> web.StreamResponse:
    """Server-sent events: `changes` as `/v1/report/changes` has them, `reset` where those end."""
    service = _service(call)
    service.commit()
    session, after = _begin_of_events(call, service)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # of proxies that would collect events
    await response.prepare(call.request)
    async for event in _events(service, session, after):
        await response.write(event)
    return response


def _begin_of_events(call: Call, service: RouteService) -> tuple[str, int]:
    session, _, serial = call.request.headers.get("Last-Event-ID", "").partition("/")
    if session and serial.isascii() and serial.isdigit():
        return session, int(serial[:20])
    if call.query.session:
        return call.query.session, call.query.after
    return service.log.session, service.log.serial


async def _events(service: RouteService, session: str, after: int) -> AsyncIterator[bytes]:
    yield _event("hello", session, after, json.dumps({"session": session, "serial": after}))
    while True:
        try:
            heading, pieces = service.changes(session, after)
        except GoneError as error:
            session, after = service.log.session, service.commit()
            yield _event("reset", session, after, json.dumps({"reason": str(error)}))
            continue
        if heading.serial > after:
            document = await asyncio.to_thread(b"".join, pieces)
            after = heading.serial
            yield _event("changes", session, after, document.replace(b"\n", b"").decode())
            continue
        await service.wait_for_news(_KEEP_ALIVE_S)
        if service.log.serial == after:
            yield b": still here\n\n"


def _event(name: str, session: str, serial: int, data: str) -> bytes:
    return f"event: {name}\nid: {session}/{serial}\ndata: {data}\n\n".encode()


async def show_schema(call: Call) -> web.Response:
    return web.json_response(REPORT_SCHEMA, content_type="application/schema+json")


# -- routes --------------------------------------------------------------------------------------


async def show_routes(call: Call) -> dict[str, Any]:
    service, query = _service(call), call.query
    service.commit()
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
    pieces = render_csv(_service(call).table.snapshot(), is_filtered=call.query.filtered)
    return await _stream(call.request, pieces, "text/csv; header=present", "", {})


async def export_coverage_zones(call: Call) -> web.StreamResponse:
    appliance = call.state.settings.appliance
    pieces = render_coverage_zones(
        _service(call).table.snapshot(), appliance.site or appliance.id, appliance.id
    )
    return await _stream(call.request, pieces, "application/json", "", {})


async def explain(call: Call) -> dict[str, Any]:
    """Route, health, and, for an object, content: each has its word, all must say yes."""
    prefix = _parse(call.query.ip, "ip")
    if not prefix.is_address:
        raise Problem(400, f"the query: ip = {call.query.ip[:60]!r}: must be one address")
    service = _service(call)
    found = await asyncio.to_thread(look_up, service.table, prefix)
    has_content = await _has_object(call.state, call.query.object)
    answers = {
        "route": found["match"] is not None,
        "health": call.state.takes_traffic,
        "content": has_content,
    }
    said = explain_route(found)
    said.append(f"the appliance is {call.state.lifecycle}")
    if has_content is not None:
        here = "has" if has_content else "does not have"
        said.append(f"it {here} the object {call.query.object[:200]!r}")
    return {
        "ip": call.query.ip,
        "object": call.query.object or None,
        "steered_here": all(answer is not False for answer in answers.values()),
        **answers,
        "because": said,
        "match": found["match"],
    }


async def _has_object(state: ControlState, key: str) -> bool | None:
    if not key:
        return None
    from ocaserve.steering.content import has_object

    stores = [store.path for store in state.settings.store]
    return await asyncio.to_thread(has_object, stores, key)


def _parse(text: str, name: str) -> Prefix:
    try:
        return parse_prefix(text)
    except ValueError as error:
        raise Problem(400, f"the query: {name}: {error}") from None


def _service(call: Call) -> RouteService:
    return call.request.app[SERVICE]


# -- streaming -----------------------------------------------------------------------------------


async def _stream(
    request: web.Request,
    pieces: Iterator[bytes],
    media: str,
    tag: str,
    headers: dict[str, str],
) -> web.StreamResponse:
    """Send pieces as they are made, with gzip where it is taken. `tag`: of the plain document."""
    is_gzip = "gzip" in request.headers.get("Accept-Encoding", "").lower()
    response = web.StreamResponse(headers={**headers, "Content-Type": media})
    response.headers["Vary"] = "Accept-Encoding"
    response.headers["Cache-Control"] = "no-cache" if tag else "no-store"
    if tag:
        etag = f'"{tag}-gzip"' if is_gzip else f'"{tag}"'
        response.headers["ETag"] = etag
        if _matches(request, tag):
            response.set_status(304)
            del response.headers["Content-Type"]
            await response.prepare(request)
            return response
    if is_gzip:
        response.headers["Content-Encoding"] = "gzip"
        pieces = compress_pieces(pieces)
    await response.prepare(request)
    if request.method != "HEAD":
        while piece := await asyncio.to_thread(_gather, pieces):
            await response.write(piece)
    return response


def _matches(request: web.Request, tag: str) -> bool:
    """If-None-Match, for either encoding: they are the same document."""
    known = {f'"{tag}"', f'"{tag}-gzip"', "*"}
    given = request.headers.get("If-None-Match", "").split(",")
    return any(each.strip().removeprefix("W/") in known for each in given)


def _gather(pieces: Iterator[bytes]) -> bytes:
    """Pieces worth a write; empty at the end."""
    gathered: list[bytes] = []
    size = 0
    for piece in pieces:
        gathered.append(piece)
        size += len(piece)
        if size >= _PIECE_BYTES:
            break
    return b"".join(gathered)


# -- joining -------------------------------------------------------------------------------------

ROUTES = (
    Route(
        "GET", "/v1/report", show_report, "All that the control plane is to know", dict[str, Any]
    ),
    Route(
        "GET", "/v1/report/session", show_session, "Session and serial of the report", ReportSession
    ),
    Route(
        "GET",
        "/v1/report/changes",
        show_changes,
        "What is new since a serial; 410 when the report is to be fetched again",
        dict[str, Any],
        query=ChangesQuery,
        refuses=(410,),
    ),
    Route(
        "GET",
        "/v1/report/events",
        stream_events,
        "The same as server-sent events",
        "events hello, changes, reset",
        query=EventsQuery,
        media="text/event-stream",
    ),
    Route(
        "GET",
        "/v1/schema/report",
        show_schema,
        "The JSON Schema of the report",
        "a JSON Schema",
        media="application/schema+json",
    ),
    Route(
        "GET",
        "/v1/routes",
        show_routes,
        "Routes, the first ones",
        dict[str, Any],
        query=RoutesQuery,
    ),
    Route("GET", "/v1/routes/peers", show_peers, "Sessions and their families", dict[str, Any]),
    Route(
        "GET",
        "/v1/routes/recent",
        show_recent,
        "Prefixes whose routes changed last, as they are now",
        dict[str, Any],
        query=RecentQuery,
    ),
    Route(
        "GET",
        "/v1/routes/lookup",
        show_lookup,
        "Longest match of an address or prefix, what covers it, what lies inside",
        dict[str, Any],
        query=LookupQuery,
    ),
    Route(
        "GET",
        "/v1/routes.csv",
        export_csv,
        "All routes as CSV",
        "RFC 4180",
        query=CsvQuery,
        media="text/csv",
    ),
    Route(
        "GET",
        "/v1/routes/dczf",
        export_coverage_zones,
        "The networks as a deep coverage zone file of Apache Traffic Control",
        dict[str, Any],
    ),
    Route(
        "GET",
        "/v1/explain",
        explain,
        "Would this client be sent here, and why",
        dict[str, Any],
        query=ExplainQuery,
    ),
)


def register(app: web.Application) -> None:
    """Offer routes and reports; hear the feeder and push, where the settings ask for it."""
    state = app[STATE]
    service = app[SERVICE] = RouteService(state.settings)
    service.sections |= report_sections(app)
    add_routes(app, ROUTES)
    run_in_background(app, "routes", lambda _: service.run())
    if state.settings.bgp.neighbor:
        app.cleanup_ctx.append(_hear_feeder)
    elif recording := state.settings.bgp.recording:
        run_in_background(app, "recording", lambda _: service.play(recording))
    reporter = None
    if state.settings.report.push_url:
        reporter = app[REPORTER] = Reporter(service, state.settings.report)
        run_in_background(app, "reporter", _push)
    start_watching_contact(app, service, reporter)
    state.components.append(RouteHealth(service))
    state.registry.register(RouteMetrics(service, reporter))


async def _push(app: web.Application) -> None:
    await app[REPORTER].run()


async def _hear_feeder(app: web.Application) -> AsyncIterator[None]:
    service, state = app[SERVICE], app[STATE]
    feed = await open_feed(service, state.folder, state.settings.bgp, service.lose)
    service.ask_refresh = feed.refresh
    service.is_fed = lambda: feed.is_connected
    yield
    await feed.stop()
