"""Ranges from sources that are right, and from sources that are not, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from ocaserve.fill.fetching import FetchManner, Wanted, fetch
from ocaserve.fill.rate import RateCap
from ocaserve.origins import Fault, SourceError

BODY = bytes(range(256)) * 1_000
WANTED = Wanted(1_000, 51_000, len(BODY))
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Serves a handler; returns its URL."""
    runners = []

    async def start(handler: Handler) -> str:
        app = web.Application()
        app.router.add_get("/{tail:.*}", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}/object"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def asking() -> AsyncIterator[FetchManner]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield FetchManner(
            session, RateCap(0), {"Authorization": "Bearer secret"}, None, stall_s=0.5
        )


async def take(
    asking: FetchManner, url: str, wanted: Wanted = WANTED, validator: str = ""
) -> bytes:
    validators = {url: validator} if validator else {}
    return b"".join([chunk async for chunk in fetch(asking, url, wanted, validators)])


def part(request: web.Request, **more: object) -> web.Response:
    """A right answer, or one with other fields."""
    start, stop = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
    fields = {"Content-Range": f"bytes {start}-{stop}/{len(BODY)}", "ETag": '"v1"'}
    fields.update({k.replace("_", "-"): str(v) for k, v in more.items()})
    return web.Response(status=206, body=BODY[start : stop + 1], headers=fields)


async def test_right(serve: Callable[[Handler], Awaitable[str]], asking: FetchManner) -> None:
    """The bytes that were asked for, also after a redirect."""
    seen: list[str | None] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return part(request)

    url = await serve(handle)
    assert await take(asking, url) == BODY[1_000:51_000]
    assert await take(asking, url, validator='"v1"') == BODY[1_000:51_000]

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(url)

    assert await take(asking, await serve(redirect)) == BODY[1_000:51_000]
    assert seen == ["Bearer secret", "Bearer secret", None]  # no token to another origin


async def whole(_: web.Request) -> web.StreamResponse:
    return web.Response(body=BODY)


async def wrong_start(request: web.Request) -> web.StreamResponse:
    return part(request, Content_Range=f"bytes 0-49999/{len(BODY)}")


async def wrong_size(request: web.Request) -> web.StreamResponse:
    return part(request, Content_Range=f"bytes 1000-50999/{len(BODY) + 1}")


async def no_content_range(request: web.Request) -> web.StreamResponse:
    return web.Response(status=206, body=BODY[1_000:51_000])


async def absent(_: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


async def broken(_: web.Request) -> web.StreamResponse:
    return web.Response(status=500)


async def other_version(request: web.Request) -> web.StreamResponse:
    return part(request, ETag='"v2"')


async def compressed(request: web.Request) -> web.StreamResponse:
    return part(request, Content_Encoding="gzip")


async def loop(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(str(request.url))


async def to_a_file(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("file:///etc/passwd")


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=206, headers=part(request).headers)
    response.content_length = 50_000
    await response.prepare(request)
    await response.write(BODY[1_000:2_000])
    assert request.transport is not None
    request.transport.close()
    return response


async def more(request: web.Request) -> web.StreamResponse:
    fields = {name: v for name, v in part(request).headers.items() if name != "Content-Length"}
    response = web.StreamResponse(status=206, headers=fields)
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(BODY[1_000:51_001])
    return response


async def stall(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=206, headers=part(request).headers)
    response.content_length = 50_000
    await response.prepare(request)
    await response.write(BODY[1_000:2_000])
    await asyncio.sleep(5)
    return response


async def silent(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize(
    ("handle", "fault"),
    [
        (whole, Fault.NO_RANGE),
        (wrong_start, Fault.WRONG_RANGE),
        (wrong_size, Fault.WRONG_RANGE),
        (no_content_range, Fault.WRONG_RANGE),
        (absent, Fault.ABSENT),
        (broken, Fault.STATUS),
        (other_version, Fault.CHANGED),
        (compressed, Fault.ENCODED),
        (loop, Fault.REDIRECTS),
        (to_a_file, Fault.REDIRECTS),
        (cut, Fault.CUT),
        (more, Fault.TOO_MANY),
        (stall, Fault.STALLED),
    ],
)
async def test_wrong(
    serve: Callable[[Handler], Awaitable[str]], asking: FetchManner, handle: Handler, fault: Fault
) -> None:
    """Each is named."""
    with pytest.raises(SourceError) as caught:
        await take(asking, await serve(handle), validator='"v1"' if fault is Fault.CHANGED else "")
    assert caught.value.fault is fault, caught.value


async def test_whole_object_of_one_piece(
    serve: Callable[[Handler], Awaitable[str]], asking: FetchManner
) -> None:
    """200 is right where everything was asked for, of the right size."""
    url = await serve(whole)
    assert await take(asking, url, Wanted(0, len(BODY), len(BODY))) == BODY
    with pytest.raises(SourceError) as caught:
        await take(asking, url, Wanted(0, len(BODY) + 1, len(BODY) + 1))
    assert caught.value.fault is Fault.WRONG_RANGE


async def test_nobody_there(asking: FetchManner) -> None:
    with pytest.raises(SourceError) as caught:
        await take(asking, "http://127.0.0.1:9/object")
    assert caught.value.fault is Fault.UNREACHABLE


async def test_cap() -> None:
    """Over what is taken by all, whoever takes."""
    now = 0.0
    cap = RateCap(8_000, clock=lambda: now)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ocaserve.fill.rate.asyncio.sleep", sleep)
        await cap.take(500)
        await cap.take(1_000)
        now = 10.0
        await cap.take(1_000)
    assert slept == [0.5, 1.5, pytest.approx(0.75)]
