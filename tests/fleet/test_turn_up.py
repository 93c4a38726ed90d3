"""How an appliance comes into service: the checks, what hinders contact, what is shown of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocaserve.fleet.contacting import ask, open_session
from ocaserve.fleet.turn_up import (
    NOT_ASKED_YET,
    TURN_UPS,
    Evidence,
    FailedCheck,
    TurnUp,
    TurnUpCheck,
    TurnUpEvent,
    find_failed_checks,
)
from ocaserve.lifecycle import ImpossibleTransitionError, advance
from ocaserve.settings.fleet import Fleet, FleetTokens
from tests.fleet.test_app import SETTINGS, WIDE, FleetApp, run
from tests.support.certificates import make_pair
from tests.support.fleet import report
from tests.support.streams import close
from tests.support.waiting import until

URL = "https://a.example.net"
TTL_S, LEAST = 90.0, 0.9
WELL = Evidence(
    age_s=1.0, level="ok", reason="", contacts={URL: ""}, is_complete=True, networks=1, held=1.0
)


def test_nothing_leads_back() -> None:
    assert advance(TURN_UPS, TurnUp.COMMISSIONING, TurnUpEvent.PASSED) is TurnUp.IN_SERVICE
    with pytest.raises(ImpossibleTransitionError):
        advance(TURN_UPS, TurnUp.IN_SERVICE, TurnUpEvent.PASSED)


@pytest.mark.parametrize(
    ("change", "check", "why"),
    [
        pytest.param({"age_s": 90.1}, TurnUpCheck.CONTACT_FROM, "last 90 s", id="silent"),
        pytest.param(
            {"contacts": {URL: "", "http://a:81": "port 81: connection refused"}},
            TurnUpCheck.CONTACT_TO, "http://a:81: port 81: connection refused", id="one_url",
        ),
        pytest.param({"contacts": {URL: NOT_ASKED_YET}}, TurnUpCheck.CONTACT_TO, URL, id="unasked"),
        pytest.param({"contacts": {}}, TurnUpCheck.CONTACT_TO, "no URL", id="no_url"),
        pytest.param(
            {"level": "error", "reason": "disk 3 is gone"},
            TurnUpCheck.HARDWARE, "disk 3 is gone", id="error",
        ),
        pytest.param({"level": ""}, TurnUpCheck.HARDWARE, "not told", id="no_health"),
        pytest.param({"is_complete": False}, TurnUpCheck.ROUTES, "not complete", id="incomplete"),
        pytest.param({"networks": 0}, TurnUpCheck.ROUTES, "no network", id="no_network"),
        pytest.param({"held": None}, TurnUpCheck.CONTENT, "no manifest", id="no_manifest"),
        pytest.param({"held": 0.899}, TurnUpCheck.CONTENT, "89.9%", id="too_little"),
    ],
)  # fmt: skip
def test_each_check_fails_alone(change: dict[str, Any], check: TurnUpCheck, why: str) -> None:
    (failed,) = find_failed_checks(replace(WELL, **change), TTL_S, LEAST)
    assert failed.check is check
    assert why in failed.why


@pytest.mark.parametrize(
    "change", [{}, {"age_s": TTL_S}, {"level": "warning"}, {"contacts": None}, {"held": LEAST}]
)
def test_all_pass(change: dict[str, Any]) -> None:
    assert not list(find_failed_checks(replace(WELL, **change), TTL_S, LEAST))


def test_content_that_is_everywhere_is_not_looked_at() -> None:
    assert not list(find_failed_checks(replace(WELL, held=None), TTL_S, 0.0))


# -- contact ---------------------------------------------------------------------------------------


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session() as each:
        yield each


async def answering(status: int, context: ssl.SSLContext | None = None) -> TestServer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status)

    app = web.Application()
    app.router.add_get("/healthz", answer)
    server = TestServer(app, scheme="https" if context else "http")
    await server.start_server(ssl=context)
    return server


@pytest.mark.parametrize(
    ("status", "says"), [(200, ""), (503, ""), (404, "/healthz is answered with 404"), (301, "301")]
)
async def test_who_answers(session: aiohttp.ClientSession, status: int, says: str) -> None:
    server = await answering(status)
    try:
        fault = await ask(session, str(server.make_url("/")))
    finally:
        await server.close()
    assert says in fault
    assert bool(fault) is bool(says)


async def test_what_is_refused(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """With the port at which it was."""
    with socket.create_server(("127.0.0.1", 0)) as listening:  # and never answers
        port = listening.getsockname()[1]
        async with open_session(0.2) as hasty:
            assert await ask(hasty, f"http://127.0.0.1:{port}") == f"port {port}: timed out"
    fault = await ask(session, f"http://127.0.0.1:{port}")
    assert fault == f"port {port}: connection refused"
    fault = await ask(session, f"https://{'a' * 64}.example")  # no resolver is asked for it
    assert fault.startswith("port 443: the name is not resolved")
    pair = make_pair(tmp_path, "own", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.cert, pair.key)
    server = await answering(200, context)
    try:
        fault = await ask(session, f"https://localhost:{server.port}")
        assert fault.startswith(f"port {server.port}: TLS: ")
        assert "certificate" in fault
        fault = await ask(session, f"http://127.0.0.1:{server.port}")
        assert fault.startswith(f"port {server.port}: no answer in HTTP")
    finally:
        await server.close()


async def test_what_is_sent_is_not_shown(session: aiohttp.ClientSession) -> None:
    """By who stands where an appliance should."""

    async def begin(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x1b[2J" + b"x" * 4096 + b"\r\n\r\n")
        await writer.drain()
        await close(writer)

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        fault = await ask(session, f"http://127.0.0.1:{port}")
    assert fault == f"port {port}: no answer in HTTP"


# -- what is made of it ----------------------------------------------------------------------------


@pytest.fixture
async def app() -> AsyncIterator[FleetApp]:
    settings = Fleet(
        site=SETTINGS.site, appliance=SETTINGS.appliance, turn_up="checked", turn_up_contact=False
    )
    async for each in run(settings, FleetTokens()):
        yield each


async def row_of(app: FleetApp, name: str) -> dict[str, Any]:
    rows = (await app.look("/v1/appliances"))["appliances"]
    found: dict[str, Any] = next(each for each in rows if each["id"] == name)
    return found


async def test_the_gate(app: FleetApp) -> None:
    """Commissioning until all pass; in service by health, with what fails shown and counted."""
    await app.know(a=WIDE)
    assert await app.tell({**report("b", WIDE, site=""), "complete": False}) == 204
    await until(lambda: "b" in app.state.atlas.tables)
    found = await app.serve("11.1.1.1")
    assert [each["id"] for each in found["servers"]] == ["a"]
    reason = "commissioning: routes: its report is not complete"
    assert found["skipped"] == [{"server": "b", "why": "H", "reason": reason}]
    explained = await app.look("/v1/explain?ip=11.1.1.1")
    assert any(reason in sentence for sentence in explained["because"])
    row = await row_of(app, "b")
    assert (row["turn_up"], row["takes_clients"]) == ("commissioning", False)
    assert row["failed_checks"] == [{"check": "routes", "why": "its report is not complete"}]
    status = await app.look("/v1/status")
    assert (status["commissioning"], status["failing_checks"]) == (1, 0)

    broken = {"state": "serving", "takes_traffic": True, "level": "error", "reasons": ["a fan"]}
    assert await app.tell(report("b", WIDE, site="", serial=2)) == 204
    assert await app.tell(report("b", WIDE, site="", serial=3, health=broken)) == 204
    row = await row_of(app, "b")
    assert (row["turn_up"], row["takes_clients"]) == ("in service", True)
    assert row["failed_checks"] == [{"check": "hardware", "why": "a fan"}]
    status = await app.look("/v1/status")
    assert (status["commissioning"], status["failing_checks"]) == (0, 1)
    metrics = (await app.look("/metrics")).decode()
    sample = 'ocaserve_fleet_check_failed{appliance="b",check="hardware",site="one"} 1.0'
    assert sample in metrics
    assert 'ocaserve_fleet_in_service{appliance="b",site="one"} 1.0' in metrics


@pytest.fixture
async def ungated() -> AsyncIterator[FleetApp]:
    async for each in run(SETTINGS, FleetTokens()):
        yield each


async def test_without_a_gate_all_are_in_service(ungated: FleetApp) -> None:
    """So that nobody is put out who takes clients when it is switched on."""
    assert await ungated.tell({**report("b", {}, site=""), "complete": False}) == 204
    row = await row_of(ungated, "b")
    assert (row["turn_up"], row["failed_checks"]) == ("in service", [])


@pytest.fixture
async def asking() -> AsyncIterator[FleetApp]:
    async for each in run(Fleet(turn_up="checked"), FleetTokens()):
        yield each


async def test_contact(asking: FleetApp) -> None:
    """Each URL counts; who is in service stays so when one is lost."""
    server = await answering(200)
    try:
        url = str(server.make_url("")).rstrip("/")
        assert await asking.tell({**report("a", WIDE), "place": {"urls": [url]}}) == 204
        await until(lambda: asking.state.members["a"].copy.turn_up is TurnUp.IN_SERVICE)
        asking.state.tell_contacts("a", {url: "port 1: timed out"})
        row = await row_of(asking, "a")
        assert (row["turn_up"], row["takes_clients"]) == ("in service", True)
        assert row["failed_checks"] == [{"check": "contact_to", "why": f"{url}: port 1: timed out"}]
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        closed = f"http://127.0.0.1:{port}"
        assert await asking.tell({**report("b", WIDE), "place": {"urls": [url, closed]}}) == 204
        said = FailedCheck(TurnUpCheck.CONTACT_TO, f"{closed}: port {port}: connection refused")
        await until(lambda: asking.state.members["b"].failed == (said,))
        assert asking.state.servers["b"].fault == f"commissioning: {said}"
    finally:
        await server.close()
