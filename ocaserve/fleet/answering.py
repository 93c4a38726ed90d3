"""What clients are answered, and who asks for them: who serves them, and where to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.fleet.client_desk import ClientCall
from ocaserve.fleet.client_urls import Object, parse_key
from ocaserve.fleet.deciding import Decider
from ocaserve.fleet.decisions import PassedOver, Why
from ocaserve.fleet.fleet_shapes import (
    FleetHealth,
    RedirectQuery,
    ServerShown,
    SkippedShown,
    SteerAnswer,
    SteerRequest,
)
from ocaserve.fleet.policy_shapes import SessionTold
from ocaserve.fleet.verdicts import (
    Decision,
    MissingRulings,
    Viewer,
    decide_now,
    parse_client,
)
from ocaserve.serving.replies import Reply

_RETRY_S = "5"
_SOON_S = "1"


def parse_objects(keys: Sequence[str]) -> Mapping[str, Object]:
    """By the key as it was asked for. Raises Problem, which names those that can be no object."""
    found: dict[str, Object] = {}
    faults = []
    for place, key in enumerate(keys):
        try:
            found[key] = parse_key(key)
        except ValueError as error:
            faults.append(f"objects[{place}]: {error}")
    if faults:
        raise Problem(422, "the body: objects that cannot be", faults=faults[:20])
    return found


def client_of(ip: str, place: Sequence[float] | None = None) -> Viewer:
    """Raises Problem."""
    try:
        return parse_client(ip, place)
    except ValueError as error:
        raise Problem(422, f"the client: {error}") from error


def insist_that_it_knows(decider: Decider) -> None:
    """Raise Problem, 503, where a worker has not been told yet who serves: that is not nobody."""
    if not decider.is_informed:
        headers = {"Retry-After": _SOON_S}
        raise Problem(503, "it is not known here yet who serves clients", headers=headers)


def steer(asked: ClientCall) -> SteerAnswer | MissingRulings:
    """The URLs of each object; empty lists where nobody serves the client."""
    wanted: SteerRequest = asked.body
    decider = asked.decider
    insist_that_it_knows(decider)
    client = client_of(wanted.client.ip, wanted.client.location)
    decision = decide_now(decider, client, parse_objects(wanted.objects), is_last=asked.is_last)
    if isinstance(decision, MissingRulings):
        return decision
    return SteerAnswer(
        decision=decision.name,
        ttl_s=decider.settings.answer_ttl_s,
        expires=decision.expires,
        servers=show_servers(decision),
        objects=decision.urls,
        skipped=show_skipped(decision.passed),
        session=decision.session,
    )


def show_servers(decision: Decision) -> list[ServerShown]:
    return [
        ServerShown(id=server.id, rank=rank, site=server.site, kind=server.kind)
        for rank, server in enumerate(decision.servers(), 1)
    ]


def show_skipped(passed: Sequence[PassedOver]) -> list[SkippedShown]:
    return [
        SkippedShown(server=each.server.id, why=each.why.value, reason=each.reason)
        for each in passed
    ]


def viewer_of(asked: ClientCall) -> Viewer:
    """Who asks, or for whom, of who may do so. Raises Problem."""
    if asked.query.ip is None:
        return client_of(asked.ip)
    asked.check(Role.READ)
    return client_of(asked.query.ip)


def redirect(asked: ClientCall) -> Reply | MissingRulings:
    """To the best URL, with the others as duplicates (RFC 6249 section 3)."""
    insist_that_it_knows(asked.decider)
    client = viewer_of(asked)
    try:
        wanted = parse_key(asked.parts[0])
    except ValueError as error:
        raise Problem(404, str(error)) from error
    decision = decide_now(
        asked.decider, client, {"": wanted}, is_public=True, is_last=asked.is_last
    )
    if isinstance(decision, MissingRulings):
        return decision
    urls = decision.urls[""]
    if not urls:
        raise nobody(decision)
    links = [f"<{url}>; rel=duplicate; pri={place}" for place, url in enumerate(urls[1:], 2)]
    link = f"Link: {', '.join(links)}\r\n" if links else ""
    fields = f"Location: {urls[0]}\r\n{link}{session_field(decision.session)}"
    return Reply(307, fields.encode(), b"")


def session_field(session: str) -> str:
    """By which a client is given its session; nothing where there is none."""
    return f"OcaServe-Session: {session}\r\n" if session else ""


def nobody(decision: Decision) -> Problem:
    """404 where no appliance is meant for the client or has it; 503 where none can take it now."""
    if not decision.passed:
        return Problem(404, "no appliance hears a network that covers the client")
    if all(each.why is Why.CONTENT for each in decision.passed):
        return Problem(404, "no appliance that hears the client has the object")
    retry = {"Retry-After": _RETRY_S}
    return Problem(503, "no appliance that hears the client can take it now", headers=retry)


def take_session(asked: ClientCall) -> Reply:
    """How a client fared: of its own session, which its token names."""
    told: SessionTold = asked.body
    decider, minute = asked.decider, int(time.time() // 60)
    if not decider.policing.close_session(told.session, minute, has_failed=told.failovers > 0):
        decider.notes.sessions["refused"] += 1
        raise Problem(403, "the session is not one of this control plane, or of yesterday")
    decider.notes.sessions["failed over" if told.failovers else "well"] += 1
    return Reply(204, b"", b"")


def show_health(asked: ClientCall) -> FleetHealth:
    return tell_health(is_serving=asked.decider.is_serving)


def tell_health(*, is_serving: bool) -> FleetHealth:
    """200 while somebody can be told where to go. Raises Problem, 503, else."""
    if not is_serving:
        raise Problem(503, "no appliance takes clients", headers={"Retry-After": _RETRY_S})
    return FleetHealth(state="serving")


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/steer", steer, "Who serves a client, with URLs for each object", SteerAnswer,
        body=SteerRequest, is_large=True, refuses=(503,),
    ),
    Endpoint(
        "GET", "/r/{key:.+}", redirect,
        "To the best URL; `Link` has the others, `OcaServe-Session` what `POST /v1/qoe` takes",
        "Temporary Redirect", status=307, media="text/plain", role=Role.ANYONE,
        lane=Lane.STEERING, query=RedirectQuery, refuses=(404, 422, 503),
    ),
    Endpoint(
        "POST", "/v1/qoe", take_session, "How a client fared that was steered here", status=204,
        role=Role.ANYONE, lane=Lane.STEERING, body=SessionTold, refuses=(403,),
    ),
    Endpoint(
        "GET", "/healthz", show_health, "Whether some appliance takes clients", FleetHealth,
        role=Role.ANYONE, lane=Lane.VITAL,
    ),
)  # fmt: skip
