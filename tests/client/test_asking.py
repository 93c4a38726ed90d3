"""Lists of URLs, from a small stand-in of a control plane over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ocaserve.client import AskError, Ranked, Redirect, Steering
from ocaserve.client.asking import (
    SESSION_FIELD,
    QoeSession,
    duplicates,
    redirect_of,
    seconds_left,
)

TOKEN = "x" * 43
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serves a handler for all; returns where."""
    runners = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def test_redirect(serve: Serve, session: aiohttp.ClientSession) -> None:
    """The best, then the others by their priority; good until the first signature ends."""
    signed = f"https://b.example/film?v=1&e=1100&t={TOKEN}"

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.raw_path == "/r/a%20film"
        response = web.Response(status=307, headers={"Location": "https://a.example/film"})
        response.headers.add("Link", "<https://c.example/film>; rel=duplicate; pri=2")
        response.headers.add("Link", f'<{signed}>; rel="duplicate"; pri=1, </help>; rel=help')
        return response

    url = redirect_of(await serve(answer), "a film")
    ranked = await Redirect(url, clock=lambda: 1_000).ask(session)
    assert ranked == Ranked(["https://a.example/film", signed, "https://c.example/film"], 95)


async def test_session_is_that_of_the_control_plane(
    serve: Serve, session: aiohttp.ClientSession
) -> None:
    """By whichever of both ways the servers are asked for."""

    async def answer(request: web.Request) -> web.StreamResponse:
        urls = ["https://a.example/film"]
        if request.method == "POST":
            return web.json_response({"objects": {"film": urls}, "session": "steered"})
        return web.Response(status=307, headers={"Location": urls[0], SESSION_FIELD: "led"})

    fleet = await serve(answer)
    led = await Redirect(f"{fleet}/r/film").ask(session)
    steered = await Steering(fleet, "film").ask(session)
    assert led.session == QoeSession(f"{fleet}/v1/qoe", "led")
    assert steered.session == QoeSession(f"{fleet}/v1/qoe", "steered")


async def test_steering(serve: Serve, session: aiohttp.ClientSession) -> None:
    """The decision for another client, asked for with the token."""
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append((request.path, request.headers["Authorization"], await request.json()))
        urls = ["https://a.example/film", "https://b.example/film"]
        told = {"decision": "1", "ttl_s": 30, "servers": [], "objects": {"film": urls}}
        return web.json_response(told)

    source = Steering(await serve(answer), "film", address="192.0.2.7", token="secret")
    assert await source.ask(session) == Ranked(
        ["https://a.example/film", "https://b.example/film"], 30
    )
    body = {"client": {"ip": "192.0.2.7"}, "objects": ["film"]}
    assert asked == [("/v1/steer", "Bearer secret", body)]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param("[]", "Expected `object`", id="no_object"),
        pytest.param("{", "truncated", id="no_json"),
        pytest.param('{"objects": {}}', "no URL", id="without_it"),
        pytest.param('{"objects": {"film": ["file:///etc/passwd"]}}', "no URL", id="a_file"),
        pytest.param(json.dumps("x" * (1 << 20)), "more than 1048576 bytes", id="too_long"),
    ],
)
async def test_no_decision(
    serve: Serve, session: aiohttp.ClientSession, body: str, complaint: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, content_type="application/json")

    with pytest.raises(AskError, match=complaint):
        await Steering(await serve(answer), "film").ask(session)


@pytest.mark.parametrize(("status", "is_final"), [(404, True), (403, True), (503, False)])
async def test_refusals(
    serve: Serve, session: aiohttp.ClientSession, status: int, *, is_final: bool
) -> None:
    """What is said is passed on, on one line; whether it is for good."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"title": "no", "detail": "not\nhere"}, status=status)

    with pytest.raises(AskError, match=rf"status {status}: not\\nhere") as caught:
        await Redirect(f"{await serve(answer)}/r/film").ask(session)
    assert caught.value.is_final is is_final


async def test_redirect_to_nowhere(serve: Serve, session: aiohttp.ClientSession) -> None:
    """It is not followed back to where it comes from."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=307)

    with pytest.raises(AskError, match="no URL"):
        await Redirect(f"{await serve(answer)}/r/film").ask(session)


async def test_nobody_there(session: aiohttp.ClientSession) -> None:
    with pytest.raises(AskError, match=r"^http://127.0.0.1:1/r/a: Connection refused$") as caught:
        await Redirect("http://127.0.0.1:1/r/a").ask(session)
    assert not caught.value.is_final


@pytest.mark.parametrize(
    ("links", "found"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["<http://b/>; rel=duplicate"], ["http://b/"], id="without_priority"),
        pytest.param(["<b>; rel=duplicate; pri=1"], ["http://a/b"], id="relative"),
        pytest.param(
            ["<http://b/,;x>; rel=duplicate; geo=de; pri=1"], ["http://b/,;x"], id="odd_url"
        ),
        pytest.param(["<http://b/>; rel=describedby"], [], id="another_relation"),
        pytest.param(
            ["<http://c/>; pri=3; rel=duplicate,<http://b/>; rel=Duplicate; pri=2"],
            ["http://b/", "http://c/"], id="several_in_a_field",
        ),
        pytest.param(["<" * 1_000, "<x>;" * 1_000], [], id="nonsense"),
    ],
)  # fmt: skip
def test_duplicates(links: list[str], found: list[str]) -> None:
    assert duplicates(links, "http://a/") == found


@pytest.mark.parametrize(
    ("url", "left"),
    [
        pytest.param(f"http://a/f?x=1&v=1&e=1100&t={TOKEN}", 100, id="query"),
        pytest.param(f"http://a/s/29.900.{TOKEN}/f", -100, id="path"),
        pytest.param("http://a/f?e=1100", float("inf"), id="another_parameter"),
        pytest.param("http://a/s/29.900.short/f", float("inf"), id="another_path"),
        pytest.param(f"http://a/f?v=1&e=x&t={TOKEN}", float("inf"), id="no_time"),
    ],
)
def test_seconds_left(url: str, left: float) -> None:
    assert seconds_left(url, 1_000) == left
