"""A defect of one call, or of one part's work, is its own matter: contained, counted, told once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from ocaserve.control import endpoints
from ocaserve.control.auth import Guard, Role
from ocaserve.control.connections import ConnectionTable
from ocaserve.control.contained_defects import ControlDefects
from ocaserve.control.endpoints import (
    CONNECTIONS,
    DEFECTS,
    Call,
    Endpoint,
    new_app,
    offer,
    run_in_background,
    tell_problems,
    watch_connection,
)
from ocaserve.settings import Control, Tokens
from tests.support.waiting import until


@pytest.fixture
def app() -> web.Application:
    made = web.Application(middlewares=[watch_connection, tell_problems])
    made[DEFECTS] = ControlDefects()
    made[CONNECTIONS] = ConnectionTable(Control())
    return made


async def test_call(app: web.Application, caplog: pytest.LogCaptureFixture) -> None:
    """500 as a problem; the traceback once, then a line; others are answered."""

    async def fail(request: web.Request) -> web.Response:
        raise ZeroDivisionError(request.match_info["id"])

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="well")

    app.router.add_get("/bad/{id}", fail)
    app.router.add_get("/good", answer)
    async with TestServer(app) as server, ClientSession() as client:
        for number in range(3):
            async with client.get(server.make_url(f"/bad/{number}")) as told:
                assert (told.status, told.content_type) == (500, "application/problem+json")
                assert "log has more" in (await told.json())["detail"]
        async with client.get(server.make_url("/good")) as told:
            assert await told.text() == "well"
    assert app[DEFECTS].counts == {"GET /bad/{id}": 3}
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]


async def test_promise() -> None:
    """What a part relies on is asserted; where it is not so, that is a defect like others."""

    async def tell_nothing(_: Call) -> None:
        return None

    silent = Endpoint("GET", "/silent", tell_nothing, "Nothing", role=Role.ANYONE)
    app = new_app(Control(), Guard(Tokens(), ""))
    offer(app, [silent])
    with pytest.raises(AssertionError, match="would hide it"):
        offer(app, [silent])
    async with TestServer(app) as server, ClientSession() as client:
        async with client.get(server.make_url("/silent")) as told:
            assert told.status == 500
        async with client.get(server.make_url("/elsewhere")) as told:
            assert told.status == 404
    assert app[DEFECTS].counts == {"GET /silent": 1}


async def test_work(
    app: web.Application, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins again, and the work of others never stopped."""
    caplog.set_level(logging.CRITICAL)
    monkeypatch.setattr(endpoints, "_RESTART_S", 0.0)
    begun: list[str] = []

    async def fail(_: web.Application) -> None:
        begun.append("bad")
        raise OSError("not now")

    async def go_on(_: web.Application) -> None:
        begun.append("good")
        await asyncio.Event().wait()

    run_in_background(app, "bad", fail)
    run_in_background(app, "good", go_on)
    async with TestServer(app):
        await until(lambda: begun.count("bad") > 2)
    assert begun.count("good") == 1
    assert app[DEFECTS].counts["bad"] >= 2
