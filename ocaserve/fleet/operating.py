"""The endpoints for appliances, which report, and for operators, who look."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from aiohttp import web

from ocaserve import __version__
from ocaserve.control.auth import Role, is_name_of_loopback, is_over_local_socket, is_over_loopback
from ocaserve.control.bodies import read_body
from ocaserve.control.endpoints import LIMITS, Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.problems import Problem
from ocaserve.fleet.answering import client_of, tell_health
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.client_urls import Object, parse_key
from ocaserve.fleet.decisions import Candidate, Group, choose, heard_network
from ocaserve.fleet.explaining import tell_candidate, tell_decision
from ocaserve.fleet.fleet_shapes import (
    ApplianceList,
    ApplianceShown,
    CandidateShown,
    FailedCheckShown,
    FleetExplainQuery,
    FleetExplanation,
    FleetHealth,
    FleetStatus,
    SiteList,
    SiteShown,
)
from ocaserve.fleet.intake import Intake
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.pushed_documents import DocumentError, DocumentOutcome
from ocaserve.fleet.turn_up import TurnUp
from ocaserve.fleet.verdicts import rank_by_policies
from ocaserve.policies.rulings import BUILT_IN, Ruling

INTAKE: web.AppKey[Intake] = web.AppKey("INTAKE", Intake)

_log = logging.getLogger(__name__)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ocaserve"'}
_STATUSES = {
    DocumentOutcome.ASKED_FOR_ALL: 409,
    DocumentOutcome.ASKED_ANOTHER: 503,
    DocumentOutcome.OF_ENDED_SESSION: 409,
    DocumentOutcome.MALFORMED: 422,
    DocumentOutcome.WRONG_TOKEN: 401,
    DocumentOutcome.UNKNOWN_APPLIANCE: 403,
    DocumentOutcome.IMPOSTOR: 403,
}


async def take_report(call: Call) -> web.Response:
    """A document of an appliance. Who sends it is decided before it is read."""
    request = call.request
    state, intake = request.app[FLEET], request.app[INTAKE]
    try:
        name = sender_of(request, intake)
        data = await read_body(request, state.settings.report_bytes, request.app[LIMITS].body_s)
        outcome = await intake.take(data, name)
    except DocumentError as error:
        state.outcomes[error.outcome] += 1
        raise refuse_document(error) from error
    state.outcomes[outcome] += 1
    return web.Response(status=204)


def refuse_document(error: DocumentError) -> Problem:
    """What the sender is answered."""
    status = _STATUSES[error.outcome]
    return Problem(status, str(error), headers=_CHALLENGE if status == 401 else {})


def sender_of(request: web.Request, intake: Intake) -> str:
    """By its token; empty for who comes over loopback without one. Raises DocumentError."""
    given = request.headers.get("Authorization")
    if given is None:
        is_here = is_over_local_socket(request) or (
            is_over_loopback(request) and is_name_of_loopback(request.host)
        )
        if not is_here or "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
            raise DocumentError(DocumentOutcome.WRONG_TOKEN, "reports need the appliance's token")
        return ""
    scheme, _, token = given.partition(" ")
    name = intake.name_of(token.strip()) if scheme.lower() == "bearer" else ""
    if not name:
        _log.warning("fleet: a report with a wrong token from %s", request.remote or "a socket")
        raise DocumentError(DocumentOutcome.WRONG_TOKEN, "the token is not that of an appliance")
    return name


async def explain(call: Call) -> FleetExplanation:
    """By the same functions that decide, and without a trace."""
    state = call.request.app[FLEET]
    wanted: FleetExplainQuery = call.query
    client = client_of(wanted.ip)
    try:
        key = parse_key(wanted.key).key if wanted.key else b""
    except ValueError as error:
        raise Problem(422, f"the key: {error}") from error
    holds = state.stock.holders_of(key) if key else None
    groups, ruling, chosen = await rank_by_policies(
        state, client, Object("", key), lambda groups, seed: choose(groups, seed, holds)
    )
    return FleetExplanation(
        ip=wanted.ip,
        key=wanted.key,
        served=bool(chosen),
        candidates=show_candidates(groups, chosen, client.address, holds, ruling),
        because=list(tell_decision(groups, chosen, client.address, holds, ruling)),
        policies=list(ruling.by),
    )


def show_candidates(
    groups: Sequence[Group],
    chosen: Sequence[Candidate],
    client: tuple[int, int],
    holds: Callable[[str], bool] | None = None,
    ruling: Ruling = BUILT_IN,
) -> list[CandidateShown]:
    places = {each.server.id: place for place, each in enumerate(chosen, 1)}
    return [
        CandidateShown(
            server=each.server.id,
            site=each.server.site,
            kind=each.server.kind.value,
            group=number,
            network=str(heard_network(each, *client)),
            path_length=each.order.path_length,
            med=each.order.med,
            backup=each.order.is_backup,
            weight=each.rank.weight,
            chosen=places.get(each.server.id),
            why=tell_candidate(each, chosen, holds, ruling),
        )
        for number, group in enumerate(groups, 1)
        for each in group
    ]


async def list_appliances(call: Call) -> ApplianceList:
    state, now = call.request.app[FLEET], time.monotonic()
    return ApplianceList(
        appliances=[show_appliance(state, name, now) for name in sorted(state.members)]
    )


def show_appliance(state: FleetState, name: str, now: float) -> ApplianceShown:
    member, server = state.members[name], state.servers[name]
    copy, signer = member.copy, state.signers.get(name)
    return ApplianceShown(
        id=name,
        site=server.site,
        kind=server.kind.value,
        takes_clients=not server.fault,
        fault=server.fault,
        turn_up=copy.turn_up.value,
        failed_checks=[FailedCheckShown(check=c.value, why=why) for c, why in member.failed],
        state=copy.health.state,
        level=copy.health.level,
        age_s=round(now - member.heard_at, 3),
        session=copy.session,
        serial=copy.serial,
        networks=len(copy.table),
        url=signer.location.base if signer else "",
        is_signed=bool(signer and signer.location.secret),
        total_bits_per_s=copy.capacity.total_bits_per_s,
        free_bits_per_s=copy.capacity.free_bits_per_s,
        granted_bits_per_s=member.grants.bits_per_s,
    )


async def list_sites(call: Call) -> SiteList:
    return SiteList(sites=show_sites(call.request.app[FLEET]))


def show_sites(state: FleetState) -> list[SiteShown]:
    """Those of the settings, and those that appliances name."""
    members: dict[str, list[str]] = {name: [] for name in state.sites}
    for name in sorted(state.members):
        members.setdefault(state.site_of(name).id, []).append(name)
    return [show_site(state, site, names) for site, names in sorted(members.items())]


def show_site(state: FleetState, name: str, appliances: Sequence[str]) -> SiteShown:
    settings = state.site_of(appliances[0]) if appliances else state.sites[name]
    tables = [state.members[each].copy.table for each in appliances]
    return SiteShown(
        id=name,
        kind=settings.kind,
        location=list(settings.location),
        copies=settings.copies,
        appliances=list(appliances),
        taking_clients=sum(not state.servers[each].fault for each in appliances),
        networks=max(map(len, tables), default=0),
        hears_the_same=len({table.prefix_digest for table in tables}) <= 1,
    )


async def show_health(call: Call) -> FleetHealth:
    servers = call.request.app[FLEET].servers.values()
    return tell_health(is_serving=any(not each.fault for each in servers))


async def show_status(call: Call) -> FleetStatus:
    return describe_status(call.request.app[FLEET])


def describe_status(state: FleetState) -> FleetStatus:
    members = state.members.values()
    commissioning = [each for each in members if each.copy.turn_up is TurnUp.COMMISSIONING]
    failing = [each for each in members if each.failed]
    return FleetStatus(
        version=__version__,
        appliances=len(state.members),
        taking_clients=sum(not each.fault for each in state.servers.values()),
        commissioning=len(commissioning),
        failing_checks=sum(each.copy.turn_up is TurnUp.IN_SERVICE for each in failing),
        sites=len(show_sites(state)),
        networks=len(state.atlas),
        tables=len({table.digest for table in state.atlas.tables.values()}),
        atlas_s=round(state.atlas_s, 4),
        documents={outcome.value: count for outcome, count in state.outcomes.items()},
        decisions=dict(state.journal.outcomes),
    )


ENDPOINTS = (
    Endpoint(
        "POST", "/v1/reports", take_report, "A report or changes of an appliance, gzipped or plain",
        status=204, role=Role.ANYONE, lane=Lane.VITAL,
        refuses=(400, 401, 403, 408, 409, 413, 415, 422),
    ),
    Endpoint(
        "GET", "/v1/explain", explain, "Why a client is served by these, and not by those",
        FleetExplanation, query=FleetExplainQuery, refuses=(422,),
    ),
    Endpoint("GET", "/v1/appliances", list_appliances, "All appliances", ApplianceList),
    Endpoint("GET", "/v1/sites", list_sites, "All sites; does each hear the same?", SiteList),
    Endpoint("GET", "/v1/status", show_status, "The control plane at a glance", FleetStatus),
    Endpoint(
        "GET", "/healthz", show_health, "Whether some appliance takes clients", FleetHealth,
        role=Role.ANYONE, lane=Lane.VITAL,
    ),
)  # fmt: skip
